//! The three sides of a settlement beside each other: what the ledger has booked, what the outbox committed to, what inbox and vault paid.
//! Pure: a difference is a finding with its class and what would put it right. Nothing is adjusted here.

use super::runs::Run;
use crate::ledger::{AccountKind, EventRef, Payout, Reason};
use crate::settlement::states::SettlementState;
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::store::{
    ChainLog, Drift, DriftAbout, DriftClass, Evidence, MessageBooks, Movement, NewChainLog, PaidLog, Payment,
    SettlementBooks,
};
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::tree;
use std::collections::{HashMap, HashSet};

/// What would put a difference right.
#[derive(Debug, Clone, PartialEq)]
pub enum Remedy {
    /// The chain has a log that is not stored: store it, and let it be booked.
    PutLogBack(Box<NewChainLog>),
    /// A stored log is on no chain: what it caused is taken back.
    DropLog(Box<ChainLog>),
    /// The ledger has not booked a transaction, or not all of it.
    BookAgain { chain: ChainId, tx: B256 },
    /// The payment's postings or its state are missing. Whether its fee is income is looked up by message.
    BookPayment { settlement: SettlementId, payment: Payment },
    /// The reservation, or its release.
    BookReservation(SettlementId),
    /// Postings that are there too often.
    TakeBack(Vec<i64>),
    /// The outbox's calldata knows the leaves.
    PutLeavesBack { chain: ChainId, message: MessageId },
    /// It waits for nothing any more: its proof of expiry can be taken now.
    Expire(ChainId),
    /// The database does not know what the chains say it did: `relayer recover`.
    Recover,
    /// Somebody must look.
    Operator,
}

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub drift: Drift,
    pub about: DriftAbout,
    pub remedy: Remedy,
}

/// How late is too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Timestamp of the newest final block that was compared, Unix seconds.
    pub now: u64,
    /// Seconds a final log may wait to be booked, and a settlement past its deadline to end.
    pub seconds: u64,
}

impl Patience {
    pub(super) fn over(&self, since: u64) -> bool {
        self.now > since.saturating_add(self.seconds)
    }
}

/// Name of a settlement in the list of drifts.
pub fn settlement_subject(id: SettlementId) -> String {
    format!("settlement {id}")
}

pub fn message_subject(id: MessageId) -> String {
    format!("message {id}")
}

struct Of<'a>(&'a SettlementBooks);

impl Of<'_> {
    fn finding(&self, class: DriftClass, expected: String, actual: String, remedy: Remedy) -> Finding {
        Finding {
            drift: Drift {
                class,
                chain: self.0.target,
                subject: settlement_subject(self.0.id),
                expected,
                actual,
            },
            about: DriftAbout {
                token: Some(self.0.token),
                settlement: Some(self.0.id),
                block: None,
            },
            remedy,
        }
    }

    fn standing(&self, reasons: &[Reason]) -> Vec<&Movement> {
        let wanted = |movement: &&Movement| reasons.contains(&movement.reason);
        self.0.movements.iter().filter(wanted).collect()
    }

    fn payments(&self) -> Vec<&Movement> {
        self.standing(&[Reason::Payment, Reason::Credit, Reason::External])
    }
}

fn sum(movements: &[&Movement]) -> U256 {
    movements
        .iter()
        .fold(U256::ZERO, |sum, movement| sum.saturating_add(movement.amount))
}

/// One settlement of the books against the payments its target chain tells of. Of one side that was pruned nothing is said.
pub fn check_settlement(books: &SettlementBooks, paid: &[PaidLog], patience: &Patience) -> Vec<Finding> {
    let of = Of(books);
    let mut found = Vec::new();
    if books.archived || books.state == SettlementState::Disputed {
        return found;
    }
    let here: Vec<&PaidLog> = paid.iter().filter(|log| log.inbox == books.inbox).collect();
    if here.len() > 1 {
        let blocks: Vec<String> = here.iter().map(|log| log.block_number.to_string()).collect();
        let expected = "paid once".to_owned();
        let actual = format!("paid in blocks {}", blocks.join(", "));
        found.push(of.finding(DriftClass::Duplicate, expected, actual, Remedy::Operator));
    }
    if let Some(log) = here
        .iter()
        .find(|log| (log.payer, log.nonce) != (books.payer, books.nonce))
    {
        let expected = format!("payer {} nonce {}", books.payer, books.nonce);
        let actual = format!("payer {} nonce {}", log.payer, log.nonce);
        found.push(of.finding(DriftClass::Payee, expected, actual, Remedy::Operator));
    }
    match here.first() {
        Some(log) if books.state == SettlementState::Settled || log.booked || patience.over(log.block_timestamp) => {
            check_paid(&of, log, &mut found);
        }
        // Final a moment ago; the ledger is about to book it.
        Some(_) => {}
        None => check_unpaid(&of, patience, &mut found),
    }
    found
}

