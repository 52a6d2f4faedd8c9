// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Message} from "./Message.sol";
import {PackedDecoder} from "./PackedDecoder.sol";
import {PortRegistry} from "./PortRegistry.sol";
import {Runs} from "./Runs.sol";
import {SettlementTree} from "./SettlementTree.sol";
import {SignatureCheck} from "./SignatureCheck.sol";
import {TokenTiers} from "./TokenTiers.sol";
import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";

/// @title Records messages and pays the settlements they commit to. Anyone may execute; nobody can change what is paid.
/// @dev `execute` walks its input twice. The first walk proves the layout and the root and runs no foreign code. The second decides and pays section
/// by section: it asks the vault once, judges each item against that answer, and hands the vault what is due once. Between the question and the
/// payment only static calls happen, so the answer cannot go stale; during the payment the vault's lock is held.
contract SettlementInbox is PortRegistry {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant GROUP_TYPEHASH = keccak256("SettlementGroup(bytes32 root,uint256 count)");
    /// @dev Flag of a credited settlement in SettlementPaid; nonces are below it.
    uint256 private constant CREDITED = 1 << 255;
    /// @dev A nonce word has 256 bits and every paid item uses one, so no section pays more items or runs.
    uint256 private constant MAX_PAID = 256;

    /// @dev Who signed for a section: each item, or a group whose signature is looked at when the first item needs it.
    enum GroupAuth {
        PerItem,
        Unseen,
        Good,
        Bad
    }

    /// @dev What is the same for a whole call, what the vault said about the open section, and what of it is to be paid so far. One record, used
    /// again by each section; lists are raw memory because bounds checks would cost more than the work.
    struct Work {
        // The batch.
        bytes32 messageId;
        address feeRecipient;
        uint256 feeLimit;
        uint256 families;
        // The section.
        address token;
        address payer;
        uint256 nonces; // The nonce word, shifted into place.
        uint256 opened; // The bitmap as the vault has it.
        uint256 bitmap; // The bitmap with what is due so far.
        uint256 funds; // The balance as the vault has it.
        uint256 balance; // The balance without what is due so far.
        uint256 tiers;
        uint256 cleared; // Amounts up to here have their quorum.
        bool paused;
        address signer; // The last signer that the vault knew, so that it is asked once.
        GroupAuth groupAuth;
        bytes32 groupDigest;
        uint256 auth;
        uint256 authLength;
        // The run.
        address payee;
        uint256 allowed; // `cleared`, or 0 for a payee that no token would pay.
        // What is due. Each list has room for what one section can pay.
        uint256 fees;
        bytes runs;
        uint256 runCount;
        uint256 sums; // Per run: fee << 16 | number of items.
        uint256 due; // Per item: address of its id << 8 | nonce byte.
        uint256 dueEnd;
    }

    bytes32 private immutable _domain;
    uint256 private immutable _domainChain;

    uint128 private _paid;

    constructor(address admin, address guardian, uint256 exitDelay, uint256 claimWindow, uint256 portDelay_)
        PortRegistry(admin, guardian, exitDelay, claimWindow, portDelay_)
    {
        _domainChain = block.chainid;
        _domain = _buildDomain();
    }

    /// @inheritdoc ISettlementInbox
    function execute(bytes calldata packed) external returns (uint256 paid) {
        if (packed.length < PackedDecoder.PROOF_AT) revert BadLayout();
        Work memory work;
        Message.Header memory header = _openBatch(work, packed[:Message.LENGTH]);
        uint256 cursor;
        uint256 end;
        assembly ("memory-safe") {
            cursor := packed.offset
            end := add(cursor, packed.length)
        }
        uint256 head = PackedDecoder.word(cursor + PackedDecoder.FIRST_AT);
        cursor += PackedDecoder.PROOF_AT;
        uint256 count = head >> 208 & 0xffff;
        uint256 siblings = head >> 200 & 0xff;
        if (count == 0 || count > Message.MAX_COUNT) revert BadLayout();

        uint256 nodes = SettlementTree.allocate(count);
        uint256 ids = SettlementTree.allocate(count);
        uint256 sections = cursor + (siblings << 5);
        PackedDecoder.hashItems(sections, end, count, header.sourceChain, DOMAIN_SEPARATOR(), ids, nodes);
        (bool holds, bytes32 root) = SettlementTree.rangeRoot(nodes, count, head >> 224, header.count, cursor, siblings);
        if (!holds || root != header.root) revert WrongRoot();

        _allocate(work, count);
        unchecked {
            while (sections < end) {
                (sections, ids) = _executeSection(work, sections, ids, nodes);
                paid += (work.dueEnd - work.due) >> 5;
            }
            // Cannot wrap: every settlement uses up a nonce.
            if (paid != 0) _paid += uint128(paid);
        }
    }

    /// @inheritdoc ISettlementInbox
    function executeOne(bytes calldata message, Settlement calldata settlement, bytes calldata auth, uint256 leaf, bytes32[] calldata proof)
        external
        returns (Skip skip)
    {
        Work memory work;
        Message.Header memory header = _openBatch(work, message);
        // The bounds of the packed encoding hold here too: one settlement is executable in both forms or in none.
        if (
            auth.length > PackedDecoder.MAX_AUTH || settlement.amount > type(uint96).max || settlement.fee > type(uint96).max
                || settlement.nonce >= CREDITED || settlement.deadline > type(uint40).max
        ) revert BadLayout();
        if (settlement.sourceChainId != header.sourceChain) revert WrongSource();
        bytes32 id = settlementId(settlement);
        _requireLeaf(header, id, leaf, proof);

        _allocate(work, 1);
        _openSection(work, settlement.token, settlement.payer, settlement.nonce & ~uint256(0xff));
        _openRun(work, settlement.payee);
        uint256 authAt;
        assembly ("memory-safe") {
            authAt := auth.offset
        }
        // The head of a packed item.
        uint256 head = settlement.nonce << 248 | settlement.amount << 152 | settlement.fee << 56 | settlement.deadline << 16;
        skip = _judge(work, id, head, authAt, auth.length);
        if (skip != Skip.None) {
            emit SettlementSkipped(id, uint8(skip));
            return skip;
        }
        uint256 idAt = SettlementTree.allocate(1);
        PackedDecoder.store(idAt, uint256(id));
        _noteDue(work, idAt, head);
        _closeRun(work, settlement.amount, settlement.fee, 1);
        _settle(work);
        ++_paid;
    }

    /// @inheritdoc ISettlementInbox
    function settlementId(Settlement calldata settlement) public view returns (bytes32) {
        return _digest(keccak256(abi.encode(PackedDecoder.SETTLEMENT_TYPEHASH, settlement)));
    }

    /// @inheritdoc ISettlementInbox
    function groupDigest(bytes32 root, uint256 count) public view returns (bytes32) {
        return _digest(keccak256(abi.encode(GROUP_TYPEHASH, root, count)));
    }

    /// @inheritdoc ISettlementInbox
    function counters() external view returns (uint128 received, uint128 paid) {
        return (_received(), _paid);
    }

    /// @inheritdoc ISettlementInbox
    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        // After a fork of the chain, signatures of the other half must not hold here.
        return block.chainid == _domainChain ? _domain : _buildDomain();
    }

    // ------------------------------------------------------------------------------------------------ the second walk

    /// @dev One section: opens it, judges its items, pays it. Lengths were proved by the first walk.
    /// @param ids memory address of the section's first id.
    /// @param nodes memory that the first walk needs no more.
    /// @return next address of the next section, and of its first id.
    function _executeSection(Work memory work, uint256 cursor, uint256 ids, uint256 nodes) private returns (uint256 next, uint256) {
        uint256 mode = PackedDecoder.word(cursor) >> 248;
        _openSection(
            work,
            address(uint160(PackedDecoder.word(cursor + 1) >> 96)),
            address(uint160(PackedDecoder.word(cursor + 21) >> 96)),
            PackedDecoder.word(cursor + 41) & ~uint256(0xff)
        );
        unchecked {
            cursor += PackedDecoder.SECTION_HEAD;
            if (mode == 1) cursor = _openGroup(work, cursor, ids, nodes);
            uint256 runs = PackedDecoder.word(cursor) >> 240;
            cursor += 2;
            for (; runs != 0; --runs) {
                (cursor, ids) = _executeRun(work, cursor, ids);
            }
        }
        if (work.runCount != 0) _settle(work);
        return (cursor, ids);
    }

    /// @dev One run: judges its items and, if any is due, notes one payment.
    function _executeRun(Work memory work, uint256 cursor, uint256 ids) private returns (uint256, uint256) {
        unchecked {
            uint256 head = PackedDecoder.word(cursor);
            _openRun(work, address(uint160(head >> 96)));
            uint256 end = ids + ((head >> 80 & 0xffff) << 5);
            cursor += PackedDecoder.RUN_HEAD;
            uint256 dueBefore = work.dueEnd;
            // Amount << 128 | fee: sums of at most 256 values of 96 bits each.
            uint256 sums;
            bool perItem = work.groupAuth == GroupAuth.PerItem;
            for (; ids != end; ids += 32) {
                head = PackedDecoder.word(cursor);
                cursor += PackedDecoder.ITEM;
                uint256 length;
                if (perItem) {
                    length = PackedDecoder.word(cursor) >> 240;
                    cursor += 2;
                }
                bytes32 id = bytes32(PackedDecoder.load(ids));
                Skip skip = _judge(work, id, head, cursor, length);
                if (skip == Skip.None) {
                    _noteDue(work, ids, head);
                    sums += uint256(uint96(head >> 152)) << 128 | uint96(head >> 56);
                } else {
                    emit SettlementSkipped(id, uint8(skip));
                }
                cursor += length;
            }
            uint256 count = (work.dueEnd - dueBefore) >> 5;
            if (count != 0) _closeRun(work, sums >> 128, uint128(sums), count);
            return (cursor, ids);
        }
    }

    /// @dev Decides about one item and, when it is due, takes its nonce and its money from the section's running state.
    /// @param head nonce byte u8 | amount u96 | fee u96 | deadline u40, from the top.
    function _judge(Work memory work, bytes32 id, uint256 head, uint256 auth, uint256 authLength) private view returns (Skip) {
        unchecked {
            uint256 amount = uint96(head >> 152);
            uint256 fee = uint96(head >> 56);
            // The usual case in few comparisons; an amount of 0 wraps and fails. `_refusal` finds out which of them failed.
            if (
                work.bitmap >> (head >> 248) & 1 != 0 || block.timestamp > uint40(head >> 16) || amount - 1 >= work.allowed
                    || fee > work.feeLimit
            ) return _refusal(work, head);
            if (!_authorized(work, id, auth, authLength)) return Skip.SignatureRefused;
            amount += fee;
            uint256 balance = work.balance;
            if (amount > balance) return Skip.PayerShort;
            work.balance = balance - amount;
            work.bitmap |= 1 << (head >> 248);
            return Skip.None;
        }
    }

    /// @dev The first reason, in the order of their numbers, for which `_judge` did not get as far as the signature.
    function _refusal(Work memory work, uint256 head) private view returns (Skip) {
        if (work.bitmap >> (head >> 248) & 1 != 0) return Skip.NonceUsed;
        if (block.timestamp > uint40(head >> 16)) return Skip.Expired;
        if (work.paused) return Skip.PayerPaused;
        uint256 amount = uint96(head >> 152);
        // Besides tokens that are not listed: payments that no token would make, and a fee that has no recipient.
        if (amount == 0 || TokenTiers.quorumFor(work.tiers, amount) == 0 || work.payee == address(0) || uint96(head >> 56) > work.feeLimit) return Skip.TokenRefused;
        return Skip.QuorumShort;
    }

    function _authorized(Work memory work, bytes32 id, uint256 auth, uint256 length) private view returns (bool) {
        GroupAuth state = work.groupAuth;
        if (state == GroupAuth.PerItem) return _signed(work, id, auth, length);
        if (state == GroupAuth.Unseen) {
            state = _signed(work, work.groupDigest, work.auth, work.authLength) ? GroupAuth.Good : GroupAuth.Bad;
            work.groupAuth = state;
        }
        return state == GroupAuth.Good;
    }

    function _signed(Work memory work, bytes32 digest, uint256 auth, uint256 length) private view returns (bool) {
        address signer = SignatureCheck.recover(digest, auth, length);
        if (signer != address(0)) {
            if (signer == work.signer) return true;
            if (signer == work.payer || _vault.isSigner(work.payer, signer)) {
                work.signer = signer;
                return true;
            }
        }
        return SignatureCheck.acceptedByContract(work.payer, digest, auth, length);
    }

    // ------------------------------------------------------------------------------------------------ sections

    function _openBatch(Work memory work, bytes calldata message) private view returns (Message.Header memory header) {
        header = _parse(message);
        work.messageId = keccak256(message);
        work.feeRecipient = header.feeRecipient;
        work.feeLimit = header.feeRecipient == address(0) ? 0 : type(uint256).max;
        work.families = _familiesOf(work.messageId);
    }

    /// @dev Room for what one section can pay.
    function _allocate(Work memory work, uint256 count) private pure {
        if (count > MAX_PAID) count = MAX_PAID;
        work.runs = new bytes(count * Runs.SIZE);
        work.sums = SettlementTree.allocate(count);
        work.due = SettlementTree.allocate(count);
    }

    function _openSection(Work memory work, address token, address payer, uint256 nonces) private view {
        work.token = token;
        work.payer = payer;
        work.nonces = nonces;
        (work.opened, work.funds, work.tiers, work.paused) = _vault.open(token, payer, nonces >> 8);
        work.bitmap = work.opened;
        work.balance = work.funds;
        work.cleared = work.paused ? 0 : TokenTiers.cleared(work.tiers, work.families);
        work.signer = address(0);
        work.groupAuth = GroupAuth.PerItem;
        work.fees = 0;
        work.runCount = 0;
        work.dueEnd = work.due;
    }

    /// @dev Reads the group of a mode 1 section: what its payer must have signed follows from the section's own ids and their range proof.
    function _openGroup(Work memory work, uint256 cursor, uint256 ids, uint256 nodes) private view returns (uint256) {
        unchecked {
            uint256 head = PackedDecoder.word(cursor);
            uint256 groupCount = head >> 224;
            uint256 siblings = head >> 184 & 0xff;
            uint256 proof = cursor + 9;
            cursor = proof + (siblings << 5);
            work.authLength = PackedDecoder.word(cursor) >> 240;
            work.auth = cursor + 2;
            cursor += 2 + work.authLength;

            uint256 items = _countItems(cursor);
            for (uint256 i; i < items; ++i) {
                PackedDecoder.store(nodes + (i << 5), uint256(SettlementTree.leaf(bytes32(PackedDecoder.load(ids + (i << 5))))));
            }
            (bool holds, bytes32 root) = SettlementTree.rangeRoot(nodes, items, head >> 192 & 0xffffffff, groupCount, proof, siblings);
            work.groupAuth = holds ? GroupAuth.Unseen : GroupAuth.Bad;
            work.groupDigest = groupDigest(root, groupCount);
            return cursor;
        }
    }

    /// @dev Items of a mode 1 section whose runs begin at `cursor`.
    function _countItems(uint256 cursor) private pure returns (uint256 total) {
        unchecked {
            uint256 runs = PackedDecoder.word(cursor) >> 240;
            cursor += 2;
            for (; runs != 0; --runs) {
                uint256 items = PackedDecoder.word(cursor) >> 80 & 0xffff;
                total += items;
                cursor += PackedDecoder.RUN_HEAD + items * PackedDecoder.ITEM;
            }
        }
    }

    function _openRun(Work memory work, address payee) private pure {
        work.payee = payee;
        work.allowed = payee == address(0) ? 0 : work.cleared;
    }

    function _noteDue(Work memory work, uint256 idAt, uint256 head) private pure {
        unchecked {
            uint256 end = work.dueEnd;
            PackedDecoder.store(end, idAt << 8 | head >> 248);
            work.dueEnd = end + 32;
        }
    }

    /// @dev Notes a payment for the `count` items that were noted last.
    function _closeRun(Work memory work, uint256 amount, uint256 fee, uint256 count) private pure {
        unchecked {
            uint256 index = work.runCount;
            Runs.put(work.runs, index, work.payee, amount);
            PackedDecoder.store(work.sums + (index << 5), fee << 16 | count);
            work.fees += fee;
            work.runCount = index + 1;
        }
    }

    /// @dev Has the vault pay the section and says what was paid.
    function _settle(Work memory work) private {
        bytes memory runs = work.runs;
        Runs.setCount(runs, work.runCount);
        uint256 credited = _vault.settle(
            work.token,
            work.payer,
            work.nonces >> 8,
            work.bitmap ^ work.opened,
            work.funds - work.balance,
            work.feeRecipient,
            work.fees,
            runs
        );
        unchecked {
            address payer = work.payer;
            uint256 due = work.due;
            uint256 runCount = work.runCount;
            for (uint256 i; i != runCount; ++i) {
                uint256 sums = PackedDecoder.load(work.sums + (i << 5));
                uint256 nonces = work.nonces | (credited >> i) << 255;
                uint256 end = due + ((sums & 0xffff) << 5);
                for (; due != end; due += 32) {
                    uint256 entry = PackedDecoder.load(due);
                    emit SettlementPaid(bytes32(PackedDecoder.load(entry >> 8)), payer, nonces | entry & 0xff);
                }
                (address payee, uint256 amount) = Runs.atMemory(runs, i);
                emit RunPaid(work.messageId, work.token, payer, payee, amount, sums >> 16, sums & 0xffff);
            }
        }
    }

    // ------------------------------------------------------------------------------------------------ hashing

    function _requireLeaf(Message.Header memory header, bytes32 id, uint256 leaf, bytes32[] calldata proof) private pure {
        uint256 nodes = SettlementTree.allocate(1);
        PackedDecoder.store(nodes, uint256(SettlementTree.leaf(id)));
        uint256 proofAt;
        assembly ("memory-safe") {
            proofAt := proof.offset
        }
        (bool holds, bytes32 root) = SettlementTree.rangeRoot(nodes, 1, leaf, header.count, proofAt, proof.length);
        if (!holds || root != header.root) revert WrongRoot();
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR(), structHash));
    }

    function _buildDomain() private view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("Settlement"), keccak256("1"), block.chainid, address(this)));
    }
}
