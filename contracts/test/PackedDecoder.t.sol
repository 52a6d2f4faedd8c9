// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Test} from "forge-std/Test.sol";

import {PackedDecoder} from "../src/PackedDecoder.sol";
import {SettlementTree} from "../src/SettlementTree.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {Packer} from "./Packer.sol";

contract DecoderHarness {
    function hashItems(bytes calldata sections, uint256 count, uint256 sourceChain, bytes32 domain)
        external
        pure
        returns (bytes32[] memory ids, bytes32[] memory leaves, uint256[] memory ends)
    {
        ids = new bytes32[](count);
        leaves = new bytes32[](count);
        ends = new uint256[](count);
        uint256[] memory found = new uint256[](3 * count);
        uint256 cursor;
        uint256 idsAt;
        assembly ("memory-safe") {
            cursor := sections.offset
            idsAt := add(found, 32)
        }
        PackedDecoder.hashItems(cursor, cursor + sections.length, count, sourceChain, domain, idsAt);
        for (uint256 i; i < count; ++i) {
            ids[i] = bytes32(found[i]);
            leaves[i] = bytes32(found[count + i]);
            if (found[2 * count + i] != 0) ends[i] = (found[2 * count + i] - idsAt) / 32;
        }
    }

    function doubtful(uint256 head, uint256 bitmap, uint256 cleared, address payee) external view returns (bool) {
        return PackedDecoder.doubtful(head, bitmap, cleared, payee);
    }
}

/// @dev The same walk written from docs/wire.md in plain Solidity: slices, `abi.encode`, bounds by the compiler.
contract PlainDecoder {
    error BadLayout();

    struct Cursor {
        uint256 offset;
        bytes32[] ids;
        uint256 found;
        uint256[] ends;
        uint256 sections;
    }

    struct Section {
        uint8 mode;
        address token;
        address payer;
        uint256 word;
    }

    function hashItems(bytes calldata data, uint256 count, uint256 sourceChain, bytes32 domain)
        external
        pure
        returns (bytes32[] memory, uint256[] memory)
    {
        Cursor memory c;
        c.ids = new bytes32[](count);
        c.ends = new uint256[](count);
        while (c.offset < data.length) {
            Section memory s;
            s.mode = uint8(number(data, c, 1));
            s.token = address(uint160(number(data, c, 20)));
            s.payer = address(uint160(number(data, c, 20)));
            s.word = number(data, c, 31);
            if (s.mode > 1 || s.word >> 247 != 0) revert BadLayout();
            if (s.mode == 1) {
                number(data, c, 8);
                skip(data, c, number(data, c, 1) * 32);
                auth(data, c);
            }
            uint256 runs = number(data, c, 2);
            if (runs == 0) revert BadLayout();
            for (; runs != 0; --runs) {
                address payee = address(uint160(number(data, c, 20)));
                uint256 items = number(data, c, 2);
                if (items == 0) revert BadLayout();
                for (; items != 0; --items) {
                    if (c.found == count) revert BadLayout();
                    c.ids[c.found++] = item(data, c, s, payee, sourceChain, domain);
                    if (s.mode == 0) auth(data, c);
                }
            }
            c.ends[c.sections++] = c.found;
        }
        if (c.found != count) revert BadLayout();
        return (c.ids, c.ends);
    }

    function item(bytes calldata data, Cursor memory c, Section memory s, address payee, uint256 sourceChain, bytes32 domain)
        private
        pure
        returns (bytes32)
    {
        ISettlementInbox.Settlement memory t;
        t.nonce = s.word << 8 | number(data, c, 1);
        t.amount = number(data, c, 12);
        t.fee = number(data, c, 12);
        t.deadline = number(data, c, 5);
        t.jobId = bytes32(number(data, c, 32));
        t.receiptHash = bytes32(number(data, c, 32));
        t.proofHash = bytes32(number(data, c, 32));
        t.sourceChainId = sourceChain;
        t.payer = s.payer;
        t.payee = payee;
        t.token = s.token;
        bytes32 typehash = keccak256(
            "Settlement(bytes32 jobId,bytes32 receiptHash,bytes32 proofHash,uint256 sourceChainId,address payer,address payee,address token,uint256 amount,uint256 fee,uint256 nonce,uint256 deadline)"
        );
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(typehash, t))));
    }

    function auth(bytes calldata data, Cursor memory c) private pure {
        uint256 length = number(data, c, 2);
        if (length > 1024) revert BadLayout();
        skip(data, c, length);
    }

    function number(bytes calldata data, Cursor memory c, uint256 size) private pure returns (uint256 value) {
        uint256 at_ = c.offset;
        skip(data, c, size);
        for (uint256 i; i < size; ++i) {
            value = value << 8 | uint8(data[at_ + i]);
        }
    }

    function skip(bytes calldata data, Cursor memory c, uint256 size) private pure {
        c.offset += size;
        if (c.offset > data.length) revert BadLayout();
    }
}

