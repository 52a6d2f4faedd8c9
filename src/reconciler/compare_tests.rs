//! Whatever is wrong with one settlement is found, under its class, and nothing else is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::compare::*;
use super::runs::{Item, Run};
use crate::ledger::{AccountKind, EventRef, Payout, Reason};
use crate::settlement::states::SettlementState;
use crate::settlement::{ChainId, MessageId, SettlementId};
use crate::store::{DriftClass, MessageBooks, Movement, PaidLog, SettlementBooks};
use alloy::primitives::{Address, B256, U256};
use proptest::prelude::*;
use relayer_adapter_api::tree;
use std::collections::HashMap;

const CHAIN: ChainId = ChainId(7);
const INBOX: Address = Address::repeat_byte(1);
const PAYER: Address = Address::repeat_byte(2);
const PAYEE: Address = Address::repeat_byte(3);
const TOKEN: Address = Address::repeat_byte(4);
const TX: B256 = B256::repeat_byte(5);
const SOON: Patience = Patience {
    now: 1_000,
    seconds: 600,
};

fn movement(posting: i64, reason: Reason, amount: u64, to: (AccountKind, Address)) -> Movement {
    Movement {
        posting,
        reason,
        amount: U256::from(amount),
        to,
    }
}

fn books(state: SettlementState, amount: u64, fee: u64) -> SettlementBooks {
    let mut movements = vec![movement(
        1,
        Reason::Accept,
        amount + fee,
        (AccountKind::Reserved, PAYER),
    )];
    if state == SettlementState::Settled {
        movements.push(movement(2, Reason::Payment, amount, (AccountKind::Payee, PAYEE)));
        if fee > 0 {
            movements.push(movement(3, Reason::Fee, fee, (AccountKind::FeesIncome, Address::ZERO)));
        }
    }
    if state.ended_unpaid() {
        movements.push(movement(
            2,
            Reason::Release,
            amount + fee,
            (AccountKind::Available, PAYER),
        ));
    }
    SettlementBooks {
        row: 1,
        id: SettlementId(B256::repeat_byte(9)),
        target: CHAIN,
        inbox: INBOX,
        payer: PAYER,
        payee: PAYEE,
        token: TOKEN,
        amount: U256::from(amount),
        fee: U256::from(fee),
        nonce: U256::from(41),
        deadline: 900,
        state,
        archived: false,
        movements,
    }
}

fn paid(block: u64) -> PaidLog {
    PaidLog {
        log: 1,
        chain: CHAIN,
        event: EventRef {
            chain: CHAIN,
            block: B256::with_last_byte(block as u8),
            log_index: 0,
        },
        block_number: block,
        block_timestamp: 500,
        tx: TX,
        inbox: INBOX,
        payer: PAYER,
        nonce: U256::from(41),
        credited: false,
        booked: true,
    }
}

fn classes(books: &SettlementBooks, paid: &[PaidLog]) -> Vec<DriftClass> {
    let mut classes: Vec<DriftClass> = check_settlement(books, paid, &SOON)
        .into_iter()
        .map(|finding| finding.drift.class)
        .collect();
    classes.dedup();
    classes
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    NoPayment,
    TwoPayments,
    LessPaid,
    OtherPayee,
    NoFee,
    NoReservation,
    TwoReservations,
    NotSettled,
    PaidTwiceOnChain,
    NotOnChain,
    OtherNonce,
}

const FAULTS: [Fault; 12] = [
    Fault::None,
    Fault::NoPayment,
    Fault::TwoPayments,
    Fault::LessPaid,
    Fault::OtherPayee,
    Fault::NoFee,
    Fault::NoReservation,
    Fault::TwoReservations,
    Fault::NotSettled,
    Fault::PaidTwiceOnChain,
    Fault::NotOnChain,
    Fault::OtherNonce,
];

fn injected(fault: Fault, amount: u64, fee: u64) -> (SettlementBooks, Vec<PaidLog>, Vec<DriftClass>) {
    let mut books = books(SettlementState::Settled, amount, fee);
    let mut logs = vec![paid(5)];
    let classes = match fault {
        Fault::None => vec![],
        Fault::NoPayment => {
            books.movements.retain(|one| one.reason != Reason::Payment);
            vec![DriftClass::Missing]
        }
        Fault::TwoPayments => {
            let again = movement(9, Reason::Payment, amount, (AccountKind::Payee, PAYEE));
            books.movements.push(again);
            vec![DriftClass::Duplicate]
        }
        Fault::LessPaid => {
            books.movements[1].amount -= U256::from(1);
            vec![DriftClass::Amount]
        }
        Fault::OtherPayee => {
            books.movements[1].to.1 = PAYER;
            vec![DriftClass::Payee]
        }
        Fault::NoFee => {
            books.movements.retain(|one| one.reason != Reason::Fee);
            if fee > 0 { vec![DriftClass::Amount] } else { vec![] }
        }
        Fault::NoReservation => {
            books.movements.remove(0);
            vec![DriftClass::Missing]
        }
        Fault::TwoReservations => {
            let again = books.movements[0].clone();
            books.movements.push(again);
            vec![DriftClass::Duplicate]
        }
        Fault::NotSettled => {
            books.state = SettlementState::Delivered;
            vec![DriftClass::Missing]
        }
        Fault::PaidTwiceOnChain => {
            logs.push(paid(6));
            vec![DriftClass::Duplicate]
        }
        Fault::NotOnChain => {
            logs.clear();
            vec![DriftClass::Missing]
        }
        Fault::OtherNonce => {
            logs[0].nonce = U256::from(42);
            vec![DriftClass::Payee]
        }
    };
    (books, logs, classes)
}

