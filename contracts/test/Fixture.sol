// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Test} from "forge-std/Test.sol";

import {SettlementInbox} from "../src/SettlementInbox.sol";
import {SettlementVault} from "../src/SettlementVault.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {FakePort} from "./mocks/FakePort.sol";
import {PlainToken} from "./mocks/Tokens.sol";
import {Packer} from "./Packer.sol";
import {PlainTree} from "./PlainTree.sol";

/// @dev An inbox with two active ports of two families, one listed token, one payer with a deposit.
abstract contract Fixture is Test {
    using Packer for Packer.Buffer;

    uint64 internal constant SOURCE = 11155111;
    bytes32 internal constant OUTBOX = bytes32(uint256(0xB0B));
    uint256 internal constant EXIT_DELAY = 7 days;
    uint256 internal constant CLAIM_WINDOW = 3 days;
    uint256 internal constant PORT_DELAY = 14 days;
    uint256 internal constant PAYER_KEY = 0xA11CE;
    uint96 internal constant LIMIT1 = 1000e6;
    uint96 internal constant LIMIT2 = 10_000e6;

    address internal admin = makeAddr("admin");
    address internal guardian = makeAddr("guardian");
    address internal feeRecipient = makeAddr("feeRecipient");
    address internal payer = vm.addr(PAYER_KEY);

    SettlementInbox internal inbox;
    SettlementVault internal vault;
    PlainToken internal token;
    FakePort internal portA;
    FakePort internal portB;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        inbox = new SettlementInbox(admin, guardian, EXIT_DELAY, CLAIM_WINDOW, PORT_DELAY);
        vault = SettlementVault(payable(inbox.vault()));
        portA = new FakePort(1, address(inbox));
        portB = new FakePort(2, address(inbox));
        token = new PlainToken();
        vm.startPrank(admin);
        inbox.proposePort(address(portA));
        inbox.activatePort(address(portA));
        inbox.proposePort(address(portB));
        inbox.activatePort(address(portB));
        list(address(token));
        vm.stopPrank();
        fund(payer, 1_000_000e6);
    }

    /// @dev One family up to LIMIT1, two up to LIMIT2, refused above.
    function list(address which) internal {
        vault.listToken(which, 6, LIMIT1, LIMIT2, 1, 2, 0);
    }

    function fund(address who, uint256 amount) internal {
        token.mint(address(this), amount);
        token.approve(address(vault), amount);
        vault.depositFor(who, address(token), amount);
    }

    // ---------------------------------------------------------------------------------------------- terms

    function terms(address payee, uint256 amount, uint256 nonce) internal view returns (ISettlementInbox.Settlement memory) {
        return ISettlementInbox.Settlement({
            jobId: keccak256(abi.encode("job", nonce)),
            receiptHash: keccak256(abi.encode("receipt", nonce)),
            proofHash: keccak256(abi.encode("proof", nonce)),
            sourceChainId: SOURCE,
            payer: payer,
            payee: payee,
            token: address(token),
            amount: amount,
            fee: amount / 100,
            nonce: nonce,
            deadline: vm.getBlockTimestamp() + 1 days
        });
    }

    /// @dev `count` settlements of 10 to 11 tokens, nonces in one word, payees repeated so that `payees` are distinct, each in one run.
    function many(uint256 count, uint256 payees) internal view returns (ISettlementInbox.Settlement[] memory all) {
        all = new ISettlementInbox.Settlement[](count);
        for (uint256 i; i < count; ++i) {
            all[i] = terms(payeeAt(i * payees / count), 10e6 + i, 0x700 + i);
        }
    }

    function payeeAt(uint256 index) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("payee", index)))));
    }

    function idsOf(ISettlementInbox.Settlement[] memory all) internal view returns (bytes32[] memory ids) {
        ids = new bytes32[](all.length);
        for (uint256 i; i < all.length; ++i) {
            ids[i] = inbox.settlementId(all[i]);
        }
    }

    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function signAll(bytes32[] memory ids) internal pure returns (bytes[] memory auths) {
        auths = new bytes[](ids.length);
        for (uint256 i; i < ids.length; ++i) {
            auths[i] = sign(PAYER_KEY, ids[i]);
        }
    }

    // ---------------------------------------------------------------------------------------------- messages

    function messageOf(bytes32[] memory ids) internal view returns (bytes memory) {
        return header(PlainTree.root(ids), uint32(ids.length), 1);
    }

    function header(bytes32 root, uint32 count, uint64 sequence) internal view returns (bytes memory) {
        return abi.encodePacked(
            uint8(1),
            uint8(1),
            SOURCE,
            uint64(block.chainid),
            OUTBOX,
            bytes32(uint256(uint160(address(inbox)))),
            sequence,
            root,
            count,
            bytes32(uint256(uint160(feeRecipient)))
        );
    }

    function bring(FakePort port, bytes memory message) internal {
        port.bring(SOURCE, OUTBOX, message);
    }

    // ---------------------------------------------------------------------------------------------- packed executions

    /// @dev Leaves [lo, hi) in mode 0.
    function pack(ISettlementInbox.Settlement[] memory all, bytes32[] memory ids, bytes[] memory auths, uint256 lo, uint256 hi)
        internal
        view
        returns (bytes memory)
    {
        Packer.Buffer memory buffer = Packer.make(2000 + (hi - lo) * 1400);
        buffer.put(messageOf(ids));
        buffer.put(abi.encodePacked(uint32(lo), uint16(hi - lo)));
        buffer.put(Packer.proofBytes(PlainTree.rangeProof(ids, lo, hi)));
        buffer.sections(all, auths, lo, hi, "");
        return buffer.done();
    }

    /// @dev All leaves in mode 0, signed by the payer, and recorded by both ports.
    function packAndBring(ISettlementInbox.Settlement[] memory all) internal returns (bytes memory) {
        bytes32[] memory ids = idsOf(all);
        bytes memory message = messageOf(ids);
        bring(portA, message);
        bring(portB, message);
        return pack(all, ids, signAll(ids), 0, all.length);
    }

    /// @dev What a mode 1 section says about its group: members [lo, hi) of `ids`, signed with `key`.
    function groupOf(bytes32[] memory ids, uint256 lo, uint256 hi, uint256 key) internal view returns (bytes memory) {
        bytes memory auth = sign(key, inbox.groupDigest(PlainTree.root(ids), ids.length));
        return
            abi.encodePacked(
                uint32(ids.length), uint32(lo), Packer.proofBytes(PlainTree.rangeProof(ids, lo, hi)), uint16(auth.length), auth
            );
    }

    function slice(ISettlementInbox.Settlement[] memory all, uint256 lo, uint256 hi)
        internal
        pure
        returns (ISettlementInbox.Settlement[] memory part)
    {
        part = new ISettlementInbox.Settlement[](hi - lo);
        for (uint256 i = lo; i < hi; ++i) {
            part[i - lo] = all[i];
        }
    }

    function slice(bytes32[] memory all, uint256 lo, uint256 hi) internal pure returns (bytes32[] memory part) {
        part = new bytes32[](hi - lo);
        for (uint256 i = lo; i < hi; ++i) {
            part[i - lo] = all[i];
        }
    }
}
