//! From business facts to postings, and from postings to new balances.

use super::accounts::{AccountKey, AccountKind, Asset, Balance, BalanceError};
use crate::names::names;
use crate::settlement::terms::Terms;
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::{ChainId, SettlementId};
use std::collections::BTreeMap;
use std::fmt;

names! {
    /// What happened.
    Reason, "reason of a posting" {
        Deposit = "deposit",
        Withdrawal = "withdrawal",
        /// A settlement was accepted: amount and fee are reserved.
        Accept = "accept",
        Payment = "payment",
        /// The settlement's fee, to our fee recipient.
        Fee = "fee",
        /// The transfer failed and the vault owes the payee.
        Credit = "credit",
        Claim = "claim",
        /// A settlement ended unpaid: its reservation is free again.
        Release = "release",
        /// A payment of terms we never accepted.
        External = "external",
        BridgeFee = "bridge_fee",
        GasFee = "gas_fee",
        Reversal = "reversal",
    }
}

impl Reason {
    /// Our own decision, which must not be made when the balance is short. Everything else has happened on a chain and is
    /// booked whatever the balance, so that the books show the shortfall.
    pub fn is_decision(self) -> bool {
        self == Self::Accept
    }
}

/// One log, named so that a reorg cannot change what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventRef {
    pub chain: ChainId,
    pub block: B256,
    pub log_index: u64,
}

/// On whose word a posting was made. As text it is unique per cause, so that a fact is posted once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The API accepted a settlement.
    Accepted(SettlementId),
    /// A finalized event.
    Event(EventRef),
    /// Finalized proof without an event of its own: the deadline passed with the nonce free.
    Proof { settlement: SettlementId, block: B256 },
    /// A transaction of ours was mined.
    Transaction { chain: ChainId, hash: B256 },
    /// An operator, with the words it gave.
    Operator(String),
    /// Another posting, by its row number, turned out not to hold.
    Reversal { posting: i64 },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(settlement) => write!(f, "accepted:{settlement}"),
            Self::Event(event) => write!(f, "event:{}:{}:{}", event.chain, event.block, event.log_index),
            Self::Proof { settlement, block } => write!(f, "proof:{settlement}:{block}"),
            Self::Transaction { chain, hash } => write!(f, "transaction:{chain}:{hash}"),
            Self::Operator(note) => write!(f, "operator:{note}"),
            Self::Reversal { posting } => write!(f, "reversal:{posting}"),
        }
    }
}

/// One row: `amount` leaves the debit account and enters the credit account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    pub debit: AccountKey,
    pub credit: AccountKey,
    /// Never zero; in the base unit of the accounts' common asset.
    pub amount: U256,
    pub reason: Reason,
    pub settlement: Option<SettlementId>,
    pub cause: Cause,
}

impl Posting {
    /// The new entry that takes this one back; `posting` is the row number of this one.
    pub fn reversed(&self, posting: i64) -> Self {
        Self {
            debit: self.credit,
            credit: self.debit,
            amount: self.amount,
            reason: Reason::Reversal,
            settlement: self.settlement,
            cause: Cause::Reversal { posting },
        }
    }
}

/// The money side of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obligation {
    pub settlement: SettlementId,
    pub asset: Asset,
    pub payer: Address,
    pub payee: Address,
    pub amount: U256,
    pub fee: U256,
}

/// How the vault paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payout {
    /// The transfer arrived.
    Paid,
    /// The transfer failed; the payee can claim.
    Credited,
}

impl Obligation {
    /// Of terms payable on `target`.
    pub fn new(settlement: SettlementId, target: ChainId, terms: &Terms) -> Self {
        Self {
            settlement,
            asset: Asset {
                chain: target,
                token: terms.token,
            },
            payer: terms.payer,
            payee: terms.payee,
            amount: terms.amount,
            fee: terms.fee,
        }
    }

    /// Accepted: amount and fee are set aside.
    pub fn accept(&self) -> Vec<Posting> {
        let (available, reserved) = (self.available(), self.reserved());
        let total = self.amount.saturating_add(self.fee); // both fit 96 bits
        let cause = Cause::Accepted(self.settlement);
        self.rows(&cause, [(available, reserved, total, Reason::Accept)])
    }

    /// Executed on chain out of its reservation, by whomever.
    pub fn executed(&self, payout: Payout, event: EventRef) -> Vec<Posting> {
        let income = AccountKey::fees_income(self.asset);
        let reason = match payout {
            Payout::Paid => Reason::Payment,
            Payout::Credited => Reason::Credit,
        };
        self.rows(
            &Cause::Event(event),
            [
                (self.reserved(), self.destination(payout), self.amount, reason),
                (self.reserved(), income, self.fee, Reason::Fee),
            ],
        )
    }

    /// Ended unpaid, on finalized proof: the reservation is free again.
    pub fn ended_unpaid(&self, cause: &Cause) -> Vec<Posting> {
        let total = self.amount.saturating_add(self.fee); // both fit 96 bits
        self.rows(cause, [(self.reserved(), self.available(), total, Reason::Release)])
    }

