// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ISettlementInbox} from "../../src/interfaces/ISettlementInbox.sol";

/// @dev What the inbox asks of a port, settable; tests call the inbox as it.
contract FakePort {
    uint8 public family;
    address public inbox;
    bool public frozen = true;

    constructor(uint8 family_, address inbox_) {
        family = family_;
        inbox = inbox_;
    }

    function setFrozen(bool frozen_) external {
        frozen = frozen_;
    }

    function setFamily(uint8 family_) external {
        family = family_;
    }

    function bring(uint64 sourceChain, bytes32 outbox, bytes calldata message) external {
        ISettlementInbox(inbox).receiveMessage(sourceChain, outbox, message);
    }
}
