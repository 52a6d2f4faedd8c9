//! Postings: one row per movement, so debits equal credits by construction. A cause posts once, and once more after each time it was
//! taken back.

use super::account::LockedAccounts;
use super::bulk::Insert;
use super::codec::{b256, u256, u256_bytes};
use super::entity::{account, posting};
use super::{NewEvent, Store, StoreError, Txn, packed};
use crate::ledger::{AccountKey, Balance, BalanceError, EventRef, Posting, Reason, new_balances};
use crate::settlement::SettlementId;
use alloy::primitives::{B256, U256};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    AccessMode, ActiveValue::Set, ColumnTrait, Condition, EntityTrait, IsolationLevel, QueryFilter, QueryOrder,
    QuerySelect, TransactionTrait, TryInsertResult, Value,
};
use std::collections::{BTreeMap, BTreeSet};

/// A posting whose cause is new.
const POSTINGS: Insert = Insert {
    table: "posting",
    columns: &[
        "debit_account",
        "credit_account",
        "amount",
        "cause_kind",
        "cause_ref",
        "settlement_id",
        "at_ms",
    ],
    constants: &[],
    tail: "ON CONFLICT DO NOTHING",
};

/// How often one cause may be posted and taken back before something is badly wrong.
const REVERSALS_MAX: usize = 1_000;

/// A movement on the books. Accounts are rows of the account table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostingRow {
    pub id: i64,
    pub debit_account: i64,
    pub credit_account: i64,
    pub amount: U256,
    pub reason: Reason,
    /// Text of the cause; with `#n` when its n earlier postings were taken back.
    pub cause: String,
    pub settlement: Option<SettlementId>,
    pub reverses: Option<i64>,
    pub at_ms: i64,
}

impl Store {
    /// Postings of one settlement, oldest first.
    pub async fn list_postings(&self, settlement: SettlementId) -> Result<Vec<PostingRow>, StoreError> {
        let rows = posting::Entity::find()
            .filter(posting::Column::SettlementId.eq(settlement.0.to_vec()))
            .order_by_asc(posting::Column::Id)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// Sums every posting anew: rows of accounts whose totals are not the sums of their postings. Reads the whole ledger as it is at one
    /// moment; for checks, not for the path.
    pub async fn list_unbalanced_accounts(&self) -> Result<Vec<i64>, StoreError> {
        use posting::Column as C;
        let reader = self.reader().await?;
        let moment = if reader.is_shared() {
            let snapshot = Some(IsolationLevel::RepeatableRead);
            reader
                .db
                .begin_with_config(snapshot, Some(AccessMode::ReadOnly))
                .await?
        } else {
            reader.db.begin().await?
        };
        let mut sums: BTreeMap<i64, Balance> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = posting::Entity::find()
                .filter(C::Id.gt(after))
                .order_by_asc(C::Id)
                .limit(10_000);
            let columns = [C::Id, C::DebitAccount, C::CreditAccount, C::Amount];
            let page: Vec<(i64, i64, i64, B256)> = packed::read(&moment, page, &columns).await?;
            let Some(last) = page.iter().map(|(id, ..)| *id).max() else {
                break;
            };
            after = last;
            for (_, debit, credit, amount) in page {
                let amount = U256::from_be_bytes(amount.0);
                let debit = sums.entry(debit).or_default();
                debit.debits = debit.debits.wrapping_add(amount);
                let credit = sums.entry(credit).or_default();
                credit.credits = credit.credits.wrapping_add(amount);
            }
        }
        let mut unbalanced = Vec::new();
        for row in account::Entity::find().all(&moment).await? {
            let stored = super::account::decode(&row)?.balance;
            if stored != sums.remove(&row.id).unwrap_or_default() {
                unbalanced.push(row.id);
            }
        }
        unbalanced.extend(sums.into_keys());
        Ok(unbalanced)
    }
}

impl Txn {
    /// Posts movements; one whose cause stands already changes nothing. Returns, for each, the row of a posting made now.
    pub async fn post(&mut self, postings: &[Posting]) -> Result<Vec<Option<i64>>, StoreError> {
        if postings.is_empty() {
            return Ok(Vec::new());
        }
        let keys = postings.iter().flat_map(|new| [new.debit, new.credit]).collect();
        let mut accounts = self.lock_accounts(&keys).await?;
        self.post_locked(&mut accounts, postings).await
    }

    /// As [`Txn::post`], with accounts the caller has locked: one statement for all accounts, however many postings.
    pub(super) async fn post_locked(
        &mut self,
        accounts: &mut LockedAccounts,
        postings: &[Posting],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let posted = self.insert_postings(accounts, postings).await?;
        let made: Vec<Posting> = postings
            .iter()
            .zip(&posted)
            .filter(|(_, row)| row.is_some())
            .map(|(new, _)| new.clone())
            .collect();
        let after = balances_after(accounts, &made)?;
        self.write_accounts(accounts, after).await?;
        Ok(posted)
    }

