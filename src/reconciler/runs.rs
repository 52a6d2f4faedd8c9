//! What one transaction paid to whom, read from its logs. Pure.
//!
//! The inbox emits `SettlementPaid` for each settlement of a run, then `RunPaid` with the run's sums. The vault's `Credited` come before
//! them: one per run whose transfer failed, and one when the transfer of the fees did.

use super::error::ReconcilerError;
use crate::ledger::{EventRef, Payout};
use crate::settlement::{MessageId, SettlementId};
use crate::store::ChainLog;
use alloy::primitives::{Address, U256};

/// One transfer to one payee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub message: MessageId,
    pub token: Address,
    pub payer: Address,
    pub payee: Address,
    /// Sums over the items.
    pub amount: U256,
    pub fee: U256,
    pub payout: Payout,
    pub items: Vec<Item>,
    /// `RunPaid`.
    pub event: EventRef,
}

/// One settlement of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    pub id: SettlementId,
    pub nonce: U256,
    /// `SettlementPaid`.
    pub event: EventRef,
}

/// A transfer of fees that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeCredit {
    pub token: Address,
    pub account: Address,
    pub amount: U256,
    pub event: EventRef,
}

pub fn event_of(log: &ChainLog) -> EventRef {
    EventRef {
        chain: log.chain,
        block: log.block_hash,
        log_index: log.log_index,
    }
}

fn broken(log: &ChainLog, reason: impl Into<String>) -> ReconcilerError {
    ReconcilerError::Log {
        log: log.reference(),
        reason: reason.into(),
    }
}

/// The runs of a transaction, in order. `logs` are all its logs, in order.
pub fn runs(logs: &[ChainLog]) -> Result<Vec<Run>, ReconcilerError> {
    let mut runs = Vec::new();
    let mut open: Vec<(&ChainLog, bool)> = Vec::new();
    for log in logs {
        match log.kind.as_str() {
            // Bit 255 of the amount column says credited, the rest is the nonce.
            "settlement_paid" => open.push((log, log.amount.bit(255))),
            "run_paid" => {
                let items = std::mem::take(&mut open);
                runs.push(run(log, &items)?);
            }
            _ => {}
        }
    }
    match open.first() {
        Some((log, _)) => Err(broken(log, "no RunPaid follows it")),
        None => Ok(runs),
    }
}

fn run(log: &ChainLog, items: &[(&ChainLog, bool)]) -> Result<Run, ReconcilerError> {
    let count = number(log, "count")?;
    if count != U256::from(items.len()) {
        return Err(broken(
            log,
            format!("it counts {count} settlements, {} precede it", items.len()),
        ));
    }
    let credited = items.first().is_some_and(|(_, credited)| *credited);
    if items.iter().any(|(_, other)| *other != credited) {
        return Err(broken(log, "its settlements disagree on whether they were credited"));
    }
    let payer = account(log, "payer")?;
    if let Some((stray, _)) = items.iter().find(|(item, _)| Address::from_word(item.key2) != payer) {
        return Err(broken(stray, "its payer is not the run's"));
    }
    Ok(Run {
        message: MessageId(log.key),
        token: account(log, "token")?,
        payer,
        payee: account(log, "payee")?,
        amount: number(log, "amount")?,
        fee: number(log, "fee")?,
        payout: if credited { Payout::Credited } else { Payout::Paid },
        items: items
            .iter()
            .map(|(item, _)| Item {
                id: SettlementId(item.key),
                nonce: item.amount & (U256::MAX >> 1usize),
                event: event_of(item),
            })
            .collect(),
        event: event_of(log),
    })
}

/// Credits that are not a run's: what became of fees whose transfer failed.
pub fn fee_credits(logs: &[ChainLog], runs: &[Run]) -> Vec<FeeCredit> {
    let mut of_runs: Vec<&Run> = runs.iter().filter(|run| run.payout == Payout::Credited).collect();
    let mut fees = Vec::new();
    for log in logs.iter().filter(|log| log.kind == "credited") {
        let (account, token) = (Address::from_word(log.key), Address::from_word(log.key2));
        let of_run = of_runs
            .iter()
            .position(|run| run.payee == account && run.token == token && run.amount == log.amount);
        match of_run {
            Some(position) => {
                of_runs.remove(position);
            }
            None => fees.push(FeeCredit {
                token,
                account,
                amount: log.amount,
                event: event_of(log),
            }),
        }
    }
    fees
}

fn number(log: &ChainLog, field: &str) -> Result<U256, ReconcilerError> {
    let value = &log.detail[field];
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse()
        .map_err(|_| broken(log, format!("{field} is {text:?}, not a number")))
}

fn account(log: &ChainLog, field: &str) -> Result<Address, ReconcilerError> {
    let text = log.detail[field].as_str().unwrap_or_default();
    text.parse()
        .map_err(|_| broken(log, format!("{field} is {text:?}, not an address")))
}
