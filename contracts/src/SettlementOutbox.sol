// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {ICommitChain} from "./interfaces/ICommitChain.sol";
import {ISettlementOutbox} from "./interfaces/ISettlementOutbox.sol";
import {ISettlementPort} from "./interfaces/ISettlementPort.sol";
import {Message} from "./Message.sol";
import {SettlementTree} from "./SettlementTree.sol";

/// @title Commits to batches of settlements and to checkpoints of hubs, and hands them to bridge ports.
/// @notice A dispatcher can spend fees and delay. What a batch commits to still needs every payer's signature on the target chain, and what a
/// checkpoint says comes from the hub's contract, which is named in the message: a dispatcher cannot put words into another hub's mouth.
contract SettlementOutbox is ISettlementOutbox, Ownable2Step {
    /// @dev A port keeps its slot for ever: were it handed out again, a message sent over the old port would count as sent over the new one.
    struct Port {
        uint8 slotPlusOne;
        bool active;
    }

    /// @dev Bit 255 of a message's word; bits 0 to 254 are the slots it went out over, so a dispatch reads and writes one word.
    uint256 private constant COMMITTED = 1 << 255;
    uint8 private constant MAX_PORTS = 255;
    /// @dev Eons a hub's contract keeps, each in slot eon % 5.
    uint64 private constant EONS_KEPT = 5;

    mapping(bytes32 messageId => uint256) private _messages;
    mapping(address port => Port) private _ports;
    mapping(address account => bool) private _dispatchers;
    uint128 private _messageCount;
    uint128 private _dispatchCount;
    uint8 private _portCount;

    constructor(address initialOwner) Ownable(initialOwner) {}

    /// @inheritdoc ISettlementOutbox
    function dispatch(bytes calldata header, bytes32[] calldata settlementIds, address port, uint128 gasLimit)
        external
        payable
        returns (bytes32 bridgeRef)
    {
        if (!_dispatchers[msg.sender]) revert NotDispatcher(msg.sender);
        uint256 bit = _slotBit(port);
        Message.Header memory parsed = _parse(header);
        bytes32 messageId = keccak256(header);

        uint256 word = _messages[messageId];
        if (word & bit != 0) revert AlreadyDispatched(messageId, port);
        if (settlementIds.length != 0) {
            if (settlementIds.length != parsed.count) revert WrongCount(parsed.count, settlementIds.length);
            bytes32 root = SettlementTree.rootOf(settlementIds);
            if (root != parsed.root) revert WrongRoot(parsed.root, root);
        } else if (word == 0) {
            revert NotCommitted(messageId);
        }
        _commit(messageId, word, bit);
        bridgeRef = ISettlementPort(port).send{value: msg.value}(parsed.targetChain, header, gasLimit, msg.sender);
        emit MessageDispatched(messageId, port, bridgeRef, parsed.targetChain, parsed.sequence, parsed.count);
        _refund();
    }

    /// @inheritdoc ISettlementOutbox
    function dispatchCheckpoint(address hub, uint64 eon, uint64 targetChain, address inbox, address port, uint128 gasLimit)
        external
        payable
        returns (bytes32 bridgeRef)
    {
        if (!_dispatchers[msg.sender]) revert NotDispatcher(msg.sender);
        uint256 bit = _slotBit(port);
        bytes memory message = _checkpoint(hub, eon, targetChain, inbox);
        bytes32 messageId = keccak256(message);

        uint256 word = _messages[messageId];
        if (word & bit != 0) revert AlreadyDispatched(messageId, port);
        _commit(messageId, word, bit);
        bridgeRef = ISettlementPort(port).send{value: msg.value}(targetChain, message, gasLimit, msg.sender);
        emit MessageDispatched(messageId, port, bridgeRef, targetChain, eon, 0);
        _refund();
    }

    /// @inheritdoc ISettlementOutbox
    function quote(bytes calldata header, address port, uint128 gasLimit) external view returns (uint256 nativeFee) {
        _slotBit(port);
        (bool valid, Message.Header memory parsed) = Message.parseAny(header);
        _requireOurs(valid, parsed);
        return ISettlementPort(port).quote(parsed.targetChain, header, gasLimit);
    }

    /// @inheritdoc ISettlementOutbox
    function committed(bytes32 messageId) external view returns (bool) {
        return _messages[messageId] != 0;
    }

    /// @inheritdoc ISettlementOutbox
    function dispatched(bytes32 messageId, address port) external view returns (bool) {
        uint8 slotPlusOne = _ports[port].slotPlusOne;
        return slotPlusOne != 0 && _messages[messageId] & (uint256(1) << (slotPlusOne - 1)) != 0;
    }

    /// @inheritdoc ISettlementOutbox
    function counters() external view returns (uint128 messages, uint128 dispatches) {
        return (_messageCount, _dispatchCount);
    }

    /// @inheritdoc ISettlementOutbox
    function isDispatcher(address account) external view returns (bool) {
        return _dispatchers[account];
    }

    /// @inheritdoc ISettlementOutbox
    function portSlot(address port) external view returns (uint8) {
        Port memory known = _ports[port];
        return known.active ? known.slotPlusOne : 0;
    }

    /// @inheritdoc ISettlementOutbox
    function setDispatcher(address account, bool allowed) external onlyOwner {
        if (account == address(0)) revert ZeroAddress();
        _dispatchers[account] = allowed;
        emit DispatcherSet(account, allowed);
    }

    /// @inheritdoc ISettlementOutbox
    function addPort(address port) external onlyOwner {
        if (port == address(0)) revert ZeroAddress();
        Port storage known = _ports[port];
        if (known.active || ISettlementPort(port).outbox() != address(this)) revert UnknownPort(port);
        uint8 slotPlusOne = known.slotPlusOne;
        if (slotPlusOne == 0) {
            if (_portCount == MAX_PORTS) revert NoFreeSlot();
            slotPlusOne = ++_portCount;
            known.slotPlusOne = slotPlusOne;
        }
        known.active = true;
        emit PortAdded(port, slotPlusOne - 1, ISettlementPort(port).family());
    }

    /// @inheritdoc ISettlementOutbox
    function removePort(address port) external onlyOwner {
        Port storage known = _ports[port];
        if (!known.active) revert UnknownPort(port);
        known.active = false;
        emit PortRemoved(port, known.slotPlusOne - 1);
    }

    /// @inheritdoc ISettlementOutbox
    function owner() public view override(ISettlementOutbox, Ownable) returns (address) {
        return super.owner();
    }

    function _slotBit(address port) private view returns (uint256) {
        Port memory known = _ports[port];
        if (!known.active) revert UnknownPort(port);
        return uint256(1) << (known.slotPlusOne - 1);
    }

    /// @dev Written before the port is called: the protocol's refund gives the dispatcher control in the middle of a dispatch.
    function _commit(bytes32 messageId, uint256 word, uint256 bit) private {
        _messages[messageId] = word | COMMITTED | bit;
        if (word == 0) ++_messageCount;
        ++_dispatchCount;
    }

    /// @dev The port refunds to the sender; anything that still lies here was forced in, and leaves the same way.
    function _refund() private {
        uint256 rest = address(this).balance;
        if (rest != 0) {
            (bool sent,) = msg.sender.call{value: rest}("");
            if (!sent) revert RefundFailed();
        }
    }

    /// @dev What the hub's contract says now, as a message. The hub is anybody's contract; it is asked by static calls only, and only what it says
    /// about itself is carried.
    function _checkpoint(address hub, uint64 eon, uint64 targetChain, address inbox) private view returns (bytes memory) {
        if (targetChain == 0 || inbox == address(0) || block.chainid > type(uint64).max) revert BadHeader();
        if (hub.code.length == 0) revert NoCheckpoint(hub, eon);
        if (ICommitChain(hub).hasMissedCheckpointSubmission() || ICommitChain(hub).hasOutstandingChallenges()) revert HubHalted(hub);
        (uint256 found, bytes32 root,) = ICommitChain(hub).getCheckpointAtSlot(uint8(eon % EONS_KEPT));
        // A slot that was never used says eon 0.
        if (found != eon || eon == 0 || root == 0) revert NoCheckpoint(hub, eon);
        return Message.encodeCheckpoint(uint64(block.chainid), targetChain, address(this), inbox, hub, eon, root);
    }

    function _parse(bytes calldata header) private view returns (Message.Header memory parsed) {
        bool valid;
        (valid, parsed) = Message.parse(header);
        _requireOurs(valid, parsed);
    }

    function _requireOurs(bool valid, Message.Header memory parsed) private view {
        if (!valid || parsed.sourceChain != block.chainid || parsed.outbox != Message.word(address(this))) revert BadHeader();
    }
}