proptest! {
    #[test]
    fn every_injected_fault_is_found_under_its_class(
        fault in prop::sample::select(FAULTS.to_vec()), amount in 1..1_000_000u64, fee in 0..1_000u64,
    ) {
        let (books, logs, expected) = injected(fault, amount, fee);
        prop_assert_eq!(classes(&books, &logs), expected, "{:?}", fault);
    }

    #[test]
    fn the_sums_of_a_run_are_those_of_its_members(
        amounts in prop::collection::vec((1..1_000u64, 0..10u64), 1..8), off in 0..3u64, strangers in 0..3usize,
    ) {
        let mut known = Known::default();
        let mut run = Run {
            message: MessageId(B256::ZERO), token: TOKEN, payer: PAYER, payee: PAYEE,
            amount: U256::ZERO, fee: U256::ZERO, payout: Payout::Paid, items: Vec::new(), event: paid(5).event,
        };
        for (index, (amount, fee)) in amounts.iter().enumerate() {
            let mut one = books(SettlementState::Settled, *amount, *fee);
            one.id = SettlementId(B256::with_last_byte(index as u8));
            run.amount += one.amount;
            run.fee += one.fee;
            let event = EventRef { log_index: index as u64, ..run.event };
            run.items.push(Item { id: one.id, nonce: U256::from(index), event });
            if index >= strangers {
                known.settlements.insert(one.id, one);
            } else {
                known.posted.insert(event, Reason::External);
            }
        }
        run.amount += U256::from(off);
        let found = check_run(&run, CHAIN, INBOX, TX, &known);
        // What strangers in the run were paid cannot be told apart from what is too much.
        let all_known = strangers == 0;
        prop_assert_eq!(!found.is_empty(), off > 0 && all_known, "{:?}", found);
    }
}

#[test]
fn what_ended_unpaid_and_what_is_open_has_its_own_rules() {
    let expired = books(SettlementState::Expired, 100, 5);
    assert_eq!(classes(&expired, &[]), vec![]);
    assert_eq!(classes(&expired, &[paid(5)]), vec![DriftClass::Missing]);
    let mut kept = expired.clone();
    kept.movements.pop();
    let found = check_settlement(&kept, &[], &SOON);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].remedy, Remedy::BookReservation(kept.id));
    let open = books(SettlementState::Delivered, 100, 5);
    assert_eq!(classes(&open, &[]), vec![]);
    let late = Patience {
        now: 1_501,
        seconds: 600,
    };
    let stale = check_settlement(&open, &[], &late);
    assert_eq!(
        (stale.len(), stale[0].drift.class, &stale[0].remedy),
        (1, DriftClass::Stale, &Remedy::Expire(CHAIN))
    );
    // A final payment the ledger is about to book is no difference; one it has not booked for long is.
    let fresh = PaidLog {
        booked: false,
        ..paid(5)
    };
    assert_eq!(classes(&open, &[fresh]), vec![]);
    assert!(!check_settlement(&open, &[fresh], &late).is_empty());
}

#[test]
fn the_archived_and_the_disputed_are_left_alone() {
    let mut archived = books(SettlementState::Settled, 100, 5);
    archived.archived = true;
    assert_eq!(classes(&archived, &[]), vec![]);
    let disputed = books(SettlementState::Disputed, 100, 5);
    assert_eq!(classes(&disputed, &[paid(5)]), vec![]);
}

#[test]
fn unbooked_payments_of_strangers_and_lost_rows_are_told_apart() {
    let item = Item {
        id: SettlementId(B256::repeat_byte(8)),
        nonce: U256::from(1),
        event: paid(5).event,
    };
    let run = Run {
        message: MessageId(B256::ZERO),
        token: TOKEN,
        payer: PAYER,
        payee: PAYEE,
        amount: U256::from(50),
        fee: U256::ZERO,
        payout: Payout::Paid,
        items: vec![item],
        event: item.event,
    };
    let class = |known: &Known| {
        let found = check_run(&run, CHAIN, INBOX, TX, known);
        found.first().map(|finding| finding.drift.class)
    };
    let mut known = Known {
        settlements: HashMap::new(),
        ..Known::default()
    };
    assert_eq!(class(&known), Some(DriftClass::Unknown));
    known.posted.insert(item.event, Reason::External);
    assert_eq!(class(&known), None);
    known.posted.insert(item.event, Reason::Payment);
    assert_eq!(class(&known), Some(DriftClass::Missing));
}

#[test]
fn leaves_that_do_not_give_the_root_are_found() {
    let leaves: Vec<B256> = (1..4).map(B256::repeat_byte).collect();
    let root = tree::root(&leaves).unwrap();
    let mut message = MessageBooks {
        row: 1,
        id: MessageId(B256::repeat_byte(7)),
        header: Vec::new(),
        source: CHAIN,
        target: CHAIN,
        state: crate::settlement::states::MessageState::Executed,
        leaves,
    };
    assert_eq!(check_message(&message, root, 3), None);
    message.leaves.swap(0, 1);
    let found = check_message(&message, root, 3).unwrap();
    assert_eq!(found.drift.class, DriftClass::Root);
}
