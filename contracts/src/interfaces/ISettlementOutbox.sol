// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title Source-chain contract that commits to messages and hands them to ports. Holds nothing after a call.
interface ISettlementOutbox {
    /// @notice A message went out over a port. `bridgeRef` is what the port's protocol calls it. `count` is 0 for a checkpoint, whose `sequence`
    /// is its eon.
    event MessageDispatched(
        bytes32 indexed messageId, address indexed port, bytes32 bridgeRef, uint64 targetChain, uint64 sequence, uint32 count
    );
    event PortAdded(address indexed port, uint8 slot, uint8 family);
    event PortRemoved(address indexed port, uint8 slot);
    event DispatcherSet(address indexed dispatcher, bool allowed);

    error NotDispatcher(address caller);
    error UnknownPort(address port);
    error BadHeader();
    error WrongRoot(bytes32 expected, bytes32 actual);
    error WrongCount(uint256 expected, uint256 actual);
    error AlreadyDispatched(bytes32 messageId, address port);
    error NotCommitted(bytes32 messageId);
    error NoFreeSlot();
    error ZeroAddress();
    error RefundFailed();
    /// @notice The hub's contract does not have a checkpoint of that eon (any more).
    error NoCheckpoint(address hub, uint64 eon);
    /// @notice The hub missed a checkpoint or has a challenge unanswered: what it says is not carried.
    error HubHalted(address hub);

    /// @notice Commits to a batch and sends it over `port`. The ids are hashed into the tree of docs/wire.md section 3 and must give the header's
    /// root and count, so every batch can be recovered from calldata. For a further port of a message committed before, pass no ids.
    /// @param header the 158 bytes of docs/wire.md section 2.
    /// @return bridgeRef the protocol's own id of the message.
    function dispatch(bytes calldata header, bytes32[] calldata settlementIds, address port, uint128 gasLimit)
        external
        payable
        returns (bytes32 bridgeRef);

    /// @notice Reads the root of `eon` from the hub's contract on this chain and sends it over `port`: a message of kind 2 (docs/wire.md), the same
    /// bytes whoever calls and over every port. Dispatchers only; the same message goes over one port once.
    function dispatchCheckpoint(address hub, uint64 eon, uint64 targetChain, address inbox, address port, uint128 gasLimit)
        external
        payable
        returns (bytes32 bridgeRef);

    /// @notice Fee in wei of `dispatch` or `dispatchCheckpoint` over `port` now.
    /// @param header the 158 bytes of a batch or the 190 of a checkpoint.
    function quote(bytes calldata header, address port, uint128 gasLimit) external view returns (uint256 nativeFee);

    /// @notice Whether `dispatch` ever committed to this message.
    function committed(bytes32 messageId) external view returns (bool);

    /// @notice Whether this message went out over this port.
    function dispatched(bytes32 messageId, address port) external view returns (bool);

    /// @notice Cumulative: messages committed, dispatches made. Compared with the logs to prove that none was missed.
    function counters() external view returns (uint128 messages, uint128 dispatches);

    /// @notice Whether an account may dispatch.
    function isDispatcher(address account) external view returns (bool);

    /// @notice Slot of an active port plus one; 0 when the port is not active.
    function portSlot(address port) external view returns (uint8);

    /// @notice Owner only. A dispatcher spends its own money on fees and can commit only to what payers have signed.
    function setDispatcher(address account, bool allowed) external;
    /// @notice Owner only. A port that comes back has its old slot, so it still refuses what it sent before.
    function addPort(address port) external;
    /// @notice Owner only, at once.
    function removePort(address port) external;
    /// @notice Chooses dispatchers and ports.
    function owner() external view returns (address);
}
