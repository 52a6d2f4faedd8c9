// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @dev What the outbox asks of a hub's contract, settable.
contract FakeHub {
    bool public hasMissedCheckpointSubmission;
    bool public hasOutstandingChallenges;
    uint256[5] private _eons;
    bytes32[5] private _roots;

    function setHalted(bool missed, bool challenged) external {
        (hasMissedCheckpointSubmission, hasOutstandingChallenges) = (missed, challenged);
    }

    function submit(uint256 eon, bytes32 root) external {
        (_eons[eon % 5], _roots[eon % 5]) = (eon, root);
    }

    /// @dev A contract that says of a slot what it likes.
    function setSlot(uint8 slot, uint256 eon, bytes32 root) external {
        (_eons[slot], _roots[slot]) = (eon, root);
    }

    function getCheckpointAtSlot(uint8 slot) external view returns (uint256, bytes32, uint256) {
        return (_eons[slot], _roots[slot], 0);
    }
}
