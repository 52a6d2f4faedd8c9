// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @dev The wallets of test/vectors/signatures.json.
contract VectorWallet {
    bytes32 private immutable MODE;
    address private immutable OWNER;

    constructor(string memory mode, address owner) {
        MODE = keccak256(bytes(mode));
        OWNER = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata auth) external view returns (bytes32) {
        bytes32 magic = bytes32(bytes4(0x1626ba7e));
        if (MODE == keccak256("any")) return magic;
        if (MODE == keccak256("dirty")) return magic | bytes32(uint256(1));
        if (MODE == keccak256("refuse")) return bytes32(bytes4(0xffffffff));
        if (MODE == keccak256("short")) {
            assembly ("memory-safe") {
                mstore(0, magic)
                return(0, 4)
            }
        }
        if (MODE != keccak256("owner")) revert("wallet");
        if (auth.length != 65) return 0;
        return ecrecover(digest, uint8(auth[64]), bytes32(auth[:32]), bytes32(auth[32:64])) == OWNER ? magic : bytes32(0);
    }
}
