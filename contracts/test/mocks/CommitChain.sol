// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity >=0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ICommitChain} from "../../src/interfaces/ICommitChain.sol";
import {ICommitChainChallenges} from "./ICommitChainChallenges.sol";

/// @dev A hub's contract for tests and the devnet: the surface and the rules of NOCUST's commit chain of 2019, written anew. Left out: transfer and
/// swap challenges, delegated and slashed withdrawals, recovery, gas reimbursement. Refusals are upstream's letters.
contract CommitChain is ICommitChain, ICommitChainChallenges {
    using SafeERC20 for IERC20;

    uint256 private constant EONS = 5;
    uint256 private constant DEPOSIT_EONS = 3;

    enum Operation {
        Deposit,
        Withdrawal,
        Cancellation
    }

    struct Aggregate {
        uint256 eon;
        uint256 amount;
    }

    struct Checkpoint {
        uint256 eon;
        bytes32 root;
        uint256 liveChallenges;
    }

    struct Challenge {
        bool live;
        uint256 blockNumber;
        uint256 initialStateEon;
        uint256 initialStateBalance;
        uint256[2] deltas;
        uint64 trail;
    }

    struct Wallet {
        Aggregate[3] deposits;
        Aggregate[] withdrawals;
    }

    uint256 public immutable genesis;
    uint256 public immutable BLOCKS_PER_EON;
    uint256 public immutable BLOCKS_PER_EPOCH;
    uint256 public immutable EXTENDED_BLOCKS_PER_EPOCH;
    address public immutable operator;

    uint256 public lastSubmissionEon;
    Checkpoint[5] private _checkpoints;
    bytes32[5] private _accumulator;
    mapping(address token => Aggregate[5]) private _deposits;
    mapping(address token => Aggregate[5]) private _pending;
    mapping(address token => Aggregate[5]) private _confirmed;
    mapping(address token => mapping(address holder => Wallet)) private _wallets;
    mapping(address token => mapping(address issuer => Challenge)) private _challenges;
    mapping(address token => uint64) private _trails;
    address[] private _tokens;

    constructor(uint256 blocksPerEon, address operator_) {
        genesis = block.number;
        BLOCKS_PER_EON = blocksPerEon;
        BLOCKS_PER_EPOCH = blocksPerEon / 4;
        EXTENDED_BLOCKS_PER_EPOCH = blocksPerEon / 3;
        operator = operator_;
        _tokens.push(address(this));
    }

    modifier onlyOperator() {
        require(msg.sender == operator);
        _;
    }

    modifier onlyUnpunished() {
        require(!hasOutstandingChallenges() && !hasMissedCheckpointSubmission(), "p");
        _;
    }

    // ------------------------------------------------------------------------------------------------ the clock

    function currentEon() public view returns (uint256) {
        return (block.number - genesis) / BLOCKS_PER_EON + 1;
    }

    function currentEra() public view returns (uint256) {
        return (block.number - genesis) % BLOCKS_PER_EON;
    }

    function hasMissedCheckpointSubmission() public view returns (bool) {
        return currentEon() - lastSubmissionEon > 1;
    }

    function hasOutstandingChallenges() public view returns (bool) {
        return getLiveChallenges(currentEon() - 1) != 0 && currentEra() > BLOCKS_PER_EPOCH;
    }

    // ------------------------------------------------------------------------------------------------ the operator

    function registerERC20(address token) external onlyOperator {
        require(token != address(this) && _trails[token] == 0);
        _trails[token] = uint64(_tokens.length);
        _tokens.push(token);
    }

    function submitCheckpoint(bytes32 accumulator, bytes32 merkleRoot) external onlyOperator onlyUnpunished {
        uint256 eon = currentEon();
        require(_accumulator[(eon - 1) % EONS] == accumulator, "b");
        require(getLiveChallenges(eon - 1) == 0, "c");
        require(eon > lastSubmissionEon, "d");
        lastSubmissionEon = eon;
        _checkpointOf(eon).root = merkleRoot;
        emit CheckpointSubmission(eon, merkleRoot);
    }

    // ------------------------------------------------------------------------------------------------ wallets

    /// @dev A token's deposit is drawn from the beneficiary, whoever calls.
    function deposit(address token, address beneficiary, uint256 amount) external payable onlyUnpunished {
        uint256 eon = currentEon();
        uint256 value = msg.value;
        if (token != address(this)) {
            require(_trails[token] != 0, "t");
            require(msg.value == 0, "m");
            IERC20(token).safeTransferFrom(beneficiary, address(this), amount);
            value = amount;
        }
        _add(_wallets[token][beneficiary].deposits[eon % DEPOSIT_EONS], eon, value);
        _add(_deposits[token][eon % EONS], eon, value);
        _append(eon, token, beneficiary, Operation.Deposit, value);
        emit Deposit(token, beneficiary, value);
    }

    function requestWithdrawal(
        address token,
        bytes32[2] calldata checksums,
        uint64 trail,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][2] calldata lrPassiveMark,
        uint256 withdrawalAmount
    ) external payable onlyUnpunished {
        require(msg.value == 0, "m");
        uint256 eon = currentEon();
        uint256 available = lrPassiveMark[0][1] - lrPassiveMark[0][0];
        require(available >= withdrawalAmount + getWalletPendingWithdrawalAmountAtEon(token, msg.sender, eon), "b");
        _requireAllotment(
            token,
            msg.sender,
            checksums,
            trail,
            [eon - 1, lrPassiveMark[1][0], lrPassiveMark[1][1]],
            allotmentChain,
            membershipChain,
            values,
            lrPassiveMark[0]
        );
        require(token == address(this) || _trails[token] != 0, "t");
        require(getPendingWithdrawalsAtEon(token, eon) + withdrawalAmount <= _balance(token), "b");
        _wallets[token][msg.sender].withdrawals.push(Aggregate(eon, withdrawalAmount));
        Aggregate storage pending = _pending[token][eon % EONS];
        if (pending.eon < eon) (pending.amount, pending.eon) = (getPendingWithdrawalsAtEon(token, eon - 1), eon);
        pending.amount += withdrawalAmount;
        _append(eon, token, msg.sender, Operation.Withdrawal, withdrawalAmount);
        emit WithdrawalRequest(token, msg.sender, withdrawalAmount);
    }

    /// @dev Pays all requests that are due at once; says so even when none is.
    function confirmWithdrawal(address token, address recipient) external onlyUnpunished returns (uint256 amount) {
        uint256 eon = currentEon();
        Aggregate[] storage withdrawals = _wallets[token][recipient].withdrawals;
        uint256 due;
        for (; due < withdrawals.length; ++due) {
            uint256 requested = withdrawals[due].eon;
            if (requested + 1 >= eon || (requested + 2 == eon && currentEra() < EXTENDED_BLOCKS_PER_EPOCH)) break;
            amount += withdrawals[due].amount;
        }
        for (uint256 i = due; i < withdrawals.length; ++i) {
            withdrawals[i - due] = withdrawals[i];
        }
        for (uint256 i; i < due; ++i) {
            withdrawals.pop();
        }
        Aggregate storage pending = _pending[token][eon % EONS];
        if (pending.eon < eon) (pending.amount, pending.eon) = (getPendingWithdrawalsAtEon(token, eon - 1), eon);
        pending.amount -= amount;
        _add(_confirmed[token][eon % EONS], eon, amount);
        emit WithdrawalConfirmation(token, recipient, amount);
        if (token == address(this)) {
            (bool sent,) = recipient.call{value: amount}("");
            require(sent);
        } else {
            require(_trails[token] != 0, "t");
            IERC20(token).safeTransfer(recipient, amount);
        }
    }

    // ------------------------------------------------------------------------------------------------ challenges

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
    ) external payable onlyUnpunished {
        uint256 eon = currentEon();
        if (lrDeltasPassiveMark[1][0] != 0 || lrDeltasPassiveMark[1][1] != 0) {
            bytes32 agreed = _activeState(token, msg.sender, trail, eon - 1, rsTxSetRoot[2], lrDeltasPassiveMark[1]);
            require(_signer(agreed, rsTxSetRoot[0], rsTxSetRoot[1], v) == operator, "A");
        }
        _challenge(token, lrDeltasPassiveMark[0][1] - lrDeltasPassiveMark[0][0], lrDeltasPassiveMark[1], trail);
        _requireAllotment(
            token,
            msg.sender,
            checksums,
            trail,
            [eon - 1, lrDeltasPassiveMark[2][0], lrDeltasPassiveMark[2][1]],
            allotmentChain,
            membershipChain,
            values,
            lrDeltasPassiveMark[0]
        );
    }

    function challengeStateUpdateWithProofOfActiveStateUpdateAgreement(
        address token,
        bytes32 txSetRoot,
        uint64 trail,
        uint256[2] calldata deltas,
        bytes32 r,
        bytes32 s,
        uint8 v
    ) external payable onlyUnpunished {
        bytes32 agreed = _activeState(token, msg.sender, trail, currentEon() - 1, txSetRoot, deltas);
        require(_signer(agreed, r, s, v) == operator, "A");
        _challenge(token, 0, deltas, trail);
    }

    /// @param rSrStxSetRootChecksum r and s of the issuer, r and s of the operator, root of the transfers, passive checksum.
    function answerStateUpdateChallenge(
        address token,
        address issuer,
        bytes32[] calldata allotmentChain,
        bytes32[] calldata membershipChain,
        uint256[] calldata values,
        uint256[2][3] calldata lrDeltasPassiveMark,
        bytes32[6] calldata rSrStxSetRootChecksum,
        uint8[2] calldata v
    ) external {
        Challenge storage challenge = _challenges[token][issuer];
        require(challenge.live);
        uint256 eon = challenge.initialStateEon + 1;
        bytes32 active;
        if (lrDeltasPassiveMark[1][0] != 0 || lrDeltasPassiveMark[1][1] != 0) {
            active = _activeState(token, issuer, challenge.trail, eon - 1, rSrStxSetRootChecksum[4], lrDeltasPassiveMark[1]);
            require(_signer(active, rSrStxSetRootChecksum[0], rSrStxSetRootChecksum[1], v[0]) == issuer, "A");
            require(_signer(active, rSrStxSetRootChecksum[2], rSrStxSetRootChecksum[3], v[1]) == operator, "A");
        }
        _requireBalance(token, issuer, challenge, lrDeltasPassiveMark);
        emit StateUpdate(
            token,
            issuer,
            eon,
            challenge.trail,
            allotmentChain,
            membershipChain,
            values,
            lrDeltasPassiveMark,
            active,
            rSrStxSetRootChecksum[5],
            rSrStxSetRootChecksum[2],
            rSrStxSetRootChecksum[3],
            v[1]
        );
        _requireAllotment(
            token,
            issuer,
            [active, rSrStxSetRootChecksum[5]],
            challenge.trail,
            [eon, lrDeltasPassiveMark[2][0], lrDeltasPassiveMark[2][1]],
            allotmentChain,
            membershipChain,
            values,
            lrDeltasPassiveMark[0]
        );
        _answered(challenge);
    }

    /// @dev What was there, came in and went out must be what the accused checkpoint allots.
    function _requireBalance(address token, address issuer, Challenge storage challenge, uint256[2][3] calldata lrDeltasPassiveMark)
        private
        view
    {
        require(lrDeltasPassiveMark[1][0] >= challenge.deltas[0] && lrDeltasPassiveMark[1][1] >= challenge.deltas[1], "x");
        uint256 eon = challenge.initialStateEon;
        uint256 incoming = lrDeltasPassiveMark[1][1] + getDepositsAtEon(token, issuer, eon) + lrDeltasPassiveMark[2][0];
        uint256 outgoing = lrDeltasPassiveMark[1][0] + getWalletPendingWithdrawalAmountAtEon(token, issuer, eon);
        uint256 allotted = lrDeltasPassiveMark[0][1] - lrDeltasPassiveMark[0][0];
        require(challenge.initialStateBalance + incoming <= allotted + outgoing, "B");
    }

    /// @dev Against the checkpoint of this eon, in which the previous eon's balances must have been carried on.
    function _challenge(address token, uint256 owed, uint256[2] calldata deltas, uint64 trail) private {
        uint256 eon = currentEon();
        Challenge storage challenge = _challenges[token][msg.sender];
        require(!challenge.live && challenge.initialStateEon < eon - 1);
        require(currentEra() > BLOCKS_PER_EPOCH);
        _challenges[token][msg.sender] = Challenge(true, block.number, eon - 1, owed, deltas, trail);
        ++_checkpointOf(eon).liveChallenges;
        emit ChallengeIssued(token, msg.sender, msg.sender);
    }

    function _answered(Challenge storage challenge) private {
        uint256 eon = currentEon();
        uint256 initial = challenge.initialStateEon;
        require(block.number - challenge.blockNumber < BLOCKS_PER_EPOCH);
        require(initial + 1 == eon || (initial + 2 == eon && currentEra() < BLOCKS_PER_EPOCH));
        --_checkpointOf(initial + 1).liveChallenges;
        challenge.live = false;
    }

    // ------------------------------------------------------------------------------------------------ proofs

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
    ) external view returns (bool) {
        _requireAllotment(
            token, holder, activeStateChecksum_passiveTransfersRoot, trail, eonPassiveMark, allotmentChain, membershipChain, values, LR
        );
        return true;
    }

    function _requireAllotment(
        address token,
        address holder,
        bytes32[2] memory checksums,
        uint64 trail,
        uint256[3] memory eonPassiveMark,
        bytes32[] memory allotmentChain,
        bytes32[] memory membershipChain,
        uint256[] memory values,
        uint256[2] memory lr
    ) private view {
        uint256 eon = eonPassiveMark[0];
        require(_checkpoints[eon % EONS].eon == eon, "r");
        bytes32 node = keccak256(
            abi.encodePacked(
                keccak256(abi.encodePacked(address(this))),
                keccak256(abi.encodePacked(token)),
                keccak256(abi.encodePacked(holder)),
                keccak256(abi.encodePacked(checksums[1], eonPassiveMark[1], eonPassiveMark[2])),
                checksums[0]
            )
        );
        node = keccak256(abi.encodePacked(lr[0], node, lr[1]));
        uint256 upperBound;
        (node, upperBound) = _climb(node, lr, trail, allotmentChain, values);
        require(token == address(this) || _trails[token] != 0, "t");
        node = keccak256(abi.encodePacked(uint256(0), node, upperBound));
        uint256 tokenTrail = _trails[token];
        for (uint256 level; level < membershipChain.length; ++level) {
            node = tokenTrail >> level & 1 != 0
                ? keccak256(abi.encodePacked(uint32(level), membershipChain[level], node))
                : keccak256(abi.encodePacked(uint32(level), node, membershipChain[level]));
        }
        require(node == _checkpoints[eon % EONS].root, "m");
        require(upperBound <= _committable(token, eon), "b");
    }

    /// @dev As upstream: bits of the trail above the proof are not looked at.
    function _climb(bytes32 node, uint256[2] memory lr, uint64 trail, bytes32[] memory chain, uint256[] memory values)
        private
        pure
        returns (bytes32, uint256)
    {
        require(chain.length == values.length);
        (uint256 left, uint256 right) = (lr[0], lr[1]);
        require(left <= right);
        for (uint256 level; level < chain.length; ++level) {
            uint256 value = values[level];
            if (trail >> level & 1 != 0) {
                require(value <= left);
                node = keccak256(abi.encodePacked(uint32(level), value, keccak256(abi.encodePacked(chain[level], left, node)), right));
                left = value;
            } else {
                require(right <= value);
                node = keccak256(abi.encodePacked(uint32(level), left, keccak256(abi.encodePacked(node, right, chain[level])), value));
                right = value;
            }
        }
        require(left == 0);
        return (node, right);
    }

    /// @dev The most the checkpoint of an eon can have promised of a token.
    function _committable(address token, uint256 eon) private view returns (uint256 most) {
        most = _balance(token);
        for (uint256 slot; slot < EONS; ++slot) {
            if (_confirmed[token][slot].eon >= eon) most += _confirmed[token][slot].amount;
        }
        for (uint256 slot; slot < EONS; ++slot) {
            if (_deposits[token][slot].eon >= eon) most -= _deposits[token][slot].amount;
        }
        most -= getPendingWithdrawalsAtEon(token, eon - 1);
    }

    function _activeState(address token, address holder, uint64 trail, uint256 eon, bytes32 txSetRoot, uint256[2] calldata deltas)
        private
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encodePacked(
                keccak256(abi.encodePacked(address(this))),
                keccak256(abi.encodePacked(token)),
                keccak256(abi.encodePacked(holder)),
                trail,
                eon,
                txSetRoot,
                deltas[0],
                deltas[1]
            )
        );
    }

    function _signer(bytes32 checksum, bytes32 r, bytes32 s, uint8 v) private pure returns (address signer) {
        bytes32 inner = keccak256(abi.encodePacked("\x19Liquidity.Network Authorization:\n32", checksum));
        signer = ecrecover(keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", inner)), v, r, s);
        require(signer != address(0), "A");
    }

    // ------------------------------------------------------------------------------------------------ reading

    function getLiveChallenges(uint256 eon) public view returns (uint256) {
        Checkpoint storage checkpoint = _checkpoints[eon % EONS];
        return checkpoint.eon == eon ? checkpoint.liveChallenges : 0;
    }

    function getCheckpointAtSlot(uint8 slot) external view returns (uint256, bytes32, uint256) {
        Checkpoint storage checkpoint = _checkpoints[slot];
        return (checkpoint.eon, checkpoint.root, checkpoint.liveChallenges);
    }

    function getParentChainAccumulatorAtSlot(uint8 slot) external view returns (bytes32) {
        return _accumulator[slot];
    }

    function getDepositsAtSlot(address token, uint8 slot) public view returns (uint256, uint256) {
        return (_deposits[token][slot].eon, _deposits[token][slot].amount);
    }

    function getPendingWithdrawalsAtSlot(address token, uint8 slot) public view returns (uint256, uint256) {
        return (_pending[token][slot].eon, _pending[token][slot].amount);
    }

    function getConfirmedWithdrawalsAtSlot(address token, uint8 slot) public view returns (uint256, uint256) {
        return (_confirmed[token][slot].eon, _confirmed[token][slot].amount);
    }

    function getServerContractStateVariables()
        external
        view
        returns (
            bytes32 parentChainAccumulator,
            uint256 lastEon,
            bytes32 lastCheckpointRoot,
            bool isCheckpointSubmitted,
            bool missedCheckpointSubmission,
            uint256 liveChallenges
        )
    {
        uint256 eon = currentEon();
        lastEon = lastSubmissionEon;
        return (
            _accumulator[eon % EONS],
            lastEon,
            _checkpoints[lastEon % EONS].root,
            lastEon == eon,
            hasMissedCheckpointSubmission(),
            getLiveChallenges(eon)
        );
    }

    function getServerContractLedgerStateVariables(uint256 eonNumber, address token)
        external
        view
        returns (uint256 pendingWithdrawals, uint256 confirmedWithdrawals, uint256 deposits, uint256 totalBalance)
    {
        return (
            _of(_pending[token][eonNumber % EONS], eonNumber),
            _of(_confirmed[token][eonNumber % EONS], eonNumber),
            _of(_deposits[token][eonNumber % EONS], eonNumber),
            _balance(token)
        );
    }

    /// @dev A running total: an eon in which nothing was asked for has the one before it.
    function getPendingWithdrawalsAtEon(address token, uint256 eon) public view returns (uint256) {
        uint256 newest;
        for (uint256 back; back < EONS && back <= eon; ++back) {
            Aggregate storage pending = _pending[token][(eon - back) % EONS];
            if (pending.eon == eon) return pending.amount;
            if (pending.eon < eon && pending.eon > newest) newest = pending.eon;
        }
        return newest == 0 ? 0 : _pending[token][newest % EONS].amount;
    }

    function getWalletPendingWithdrawalAmountAtEon(address token, address holder, uint256 eon) public view returns (uint256 amount) {
        Aggregate[] storage withdrawals = _wallets[token][holder].withdrawals;
        for (uint256 i; i < withdrawals.length; ++i) {
            if (withdrawals[i].eon == eon) amount += withdrawals[i].amount;
        }
    }

    function getDepositsAtEon(address token, address holder, uint256 eon) public view returns (uint256) {
        return _of(_wallets[token][holder].deposits[eon % DEPOSIT_EONS], eon);
    }

    function getTokenTrail(address token) external view returns (uint64) {
        return _trails[token];
    }

    function getTokenAtTrail(uint64 trail) external view returns (address) {
        return _tokens[trail];
    }

    // ------------------------------------------------------------------------------------------------ sums

    /// @dev A slot that belonged to an older eon starts anew.
    function _checkpointOf(uint256 eon) private returns (Checkpoint storage checkpoint) {
        checkpoint = _checkpoints[eon % EONS];
        if (checkpoint.eon != eon) (checkpoint.eon, checkpoint.root, checkpoint.liveChallenges) = (eon, 0, 0);
    }

    /// @dev The slot goes on from what it held five eons ago: it is never cleared.
    function _append(uint256 eon, address token, address participant, Operation operation, uint256 value) private {
        bytes32 before = _accumulator[eon % EONS];
        _accumulator[eon % EONS] = keccak256(abi.encodePacked(before, eon, token, participant, operation, value));
    }

    function _add(Aggregate storage aggregate, uint256 eon, uint256 value) private {
        if (eon > aggregate.eon) (aggregate.eon, aggregate.amount) = (eon, value);
        else aggregate.amount += value;
    }

    function _of(Aggregate storage aggregate, uint256 eon) private view returns (uint256) {
        return aggregate.eon == eon ? aggregate.amount : 0;
    }

    function _balance(address token) private view returns (uint256) {
        return token == address(this) ? address(this).balance : IERC20(token).balanceOf(address(this));
    }
}
