// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title What only the LayerZero V2 port has; protocol options are its constants.
interface ILayerZeroPort {
    /// @notice One remote chain, set once.
    struct Lane {
        uint32 eid;
        bytes32 peer;
        bytes32 remoteOutbox;
        address sendLibrary;
        address receiveLibrary;
    }

    event LaneSet(uint64 indexed chainId, uint32 indexed eid, bytes32 peer, bytes32 remoteOutbox);
    event Frozen();

    error NotOutbox();
    error NotEndpoint();
    error NotGuardian();
    error NotPeer(uint32 eid, bytes32 sender);
    error LaneExists(uint64 chainId);
    error NoLane(uint64 chainId);
    error AlreadyFrozen();
    error NotFrozen();
    error ZeroAddress();
    /// @notice A setting of 0 would leave the choice to LayerZero's defaults; "none" is written 255.
    error DefersToDefault();
    error ValueRefused();

    /// @notice Sets a remote chain once, before `freeze`: peer, libraries, executor and the verifier set of both directions.
    /// @param lane `remoteOutbox` may be 0 when nothing is received from there.
    /// @param sendUln abi.encode(UlnConfig) for the send library; `executor` abi.encode(ExecutorConfig); `receiveUln` for the receive library.
    function setLane(uint64 chainId, Lane calldata lane, bytes calldata sendUln, bytes calldata executor, bytes calldata receiveUln)
        external;
    /// @notice Ends the setting of lanes for ever. Before it the port neither sends nor accepts a first packet.
    function freeze() external;

    /// @notice Guardian: gives up one unverified inbound nonce that blocks the path. Never touches funds.
    function skip(uint32 srcEid, bytes32 sender, uint64 nonce) external;

    /// @notice LayerZero's EndpointV2 of this chain.
    function endpoint() external view returns (address);
    /// @notice The only account that may call `skip`; never changes.
    function guardian() external view returns (address);
    /// @notice May set lanes until the port is frozen, and nothing afterwards.
    function owner() external view returns (address);
    /// @notice The lane to a chain; all 0 when there is none.
    function lane(uint64 chainId) external view returns (Lane memory);
    /// @notice Chain id of a LayerZero endpoint id; 0 when there is no lane.
    function chainOf(uint32 eid) external view returns (uint64);
    /// @notice Gas floor of the receive callback.
    function MIN_GAS() external view returns (uint128);
}
