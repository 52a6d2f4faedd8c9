//! The role: one look at the chain per tick, and whatever is due then. Nothing is remembered but what was done off chain, so what a reorg undoes
//! is done again.

use super::super::layerzero::call;
use super::super::switches::{HubSetting, Switches};
use super::super::wallet;
use super::challenges::ICommitChainChallenges;
use super::{Hub, OffChain};
use alloy::primitives::{B256, U256, keccak256};
use alloy::providers::Provider;
use anyhow::Result;
use relayer::adapter::abi::ICommitChain;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_millis(200);
/// A transaction that is not mined by then is looked at again from the chain's side.
const STEP_WITHIN: Duration = Duration::from_secs(20);
/// The block of an eon from which the operator submits: the eon before should be settled.
const SUBMIT_FROM: u64 = 2;
/// Trails of who does what.
const PAYER: usize = 0;
const ALICE: usize = 1;
const BOB: usize = 2;
/// Trail of the test token.
const TOKEN: usize = 1;
/// Every so many eons somebody withdraws.
const WITHDRAWAL_EVERY: u64 = 3;

impl Hub {
    /// Plays operator and wallets until cancelled.
    pub async fn run(self, switches: Switches, stop: CancellationToken) {
        let mut played = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(TICK) => {}
            }
            let setting = switches.get().hub;
            match tokio::time::timeout(STEP_WITHIN, self.step(&setting, &mut played)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(error = format!("{error:#}"), "the hub's operator tries again"),
                Err(_) => tracing::debug!("the hub's operator waited too long and looks again"),
            }
        }
    }

    /// `played` is the last eon in which the wallets did something.
    async fn step(&self, setting: &HubSetting, played: &mut u64) -> Result<()> {
        let contract = ICommitChain::new(self.contract, &self.provider);
        // Pending block numbers are one ahead: whatever is sent now is mined in the next block.
        let (eon, era) = self.eon_of(self.provider.get_block_number().await? + 1);
        if contract.hasMissedCheckpointSubmission().call().await? {
            return Ok(());
        }
        if setting.answers {
            for accused in [eon - 1, eon] {
                if !contract.getLiveChallenges(U256::from(accused)).call().await?.is_zero() {
                    self.answer(accused).await?;
                }
            }
        }
        let last: u64 = contract.lastSubmissionEon().call().await?.try_into()?;
        if last < eon {
            if setting.submits && era >= SUBMIT_FROM {
                let root = self.balances(eon).await?.checkpoint.root();
                let root = if setting.wrong_root { wrong(root) } else { root };
                self.submit(&self.as_operator()?, eon, root).await?;
            }
            return Ok(());
        }
        // The last block of an eon is left alone: what is sent then may be mined in the next one.
        let quiet = era + 2 >= self.blocks_per_eon;
        if setting.plays && *played < eon && !quiet {
            *played = eon;
            self.play(eon).await?;
        }
        let may_challenge = era > self.blocks_per_eon / 4 && eon > 1 && !quiet;
        if setting.challenges && may_challenge && contract.getLiveChallenges(U256::from(eon)).call().await?.is_zero() {
            self.challenge(eon).await?;
        }
        Ok(())
    }

    /// Once in an eon: the payer pays Alice off chain, Alice withdraws or deposits, and gets what is due.
    async fn play(&self, eon: u64) -> Result<()> {
        let amount = U256::from(10).pow(U256::from(15)) * U256::from(eon);
        let known = self.transfers().iter().any(|one| one.eon == eon);
        // Before the first checkpoint with a balance there is nothing to pay from.
        if eon > 2 && !known {
            self.transfers().push(OffChain {
                eon,
                token: TOKEN,
                from: PAYER,
                to: ALICE,
                amount,
            });
        }
        let alice = wallet(&self.url, &self.wallets[ALICE])?;
        if eon > 2 && eon.is_multiple_of(WITHDRAWAL_EVERY) {
            self.withdraw(eon, amount).await?;
        } else {
            self.deposit(&alice, TOKEN, self.wallets[ALICE].address(), amount)
                .await?;
            self.deposit(&alice, 0, self.wallets[ALICE].address(), amount).await?;
        }
        let confirmation = ICommitChain::confirmWithdrawalCall {
            token: self.tokens[TOKEN],
            recipient: self.wallets[ALICE].address(),
        };
        // Two eons after the request, in the third third of the eon; before it this pays 0.
        if eon.is_multiple_of(WITHDRAWAL_EVERY) && eon > WITHDRAWAL_EVERY {
            call(&alice, self.contract, confirmation).await?;
        }
        Ok(())
    }

    async fn withdraw(&self, eon: u64, amount: U256) -> Result<()> {
        let proof = self.allotment(eon - 1, TOKEN, ALICE).await?;
        let request = ICommitChain::requestWithdrawalCall {
            token: self.tokens[TOKEN],
            checksums: [proof.activeStateChecksum, proof.passiveRoot],
            trail: proof.trail,
            allotmentChain: proof.allotmentChain,
            membershipChain: proof.membershipChain,
            values: proof.values,
            lrPassiveMark: [[proof.left, proof.right], [proof.passiveAmount, proof.passiveMarker]],
            withdrawalAmount: amount,
        };
        let alice = wallet(&self.url, &self.wallets[ALICE])?;
        call(&alice, self.contract, request).await
    }

    /// Bob asks to see that his balance was carried on into this eon's checkpoint. He neither pays nor is paid, so nobody need have signed anything.
    async fn challenge(&self, eon: u64) -> Result<()> {
        let proof = self.allotment(eon - 1, TOKEN, BOB).await?;
        let challenge = ICommitChainChallenges::challengeStateUpdateWithProofOfExclusiveBalanceAllotmentCall {
            token: self.tokens[TOKEN],
            checksums: [proof.activeStateChecksum, proof.passiveRoot],
            trail: proof.trail,
            allotmentChain: proof.allotmentChain,
            membershipChain: proof.membershipChain,
            values: proof.values,
            lrDeltasPassiveMark: [
                [proof.left, proof.right],
                [U256::ZERO; 2],
                [proof.passiveAmount, proof.passiveMarker],
            ],
            rsTxSetRoot: [B256::ZERO; 3],
            v: 0,
        };
        let bob = wallet(&self.url, &self.wallets[BOB])?;
        call(&bob, self.contract, challenge).await
    }

    async fn answer(&self, eon: u64) -> Result<()> {
        let proof = self.allotment(eon, TOKEN, BOB).await?;
        let mut words = [B256::ZERO; 6];
        words[5] = proof.passiveRoot;
        let answer = ICommitChainChallenges::answerStateUpdateChallengeCall {
            token: self.tokens[TOKEN],
            issuer: self.wallets[BOB].address(),
            allotmentChain: proof.allotmentChain,
            membershipChain: proof.membershipChain,
            values: proof.values,
            lrDeltasPassiveMark: [
                [proof.left, proof.right],
                [U256::ZERO; 2],
                [proof.passiveAmount, proof.passiveMarker],
            ],
            rSrStxSetRootChecksum: words,
            v: [0; 2],
        };
        call(&self.as_operator()?, self.contract, answer).await
    }
}

/// A root that the ledger does not give.
fn wrong(root: B256) -> B256 {
    keccak256(root)
}
