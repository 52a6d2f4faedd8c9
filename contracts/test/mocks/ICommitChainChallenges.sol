// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

/// @title What wallets and tests call of a hub's contract and the relayer does not: challenges, and sums per wallet.
interface ICommitChainChallenges {
    function challengeStateUpdateWithProofOfExclusiveBalanceAllotment(
        address token,
        bytes32[2] calldata checksums,
        uint64 trail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][3] calldata lrDeltasPassiveMark,
        bytes32[3] calldata rsTxSetRoot,
        uint8 v
    ) external payable;
    function challengeStateUpdateWithProofOfActiveStateUpdateAgreement(
        address token,
        bytes32 txSetRoot,
        uint64 trail,
        uint256[2] calldata deltas,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) external payable;
    function answerStateUpdateChallenge(
        address token,
        address issuer,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][3] calldata lrDeltasPassiveMark,
        bytes32[6] calldata rSrStxSetRootChecksum,
        uint8[2] calldata v
    ) external;

    function BLOCKS_PER_EPOCH() external view returns (uint256);
    function EXTENDED_BLOCKS_PER_EPOCH() external view returns (uint256);
    function getPendingWithdrawalsAtEon(address token, uint256 eon) external view returns (uint256);
    function getWalletPendingWithdrawalAmountAtEon(address token, address holder, uint256 eon) external view returns (uint256 amount);
    function getDepositsAtEon(address token, address holder, uint256 eon) external view returns (uint256);
}
