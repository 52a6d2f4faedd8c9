// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title What only the Chainlink CCIP port has; protocol arguments are its constants.
interface ICcipPort {
    /// @notice One remote chain, set once.
    struct Lane {
        /// CCIP's id of the chain; never the chain id.
        uint64 selector;
        bytes32 peer;
        bytes32 remoteOutbox;
        /// Names no executor and pays none: somebody (the relayer) must execute on the target. Works from CCIP 2.0 on; earlier versions refuse.
        bool selfExecute;
    }

    event LaneSet(uint64 indexed chainId, uint64 indexed selector, bytes32 peer, bytes32 remoteOutbox, bool selfExecute);
    event Frozen();
    /// @notice Tokens that came over CCIP were deposited for a payer. `amount` is the destination chain's.
    event ToppedUp(bytes32 indexed ccipMessageId, address indexed payer, address indexed token, uint256 amount);

    error NotOutbox();
    error NotRouter();
    error NotPeer(uint64 selector, bytes sender);
    error LaneExists(uint64 chainId);
    error NoLane(uint64 chainId);
    error AlreadyFrozen();
    error NotFrozen();
    error ZeroAddress();
    error FeeTooLow(uint256 fee, uint256 value);
    error RefundFailed();
    /// @notice Tokens came with something else than abi.encode(payer), or where there is no vault.
    error BadTopUp();

    /// @notice Sets a remote chain once, before `freeze`.
    /// @param lane `remoteOutbox` may be 0 when no messages are received from there.
    function setLane(uint64 chainId, Lane calldata lane) external;
    /// @notice Ends the setting of lanes for ever. Before it the port neither sends nor accepts a message.
    function freeze() external;

    /// @notice Fee of a message in any token CCIP takes (0 = native coin), whatever the port itself pays with.
    function feeIn(address token, uint64 targetChain, bytes calldata message, uint128 gasLimit) external view returns (uint256 fee);

    /// @notice CCIP's Router of this chain; it outlives the protocol's upgrades.
    function router() external view returns (address);
    /// @notice What fees are paid with: 0 = the native coin that comes with `send`, else a token pulled from whoever dispatches. Never changes.
    function feeToken() external view returns (address);
    /// @notice Where top-ups are deposited; 0 on a port that only sends.
    function vault() external view returns (address);
    /// @notice May set lanes until the port is frozen, and nothing afterwards.
    function owner() external view returns (address);
    /// @notice The lane to a chain; all 0 when there is none.
    function lane(uint64 chainId) external view returns (Lane memory);
    /// @notice Chain id of a CCIP selector; 0 when there is no lane.
    function chainOf(uint64 selector) external view returns (uint64);
    /// @notice Gas floor of the receive callback.
    function MIN_GAS() external view returns (uint128);
}
