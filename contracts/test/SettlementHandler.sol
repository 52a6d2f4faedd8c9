// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {CommonBase} from "forge-std/Base.sol";
import {StdUtils} from "forge-std/StdUtils.sol";
import {Vm} from "forge-std/Vm.sol";
import {SettlementInbox} from "../src/SettlementInbox.sol";
import {SettlementVault} from "../src/SettlementVault.sol";
import {ISettlementInbox} from "../src/interfaces/ISettlementInbox.sol";
import {ISettlementVault} from "../src/interfaces/ISettlementVault.sol";
import {FakePort} from "./mocks/FakePort.sol";
import {HostileToken} from "./mocks/Tokens.sol";
import {Packer} from "./Packer.sol";
import {PlainTree} from "./PlainTree.sol";

/// @dev Does, in any order, what payers, ports, executors, the admin and the guardian can do, and keeps its own books. What must never happen
/// is counted, not asserted: a failed assertion inside a handler would only look like a refused call.
contract SettlementHandler is CommonBase, StdUtils {
    using Packer for Packer.Buffer;

    uint64 private constant SOURCE = 1;
    bytes32 private constant OUTBOX = bytes32(uint256(0xB0B));
    uint256 private constant NONCES = 12;
    uint256 private constant MAX_MESSAGES = 24;

    SettlementInbox public immutable INBOX;
    SettlementVault public immutable VAULT;
    address private immutable ADMIN;
    HostileToken[2] public tokens;
    uint256[3] private _keys = [uint256(0xA11CE), 0xB0B, 0xCA401];
    address[3] public payers;
    address[4] public payees = [address(0xE1), address(0xE2), address(0xE3), address(0xE4)];
    address public feeRecipient = address(0xFE);
    FakePort[] public ports;

    mapping(uint256 message => ISettlementInbox.Settlement[]) private _members;
    bytes[] private _messages;
    bool[] private _uniform;

    // The books.
    mapping(address payer => mapping(uint256 nonce => uint256)) public timesPaid;
    mapping(address payer => mapping(uint256 nonce => bool)) public burned;
    mapping(bytes32 messageId => mapping(address port => bool)) public brought;
    mapping(address port => bool) public active;
    mapping(address token => uint256) public spent;
    mapping(address token => uint256) public claimed;
    uint256 public paidCount;
    uint256 public voteCount;
    uint256 public creditedCount;
    uint256 public burnedCount;
    uint256 public withdrawnCount;

    // What must stay 0.
    uint256 public paidTwice;
    uint256 public paidAfterBurn;
    uint256 public paidBelowQuorum;
    uint256 public paidUnsigned;
    uint256 public paidUnknown;

    mapping(bytes32 id => bool) private _signed;
    mapping(bytes32 id => ISettlementInbox.Settlement) private _terms;

    constructor(SettlementInbox inbox, HostileToken first, HostileToken second, address admin) {
        INBOX = inbox;
        VAULT = SettlementVault(payable(inbox.vault()));
        ADMIN = admin;
        tokens = [first, second];
        for (uint256 i; i < 3; ++i) {
            payers[i] = vm.addr(_keys[i]);
        }
    }

    // ------------------------------------------------------------------------------------------------ payers

    function deposit(uint256 payer, uint256 token, uint256 amount) external {
        HostileToken which = tokens[token % 2];
        amount = bound(amount, 1, 20_000e6);
        which.mint(address(this), amount);
        which.approve(address(VAULT), amount);
        VAULT.depositFor(payers[payer % 3], address(which), amount);
    }

    function announceWithdrawal(uint256 payer, uint256 token, uint256 amount) external {
        vm.prank(payers[payer % 3]);
        VAULT.announceWithdrawal(address(tokens[token % 2]), bound(amount, 1, 20_000e6));
    }

    function withdraw(uint256 payer, uint256 token, bool ripe) external {
        address who = payers[payer % 3];
        address which = address(tokens[token % 2]);
        if (ripe) {
            (, uint256 maturesAt,) = VAULT.withdrawalOf(who, which);
            if (maturesAt == 0) {
                vm.prank(who);
                VAULT.announceWithdrawal(which, 500e6);
                (, maturesAt,) = VAULT.withdrawalOf(who, which);
            }
            if (maturesAt > block.timestamp) vm.warp(maturesAt);
        }
        vm.prank(who);
        if (VAULT.withdraw(which) != 0) ++withdrawnCount;
    }

    function announceBurn(uint256 payer, uint256 nonce) external {
        vm.prank(payers[payer % 3]);
        VAULT.announceBurn(nonceAt(nonce));
    }

    function burn(uint256 payer, uint256 nonce, bool ripe) external {
        address who = payers[payer % 3];
        nonce = nonceAt(nonce);
        if (ripe) {
            (uint256 maturesAt,) = VAULT.burnOf(who, nonce);
            if (maturesAt == 0) {
                vm.prank(who);
                VAULT.announceBurn(nonce);
                (maturesAt,) = VAULT.burnOf(who, nonce);
            }
            if (maturesAt > block.timestamp) vm.warp(maturesAt);
        }
        vm.prank(who);
        VAULT.burn(nonce);
        burned[who][nonce] = true;
        ++burnedCount;
    }

    // ------------------------------------------------------------------------------------------------ messages

    /// @dev Seals and brings through the ports whose bit is set.
    function sealAndBring(uint256 seed, uint256 count, bool uniform, uint256 mask) external {
        seal(seed, count, uniform);
        for (uint256 i; i < ports.length; ++i) {
            if (mask >> i & 1 == 1 && active[address(ports[i])]) bring(_messages.length - 1, i);
        }
    }

    /// @dev `uniform`: one payer, token and nonce word, as a group signature needs it.
    function seal(uint256 seed, uint256 count, bool uniform) public {
        uint256 index = _messages.length;
        if (index == MAX_MESSAGES) return;
        count = bound(count, 1, 6);
        bytes32[] memory ids = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, uniform ? 0 : i)));
            uint256 own = uint256(keccak256(abi.encode(seed, i, "own")));
            ISettlementInbox.Settlement memory terms = ISettlementInbox.Settlement({
                jobId: bytes32(own),
                receiptHash: keccak256(abi.encode(own)),
                proofHash: 0,
                sourceChainId: SOURCE,
                payer: payers[dice % 3],
                payee: payees[own % 4],
                token: address(tokens[(dice >> 8) % 2]),
                // All three tiers.
                amount: bound(own >> 16, 1, [uint256(1000e6), 10_000e6, 12_000e6][(own >> 8) % 3]),
                fee: (own >> 4) % 3,
                nonce: uniform ? own % NONCES : nonceAt(own >> 32),
                deadline: block.timestamp + (own >> 64) % 90 days
            });
            ids[i] = INBOX.settlementId(terms);
            _members[index].push(terms);
            _terms[ids[i]] = terms;
            // One in eight is signed by somebody else.
            _signed[ids[i]] = (own >> 128) % 8 != 0;
        }
        _uniform.push(uniform);
        _messages.push(
            abi.encodePacked(
                uint16(0x0101),
                SOURCE,
                uint64(block.chainid),
                OUTBOX,
                uint256(uint160(address(INBOX))),
                uint64(index),
                PlainTree.root(ids),
                uint32(count),
                uint256(uint160(feeRecipient))
            )
        );
    }

    function bring(uint256 message, uint256 port) public {
        bytes memory data = _messages[message % _messages.length];
        FakePort through = ports[port % ports.length];
        through.bring(SOURCE, OUTBOX, data);
        if (!brought[keccak256(data)][address(through)]) ++voteCount;
        brought[keccak256(data)][address(through)] = true;
    }

    function execute(uint256 message, uint256 lo, uint256 hi, bool grouped) external {
        message %= _messages.length;
        ISettlementInbox.Settlement[] memory all = _members[message];
        lo = bound(lo, 0, all.length - 1);
        hi = bound(hi, lo + 1, all.length);
        bytes32[] memory ids = idsOf(all);
        Packer.Buffer memory buffer = Packer.make(10_000);
        buffer.put(_messages[message]);
        buffer.put(abi.encodePacked(uint32(lo), uint16(hi - lo)));
        buffer.put(Packer.proofBytes(PlainTree.rangeProof(ids, lo, hi)));
        if (grouped && _uniform[message]) {
            // One group in four is signed by somebody else; a good signature stands for every member.
            bool good = uint256(keccak256(abi.encode(ids, lo, hi, block.timestamp))) % 4 != 0;
            buffer.sections(all, new bytes[](0), lo, hi, groupOf(good ? keyOf(all[0].payer) : 0xBAD, ids, lo, hi));
            for (uint256 i = lo; good && i < hi; ++i) {
                _signed[ids[i]] = true;
            }
        } else {
            bytes[] memory auths = new bytes[](all.length);
            for (uint256 i; i < all.length; ++i) {
                auths[i] = authOf(all[i].payer, ids[i]);
            }
            buffer.sections(all, auths, lo, hi, "");
        }
        vm.recordLogs();
        INBOX.execute(buffer.done());
        post(keccak256(_messages[message]));
    }

    function executeOne(uint256 message, uint256 leaf) external {
        message %= _messages.length;
        ISettlementInbox.Settlement[] memory all = _members[message];
        leaf %= all.length;
        bytes32[] memory ids = idsOf(all);
        bytes32[] memory proof = PlainTree.rangeProof(ids, leaf, leaf + 1);
        vm.recordLogs();
        INBOX.executeOne(_messages[message], all[leaf], authOf(all[leaf].payer, ids[leaf]), leaf, proof);
        post(keccak256(_messages[message]));
    }

    // ------------------------------------------------------------------------------------------------ everybody else

    function claim(uint256 payee, uint256 token) external {
        address account = payee % 5 == 4 ? feeRecipient : payees[payee % 4];
        claimed[address(tokens[token % 2])] += VAULT.claim(address(tokens[token % 2]), account);
    }

    /// @dev Moods in which a token fails honestly: what it reports as failed did not move.
    function setMood(uint256 token, uint256 mood, uint256 payee) external {
        HostileToken.Mood[5] memory moods = [
            HostileToken.Mood.Kind,
            HostileToken.Mood.Kind,
            HostileToken.Mood.Revert,
            HostileToken.Mood.ReturnFalse,
            HostileToken.Mood.BurnGas
        ];
        tokens[token % 2].setMood(moods[mood % 5], payees[payee % 4]);
    }

    function addPort(uint256 family) external {
        // Rarely after the first six: each costs the delay of ports, in which terms run out.
        if (ports.length == 12 || (ports.length >= 6 && family % 4 != 0)) return;
        FakePort port = new FakePort(uint8(bound(family, 1, 3)), address(INBOX));
        vm.startPrank(ADMIN);
        INBOX.proposePort(address(port));
        (,,, uint256 activatableAt) = INBOX.portInfo(address(port));
        if (activatableAt > block.timestamp) vm.warp(activatableAt);
        INBOX.activatePort(address(port));
        vm.stopPrank();
        ports.push(port);
        active[address(port)] = true;
    }

    function removePort(uint256 port) external {
        // Two stay, or nothing would be paid any more.
        port = bound(port, 0, ports.length - 1);
        if (port < 2) return;
        vm.prank(ADMIN);
        INBOX.removePort(address(ports[port]));
        active[address(ports[port])] = false;
    }

    function pause(uint256 payer, uint256 duration) external {
        vm.prank(ADMIN);
        VAULT.pause(payer % 4 == 3 ? address(0) : payers[payer % 4], bound(duration, 1, 72 hours));
    }

    function unpause(uint256 payer) external {
        vm.prank(ADMIN);
        VAULT.unpause(payer % 4 == 3 ? address(0) : payers[payer % 4]);
    }

    function wait(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 1 hours, 5 days));
    }

    // ------------------------------------------------------------------------------------------------ the books

    /// @dev Enters what the inbox says it paid, judging each payment by this contract's own knowledge.
    function post(bytes32 messageId) private {
        uint256 families = familiesOf(messageId);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == ISettlementVault.Credited.selector) ++creditedCount;
            if (logs[i].topics[0] != ISettlementInbox.SettlementPaid.selector) continue;
            bytes32 id = logs[i].topics[1];
            ISettlementInbox.Settlement memory terms = _terms[id];
            uint256 nonce = abi.decode(logs[i].data, (uint256)) & ~(uint256(1) << 255);
            if (terms.payer == address(0) || nonce != terms.nonce || address(uint160(uint256(logs[i].topics[2]))) != terms.payer) {
                ++paidUnknown;
            }
            if (++timesPaid[terms.payer][terms.nonce] > 1) ++paidTwice;
            if (burned[terms.payer][terms.nonce]) ++paidAfterBurn;
            if (families < VAULT.quorumFor(terms.token, terms.amount) || VAULT.quorumFor(terms.token, terms.amount) == 0) {
                ++paidBelowQuorum;
            }
            if (!_signed[id]) ++paidUnsigned;
            spent[terms.token] += terms.amount + terms.fee;
            ++paidCount;
        }
    }

    function familiesOf(bytes32 messageId) public view returns (uint256 count) {
        for (uint8 family = 1; family <= 3; ++family) {
            for (uint256 i; i < ports.length; ++i) {
                if (ports[i].family() == family && active[address(ports[i])] && brought[messageId][address(ports[i])]) {
                    ++count;
                    break;
                }
            }
        }
    }

    function messageIds() external view returns (bytes32[] memory ids) {
        ids = new bytes32[](_messages.length);
        for (uint256 i; i < ids.length; ++i) {
            ids[i] = keccak256(_messages[i]);
        }
    }

    function portCount() external view returns (uint256) {
        return ports.length;
    }

    /// @dev Few nonces in two words, so that different messages meet on the same one.
    function nonceAt(uint256 seed) public pure returns (uint256) {
        return seed % (2 * NONCES) < NONCES ? seed % NONCES : 0x500 | seed % NONCES;
    }

    function idsOf(ISettlementInbox.Settlement[] memory all) private view returns (bytes32[] memory ids) {
        ids = new bytes32[](all.length);
        for (uint256 i; i < all.length; ++i) {
            ids[i] = INBOX.settlementId(all[i]);
        }
    }

    function authOf(address payer, bytes32 id) private view returns (bytes memory) {
        return sign(_signed[id] ? keyOf(payer) : 0xBAD, id);
    }

    function groupOf(uint256 key, bytes32[] memory ids, uint256 lo, uint256 hi) private view returns (bytes memory) {
        bytes memory auth = sign(key, INBOX.groupDigest(PlainTree.root(ids), ids.length));
        bytes memory proof = Packer.proofBytes(PlainTree.rangeProof(ids, lo, hi));
        return abi.encodePacked(uint32(ids.length), uint32(lo), proof, uint16(auth.length), auth);
    }

    function keyOf(address payer) private view returns (uint256) {
        return payer == payers[0] ? _keys[0] : payer == payers[1] ? _keys[1] : _keys[2];
    }

    function sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