fn check_paid(of: &Of<'_>, log: &PaidLog, found: &mut Vec<Finding>) {
    let books = of.0;
    let remedy = || Remedy::BookPayment {
        settlement: books.id,
        payment: payment_of(log),
    };
    let before = found.len();
    if books.state != SettlementState::Settled {
        let expected = format!("settled: paid in block {} ({})", log.block_number, log.tx);
        found.push(of.finding(DriftClass::Missing, expected, books.state.to_string(), remedy()));
    }
    if is_recalled(of) {
        return;
    }
    let payments = of.payments();
    match payments.as_slice() {
        [] if !books.amount.is_zero() => {
            let expected = format!("a payment of {} booked", books.amount);
            found.push(of.finding(DriftClass::Missing, expected, "none".into(), remedy()));
        }
        [] => {}
        [one] => check_payment(of, one, found),
        [one, rest @ ..] => {
            let extra = rest.iter().map(|movement| movement.posting).collect();
            let expected = format!("one payment of {}", one.amount);
            let actual = format!("{} payments, {} together", payments.len(), sum(&payments));
            found.push(of.finding(DriftClass::Duplicate, expected, actual, Remedy::TakeBack(extra)));
        }
    }
    let fees = of.standing(&[Reason::Fee]);
    if let [_, rest @ ..] = fees.as_slice()
        && !rest.is_empty()
    {
        let extra = rest.iter().map(|movement| movement.posting).collect();
        let actual = format!("{} fees, {} together", fees.len(), sum(&fees));
        found.push(of.finding(DriftClass::Duplicate, "one fee".into(), actual, Remedy::TakeBack(extra)));
    } else if sum(&fees) != books.fee && found.len() == before {
        let remedy = if fees.is_empty() { remedy() } else { Remedy::Operator };
        let expected = format!("fee {}", books.fee);
        found.push(of.finding(DriftClass::Amount, expected, format!("fee {}", sum(&fees)), remedy));
    }
    // Money that ended unpaid and was paid all the same left the available balance: there the reservation is released, which is right.
    let reserved = payments.iter().any(|movement| movement.reason != Reason::External);
    if reserved && payments.len() == 1 {
        check_reservation(of, false, found);
    }
}

/// Paid before this database knew of it (docs/recovery.md). Its run was booked as a whole, as external, under the first of its settlements, so
/// that no sum is its own; the run's sums and the vault's are compared all the same. Whatever was accepted first has a reservation.
fn is_recalled(of: &Of<'_>) -> bool {
    let own = [Reason::Accept, Reason::Payment, Reason::Credit, Reason::Fee];
    of.0.state == SettlementState::Settled && of.standing(&own).is_empty()
}

fn check_payment(of: &Of<'_>, payment: &Movement, found: &mut Vec<Finding>) {
    let books = of.0;
    if payment.amount != books.amount {
        let (expected, actual) = (books.amount.to_string(), payment.amount.to_string());
        found.push(of.finding(DriftClass::Amount, expected, actual, Remedy::Operator));
    }
    let (kind, holder) = payment.to;
    if holder != books.payee || !matches!(kind, AccountKind::Payee | AccountKind::Unclaimed) {
        let expected = format!("payee {}", books.payee);
        found.push(of.finding(
            DriftClass::Payee,
            expected,
            format!("{kind} {holder}"),
            Remedy::Operator,
        ));
    }
}