    /// As [`Txn::post_locked`] for causes that are new by construction: no row is read back, and one that was posted before fails all.
    pub(super) async fn post_new(
        &mut self,
        accounts: &mut LockedAccounts,
        postings: &[Posting],
    ) -> Result<(), StoreError> {
        let mut rows: Vec<Vec<Value>> = Vec::with_capacity(postings.len());
        for new in postings {
            rows.push(vec![
                row_of(accounts, &new.debit)?.into(),
                row_of(accounts, &new.credit)?.into(),
                u256_bytes(new.amount).into(),
                new.reason.as_str().to_owned().into(),
                new.cause.to_string().into(),
                new.settlement.map(|id| id.0.to_vec()).into(),
                self.now_ms.into(),
            ]);
        }
        let written = POSTINGS.run(&self.tx, rows).await?;
        if written != postings.len() as u64 {
            return Err(StoreError::Conflict {
                what: "a posting that should be new".into(),
            });
        }
        let after = balances_after(accounts, postings)?;
        self.write_accounts(accounts, after).await
    }

    async fn insert_postings(
        &self,
        accounts: &LockedAccounts,
        postings: &[Posting],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let mut posted: Vec<Option<i64>> = vec![None; postings.len()];
        let mut open: Vec<(usize, String)> = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, new) in postings.iter().enumerate() {
            // The second of two equal causes in one call posts nothing.
            if seen.insert((new.reason.as_str(), new.cause.to_string())) {
                open.push((index, new.cause.to_string()));
            }
        }
        for round in 1..=REVERSALS_MAX {
            let inserted = self.insert_rows(accounts, postings, &open).await?;
            let mut again = Vec::new();
            for (index, reference) in open {
                let new = &postings[index];
                let row = inserted.get(&(new.reason.as_str().to_owned(), reference.clone()));
                if let Some(row) = row {
                    posted[index] = Some(*row);
                } else if self.is_reversed(new.reason, &reference).await? {
                    again.push((index, format!("{}#{round}", new.cause)));
                }
            }
            if again.is_empty() {
                return Ok(posted);
            }
            open = again;
        }
        Err(StoreError::Corrupt {
            column: "posting.cause_ref",
            reason: format!("a cause was posted and taken back {REVERSALS_MAX} times"),
        })
    }

    async fn insert_rows(
        &self,
        accounts: &LockedAccounts,
        postings: &[Posting],
        open: &[(usize, String)],
    ) -> Result<BTreeMap<(String, String), i64>, StoreError> {
        let mut rows = Vec::with_capacity(open.len());
        for (index, reference) in open {
            let new = &postings[*index];
            rows.push(posting::ActiveModel {
                debit_account: Set(row_of(accounts, &new.debit)?),
                credit_account: Set(row_of(accounts, &new.credit)?),
                amount: Set(u256_bytes(new.amount)),
                cause_kind: Set(new.reason.as_str().to_owned()),
                cause_ref: Set(reference.clone()),
                settlement_id: Set(new.settlement.map(|id| id.0.to_vec())),
                reverses: Set(match new.cause {
                    crate::ledger::Cause::Reversal { posting } => Some(posting),
                    _ => None,
                }),
                at_ms: Set(self.now_ms),
                ..Default::default()
            });
        }
        let mut inserted = BTreeMap::new();
        for chunk in rows.chunks(2_000) {
            let result = posting::Entity::insert_many(chunk.to_vec())
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .try_insert()
                .exec_with_returning_many(&self.tx)
                .await?;
            if let TryInsertResult::Inserted(models) = result {
                inserted.extend(models.into_iter().map(|row| ((row.cause_kind, row.cause_ref), row.id)));
            }
        }
        Ok(inserted)
    }

    /// Undoes a posting by one in the opposite direction. A posting is undone once.
    pub async fn reverse(&mut self, row: &PostingRow, why: &str) -> Result<bool, StoreError> {
        let reversal = Posting {
            debit: self.account_key(row.credit_account).await?,
            credit: self.account_key(row.debit_account).await?,
            amount: row.amount,
            reason: Reason::Reversal,
            settlement: row.settlement,
            cause: crate::ledger::Cause::Reversal { posting: row.id },
        };
        let posted = self.post(&[reversal]).await?;
        let reversed = posted.first().is_some_and(Option::is_some);
        if reversed {
            self.record(NewEvent {
                aggregate: "ledger",
                aggregate_id: row.id.to_string(),
                event: "reverse".into(),
                cause: why.to_owned(),
                settlement_id: row.settlement.map(|id| id.0),
                ..NewEvent::default()
            });
        }
        Ok(reversed)
    }

    /// Postings an event caused that nothing has taken back.
    pub async fn standing_postings(&self, event: EventRef) -> Result<Vec<PostingRow>, StoreError> {
        let reference = crate::ledger::Cause::Event(event).to_string();
        let caused = Condition::any()
            .add(posting::Column::CauseRef.eq(reference.as_str()))
            .add(posting::Column::CauseRef.starts_with(format!("{reference}#")));
        let rows = posting::Entity::find()
            .filter(caused)
            .filter(posting::Column::CauseKind.ne(Reason::Reversal.as_str()))
            .order_by_asc(posting::Column::Id)
            .all(&self.tx)
            .await?;
        let mut standing = Vec::new();
        for row in &rows {
            if self.find_reversal(row.id).await?.is_none() {
                standing.push(decode(row)?);
            }
        }
        Ok(standing)
    }

    /// Whether anything was ever posted for a settlement.
    pub(super) async fn has_payment(&self, settlement: SettlementId) -> Result<bool, StoreError> {
        let row = posting::Entity::find()
            .filter(posting::Column::SettlementId.eq(settlement.0.to_vec()))
            .filter(posting::Column::CauseKind.is_in([Reason::Accept.as_str(), Reason::Payment.as_str()]))
            .limit(1)
            .one(&self.tx)
            .await?;
        Ok(row.is_some())
    }

    async fn is_reversed(&self, reason: Reason, reference: &str) -> Result<bool, StoreError> {
        let row = posting::Entity::find()
            .filter(posting::Column::CauseKind.eq(reason.as_str()))
            .filter(posting::Column::CauseRef.eq(reference))
            .one(&self.tx)
            .await?;
        match row {
            Some(row) => Ok(self.find_reversal(row.id).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn find_reversal(&self, row: i64) -> Result<Option<posting::Model>, StoreError> {
        let cause = crate::ledger::Cause::Reversal { posting: row };
        Ok(posting::Entity::find()
            .filter(posting::Column::CauseKind.eq(Reason::Reversal.as_str()))
            .filter(posting::Column::CauseRef.eq(cause.to_string()))
            .one(&self.tx)
            .await?)
    }

    async fn account_key(&self, row: i64) -> Result<AccountKey, StoreError> {
        let found = account::Entity::find_by_id(row)
            .one(&self.tx)
            .await?
            .ok_or_else(|| StoreError::Missing {
                what: format!("account {row}"),
            })?;
        Ok(super::account::decode(&found)?.key)
    }
}

fn row_of(accounts: &LockedAccounts, key: &AccountKey) -> Result<i64, StoreError> {
    accounts
        .get(key)
        .map(|locked| locked.row)
        .ok_or_else(|| StoreError::Missing {
            what: format!("account {key}"),
        })
}

/// New totals of the accounts touched. Our own decisions are refused when a balance cannot cover them. What happened on a chain is booked
/// whatever the balance: the shortfall then shows on the books, and the sweep reports it.
fn balances_after(
    accounts: &LockedAccounts,
    postings: &[Posting],
) -> Result<BTreeMap<AccountKey, Balance>, StoreError> {
    let current = |key: &AccountKey| accounts.get(key).map(|locked| locked.balance).unwrap_or_default();
    if postings.iter().any(|posting| posting.reason.is_decision()) {
        return new_balances(postings, current).map_err(refused);
    }
    let mut balances: BTreeMap<AccountKey, Balance> = BTreeMap::new();
    for posting in postings {
        let debit = balances.entry(posting.debit).or_insert_with(|| current(&posting.debit));
        let total = debit.debits.checked_add(posting.amount);
        debit.debits = total.ok_or_else(|| refused(BalanceError::Overflow(posting.debit)))?;
        let credit = balances
            .entry(posting.credit)
            .or_insert_with(|| current(&posting.credit));
        let total = credit.credits.checked_add(posting.amount);
        credit.credits = total.ok_or_else(|| refused(BalanceError::Overflow(posting.credit)))?;
    }
    Ok(balances)
}

fn refused(error: BalanceError) -> StoreError {
    StoreError::Corrupt {
        column: "account totals",
        reason: error.to_string(),
    }
}

fn decode(row: &posting::Model) -> Result<PostingRow, StoreError> {
    let settlement = row.settlement_id.as_deref();
    Ok(PostingRow {
        id: row.id,
        debit_account: row.debit_account,
        credit_account: row.credit_account,
        amount: u256("posting.amount", &row.amount)?,
        reason: super::codec::name("posting.cause_kind", &row.cause_kind)?,
        cause: row.cause_ref.clone(),
        settlement: settlement
            .map(|id| b256("posting.settlement_id", id).map(SettlementId))
            .transpose()?,
        reverses: row.reverses,
        at_ms: row.at_ms,
    })
}
