// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title Transfers due, 48 bytes each: payee b20 | items u16 | amount u104 | fee u104, sums over `items` settlements.
/// @dev As `bytes` they cross to the vault in one memory copy and leave in one event, where an array of structs is encoded and decoded word by word
/// and an event of its own for each costs 2,661 gas. 104 bits hold 256 amounts of 96 bits, the most that one nonce word allows.
library Runs {
    uint256 internal constant SIZE = 48;

    /// @dev count << 208 | amount << 104 | fee, so that settlements are added up in one word.
    function sums(uint256 count, uint256 amount, uint256 fee) internal pure returns (uint256) {
        return count << 208 | amount << 104 | fee;
    }

    /// @param offset of the run, a multiple of SIZE below `runs.length`.
    function read(bytes calldata runs, uint256 offset) internal pure returns (address payee, uint256 amount) {
        assembly ("memory-safe") {
            let run := add(runs.offset, offset)
            payee := shr(96, calldataload(run))
            amount := and(shr(104, calldataload(add(run, 16))), 0xffffffffffffffffffffffffff)
        }
    }

    /// @notice Writes run `index` into memory of sufficient size.
    function put(bytes memory runs, uint256 index, address payee, uint256 sums_) internal pure {
        assembly ("memory-safe") {
            let run := add(add(runs, 32), mul(index, 48))
            mstore(run, shl(96, payee))
            // The second word begins with the last four bytes of the payee, and ends where the run does.
            mstore(add(run, 16), or(shl(224, payee), sums_))
        }
    }

    /// @notice Settlements of run `index`.
    function items(bytes memory runs, uint256 index) internal pure returns (uint256 count) {
        assembly ("memory-safe") {
            count := and(shr(208, mload(add(add(runs, 48), mul(index, 48)))), 0xffff)
        }
    }

    /// @notice Shows only the first `count` runs of a longer allocation.
    function setCount(bytes memory runs, uint256 count) internal pure {
        assembly ("memory-safe") {
            mstore(runs, mul(count, 48))
        }
    }
}
