// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title What only the Wormhole port has; protocol options are its constants.
interface IWormholePort {
    /// @notice One remote chain, set once.
    struct Lane {
        uint16 wormholeChain;
        bytes32 peer;
        bytes32 remoteOutbox;
    }

    event LaneSet(uint64 indexed chainId, uint16 indexed wormholeChain, bytes32 peer, bytes32 remoteOutbox);
    event Frozen();
    /// @notice The keys of a guardian set were copied from the core.
    event GuardianSetRemembered(uint32 indexed index, uint256 guardians);

    error NotOutbox();
    /// @notice Not what our port sends: another version, length or consistency level.
    error BadVaa();
    error NotPeer(uint16 wormholeChain, bytes32 emitter);
    /// @notice This VAA was brought in before.
    error AlreadyDelivered(bytes32 digest);
    /// @notice Another VAA of the same sequence was brought in before.
    error SequenceTaken(uint64 sequence, bytes32 digest);
    error NoQuorum(uint256 signatures, uint256 needed);
    error BadSignature(uint256 guardianIndex);
    /// @notice The core itself refused, with its reason.
    error NotVerified(string reason);
    error FeeTooLow(uint256 required, uint256 supplied);
    error RefundFailed();
    error LaneExists(uint64 chainId);
    error NoLane(uint64 chainId);
    error AlreadyFrozen();
    error NotFrozen();
    error ZeroAddress();
    error ValueRefused();

    /// @notice Sets a remote chain once, before `freeze`.
    /// @param lane `remoteOutbox` may be 0 when nothing is received from there.
    function setLane(uint64 chainId, Lane calldata lane) external;
    /// @notice Ends the setting of lanes for ever. Before it the port does not send.
    function freeze() external;

    /// @notice Brings a message in. Anyone may call; what counts is the guardians' signatures.
    function executeVAAv1(bytes calldata vaa) external payable;

    /// @notice Wormhole's core contract of this chain.
    function core() external view returns (address);
    /// @notice Wormhole's id of this chain.
    function wormholeChain() external view returns (uint16);
    /// @notice May set lanes until the port is frozen, and nothing afterwards.
    function owner() external view returns (address);
    /// @notice The lane to a chain; all 0 when there is none.
    function lane(uint64 chainId) external view returns (Lane memory);
    /// @notice Chain id of a Wormhole chain id; 0 when there is no lane.
    function chainOf(uint16 wormholeChain) external view returns (uint64);
    /// @notice Digest of the VAA that came in from a chain under a sequence; 0 when none did.
    function delivered(uint64 chainId, uint64 sequence) external view returns (bytes32 digest);
    /// @notice Consistency level of every message: the block must be final.
    function CONSISTENCY() external view returns (uint8);
}
