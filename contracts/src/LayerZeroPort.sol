// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {
    ILayerZeroEndpointV2,
    MessagingFee,
    MessagingParams,
    Origin
} from "@layerzerolabs/lz-evm-protocol-v2/contracts/interfaces/ILayerZeroEndpointV2.sol";
import {ILayerZeroReceiver} from "@layerzerolabs/lz-evm-protocol-v2/contracts/interfaces/ILayerZeroReceiver.sol";
import {SetConfigParam} from "@layerzerolabs/lz-evm-protocol-v2/contracts/interfaces/IMessageLibManager.sol";
import {ILayerZeroPort} from "./interfaces/ILayerZeroPort.sol";
import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";
import {ISettlementPort} from "./interfaces/ISettlementPort.sol";

/// @title Carries messages over LayerZero V2.
/// @notice Peers, libraries, executor and verifiers are set once per remote chain and frozen; no delegate is ever named, so afterwards
/// neither the owner nor LayerZero's defaults can change who has to attest. After `freeze` the only power left is the guardian's `skip`.
contract LayerZeroPort is ILayerZeroPort, ISettlementPort, ILayerZeroReceiver, Ownable2Step {
    /// @dev The layout the message libraries decode; in it 0 stands for "LayerZero's default", which may change at any time.
    struct UlnConfig {
        uint64 confirmations;
        uint8 requiredDVNCount;
        uint8 optionalDVNCount;
        uint8 optionalDVNThreshold;
        address[] requiredDVNs;
        address[] optionalDVNs;
    }

    struct ExecutorConfig {
        uint32 maxMessageSize;
        address executor;
    }

    uint32 private constant CONFIG_EXECUTOR = 1;
    uint32 private constant CONFIG_ULN = 2;

    /// @inheritdoc ILayerZeroPort
    /// @dev Recording a first message takes less than 110,000 with the endpoint's own work; the rest covers a path on which 30 earlier messages
    /// are verified but not executed (test/LayerZeroPort.t.sol). With too little nothing is lost: anyone may execute again with more.
    uint128 public constant MIN_GAS = 200_000;

    ILayerZeroEndpointV2 private immutable _endpoint;
    address private immutable _outbox;
    address private immutable _inbox;
    address private immutable _guardian;

    /// @inheritdoc ISettlementPort
    bool public frozen;
    mapping(uint64 chainId => Lane) private _lanes;
    /// @inheritdoc ILayerZeroPort
    mapping(uint32 eid => uint64) public chainOf;

    /// @param outbox_ may be 0 on a chain that only receives, `inbox_` on one that only sends.
    constructor(address endpoint_, address outbox_, address inbox_, address owner_, address guardian_) Ownable(owner_) {
        if (endpoint_ == address(0) || guardian_ == address(0) || (outbox_ == address(0) && inbox_ == address(0))) revert ZeroAddress();
        _endpoint = ILayerZeroEndpointV2(endpoint_);
        _outbox = outbox_;
        _inbox = inbox_;
        _guardian = guardian_;
    }

    /// @inheritdoc ILayerZeroPort
    function setLane(uint64 chainId, Lane calldata lane_, bytes calldata sendUln, bytes calldata executor, bytes calldata receiveUln)
        external
        onlyOwner
    {
        if (frozen) revert AlreadyFrozen();
        if (chainId == 0 || lane_.eid == 0) revert NoLane(chainId);
        if (_lanes[chainId].eid != 0 || chainOf[lane_.eid] != 0) revert LaneExists(chainId);
        if (lane_.peer == 0 || lane_.sendLibrary == address(0) || lane_.receiveLibrary == address(0)) revert ZeroAddress();
        _refuseDefaults(sendUln);
        _refuseDefaults(receiveUln);
        ExecutorConfig memory executorConfig = abi.decode(executor, (ExecutorConfig));
        if (executorConfig.maxMessageSize == 0 || executorConfig.executor == address(0)) revert DefersToDefault();
        _lanes[chainId] = lane_;
        chainOf[lane_.eid] = chainId;
        emit LaneSet(chainId, lane_.eid, lane_.peer, lane_.remoteOutbox);

        _endpoint.setSendLibrary(address(this), lane_.eid, lane_.sendLibrary);
        // No grace period: a library that was valid before must not be able to deliver.
        _endpoint.setReceiveLibrary(address(this), lane_.eid, lane_.receiveLibrary, 0);
        SetConfigParam[] memory params = new SetConfigParam[](2);
        params[0] = SetConfigParam(lane_.eid, CONFIG_EXECUTOR, executor);
        params[1] = SetConfigParam(lane_.eid, CONFIG_ULN, sendUln);
        _endpoint.setConfig(address(this), lane_.sendLibrary, params);
        params = new SetConfigParam[](1);
        params[0] = SetConfigParam(lane_.eid, CONFIG_ULN, receiveUln);
        _endpoint.setConfig(address(this), lane_.receiveLibrary, params);
    }

    /// @inheritdoc ILayerZeroPort
    function freeze() external onlyOwner {
        if (frozen) revert AlreadyFrozen();
        frozen = true;
        emit Frozen();
    }

    /// @inheritdoc ISettlementPort
    function send(uint64 targetChain, bytes calldata message, uint128 gasLimit, address refund)
        external
        payable
        returns (bytes32 bridgeRef)
    {
        if (msg.sender != _outbox) revert NotOutbox();
        if (!frozen) revert NotFrozen();
        return _endpoint.send{value: msg.value}(_params(targetChain, message, gasLimit), refund).guid;
    }

    /// @inheritdoc ISettlementPort
    function quote(uint64 targetChain, bytes calldata message, uint128 gasLimit) external view returns (uint256 nativeFee) {
        return _endpoint.quote(_params(targetChain, message, gasLimit), address(this)).nativeFee;
    }

    /// @notice The endpoint's callback: hands the inbox what LayerZero authenticated. Executor and extra data are anybody's word and unused.
    function lzReceive(Origin calldata origin, bytes32, bytes calldata message, address, bytes calldata) external payable {
        if (msg.sender != address(_endpoint)) revert NotEndpoint();
        // Whoever executes chooses the value; none is asked for, and kept here it would be lost.
        if (msg.value != 0) revert ValueRefused();
        uint64 chainId = chainOf[origin.srcEid];
        Lane storage from = _lanes[chainId];
        if (!_isPeer(from, origin.sender)) revert NotPeer(origin.srcEid, origin.sender);
        ISettlementInbox(_inbox).receiveMessage(chainId, from.remoteOutbox, message);
    }

    /// @notice Whether the endpoint may accept a first packet of this path.
    function allowInitializePath(Origin calldata origin) external view returns (bool) {
        return frozen && _isPeer(_lanes[chainOf[origin.srcEid]], origin.sender);
    }

    /// @notice 0: packets are executed in any order.
    function nextNonce(uint32, bytes32) external pure returns (uint64) {
        return 0;
    }

    /// @inheritdoc ILayerZeroPort
    function skip(uint32 srcEid, bytes32 sender, uint64 nonce) external {
        if (msg.sender != _guardian) revert NotGuardian();
        _endpoint.skip(address(this), srcEid, sender, nonce);
    }

    /// @inheritdoc ISettlementPort
    function family() external pure returns (uint8) {
        return 1;
    }

    /// @inheritdoc ISettlementPort
    function outbox() external view returns (address) {
        return _outbox;
    }

    /// @inheritdoc ISettlementPort
    function inbox() external view returns (address) {
        return _inbox;
    }

    /// @inheritdoc ILayerZeroPort
    function endpoint() external view returns (address) {
        return address(_endpoint);
    }

    /// @inheritdoc ILayerZeroPort
    function guardian() external view returns (address) {
        return _guardian;
    }

    /// @inheritdoc ILayerZeroPort
    function lane(uint64 chainId) external view returns (Lane memory) {
        return _lanes[chainId];
    }

    /// @inheritdoc ILayerZeroPort
    function owner() public view override(ILayerZeroPort, Ownable) returns (address) {
        return super.owner();
    }

    /// @dev A lane without a remote outbox only sends: there is nobody whose word could be authenticated.
    function _isPeer(Lane storage from, bytes32 sender) private view returns (bool) {
        return sender != 0 && from.peer == sender && from.remoteOutbox != 0;
    }

    function _params(uint64 targetChain, bytes calldata message, uint128 gasLimit) private view returns (MessagingParams memory) {
        Lane storage to = _lanes[targetChain];
        if (to.eid == 0) revert NoLane(targetChain);
        return MessagingParams(to.eid, to.peer, message, _options(gasLimit), false);
    }

    /// @dev Options type 3 with one entry: worker 1 (executor), 17 bytes, option 1 (lzReceive), gas. No value, no ordering, no compose.
    function _options(uint128 gasLimit) private pure returns (bytes memory) {
        return abi.encodePacked(uint16(3), uint8(1), uint16(17), uint8(1), gasLimit < MIN_GAS ? MIN_GAS : gasLimit);
    }

    /// @dev 0 would leave the choice of verifiers to LayerZero's defaults, which would make the freeze worth nothing; "none" is 255.
    function _refuseDefaults(bytes calldata uln) private pure {
        UlnConfig memory config = abi.decode(uln, (UlnConfig));
        if (config.confirmations == 0 || config.requiredDVNCount == 0 || config.optionalDVNCount == 0) revert DefersToDefault();
    }
}
