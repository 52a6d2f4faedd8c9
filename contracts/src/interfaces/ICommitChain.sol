// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title What is used of a hub's contract (NOCUST's commit chain of 2019): its clock, checkpoints, challenges, totals and events.
/// @dev Written from the ABI; docs/hub.md says what the hashes commit to. Whatever belongs to eon e lies in slot e % 5 until eon e + 5 takes it.
interface ICommitChain {
    event CheckpointSubmission(uint256 indexed eon, bytes32 merkleRoot);
    event Deposit(address indexed token, address indexed recipient, uint256 amount);
    event WithdrawalRequest(address indexed token, address indexed requestor, uint256 amount);
    /// @notice `amount` is the sum of all requests that were due; 0 when none was.
    event WithdrawalConfirmation(address indexed token, address indexed requestor, uint256 amount);
    event ChallengeIssued(address indexed token, address indexed recipient, address indexed sender);
    /// @notice A challenge was answered; carries the whole proof.
    event StateUpdate(
        address indexed token,
        address indexed account,
        uint256 indexed eon,
        uint64 trail,
        bytes32[] allotmentChain,
        bytes32[] membershipChain,
        uint256[] values,
        uint256[2][3] lrDeltasPassiveMark,
        bytes32 activeStateChecksum,
        bytes32 passiveChecksum,
        bytes32 r,
        bytes32 s,
        uint8 v
    );

    function operator() external view returns (address);
    /// @notice Block of the deployment; eon 1 begins there.
    function genesis() external view returns (uint256);
    function BLOCKS_PER_EON() external view returns (uint256);
    function currentEon() external view returns (uint256);
    function currentEra() external view returns (uint256);
    function lastSubmissionEon() external view returns (uint256);
    /// @notice An eon went by without a checkpoint: the hub is halted for ever.
    function hasMissedCheckpointSubmission() external view returns (bool);
    /// @notice A challenge of the previous eon was not answered in time: the hub is halted while that lasts.
    function hasOutstandingChallenges() external view returns (bool);
    function getLiveChallenges(uint256 eon) external view returns (uint256);
    function getCheckpointAtSlot(uint8 slot) external view returns (uint256 eon, bytes32 merkleRoot, uint256 liveChallenges);
    function getParentChainAccumulatorAtSlot(uint8 slot) external view returns (bytes32);
    function getDepositsAtSlot(address token, uint8 slot) external view returns (uint256 eon, uint256 amount);
    function getPendingWithdrawalsAtSlot(address token, uint8 slot) external view returns (uint256 eon, uint256 amount);
    function getConfirmedWithdrawalsAtSlot(address token, uint8 slot) external view returns (uint256 eon, uint256 amount);
    function getServerContractStateVariables()
        external
        view
        returns (
            bytes32 parentChainAccumulator,
            uint256 lastSubmissionEon,
            bytes32 lastCheckpointRoot,
            bool isCheckpointSubmitted,
            bool missedCheckpointSubmission,
            uint256 liveChallenges
        );
    /// @notice `totalBalance` is what the contract holds now, whatever the eon.
    function getServerContractLedgerStateVariables(uint256 eonNumber, address token)
        external
        view
        returns (uint256 pendingWithdrawals, uint256 confirmedWithdrawals, uint256 deposits, uint256 totalBalance);
    /// @notice Position of a registered token; the contract itself is token 0, the native coin.
    function getTokenTrail(address token) external view returns (uint64);
    function getTokenAtTrail(uint64 trail) external view returns (address);
    function verifyProofOfExclusiveAccountBalanceAllotment(
        address token,
        address holder,
        bytes32[2] calldata activeStateChecksum_passiveTransfersRoot,
        uint64 trail,
        uint256[3] calldata eonPassiveMark,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2] calldata LR
    ) external view returns (bool);

    /// @notice Operator only, once per eon, for the current one.
    /// @param accumulator of the previous eon: the operator has seen every deposit and withdrawal of it.
    function submitCheckpoint(bytes32 accumulator, bytes32 merkleRoot) external;
    function registerERC20(address token) external;
    function deposit(address token, address beneficiary, uint256 amount) external payable;
    function requestWithdrawal(
        address token,
        bytes32[2] calldata checksums,
        uint64 trail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][2] calldata lrPassiveMark,
        uint256 withdrawalAmount
    ) external payable;
    function confirmWithdrawal(address token, address recipient) external returns (uint256);
}
