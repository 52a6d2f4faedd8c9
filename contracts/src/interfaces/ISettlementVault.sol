// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title Holds payers' deposits on the target chain; pays only what its inbox orders, and payers only after the exit delay.
interface ISettlementVault {
    event Deposited(address indexed payer, address indexed token, address from, uint256 amount);
    event WithdrawalAnnounced(address indexed payer, address indexed token, uint256 amount);
    event WithdrawalCancelled(address indexed payer, address indexed token);
    event Withdrawn(address indexed payer, address indexed token, uint256 amount);
    event BurnAnnounced(address indexed payer, uint256 indexed nonce);
    event NonceBurned(address indexed payer, uint256 indexed nonce);
    event SignerAdded(address indexed payer, address indexed signer);
    event SignerRemovalAnnounced(address indexed payer, address indexed signer);
    event SignerRemoved(address indexed payer, address indexed signer);
    /// @notice A transfer failed with its full stipend; `account` may claim the amount for ever.
    event Credited(address indexed account, address indexed token, uint256 amount);
    event Claimed(address indexed account, address indexed token, uint256 amount);
    /// @notice Tiers: amount <= limit1 needs quorum1 families, <= limit2 quorum2, above quorum3; a quorum of 0 refuses.
    /// Quorums ascend with the limits, and above a refused tier all is refused.
    event TokenListed(address indexed token, uint8 decimals, uint96 limit1, uint96 limit2, uint8 quorum1, uint8 quorum2, uint8 quorum3);
    event TokenDelisted(address indexed token);
    /// @notice `payer` = 0 means everybody.
    event Paused(address indexed payer, uint256 until);
    event Unpaused(address indexed payer);
    event GuardianSet(address indexed guardian);

    error NotInbox();
    error NotGuardian();
    error NativeRefused();
    error TokenNotListed(address token);
    error DepositMismatch(uint256 expected, uint256 actual);
    error NothingAnnounced();
    error TooEarly(uint256 maturesAt);
    error WindowClosed(uint256 closedAt);
    error NonceAlreadyUsed(uint256 nonce);
    error NothingToClaim();
    error TransferFailed(address token);
    error BadTier();
    error BadAmount();
    error PauseTooLong();
    error PauseCooldown(uint256 until);
    error NotPaused();
    error Reentered();
    error ZeroAddress();

    function inbox() external view returns (address);
    function guardian() external view returns (address);
    function owner() external view returns (address);
    /// @notice Seconds between an announcement and the earliest moment it can take effect; never changes.
    function exitDelay() external view returns (uint256);
    /// @notice Seconds an announcement stays usable after it matured.
    function claimWindow() external view returns (uint256);

    function deposit(address token, uint256 amount) external;
    function depositFor(address payer, address token, uint256 amount) external;
    function balanceOf(address payer, address token) external view returns (uint256);

    /// @notice One announcement per (payer, token); a new one replaces it and starts its delay anew. The balance stays spendable by execution.
    function announceWithdrawal(address token, uint256 amount) external;
    function cancelWithdrawal(address token) external;
    /// @notice Pays min(announced, balance) to the caller, between maturity and the end of the claim window.
    function withdraw(address token) external returns (uint256 amount);
    /// @notice (amount, maturesAt, closesAt) of the pending withdrawal; all 0 when none. Times move while a pause lasts.
    function withdrawalOf(address payer, address token) external view returns (uint256 amount, uint256 maturesAt, uint256 closesAt);

    function announceBurn(uint256 nonce) external;
    function burn(uint256 nonce) external;
    function burnOf(address payer, uint256 nonce) external view returns (uint256 maturesAt, uint256 closesAt);
    /// @notice Bitmap word `nonce >> 8`: a set bit means paid or burned.
    function nonceBitmap(address payer, uint256 word) external view returns (uint256);

    function addSigner(address signer) external;
    function announceSignerRemoval(address signer) external;
    function removeSigner(address signer) external;
    function isSigner(address payer, address signer) external view returns (bool);
    function signerRemovalOf(address payer, address signer) external view returns (uint256 maturesAt, uint256 closesAt);

    /// @notice Pays an account its credit. Anyone may call; only the account is paid.
    function claim(address token, address account) external returns (uint256 amount);
    function creditOf(address account, address token) external view returns (uint256);

    function listToken(address token, uint8 decimals, uint96 limit1, uint96 limit2, uint8 quorum1, uint8 quorum2, uint8 quorum3) external;
    function delistToken(address token) external;
    function tokenConfig(address token)
        external
        view
        returns (bool listed, uint8 decimals, uint96 limit1, uint96 limit2, uint8 quorum1, uint8 quorum2, uint8 quorum3);
    /// @notice Families a payment of this amount needs; 0 = refused.
    function quorumFor(address token, uint256 amount) external view returns (uint8);

    /// @notice True for ever after the first listing; until then the inbox activates ports without delay.
    function everListed() external view returns (bool);

    /// @notice Owner only: names the account that may pause.
    function setGuardian(address guardian) external;

    /// @notice Guardian only, at most 72 hours, then a cooldown of 72 hours. Never blocks claims or matured withdrawals.
    function pause(address payer, uint256 duration) external;
    function unpause(address payer) external;
    function isPaused(address payer) external view returns (bool);

    /// @notice Cumulative sums per token: deposited = withdrawn + debited + balances; debited = paidOut + credited (incl. fees).
    function totals(address token)
        external
        view
        returns (uint128 deposited, uint128 withdrawn, uint128 debited, uint128 credited, uint128 claimed);
}
