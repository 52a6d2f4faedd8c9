// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title Checkpoint roots of hubs on other chains, as bridges brought them; verifies allotments against them.
/// @notice A root is recorded once enough bridge families have brought the same message to the inbox, by anyone. Nobody, the owner included, can
/// have a root recorded that no port of the inbox brought and no operator signed; the owner chooses hubs, and between roots that contradict one
/// another. Which ports there are is the word of the inbox's admin, who needs portDelay for a new one once anything was received or listed.
interface ICheckpointRegistry {
    /// @notice Which hub, and what it takes to believe a root of it. Fixed once registered.
    struct Hub {
        uint64 chain;
        address hub;
        /// @dev Outbox on the hub's chain; 0 where we have none: then only the operator's signature counts.
        address outbox;
        /// @dev The eon the hub is in when it is registered, or an earlier one that is wanted: none before it is recorded, and its clock runs from
        /// it. One that is too early lets the clock lag behind the hub's, so that gaps are not bridged.
        uint64 firstEon;
        /// @dev Signs checkpoints (EIP-712); 0 = signatures do not count.
        address operator;
        /// @dev Distinct families; the operator's signature is one of its own. At least 2 where both an outbox and an operator are named.
        uint8 quorum;
        /// @dev How far past the newest recorded eon the next may lie: 1 to 5, what the hub's contract keeps.
        uint8 gapMax;
        /// @dev Shortest time in seconds an eon takes. An eon may lie further ahead as far as the hub's clock can have come since the registration,
        /// by gapMax more: a relay that stood still longer than the hub keeps its checkpoints can never bring the missing ones. 0 = no clock: then
        /// a gap of more than gapMax eons ends the recording for ever.
        uint32 eonSeconds;
    }

    enum Standing {
        Unknown,
        /// @dev Recorded; challenges against it may still be open at the hub.
        Provisional,
        /// @dev A later checkpoint was recorded, which the hub accepts only when this one stands.
        Final,
        /// @dev Another root reached the quorum for the same eon: the hub is frozen until one of them is chosen.
        Conflicting
    }

    struct Checkpoint {
        bytes32 root;
        /// @dev The other root, while Conflicting.
        bytes32 other;
        Standing standing;
        uint64 recordedAt;
    }

    /// @notice What a wallet shows for its allotment; docs/hub.md.
    struct Allotment {
        address token;
        address wallet;
        uint64 trail;
        /// @dev Must be the registered one: at another place the operator could have put a second tree of the same token.
        uint64 tokenTrail;
        uint256 left;
        uint256 right;
        bytes32 activeStateChecksum;
        bytes32 passiveRoot;
        uint256 passiveAmount;
        uint256 passiveMarker;
        bytes32[] allotmentChain;
        uint256[] values;
        bytes32[] membershipChain;
    }

    event HubRegistered(
        bytes32 indexed hubId,
        uint64 chain,
        address hub,
        address outbox,
        address operator,
        uint8 quorum,
        uint8 gapMax,
        uint32 eonSeconds,
        uint64 firstEon
    );
    event TokenRegistered(bytes32 indexed hubId, address indexed token, uint64 trail);
    event CheckpointSigned(bytes32 indexed hubId, uint64 indexed eon, bytes32 root);
    event CheckpointRecorded(bytes32 indexed hubId, uint64 indexed eon, bytes32 root);
    event CheckpointFinal(bytes32 indexed hubId, uint64 indexed eon, bytes32 root);
    event CheckpointConflict(bytes32 indexed hubId, uint64 indexed eon, bytes32 recorded, bytes32 other);
    event ResolutionAnnounced(bytes32 indexed hubId, uint64 indexed eon, bytes32 root, uint256 executableAt);
    event ConflictResolved(bytes32 indexed hubId, uint64 indexed eon, bytes32 root);

