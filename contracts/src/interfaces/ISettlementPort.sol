// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title A port speaks one bridge protocol on one chain, in both directions.
/// @notice Families: 1 layerzero, 2 ccip, 3 wormhole, 4 operator-signed. Families 5 to 15 are free.
interface ISettlementPort {
    /// @notice The bridge family whose word this port brings; never changes.
    function family() external view returns (uint8);

    /// @notice The only contract that may call `send`.
    function outbox() external view returns (address);

    /// @notice Where received messages are recorded.
    function inbox() external view returns (address);

    /// @notice True once peers, libraries and verifiers can no longer change. Only frozen ports can be activated.
    function frozen() external view returns (bool);

    /// @notice What `send` would cost now, in wei of this chain.
    /// @param targetChain chain id (not a protocol id) of the target.
    /// @param message the bytes of docs/wire.md section 2.
    /// @param gasLimit gas for the callback on the target; raised to the port's floor if below it.
    function quote(uint64 targetChain, bytes calldata message, uint128 gasLimit) external view returns (uint256 nativeFee);

    /// @notice Sends a message; what the protocol does not use goes back to `refund`.
    /// @return bridgeRef the protocol's own id of the message (LayerZero: guid).
    function send(uint64 targetChain, bytes calldata message, uint128 gasLimit, address refund) external payable returns (bytes32 bridgeRef);
}
