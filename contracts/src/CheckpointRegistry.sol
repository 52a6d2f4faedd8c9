// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {AllotmentProof} from "./AllotmentProof.sol";
import {Message} from "./Message.sol";
import {SignatureCheck} from "./SignatureCheck.sol";
import {ICheckpointRegistry} from "./interfaces/ICheckpointRegistry.sol";
import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";

/// @title Checkpoint roots of hubs on other chains.
/// @notice The inbox counts who vouches for a message; this contract counts nothing itself and keeps what a quorum vouched for. The owner registers
/// hubs, once each, and decides between two roots that both had their quorum, after a delay in which everybody can see the choice coming.
contract CheckpointRegistry is ICheckpointRegistry, Ownable2Step {
    /// @dev What is known about one root besides being recorded.
    struct Mark {
        bool signed;
        bool rejected;
    }

    struct State {
        uint64 lastEon;
        uint64 registeredAt;
        /// @dev Eons that are Conflicting now; the hub is frozen while there is one.
        uint64 conflicts;
    }

    struct Entry {
        bytes32 root;
        bytes32 other;
        uint64 recordedAt;
    }

    struct Resolution {
        bytes32 root;
        uint64 executableAt;
    }

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CHECKPOINT_TYPEHASH = keccak256("Checkpoint(uint256 chain,address hub,uint256 eon,bytes32 root)");
    /// @dev Families the inbox can tell apart.
    uint256 private constant MAX_FAMILIES = 15;
    uint256 private constant EONS_KEPT = 5;

    ISettlementInbox private immutable _inbox;
    /// @inheritdoc ICheckpointRegistry
    uint256 public immutable resolveDelay;

    mapping(bytes32 hubId => Hub) private _hubs;
    mapping(bytes32 hubId => State) private _states;
    mapping(bytes32 hubId => mapping(uint64 eon => Entry)) private _entries;
    mapping(bytes32 hubId => mapping(uint64 eon => mapping(bytes32 root => Mark))) private _marks;
    mapping(bytes32 hubId => mapping(uint64 eon => Resolution)) private _resolutions;
    mapping(bytes32 hubId => mapping(address token => uint64)) private _trails;
    mapping(bytes32 hubId => mapping(uint64 trail => bool)) private _trailTaken;

    constructor(address inbox_, address owner_, uint256 resolveDelay_) Ownable(owner_) {
        if (inbox_.code.length == 0) revert BadInbox();
        if (resolveDelay_ == 0 || resolveDelay_ > 365 days) revert BadDelay();
        _inbox = ISettlementInbox(inbox_);
        resolveDelay = resolveDelay_;
    }

    // ------------------------------------------------------------------------------------------------ recording

    /// @inheritdoc ICheckpointRegistry
    function record(bytes calldata message) external {
        (bool valid, Message.Header memory header, address hub) = Message.parseCheckpoint(message);
        if (!valid || header.targetChain != block.chainid || header.inbox != Message.word(address(_inbox))) revert BadMessage();
        bytes32 hubId = hubIdOf(header.sourceChain, hub);
        Hub storage known = _known(hubId);
        // An outbox of 0 is nobody's word: no message can name it.
        address outbox = known.outbox;
        if (outbox == address(0) || header.outbox != Message.word(outbox)) revert BadMessage();
        uint64 eon = header.sequence;
        bytes32 root = header.root;
        if (_isRecorded(hubId, eon, root)) return;
        uint256 families = _inbox.familiesOf(keccak256(message)) + (_marks[hubId][eon][root].signed ? 1 : 0);
        if (families < known.quorum) revert QuorumShort(families, known.quorum);
        _record(known, hubId, eon, root);
    }

    /// @inheritdoc ICheckpointRegistry
    function recordSigned(uint64 chain, address hub, uint64 eon, bytes32 root, bytes calldata signature) external {
        bytes32 hubId = hubIdOf(chain, hub);
        Hub storage known = _known(hubId);
        if (eon == 0 || root == 0) revert BadMessage();
        address operator = known.operator;
        uint256 signatureAt;
        assembly ("memory-safe") {
            signatureAt := signature.offset
        }
        // Low s only, and 0 for whatever is no signature, so an operator of 0 never signed anything.
        address signer = SignatureCheck.recover(checkpointDigest(chain, hub, eon, root), signatureAt, signature.length);
        if (signer == address(0) || signer != operator) revert SignatureRefused();
        Mark storage mark = _marks[hubId][eon][root];
        if (!mark.signed) {
            mark.signed = true;
            emit CheckpointSigned(hubId, eon, root);
        }
        if (_isRecorded(hubId, eon, root)) return;
        if (_families(known, chain, hub, eon, root) + 1 >= known.quorum) _record(known, hubId, eon, root);
    }

    /// @dev The caller has checked the quorum and that the root is not recorded.
    function _record(Hub storage hub, bytes32 hubId, uint64 eon, bytes32 root) private {
        if (_marks[hubId][eon][root].rejected) revert RootRejected(hubId, eon, root);
        State storage state = _states[hubId];
        Entry storage entry = _entries[hubId][eon];
        bytes32 before = entry.root;
        if (before != 0) {
            // A third root tells nothing the first two did not.
            if (entry.other != 0) revert HubFrozen(hubId);
            entry.other = root;
            ++state.conflicts;
            emit CheckpointConflict(hubId, eon, before, root);
            return;
        }
        State memory now_ = state;
        if (now_.conflicts != 0) revert HubFrozen(hubId);
        uint64 first = hub.firstEon;
        if (eon < first) revert EonTooOld(eon, first);
        if (!_inTime(hub, now_, eon)) revert EonTooNew(eon, now_.lastEon);
        entry.root = root;
        entry.recordedAt = uint64(block.timestamp);
        emit CheckpointRecorded(hubId, eon, root);
        if (eon < now_.lastEon) {
            emit CheckpointFinal(hubId, eon, root);
            return;
        }
        state.lastEon = eon;
        // The ones before it are final since it was recorded itself. Of the newest, a conflict may have left none, or brought another.
        bytes32 left = eon == now_.lastEon ? bytes32(0) : _entries[hubId][now_.lastEon].root;
        if (left != 0) emit CheckpointFinal(hubId, now_.lastEon, left);
    }

    /// @dev Far future eons are kept out because the honest ones behind them would be final as soon as they are recorded. The clock runs from the
    /// registration and from nothing that anybody can record late: else one old eon would put the newest ones out of reach for ever. Old eons may
    /// always come: a quorum's word is worth the same for them.
    function _inTime(Hub storage hub, State memory state, uint64 eon) private view returns (bool) {
        uint256 gap = hub.gapMax;
        if (eon <= state.lastEon + gap) return true;
        uint256 eonSeconds = hub.eonSeconds;
        if (eonSeconds == 0) return state.lastEon == 0;
        return eon <= hub.firstEon + gap + (block.timestamp - state.registeredAt) / eonSeconds;
    }

    // ------------------------------------------------------------------------------------------------ reading

    /// @inheritdoc ICheckpointRegistry
    function verifyAllotment(bytes32 hubId, uint64 eon, Allotment calldata allotment)
        external
        view
        returns (bool holds, Standing standing, uint256 upperBound)
    {
        address hub = _known(hubId).hub;
        standing = _standing(hubId, eon);
        if (standing == Standing.Unknown || _states[hubId].conflicts != 0) return (false, standing, 0);
        (bool known, uint64 trail) = trailOf(hubId, allotment.token);
        if (!known || trail != allotment.tokenTrail) return (false, standing, 0);
        (holds, upperBound) = AllotmentProof.check(allotment, hub, _entries[hubId][eon].root);
    }

    /// @inheritdoc ICheckpointRegistry
    function familiesOf(bytes32 hubId, uint64 eon, bytes32 root) external view returns (uint256) {
        Hub storage known = _known(hubId);
        return _families(known, known.chain, known.hub, eon, root) + (_marks[hubId][eon][root].signed ? 1 : 0);
    }

    /// @inheritdoc ICheckpointRegistry
    function hubIdOf(uint64 chain, address hub) public pure returns (bytes32) {
        return keccak256(abi.encode(chain, hub));
    }

    /// @inheritdoc ICheckpointRegistry
    function hubOf(bytes32 hubId) external view returns (Hub memory) {
        return _hubs[hubId];
    }

    /// @inheritdoc ICheckpointRegistry
    function stateOf(bytes32 hubId) external view returns (uint64 lastEon, bool frozen) {
        State storage state = _states[hubId];
        return (state.lastEon, state.conflicts != 0);
    }

    /// @inheritdoc ICheckpointRegistry
    function checkpointOf(bytes32 hubId, uint64 eon) external view returns (Checkpoint memory) {
        Entry storage entry = _entries[hubId][eon];
        return Checkpoint(entry.root, entry.other, _standing(hubId, eon), entry.recordedAt);
    }

    /// @inheritdoc ICheckpointRegistry
    function trailOf(bytes32 hubId, address token) public view returns (bool known, uint64 trail) {
        trail = _trails[hubId][token];
        known = trail != 0 || (token != address(0) && token == _hubs[hubId].hub);
    }

    /// @inheritdoc ICheckpointRegistry
    function checkpointDigest(uint64 chain, address hub, uint64 eon, bytes32 root) public view returns (bytes32) {
        // Built anew each time: after a fork of the chain, signatures of the other half must not hold here.
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("CheckpointRegistry"), keccak256("1"), block.chainid, address(this)));
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(CHECKPOINT_TYPEHASH, chain, hub, eon, root))));
    }

    /// @inheritdoc ICheckpointRegistry
    function inbox() external view returns (address) {
        return address(_inbox);
    }

    /// @inheritdoc ICheckpointRegistry
    function owner() public view override(ICheckpointRegistry, Ownable) returns (address) {
        return super.owner();
    }

    function _known(bytes32 hubId) private view returns (Hub storage known) {
        known = _hubs[hubId];
        if (known.hub == address(0)) revert UnknownHub(hubId);
    }

    /// @dev Roots are never 0, so an empty entry records none.
    function _isRecorded(bytes32 hubId, uint64 eon, bytes32 root) private view returns (bool) {
        Entry storage entry = _entries[hubId][eon];
        return entry.root == root || entry.other == root;
    }

    function _standing(bytes32 hubId, uint64 eon) private view returns (Standing) {
        Entry storage entry = _entries[hubId][eon];
        if (entry.root == 0) return Standing.Unknown;
        if (entry.other != 0) return Standing.Conflicting;
        return eon < _states[hubId].lastEon ? Standing.Final : Standing.Provisional;
    }

    /// @dev Families that brought the one message which says this; the operator's signature is not among them.
    function _families(Hub storage known, uint64 chain, address hub, uint64 eon, bytes32 root) private view returns (uint256) {
        address outbox = known.outbox;
        if (outbox == address(0)) return 0;
        return _inbox.familiesOf(keccak256(Message.encodeCheckpoint(chain, uint64(block.chainid), outbox, address(_inbox), hub, eon, root)));
    }

    // ------------------------------------------------------------------------------------------------ owner

    /// @inheritdoc ICheckpointRegistry
    function registerHub(Hub calldata hub) external onlyOwner {
        if (hub.chain == 0 || hub.hub == address(0) || hub.gapMax == 0 || hub.gapMax > EONS_KEPT) revert BadHub();
        // Neither nobody's word nor more families than there can be.
        uint256 families = (hub.outbox == address(0) ? 0 : MAX_FAMILIES) + (hub.operator == address(0) ? 0 : 1);
        if (hub.quorum == 0 || hub.quorum > families || hub.firstEon == 0) revert BadHub();
        // The operator is whom the hub's contract keeps in check: where an outbox reads that contract, the operator alone is nobody's word.
        if (hub.quorum == 1 && hub.outbox != address(0) && hub.operator != address(0)) revert BadHub();
        bytes32 hubId = hubIdOf(hub.chain, hub.hub);
        if (_hubs[hubId].hub != address(0)) revert HubExists(hubId);
        _hubs[hubId] = hub;
        _states[hubId].registeredAt = uint64(block.timestamp);
        emit HubRegistered(hubId, hub.chain, hub.hub, hub.outbox, hub.operator, hub.quorum, hub.gapMax, hub.eonSeconds, hub.firstEon);
    }

    /// @inheritdoc ICheckpointRegistry
    function registerToken(bytes32 hubId, address token, uint64 trail) external onlyOwner {
        if (token == address(0) || token == _known(hubId).hub || trail == 0) revert BadToken();
        if (_trails[hubId][token] != 0 || _trailTaken[hubId][trail]) revert BadToken();
        _trails[hubId][token] = trail;
        _trailTaken[hubId][trail] = true;
        emit TokenRegistered(hubId, token, trail);
    }

    /// @inheritdoc ICheckpointRegistry
    function announceResolution(bytes32 hubId, uint64 eon, bytes32 root) external onlyOwner {
        Entry storage entry = _entries[hubId][eon];
        if (entry.other == 0 || (root != 0 && root != entry.root && root != entry.other)) revert NoConflict(hubId, eon);
        uint256 executableAt = block.timestamp + resolveDelay;
        _resolutions[hubId][eon] = Resolution(root, uint64(executableAt));
        emit ResolutionAnnounced(hubId, eon, root, executableAt);
    }

    /// @inheritdoc ICheckpointRegistry
    function resolve(bytes32 hubId, uint64 eon, bytes32 root) external onlyOwner {
        Entry storage entry = _entries[hubId][eon];
        bytes32 other = entry.other;
        if (other == 0) revert NoConflict(hubId, eon);
        Resolution memory announced = _resolutions[hubId][eon];
        if (announced.executableAt == 0 || announced.root != root) revert NotAnnounced();
        if (block.timestamp < announced.executableAt) revert TooEarly(announced.executableAt);
        // An announcement serves one conflict: the next one gets a delay of its own.
        delete _resolutions[hubId][eon];
        if (root != other) _marks[hubId][eon][other].rejected = true;
        if (root != entry.root) _marks[hubId][eon][entry.root].rejected = true;
        entry.root = root;
        entry.other = 0;
        --_states[hubId].conflicts;
        emit ConflictResolved(hubId, eon, root);
        if (root != 0 && eon < _states[hubId].lastEon) emit CheckpointFinal(hubId, eon, root);
    }

    /// @notice Refused: without an owner a hub that froze would stay frozen for ever.
    function renounceOwnership() public pure override {
        revert OwnerNeeded();
    }
}
