// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ICcipReceiver, ICcipRouter} from "../../src/interfaces/ICcipRouter.sol";
import {PlainToken} from "./Tokens.sol";

/// @dev Router 1.2.0 as a port sees it: takes native or token fees, keeps what is overpaid, calls receivers with exactly the gas that was
/// asked for. The protocol's own contracts stand in the end-to-end tests.
contract FakeRouter is ICcipRouter {
    error InsufficientFeeTokenAmount();
    error InvalidMsgValue();

    uint256 public fee = 1000;
    uint256 public sends;
    uint64 public lastSelector;
    bytes public lastReceiver;
    bytes public lastData;
    address public lastFeeToken;
    bytes public lastExtraArgs;
    uint256 public lastValue;

    function setFee(uint256 fee_) external {
        fee = fee_;
    }

    function getFee(uint64, Outgoing calldata message) external view returns (uint256) {
        return message.feeToken == address(0) ? fee : 2 * fee;
    }

    function ccipSend(uint64 selector, Outgoing calldata message) external payable returns (bytes32) {
        if (message.feeToken == address(0)) {
            if (msg.value < fee) revert InsufficientFeeTokenAmount();
        } else {
            if (msg.value != 0) revert InvalidMsgValue();
            require(IERC20(message.feeToken).transferFrom(msg.sender, address(this), 2 * fee), "fee token");
        }
        require(message.tokenAmounts.length == 0, "tokens");
        (lastSelector, lastReceiver, lastData) = (selector, message.receiver, message.data);
        (lastFeeToken, lastExtraArgs, lastValue) = (message.feeToken, message.extraArgs, msg.value);
        return keccak256(abi.encode(++sends, message));
    }

    function route(address receiver, uint256 gasLimit, Incoming calldata message) external returns (bool done, bytes memory answer) {
        return receiver.call{gas: gasLimit}(abi.encodeCall(ICcipReceiver.ccipReceive, (message)));
    }

    /// @dev What a token pool does before the receiver is called: the tokens are there, or none of it happened.
    function routeTokens(address receiver, Incoming calldata message) external {
        for (uint256 i; i < message.destTokenAmounts.length; ++i) {
            PlainToken(message.destTokenAmounts[i].token).mint(receiver, message.destTokenAmounts[i].amount);
        }
        ICcipReceiver(receiver).ccipReceive(message);
    }
}
