//! Puts a difference right, on an operator's word. Nothing is ever edited: logs the observer missed are stored, what is missing is booked by new
//! postings, what is too much is reversed by new ones, and each repair leaves an event that says who and what. Whatever a repair does can be
//! done again without harm.

use super::auditor::Auditor;
use super::compare::{Finding, Remedy};
use super::error::ReconcilerError;
use super::examine;
use super::service::Reconciler;
use crate::chain::calldata;
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::store::{NewChainLog, Payment, RepairNote};
use serde::Serialize;

/// What a repair came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repaired {
    /// It agrees now.
    Done,
    /// It would be done.
    Would,
    /// Needs something else; see the text.
    Not,
}

/// A difference and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairLine {
    pub class: String,
    pub chain: u64,
    pub subject: String,
    pub result: Repaired,
    pub what: String,
}

impl Remedy {
    /// What it does, for people; None when there is nothing a program may do.
    pub fn what(&self) -> Result<String, String> {
        Ok(match self {
            Self::PutLogBack(log) => format!(
                "store the log of block {} the observer did not get, and book it",
                log.block_number
            ),
            Self::DropLog(log) => format!("take back what log {} caused: it is not on the chain", log.reference()),
            Self::BookAgain { tx, .. } => format!("book transaction {tx} again"),
            Self::BookPayment { payment, .. } => format!(
                "book the payment of block {} by new postings, and settle",
                payment.evidence.block_number
            ),
            Self::BookReservation(_) => "book the reservation, or its release, by a new posting".into(),
            Self::TakeBack(rows) => format!("reverse {} posting(s) by new ones: {rows:?}", rows.len()),
            Self::PutLeavesBack { .. } => "put back the leaves from the outbox's calldata".into(),
            Self::Expire(_) => "take the proof of expiry at the final block, and release what is reserved".into(),
            Self::Recover => return Err("run `relayer recover`: the chains know more than this database".into()),
            Self::Operator => {
                return Err("somebody must look: `relayer explain`, then `relayer dispute` if it is disputed".into());
            }
        })
    }

    /// Logs come first: much of the rest follows from them.
    fn rank(&self) -> u8 {
        match self {
            Self::PutLogBack(_) => 0,
            Self::DropLog(_) => 1,
            Self::PutLeavesBack { .. } => 2,
            Self::BookAgain { .. } => 3,
            Self::TakeBack(_) => 4,
            Self::BookReservation(_) => 5,
            Self::BookPayment { .. } => 6,
            Self::Expire(_) => 7,
            Self::Recover | Self::Operator => 8,
        }
    }
}

fn line(finding: &Finding, result: Repaired, what: String) -> RepairLine {
    RepairLine {
        class: finding.drift.class.to_string(),
        chain: finding.drift.chain.0,
        subject: finding.drift.subject.clone(),
        result,
        what,
    }
}

/// What a repair of these would do, in its order.
pub fn rehearse(findings: &[Finding]) -> Vec<RepairLine> {
    ranked(findings)
        .into_iter()
        .map(|finding| match finding.remedy.what() {
            Ok(what) => line(finding, Repaired::Would, what),
            Err(why) => line(finding, Repaired::Not, why),
        })
        .collect()
}

fn ranked(findings: &[Finding]) -> Vec<&Finding> {
    let mut all: Vec<&Finding> = findings.iter().collect();
    all.sort_by_key(|finding| finding.remedy.rank());
    all
}

/// What a chain was asked for before a repair writes.
#[derive(Debug, Default)]
struct Asked {
    payment: Option<Payment>,
    leaves: Option<Vec<SettlementId>>,
    /// All logs of a transaction, and those of them that retention deleted.
    logs: Vec<NewChainLog>,
    pruned: Vec<NewChainLog>,
}

/// One chain's books: what compares them, and what books.
#[derive(Debug)]
pub struct ChainBooks {
    pub auditor: Auditor,
    pub reconciler: Reconciler,
    /// The comparison reads from endpoints the observer does not use first.
    pub own_endpoints: bool,
}

impl ChainBooks {
    /// Puts the findings of this chain right, one after the other; one that cannot be holds no other up.
    pub async fn repair(
        &self,
        findings: &[Finding],
        by: &str,
        now_ms: i64,
    ) -> Result<Vec<RepairLine>, ReconcilerError> {
        let mut lines = Vec::new();
        for finding in ranked(findings) {
            let what = match finding.remedy.what() {
                Ok(what) => what,
                Err(why) => {
                    lines.push(line(finding, Repaired::Not, why));
                    continue;
                }
            };
            match self.apply(finding, findings, (&what, by), now_ms).await {
                Ok(()) => lines.push(self.close(finding, what, by, now_ms).await?),
                Err(error) => lines.push(line(finding, Repaired::Not, error.to_string())),
            }
        }
        Ok(lines)
    }