fn check_unpaid(of: &Of<'_>, patience: &Patience, found: &mut Vec<Finding>) {
    let books = of.0;
    if books.state == SettlementState::Settled {
        let expected = "not settled: the chain tells of no payment".to_owned();
        found.push(of.finding(DriftClass::Missing, expected, "settled".into(), Remedy::Operator));
        return;
    }
    let payments = of.payments();
    if !payments.is_empty() {
        let rows = payments.iter().map(|movement| movement.posting).collect();
        let actual = format!("{} booked as paid", sum(&payments));
        found.push(of.finding(
            DriftClass::Amount,
            "nothing paid".into(),
            actual,
            Remedy::TakeBack(rows),
        ));
        return;
    }
    check_reservation(of, books.state.ended_unpaid(), found);
    if !books.state.is_terminal() && patience.over(books.deadline) {
        let expected = format!("ended: its deadline {} is final", books.deadline);
        let remedy = Remedy::Expire(books.target);
        found.push(of.finding(DriftClass::Stale, expected, books.state.to_string(), remedy));
    }
}

/// Amount and fee were set aside once, and released once if it ended unpaid.
fn check_reservation(of: &Of<'_>, released: bool, found: &mut Vec<Finding>) {
    let books = of.0;
    let total = books.amount.saturating_add(books.fee);
    let sides = [
        (Reason::Accept, total),
        (Reason::Release, if released { total } else { U256::ZERO }),
    ];
    for (reason, expected) in sides {
        let standing = of.standing(&[reason]);
        let actual = sum(&standing);
        if actual == expected {
            continue;
        }
        let (class, remedy) = match standing.as_slice() {
            [] => (DriftClass::Missing, Remedy::BookReservation(books.id)),
            [_] if expected.is_zero() => (
                DriftClass::Amount,
                Remedy::TakeBack(standing.iter().map(|movement| movement.posting).collect()),
            ),
            [one, rest @ ..] if !rest.is_empty() && one.amount == expected => (
                DriftClass::Duplicate,
                Remedy::TakeBack(rest.iter().map(|movement| movement.posting).collect()),
            ),
            _ => (DriftClass::Amount, Remedy::Operator),
        };
        let (expected, actual) = (format!("{reason} {expected}"), format!("{reason} {actual}"));
        found.push(of.finding(class, expected, actual, remedy));
    }
}

/// The payment a log tells of. Whose the fee is depends on the message, which is looked up when it is booked.
pub fn payment_of(log: &PaidLog) -> Payment {
    Payment {
        evidence: Evidence {
            block_number: log.block_number,
            block_hash: log.event.block,
            tx: Some(log.tx),
        },
        payout: if log.credited { Payout::Credited } else { Payout::Paid },
        fee_is_ours: true,
        event: log.event,
    }
}

/// What the books know of the settlements and messages of some runs.
#[derive(Debug, Default)]
pub struct Known {
    pub settlements: HashMap<SettlementId, SettlementBooks>,
    /// Payments of others that were posted, and as what.
    pub posted: HashMap<EventRef, Reason>,
}

/// One run of payments of an execution against the terms of its members: one transfer, so one payee, one token and the sum of their amounts.
pub fn check_run(run: &Run, chain: ChainId, inbox: Address, tx: B256, known: &Known) -> Vec<Finding> {
    let mut found = Vec::new();
    let (mut amount, mut fee) = (U256::ZERO, U256::ZERO);
    let mut strangers = Vec::new();
    for item in &run.items {
        let books = known.settlements.get(&item.id);
        let Some(books) = books.filter(|books| books.target == chain && books.inbox == inbox) else {
            strangers.push(item);
            continue;
        };
        amount = amount.saturating_add(books.amount);
        fee = fee.saturating_add(books.fee);
        let expected = (books.payer, books.payee, books.token);
        let actual = (run.payer, run.payee, run.token);
        if expected != actual {
            let of = Of(books);
            let text = |(payer, payee, token): (Address, Address, Address)| {
                format!("payer {payer} payee {payee} token {token}")
            };
            found.push(of.finding(DriftClass::Payee, text(expected), text(actual), Remedy::Operator));
        }
    }
    let unknown = |class, subject: String, settlement, expected: &str, actual: String, remedy| Finding {
        drift: Drift {
            class,
            chain,
            subject,
            expected: expected.to_owned(),
            actual,
        },
        about: DriftAbout {
            token: Some(run.token),
            settlement,
            block: None,
        },
        remedy,
    };
    for item in &strangers {
        // Payments of terms nobody accepted here are booked as external; this one was accepted once.
        let accepted = known
            .posted
            .get(&item.event)
            .is_some_and(|reason| *reason != Reason::External);
        if accepted {
            let actual = format!("paid by {tx}, and its row is gone");
            let subject = settlement_subject(item.id);
            let remedy = Remedy::Operator;
            found.push(unknown(
                DriftClass::Missing,
                subject,
                Some(item.id),
                "on the books",
                actual,
                remedy,
            ));
        }
    }
    let more = amount > run.amount || fee > run.fee;
    if more || (strangers.is_empty() && (amount, fee) != (run.amount, run.fee)) {
        let subject = run
            .items
            .first()
            .map_or_else(String::new, |item| settlement_subject(item.id));
        let expected = format!("{amount} and {fee} of fees");
        let actual = format!("{} and {} of fees", run.amount, run.fee);
        let settlement = run.items.first().map(|item| item.id);
        found.push(unknown(
            DriftClass::Amount,
            subject,
            settlement,
            &expected,
            actual,
            Remedy::Operator,
        ));
    }
    if let Some(first) = strangers.first()
        && !known.posted.contains_key(&first.event)
        && !run.amount.saturating_sub(amount).is_zero()
    {
        let actual = format!(
            "{} of payer {} paid by {tx}",
            run.amount.saturating_sub(amount),
            run.payer
        );
        found.push(unknown(
            DriftClass::Unknown,
            settlement_subject(first.id),
            Some(first.id),
            "booked, whoever sent it",
            actual,
            Remedy::BookAgain { chain, tx },
        ));
    }
    found
}

