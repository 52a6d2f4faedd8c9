// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title Target-chain contract that records messages and pays the settlements they commit to.
interface ISettlementInbox {
    /// @notice The terms a payer signs; docs/wire.md section 1.
    struct Settlement {
        bytes32 jobId;
        bytes32 receiptHash;
        bytes32 proofHash;
        uint256 sourceChainId;
        address payer;
        address payee;
        address token;
        uint256 amount;
        uint256 fee;
        uint256 nonce;
        uint256 deadline;
    }

    /// @notice Why an item of `execute` was left as it was. A hint, never evidence.
    enum Skip {
        None,
        NonceUsed,
        Expired,
        PayerPaused,
        TokenRefused,
        QuorumShort,
        SignatureRefused,
        PayerShort
    }

    /// @notice A port brought a message. `votes` is the bitmap of slots that have brought it so far.
    event MessageReceived(bytes32 indexed messageId, address indexed port, uint256 votes);
    /// @notice A port brought a message again; nothing changed.
    event MessageRepeated(bytes32 indexed messageId, address indexed port);
    /// @notice A settlement was paid, or credited when its transfer failed. `nonceAndCredited` = nonce | credited << 255.
    event SettlementPaid(bytes32 indexed id, address indexed payer, uint256 nonceAndCredited);
    /// @notice The transfers of one section, in the order of the SettlementPaid before it: per transfer payee b20 | items u16 | amount u104 | fee
    /// u104, sums over that many of those settlements. docs/wire.md section 6.
    event RunsPaid(bytes32 indexed messageId, address indexed token, address indexed payer, bytes runs);
    event SettlementSkipped(bytes32 indexed id, uint8 reason);
    event PortProposed(address indexed port, uint8 family, uint256 activatableAt);
    event PortActivated(address indexed port, uint8 slot, uint8 family);
    event PortRemoved(address indexed port, uint8 slot);

    error NotPort(address caller);
    error BadMessage();
    error WrongSource();
    error BadLayout();
    error WrongRoot();
    error OutOfStipend();
    error NotProposed(address port);
    error TooEarly(uint256 activatableAt);
    error PortNotFrozen(address port);
    error PortRefused(address port);
    error NoFreeSlot();
    error BadDelay();

    /// @notice Called by ports only, with what the protocol authenticated. Records a vote of the port's slot, for batches and checkpoints alike; a
    /// repeated delivery returns silently.
    function receiveMessage(uint64 sourceChain, bytes32 outbox, bytes calldata message) external;

    /// @notice Pays a contiguous range of a batch's settlements; docs/wire.md section 4. Anyone may call.
    /// @return paid number of settlements paid or credited by this call.
    function execute(bytes calldata packed) external returns (uint256 paid);

    /// @notice Pays one settlement, in plain ABI. Anyone may call.
    /// @return skip None when paid or credited, else why not.
    function executeOne(bytes calldata message, Settlement calldata settlement, bytes calldata auth, uint256 leaf, bytes32[] calldata proof)
        external
        returns (Skip skip);

    function vault() external view returns (address);

    /// @notice EIP-712 digest of the terms on this inbox.
    function settlementId(Settlement calldata settlement) external view returns (bytes32);

    /// @notice EIP-712 digest a payer signs for a group.
    function groupDigest(bytes32 root, uint256 count) external view returns (bytes32);

    /// @notice Bitmap of slots that brought this message, whether or not they are still active.
    function votes(bytes32 messageId) external view returns (uint256);

    /// @notice Number of distinct families among the currently active slots that brought this message.
    function familiesOf(bytes32 messageId) external view returns (uint256);

    /// @notice Cumulative: votes recorded, settlements paid or credited. Compared with the logs to prove that none was missed.
    function counters() external view returns (uint128 received, uint128 paid);

    /// @notice (slot, family, active, activatableAt) of a port; activatableAt is 0 when it was never proposed.
    function portInfo(address port) external view returns (uint8 slot, uint8 family, bool active, uint256 activatableAt);

    function portDelay() external view returns (uint256);
    function DOMAIN_SEPARATOR() external view returns (bytes32);
    function owner() external view returns (address);

    /// @notice Announces a port. It can be activated after portDelay; at once while the vault has never listed a token and nothing was ever
    /// received: nobody can have deposited, or relied on a checkpoint.
    function proposePort(address port) external;
    function activatePort(address port) external;
    function removePort(address port) external;
}
