//! Reads what gauges show: settlements and messages by state, ages, cursors, ledger totals, drift. A stage of its own, so that no other
//! stage spends time on it.

use crate::chain::Chain;
use crate::error::{Coded, ErrorCode};
use crate::ledger::AccountKind;
use crate::metrics as names;
use crate::settlement::states::{MessageState, SettlementState, TxState};
use crate::stage::{Outcome, Stage};
use crate::store::{Census, Counted, Store, StoreError};
use alloy::primitives::{Address, U256};
use async_trait::async_trait;
use metrics::gauge;
use relayer_adapter_api::{BridgeId, ChainId, Class};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;
use tokio::sync::Mutex;

/// A read failed; the gauges keep their last values.
#[derive(Debug, thiserror::Error)]
#[error("reading figures for the metrics: {0}")]
pub struct SamplerError(#[from] StoreError);

/// Codes of this module, for docs/errors.md.
pub const CODES: &[ErrorCode] = &[READ];
const READ: ErrorCode = ErrorCode {
    code: "RLY-METRICS-001",
    title: "Figures cannot be read",
    meaning: "The database did not answer the queries behind the gauges.",
    relayer: "Keeps the last values and tries again; settlements are not affected.",
    you: "Check the database.",
};

impl Coded for SamplerError {
    fn code(&self) -> ErrorCode {
        READ
    }

    fn class(&self) -> Class {
        self.0.class()
    }
}

/// See the module's page.
pub struct Sampler {
    pub store: Store,
    pub chains: Vec<ChainId>,
    pub bridges: Vec<BridgeId>,
    /// Accounts whose native balance is shown.
    pub signers: Vec<(Arc<dyn Chain>, Vec<Address>)>,
    /// When balances are read next, Unix ms; they cost RPC calls, so not at every step.
    pub next_balances: AtomicI64,
    pub censuses: Censuses,
    /// When the figures are read next, Unix ms. The loop is woken by every step of every stage; counting each time would cost more than
    /// the work that is counted.
    pub next_figures: AtomicI64,
}

/// Counts of what has come to rest, made bit by bit.
#[derive(Debug)]
pub struct Censuses(Mutex<[Census; 3]>);

impl Default for Censuses {
    fn default() -> Self {
        Self(Mutex::new(
            [Counted::Settlements, Counted::Messages, Counted::Txs].map(Census::new),
        ))
    }
}

/// Accounts whose sums are read; there is one `payee` account for everybody ever paid, and their sum follows from the others.
const SUMMED: &[AccountKind] = &[
    AccountKind::Available,
    AccountKind::Reserved,
    AccountKind::Unclaimed,
    AccountKind::FeesBridge,
    AccountKind::FeesGas,
    AccountKind::FeesIncome,
    AccountKind::External,
];

/// Least time between two looks at the figures…
const FIGURES_MS: i64 = 1_000;
/// …how many times longer than the last look took, waiting for the database included…
const FIGURES_SHARE: i64 = 20;
/// …and the most.
const FIGURES_MS_MAX: i64 = 5_000;
/// Time between two looks at the signers' balances.
const BALANCES_MS: i64 = 60_000;

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler")
            .field("chains", &self.chains)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Stage for Sampler {
    fn name(&self) -> String {
        "sampler".into()
    }

    async fn step(&self, now_ms: i64, _: usize) -> Result<Outcome, Box<dyn Coded>> {
        if now_ms >= self.next_figures.load(Ordering::Relaxed) {
            let started = Instant::now();
            self.sample(now_ms).await.map_err(SamplerError)?;
            let took = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
            let pause = took.saturating_mul(FIGURES_SHARE).clamp(FIGURES_MS, FIGURES_MS_MAX);
            self.next_figures.store(now_ms.saturating_add(pause), Ordering::Relaxed);
        }
        if now_ms >= self.next_balances.load(Ordering::Relaxed) {
            self.next_balances
                .store(now_ms.saturating_add(BALANCES_MS), Ordering::Relaxed);
            self.sample_balances().await.map_err(SamplerError)?;
        }
        Ok(Outcome::default())
    }
}

/// Gauges are floats; above 2^53 a figure is approximate.
fn approximate(value: U256) -> f64 {
    f64::from(value)
}

impl Sampler {
    async fn sample(&self, now_ms: i64) -> Result<(), StoreError> {
        let mut censuses = self.censuses.0.lock().await;
        for census in censuses.iter_mut() {
            self.store.census(census).await?;
        }
        let [settlements, all_messages, all_txs] = &*censuses;
        let counts: BTreeMap<SettlementState, u64> = self.store.count_open_settlements().await?.into_iter().collect();
        let oldest: BTreeMap<SettlementState, i64> = self.store.oldest_by_state().await?.into_iter().collect();
        for state in SettlementState::ALL {
            let count = if state.is_terminal() {
                settlements.get(state.as_str())
            } else {
                counts.get(state).copied().unwrap_or_default()
            };
            gauge!(names::SETTLEMENT_STATE_COUNT, "state" => state.as_str()).set(count as f64);
            if !state.is_terminal() {
                let since = oldest.get(state).copied().unwrap_or(now_ms);
                let age = now_ms.saturating_sub(since).max(0) as f64 / 1_000.0;
                gauge!(names::SETTLEMENT_OLDEST_AGE_SECONDS, "state" => state.as_str()).set(age);
            }
        }
        for (class, count) in self.store.count_drift().await? {
            gauge!(names::LEDGER_DRIFT_COUNT, "class" => class).set(count as f64);
        }
        for (class, chain, token, count) in self.store.count_drift_of_assets().await? {
            let token = token.map(|token| token.to_string()).unwrap_or_default();
            gauge!(names::LEDGER_DRIFT_ASSET_COUNT, "class" => class, "chain" => chain.to_string(), "token" => token)
                .set(count as f64);
        }
        let stalled: BTreeMap<String, u64> = self.store.count_stalled().await?.into_iter().collect();
        for bridge in &self.bridges {
            let count = stalled.get(bridge.as_str()).copied().unwrap_or_default();
            gauge!(names::DISPATCH_STALLED_COUNT, "bridge" => bridge.to_string()).set(count as f64);
        }
        let messages: BTreeMap<String, u64> = self.store.count_open_messages().await?.into_iter().collect();
        for state in MessageState::ALL {
            let count = match state {
                MessageState::Executed | MessageState::Abandoned => all_messages.get(state.as_str()),
                _ => messages.get(state.as_str()).copied().unwrap_or_default(),
            };
            gauge!(names::MESSAGE_STATE_COUNT, "state" => state.as_str()).set(count as f64);
        }
        let txs = self.store.count_open_txs().await?;
        for (chain, state) in self
            .chains
            .iter()
            .flat_map(|chain| TxState::ALL.iter().map(move |state| (chain, state)))
        {
            let name = format!("{} {state}", chain.0);
            let count = match state {
                TxState::Finalized => all_txs.get(&name),
                _ => txs.get(&name).copied().unwrap_or_default(),
            };
            gauge!(names::TX_STATE_COUNT, "chain" => chain.to_string(), "state" => state.as_str()).set(count as f64);
        }
        for chain in &self.chains {
            if let Some(cursor) = self.store.get_cursor(*chain).await? {
                let label = chain.to_string();
                gauge!(names::CHAIN_HEAD_NUMBER, "chain" => label.clone()).set(cursor.seen.number as f64);
                gauge!(names::CHAIN_FINALIZED_NUMBER, "chain" => label).set(cursor.finalized.number as f64);
            }
        }
        self.sample_ledger().await
    }

    /// A chain that does not answer keeps its last figures; its own loops report it.
    async fn sample_balances(&self) -> Result<(), StoreError> {
        for (chain, signers) in &self.signers {
            let Some(cursor) = self.store.get_cursor(chain.id()).await? else {
                continue;
            };
            for signer in signers {
                if let Ok(balance) = chain.balance(*signer, cursor.seen).await {
                    let (chain, signer) = (chain.id().to_string(), signer.to_string());
                    gauge!(names::CHAIN_SIGNER_BALANCE_WEI, "chain" => chain, "signer" => signer)
                        .set(approximate(balance));
                }
            }
        }
        Ok(())
    }

    /// Sums per kind, chain and token: one series per asset, not one per account.
    async fn sample_ledger(&self) -> Result<(), StoreError> {
        let mut totals: BTreeMap<(String, String, String), f64> = BTreeMap::new();
        for (key, balance) in self.store.list_accounts_of(SUMMED, None).await? {
            let asset = key.asset();
            let label = |kind: AccountKind| (kind.to_string(), asset.chain.to_string(), asset.token.to_string());
            let signed = approximate(balance.amount()) - approximate(balance.shortfall());
            *totals.entry(label(key.kind())).or_default() += signed;
            // Every movement leaves one account and enters another, so that all of an asset sum up to nothing.
            *totals.entry(label(AccountKind::Payee)).or_default() -= signed;
        }
        for ((kind, chain, token), total) in totals {
            gauge!(names::LEDGER_ACCOUNT_TOTAL, "account" => kind, "chain" => chain, "token" => token).set(total);
        }
        Ok(())
    }
}
