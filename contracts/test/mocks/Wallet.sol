// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @dev A contract payer: accepts keccak256("ok", digest) as authorization, or misbehaves on command.
contract Wallet {
    enum Mood {
        Honest,
        Refuse,
        Revert,
        BurnGas,
        ReturnBomb,
        ReturnShort,
        AcceptAll
    }

    Mood public mood;

    function setMood(Mood mood_) external {
        mood = mood_;
    }

    function act(address callee, bytes calldata data) external returns (bytes memory answer) {
        bool done;
        (done, answer) = callee.call(data);
        require(done, "wallet call failed");
    }

    function isValidSignature(bytes32 digest, bytes calldata auth) external view returns (bytes4) {
        if (mood == Mood.Revert) revert("wallet");
        if (mood == Mood.BurnGas) {
            assembly ("memory-safe") {
                invalid()
            }
        }
        if (mood == Mood.ReturnShort) {
            assembly ("memory-safe") {
                mstore(0, shl(224, 0x1626ba7e))
                return(0, 4)
            }
        }
        bool ok = mood == Mood.AcceptAll || mood == Mood.ReturnBomb
            || (mood == Mood.Honest && keccak256(auth) == keccak256(abi.encode(keccak256(abi.encode("ok", digest)))));
        if (mood == Mood.ReturnBomb) {
            assembly ("memory-safe") {
                mstore(0, shl(224, 0x1626ba7e))
                return(0, 200000)
            }
        }
        return ok ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}
