// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";

/// @title Reads the packed encoding of docs/wire.md section 4.
/// @dev `hashItems` is the first of two walks: it proves the layout and computes every id, before anything is decided or any other contract runs.
/// The second walk (SettlementInbox) may therefore trust every length. Assembly because slices with bounds checks and `abi.encode` allocate fresh
/// memory per item: they make the whole transaction a quarter dearer. test/PackedDecoder.t.sol holds the plain twin that must agree.
library PackedDecoder {
    bytes32 internal constant SETTLEMENT_TYPEHASH = keccak256(
        "Settlement(bytes32 jobId,bytes32 receiptHash,bytes32 proofHash,uint256 sourceChainId,address payer,address payee,address token,uint256 amount,uint256 fee,uint256 nonce,uint256 deadline)"
    );
    uint256 internal constant MAX_AUTH = 1024;

    /// @dev message 158 | first 4 | n 2 | siblings 1.
    uint256 internal constant FIRST_AT = 158;
    uint256 internal constant PROOF_AT = 165;
    /// @dev mode 1 | token 20 | payer 20 | nonce word 31.
    uint256 internal constant SECTION_HEAD = 72;
    /// @dev payee 20 | items 2.
    uint256 internal constant RUN_HEAD = 22;
    /// @dev nonce byte 1 | amount 12 | fee 12 | deadline 5 | three hashes.
    uint256 internal constant ITEM = 126;

    /// @notice The calldata word at an absolute address. Bounds are the first walk's business.
    function word(uint256 cursor) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := calldataload(cursor)
        }
    }

    /// @notice The memory word at `at`, inside an allocation of the caller.
    function load(uint256 cursor) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(cursor)
        }
    }

    /// @notice Writes the memory word at `cursor`, inside an allocation of the caller.
    function store(uint256 cursor, uint256 value) internal pure {
        assembly ("memory-safe") {
            mstore(cursor, value)
        }
    }

    /// @notice Whether an item may have to be skipped before its signature is looked at: its nonce is used, its deadline passed, its amount 0 or
    /// above what is cleared, or its payee nobody.
    /// @dev In one expression because Solidity makes a jump of each comparison, which for every item costs more than the comparisons. The plain
    /// twin is SettlementInbox._refusal, which then decides alone.
    /// @param head nonce byte u8 | amount u96 | fee u96 | deadline u40, from the top.
    function doubtful(uint256 head, uint256 bitmap, uint256 cleared, address payee) internal view returns (bool doubt) {
        assembly ("memory-safe") {
            // An amount of 0 wraps and is not below.
            doubt := or(
                or(and(shr(shr(248, head), bitmap), 1), iszero(lt(sub(shr(160, shl(8, head)), 1), cleared))),
                or(iszero(payee), gt(timestamp(), shr(216, shl(200, head))))
            )
        }
    }

    /// @notice Walks the sections in calldata [at, end), reverts with BadLayout unless they hold exactly `count` items and end at `end`, and writes
    /// what it found to `ids`, allocated by the caller for 3 * `count` words: each item's id, from `count` words on its leaf hash, and from
    /// 2 * `count` words on, for each section, the address after its last id.
    function hashItems(uint256 cursor, uint256 end, uint256 count, uint256 sourceChain, bytes32 domain, uint256 ids) internal pure {
        bytes32 typehash = SETTLEMENT_TYPEHASH;
        bytes4 badLayout = ISettlementInbox.BadLayout.selector;
        assembly ("memory-safe") {
            // The calldata range may not be well formed at all; this is the only way out, and it costs the caller what was decoded so far.
            function refuse(selector) {
                mstore(0, selector)
                revert(0, 4)
            }
            // typehash | jobId | receiptHash | proofHash | sourceChainId | payer | payee | token | amount | fee | nonce | deadline, and after these
            // 384 bytes the envelope 0x1901 | domain | struct hash.
            let terms := mload(0x40)
            mstore(terms, typehash)
            mstore(add(terms, 128), sourceChain)
            mstore(add(terms, 384), shl(240, 0x1901))
            mstore(add(terms, 386), domain)
            // The first byte of the scratch space stays 0, the prefix of a leaf.
            mstore(0, 0)
            let gap := shl(5, count)
            let last := add(ids, gap)
            let ends := add(last, gap)
            // Items are bounded by `last`, so the walk ends even where the bytes do not; whoever leaves the range is refused at the end, since the
            // cursor only grows.

            for {} lt(cursor, end) {} {
                let mode := byte(0, calldataload(cursor))
                let nonces := and(calldataload(add(cursor, 41)), not(0xff))
                if or(gt(mode, 1), slt(nonces, 0)) { refuse(badLayout) }
                mstore(add(terms, 224), shr(96, calldataload(add(cursor, 1))))
                mstore(add(terms, 160), shr(96, calldataload(add(cursor, 21))))
                cursor := add(cursor, 72)
                if mode {
                    // groupCount 4 | groupFirst 4 | siblings 1 | proof | length 2 | auth
                    cursor := add(add(cursor, 9), shl(5, byte(8, calldataload(cursor))))
                    let length := shr(240, calldataload(cursor))
                    if gt(length, 1024) { refuse(badLayout) }
                    cursor := add(add(cursor, 2), length)
                }
                let runs := shr(240, calldataload(cursor))
                cursor := add(cursor, 2)
                if iszero(runs) { refuse(badLayout) }
                for {} runs { runs := sub(runs, 1) } {
                    let head := calldataload(cursor)
                    mstore(add(terms, 192), shr(96, head))
                    // The id after the run's last.
                    let after := add(ids, shl(5, and(shr(80, head), 0xffff)))
                    cursor := add(cursor, 22)
                    if or(eq(ids, after), gt(after, last)) { refuse(badLayout) }
                    for {} lt(ids, after) { ids := add(ids, 32) } {
                        head := calldataload(cursor)
                        mstore(add(terms, 256), shr(160, shl(8, head)))
                        mstore(add(terms, 288), shr(160, shl(104, head)))
                        mstore(add(terms, 320), or(nonces, byte(0, head)))
                        mstore(add(terms, 352), shr(216, shl(200, head)))
                        calldatacopy(add(terms, 32), add(cursor, 30), 96)
                        mstore(add(terms, 418), keccak256(terms, 384))
                        let id := keccak256(add(terms, 384), 66)
                        mstore(ids, id)
                        mstore(1, id)
                        mstore(add(ids, gap), keccak256(0, 33))
                        cursor := add(cursor, 126)
                        if iszero(mode) {
                            let length := shr(240, calldataload(cursor))
                            if gt(length, 1024) { refuse(badLayout) }
                            cursor := add(add(cursor, 2), length)
                        }
                    }
                }
                // No section is empty, so there are at most `count`.
                mstore(ends, ids)
                ends := add(ends, 32)
            }
            if or(xor(cursor, end), xor(ids, last)) { refuse(badLayout) }
        }
    }
}
