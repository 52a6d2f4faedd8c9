// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {GuardianKeys} from "./GuardianKeys.sol";
import {Message} from "./Message.sol";
import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";
import {ISettlementPort} from "./interfaces/ISettlementPort.sol";
import {IWormholeCore} from "./interfaces/IWormholeCore.sol";
import {IWormholePort} from "./interfaces/IWormholePort.sol";

/// @title Carries messages over Wormhole.
/// @notice Peers are set once per remote chain and frozen; afterwards the owner can do nothing. A message is published at finalized consistency
/// only, and comes in through `executeVAAv1` only, by whoever submits the VAA: one entry, one replay guard.
contract WormholePort is IWormholePort, ISettlementPort, Ownable2Step {
    using GuardianKeys for bytes;

    /// @inheritdoc IWormholePort
    /// @dev 200 and 201 mean "before finality", every other value "final"; 1 is what Wormhole's own code writes.
    uint8 public constant CONSISTENCY = 1;

    uint256 private constant VERSION = 1;
    /// @dev version u8 | guardian set u32 | signatures u8
    uint256 private constant HEAD = 6;
    /// @dev guardian u8 | r b32 | s b32 | recovery id u8
    uint256 private constant SIGNATURE = 66;
    /// @dev timestamp u32 | nonce u32 | emitter chain u16 | emitter b32 | sequence u64 | consistency u8, before the payload
    uint256 private constant BODY = 51;

    IWormholeCore private immutable _core;
    address private immutable _outbox;
    address private immutable _inbox;
    /// @inheritdoc IWormholePort
    uint16 public immutable wormholeChain;

    /// @inheritdoc ISettlementPort
    bool public frozen;
    mapping(uint64 chainId => Lane) private _lanes;
    /// @inheritdoc IWormholePort
    mapping(uint16 wormholeChain => uint64) public chainOf;
    /// @inheritdoc IWormholePort
    /// @dev The emitter of a chain is its one peer, so chain and sequence name a VAA; the digest tells two VAAs of one sequence apart.
    mapping(uint64 chainId => mapping(uint64 sequence => bytes32)) public delivered;
    /// @dev The core never changes the keys of an index.
    mapping(uint32 index => address) private _guardianKeys;

    /// @param outbox_ may be 0 on a chain that only receives, `inbox_` on one that only sends.
    constructor(address core_, address outbox_, address inbox_, address owner_) Ownable(owner_) {
        if (core_ == address(0) || (outbox_ == address(0) && inbox_ == address(0))) revert ZeroAddress();
        _core = IWormholeCore(core_);
        _outbox = outbox_;
        _inbox = inbox_;
        wormholeChain = _core.chainId();
    }

    /// @inheritdoc IWormholePort
    function setLane(uint64 chainId, Lane calldata lane_) external onlyOwner {
        if (frozen) revert AlreadyFrozen();
        if (chainId == 0 || lane_.wormholeChain == 0 || lane_.wormholeChain == wormholeChain) revert NoLane(chainId);
        if (_lanes[chainId].wormholeChain != 0 || chainOf[lane_.wormholeChain] != 0) revert LaneExists(chainId);
        if (lane_.peer == 0) revert ZeroAddress();
        _lanes[chainId] = lane_;
        chainOf[lane_.wormholeChain] = chainId;
        emit LaneSet(chainId, lane_.wormholeChain, lane_.peer, lane_.remoteOutbox);
    }

    /// @inheritdoc IWormholePort
    function freeze() external onlyOwner {
        if (frozen) revert AlreadyFrozen();
        frozen = true;
        emit Frozen();
    }

    /// @inheritdoc ISettlementPort
    /// @notice The gas limit is not used: whoever submits the VAA chooses it.
    /// @return bridgeRef digest of the VAA this becomes, which commits to the message and its block's time.
    function send(uint64 targetChain, bytes calldata message, uint128, address refund) external payable returns (bytes32 bridgeRef) {
        if (msg.sender != _outbox) revert NotOutbox();
        if (!frozen) revert NotFrozen();
        if (_lanes[targetChain].wormholeChain == 0) revert NoLane(targetChain);
        // Governance may change the fee at any time, and the core takes exactly the fee.
        uint256 fee = _core.messageFee();
        if (msg.value < fee) revert FeeTooLow(fee, msg.value);
        uint64 sequence = _core.publishMessage{value: fee}(0, message, CONSISTENCY);
        bridgeRef = keccak256(
            abi.encodePacked(
                keccak256(
                    abi.encodePacked(
                        uint32(block.timestamp),
                        uint32(0),
                        wormholeChain,
                        bytes32(uint256(uint160(address(this)))),
                        sequence,
                        CONSISTENCY,
                        message
                    )
                )
            )
        );
        if (msg.value != fee) {
            (bool sent,) = refund.call{value: msg.value - fee}("");
            if (!sent) revert RefundFailed();
        }
    }

    /// @inheritdoc ISettlementPort
    function quote(uint64 targetChain, bytes calldata, uint128) external view returns (uint256 nativeFee) {
        if (_lanes[targetChain].wormholeChain == 0) revert NoLane(targetChain);
        return _core.messageFee();
    }

    /// @inheritdoc IWormholePort
    function executeVAAv1(bytes calldata vaa) external payable {
        // Whoever submits chooses the value; none is asked for, and kept here it would be lost.
        if (msg.value != 0) revert ValueRefused();
        // Until the freeze the owner could name another peer, so nobody's word counts.
        if (!frozen) revert NotFrozen();
        if (vaa.length < HEAD || uint8(vaa[0]) != VERSION) revert BadVaa();
        // Our messages have one of two lengths, so nothing read below lies outside.
        uint256 body = HEAD + SIGNATURE * uint8(vaa[5]);
        if (vaa.length != body + BODY + Message.LENGTH && vaa.length != body + BODY + Message.CHECKPOINT_LENGTH) revert BadVaa();
        if (uint8(vaa[body + 50]) != CONSISTENCY) revert BadVaa();

        uint16 from = uint16(bytes2(vaa[body + 8:]));
        bytes32 emitter = bytes32(vaa[body + 10:]);
        uint64 chainId = chainOf[from];
        Lane storage peer = _lanes[chainId];
        bytes32 remoteOutbox = peer.remoteOutbox;
        // A lane without a remote outbox only sends: there is nobody whose word could be authenticated.
        if (emitter == 0 || peer.peer != emitter || remoteOutbox == 0) revert NotPeer(from, emitter);

        uint64 sequence = uint64(bytes8(vaa[body + 42:]));
        bytes32 digest = keccak256(abi.encodePacked(keccak256(vaa[body:])));
        bytes32 before = delivered[chainId][sequence];
        if (before == digest) revert AlreadyDelivered(digest);
        if (before != 0) revert SequenceTaken(sequence, before);

        _verify(vaa, digest);
        delivered[chainId][sequence] = digest;
        ISettlementInbox(_inbox).receiveMessage(chainId, remoteOutbox, vaa[body + BODY:]);
    }

    /// @inheritdoc ISettlementPort
    function family() external pure returns (uint8) {
        return 3;
    }

    /// @inheritdoc ISettlementPort
    function outbox() external view returns (address) {
        return _outbox;
    }

    /// @inheritdoc ISettlementPort
    function inbox() external view returns (address) {
        return _inbox;
    }

    /// @inheritdoc IWormholePort
    function core() external view returns (address) {
        return address(_core);
    }

    /// @inheritdoc IWormholePort
    function lane(uint64 chainId) external view returns (Lane memory) {
        return _lanes[chainId];
    }

    /// @inheritdoc IWormholePort
    function owner() public view override(IWormholePort, Ownable) returns (address) {
        return super.owner();
    }

    /// @dev The rule of the core for the current set, at a third less gas: quorum, ascending indices, every signature by the key of its index.
    /// A VAA of any other set is for the core itself to judge, with its rule for sets that expire.
    function _verify(bytes calldata vaa, bytes32 digest) private {
        uint32 index = uint32(bytes4(vaa[1:]));
        if (index != _core.getCurrentGuardianSetIndex()) {
            (, bool valid, string memory reason) = _core.parseAndVerifyVM(vaa);
            if (!valid) revert NotVerified(reason);
            return;
        }
        bytes memory keys = _keysOf(index);
        uint256 signatures = uint8(vaa[5]);
        uint256 needed = keys.count() * 2 / 3 + 1;
        if (signatures < needed) revert NoQuorum(signatures, needed);
        uint256 next;
        uint256 cursor = HEAD;
        for (uint256 i; i < signatures; ++i) {
            uint256 guardian = uint8(vaa[cursor]);
            address signer = ecrecover(digest, uint8(vaa[cursor + 65]) + 27, bytes32(vaa[cursor + 1:]), bytes32(vaa[cursor + 33:]));
            // A failed recovery answers 0, and so does an index without a key.
            if (guardian < next || signer == address(0) || signer != keys.key(guardian)) revert BadSignature(guardian);
            next = guardian + 1;
            cursor += SIGNATURE;
        }
    }

    /// @dev The first delivery under a new set pays for the copy.
    function _keysOf(uint32 index) private returns (bytes memory) {
        address pointer = _guardianKeys[index];
        if (pointer == address(0)) {
            address[] memory keys = _core.getGuardianSet(index).keys;
            if (keys.length == 0) revert NotVerified("no guardians");
            bytes memory packed;
            for (uint256 i; i < keys.length; ++i) {
                packed = abi.encodePacked(packed, keys[i]);
            }
            pointer = GuardianKeys.write(index, packed);
            _guardianKeys[index] = pointer;
            emit GuardianSetRemembered(index, keys.length);
        }
        return GuardianKeys.read(pointer);
    }
}
