// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title What the port calls of Chainlink CCIP's Router 1.2.0, and what the Router calls of it; written by hand from its public ABI.
interface ICcipRouter {
    struct TokenAmount {
        address token;
        uint256 amount;
    }

    struct Outgoing {
        bytes receiver;
        bytes data;
        TokenAmount[] tokenAmounts;
        address feeToken;
        bytes extraArgs;
    }

    struct Incoming {
        bytes32 messageId;
        uint64 sourceChainSelector;
        bytes sender;
        bytes data;
        TokenAmount[] destTokenAmounts;
    }

    /// @notice Fee in `feeToken` (0 = native coin) of sending now.
    function getFee(uint64 destChainSelector, Outgoing calldata message) external view returns (uint256 fee);

    /// @notice Keeps whatever value comes with it, more than the fee too.
    function ccipSend(uint64 destChainSelector, Outgoing calldata message) external payable returns (bytes32 messageId);
}

/// @title What CCIP looks for in a receiver: without it a message counts as executed and is silently dropped.
interface ICcipReceiver {
    function ccipReceive(ICcipRouter.Incoming calldata message) external;
}
