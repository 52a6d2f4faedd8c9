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

    /// @dev What is known about the one signature of a mode 1 section.
    enum GroupAuth {
        Unseen,
        Good,
        Bad
    }

    /// @dev What is the same for a whole call, what the vault said about the open section, and what of it is to be paid. One record, used again by
    /// each section. What changes with every item lives in local variables of `_executeSection`, and lists are raw memory: reaching into a
    /// record or checking bounds for each would cost as much as the checks themselves.
    struct Work {
        // The batch.
        bytes32 messageId;
        address feeRecipient;
        uint256 feeLimit; // 0 when nobody takes fees.
        uint256 families;
        // The section.
        address token;
        address payer;
        uint256 nonces; // The nonce word, shifted into place.
        uint256 bitmap; // The nonce word's used bits, as the vault has them.
        uint256 balance; // As the vault has it.
        uint256 tiers;
        uint256 cleared; // Amounts up to here need no closer look: listed, their quorum met, nobody paused.
        bool paused;
        address signer; // The last signer that was good, so that the vault is asked once.
        GroupAuth groupAuth;
        bytes32 groupDigest;
        uint256 auth;
        uint256 authLength;
        // What is due. Each list has room for what one section can pay.
        uint256 fees;
        bytes runs;
        uint256 runCount;
        uint256 due; // Per item: address of its id << 8 | nonce byte.
        uint256 nodes; // What the first walk needs no more; groups are hashed there.
        uint256 leafGap; // From an id's address to that of its leaf hash.
        uint256 ends; // Address of the open section's last id + 32, as the first walk noted it.
        uint256 paid;
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
        uint256 ids = SettlementTree.allocate(3 * count);
        uint256 sections = cursor + (siblings << 5);
        PackedDecoder.hashItems(sections, end, count, header.sourceChain, DOMAIN_SEPARATOR(), ids);
        work.leafGap = count << 5;
        work.ends = ids + (count << 6);
        SettlementTree.copy(nodes, ids + work.leafGap, count);
        (bool holds, bytes32 root) = SettlementTree.rangeRoot(nodes, count, head >> 224, header.count, cursor, siblings);
        if (!holds || root != header.root) revert WrongRoot();

        _allocate(work, count);
        work.nodes = nodes;
        unchecked {
            while (sections < end) {
                (sections, ids) = _executeSection(work, sections, ids);
            }
            paid = work.paid;
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
        skip = _judgeOne(work, settlement, id, auth);
        if (skip != Skip.None) {
            emit SettlementSkipped(id, uint8(skip));
            return skip;
        }
        uint256 idAt = SettlementTree.allocate(1);
        PackedDecoder.store(idAt, uint256(id));
        PackedDecoder.store(work.due, idAt << 8 | settlement.nonce & 0xff);
        _closeRun(work, settlement.payee, Runs.sums(1, settlement.amount, settlement.fee));
        _settle(work, 1 << (settlement.nonce & 0xff), settlement.amount + settlement.fee);
        ++_paid;
    }

    /// @dev What `_executeSection` decides about an item, for a single settlement.
    function _judgeOne(Work memory work, Settlement calldata settlement, bytes32 id, bytes calldata auth) private view returns (Skip) {
        // The head of a packed item.
        uint256 head = settlement.nonce << 248 | settlement.amount << 152 | settlement.fee << 56 | settlement.deadline << 16;
        Skip skip = _refusal(work, head, settlement.payee, work.bitmap);
        if (skip != Skip.None) return skip;
        uint256 authAt;
        assembly ("memory-safe") {
            authAt := auth.offset
        }
        if (!_signed(work, id, authAt, auth.length)) return Skip.SignatureRefused;
        return settlement.amount + settlement.fee > work.balance ? Skip.PayerShort : Skip.None;
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

    /// @dev One section: opens it, judges its items against a running balance and bitmap, pays it. Lengths were proved by the first walk.
    /// @param ids memory address of the section's first id.
    /// @return next address of the next section, and of its first id.
    function _executeSection(Work memory work, uint256 cursor, uint256 ids) private returns (uint256 next, uint256) {
        bool perItem = PackedDecoder.word(cursor) >> 248 == 0;
        _openSection(
            work,
            address(uint160(PackedDecoder.word(cursor + 1) >> 96)),
            address(uint160(PackedDecoder.word(cursor + 21) >> 96)),
            PackedDecoder.word(cursor + 41) & ~uint256(0xff)
        );
        unchecked {
            cursor += PackedDecoder.SECTION_HEAD;
            if (!perItem) cursor = _openGroup(work, cursor, ids);
            work.ends += 32;
            uint256 bitmap = work.bitmap;
            uint256 balance = work.balance;
            uint256 cleared = work.cleared;
            uint256 dueEnd = work.due;
            uint256 runs = PackedDecoder.word(cursor) >> 240;
            cursor += 2;
            for (; runs != 0; --runs) {
                uint256 head = PackedDecoder.word(cursor);
                address payee = address(uint160(head >> 96));
                uint256 lastId = ids + ((head >> 80 & 0xffff) << 5);
                cursor += PackedDecoder.RUN_HEAD;
                // As Runs adds them up.
                uint256 sums;
                for (; ids != lastId; ids += 32) {
                    head = PackedDecoder.word(cursor);
                    cursor += PackedDecoder.ITEM;
                    uint256 length;
                    if (perItem) {
                        length = PackedDecoder.word(cursor) >> 240;
                        cursor += 2;
                    }
                    uint256 amount = uint96(head >> 152);
                    uint256 fee = uint96(head >> 56);
                    Skip skip;
                    if (!PackedDecoder.doubtful(head, bitmap, cleared, payee) || (skip = _refusal(work, head, payee, bitmap)) == Skip.None)
                    {
                        if (perItem
                                ? !_signed(work, bytes32(PackedDecoder.load(ids)), cursor, length)
                                : work.groupAuth != GroupAuth.Good && !_groupSigned(work)) {
                            skip = Skip.SignatureRefused;
                        } else if (amount + fee > balance) {
                            skip = Skip.PayerShort;
                        } else {
                            balance -= amount + fee;
                            bitmap |= 1 << (head >> 248);
                            sums += Runs.sums(1, amount, fee);
                            PackedDecoder.store(dueEnd, ids << 8 | head >> 248);
                            dueEnd += 32;
                            cursor += length;
                            continue;
                        }
                    }
                    emit SettlementSkipped(bytes32(PackedDecoder.load(ids)), uint8(skip));
                    cursor += length;
                }
                if (sums != 0) _closeRun(work, payee, sums);
            }
            work.paid += (dueEnd - work.due) >> 5;
            if (work.runCount != 0) _settle(work, bitmap ^ work.bitmap, work.balance - balance);
        }
        return (cursor, ids);
    }

    /// @dev The first reason, in the order of their numbers, that an item has before its signature is looked at; None when there is none.
    /// @param head nonce byte u8 | amount u96 | fee u96 | deadline u40, from the top.
    function _refusal(Work memory work, uint256 head, address payee, uint256 bitmap) private view returns (Skip) {
        if (bitmap >> (head >> 248) & 1 != 0) return Skip.NonceUsed;
        if (block.timestamp > uint40(head >> 16)) return Skip.Expired;
        if (work.paused) return Skip.PayerPaused;
        uint256 amount = uint96(head >> 152);
        uint256 quorum = TokenTiers.quorumFor(work.tiers, amount);
        // Besides tokens that are not listed: payments that no token would make, and a fee that has no recipient.
        if (quorum == 0 || amount == 0 || payee == address(0) || uint96(head >> 56) > work.feeLimit) return Skip.TokenRefused;
        return work.families < quorum ? Skip.QuorumShort : Skip.None;
    }

    /// @dev Whether the group's one signature is good; it is looked at when the first item needs it.
    function _groupSigned(Work memory work) private view returns (bool) {
        if (work.groupAuth == GroupAuth.Unseen) {
            work.groupAuth = _signed(work, work.groupDigest, work.auth, work.authLength) ? GroupAuth.Good : GroupAuth.Bad;
        }
        return work.groupAuth == GroupAuth.Good;
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
        work.due = SettlementTree.allocate(count);
    }

    function _openSection(Work memory work, address token, address payer, uint256 nonces) private view {
        work.token = token;
        work.payer = payer;
        work.nonces = nonces;
        (work.bitmap, work.balance, work.tiers, work.paused) = _vault.open(token, payer, nonces >> 8);
        work.cleared = work.paused || work.feeLimit == 0 ? 0 : TokenTiers.cleared(work.tiers, work.families);
        work.signer = address(0);
        work.fees = 0;
        work.runCount = 0;
    }

    /// @dev Reads the group of a mode 1 section: what its payer must have signed follows from the section's own ids and their range proof.
    function _openGroup(Work memory work, uint256 cursor, uint256 ids) private view returns (uint256) {
        unchecked {
            uint256 head = PackedDecoder.word(cursor);
            uint256 groupCount = head >> 224;
            uint256 siblings = head >> 184 & 0xff;
            uint256 proof = cursor + 9;
            cursor = proof + (siblings << 5);
            work.authLength = PackedDecoder.word(cursor) >> 240;
            work.auth = cursor + 2;
            cursor += 2 + work.authLength;

            uint256 nodes = work.nodes;
            uint256 items = (PackedDecoder.load(work.ends) - ids) >> 5;
            SettlementTree.copy(nodes, ids + work.leafGap, items);
            (bool holds, bytes32 root) = SettlementTree.rangeRoot(nodes, items, head >> 192 & 0xffffffff, groupCount, proof, siblings);
            work.groupAuth = holds ? GroupAuth.Unseen : GroupAuth.Bad;
            work.groupDigest = groupDigest(root, groupCount);
            return cursor;
        }
    }

    /// @dev Notes a payment for the items that were noted last.
    /// @param sums as Runs adds them up.
    function _closeRun(Work memory work, address payee, uint256 sums) private pure {
        unchecked {
            uint256 index = work.runCount;
            Runs.put(work.runs, index, payee, sums);
            work.fees += uint104(sums);
            work.runCount = index + 1;
        }
    }

    /// @dev Has the vault pay the section and says what was paid.
    /// @param bits nonces used up, `debit` all amounts and fees.
    function _settle(Work memory work, uint256 bits, uint256 debit) private {
        bytes memory runs = work.runs;
        Runs.setCount(runs, work.runCount);
        uint256 credited = _vault.settle(work.token, work.payer, work.nonces >> 8, bits, debit, work.feeRecipient, work.fees, runs);
        unchecked {
            address payer = work.payer;
            uint256 due = work.due;
            uint256 word = work.nonces;
            uint256 count = work.runCount;
            bytes32 topic = SettlementPaid.selector;
            for (uint256 i; i != count; ++i) {
                uint256 nonces = word | (credited >> i) << 255;
                uint256 end = due + (Runs.items(runs, i) << 5);
                // `emit SettlementPaid(id, payer, nonces | nonce byte)` for each, in scratch space instead of fresh memory.
                assembly ("memory-safe") {
                    for {} lt(due, end) { due := add(due, 32) } {
                        let entry := mload(due)
                        mstore(0, or(nonces, and(entry, 0xff)))
                        log3(0, 32, topic, mload(shr(8, entry)), payer)
                    }
                }
            }
            emit RunsPaid(work.messageId, work.token, payer, runs);
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