    async fn apply(
        &self,
        finding: &Finding,
        all: &[Finding],
        (what, by): (&str, &str),
        now_ms: i64,
    ) -> Result<(), ReconcilerError> {
        let auditor = &self.auditor;
        let subject = format!("{} {}", finding.drift.class, finding.drift.subject);
        let note = RepairNote {
            subject: &subject,
            what,
            by,
            settlement: finding.about.settlement,
        };
        let asked = self.ask(finding, all).await?;
        let mut txn = auditor.store.begin(now_ms).await?;
        match &finding.remedy {
            Remedy::PutLogBack(_) => {
                txn.untally_pruned(&asked.pruned).await?;
                txn.put_back_logs(&asked.logs).await?;
            }
            Remedy::DropLog(log) => {
                txn.orphan_log(log).await?;
            }
            Remedy::BookAgain { chain, tx } => {
                txn.book_again(*chain, *tx).await?;
            }
            Remedy::BookPayment { settlement, .. } => {
                if let Some(payment) = &asked.payment {
                    txn.repair_payment(*settlement, payment, by).await?;
                }
            }
            Remedy::BookReservation(settlement) => {
                txn.repair_reservation(*settlement).await?;
            }
            Remedy::TakeBack(rows) => {
                for row in rows {
                    txn.take_back(*row, by).await?;
                }
            }
            Remedy::PutLeavesBack { message, .. } => {
                if let Some(leaves) = &asked.leaves {
                    txn.put_back_leaves(*message, leaves).await?;
                }
            }
            Remedy::Expire(_) | Remedy::Recover | Remedy::Operator => {}
        }
        txn.record_repair(&note);
        txn.commit().await?;
        self.reconciler.catch_up(now_ms).await
    }

    /// What must be asked of a chain is asked before the transaction.
    async fn ask(&self, finding: &Finding, all: &[Finding]) -> Result<Asked, ReconcilerError> {
        let auditor = &self.auditor;
        let mut asked = Asked::default();
        match &finding.remedy {
            Remedy::BookPayment { settlement, .. } => {
                asked.payment = examine::payment_on_chain(&auditor.store, auditor.id(), *settlement).await?;
            }
            Remedy::PutLeavesBack { chain, message } => {
                asked.leaves = Some(self.leaves(*chain, *message).await?);
            }
            Remedy::PutLogBack(log) => {
                (asked.logs, asked.pruned) = auditor.whole_transaction(log, &of_transaction(all, log)).await?;
            }
            Remedy::DropLog(log) => {
                let failed = |reason: String| ReconcilerError::Repair {
                    subject: format!("log {}", log.reference()),
                    reason,
                };
                // What it caused is taken back only on a second word.
                let has = auditor.reader().has(log).await;
                if has.map_err(|error| failed(error.to_string()))? {
                    return Err(failed("the chain has it when it is asked for by itself".into()));
                }
            }
            _ => {}
        }
        Ok(asked)
    }

    async fn leaves(&self, chain: ChainId, message: MessageId) -> Result<Vec<SettlementId>, ReconcilerError> {
        let failed = |reason: String| ReconcilerError::Repair {
            subject: format!("message {message}"),
            reason,
        };
        let store = &self.auditor.store;
        let sent = store
            .find_logs(chain, "message_dispatched", message.0, None, false)
            .await?;
        for log in &sent {
            let read = calldata::read_batch(self.auditor.bodies.as_ref(), log.tx_hash, message).await;
            if let Some((_, ids)) = read.map_err(|error| failed(error.to_string()))?
                && !ids.is_empty()
            {
                return Ok(ids);
            }
        }
        Err(failed(
            "no transaction of the outbox that is known carries its leaves".into(),
        ))
    }

    /// Closes the drift when the difference is gone.
    async fn close(
        &self,
        finding: &Finding,
        what: String,
        by: &str,
        now_ms: i64,
    ) -> Result<RepairLine, ReconcilerError> {
        let auditor = &self.auditor;
        let Some((_, patience)) = auditor.horizon().await? else {
            return Ok(line(finding, Repaired::Not, "the chain has not been read".into()));
        };
        if !auditor.is_gone(&finding.drift, &patience).await? {
            let why = format!("{what}: done, and it still differs");
            return Ok(line(finding, Repaired::Not, why));
        }
        let drift = &finding.drift;
        let mut txn = auditor.store.begin(now_ms).await?;
        txn.resolve_drift(
            drift.class,
            drift.chain,
            &drift.subject,
            &format!("repaired by {by}: {what}"),
        )
        .await?;
        txn.commit().await?;
        Ok(line(finding, Repaired::Done, what))
    }
}

/// Those of a log's transaction that are missing.
fn of_transaction(all: &[Finding], log: &NewChainLog) -> Vec<NewChainLog> {
    let mut logs: Vec<NewChainLog> = Vec::new();
    for finding in all {
        if let Remedy::PutLogBack(other) = &finding.remedy
            && (other.chain, other.block_hash, other.tx_hash) == (log.chain, log.block_hash, log.tx_hash)
        {
            logs.push((**other).clone());
        }
    }
    logs
}

impl Reconciler {
    /// Books, reverses and ends whatever is due now, once: what a repair has made possible.
    pub async fn catch_up(&self, now_ms: i64) -> Result<(), ReconcilerError> {
        self.reverse_orphaned(now_ms, examine::PAGE as usize).await?;
        self.apply_final(now_ms, examine::PAGE as usize).await?;
        self.expire(now_ms, examine::PAGE as usize).await?;
        Ok(())
    }
}