    /// Terms we never accepted were executed: what the vault debited was never reserved. The fee is our income only if the
    /// message named our fee recipient.
    pub fn paid_by_stranger(&self, payout: Payout, fee_is_ours: bool, event: EventRef) -> Vec<Posting> {
        let fee_to = if fee_is_ours {
            AccountKey::fees_income(self.asset)
        } else {
            AccountKey::external(self.asset)
        };
        self.rows(
            &Cause::Event(event),
            [
                (
                    self.available(),
                    self.destination(payout),
                    self.amount,
                    Reason::External,
                ),
                (self.available(), fee_to, self.fee, Reason::Fee),
            ],
        )
    }

    fn available(&self) -> AccountKey {
        AccountKey::available(self.asset, self.payer)
    }

    fn reserved(&self) -> AccountKey {
        AccountKey::reserved(self.asset, self.payer)
    }

    fn destination(&self, payout: Payout) -> AccountKey {
        match payout {
            Payout::Paid => AccountKey::payee(self.asset, self.payee),
            Payout::Credited => AccountKey::unclaimed(self.asset, self.payee),
        }
    }

    fn rows<const N: usize>(&self, cause: &Cause, moves: [(AccountKey, AccountKey, U256, Reason); N]) -> Vec<Posting> {
        moves
            .into_iter()
            .filter_map(|(debit, credit, amount, reason)| {
                row(debit, credit, amount, reason, Some(self.settlement), cause.clone())
            })
            .collect()
    }
}

/// A finalized deposit of a payer.
pub fn deposit_finalized(asset: Asset, payer: Address, amount: U256, event: EventRef) -> Option<Posting> {
    let (from, to) = (AccountKey::external(asset), AccountKey::available(asset, payer));
    row(from, to, amount, Reason::Deposit, None, Cause::Event(event))
}

/// A payer took deposits out of the vault.
pub fn withdrawn(asset: Asset, payer: Address, amount: U256, event: EventRef) -> Option<Posting> {
    let (from, to) = (AccountKey::available(asset, payer), AccountKey::external(asset));
    row(from, to, amount, Reason::Withdrawal, None, Cause::Event(event))
}

/// A payee took what the vault owed it; one claim may cover many settlements.
pub fn claimed(asset: Asset, payee: Address, amount: U256, event: EventRef) -> Option<Posting> {
    let (from, to) = (AccountKey::unclaimed(asset, payee), AccountKey::payee(asset, payee));
    row(from, to, amount, Reason::Claim, None, Cause::Event(event))
}

/// A bridge was paid in the source chain's coin.
pub fn bridge_fee(chain: ChainId, amount: U256, transaction: B256) -> Option<Posting> {
    let asset = Asset::native(chain);
    cost(AccountKey::fees_bridge(asset), amount, Reason::BridgeFee, transaction)
}

/// A transaction of ours burnt gas, whether it succeeded or not.
pub fn gas_fee(chain: ChainId, amount: U256, transaction: B256) -> Option<Posting> {
    let asset = Asset::native(chain);
    cost(AccountKey::fees_gas(asset), amount, Reason::GasFee, transaction)
}

fn cost(account: AccountKey, amount: U256, reason: Reason, hash: B256) -> Option<Posting> {
    let asset = account.asset();
    let chain = asset.chain;
    let cause = Cause::Transaction { chain, hash };
    row(AccountKey::external(asset), account, amount, reason, None, cause)
}

/// A row, unless it would move nothing.
fn row(
    debit: AccountKey,
    credit: AccountKey,
    amount: U256,
    reason: Reason,
    settlement: Option<SettlementId>,
    cause: Cause,
) -> Option<Posting> {
    (!amount.is_zero()).then_some(Posting {
        debit,
        credit,
        amount,
        reason,
        settlement,
        cause,
    })
}

/// The balances after a set of postings, one per account touched and in lock order; refuses the whole set if one account
/// would be in a state that cannot be.
///
/// Reserved and unclaimed money can never be short. Available money can be short only through what happened on a chain,
/// never through a decision of ours in the set.
pub fn new_balances(
    postings: &[Posting],
    current: impl Fn(&AccountKey) -> Balance,
) -> Result<BTreeMap<AccountKey, Balance>, BalanceError> {
    let mut deltas: BTreeMap<AccountKey, (Balance, bool)> = BTreeMap::new();
    for posting in postings {
        let debit = Balance {
            debits: posting.amount,
            credits: U256::ZERO,
        };
        let credit = Balance {
            debits: U256::ZERO,
            credits: posting.amount,
        };
        for (account, change, decided) in [
            (posting.debit, debit, posting.reason.is_decision()),
            (posting.credit, credit, false),
        ] {
            let (delta, decision) = deltas.entry(account).or_default();
            *delta = delta.plus(&change).ok_or(BalanceError::Overflow(account))?;
            *decision |= decided;
        }
    }
    deltas
        .into_iter()
        .map(|(account, (delta, decision))| {
            let balance = current(&account).plus(&delta).ok_or(BalanceError::Overflow(account))?;
            let guarded = match account.kind() {
                AccountKind::Reserved | AccountKind::Unclaimed => true,
                AccountKind::Available => decision,
                _ => false,
            };
            let short = balance.shortfall();
            if guarded && !short.is_zero() {
                return Err(BalanceError::Short { account, short });
            }
            Ok((account, balance))
        })
        .collect()
}
