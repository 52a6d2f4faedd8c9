//! The ceiling of the store: exactly the rows one settlement writes when it is accepted, again and again, by plain prepared statements made
//! beforehand. Only `cargo xtask bench` uses this, on a database of its own; the books it leaves behind mean nothing.

use super::bulk::{Insert, pieces};
use super::entity::{account, event, posting, settlement, settlement_receipt};
use super::{Store, StoreError};
use crate::settlement::SettlementId;
use alloy::primitives::{U256, keccak256};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityName,
    EntityTrait, IdenStatic, IntoActiveModel, Iterable, PaginatorTrait, QueryFilter, QueryOrder, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait, Value,
};

/// Columns the product writes as literals.
const LITERALS: [&str; 6] = [
    "state",
    "batched_times",
    "version",
    "lease_until",
    "lease_token",
    "holds",
];

/// What an accepted settlement left in the database.
#[derive(Debug, Clone)]
pub struct AcceptedRows {
    settlement: settlement::Model,
    receipts: Vec<settlement_receipt::Model>,
    postings: Vec<posting::Model>,
    events: Vec<event::Model>,
    accounts: Vec<account::Model>,
}

impl AcceptedRows {
    /// Rows inserted for each settlement; those updated once per group are not counted.
    pub fn rows(&self) -> usize {
        1 + self.receipts.len() + self.postings.len() + self.events.len()
    }
}

/// One group of settlements, ready to be written.
#[derive(Debug)]
pub struct PlainGroup {
    statements: Vec<Statement>,
}

impl Store {
    /// Reads the rows of a settlement that the product has just accepted.
    #[doc(hidden)]
    pub async fn read_accepted_rows(&self, id: SettlementId) -> Result<AcceptedRows, StoreError> {
        let missing = || StoreError::Missing {
            what: format!("settlement {id}"),
        };
        let key = id.0.to_vec();
        let found = settlement::Entity::find().filter(settlement::Column::SettlementId.eq(key.clone()));
        let receipts = settlement_receipt::Entity::find()
            .filter(settlement_receipt::Column::SettlementId.eq(key.clone()))
            .all(&self.db);
        let postings = posting::Entity::find()
            .filter(posting::Column::SettlementId.eq(key.clone()))
            .all(&self.db)
            .await?;
        let touched: Vec<i64> = postings
            .iter()
            .flat_map(|row| [row.debit_account, row.credit_account])
            .collect();
        Ok(AcceptedRows {
            settlement: found.one(&self.db).await?.ok_or_else(missing)?,
            receipts: receipts.await?,
            events: event::Entity::find()
                .filter(event::Column::SettlementId.eq(key))
                .all(&self.db)
                .await?,
            accounts: account::Entity::find()
                .filter(account::Column::Id.is_in(touched))
                .all(&self.db)
                .await?,
            postings,
        })
    }

    /// Makes the statements of one group: `settlements` copies of the rows with keys of their own. `first` numbers them; never use a number twice.
    #[doc(hidden)]
    pub async fn prepare_plain_group(
        &self,
        rows: &AcceptedRows,
        first: u64,
        settlements: u64,
    ) -> Result<PlainGroup, StoreError> {
        let last_seq = event::Entity::find()
            .order_by_desc(event::Column::Seq)
            .one(&self.db)
            .await?;
        let mut seq = last_seq.map_or(0, |event| event.seq) + i64::try_from(first).unwrap_or(0);
        let mut copies = Copies::default();
        for number in first..first + settlements {
            copies.add(rows, number, &mut seq);
        }
        Ok(PlainGroup {
            statements: copies.statements(rows, self.db.get_database_backend()),
        })
    }

    /// Writes one group in one transaction.
    #[doc(hidden)]
    pub async fn write_plain_group(&self, group: PlainGroup) -> Result<(), StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let tx = self.db.begin_with_options(options).await?;
        for statement in group.statements {
            tx.execute_raw(statement).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Bytes the database takes on disk, indexes included, free pages not.
    #[doc(hidden)]
    pub async fn size_bytes(&self) -> Result<u64, StoreError> {
        let backend = self.db.get_database_backend();
        let sql = if backend == DbBackend::Postgres {
            "SELECT pg_database_size(current_database())"
        } else {
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        };
        let row = self.db.query_one_raw(Statement::from_string(backend, sql)).await?;
        let bytes = match row {
            Some(row) => row.try_get_by_index::<i64>(0)?,
            None => 0,
        };
        super::codec::uint("size", bytes)
    }

    /// All settlements there are.
    #[doc(hidden)]
    pub async fn count_all_settlements(&self) -> Result<u64, StoreError> {
        Ok(settlement::Entity::find().count(&self.db).await?)
    }
}

#[derive(Default)]
struct Copies {
    settlements: Vec<settlement::ActiveModel>,
    receipts: Vec<settlement_receipt::ActiveModel>,
    postings: Vec<posting::ActiveModel>,
    events: Vec<event::ActiveModel>,
}

impl Copies {
    /// Keys as random as the real ones: the ids and hashes of settlements come in no order.
    fn add(&mut self, rows: &AcceptedRows, number: u64, seq: &mut i64) {
        let id = keccak256(number.to_be_bytes());
        let text = id.to_string();
        let mut settlement = rows.settlement.clone().into_active_model().reset_all();
        settlement.id = NotSet;
        settlement.settlement_id = Set(id.to_vec());
        settlement.nonce = Set(U256::from(number).to_be_bytes::<32>().to_vec());
        settlement.receipt_hash = Set(keccak256(id).to_vec());
        settlement.job_hash = Set(keccak256(&text).to_vec());
        self.settlements.push(settlement);
        for (position, row) in (0u8..).zip(&rows.receipts) {
            let mut receipt = row.clone().into_active_model().reset_all();
            let hash = keccak256([&id[..], &[position]].concat());
            receipt.id = NotSet;
            receipt.settlement_id = Set(id.to_vec());
            receipt.receipt_hash = Set(hash.to_vec());
            receipt.receipt_id = Set(hash.to_string()[2..34].to_owned());
            receipt.job_id = Set(hash.to_string()[34..].to_owned());
            self.receipts.push(receipt);
        }
        let own = rows.settlement.settlement_id.as_slice();
        let own = format!("0x{}", alloy::hex::encode(own));
        for row in &rows.postings {
            let mut posting = row.clone().into_active_model().reset_all();
            posting.id = NotSet;
            posting.cause_ref = Set(row.cause_ref.replace(&own, &text));
            posting.settlement_id = Set(Some(id.to_vec()));
            self.postings.push(posting);
        }
        for row in &rows.events {
            *seq += 1;
            let mut event = row.clone().into_active_model().reset_all();
            event.seq = Set(*seq);
            event.aggregate_id = Set(text.clone());
            event.settlement_id = Set(Some(id.to_vec()));
            self.events.push(event);
        }
    }

