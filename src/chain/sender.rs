//! From a call to a stored, signed transaction: [`Sender::plan`] asks the network, [`Sender::prepare`] only the caller's transaction.

use super::error::{Attempted, Rehearsed};
use super::fee::{FeePolicy, TxFees, first_fees, gwei_up, price_cap, worst_case};
use super::nonce::{Known, Start, start};
use super::signer::{SignerPool, Unsigned};
use super::{Chain, ChainError, Gate};
use crate::clock::Clock;
use crate::store::{Intent, IntentKind, LeaseToken, NewAttempt, NewEvent, NewTx, SignerLease, Store, TxId, TxRow, Txn};
use alloy::primitives::{Address, B256, Bytes, U256};
use relayer_adapter_api::{Call, ChainId, GasRule};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Who sends, and for how much.
#[derive(Debug, Clone)]
pub struct SenderParams {
    /// Name of this worker in leases.
    pub owner: String,
    pub lease_ms: i64,
    pub fees: FeePolicy,
}

/// A call with everything the network had to say about it. Good for seconds.
#[derive(Debug, Clone)]
pub struct PlannedTx {
    pub call: Call,
    pub signer: Address,
    pub token: LeaseToken,
    pub gas_limit: u64,
    pub fees: TxFees,
    /// Transactions of the signer the chain counts at the head.
    pub chain_count: u64,
}

/// Plans, prices and stores transactions of one chain.
pub struct Sender {
    chain: Arc<dyn Chain>,
    store: Store,
    signers: SignerPool,
    params: SenderParams,
    clock: Arc<dyn Clock>,
    /// Rotates over the signers.
    next: AtomicUsize,
    /// Sending is paused for want of funds; kept to alert once, not every second.
    short: AtomicBool,
    /// Leases and when, by the scheduling clock, they were renewed last.
    leases: Mutex<BTreeMap<Address, (SignerLease, i64)>>,
    /// One at a time takes or renews a lease: of two that find it run out, the second would take the first for another worker.
    leasing: tokio::sync::Mutex<()>,
    /// Transaction count and balance of each signer at the head of this hash: many plans in one block ask once.
    standing: Mutex<BTreeMap<Address, (B256, u64, U256)>>,
    /// Simulates and prices, never leases, signs or stores.
    dry_run: bool,
    /// Whether the chain may be sent to; None = always.
    gate: Option<Arc<Gate>>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("chain", &self.chain.id())
            .finish_non_exhaustive()
    }
}

/// Native coin of one gas unit in the daily counter: one counter per chain and UTC day.
fn day_counter(chain: ChainId, now_ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    format!("gas_gwei:{chain}:{}", now_ms.div_euclid(DAY_MS))
}