/// A batch on the books against its own root: the leaves the outbox committed to.
pub fn check_message(books: &MessageBooks, root: B256, count: u32) -> Option<Finding> {
    let actual = tree::root(&books.leaves);
    if actual == Ok(root) && u32::try_from(books.leaves.len()) == Ok(count) {
        return None;
    }
    let text = actual.map_or_else(|_| "no root".to_owned(), |actual| format!("root {actual}"));
    Some(Finding {
        drift: Drift {
            class: DriftClass::Root,
            chain: books.source,
            subject: message_subject(books.id),
            expected: format!("root {root} of {count}"),
            actual: format!("{text} of {}", books.leaves.len()),
        },
        about: DriftAbout::default(),
        remedy: Remedy::PutLeavesBack {
            chain: books.source,
            message: books.id,
        },
    })
}

/// Logs as the audit read them against those that are stored, of the same blocks. `absent` are those of the stored ones of which it is known that
/// the chain does not have them: that nothing was told of one is not enough.
pub fn check_logs(
    chain: ChainId,
    read: &[NewChainLog],
    stored: &[ChainLog],
    absent: &HashSet<(B256, u64)>,
) -> Vec<Finding> {
    let finding = |class, (subject, block): (String, u64), expected: String, actual: String, remedy| Finding {
        drift: Drift {
            class,
            chain,
            subject,
            expected,
            actual,
        },
        about: DriftAbout {
            block: Some(block),
            ..DriftAbout::default()
        },
        remedy,
    };
    let by_place: HashMap<(B256, u64), &ChainLog> = stored
        .iter()
        .map(|log| ((log.block_hash, log.log_index), log))
        .collect();
    let mut found = Vec::new();
    for log in read {
        match by_place.get(&(log.block_hash, log.log_index)) {
            None => found.push(finding(
                DriftClass::Missing,
                (
                    format!("log {chain}:{}:{}", log.block_hash, log.log_index),
                    log.block_number,
                ),
                format!("{} of block {}", log.kind, log.block_number),
                "not read by the observer".into(),
                Remedy::PutLogBack(Box::new(log.clone())),
            )),
            Some(known) if !same(log, known) => found.push(finding(
                DriftClass::Amount,
                (format!("log {}", known.reference()), log.block_number),
                format!("{} {} {} {}", log.kind, log.key, log.key2, log.amount),
                format!("{} {} {} {}", known.kind, known.key, known.key2, known.amount),
                Remedy::Operator,
            )),
            Some(_) => {}
        }
    }
    for log in stored {
        if absent.contains(&(log.block_hash, log.log_index)) {
            found.push(finding(
                DriftClass::Unknown,
                (format!("log {}", log.reference()), log.block_number),
                "on the chain".into(),
                format!("{} of block {} is only in the database", log.kind, log.block_number),
                Remedy::DropLog(Box::new(log.clone())),
            ));
        }
    }
    found
}

fn same(read: &NewChainLog, stored: &ChainLog) -> bool {
    read.kind == stored.kind
        && read.key == stored.key
        && read.key2 == stored.key2
        && read.amount == stored.amount
        && read.tx_hash == stored.tx_hash
        && read.address == stored.address
}
