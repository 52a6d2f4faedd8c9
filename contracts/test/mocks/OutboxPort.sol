// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @dev A port as the outbox sees it: charges a fee, refunds the rest, remembers what it was given.
contract OutboxPort {
    address public outbox;
    uint8 public family = 1;
    uint256 public fee;
    bool public broken;
    uint256 public sends;
    uint64 public lastTarget;
    uint128 public lastGasLimit;
    bytes public lastMessage;
    bytes32 public constant BRIDGE_REF = keccak256("bridge ref");

    constructor(address outbox_) {
        outbox = outbox_;
    }

    function setFee(uint256 fee_) external {
        fee = fee_;
    }

    function setBroken(bool broken_) external {
        broken = broken_;
    }

    function quote(uint64, bytes calldata, uint128 gasLimit) external view returns (uint256) {
        return fee + gasLimit;
    }

    function send(uint64 target, bytes calldata message, uint128 gasLimit, address refund) external payable returns (bytes32) {
        require(!broken, "broken");
        ++sends;
        (lastTarget, lastMessage, lastGasLimit) = (target, message, gasLimit);
        payable(address(0xFEE)).transfer(fee);
        if (msg.value > fee) {
            (bool done,) = refund.call{value: msg.value - fee}("");
            require(done, "refund");
        }
        return BRIDGE_REF;
    }
}
