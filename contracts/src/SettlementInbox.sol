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

    /// @dev What is the same for a whole call.
    struct Batch {
        bytes32 messageId;
        address feeRecipient;
        uint256 families;
    }

    /// @dev Who signed for a section: each item, or a group whose signature is looked at when the first item needs it.
    enum GroupAuth {
        PerItem,
        Unseen,
        Good,
        Bad
    }

    /// @dev What the vault said about a section, and what is to be paid so far. Addresses of memory are uint256.
    struct Section {
        address token;
        address payer;
        // The nonce word, shifted into place.
        uint256 nonces;
        uint256 bitmap;
        uint256 balance;
        uint256 tiers;
        bool paused;
        GroupAuth groupAuth;
        bytes32 groupDigest;
        uint256 auth;
        uint256 authLength;
        // The last signer that the vault knew, so that it is asked once.
        address signer;
        uint256 used;
        uint256 fees;
        uint256 runCount;
        uint256 paidCount;
        bytes runs;
        uint256[] runSums;
        uint256[] paid;
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
        (Batch memory batch, Message.Header memory header) = _openBatch(packed[:Message.LENGTH]);
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

        (uint256 nodes, uint256 memoryEnd) = SettlementTree.allocate(count);
        uint256 ids = memoryEnd;
        SettlementTree.allocate(count);
        PackedDecoder.hashItems(cursor + (siblings << 5), end, count, header.sourceChain, DOMAIN_SEPARATOR(), ids, nodes);
        (bool holds, bytes32 root) = SettlementTree.rangeRoot(nodes, count, head >> 224, header.count, cursor, siblings);
        if (!holds || root != header.root) revert WrongRoot();

        Section memory section;
        _allocate(section, count);
        cursor += siblings << 5;
        while (cursor < end) {
            (cursor, ids) = _executeSection(batch, section, cursor, ids, nodes);
            paid += section.paidCount;
        }
        // Cannot wrap: every settlement uses up a nonce.
        unchecked {
            if (paid != 0) _paid += uint128(paid);
        }
    }

    /// @inheritdoc ISettlementInbox
    function executeOne(bytes calldata message, Settlement calldata settlement, bytes calldata auth, uint256 leaf, bytes32[] calldata proof)
        external
        returns (Skip skip)
    {
        (Batch memory batch, Message.Header memory header) = _openBatch(message);
        // The bounds of the packed encoding hold here too: one settlement is executable in both forms or in none.
        if (
            auth.length > PackedDecoder.MAX_AUTH || settlement.amount > type(uint96).max || settlement.fee > type(uint96).max
                || settlement.nonce >= CREDITED || settlement.deadline > type(uint40).max
        ) revert BadLayout();
        if (settlement.sourceChainId != header.sourceChain) revert WrongSource();
        bytes32 id = settlementId(settlement);
        _requireLeaf(header, id, leaf, proof);

        Section memory section;
        _allocate(section, 1);
        _openSection(section, settlement.token, settlement.payer, settlement.nonce & ~uint256(0xff));
        uint256 authAt;
        assembly ("memory-safe") {
            authAt := auth.offset
        }
        // The head of a packed item.
        uint256 head = settlement.nonce << 248 | settlement.amount << 152 | settlement.fee << 56 | settlement.deadline << 16;
        skip = _judge(batch, section, id, settlement.payee, head, authAt, auth.length);
        if (skip != Skip.None) {
            emit SettlementSkipped(id, uint8(skip));
            return skip;
        }
        (uint256 word,) = SettlementTree.allocate(1);
        SettlementTree.store(word, id);
        _record(section, word, head);
        _closeRun(section, settlement.payee, settlement.amount, settlement.fee, 1);
        _settle(batch, section);
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
    function _executeSection(Batch memory batch, Section memory section, uint256 cursor, uint256 ids, uint256 nodes)
        private
        returns (uint256 next, uint256)
    {
        uint256 mode = PackedDecoder.word(cursor) >> 248;
        _openSection(
            section,
            address(uint160(PackedDecoder.word(cursor + 1) >> 96)),
            address(uint160(PackedDecoder.word(cursor + 21) >> 96)),
            PackedDecoder.word(cursor + 41) & ~uint256(0xff)
        );
        unchecked {
            cursor += PackedDecoder.SECTION_HEAD;
            if (mode == 1) cursor = _openGroup(section, cursor, ids, nodes);
            uint256 runs = PackedDecoder.word(cursor) >> 240;
            cursor += 2;
            for (; runs != 0; --runs) {
                (cursor, ids) = _executeRun(batch, section, mode, cursor, ids);
            }
        }
        if (section.paidCount != 0) _settle(batch, section);
        return (cursor, ids);
    }

    /// @dev One run: judges its items and, if any is due, adds one payment to the section.
    function _executeRun(Batch memory batch, Section memory section, uint256 mode, uint256 cursor, uint256 ids)
        private
        returns (uint256, uint256)
    {
        unchecked {
            uint256 head = PackedDecoder.word(cursor);
            address payee = address(uint160(head >> 96));
            uint256 items = head >> 80 & 0xffff;
            cursor += PackedDecoder.RUN_HEAD;
            // Sums of at most 256 values of 96 bits.
            uint256 amount;
            uint256 fee;
            uint256 count;
            for (; items != 0; --items) {
                head = PackedDecoder.word(cursor);
                cursor += PackedDecoder.ITEM;
                uint256 length;
                if (mode == 0) {
                    length = PackedDecoder.word(cursor) >> 240;
                    cursor += 2;
                }
                bytes32 id = bytes32(PackedDecoder.load(ids));
                Skip skip = _judge(batch, section, id, payee, head, cursor, length);
                if (skip == Skip.None) {
                    _record(section, ids, head);
                    amount += uint96(head >> 152);
                    fee += uint96(head >> 56);
                    ++count;
                } else {
                    emit SettlementSkipped(id, uint8(skip));
                }
                cursor += length;
                ids += 32;
            }
            if (count != 0) _closeRun(section, payee, amount, fee, count);
            return (cursor, ids);
        }
    }

    /// @dev Decides about one item and, when it is due, takes its nonce and its money from the section's running state.
    /// @param head nonce byte u8 | amount u96 | fee u96 | deadline u40, from the top.
    function _judge(Batch memory batch, Section memory section, bytes32 id, address payee, uint256 head, uint256 auth, uint256 authLength)
        private
        view
        returns (Skip)
    {
        unchecked {
            uint256 bit = 1 << (head >> 248);
            if (section.bitmap & bit != 0) return Skip.NonceUsed;
            if (block.timestamp > uint40(head >> 16)) return Skip.Expired;
            if (section.paused) return Skip.PayerPaused;
            uint256 amount = uint96(head >> 152);
            uint256 fee = uint96(head >> 56);
            uint256 quorum = TokenTiers.quorumFor(section.tiers, amount);
            // Besides tokens that are not listed: payments that no token would make and a fee that has no recipient.
            if (quorum == 0 || amount == 0 || payee == address(0) || (fee != 0 && batch.feeRecipient == address(0))) {
                return Skip.TokenRefused;
            }
            if (batch.families < quorum) return Skip.QuorumShort;
            if (!_authorized(section, id, auth, authLength)) return Skip.SignatureRefused;
            amount += fee;
            if (amount > section.balance) return Skip.PayerShort;
            section.balance -= amount;
            section.bitmap |= bit;
            section.used |= bit;
            return Skip.None;
        }
    }

    function _authorized(Section memory section, bytes32 id, uint256 auth, uint256 length) private view returns (bool) {
        GroupAuth state = section.groupAuth;
        if (state == GroupAuth.PerItem) return _signed(section, id, auth, length);
        if (state == GroupAuth.Unseen) {
            state = _signed(section, section.groupDigest, section.auth, section.authLength) ? GroupAuth.Good : GroupAuth.Bad;
            section.groupAuth = state;
        }
        return state == GroupAuth.Good;
    }

    function _signed(Section memory section, bytes32 digest, uint256 auth, uint256 length) private view returns (bool) {
        address payer = section.payer;
        address signer = SignatureCheck.recover(digest, auth, length);
        if (signer != address(0)) {
            if (signer == payer || signer == section.signer) return true;
            if (_vault.isSigner(payer, signer)) {
                section.signer = signer;
                return true;
            }
        }
        return SignatureCheck.acceptedByContract(payer, digest, auth, length);
    }

    // ------------------------------------------------------------------------------------------------ sections

    function _openBatch(bytes calldata message) private view returns (Batch memory batch, Message.Header memory header) {
        header = _parse(message);
        batch.messageId = keccak256(message);
        batch.feeRecipient = header.feeRecipient;
        batch.families = _familiesOf(batch.messageId);
    }

    /// @dev Room for what one section can pay, used again by each.
    function _allocate(Section memory section, uint256 count) private pure {
        if (count > MAX_PAID) count = MAX_PAID;
        section.runs = new bytes(count * Runs.SIZE);
        section.runSums = new uint256[](count);
        section.paid = new uint256[](count);
    }

    function _openSection(Section memory section, address token, address payer, uint256 nonces) private view {
        section.token = token;
        section.payer = payer;
        section.nonces = nonces;
        (section.bitmap, section.balance, section.tiers, section.paused) = _vault.open(token, payer, nonces >> 8);
        section.groupAuth = GroupAuth.PerItem;
        section.signer = address(0);
        section.used = 0;
        section.fees = 0;
        section.runCount = 0;
        section.paidCount = 0;
    }

    /// @dev Reads the group of a mode 1 section: what its payer must have signed follows from the section's own ids and their range proof.
    function _openGroup(Section memory section, uint256 cursor, uint256 ids, uint256 nodes) private view returns (uint256) {
        unchecked {
            uint256 head = PackedDecoder.word(cursor);
            uint256 groupCount = head >> 224;
            uint256 siblings = head >> 184 & 0xff;
            uint256 proof = cursor + 9;
            cursor = proof + (siblings << 5);
            section.authLength = PackedDecoder.word(cursor) >> 240;
            section.auth = cursor + 2;
            cursor += 2 + section.authLength;

            uint256 items = _countItems(cursor);
            for (uint256 i; i < items; ++i) {
                SettlementTree.store(nodes + (i << 5), SettlementTree.leaf(bytes32(PackedDecoder.load(ids + (i << 5)))));
            }
            (bool holds, bytes32 root) = SettlementTree.rangeRoot(nodes, items, head >> 192 & 0xffffffff, groupCount, proof, siblings);
            section.groupAuth = holds ? GroupAuth.Unseen : GroupAuth.Bad;
            section.groupDigest = groupDigest(root, groupCount);
            return cursor;
        }
    }

    /// @dev Items of a mode 1 section whose runs begin at `at`.
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

    /// @dev Notes a due item: the memory address of its id and its nonce byte.
    function _record(Section memory section, uint256 idAt, uint256 head) private pure {
        unchecked {
            section.paid[section.paidCount++] = idAt << 8 | head >> 248;
        }
    }

    /// @dev Notes a payment of `count` items that were recorded last.
    function _closeRun(Section memory section, address payee, uint256 amount, uint256 fee, uint256 count) private pure {
        unchecked {
            uint256 index = section.runCount++;
            Runs.put(section.runs, index, payee, amount);
            section.runSums[index] = fee << 16 | count;
            section.fees += fee;
        }
    }

    /// @dev Has the vault pay the section and says what was paid.
    function _settle(Batch memory batch, Section memory section) private {
        bytes memory runs = section.runs;
        Runs.setCount(runs, section.runCount);
        uint256 credited =
            _vault.settle(section.token, section.payer, section.nonces >> 8, section.used, batch.feeRecipient, section.fees, runs);
        address payer = section.payer;
        uint256 next;
        unchecked {
            for (uint256 i; i < section.runCount; ++i) {
                uint256 sums = section.runSums[i];
                uint256 nonces = section.nonces | (credited >> i) << 255;
                for (uint256 last = next + (sums & 0xffff); next < last; ++next) {
                    uint256 entry = section.paid[next];
                    emit SettlementPaid(bytes32(PackedDecoder.load(entry >> 8)), payer, nonces | entry & 0xff);
                }
                (address payee, uint256 amount) = Runs.atMemory(runs, i);
                emit RunPaid(batch.messageId, section.token, payer, payee, amount, sums >> 16, sums & 0xffff);
            }
        }
    }

    // ------------------------------------------------------------------------------------------------ hashing

    function _requireLeaf(Message.Header memory header, bytes32 id, uint256 leaf, bytes32[] calldata proof) private pure {
        (uint256 nodes,) = SettlementTree.allocate(1);
        SettlementTree.store(nodes, SettlementTree.leaf(id));
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