    error BadMessage();
    error UnknownHub(bytes32 hubId);
    error HubExists(bytes32 hubId);
    error BadHub();
    error BadToken();
    error BadInbox();
    error BadDelay();
    error QuorumShort(uint256 families, uint256 quorum);
    /// @notice Further ahead of the newest recorded eon, and of the hub's clock, than the gap allows.
    error EonTooNew(uint64 eon, uint64 last);
    /// @notice Before the first eon that is wanted of the hub.
    error EonTooOld(uint64 eon, uint64 first);
    error HubFrozen(bytes32 hubId);
    error SignatureRefused();
    error NoConflict(bytes32 hubId, uint64 eon);
    error TooEarly(uint256 executableAt);
    error NotAnnounced();
    error OwnerNeeded();
    /// @notice It lost when the conflict was resolved.
    error RootRejected(bytes32 hubId, uint64 eon, bytes32 root);

    /// @notice Records the root of a message (kind 2, docs/wire.md) that enough families have brought to the inbox. By anyone. Returns silently
    /// when that root is recorded already; a second root for an eon is stored beside the first and freezes the hub. An eon below the newest recorded
    /// one that was left out may come later; it is final at once.
    function record(bytes calldata message) external;

    /// @notice Takes the operator's word for a root: a family of its own. By anyone who has the signature over EIP-712
    /// Checkpoint(uint256 chain,address hub,uint256 eon,bytes32 root), domain {name "CheckpointRegistry", version "1", chainId, this contract}.
    /// Records the root when that completes the quorum.
    function recordSigned(uint64 chain, address hub, uint64 eon, bytes32 root, bytes calldata signature) external;

    /// @notice Families that vouch for this root now, the operator's signature included.
    function familiesOf(bytes32 hubId, uint64 eon, bytes32 root) external view returns (uint256);
    function hubIdOf(uint64 chain, address hub) external pure returns (bytes32);
    function hubOf(bytes32 hubId) external view returns (Hub memory);
    /// @notice Newest recorded eon (0 = none) and whether the hub is frozen, which it is while any of its eons is Conflicting.
    function stateOf(bytes32 hubId) external view returns (uint64 lastEon, bool frozen);
    function checkpointOf(bytes32 hubId, uint64 eon) external view returns (Checkpoint memory);

    /// @notice Whether the allotment is part of the recorded checkpoint. False, not a revert, for a proof that does not hold or a token that is not
    /// registered; reverts for an unknown hub. A frozen hub's checkpoints verify as Conflicting ones do: not at all.
    /// Whether the hub can pay is not checked: its own contract refuses proofs whose upperBound is more than it holds of the token, which this chain
    /// cannot know.
    /// @return holds whether the wallet is allotted that interval.
    /// @return standing of the checkpoint it was held against.
    /// @return upperBound all that the checkpoint allots of the token, in its units; 0 when the proof does not hold.
    function verifyAllotment(bytes32 hubId, uint64 eon, Allotment calldata allotment)
        external
        view
        returns (bool holds, Standing standing, uint256 upperBound);

    /// @notice Position of a token in the hub's token tree. The hub's contract itself, which stands for the native coin, is token 0 of every hub.
    function trailOf(bytes32 hubId, address token) external view returns (bool known, uint64 trail);

    function checkpointDigest(uint64 chain, address hub, uint64 eon, bytes32 root) external view returns (bytes32);
    function inbox() external view returns (address);
    function owner() external view returns (address);
    /// @notice Time between announcing and making a choice between two roots.
    function resolveDelay() external view returns (uint256);

    /// @notice Owner only; a registered hub cannot be changed.
    function registerHub(Hub calldata hub) external;
    /// @notice Owner only: the position of a token as the hub's contract registered it (`getTokenTrail`); cannot be changed, and two tokens cannot
    /// have one position.
    function registerToken(bytes32 hubId, address token, uint64 trail) external;
    /// @notice Owner only: announces which of the two roots of a conflicting eon shall stand; 0 = neither, so that a third can be recorded.
    function announceResolution(bytes32 hubId, uint64 eon, bytes32 root) external;
    /// @notice Owner only, after resolveDelay. Unfreezes the hub when no conflict is left. The root that lost is refused from then on.
    function resolve(bytes32 hubId, uint64 eon, bytes32 root) external;
}
