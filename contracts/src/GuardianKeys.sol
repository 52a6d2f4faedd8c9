// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";

/// @title Guardian keys kept as the code of a contract: 19 keys cost one code read instead of 19 storage reads in every delivery.
library GuardianKeys {
    /// @dev Returns everything behind these eleven bytes as the contract's code.
    bytes11 private constant CREATION = hex"600b5981380380925939f3";

    /// @param keys packed, 20 bytes each.
    function write(uint32 index, bytes memory keys) internal returns (address) {
        // The leading STOP keeps the keys from ever running, and the code from starting with the reserved 0xef.
        return Create2.deploy(0, bytes32(uint256(index)), bytes.concat(CREATION, hex"00", keys));
    }

    /// @notice STOP and the packed keys behind it.
    function read(address pointer) internal view returns (bytes memory) {
        return pointer.code;
    }

    function count(bytes memory code) internal pure returns (uint256) {
        return code.length / 20;
    }

    /// @dev One unaligned load; `index` is checked against the count, so it never leaves `code`.
    function key(bytes memory code, uint256 index) internal pure returns (address found) {
        if (index >= count(code)) return address(0);
        assembly ("memory-safe") {
            // Behind the length word and the STOP; the 12 bytes that follow the key are shifted out.
            found := shr(96, mload(add(add(code, 33), mul(index, 20))))
        }
    }
}
