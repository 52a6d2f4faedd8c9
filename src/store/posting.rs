//! Postings: one row per movement, so debits equal credits by construction. A cause posts once.

use super::account::{AccountKey, LockedAccounts};
use super::codec::{b256, u256, u256_bytes};
use super::entity::{account, posting};
use super::{NewEvent, Store, StoreError, Txn};
use crate::settlement::SettlementId;
use alloy::primitives::{B256, U256};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, TryInsertResult};
use std::collections::{BTreeMap, BTreeSet};

/// Why money moved: a kind and what it refers to, unique together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    pub kind: &'static str,
    pub reference: String,
}

impl Cause {
    /// available → reserved when a settlement is accepted.
    pub const ACCEPT: &'static str = "accept";
    /// reserved → available when it ended unpaid.
    pub const RELEASE: &'static str = "release";
    /// The amount of a finalized payment.
    pub const PAY: &'static str = "pay";
    /// The fee of a finalized payment.
    pub const FEE: &'static str = "fee";
    /// Amount and fee of payments of settlements this database never accepted, per run of the chain's log.
    pub const EXTERNAL_PAY: &'static str = "external_pay";
    pub const EXTERNAL_FEE: &'static str = "external_fee";
    pub const DEPOSIT: &'static str = "deposit";
    pub const WITHDRAW: &'static str = "withdraw";
    /// A transfer that failed became a claim.
    pub const CREDIT: &'static str = "credit";
    pub const CLAIM: &'static str = "claim";
    pub const BRIDGE_FEE: &'static str = "bridge_fee";
    pub const GAS: &'static str = "gas";
    /// Undoes another posting.
    pub const REVERSAL: &'static str = "reversal";

    pub fn new(kind: &'static str, reference: impl ToString) -> Self {
        Self {
            kind,
            reference: reference.to_string(),
        }
    }
}

/// A movement to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPosting {
    pub debit: AccountKey,
    pub credit: AccountKey,
    pub amount: U256,
    pub cause: Cause,
    pub settlement: Option<SettlementId>,
    pub reverses: Option<i64>,
}

impl NewPosting {
    pub fn new(debit: AccountKey, credit: AccountKey, amount: U256, cause: Cause) -> Self {
        Self {
            debit,
            credit,
            amount,
            cause,
            settlement: None,
            reverses: None,
        }
    }

    pub fn of(mut self, settlement: SettlementId) -> Self {
        self.settlement = Some(settlement);
        self
    }
}

/// A movement that happened. Accounts are rows of the account table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    pub id: i64,
    pub debit_account: i64,
    pub credit_account: i64,
    pub amount: U256,
    pub cause_kind: String,
    pub cause_ref: String,
    pub settlement: Option<SettlementId>,
    pub reverses: Option<i64>,
    pub at_ms: i64,
}

impl Store {
    /// Postings of one settlement, oldest first.
    pub async fn list_postings(&self, settlement: SettlementId) -> Result<Vec<Posting>, StoreError> {
        let rows = posting::Entity::find()
            .filter(posting::Column::SettlementId.eq(settlement.0.to_vec()))
            .order_by_asc(posting::Column::Id)
            .all(&self.db)
            .await?;
        rows.iter().map(decode).collect()
    }

    pub async fn find_posting(&self, kind: &str, reference: &str) -> Result<Option<Posting>, StoreError> {
        let row = posting::Entity::find()
            .filter(posting::Column::CauseKind.eq(kind))
            .filter(posting::Column::CauseRef.eq(reference))
            .one(&self.db)
            .await?;
        row.as_ref().map(decode).transpose()
    }

    /// Sums every posting anew and compares with the totals on the accounts: rows whose totals are not the sums of their postings.
    /// Reads the whole ledger; for checks, not for the path.
    pub async fn list_unbalanced_accounts(&self) -> Result<Vec<i64>, StoreError> {
        let mut sums: BTreeMap<i64, (U256, U256)> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = posting::Entity::find()
                .filter(posting::Column::Id.gt(after))
                .order_by_asc(posting::Column::Id)
                .limit(10_000)
                .all(&self.db)
                .await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for row in &page {
                let amount = u256("posting.amount", &row.amount)?;
                let debit = sums.entry(row.debit_account).or_default();
                debit.0 = debit.0.wrapping_add(amount);
                let credit = sums.entry(row.credit_account).or_default();
                credit.1 = credit.1.wrapping_add(amount);
            }
        }
        let mut unbalanced = Vec::new();
        for row in account::Entity::find().all(&self.db).await? {
            let (debits, credits) = sums.remove(&row.id).unwrap_or_default();
            if u256("account.debits", &row.debits)? != debits || u256("account.credits", &row.credits)? != credits {
                unbalanced.push(row.id);
            }
        }
        unbalanced.extend(sums.into_keys());
        Ok(unbalanced)
    }
}

impl Txn {
    /// Posts movements; one whose cause was posted before changes nothing. Amounts of zero post nothing.
    /// Returns, for each, the row of a posting made now.
    pub async fn post(&mut self, postings: &[NewPosting]) -> Result<Vec<Option<i64>>, StoreError> {
        let keys = postings.iter().flat_map(|new| [new.debit, new.credit]).collect();
        let mut accounts = self.lock_accounts(&keys).await?;
        self.post_locked(&mut accounts, postings).await
    }

