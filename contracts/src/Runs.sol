// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title Payees and amounts on their way from inbox to vault: 64 bytes each, payee b32 | amount u256.
/// @dev As `bytes` they cross in one memory copy, where an array of structs is encoded and decoded word by word (about 150 gas per payment). The
/// assembly reads one calldata word; callers stay below `runs.length / SIZE`.
library Runs {
    uint256 internal constant SIZE = 64;

    function read(bytes calldata runs, uint256 index) internal pure returns (address payee, uint256 amount) {
        assembly ("memory-safe") {
            let run := add(runs.offset, shl(6, index))
            payee := calldataload(run)
            amount := calldataload(add(run, 32))
        }
    }

    /// @notice Writes run `index` into memory of sufficient size.
    function put(bytes memory runs, uint256 index, address payee, uint256 amount) internal pure {
        assembly ("memory-safe") {
            let run := add(add(runs, 32), shl(6, index))
            mstore(run, payee)
            mstore(add(run, 32), amount)
        }
    }

    function atMemory(bytes memory runs, uint256 index) internal pure returns (address payee, uint256 amount) {
        assembly ("memory-safe") {
            let run := add(add(runs, 32), shl(6, index))
            payee := mload(run)
            amount := mload(add(run, 32))
        }
    }

    /// @notice Shows only the first `count` runs of a longer allocation.
    function setCount(bytes memory runs, uint256 count) internal pure {
        assembly ("memory-safe") {
            mstore(runs, shl(6, count))
        }
    }
}