contract PackedDecoderTest is Test {
    using Packer for Packer.Buffer;

    DecoderHarness internal fast = new DecoderHarness();
    PlainDecoder internal plain = new PlainDecoder();

    function agree(bytes memory sections, uint256 count, uint256 sourceChain, bytes32 domain) internal view returns (bool decoded) {
        bytes32[] memory expected;
        uint256[] memory expectedEnds;
        try plain.hashItems(sections, count, sourceChain, domain) returns (bytes32[] memory ids, uint256[] memory ends) {
            expected = ids;
            expectedEnds = ends;
            decoded = true;
        } catch (bytes memory reason) {
            assertEq(bytes4(reason), ISettlementInbox.BadLayout.selector);
        }
        try fast.hashItems(sections, count, sourceChain, domain) returns (
            bytes32[] memory ids, bytes32[] memory leaves, uint256[] memory ends
        ) {
            assertTrue(decoded, "only the plain twin refuses");
            assertEq(abi.encode(ids), abi.encode(expected), "ids");
            assertEq(abi.encode(ends), abi.encode(expectedEnds), "ends of sections");
            for (uint256 i; i < count; ++i) {
                assertEq(leaves[i], keccak256(abi.encodePacked(uint8(0), ids[i])), "leaf");
            }
        } catch (bytes memory reason) {
            assertFalse(decoded, "only the assembly refuses");
            assertEq(abi.encodePacked(ISettlementInbox.BadLayout.selector), reason);
        }
    }

    /// @dev Random but well-formed sections.
    function build(uint256 seed) internal pure returns (bytes memory sections, uint256 count) {
        Packer.Buffer memory buffer = Packer.make(60_000);
        uint256 sectionsLeft = 1 + seed % 3;
        for (; sectionsLeft != 0; --sectionsLeft) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint8 mode = uint8(seed >> 8 & 1);
            buffer.put(abi.encodePacked(mode, bytes20(bytes32(seed)), bytes20(keccak256(abi.encode(seed, 1))), bytes31(uint248(seed >> 9))));
            if (mode == 1) {
                uint256 siblings = seed >> 16 & 7;
                buffer.put(abi.encodePacked(uint64(seed), uint8(siblings), new bytes(siblings * 32)));
                putAuth(buffer, seed >> 24);
            }
            uint256 runs = 1 + (seed >> 32) % 4;
            buffer.put(abi.encodePacked(uint16(runs)));
            for (; runs != 0; --runs) {
                seed = uint256(keccak256(abi.encode(seed)));
                uint256 items = 1 + seed % 3;
                buffer.put(abi.encodePacked(bytes20(bytes32(seed)), uint16(items)));
                for (; items != 0; --items) {
                    ++count;
                    seed = uint256(keccak256(abi.encode(seed)));
                    buffer.put(
                        abi.encodePacked(
                            bytes30(bytes32(seed)),
                            keccak256(abi.encode(seed, 2)),
                            keccak256(abi.encode(seed, 3)),
                            keccak256(abi.encode(seed, 4))
                        )
                    );
                    if (mode == 0) putAuth(buffer, seed);
                }
            }
        }
        sections = buffer.done();
    }

    function putAuth(Packer.Buffer memory buffer, uint256 seed) internal pure {
        uint256 length = seed % 3 == 0 ? 65 : seed % 5 == 0 ? 1024 : seed % 130;
        buffer.put(abi.encodePacked(uint16(length), new bytes(length)));
    }

    function testFuzz_well_formed_sections_give_the_twin_s_ids(uint256 seed, uint64 sourceChain, bytes32 domain) public view {
        (bytes memory sections, uint256 count) = build(seed);
        assertTrue(agree(sections, count, sourceChain, domain));
    }

    function testFuzz_a_wrong_count_is_refused(uint256 seed, uint256 wrong) public view {
        (bytes memory sections, uint256 count) = build(seed);
        wrong = bound(wrong, 0, 60);
        vm.assume(wrong != count);
        assertFalse(agree(sections, wrong, 1, 0));
    }

    function testFuzz_damaged_sections_are_judged_as_by_the_twin(uint256 seed, uint256 where, uint8 what) public view {
        (bytes memory sections, uint256 count) = build(seed);
        sections[where % sections.length] = bytes1(what);
        agree(sections, count, 1, 0);
    }

    function testFuzz_cut_or_lengthened_sections_are_refused(uint256 seed, uint256 by, bool cut) public view {
        (bytes memory sections, uint256 count) = build(seed);
        if (cut) {
            uint256 length = bound(by, 0, sections.length - 1);
            assembly ("memory-safe") {
                mstore(sections, length)
            }
        } else {
            sections = bytes.concat(sections, new bytes(bound(by, 1, 100)));
        }
        assertFalse(agree(sections, count, 1, 0));
    }

    function testFuzz_noise_is_judged_as_by_the_twin(bytes memory noise, uint8 count) public view {
        agree(noise, count, 1, 0);
    }

    function testFuzz_an_item_is_doubtful_exactly_when_a_plain_comparison_says_so(
        uint8 nonce,
        uint96 amount,
        uint96 cleared,
        uint40 deadline,
        uint256 bitmap,
        uint256 draw
    ) public {
        vm.warp(1_800_000_000);
        // Most draws would be far from every edge.
        if (draw & 1 == 0) amount = cleared;
        if (draw & 2 == 0) deadline = uint40(1_800_000_000 - 1 + (draw >> 8) % 3);
        if (draw & 4 == 0) bitmap = 0;
        if (draw & 24 == 0) amount = 0;
        if (draw & 32 == 0 && amount < type(uint96).max) cleared = amount + 1;
        address payee = draw & 64 == 0 ? address(uint160(draw >> 128)) : draw & 128 == 0 ? address(0) : address(1);
        uint256 head = uint256(bytes32(abi.encodePacked(nonce, amount, uint96(draw), deadline, uint16(draw))));
        bool expected = bitmap >> nonce & 1 != 0 || 1_800_000_000 > deadline || amount == 0 || amount > cleared || payee == address(0);
        assertEq(fast.doubtful(head, bitmap, cleared, payee), expected);
    }

    function test_an_auth_of_1025_bytes_is_refused() public view {
        bytes memory head = abi.encodePacked(uint8(0), address(1), address(2), bytes31(0), uint16(1), address(3), uint16(1));
        bytes memory body = new bytes(126);
        assertTrue(agree(bytes.concat(head, body, abi.encodePacked(uint16(1024), new bytes(1024))), 1, 1, 0));
        assertFalse(agree(bytes.concat(head, body, abi.encodePacked(uint16(1025), new bytes(1025))), 1, 1, 0));
    }

    function test_a_nonce_word_of_248_bits_is_refused() public view {
        bytes memory tail = abi.encodePacked(uint16(1), address(3), uint16(1), new bytes(126), uint16(0));
        assertTrue(agree(abi.encodePacked(uint8(0), address(1), address(2), bytes31(uint248(1) << 246), tail), 1, 1, 0));
        assertFalse(agree(abi.encodePacked(uint8(0), address(1), address(2), bytes31(uint248(1) << 247), tail), 1, 1, 0));
    }

    function test_the_leaf_hash_is_the_tree_s() public view {
        (bytes memory sections, uint256 count) = build(5);
        (bytes32[] memory ids, bytes32[] memory leaves,) = fast.hashItems(sections, count, 1, 0);
        assertEq(leaves[0], SettlementTree.leaf(ids[0]));
    }
}
