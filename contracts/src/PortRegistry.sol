// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

import {Message} from "./Message.sol";
import {SettlementVault} from "./SettlementVault.sol";
import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";
import {ISettlementPort} from "./interfaces/ISettlementPort.sol";

/// @title The part of the inbox that knows ports and records what they bring.
/// @dev A port takes one of 64 slots and keeps it for ever: a message's votes are a bitmap of slots, so a slot that came to another port would hand
/// it votes it never cast.
abstract contract PortRegistry is ISettlementInbox, Ownable2Step {
    uint256 internal constant SLOTS = 64;
    uint256 private constant MAX_FAMILY = 15;

    /// @dev One storage slot; `received` lives here and not in a counter of its own because `receiveMessage` reads this slot anyway.
    struct Port {
        uint64 proposedAt;
        uint8 slot;
        uint8 family;
        bool active;
        uint128 received;
    }

    SettlementVault internal immutable _vault;
    uint256 public immutable portDelay;

    mapping(address port => Port) private _ports;
    /// @dev Every port that was ever activated, at its slot.
    address[] private _slots;
    /// @dev Four bits per slot: the family of the port there, 0 while there is none or after it was removed.
    uint256 internal _families;
    /// @inheritdoc ISettlementInbox
    mapping(bytes32 messageId => uint256) public votes;

    constructor(address admin, address guardian, uint256 exitDelay, uint256 claimWindow, uint256 portDelay_) Ownable(admin) {
        // An admin who adds a false port must leave every payer the time to walk out, even across one full pause.
        if (exitDelay == 0 || claimWindow == 0 || exitDelay > 365 days || claimWindow > 365 days) revert BadDelay();
        if (portDelay_ <= exitDelay + 72 hours || portDelay_ > 1000 days) revert BadDelay();
        _vault = new SettlementVault(admin, guardian, exitDelay, claimWindow);
        portDelay = portDelay_;
    }

    /// @inheritdoc ISettlementInbox
    function receiveMessage(uint64 sourceChain, bytes32 outbox, bytes calldata message) external {
        Port storage port = _ports[msg.sender];
        if (!port.active) revert NotPort(msg.sender);
        (bool valid, Message.Header memory header) = Message.parseAny(message);
        _requireHere(valid, header);
        if (header.sourceChain != sourceChain || header.outbox != outbox) revert WrongSource();

        bytes32 messageId = keccak256(message);
        uint256 cast = votes[messageId];
        uint256 bit = 1 << port.slot;
        if (cast & bit != 0) {
            emit MessageRepeated(messageId, msg.sender);
            return;
        }
        votes[messageId] = cast | bit;
        unchecked {
            // One of at most 2^64 blocks' worth of calls.
            ++port.received;
        }
        emit MessageReceived(messageId, msg.sender, cast | bit);
    }

    /// @inheritdoc ISettlementInbox
    function proposePort(address port) external onlyOwner {
        Port storage record = _ports[port];
        // A port that was ever active, removed or not, stays what it was.
        if (_everActive(record, port)) revert PortRefused(port);
        uint8 family = ISettlementPort(port).family();
        if (family == 0 || family > MAX_FAMILY) revert PortRefused(port);
        record.proposedAt = uint64(block.timestamp);
        record.family = family;
        emit PortProposed(port, family, _activatableAt(record.proposedAt));
    }

    /// @inheritdoc ISettlementInbox
    function activatePort(address port) external onlyOwner {
        Port storage record = _ports[port];
        if (record.proposedAt == 0) revert NotProposed(port);
        if (_everActive(record, port)) revert PortRefused(port);
        // Judged now and not when proposed: a token listed since then may hold deposits.
        uint256 activatableAt = _activatableAt(record.proposedAt);
        if (block.timestamp < activatableAt) revert TooEarly(activatableAt);
        if (!ISettlementPort(port).frozen()) revert PortNotFrozen(port);
        uint8 family = record.family;
        if (ISettlementPort(port).inbox() != address(this) || ISettlementPort(port).family() != family) revert PortRefused(port);
        uint256 slot = _slots.length;
        if (slot == SLOTS) revert NoFreeSlot();
        _slots.push(port);
        record.slot = uint8(slot);
        record.active = true;
        _families |= uint256(family) << (slot << 2);
        emit PortActivated(port, uint8(slot), family);
    }

    /// @inheritdoc ISettlementInbox
    /// @dev Also withdraws a proposal; the event then names slot 255, which no port has.
    function removePort(address port) external onlyOwner {
        Port storage record = _ports[port];
        if (record.proposedAt == 0) revert NotProposed(port);
        if (record.active) {
            record.active = false;
            _families &= ~(uint256(0xf) << (uint256(record.slot) << 2));
            emit PortRemoved(port, record.slot);
        } else if (_everActive(record, port)) {
            revert PortRefused(port);
        } else {
            delete _ports[port];
            emit PortRemoved(port, type(uint8).max);
        }
    }

    /// @inheritdoc ISettlementInbox
    function portInfo(address port) external view returns (uint8 slot, uint8 family, bool active, uint256 activatableAt) {
        Port memory record = _ports[port];
        return (record.slot, record.family, record.active, record.proposedAt == 0 ? 0 : _activatableAt(record.proposedAt));
    }

    /// @inheritdoc ISettlementInbox
    function familiesOf(bytes32 messageId) external view returns (uint256) {
        return _familiesOf(messageId);
    }

    /// @inheritdoc ISettlementInbox
    function vault() external view returns (address) {
        return address(_vault);
    }

    /// @dev Both Ownable and the interface declare it.
    function owner() public view override(Ownable, ISettlementInbox) returns (address) {
        return super.owner();
    }

    /// @dev Sum over the slots, at most 64.
    function _received() internal view returns (uint128 received) {
        for (uint256 i; i < _slots.length; ++i) {
            received += _ports[_slots[i]].received;
        }
    }

    /// @dev Distinct families among the active slots that brought the message. A removed slot's family is 0 and so counts nothing.
    function _familiesOf(bytes32 messageId) internal view returns (uint256 distinct) {
        uint256 cast = votes[messageId];
        uint256 families = _families;
        uint256 seen;
        unchecked {
            for (; cast != 0; cast >>= 1) {
                if (cast & 1 != 0) seen |= 1 << (families & 0xf);
                families >>= 4;
            }
            // Bit 0 stands for removed slots.
            for (seen >>= 1; seen != 0; seen &= seen - 1) {
                ++distinct;
            }
        }
    }

    /// @dev The header of a batch for this inbox on this chain. Of a checkpoint there is nothing to execute.
    function _parse(bytes calldata message) internal view returns (Message.Header memory header) {
        bool valid;
        (valid, header) = Message.parse(message);
        _requireHere(valid, header);
    }

    function _requireHere(bool valid, Message.Header memory header) private view {
        if (!valid || header.targetChain != block.chainid || header.inbox != Message.word(address(this))) revert BadMessage();
    }

    function _activatableAt(uint256 proposedAt) private view returns (uint256) {
        // A chain that only learns checkpoints never lists a token; what was received may be relied on all the same.
        return _vault.everListed() || _received() != 0 ? proposedAt + portDelay : proposedAt;
    }

    function _everActive(Port storage record, address port) private view returns (bool) {
        uint256 slot = record.slot;
        return slot < _slots.length && _slots[slot] == port;
    }
}
