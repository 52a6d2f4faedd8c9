// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title ERC-20 transfers whose outcome nobody but the token decides: a fixed stipend, and at most one word of return data.
/// @dev Assembly because Solidity copies all return data (a token could return a megabyte at the caller's cost) and because every transfer of a
/// batch reuses the same memory.
library TokenCall {
    /// @dev Gas that a payout transfer always gets. Proxied tokens with deny lists need about 65,000 for a first payment.
    uint256 internal constant STIPEND = 150_000;
    /// @dev What must be left before the call so that 63/64 of it still covers the stipend after the call's own cost (2,600 cold account).
    uint256 internal constant GAS_NEEDED = STIPEND + STIPEND / 63 + 5_000;

    /// @notice Sends a payout. False when the token reverted, returned something other than true, or has no code, each with its full stipend.
    /// The caller has checked GAS_NEEDED.
    function pay(address token, address to, uint256 amount) internal returns (bool) {
        return _transfer(token, to, amount, STIPEND);
    }

    /// @notice A transfer on the caller's own account, with all the gas there is.
    function transfer(address token, address to, uint256 amount) internal returns (bool) {
        return _transfer(token, to, amount, type(uint256).max);
    }

    function _transfer(address token, address to, uint256 amount, uint256 gasLimit) private returns (bool done) {
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, shl(224, 0xa9059cbb)) // transfer(address,uint256)
            mstore(add(data, 4), to)
            mstore(add(data, 36), amount)
            // Output goes to the scratch space; the call must be a statement of its own, since Yul evaluates arguments right to left.
            done := call(gasLimit, token, 0, data, 68, 0, 32)
            if done {
                switch returndatasize()
                case 0 { done := gt(extcodesize(token), 0) }
                default { done := and(gt(returndatasize(), 31), eq(mload(0), 1)) }
            }
        }
    }

    /// @notice Pulls a deposit, with all the gas there is; the caller measures what came.
    function pull(address token, address from, uint256 amount) internal returns (bool done) {
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, shl(224, 0x23b872dd)) // transferFrom(address,address,uint256)
            mstore(add(data, 4), from)
            mstore(add(data, 36), address())
            mstore(add(data, 68), amount)
            done := call(gas(), token, 0, data, 100, 0, 32)
            if done {
                switch returndatasize()
                case 0 { done := gt(extcodesize(token), 0) }
                default { done := and(gt(returndatasize(), 31), eq(mload(0), 1)) }
            }
        }
    }
}
