// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";

/// @title The two ways to authorize; docs/wire.md section 5. `auth` is a calldata address, `length` its bytes.
library SignatureCheck {
    /// @dev Gas that an ERC-1271 payer always gets; a wallet with several owners needs well below half of it.
    uint256 internal constant STIPEND = 200_000;
    /// @dev What must be left so that 63/64 of it still covers the stipend after the cost of the call (2,600) and of its input.
    uint256 internal constant GAS_NEEDED = STIPEND + STIPEND / 63 + 10_000;
    /// @dev secp256k1 n / 2: above it lies the malleable twin of every signature.
    uint256 internal constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Signer of a 65-byte signature with low s and v 27 or 28; 0 for everything else.
    /// @dev What `ecrecover(digest, v, r, s)` does, without taking the calldata apart and together again.
    function recover(bytes32 digest, uint256 auth, uint256 length) internal view returns (address signer) {
        assembly ("memory-safe") {
            let v := byte(0, calldataload(add(auth, 64)))
            if and(eq(length, 65), and(iszero(gt(calldataload(add(auth, 32)), HALF_ORDER)), lt(sub(v, 27), 2))) {
                let input := mload(0x40)
                mstore(input, digest)
                mstore(add(input, 32), v)
                calldatacopy(add(input, 64), auth, 64)
                // The precompile writes nothing when there is no signer, and fails only for want of gas, which must not look like a bad signature.
                mstore(0, 0)
                if iszero(staticcall(gas(), 1, input, 128, 0, 32)) { revert(0, 0) }
                signer := mload(0)
            }
        }
    }

    /// @notice Whether a contract payer accepts; at most one word of its answer is read. Reverts when the stipend cannot be covered, so that who
    /// calls cannot make a good signature look bad.
    function acceptedByContract(address payer, bytes32 digest, uint256 auth, uint256 length) internal view returns (bool accepted) {
        if (payer.code.length == 0) return false;
        if (gasleft() < GAS_NEEDED) revert ISettlementInbox.OutOfStipend();
        uint256 stipend = STIPEND;
        assembly ("memory-safe") {
            // isValidSignature(bytes32,bytes), encoded by hand because a Solidity call would copy all return data.
            let data := mload(0x40)
            mstore(data, shl(224, 0x1626ba7e))
            mstore(add(data, 4), digest)
            mstore(add(data, 36), 64)
            mstore(add(data, 68), length)
            let padded := and(add(length, 31), not(31))
            // The last word first: what the signature does not fill must be zero.
            mstore(add(add(data, 68), padded), 0)
            calldatacopy(add(data, 100), auth, length)
            mstore(0, 0)
            let done := staticcall(stipend, payer, data, add(100, padded), 0, 32)
            accepted := and(and(done, gt(returndatasize(), 31)), eq(mload(0), shl(224, 0x1626ba7e)))
        }
    }
}
