// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {AllotmentProof} from "../src/AllotmentProof.sol";
import {Message} from "../src/Message.sol";
import {ICheckpointRegistry} from "../src/interfaces/ICheckpointRegistry.sol";
import {SettlementInbox} from "../src/SettlementInbox.sol";
import {CheckpointRegistry} from "../src/CheckpointRegistry.sol";
import {CheckpointFixture} from "./CheckpointFixture.sol";

/// @dev The libraries, called from outside because they read calldata.
contract CheckpointLibraries {
    function check(ICheckpointRegistry.Allotment calldata allotment, address hub, bytes32 root) external pure returns (bool, uint256) {
        return AllotmentProof.check(allotment, hub, root);
    }

    function parse(bytes calldata raw) external pure returns (bool, Message.Header memory, address) {
        return Message.parseCheckpoint(raw);
    }

    function parseAny(bytes calldata raw) external pure returns (bool valid) {
        (valid,) = Message.parseAny(raw);
    }
}

/// @dev Runs test/vectors/checkpoint.json, which an implementation in another language wrote, and proofs made here.
contract AllotmentProofTest is CheckpointFixture {
    CheckpointLibraries private libraries = new CheckpointLibraries();
    string private json = vm.readFile("test/vectors/checkpoint.json");

    function path(string memory array, uint256 index, string memory field) private pure returns (string memory) {
        return string.concat(array, "[", vm.toString(index), "]", field);
    }

    function size(string memory array) private view returns (uint256 count) {
        while (vm.keyExistsJson(json, path(array, count, ""))) ++count;
    }

    function number(string memory array, uint256 index, string memory field) private view returns (uint256) {
        return vm.parseJsonUint(json, path(array, index, field));
    }

    function hash(string memory array, uint256 index, string memory field) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, path(array, index, field));
    }

    function account(string memory array, uint256 index, string memory field) private view returns (address) {
        return vm.parseJsonAddress(json, path(array, index, field));
    }

    function hashes(string memory array, uint256 index, string memory field) private view returns (bytes32[] memory list) {
        bytes memory raw = vm.parseJsonBytes(json, path(array, index, field));
        list = new bytes32[](raw.length / 32);
        for (uint256 i; i < list.length; ++i) {
            assembly ("memory-safe") {
                mstore(add(list, mul(32, add(i, 1))), mload(add(raw, mul(32, add(i, 1)))))
            }
        }
    }

    function numbers(string memory array, uint256 index, string memory field) private view returns (uint256[] memory list) {
        bytes32[] memory raw = hashes(array, index, field);
        list = new uint256[](raw.length);
        for (uint256 i; i < list.length; ++i) {
            list[i] = uint256(raw[i]);
        }
    }

    function allotmentAt(string memory array, uint256 i) private view returns (ICheckpointRegistry.Allotment memory a) {
        a.token = account(array, i, ".token");
        a.wallet = account(array, i, ".wallet");
        a.trail = uint64(number(array, i, ".trail"));
        a.tokenTrail = uint64(number(array, i, ".tokenTrail"));
        a.left = number(array, i, ".left");
        a.right = number(array, i, ".right");
        a.activeStateChecksum = hash(array, i, ".activeStateChecksum");
        a.passiveRoot = hash(array, i, ".passiveRoot");
        a.passiveAmount = number(array, i, ".passiveAmount");
        a.passiveMarker = number(array, i, ".passiveMarker");
        a.allotmentChain = hashes(array, i, ".allotmentChain");
        a.values = numbers(array, i, ".values");
        a.membershipChain = hashes(array, i, ".membershipChain");
    }

    /// @dev The end of the line: what the last sibling on the right, if there is one, reaches to.
    function upperBoundOf(ICheckpointRegistry.Allotment memory a) private pure returns (uint256 bound) {
        bound = a.right;
        for (uint256 i; i < a.values.length; ++i) {
            if (a.trail >> i & 1 == 0) bound = a.values[i];
        }
    }

    function assertHolds(ICheckpointRegistry.Allotment memory a, address hub, bytes32 root) private view {
        (bool holds, uint256 upperBound) = libraries.check(a, hub, root);
        assertTrue(holds);
        assertEq(upperBound, upperBoundOf(a));
    }

    function assertFails(ICheckpointRegistry.Allotment memory a, address hub, bytes32 root, string memory why) private view {
        (bool holds, uint256 upperBound) = libraries.check(a, hub, root);
        assertFalse(holds, why);
        assertEq(upperBound, 0, why);
    }

    // ------------------------------------------------------------------------------------------------ vectors

    function test_checkpoint_messages() public {
        uint256 count = size(".messages");
        assertGt(count, 3);
        for (uint256 i; i < count; ++i) {
            bytes memory raw = vm.parseJsonBytes(json, path(".messages", i, ".bytes"));
            (bool valid, Message.Header memory parsed, address hub) = libraries.parse(raw);
            assertTrue(valid && libraries.parseAny(raw));
            assertEq(parsed.sourceChain, number(".messages", i, ".sourceChain"));
            assertEq(parsed.targetChain, number(".messages", i, ".targetChain"));
            assertEq(parsed.outbox, Message.word(account(".messages", i, ".outbox")));
            assertEq(parsed.inbox, Message.word(account(".messages", i, ".inbox")));
            assertEq(parsed.sequence, number(".messages", i, ".eon"));
            assertEq(parsed.root, hash(".messages", i, ".root"));
            assertEq(parsed.count, 0);
            assertEq(parsed.feeRecipient, address(0));
            assertEq(hub, account(".messages", i, ".hub"));
            assertEq(keccak256(raw), hash(".messages", i, ".messageId"));
            assertEq(registry.hubIdOf(parsed.sourceChain, hub), hash(".messages", i, ".hubId"));
            assertEq(
                Message.encodeCheckpoint(
                    parsed.sourceChain,
                    parsed.targetChain,
                    account(".messages", i, ".outbox"),
                    account(".messages", i, ".inbox"),
                    hub,
                    parsed.sequence,
                    parsed.root
                ),
                raw
            );
        }
    }

    function test_false_checkpoint_messages() public view {
        uint256 count = size(".bad");
        assertGt(count, 15);
        for (uint256 i; i < count; ++i) {
            bytes memory raw = vm.parseJsonBytes(json, path(".bad", i, ".bytes"));
            string memory why = vm.parseJsonString(json, path(".bad", i, ".why"));
            (bool valid,,) = libraries.parse(raw);
            assertFalse(valid, why);
            // Batches are messages too, checkpoints they are not.
            assertEq(libraries.parseAny(raw), keccak256(bytes(why)) == keccak256("a batch"), why);
        }
    }

    function test_signed_checkpoints() public {
        uint256 count = size(".signed");
        assertGt(count, 3);
        for (uint256 i; i < count; ++i) {
            vm.chainId(number(".signed", i, ".chainId"));
            address where = account(".signed", i, ".registry");
            deployCodeTo("CheckpointRegistry.sol:CheckpointRegistry", abi.encode(address(inbox), admin, RESOLVE_DELAY), where);
            CheckpointRegistry there = CheckpointRegistry(where);
            uint64 chain = uint64(number(".signed", i, ".chain"));
            address hub = account(".signed", i, ".hub");
            uint64 eon = uint64(number(".signed", i, ".eon"));
            bytes32 root = hash(".signed", i, ".root");
            assertEq(there.checkpointDigest(chain, hub, eon, root), hash(".signed", i, ".digest"));
            ICheckpointRegistry.Hub memory registered = signedHub(hub);
            (registered.chain, registered.firstEon) = (chain, eon);
            registered.operator = account(".signed", i, ".operator");
            bytes32 id = there.hubIdOf(chain, hub);
            if (there.hubOf(id).hub == address(0)) {
                vm.prank(admin);
                there.registerHub(registered);
            }
            (uint64 before,) = there.stateOf(id);
            if (before == 0) {
                there.recordSigned(chain, hub, eon, root, vm.parseJsonBytes(json, path(".signed", i, ".signature")));
                assertEq(there.checkpointOf(id, eon).root, root);
            }
        }
    }

    function test_allotments_of_nocust_hold() public {
        uint256 count = size(".allotments");
        assertGt(count, 6);
        for (uint256 i; i < count; ++i) {
            ICheckpointRegistry.Allotment memory a = allotmentAt(".allotments", i);
            address hub = account(".allotments", i, ".hub");
            bytes32 root = hash(".allotments", i, ".root");
            assertHolds(a, hub, root);
            assertFails(a, HUB, root, "another hub");
            recordAndVerify(hub, root, a);
        }
    }

    function recordAndVerify(address hub, bytes32 root, ICheckpointRegistry.Allotment memory a) private {
        bytes32 id = registry.hubIdOf(SOURCE, hub);
        vm.startPrank(admin);
        if (registry.hubOf(id).hub == address(0)) registry.registerHub(bridgedHub(hub));
        (bool known,) = registry.trailOf(id, a.token);
        if (!known) registry.registerToken(id, a.token, a.tokenTrail);
        vm.stopPrank();
        (uint64 last,) = registry.stateOf(id);
        bytes memory message = checkpoint(hub, last + 1, root);
        bring(portA, message);
        registry.record(message);
        (bool holds, ICheckpointRegistry.Standing standing, uint256 upperBound) = registry.verifyAllotment(id, last + 1, a);
        assertTrue(holds);
        assertEq(upperBound, upperBoundOf(a));
        assertEq(uint8(standing), uint8(ICheckpointRegistry.Standing.Provisional));
    }

    function test_false_allotments_do_not_hold() public view {
        uint256 count = size(".badAllotments");
        assertGt(count, 25);
        for (uint256 i; i < count; ++i) {
            ICheckpointRegistry.Allotment memory a = allotmentAt(".badAllotments", i);
            address hub = account(".badAllotments", i, ".hub");
            string memory why = vm.parseJsonString(json, path(".badAllotments", i, ".why"));
            assertFails(a, hub, hash(".badAllotments", i, ".root"), why);
        }
    }

    // ------------------------------------------------------------------------------------------------ proofs made here

    /// @dev A wallet in a tree whose other nodes are made up: its siblings' intervals are 10 wide on the left and 7 on the right.
    function invent(uint256 seed, uint256 depth, uint256 above)
        private
        view
        returns (ICheckpointRegistry.Allotment memory a, bytes32 root)
    {
        a.token = address(token);
        a.wallet = payer;
        // forge-lint: disable-next-line(unsafe-typecast)
        a.trail = uint64(seed & ((1 << depth) - 1));
        // forge-lint: disable-next-line(unsafe-typecast)
        a.tokenTrail = uint64((seed >> 64) & ((1 << above) - 1));
        for (uint256 trail = a.trail; trail != 0; trail >>= 1) {
            if (trail & 1 != 0) a.left += 10;
        }
        a.right = a.left + 5e18;
        a.activeStateChecksum = keccak256(abi.encode(seed, "active"));
        a.passiveRoot = keccak256(abi.encode(seed, "passive"));
        (a.passiveAmount, a.passiveMarker) = (seed >> 128, 3);
        (a.allotmentChain, a.values, a.membershipChain) = (new bytes32[](depth), new uint256[](depth), new bytes32[](above));
        bytes32 node = leafOf(a);
        (uint256 left, uint256 right) = (a.left, a.right);
        for (uint256 i; i < depth; ++i) {
            bytes32 sibling = a.allotmentChain[i] = keccak256(abi.encode(seed, i));
            if (a.trail >> i & 1 != 0) {
                a.values[i] = left - 10;
                node = keccak256(bytes.concat(bytes4(uint32(i)), bytes32(left - 10), inner(sibling, left, node), bytes32(right)));
                left -= 10;
            } else {
                a.values[i] = right + 7;
                node = keccak256(bytes.concat(bytes4(uint32(i)), bytes32(left), inner(node, right, sibling), bytes32(right + 7)));
                right += 7;
            }
        }
        node = keccak256(bytes.concat(bytes32(0), node, bytes32(right)));
        for (uint256 i; i < above; ++i) {
            bytes32 sibling = a.membershipChain[i] = keccak256(abi.encode(seed, "above", i));
            bool onTheRight = a.tokenTrail >> i & 1 != 0;
            node = keccak256(bytes.concat(bytes4(uint32(i)), onTheRight ? sibling : node, onTheRight ? node : sibling));
        }
        root = node;
    }

    function inner(bytes32 left, uint256 middle, bytes32 right) private pure returns (bytes32) {
        return keccak256(bytes.concat(left, bytes32(middle), right));
    }

    function leafOf(ICheckpointRegistry.Allotment memory a) private pure returns (bytes32) {
        bytes memory content = bytes.concat(
            keccak256(bytes.concat(bytes20(HUB))),
            keccak256(bytes.concat(bytes20(a.token))),
            keccak256(bytes.concat(bytes20(a.wallet))),
            keccak256(bytes.concat(a.passiveRoot, bytes32(a.passiveAmount), bytes32(a.passiveMarker))),
            a.activeStateChecksum
        );
        return keccak256(bytes.concat(bytes32(a.left), keccak256(content), bytes32(a.right)));
    }

    function testFuzz_a_proof_holds_and_with_any_change_it_does_not(uint256 seed, uint256 depth, uint256 above, uint256 which, uint8 bit)
        public
        view
    {
        depth = bound(depth, 0, 32);
        above = bound(above, 0, 32);
        (ICheckpointRegistry.Allotment memory a, bytes32 root) = invent(seed, depth, above);
        assertHolds(a, HUB, root);

        uint256 flip = 1 << bit;
        which = bound(which, 0, 12);
        if (which == 0) a.token = address(uint160(a.token) ^ uint160(1 << bit % 160));
        if (which == 1) a.wallet = address(uint160(a.wallet) ^ uint160(1 << bit % 160));
        if (which == 2) a.trail ^= uint64(1 << bit % 64);
        if (which == 3) a.tokenTrail ^= uint64(1 << bit % 64);
        if (which == 4) a.left ^= flip;
        if (which == 5) a.right ^= flip;
        if (which == 6) a.activeStateChecksum ^= bytes32(flip);
        if (which == 7) a.passiveRoot ^= bytes32(flip);
        if (which == 8) a.passiveAmount ^= flip;
        if (which == 9) a.passiveMarker ^= flip;
        if (which == 10) {
            if (depth == 0) return;
            a.allotmentChain[seed % depth] ^= bytes32(flip);
        }
        if (which == 11) {
            if (depth == 0) return;
            a.values[seed % depth] ^= flip;
        }
        if (which == 12) {
            if (above == 0) return;
            a.membershipChain[seed % above] ^= bytes32(flip);
        }
        assertFails(a, HUB, root, "changed");
    }

    function test_a_proof_deeper_than_any_hub_is_refused() public view {
        (ICheckpointRegistry.Allotment memory a, bytes32 root) = invent(1, 33, 0);
        assertFails(a, HUB, root, "33 levels of accounts");
        (a, root) = invent(1, 0, 33);
        assertFails(a, HUB, root, "33 levels of tokens");
    }

    /// @dev Account leaf, children of an account node and token leaf are 96 bytes each, so one is formally another: a leaf that begins at 0 is the
    /// token leaf of "account root" content. What stands in a place it was not made for must verify as nothing.
    function test_a_hash_of_one_kind_in_the_place_of_another_does_not_verify() public view {
        (ICheckpointRegistry.Allotment memory a,) = invent(0, 1, 1);
        (bytes32 beside, bytes32 above) = (a.allotmentChain[0], a.membershipChain[0]);
        bytes32 leaf = leafOf(a);
        bytes32 pair = inner(leaf, a.right, beside);
        bytes32 node = accountNode(pair, a.values[0]);
        bytes32 tokenLeaf = inner(0, uint256(node), bytes32(a.values[0]));
        assertHolds(a, HUB, tokenNode(tokenLeaf, above));
        // In the place of the token leaf.
        assertFails(a, HUB, tokenNode(leaf, above), "account leaf as token leaf");
        assertFails(a, HUB, tokenNode(pair, above), "children as token leaf");
        assertFails(a, HUB, tokenNode(node, above), "account root as token leaf");
        // In the place of the account leaf, of the children, of the account root.
        assertFails(
            a, HUB, rootOver(accountNode(inner(tokenLeaf, a.right, beside), a.values[0]), a.values[0], above), "token leaf as account leaf"
        );
        assertFails(a, HUB, rootOver(accountNode(tokenLeaf, a.values[0]), a.values[0], above), "token leaf as children");
        assertFails(a, HUB, rootOver(tokenLeaf, a.values[0], above), "token leaf as account root");
        assertFails(a, HUB, rootOver(tokenNode(node, beside), a.values[0], above), "token node as account root");

        // The same for proofs that leave the level out instead of misreading it.
        (a.allotmentChain, a.values) = (new bytes32[](0), new uint256[](0));
        assertHolds(a, HUB, rootOver(leaf, a.right, above));
        assertFails(a, HUB, tokenNode(leaf, above), "account leaf as token leaf, no level");
        assertFails(a, HUB, tokenNode(pair, above), "children as token leaf, no level");
        assertFails(a, HUB, rootOver(pair, a.right, above), "children as account root, no level");
        assertFails(a, HUB, rootOver(inner(0, uint256(leaf), bytes32(a.right)), a.right, above), "token leaf as account root, no level");
        a.membershipChain = new bytes32[](0);
        assertHolds(a, HUB, inner(0, uint256(leaf), bytes32(a.right)));
        assertFails(a, HUB, leaf, "account leaf as checkpoint");
        assertFails(a, HUB, pair, "children as checkpoint");
    }

    /// @dev Over two leaves, the first of which begins at 0.
    function accountNode(bytes32 children, uint256 right) private pure returns (bytes32) {
        return keccak256(bytes.concat(bytes4(0), bytes32(0), children, bytes32(right)));
    }

    function tokenNode(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return keccak256(bytes.concat(bytes4(0), left, right));
    }

    function rootOver(bytes32 accounts, uint256 upperBound, bytes32 above) private pure returns (bytes32) {
        return tokenNode(inner(0, uint256(accounts), bytes32(upperBound)), above);
    }

    function test_a_token_counts_at_its_registered_position_only() public {
        (ICheckpointRegistry.Allotment memory a, bytes32 root) = invent(uint256(2) << 64 | 5, 3, 2);
        assertEq(a.tokenTrail, 2);
        bytes memory message = checkpoint(HUB, 1, root);
        bring(portA, message);
        bring(portB, message);
        registry.record(message);
        (bool holds,, uint256 upperBound) = registry.verifyAllotment(hubId, 1, a);
        assertFalse(holds, "not registered");
        assertEq(upperBound, 0);
        vm.prank(admin);
        registry.registerToken(hubId, address(token), 1);
        (holds,, upperBound) = registry.verifyAllotment(hubId, 1, a);
        assertFalse(holds, "registered elsewhere");
        assertEq(upperBound, 0);
    }

    function test_what_verifies_follows_the_checkpoint_s_standing() public {
        (ICheckpointRegistry.Allotment memory a, bytes32 root) = invent(7, 3, 2);
        a.token = HUB;
        (a, root) = native(7);
        expectVerdict(1, a, false, ICheckpointRegistry.Standing.Unknown);
        carry(1, root);
        expectVerdict(1, a, true, ICheckpointRegistry.Standing.Provisional);
        carry(2);
        expectVerdict(1, a, true, ICheckpointRegistry.Standing.Final);
        expectVerdict(2, a, false, ICheckpointRegistry.Standing.Provisional);
        // A conflict elsewhere stops all of the hub.
        carry(2, keccak256("forged"));
        expectVerdict(1, a, false, ICheckpointRegistry.Standing.Final);
        expectVerdict(2, a, false, ICheckpointRegistry.Standing.Conflicting);
        // Neither: the hub goes on, and of that eon nothing is known.
        vm.startPrank(admin);
        registry.announceResolution(hubId, 2, 0);
        vm.warp(vm.getBlockTimestamp() + RESOLVE_DELAY);
        registry.resolve(hubId, 2, 0);
        vm.stopPrank();
        expectVerdict(1, a, true, ICheckpointRegistry.Standing.Final);
        expectVerdict(2, a, false, ICheckpointRegistry.Standing.Unknown);
        bytes32 nobody = keccak256("nobody");
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.UnknownHub.selector, nobody));
        registry.verifyAllotment(nobody, 1, a);
    }

    function test_what_was_recorded_verifies_when_its_port_is_removed_afterwards() public {
        (ICheckpointRegistry.Allotment memory a, bytes32 root) = native(7);
        carry(1, root);
        vm.prank(admin);
        inbox.removePort(address(portA));
        expectVerdict(1, a, true, ICheckpointRegistry.Standing.Provisional);
    }

    function test_the_upper_bound_is_what_the_checkpoint_allots_in_all() public {
        (ICheckpointRegistry.Allotment memory a, bytes32 root) = invent(uint256(1) << 64 | 5, 4, 2);
        carry(1, root);
        vm.prank(admin);
        registry.registerToken(hubId, address(token), 1);
        (bool holds,, uint256 upperBound) = registry.verifyAllotment(hubId, 1, a);
        assertTrue(holds);
        // Two siblings on the left with 10 each, two on the right with 7.
        assertEq(upperBound, 20 + 5e18 + 14);
        a.right -= 1;
        (holds,, upperBound) = registry.verifyAllotment(hubId, 1, a);
        assertFalse(holds);
        assertEq(upperBound, 0);
    }

    function native(uint256 seed) private view returns (ICheckpointRegistry.Allotment memory a, bytes32 root) {
        (a,) = invent(seed & type(uint64).max, 0, 0);
        a.token = HUB;
        root = keccak256(bytes.concat(bytes32(0), leafOf(a), bytes32(a.right)));
    }

    function expectVerdict(uint64 eon, ICheckpointRegistry.Allotment memory a, bool holds, ICheckpointRegistry.Standing standing)
        private
        view
    {
        (bool found, ICheckpointRegistry.Standing stands, uint256 upperBound) = registry.verifyAllotment(hubId, eon, a);
        assertEq(found, holds);
        assertEq(upperBound, holds ? upperBoundOf(a) : 0);
        assertEq(uint8(stands), uint8(standing));
    }

    // ------------------------------------------------------------------------------------------------ gas

    function test_gas_verifying_an_allotment_stays_below_its_limits() public {
        vm.prank(admin);
        registry.registerToken(hubId, address(token), 2);
        uint256 shallow = verify(1, 10);
        uint256 deep = verify(2, 20);
        emit log_named_uint("verifyAllotment, 1,024 wallets and 4 tokens", shallow);
        emit log_named_uint("verifyAllotment, 1,048,576 wallets and 4 tokens", deep);
        assertLe(shallow, 30_000);
        assertLe(deep, 45_000);
    }

    /// @dev The call from another contract, everything cold: calldata is the caller's affair.
    function verify(uint64 eon, uint256 depth) private returns (uint256 used) {
        (ICheckpointRegistry.Allotment memory a, bytes32 root) = invent(uint256(2) << 64 | 0x5a5a5, depth, 2);
        carry(eon, root);
        bytes memory call = abi.encodeCall(registry.verifyAllotment, (hubId, eon, a));
        vm.cool(address(registry));
        used = gasleft();
        (bool done, bytes memory answer) = address(registry).staticcall(call);
        used -= gasleft();
        assertTrue(done);
        (bool holds,, uint256 upperBound) = abi.decode(answer, (bool, uint8, uint256));
        assertTrue(holds);
        assertEq(upperBound, upperBoundOf(a));
    }
}