    fn statements(self, rows: &AcceptedRows, backend: DbBackend) -> Vec<Statement> {
        let events = self.events.len();
        let mut statements: Vec<Statement> = rows
            .accounts
            .iter()
            .map(|account| {
                let sql = "UPDATE account SET debits = $1, credits = $2, version = version + 1 WHERE id = $3";
                let values = [
                    account.debits.clone().into(),
                    account.credits.clone().into(),
                    account.id.into(),
                ];
                Statement::from_sql_and_values(backend, sql, values)
            })
            .collect();
        statements.extend(inserts(backend, &self.settlements));
        statements.extend(inserts(backend, &self.receipts));
        statements.extend(inserts(backend, &self.postings));
        let sql = "UPDATE counter SET value = value + $1 WHERE name = 'event_seq'";
        statements.push(Statement::from_sql_and_values(backend, sql, [(events as i64).into()]));
        statements.extend(inserts(backend, &self.events));
        statements
    }
}

/// The product's own statements: columns that are NULL are left out, what is the same in every row is a literal.
fn inserts<A: ActiveModelTrait>(backend: DbBackend, rows: &[A]) -> Vec<Statement> {
    let all = || <A::Entity as EntityTrait>::Column::iter();
    let Some(first) = rows.first() else {
        return Vec::new();
    };
    let (mut columns, mut constants, mut bound) = (Vec::new(), Vec::new(), Vec::new());
    for column in all() {
        let literal = LITERALS.contains(&column.as_str());
        match first.get(column).into_value() {
            Some(Value::String(Some(text))) if literal => constants.push((column, format!("'{text}'"))),
            Some(Value::Bool(Some(flag))) if literal => constants.push((column, flag.to_string())),
            Some(Value::Int(Some(number))) if literal => constants.push((column, number.to_string())),
            Some(Value::BigInt(Some(number))) if literal => constants.push((column, number.to_string())),
            Some(value) if value != value.as_null() => {
                columns.push(column.as_str());
                bound.push(column);
            }
            _ => {}
        }
    }
    let constants: Vec<(&str, &str)> = constants
        .iter()
        .map(|(column, literal)| (column.as_str(), literal.as_str()))
        .collect();
    let values = |row: &A| {
        bound
            .iter()
            .filter_map(|column| row.get(*column).into_value())
            .collect()
    };
    let table = A::Entity::default();
    let insert = Insert {
        table: table.table_name(),
        columns: &columns,
        constants: &constants,
        tail: "",
    };
    pieces(backend, rows.iter().map(values).collect())
        .map(|rows| insert.statement(backend, rows))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::testing::*;
    use crate::settlement::SettlementId;
    use alloy::primitives::keccak256;

    #[tokio::test]
    async fn the_copies_are_what_the_product_wrote_for_an_accepted_settlement() {
        let store = open().await;
        deposit(&store, PAYER, 100, 1).await;
        let new = new_settlement(PAYER, 1, 40, 2, 1);
        accept(&store, std::slice::from_ref(&new)).await;
        let rows = store.read_accepted_rows(new.id).await.unwrap();
        let before = store.size_bytes().await.unwrap();
        for first in [10, 310] {
            let group = store.prepare_plain_group(&rows, first, 300).await.unwrap();
            store.write_plain_group(group).await.unwrap();
        }
        assert_eq!(store.count_all_settlements().await.unwrap(), 601);
        assert!(store.size_bytes().await.unwrap() > before);
        let copy = SettlementId(keccak256(609u64.to_be_bytes()));
        let copied = store.read_accepted_rows(copy).await.unwrap();
        assert_eq!(copied.rows(), rows.rows());
        assert_eq!(rows.rows(), 1 + 1 + 1 + 1, "settlement, receipt, posting, event");
        assert_eq!(copied.settlement.state, rows.settlement.state);
        // The copies write the accounts as often as commits do, and leave the books as they were.
        let totals = |rows: &super::AcceptedRows| -> Vec<_> {
            let accounts = rows.accounts.iter();
            accounts
                .map(|account| (account.id, account.debits.clone(), account.credits.clone()))
                .collect()
        };
        assert_eq!(totals(&copied), totals(&rows));
    }
}