impl Sender {
    pub fn new(
        chain: Arc<dyn Chain>,
        store: Store,
        signers: SignerPool,
        params: SenderParams,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            chain,
            store,
            signers,
            params,
            clock,
            next: AtomicUsize::new(0),
            short: AtomicBool::new(false),
            leases: Mutex::new(BTreeMap::new()),
            leasing: tokio::sync::Mutex::new(()),
            standing: Mutex::new(BTreeMap::new()),
            dry_run: false,
            gate: None,
        }
    }

    /// A sender that sends nothing before this gate is open.
    pub fn behind(mut self, gate: Arc<Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Fails while the chain may not be sent to.
    pub async fn check_gate(&self) -> Result<(), ChainError> {
        match &self.gate {
            Some(gate) => gate.check().await,
            None => Ok(()),
        }
    }

    /// A sender that only says what it would send: [`Self::plan`] answers [`ChainError::DryRun`] and nothing can be prepared.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Transaction count and balance of a signer at the head.
    async fn standing(&self, signer: Address) -> Result<(u64, U256), ChainError> {
        let head = self.chain.head().await.attempted("reading the head")?;
        let known = self.standing_map().get(&signer).copied();
        if let Some((hash, count, balance)) = known
            && hash == head.hash
        {
            return Ok((count, balance));
        }
        let count = self
            .chain
            .transaction_count(signer, head)
            .await
            .attempted("reading the transaction count")?;
        let balance = self
            .chain
            .balance(signer, head)
            .await
            .attempted("reading the balance")?;
        self.standing_map().insert(signer, (head.hash, count, balance));
        Ok((count, balance))
    }

    fn standing_map(&self) -> std::sync::MutexGuard<'_, BTreeMap<Address, (B256, u64, U256)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn chain(&self) -> ChainId {
        self.chain.id()
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.signers.addresses()
    }

    pub fn policy(&self) -> &FeePolicy {
        &self.params.fees
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, BTreeMap<Address, (SignerLease, i64)>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes or renews the lease of one signer; None while another worker holds it. Renewed when a third of it has passed; a lease
    /// that was lost before is found out by the check of its token in every write.
    pub async fn lease(&self, signer: Address) -> Result<Option<SignerLease>, ChainError> {
        if let Some(lease) = self.fresh_lease(signer) {
            return Ok(Some(lease));
        }
        let _turn = self.leasing.lock().await;
        if let Some(lease) = self.fresh_lease(signer) {
            return Ok(Some(lease));
        }
        let now = self.clock.now_ms();
        let SenderParams { owner, lease_ms, .. } = &self.params;
        let lease = self
            .store
            .acquire_signer_lease(self.chain(), signer, owner, *lease_ms)
            .await?;
        match lease {
            Some(lease) => self.leases().insert(signer, (lease, now)),
            None => self.leases().remove(&signer),
        };
        Ok(lease)
    }

    /// A lease that need not be renewed yet.
    fn fresh_lease(&self, signer: Address) -> Option<SignerLease> {
        let age_max = self.params.lease_ms / 3;
        let (lease, at) = self.leases().get(&signer).copied()?;
        (0..age_max)
            .contains(&self.clock.now_ms().saturating_sub(at))
            .then_some(lease)
    }

    /// Gives all leases back: on a clean stop, so that the next process need not wait for them to run out.
    pub async fn release_leases(&self) -> Result<(), ChainError> {
        let held: Vec<SignerLease> = std::mem::take(&mut *self.leases())
            .into_values()
            .map(|(lease, _)| lease)
            .collect();
        for lease in held {
            self.store.release_signer_lease(&lease).await?;
        }
        Ok(())
    }

    async fn check_lease(&self, txn: &Txn, signer: Address, token: LeaseToken) -> Result<(), ChainError> {
        let checked = txn.check_signer_lease(self.chain(), signer, token).await;
        if checked.is_err() {
            self.leases().remove(&signer);
        }
        Ok(checked?)
    }

    async fn any_lease(&self) -> Result<SignerLease, ChainError> {
        let chain = self.chain();
        let addresses = self.signers.addresses();
        if addresses.is_empty() {
            return Err(ChainError::NoSigner { chain });
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for i in 0..addresses.len() {
            if let Some(lease) = self.lease(addresses[first.wrapping_add(i) % addresses.len()]).await? {
                return Ok(lease);
            }
        }
        Err(ChainError::NoLease { chain })
    }

    async fn gas_limit(&self, from: Address, call: &Call) -> Result<u64, ChainError> {
        let estimate = async || self.chain.estimate_gas(from, call).await.attempted("estimating gas");
        Ok(match call.gas {
            GasRule::Fixed(gas) => gas,
            GasRule::AtLeast(floor) => estimate().await?.max(floor),
            GasRule::Estimate { percent, extra } => {
                let gas = u128::from(estimate().await?) * u128::from(percent) / 100 + u128::from(extra);
                u64::try_from(gas).unwrap_or(u64::MAX)
            }
        })
    }

    /// Asks the network what this call takes: signer, gas, fees within the caps, funds. Changes nothing but the signer's lease.
    /// Never call it inside a [`Txn`]: it uses the database itself.
    pub async fn plan(&self, call: &Call) -> Result<PlannedTx, ChainError> {
        let chain = self.chain();
        if call.chain != chain {
            let reason = format!("a call for chain {} was handed to this one's sender", call.chain);
            return Err(ChainError::Config { chain, reason });
        }
        if self.dry_run {
            return Err(self.rehearse(call).await);
        }
        self.check_gate().await?;
        let lease = self.any_lease().await?;
        let signer = lease.signer;
        let gas_limit = self.gas_limit(signer, call).await?;
        let fees = self.fees_for(gas_limit).await?;
        let (chain_count, available) = self.standing(signer).await?;
        let committed = self.store.committed_wei(chain, signer).await?;
        let needed = committed
            .saturating_add(call.value)
            .saturating_add(worst_case(gas_limit, &fees));
        self.note_funds(signer, available, needed).await?;
        if available < needed {
            return Err(ChainError::FundsShort {
                chain,
                signer,
                available,
                needed,
            });
        }
        Ok(PlannedTx {
            call: call.clone(),
            signer,
            token: lease.token,
            gas_limit,
            fees,
            chain_count,
        })
    }

    /// Everything [`Self::plan`] asks the network, and nothing it writes: leases belong to processes that send. Always simulates, also a
    /// call whose gas is fixed.
    async fn rehearse(&self, call: &Call) -> ChainError {
        let chain = self.chain();
        let rehearsed = async {
            let addresses = self.signers.addresses();
            let signer = addresses.first().copied().ok_or(ChainError::NoSigner { chain })?;
            self.chain.estimate_gas(signer, call).await.attempted("simulating")?;
            let gas = self.gas_limit(signer, call).await?;
            let fees = self.fees_for(gas).await?;
            let cost = worst_case(gas, &fees);
            let (_, available) = self.standing(signer).await?;
            let needed = call.value.saturating_add(cost);
            if available < needed {
                return Err(ChainError::FundsShort {
                    chain,
                    signer,
                    available,
                    needed,
                });
            }
            Ok((signer, gas, cost))
        };
        match rehearsed.await {
            Ok((signer, gas, cost)) => {
                let (to, value) = (call.to, call.value);
                tracing::info!(chain = chain.0, %signer, %to, %value, gas, %cost, data = %call.data, "dry run: would send");
                ChainError::DryRun(Box::new(Rehearsed {
                    chain,
                    signer,
                    to,
                    value,
                    gas,
                    cost,
                }))
            }
            Err(error) => error,
        }
    }

    async fn fees_for(&self, gas_limit: u64) -> Result<TxFees, ChainError> {
        let chain = self.chain();
        let policy = &self.params.fees;
        let now = self.chain.fees().await.attempted("reading fees")?;
        let cap = price_cap(policy, gas_limit);
        first_fees(policy, cap, now).map_err(|above| {
            if above.needed > policy.max_fee_cap {
                ChainError::FeeCap {
                    chain,
                    needed: above.needed,
                    cap: policy.max_fee_cap,
                }
            } else {
                let price = TxFees {
                    max_fee: above.needed,
                    max_priority_fee: 0,
                };
                ChainError::TxCap {
                    chain,
                    needed: worst_case(gas_limit, &price),
                    cap: policy.tx_cap,
                }
            }
        })
    }

    /// Alerts when sending starts or stops to be paused for want of funds.
    pub(super) async fn note_funds(&self, signer: Address, available: U256, needed: U256) -> Result<(), ChainError> {
        let short = available < needed;
        if self.short.swap(short, Ordering::Relaxed) == short {
            return Ok(());
        }
        if short {
            tracing::error!(chain = self.chain().0, %signer, %available, %needed, "signer short of funds: sending is paused");
        } else {
            tracing::info!(chain = self.chain().0, %signer, %available, "signer has funds again");
        }
        let detail = serde_json::json!({
            "signer": signer, "available": available.to_string(), "needed": needed.to_string(),
        });
        let mut txn = self.store.begin(self.clock.now_ms()).await?;
        txn.record(NewEvent {
            aggregate: "chain",
            aggregate_id: self.chain().to_string(),
            event: if short { "funds_short" } else { "funds_back" }.into(),
            cause: "sender".into(),
            detail: Some(detail.to_string()),
            ..Default::default()
        });
        txn.commit().await?;
        Ok(())
    }

    /// Whether sending is paused for want of funds.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Inside the caller's transaction: refuses a bound intent, checks the lease, takes the nonce, signs, stores. No network.
    /// Nothing has left the machine when this returns; the engine sends what is committed.
    pub async fn prepare(&self, txn: &mut Txn, planned: &PlannedTx, intent: Intent) -> Result<TxId, ChainError> {
        let chain = self.chain();
        self.check_lease(txn, planned.signer, planned.token).await?;
        if let Some(bound) = txn.find_live_tx(&intent).await? {
            return Err(ChainError::IntentBound { intent, tx: bound.id });
        }
        let known = Known {
            chain_count: planned.chain_count,
            base: txn.nonce_base(chain, planned.signer).await?,
            last: txn.find_last_nonce(chain, planned.signer).await?,
        };
        let from = match start(known) {
            Start::From(nonce) => nonce,
            Start::Adopt(count) => {
                tracing::warn!(chain = chain.0, signer = %planned.signer, count, "the signer was used before this database existed");
                txn.adopt_nonces(chain, planned.signer, count).await?;
                count
            }
            Start::Ahead { known } => {
                return Err(ChainError::ChainAhead {
                    chain,
                    signer: planned.signer,
                    count: planned.chain_count,
                    known,
                });
            }
        };
        let nonce = txn.lowest_free_nonce(chain, planned.signer, from).await?;
        self.store_signed(txn, planned, nonce, intent).await
    }

    /// A transaction that does nothing, for a nonce that nothing else holds.
    pub(super) async fn prepare_noop(
        &self,
        txn: &mut Txn,
        lease: &SignerLease,
        nonce: u64,
        fees: TxFees,
    ) -> Result<TxId, ChainError> {
        self.check_lease(txn, lease.signer, lease.token).await?;
        let planned = PlannedTx {
            call: Call {
                chain: lease.chain,
                to: lease.signer,
                data: Bytes::new(),
                value: U256::ZERO,
                gas: GasRule::Fixed(NOOP_GAS),
            },
            signer: lease.signer,
            token: lease.token,
            gas_limit: NOOP_GAS,
            fees,
            chain_count: nonce,
        };
        let intent = Intent::new(IntentKind::Noop, format!("{}:{:#x}:{nonce}", lease.chain, lease.signer));
        self.store_signed(txn, &planned, nonce, intent).await
    }

    pub(super) async fn noop_fees(&self) -> Result<TxFees, ChainError> {
        self.fees_for(NOOP_GAS).await
    }

    async fn store_signed(
        &self,
        txn: &mut Txn,
        planned: &PlannedTx,
        nonce: u64,
        intent: Intent,
    ) -> Result<TxId, ChainError> {
        self.refuse_in_dry_run(planned.signer)?;
        let unsigned = Unsigned {
            chain: self.chain(),
            nonce,
            to: planned.call.to,
            value: planned.call.value,
            data: planned.call.data.clone(),
            gas_limit: planned.gas_limit,
        };
        let attempt = self
            .signers
            .sign(planned.signer, &unsigned, &planned.fees, self.params.fees.legacy)?;
        self.spend(txn, gwei_up(worst_case(planned.gas_limit, &planned.fees)))
            .await?;
        let new = NewTx {
            chain: self.chain(),
            signer: planned.signer,
            nonce,
            intent,
            to: planned.call.to,
            value: planned.call.value,
            data: planned.call.data.clone(),
            gas_limit: planned.gas_limit,
            token: planned.token,
        };
        Ok(txn.insert_tx(new, attempt).await?)
    }

    /// Signs a stored transaction anew, and stores that.
    pub(super) async fn replace(
        &self,
        txn: &mut Txn,
        lease: &SignerLease,
        row: &TxRow,
        nonce: u64,
        dearest: &TxFees,
        fees: &TxFees,
    ) -> Result<NewAttempt, ChainError> {
        self.refuse_in_dry_run(lease.signer)?;
        self.check_lease(txn, lease.signer, lease.token).await?;
        let unsigned = Unsigned {
            chain: row.chain,
            nonce,
            to: row.to,
            value: row.value,
            data: row.data.clone(),
            gas_limit: row.gas_limit,
        };
        let attempt = self
            .signers
            .sign(row.signer, &unsigned, fees, self.params.fees.legacy)?;
        let more = gwei_up(worst_case(row.gas_limit, fees).saturating_sub(worst_case(row.gas_limit, dearest)));
        self.spend(txn, more).await?;
        txn.insert_attempt(row.id, attempt.clone()).await?;
        Ok(attempt)
    }

    /// Before every signature: what is not signed cannot be sent, not even by a later process that reads this database.
    fn refuse_in_dry_run(&self, signer: Address) -> Result<(), ChainError> {
        if !self.dry_run {
            return Ok(());
        }
        let reason = "a dry run signs nothing".to_owned();
        Err(ChainError::Signing { signer, reason })
    }

    /// Counts the worst case of what is signed today against the daily cap.
    async fn spend(&self, txn: &Txn, gwei: u64) -> Result<(), ChainError> {
        let cap = self.params.fees.day_cap_gwei;
        let amount = i64::try_from(gwei).unwrap_or(i64::MAX / 2);
        let name = day_counter(self.chain(), txn.now_ms);
        let first = txn.reserve_counter(&name, amount).await?;
        let total = u64::try_from(first.saturating_sub(1).saturating_add(amount)).unwrap_or(u64::MAX);
        if total > cap {
            // The caller may commit what else it has to say.
            txn.reserve_counter(&name, -amount).await?;
            return Err(ChainError::DayCap {
                chain: self.chain(),
                needed: total,
                cap,
            });
        }
        Ok(())
    }

    /// A finalized transaction cost less than its worst case: today's counter gets the rest back.
    pub(super) async fn refund(&self, txn: &Txn, row: &TxRow, dearest: &TxFees) -> Result<(), ChainError> {
        if day_counter(self.chain(), row.created_at) != day_counter(self.chain(), txn.now_ms) {
            return Ok(());
        }
        let actual = U256::from(row.gas_used.unwrap_or(row.gas_limit))
            .saturating_mul(U256::from(row.gas_price.unwrap_or(dearest.max_fee)));
        // The worst case rounded up, minus the actual cost rounded up: never gives back more than was taken.
        let rest = gwei_up(worst_case(row.gas_limit, dearest)).saturating_sub(gwei_up(actual));
        let rest = i64::try_from(rest).unwrap_or(0);
        txn.reserve_counter(&day_counter(self.chain(), txn.now_ms), -rest)
            .await?;
        Ok(())
    }
}

/// Gas of a transfer of nothing. Chains with other rules for it (rollups that charge data as gas) refuse it and are shown in the attempt's error.
const NOOP_GAS: u64 = 21_000;
