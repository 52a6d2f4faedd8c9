//! Final logs to postings and ends: one transaction of the chain in one transaction of the database.

use super::error::ReconcilerError;
use super::runs::{self, FeeCredit, Run, event_of};
use super::service::Reconciler;
use crate::ledger::{AccountKey, Asset, Cause, EventRef, Obligation, Posting, Reason, postings};
use crate::settlement::states::SettlementEvent;
use crate::settlement::{MessageId, SettlementId};
use crate::store::{ChainLog, Drift, DriftClass, Ending, Evidence, Payment, Settlement, StoreError, Txn};
use alloy::primitives::{Address, B256, U256};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What must be known before the database transaction starts.
struct Paid {
    runs: Vec<Run>,
    fee_credits: Vec<FeeCredit>,
    /// Fee recipients of the messages we know.
    recipients: BTreeMap<MessageId, Address>,
}

impl Paid {
    /// Whether the run's fees go to the recipient we would have named.
    fn fee_recipient(&self, run: &Run) -> Option<Address> {
        self.recipients.get(&run.message).copied()
    }
}

impl Reconciler {
    /// Books final logs, transaction by transaction. One that cannot be booked is reported and holds no other up.
    pub(super) async fn apply_final(&self, now_ms: i64, limit: usize) -> Result<usize, ReconcilerError> {
        let open = self
            .store
            .list_unapplied_final(self.params.chain_id, limit as u64)
            .await?;
        let mut txs: Vec<B256> = Vec::new();
        let mut listed = HashSet::new();
        for log in &open {
            if listed.insert(log.tx_hash) {
                txs.push(log.tx_hash);
            }
        }
        let mut applied = 0usize;
        let mut failed = None;
        for tx in txs {
            match self.apply_tx(now_ms, tx).await {
                Ok(count) => applied = applied.saturating_add(count),
                Err(error) => {
                    if let ReconcilerError::Log { log, reason } = &error {
                        self.report_unbookable(now_ms, log, reason).await?;
                    }
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(applied),
        }
    }

    async fn apply_tx(&self, now_ms: i64, tx: B256) -> Result<usize, ReconcilerError> {
        let logs = self.store.list_final_logs_of_tx(self.params.chain_id, tx).await?;
        let open: Vec<i64> = logs.iter().filter(|log| !log.applied_final).map(|log| log.id).collect();
        let runs = runs::runs(&logs)?;
        let mut recipients = BTreeMap::new();
        // The runs of an execution belong to one message; a stranger's transaction may carry several.
        let messages: BTreeSet<MessageId> = runs.iter().map(|run| run.message).collect();
        for id in messages {
            if let Some(message) = self.store.find_message(id).await? {
                recipients.insert(id, message.header.fee_recipient);
            }
        }
        let paid = Paid {
            fee_credits: runs::fee_credits(&logs, &runs),
            runs,
            recipients,
        };
        let mut txn = self.store.begin(now_ms).await?;
        let ids: Vec<SettlementId> = paid
            .runs
            .iter()
            .flat_map(|run| &run.items)
            .map(|item| item.id)
            .collect();
        let known: HashMap<SettlementId, Settlement> = txn
            .lock_settlements(&ids)
            .await?
            .into_iter()
            .filter(|row| self.is_here(row))
            .map(|row| (row.id, row))
            .collect();
        let mut payments = Vec::with_capacity(known.len());
        for run in &paid.runs {
            self.apply_run(&mut txn, &logs, &paid, run, &known, &mut payments)
                .await?;
        }
        self.resolve_strangers(&mut txn, &ids, &known).await?;
        txn.settlements_pay(&payments).await?;
        for credit in &paid.fee_credits {
            txn.post(&[fee_credit(&paid, credit)]).await?;
        }
        for log in &logs {
            self.apply_log(&mut txn, log).await?;
        }
        txn.mark_applied_final(&open).await?;
        txn.commit().await?;
        Ok(open.len())
    }

    /// Leaves of messages whose settlements nobody knows are done all the same. One that was accepted since the rows were read was not known
    /// to be paid: then everything is read again. Whoever accepts it holds the payer's accounts, as we do by now.
    async fn resolve_strangers(
        &self,
        txn: &mut Txn,
        ids: &[SettlementId],
        known: &HashMap<SettlementId, Settlement>,
    ) -> Result<(), ReconcilerError> {
        let strangers: Vec<SettlementId> = ids.iter().copied().filter(|id| !known.contains_key(id)).collect();
        if strangers.is_empty() {
            return Ok(());
        }
        let accepted = txn.find_settlements(&strangers).await?;
        if accepted.iter().any(|row| self.is_here(row)) {
            let what = "a settlement that was paid while it was accepted".into();
            return Err(StoreError::Conflict { what }.into());
        }
        txn.resolve_leaves(&strangers, true).await?;
        Ok(())
    }

    /// Adds what is ours to `payments`; what is not, leaves the payer's available balance.
    async fn apply_run(
        &self,
        txn: &mut Txn,
        logs: &[ChainLog],
        paid: &Paid,
        run: &Run,
        known: &HashMap<SettlementId, Settlement>,
        payments: &mut Vec<(SettlementId, Payment)>,
    ) -> Result<(), ReconcilerError> {
        let (mut amount, mut fee) = (run.amount, run.fee);
        let mut strangers = Vec::new();
        for item in &run.items {
            let evidence = evidence(logs, item.event);
            let Some(row) = known.get(&item.id) else {
                strangers.push(item);
                self.supersede(txn, run, item, evidence).await?;
                continue;
            };
            self.check_run(txn, row, run).await?;
            amount = self.less(txn, run, amount, row.terms.amount).await?;
            fee = self.less(txn, run, fee, row.terms.fee).await?;
            let payment = Payment {
                evidence,
                payout: run.payout,
                fee_is_ours: paid.fee_recipient(run) == Some(row.fee_recipient),
                event: item.event,
            };
            payments.push((row.id, payment));
        }
        if let Some(first) = strangers.first() {
            let obligation = Obligation {
                settlement: first.id,
                asset: self.asset(run.token),
                payer: run.payer,
                payee: run.payee,
                amount,
                fee,
            };
            let ours = paid.fee_recipient(run).is_some();
            txn.post(&obligation.paid_by_stranger(run.payout, ours, first.event))
                .await?;
        } else if !amount.is_zero() || !fee.is_zero() {
            let sums = (run.amount, run.fee);
            self.report(
                txn,
                DriftClass::Amount,
                run.event,
                format!("{sums:?}"),
                format!("{amount} and {fee} more"),
            )
            .await?;
        }
        Ok(())
    }

    /// The digest binds payer, payee and token, so a difference means the chain is not what it seems.
    async fn check_run(&self, txn: &mut Txn, row: &Settlement, run: &Run) -> Result<(), ReconcilerError> {
        let terms = &row.terms;
        let expected = (terms.payer, terms.payee, terms.token);
        let actual = (run.payer, run.payee, run.token);
        if expected != actual {
            self.report(
                txn,
                DriftClass::Payee,
                run.event,
                format!("{expected:?}"),
                format!("{actual:?}"),
            )
            .await?;
        }
        Ok(())
    }

    async fn less(&self, txn: &mut Txn, run: &Run, sum: U256, part: U256) -> Result<U256, ReconcilerError> {
        if let Some(rest) = sum.checked_sub(part) {
            return Ok(rest);
        }
        self.report(
            txn,
            DriftClass::Amount,
            run.event,
            format!("at least {part}"),
            sum.to_string(),
        )
        .await?;
        Ok(U256::ZERO)
    }

    /// Another settlement was paid on this nonce: ours can never be.
    async fn supersede(
        &self,
        txn: &mut Txn,
        run: &Run,
        item: &runs::Item,
        evidence: Evidence,
    ) -> Result<(), ReconcilerError> {
        let rival = self.lock_by_nonce(txn, run.payer, item.nonce).await?;
        if let Some(rival) = rival.filter(|rival| rival.id != item.id) {
            let ending = Ending {
                event: SettlementEvent::Supersede,
                evidence,
                log: Some(item.event),
            };
            txn.settlement_end_unpaid(rival.id, &ending).await?;
        }
        Ok(())
    }

    /// Everything but payments, which come in runs.
    async fn apply_log(&self, txn: &mut Txn, log: &ChainLog) -> Result<(), ReconcilerError> {
        let (holder, token) = (Address::from_word(log.key), Address::from_word(log.key2));
        let (asset, event) = (self.asset(token), event_of(log));
        let posting = match log.kind.as_str() {
            "deposited" => postings::deposit_finalized(asset, holder, log.amount, event),
            "withdrawn" => postings::withdrawn(asset, holder, log.amount, event),
            "claimed" => postings::claimed(asset, holder, log.amount, event),
            "nonce_burned" => {
                self.burn(txn, log, holder).await?;
                None
            }
            _ => None,
        };
        txn.post(posting.as_slice()).await?;
        Ok(())
    }

    async fn burn(&self, txn: &mut Txn, log: &ChainLog, payer: Address) -> Result<(), ReconcilerError> {
        let nonce = U256::from_be_bytes(log.key2.0);
        if let Some(row) = self.lock_by_nonce(txn, payer, nonce).await? {
            let ending = Ending {
                event: SettlementEvent::Burn,
                evidence: evidence_of(log),
                log: Some(event_of(log)),
            };
            txn.settlement_end_unpaid(row.id, &ending).await?;
        }
        Ok(())
    }

    async fn report(
        &self,
        txn: &mut Txn,
        class: DriftClass,
        event: EventRef,
        expected: String,
        actual: String,
    ) -> Result<(), ReconcilerError> {
        let found = Drift {
            class,
            chain: self.params.chain_id,
            subject: Cause::Event(event).to_string(),
            expected,
            actual,
        };
        tracing::error!(class = %found.class, subject = %found.subject, expected = %found.expected, actual = %found.actual, "drift");
        txn.report_drift(&found).await?;
        Ok(())
    }

    async fn report_unbookable(&self, now_ms: i64, log: &str, reason: &str) -> Result<(), ReconcilerError> {
        let found = Drift {
            class: DriftClass::Missing,
            chain: self.params.chain_id,
            subject: format!("log {log}"),
            expected: "booked".into(),
            actual: reason.to_owned(),
        };
        let mut txn = self.store.begin(now_ms).await?;
        txn.report_drift(&found).await?;
        txn.commit().await?;
        Ok(())
    }

    /// Whether a settlement is payable by the inbox this reconciler watches.
    pub(super) fn is_here(&self, row: &Settlement) -> bool {
        row.target == self.params.chain_id && self.params.target.is_some_and(|target| target.inbox == row.inbox)
    }

    /// The settlement of this chain's inbox that has this nonce of this payer.
    pub(super) async fn lock_by_nonce(
        &self,
        txn: &Txn,
        payer: Address,
        nonce: U256,
    ) -> Result<Option<Settlement>, ReconcilerError> {
        let Some(target) = self.params.target else {
            return Ok(None);
        };
        let chain = self.params.chain_id;
        Ok(txn.lock_settlement_by_nonce(chain, target.inbox, payer, nonce).await?)
    }

    fn asset(&self, token: Address) -> Asset {
        Asset {
            chain: self.params.chain_id,
            token,
        }
    }
}

/// The fee was booked as income (or outside, when it was not ours); what failed to leave the vault waits there for its recipient.
fn fee_credit(paid: &Paid, credit: &FeeCredit) -> Posting {
    let run = paid
        .runs
        .iter()
        .find(|run| run.token == credit.token && !run.fee.is_zero());
    let ours = run.and_then(|run| paid.fee_recipient(run)) == Some(credit.account);
    let asset = Asset {
        chain: credit.event.chain,
        token: credit.token,
    };
    Posting {
        debit: if ours {
            AccountKey::fees_income(asset)
        } else {
            AccountKey::external(asset)
        },
        credit: AccountKey::unclaimed(asset, credit.account),
        amount: credit.amount,
        reason: Reason::Credit,
        settlement: None,
        cause: Cause::Event(credit.event),
    }
}

fn evidence_of(log: &ChainLog) -> Evidence {
    Evidence {
        block_number: log.block_number,
        block_hash: log.block_hash,
        tx: Some(log.tx_hash),
    }
}

fn evidence(logs: &[ChainLog], event: EventRef) -> Evidence {
    let log = logs.iter().find(|log| log.log_index == event.log_index);
    Evidence {
        block_number: log.map_or(0, |log| log.block_number),
        block_hash: event.block,
        tx: log.map(|log| log.tx_hash),
    }
}
