// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {ICcipPort} from "./interfaces/ICcipPort.sol";
import {ICcipReceiver, ICcipRouter} from "./interfaces/ICcipRouter.sol";
import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";
import {ISettlementPort} from "./interfaces/ISettlementPort.sol";
import {ISettlementVault} from "./interfaces/ISettlementVault.sol";

/// @title Carries messages over Chainlink CCIP, and tokens into the vault.
/// @notice Peers are set once per remote chain and frozen; afterwards the owner can do nothing. Which ramps carry a message is CCIP's choice behind
/// its Router. Messages are always out of order: one that is stuck delays only itself.
contract CcipPort is ICcipPort, ISettlementPort, ICcipReceiver, IERC165, Ownable2Step {
    using SafeERC20 for IERC20;

    /// @inheritdoc ICcipPort
    /// @dev Recording a first message takes less than 75,000 of it (test/CcipPort.t.sol); CCIP charges for all of it, used or not. With too
    /// little nothing is lost: anyone may execute again with more.
    uint128 public constant MIN_GAS = 120_000;

    /// @dev EVMExtraArgsV2, which every version from 1.5 on understands.
    bytes4 private constant EXTRA_ARGS_V2 = 0x181dcf10;
    /// @dev GenericExtraArgsV3, known from 2.0 on.
    bytes4 private constant EXTRA_ARGS_V3 = 0xa69dd4aa;
    /// @dev CCIP 2.0's address for "nobody is paid to execute".
    bytes20 private constant NO_EXECUTION = bytes20(0xEBa517d200000000000000000000000000000000);

    ICcipRouter private immutable _router;
    /// @inheritdoc ICcipPort
    address public immutable feeToken;
    address private immutable _outbox;
    address private immutable _inbox;
    /// @inheritdoc ICcipPort
    address public immutable vault;

    /// @inheritdoc ISettlementPort
    bool public frozen;
    mapping(uint64 chainId => Lane) private _lanes;
    /// @inheritdoc ICcipPort
    mapping(uint64 selector => uint64) public chainOf;

    /// @param feeToken_ 0 = native coin, else a token CCIP takes for fees (LINK); dispatchers then approve this port.
    /// @param outbox_ may be 0 on a chain that only receives, `inbox_` on one that only sends.
    constructor(address router_, address feeToken_, address outbox_, address inbox_, address owner_) Ownable(owner_) {
        if (router_ == address(0) || (outbox_ == address(0) && inbox_ == address(0))) revert ZeroAddress();
        _router = ICcipRouter(router_);
        feeToken = feeToken_;
        _outbox = outbox_;
        _inbox = inbox_;
        vault = inbox_ == address(0) ? address(0) : ISettlementInbox(inbox_).vault();
    }

    /// @inheritdoc ICcipPort
    function setLane(uint64 chainId, Lane calldata lane_) external onlyOwner {
        if (frozen) revert AlreadyFrozen();
        if (chainId == 0 || lane_.selector == 0) revert NoLane(chainId);
        if (_lanes[chainId].selector != 0 || chainOf[lane_.selector] != 0) revert LaneExists(chainId);
        if (lane_.peer == 0) revert ZeroAddress();
        _lanes[chainId] = lane_;
        chainOf[lane_.selector] = chainId;
        emit LaneSet(chainId, lane_.selector, lane_.peer, lane_.remoteOutbox, lane_.selfExecute);
    }

    /// @inheritdoc ICcipPort
    function freeze() external onlyOwner {
        if (frozen) revert AlreadyFrozen();
        frozen = true;
        emit Frozen();
    }

    /// @inheritdoc ISettlementPort
    /// @dev CCIP keeps what is overpaid, so the fee is asked for in the same call and the rest goes back.
    function send(uint64 targetChain, bytes calldata message, uint128 gasLimit, address refund)
        external
        payable
        returns (bytes32 bridgeRef)
    {
        if (msg.sender != _outbox) revert NotOutbox();
        if (!frozen) revert NotFrozen();
        (uint64 selector, ICcipRouter.Outgoing memory outgoing) = _outgoing(targetChain, message, gasLimit, feeToken);
        uint256 fee = _router.getFee(selector, outgoing);
        uint256 value;
        if (feeToken == address(0)) {
            if (msg.value < fee) revert FeeTooLow(fee, msg.value);
            value = fee;
        } else {
            // The outbox names whoever dispatches as `refund`, so nobody else's allowance can be spent.
            IERC20(feeToken).safeTransferFrom(refund, address(this), fee);
            IERC20(feeToken).forceApprove(address(_router), fee);
        }
        bridgeRef = _router.ccipSend{value: value}(selector, outgoing);
        if (msg.value != value) {
            (bool sent,) = refund.call{value: msg.value - value}("");
            if (!sent) revert RefundFailed();
        }
    }

    /// @inheritdoc ISettlementPort
    /// @dev 0 on a port that pays in a token; see `feeIn`.
    function quote(uint64 targetChain, bytes calldata message, uint128 gasLimit) external view returns (uint256 nativeFee) {
        return feeToken == address(0) ? feeIn(address(0), targetChain, message, gasLimit) : 0;
    }

    /// @inheritdoc ICcipPort
    function feeIn(address token, uint64 targetChain, bytes calldata message, uint128 gasLimit) public view returns (uint256 fee) {
        (uint64 selector, ICcipRouter.Outgoing memory outgoing) = _outgoing(targetChain, message, gasLimit, token);
        return _router.getFee(selector, outgoing);
    }

    /// @notice The Router's callback. Without tokens: hands the inbox what CCIP authenticated. With tokens: deposits them for the payer that the
    /// data names, whoever sent them from wherever, as anyone may deposit for anyone; what the vault refuses is not minted and can be tried again.
    function ccipReceive(ICcipRouter.Incoming calldata message) external {
        if (msg.sender != address(_router)) revert NotRouter();
        if (message.destTokenAmounts.length != 0) return _topUp(message);
        uint64 chainId = chainOf[message.sourceChainSelector];
        Lane storage from = _lanes[chainId];
        bool believed = frozen && message.sender.length == 32 && from.remoteOutbox != 0 && bytes32(message.sender) == from.peer;
        if (!believed) revert NotPeer(message.sourceChainSelector, message.sender);
        ISettlementInbox(_inbox).receiveMessage(chainId, from.remoteOutbox, message.data);
    }

    /// @dev The vault takes listed tokens only and measures what comes, so a token can neither lie about an amount nor call back into money.
    function _topUp(ICcipRouter.Incoming calldata message) private {
        if (vault == address(0) || message.data.length != 32) revert BadTopUp();
        address payer = abi.decode(message.data, (address));
        for (uint256 i; i < message.destTokenAmounts.length; ++i) {
            (address token, uint256 amount) = (message.destTokenAmounts[i].token, message.destTokenAmounts[i].amount);
            IERC20(token).forceApprove(vault, amount);
            ISettlementVault(vault).depositFor(payer, token, amount);
            emit ToppedUp(message.messageId, payer, token, amount);
        }
    }

    /// @notice CCIP asks before it calls.
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(ICcipReceiver).interfaceId || interfaceId == type(IERC165).interfaceId;
    }

    /// @inheritdoc ISettlementPort
    function family() external pure returns (uint8) {
        return 2;
    }

    /// @inheritdoc ISettlementPort
    function outbox() external view returns (address) {
        return _outbox;
    }

    /// @inheritdoc ISettlementPort
    function inbox() external view returns (address) {
        return _inbox;
    }

    /// @inheritdoc ICcipPort
    function router() external view returns (address) {
        return address(_router);
    }

    /// @inheritdoc ICcipPort
    function lane(uint64 chainId) external view returns (Lane memory) {
        return _lanes[chainId];
    }

    /// @inheritdoc ICcipPort
    function owner() public view override(ICcipPort, Ownable) returns (address) {
        return super.owner();
    }

    function _outgoing(uint64 targetChain, bytes calldata message, uint128 gasLimit, address payWith)
        private
        view
        returns (uint64, ICcipRouter.Outgoing memory)
    {
        Lane storage to = _lanes[targetChain];
        if (to.selector == 0) revert NoLane(targetChain);
        uint128 gas = gasLimit < MIN_GAS ? MIN_GAS : gasLimit;
        return (
            to.selector,
            ICcipRouter.Outgoing({
                receiver: abi.encode(to.peer),
                data: message,
                tokenAmounts: new ICcipRouter.TokenAmount[](0),
                feeToken: payWith,
                extraArgs: to.selfExecute ? _withoutExecutor(gas) : abi.encodeWithSelector(EXTRA_ARGS_V2, uint256(gas), true)
            })
        );
    }

    /// @dev gas u32 | finality b4 (0 = finalized) | no verifiers of our own u8 | executor u8-length | its arguments, a token receiver and its
    /// arguments: all empty.
    function _withoutExecutor(uint128 gas) private pure returns (bytes memory) {
        uint32 gas32 = gas > type(uint32).max ? type(uint32).max : uint32(gas);
        return abi.encodePacked(EXTRA_ARGS_V3, gas32, bytes4(0), uint8(0), uint8(20), NO_EXECUTION, uint16(0), uint8(0), uint16(0));
    }
}