    /// As [`Txn::post`], with accounts the caller has locked: one update per account, however many postings.
    pub(super) async fn post_locked(
        &mut self,
        accounts: &mut LockedAccounts,
        postings: &[NewPosting],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let posted = self.insert_postings(accounts, postings).await?;
        let mut touched = BTreeSet::new();
        for new in postings
            .iter()
            .zip(&posted)
            .filter(|(_, row)| row.is_some())
            .map(|(new, _)| new)
        {
            let overflow = || StoreError::Corrupt {
                column: "account totals",
                reason: "a total exceeds 256 bits".into(),
            };
            if let Some(debit) = accounts.get_mut(&new.debit) {
                debit.account.debits = debit.account.debits.checked_add(new.amount).ok_or_else(overflow)?;
            }
            if let Some(credit) = accounts.get_mut(&new.credit) {
                credit.account.credits = credit.account.credits.checked_add(new.amount).ok_or_else(overflow)?;
            }
            touched.extend([new.debit, new.credit]);
        }
        for key in touched {
            if let Some(locked) = accounts.get_mut(&key) {
                self.write_account(locked).await?;
                locked.version = locked.version.saturating_add(1);
            }
        }
        Ok(posted)
    }

    async fn insert_postings(
        &self,
        accounts: &LockedAccounts,
        postings: &[NewPosting],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let row_of = |key: &AccountKey| {
            accounts
                .get(key)
                .map(|locked| locked.row)
                .ok_or_else(|| StoreError::Missing {
                    what: format!("account {key:?}"),
                })
        };
        let mut rows = Vec::with_capacity(postings.len());
        for new in postings.iter().filter(|new| !new.amount.is_zero()) {
            rows.push(posting::ActiveModel {
                debit_account: Set(row_of(&new.debit)?),
                credit_account: Set(row_of(&new.credit)?),
                amount: Set(u256_bytes(new.amount)),
                cause_kind: Set(new.cause.kind.to_owned()),
                cause_ref: Set(new.cause.reference.clone()),
                settlement_id: Set(new.settlement.map(|id| id.0.to_vec())),
                reverses: Set(new.reverses),
                at_ms: Set(self.now_ms),
                ..Default::default()
            });
        }
        let mut inserted: BTreeMap<(String, String), i64> = BTreeMap::new();
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
        // `remove`: the second of two equal causes in one call posted nothing.
        Ok(postings
            .iter()
            .map(|new| inserted.remove(&(new.cause.kind.to_owned(), new.cause.reference.clone())))
            .collect())
    }

    /// Undoes a posting by one in the opposite direction. A posting is undone once.
    pub async fn reverse(&mut self, posting: &Posting, why: &str) -> Result<bool, StoreError> {
        let debit = self.account_key(posting.credit_account).await?;
        let credit = self.account_key(posting.debit_account).await?;
        let mut new = NewPosting::new(debit, credit, posting.amount, Cause::new(Cause::REVERSAL, posting.id));
        new.settlement = posting.settlement;
        new.reverses = Some(posting.id);
        let posted = self.post(&[new]).await?;
        let reversed = posted.first().is_some_and(Option::is_some);
        if reversed {
            self.record(NewEvent {
                aggregate: "ledger",
                aggregate_id: posting.id.to_string(),
                event: "reversed".into(),
                cause: why.to_owned(),
                settlement_id: posting.settlement.map(|id| id.0),
                ..NewEvent::default()
            });
        }
        Ok(reversed)
    }

    /// Postings of one settlement in this transaction, oldest first.
    pub(super) async fn postings_of(&self, settlement: SettlementId) -> Result<Vec<Posting>, StoreError> {
        let rows = posting::Entity::find()
            .filter(posting::Column::SettlementId.eq(settlement.0.to_vec()))
            .order_by_asc(posting::Column::Id)
            .all(&self.tx)
            .await?;
        rows.iter().map(decode).collect()
    }

    /// A posting by its cause that no later one has reversed.
    pub async fn find_standing_posting(&self, kind: &str, reference: &str) -> Result<Option<Posting>, StoreError> {
        let row = self.posting_by_cause(kind, reference).await?;
        match row {
            Some(row)
                if self
                    .posting_by_cause(Cause::REVERSAL, &row.id.to_string())
                    .await?
                    .is_none() =>
            {
                Ok(Some(row))
            }
            _ => Ok(None),
        }
    }

    /// Whether a posting of this cause exists and has been undone.
    pub(super) async fn is_reversed(&self, kind: &str, reference: &str) -> Result<bool, StoreError> {
        match self.posting_by_cause(kind, reference).await? {
            Some(row) => Ok(self
                .posting_by_cause(Cause::REVERSAL, &row.id.to_string())
                .await?
                .is_some()),
            None => Ok(false),
        }
    }

    async fn posting_by_cause(&self, kind: &str, reference: &str) -> Result<Option<Posting>, StoreError> {
        let row = posting::Entity::find()
            .filter(posting::Column::CauseKind.eq(kind))
            .filter(posting::Column::CauseRef.eq(reference))
            .one(&self.tx)
            .await?;
        row.as_ref().map(decode).transpose()
    }

    async fn account_key(&self, row: i64) -> Result<AccountKey, StoreError> {
        let row = account::Entity::find_by_id(row)
            .one(&self.tx)
            .await?
            .ok_or_else(|| StoreError::Missing {
                what: format!("account {row}"),
            })?;
        Ok(super::account::decode(&row)?.account.key)
    }
}

fn decode(row: &posting::Model) -> Result<Posting, StoreError> {
    let settlement = row.settlement_id.as_deref();
    let settlement: Option<B256> = settlement
        .map(|bytes| b256("posting.settlement_id", bytes))
        .transpose()?;
    Ok(Posting {
        id: row.id,
        debit_account: row.debit_account,
        credit_account: row.credit_account,
        amount: u256("posting.amount", &row.amount)?,
        cause_kind: row.cause_kind.clone(),
        cause_ref: row.cause_ref.clone(),
        settlement: settlement.map(SettlementId),
        reverses: row.reverses,
        at_ms: row.at_ms,
    })
}
