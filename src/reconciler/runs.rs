//! What one transaction paid to whom, read from its logs. Pure.
//!
//! The inbox emits `SettlementPaid` for each settlement of a section, then `RunsPaid` with the sums of its runs, one after the other. The
//! vault's `Credited` come before them: one per run whose transfer failed, and one when the transfer of the fees did.

use super::error::ReconcilerError;
use crate::ledger::{EventRef, Payout};
use crate::settlement::{MessageId, SettlementId};
use crate::store::ChainLog;
use alloy::primitives::{Address, U256};
use serde_json::Value;
use std::collections::VecDeque;

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
    /// The first `SettlementPaid`: runs of a section share their `RunsPaid`.
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
    let mut open: VecDeque<&ChainLog> = VecDeque::new();
    for log in logs {
        match log.kind.as_str() {
            "settlement_paid" => open.push_back(log),
            "runs_paid" => {
                let entries = log.detail["runs"]
                    .as_array()
                    .ok_or_else(|| broken(log, "it has no runs"))?;
                for entry in entries {
                    runs.push(run(log, entry, &mut open)?);
                }
                if !open.is_empty() {
                    return Err(broken(
                        log,
                        format!("{} settlements before it are in no run", open.len()),
                    ));
                }
            }
            _ => {}
        }
    }
    match open.front() {
        Some(log) => Err(broken(log, "no RunsPaid follows it")),
        None => Ok(runs),
    }
}

/// Takes the settlements of one entry of `RunsPaid` off the front of those that precede it.
fn run(log: &ChainLog, entry: &Value, open: &mut VecDeque<&ChainLog>) -> Result<Run, ReconcilerError> {
    let count = number(log, entry, "count")?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || count > open.len() {
        return Err(broken(
            log,
            format!("a run counts {count} settlements, {} are left", open.len()),
        ));
    }
    let items: Vec<&ChainLog> = open.drain(..count).collect();
    // Bit 255 of the amount column says credited, the rest is the nonce.
    let credited = items[0].amount.bit(255);
    if items.iter().any(|item| item.amount.bit(255) != credited) {
        return Err(broken(
            log,
            "settlements of one run disagree on whether they were credited",
        ));
    }
    let payer = account(log, &log.detail, "payer")?;
    if let Some(stray) = items.iter().find(|item| Address::from_word(item.key2) != payer) {
        return Err(broken(stray, "its payer is not the run's"));
    }
    Ok(Run {
        message: MessageId(log.key),
        token: account(log, &log.detail, "token")?,
        payer,
        payee: account(log, entry, "payee")?,
        amount: number(log, entry, "amount")?,
        fee: number(log, entry, "fee")?,
        payout: if credited { Payout::Credited } else { Payout::Paid },
        items: items
            .iter()
            .map(|item| Item {
                id: SettlementId(item.key),
                nonce: item.amount & (U256::MAX >> 1usize),
                event: event_of(item),
            })
            .collect(),
        event: event_of(items[0]),
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

fn number(log: &ChainLog, of: &Value, field: &str) -> Result<U256, ReconcilerError> {
    let value = &of[field];
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse()
        .map_err(|_| broken(log, format!("{field} is {text:?}, not a number")))
}

fn account(log: &ChainLog, of: &Value, field: &str) -> Result<Address, ReconcilerError> {
    let text = of[field].as_str().unwrap_or_default();
    text.parse()
        .map_err(|_| broken(log, format!("{field} is {text:?}, not an address")))
}
