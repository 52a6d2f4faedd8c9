// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {ISettlementInbox} from "./interfaces/ISettlementInbox.sol";
import {ISettlementVault} from "./interfaces/ISettlementVault.sol";
import {Runs} from "./Runs.sol";
import {TokenCall} from "./TokenCall.sol";
import {TokenTiers} from "./TokenTiers.sol";
import {UnpausedClock} from "./UnpausedClock.sol";

/// @title Holds payers' deposits. Only the inbox that created it can move them, and payers only after the exit delay.
contract SettlementVault is ISettlementVault, Ownable2Step {
    using UnpausedClock for UnpausedClock.Pauses;

    uint256 public constant MAX_PAUSE = 72 hours;
    uint256 public constant PAUSE_COOLDOWN = 72 hours;

    /// @dev Something a payer announced. `announcedAt` is a time of its unpaused clock plus one, so that 0 means none.
    struct Announcement {
        uint128 amount;
        uint64 announcedAt;
    }

    struct Totals {
        uint128 deposited;
        uint128 withdrawn;
        // One slot for what a batch of settlements changes.
        uint128 debited;
        uint128 credited;
        uint128 claimed;
    }

    address public immutable inbox;
    uint256 public immutable exitDelay;
    uint256 public immutable claimWindow;

    address public guardian;
    /// @inheritdoc ISettlementVault
    bool public everListed;

    mapping(address payer => mapping(address token => uint256)) public balanceOf;
    /// @inheritdoc ISettlementVault
    mapping(address payer => mapping(uint256 word => uint256)) public nonceBitmap;
    /// @inheritdoc ISettlementVault
    mapping(address payer => mapping(address signer => bool)) public isSigner;
    /// @inheritdoc ISettlementVault
    mapping(address account => mapping(address token => uint256)) public creditOf;
    /// @inheritdoc ISettlementVault
    mapping(address token => Totals) public totals;

    mapping(address token => uint256) private _tiers;
    mapping(address payer => mapping(address token => Announcement)) private _withdrawals;
    mapping(address payer => mapping(uint256 nonce => Announcement)) private _burns;
    mapping(address payer => mapping(address signer => Announcement)) private _removals;
    UnpausedClock.Pauses private _pauses;

    /// @dev Held while any token runs; a token that calls back finds every door that moves money shut.
    bool private transient _locked;

    modifier locked() {
        if (_locked) revert Reentered();
        _locked = true;
        _;
        _locked = false;
    }

    modifier onlyGuardian() {
        if (msg.sender != guardian) revert NotGuardian();
        _;
    }

    modifier onlyInbox() {
        if (msg.sender != inbox) revert NotInbox();
        _;
    }

    constructor(address admin, address guardian_, uint256 exitDelay_, uint256 claimWindow_) Ownable(admin) {
        inbox = msg.sender;
        exitDelay = exitDelay_;
        claimWindow = claimWindow_;
        guardian = guardian_;
        emit GuardianSet(guardian_);
    }

    receive() external payable {
        revert NativeRefused();
    }

    // ------------------------------------------------------------------------------------------------ the inbox

    /// @notice All that the inbox must know before it decides about settlements of one payer, token and nonce word, in one call.
    /// @return bitmap the nonce word, `balance` of the payer in the token, `tiers` as packed by TokenTiers (0 = not listed), `paused`.
    function open(address token, address payer, uint256 word)
        external
        view
        returns (uint256 bitmap, uint256 balance, uint256 tiers, bool paused)
    {
        return (nonceBitmap[payer][word], balanceOf[payer][token], _tiers[token], _pauses.isPaused(payer));
    }

    /// @notice Marks nonces as used, debits the payer and sends each run's amount to its payee and the fees to their recipient. A transfer that fails
    /// with its full stipend becomes a credit. Inbox only.
    /// @param bits nonces of the word that are used up; none may be used before.
    /// @param debit sum of all amounts and fees.
    /// @param fee sum of the fees, sent in one transfer; 0 sends none.
    /// @param runs transfers, as packed by Runs; at most 256, since every settlement has its own bit of the word.
    /// @return credited bit i is set when run i became a credit.
    function settle(
        address token,
        address payer,
        uint256 word,
        uint256 bits,
        uint256 debit,
        address feeRecipient,
        uint256 fee,
        bytes calldata runs
    ) external onlyInbox locked returns (uint256 credited) {
        uint256 bitmap = nonceBitmap[payer][word];
        if (bitmap & bits != 0) revert NonceAlreadyUsed(word << 8);
        nonceBitmap[payer][word] = bitmap | bits;
        balanceOf[payer][token] -= debit;
        totals[token].debited += uint128(debit);

        uint256 sum = fee;
        unchecked {
            uint256 bit = 1;
            for (uint256 offset; offset < runs.length; offset += Runs.SIZE) {
                (address payee, uint256 amount) = Runs.read(runs, offset);
                sum += amount;
                if (!_pay(token, payee, amount)) credited |= bit;
                bit <<= 1;
            }
        }
        if (fee != 0) _pay(token, feeRecipient, fee);
        // The inbox computes both; were they ever to differ, no token may leave.
        assert(sum == debit);
    }

    /// @dev Whether the transfer was made; otherwise its amount is a credit now. The gas left decides nothing but whether all of it reverts.
    function _pay(address token, address to, uint256 amount) private returns (bool done) {
        if (gasleft() < TokenCall.GAS_NEEDED) revert ISettlementInbox.OutOfStipend();
        done = TokenCall.pay(token, to, amount);
        if (!done) {
            creditOf[to][token] += amount;
            totals[token].credited += uint128(amount);
            emit Credited(to, token, amount);
        }
    }

    // ------------------------------------------------------------------------------------------------ deposits

    /// @inheritdoc ISettlementVault
    function deposit(address token, uint256 amount) external {
        depositFor(msg.sender, token, amount);
    }

    /// @inheritdoc ISettlementVault
    function depositFor(address payer, address token, uint256 amount) public locked {
        if (token == address(0)) revert NativeRefused();
        if (payer == address(0)) revert ZeroAddress();
        if (amount == 0 || amount > type(uint128).max) revert BadAmount();
        if (_tiers[token] == 0) revert TokenNotListed(token);
        uint256 held = IERC20(token).balanceOf(address(this));
        if (!TokenCall.pull(token, msg.sender, amount)) revert TransferFailed(token);
        uint256 came = IERC20(token).balanceOf(address(this)) - held;
        if (came != amount) revert DepositMismatch(amount, came);
        // The lock is held, so nothing can have moved this balance meanwhile; the checked cumulative sum keeps every other sum within 128 bits.
        totals[token].deposited += uint128(amount);
        balanceOf[payer][token] += amount;
        emit Deposited(payer, token, msg.sender, amount);
    }

    // ------------------------------------------------------------------------------------------------ exits

    /// @inheritdoc ISettlementVault
    function announceWithdrawal(address token, uint256 amount) external {
        if (amount == 0 || amount > type(uint128).max) revert BadAmount();
        _withdrawals[msg.sender][token] = Announcement(uint128(amount), _clockNow());
        emit WithdrawalAnnounced(msg.sender, token, amount);
    }

    /// @inheritdoc ISettlementVault
    function cancelWithdrawal(address token) external {
        if (_withdrawals[msg.sender][token].announcedAt == 0) revert NothingAnnounced();
        delete _withdrawals[msg.sender][token];
        emit WithdrawalCancelled(msg.sender, token);
    }

    /// @inheritdoc ISettlementVault
    function withdraw(address token) external locked returns (uint256 amount) {
        Announcement memory announced = _withdrawals[msg.sender][token];
        _requireUsable(announced);
        delete _withdrawals[msg.sender][token];
        uint256 balance = balanceOf[msg.sender][token];
        amount = announced.amount < balance ? announced.amount : balance;
        balanceOf[msg.sender][token] = balance - amount;
        totals[token].withdrawn += uint128(amount);
        emit Withdrawn(msg.sender, token, amount);
        if (amount != 0 && !TokenCall.transfer(token, msg.sender, amount)) revert TransferFailed(token);
    }

    /// @inheritdoc ISettlementVault
    function announceBurn(uint256 nonce) external {
        _requireUnused(nonce);
        _burns[msg.sender][nonce] = Announcement(0, _clockNow());
        emit BurnAnnounced(msg.sender, nonce);
    }

    /// @inheritdoc ISettlementVault
    function burn(uint256 nonce) external locked {
        _requireUsable(_burns[msg.sender][nonce]);
        _requireUnused(nonce);
        delete _burns[msg.sender][nonce];
        nonceBitmap[msg.sender][nonce >> 8] |= 1 << (nonce & 0xff);
        emit NonceBurned(msg.sender, nonce);
    }

    /// @inheritdoc ISettlementVault
    function addSigner(address signer) external {
        if (signer == address(0)) revert ZeroAddress();
        // A removal that was announced before must not strike a signer that was added after it.
        delete _removals[msg.sender][signer];
        isSigner[msg.sender][signer] = true;
        emit SignerAdded(msg.sender, signer);
    }

    /// @inheritdoc ISettlementVault
    function announceSignerRemoval(address signer) external {
        if (!isSigner[msg.sender][signer]) revert NothingAnnounced();
        _removals[msg.sender][signer] = Announcement(0, _clockNow());
        emit SignerRemovalAnnounced(msg.sender, signer);
    }

    /// @inheritdoc ISettlementVault
    function removeSigner(address signer) external locked {
        _requireUsable(_removals[msg.sender][signer]);
        delete _removals[msg.sender][signer];
        isSigner[msg.sender][signer] = false;
        emit SignerRemoved(msg.sender, signer);
    }

    /// @inheritdoc ISettlementVault
    function withdrawalOf(address payer, address token) external view returns (uint256 amount, uint256 maturesAt, uint256 closesAt) {
        Announcement memory announced = _withdrawals[payer][token];
        (maturesAt, closesAt) = _window(payer, announced);
        amount = announced.amount;
    }

    /// @inheritdoc ISettlementVault
    function burnOf(address payer, uint256 nonce) external view returns (uint256 maturesAt, uint256 closesAt) {
        return _window(payer, _burns[payer][nonce]);
    }

    /// @inheritdoc ISettlementVault
    function signerRemovalOf(address payer, address signer) external view returns (uint256 maturesAt, uint256 closesAt) {
        return _window(payer, _removals[payer][signer]);
    }

    function _clockNow() private view returns (uint64) {
        return uint64(_pauses.time(msg.sender) + 1);
    }

    function _requireUnused(uint256 nonce) private view {
        if (nonce >> 255 != 0) revert BadAmount();
        if (nonceBitmap[msg.sender][nonce >> 8] >> (nonce & 0xff) & 1 != 0) revert NonceAlreadyUsed(nonce);
    }

    function _requireUsable(Announcement memory announced) private view {
        if (announced.announcedAt == 0) revert NothingAnnounced();
        (uint256 maturesAt, uint256 closesAt) = _window(msg.sender, announced);
        if (block.timestamp < maturesAt) revert TooEarly(maturesAt);
        if (block.timestamp > closesAt) revert WindowClosed(closesAt);
    }

    /// @dev In wall time, supposing that a pause that lasts ends now: both move on with it.
    function _window(address payer, Announcement memory announced) private view returns (uint256 maturesAt, uint256 closesAt) {
        if (announced.announcedAt == 0) return (0, 0);
        maturesAt = announced.announcedAt - 1 + exitDelay + _pauses.pausedFor(payer);
        closesAt = maturesAt + claimWindow;
    }

    // ------------------------------------------------------------------------------------------------ credits

    /// @inheritdoc ISettlementVault
    function claim(address token, address account) external locked returns (uint256 amount) {
        amount = creditOf[account][token];
        if (amount == 0) revert NothingToClaim();
        creditOf[account][token] = 0;
        totals[token].claimed += uint128(amount);
        emit Claimed(account, token, amount);
        if (!TokenCall.transfer(token, account, amount)) revert TransferFailed(token);
    }

    // ------------------------------------------------------------------------------------------------ admin and guardian

    /// @inheritdoc ISettlementVault
    function listToken(address token, uint8 decimals, uint96 limit1, uint96 limit2, uint8 quorum1, uint8 quorum2, uint8 quorum3)
        external
        onlyOwner
    {
        if (token == address(0)) revert NativeRefused();
        if (!TokenTiers.valid(limit1, limit2, quorum1, quorum2, quorum3)) revert BadTier();
        everListed = true;
        _tiers[token] = TokenTiers.pack(decimals, limit1, limit2, quorum1, quorum2, quorum3);
        emit TokenListed(token, decimals, limit1, limit2, quorum1, quorum2, quorum3);
    }

    /// @inheritdoc ISettlementVault
    function delistToken(address token) external onlyOwner {
        if (_tiers[token] == 0) revert TokenNotListed(token);
        delete _tiers[token];
        emit TokenDelisted(token);
    }

    /// @inheritdoc ISettlementVault
    function tokenConfig(address token)
        external
        view
        returns (bool listed, uint8 decimals, uint96 limit1, uint96 limit2, uint8 quorum1, uint8 quorum2, uint8 quorum3)
    {
        return TokenTiers.unpack(_tiers[token]);
    }

    /// @inheritdoc ISettlementVault
    function quorumFor(address token, uint256 amount) external view returns (uint8) {
        return uint8(TokenTiers.quorumFor(_tiers[token], amount));
    }

    /// @inheritdoc ISettlementVault
    function setGuardian(address guardian_) external onlyOwner {
        guardian = guardian_;
        emit GuardianSet(guardian_);
    }

    /// @inheritdoc ISettlementVault
    function pause(address payer, uint256 duration) external onlyGuardian {
        if (duration > MAX_PAUSE) revert PauseTooLong();
        if (duration == 0) revert BadAmount();
        uint256 last = _pauses.latest(payer).end;
        if (last != 0 && block.timestamp < last + PAUSE_COOLDOWN) revert PauseCooldown(last + PAUSE_COOLDOWN);
        uint256 until = block.timestamp + duration;
        _pauses.start(payer, uint64(until));
        emit Paused(payer, until);
    }

    /// @inheritdoc ISettlementVault
    function unpause(address payer) external onlyGuardian {
        UnpausedClock.Pause storage last = _pauses.latest(payer);
        if (block.timestamp >= last.end) revert NotPaused();
        last.end = uint64(block.timestamp);
        emit Unpaused(payer);
    }

    /// @dev Both Ownable and the interface declare it.
    function owner() public view override(Ownable, ISettlementVault) returns (address) {
        return super.owner();
    }

    /// @inheritdoc ISettlementVault
    function isPaused(address payer) external view returns (bool) {
        return _pauses.isPaused(payer);
    }
}
