//! Many rows as one: the database makes a JSON text of a page. A row of its own costs SQLite a walk from thread to thread, several times what it
//! takes to find it; a comparison of millions reads ten thousand at a time.

use super::StoreError;
use sea_orm::sea_query::{Alias, ColumnType, Expr, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QuerySelect, QueryTrait, Select};
use serde::de::DeserializeOwned;

/// These columns of the rows of a query, as tuples: integers, names, flags, and bytes as what hex digits are read into. In no order.
pub(super) async fn read<E, T>(
    db: &impl ConnectionTrait,
    query: Select<E>,
    columns: &[E::Column],
) -> Result<Vec<T>, StoreError>
where
    E: EntityTrait,
    T: DeserializeOwned,
{
    let backend = db.get_database_backend();
    let fields: Vec<String> = columns.iter().map(|column| field(backend, column)).collect();
    let (rows, row) = match backend {
        DbBackend::Postgres => ("json_agg", "json_build_array"),
        _ => ("json_group_array", "json_array"),
    };
    let text = format!("CAST({rows}({row}({})) AS TEXT)", fields.join(", "));
    let page = query.select_only().columns(columns.iter().copied()).into_query();
    let all = Query::select()
        .expr_as(Expr::cust(text), Alias::new("rows"))
        .from_subquery(page, Alias::new("page"))
        .to_owned();
    let found = db.query_one(&all).await?;
    let text: Option<String> = found.map(|row| row.try_get("", "rows")).transpose()?.flatten();
    let corrupt = |error: serde_json::Error| StoreError::Corrupt {
        column: E::default().as_str(),
        reason: error.to_string(),
    };
    text.map_or_else(|| Ok(Vec::new()), |text| serde_json::from_str(&text).map_err(corrupt))
}

fn field<C: ColumnTrait>(backend: DbBackend, column: &C) -> String {
    let name = column.as_str();
    match (column.def().get_column_type(), backend) {
        (ColumnType::VarBinary(_) | ColumnType::Blob | ColumnType::Binary(_), DbBackend::Postgres) => {
            format!("encode({name}, 'hex')")
        }
        // Of NULL it would make an empty text.
        (ColumnType::VarBinary(_) | ColumnType::Blob | ColumnType::Binary(_), _) => {
            format!("iif({name} IS NULL, NULL, hex({name}))")
        }
        (ColumnType::Boolean, DbBackend::Sqlite) => format!("json(iif({name}, 'true', 'false'))"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::store::entity::settlement::{Column, Entity};
    use crate::store::testing::*;
    use alloy::primitives::{Address, B256, U256};

    #[tokio::test]
    async fn numbers_names_flags_bytes_and_nothing_come_as_they_are_stored() {
        let test = open().await;
        let columns = [
            Column::Id,
            Column::SettlementId,
            Column::Payer,
            Column::Amount,
            Column::State,
            Column::Revocable,
            Column::GroupRoot,
            Column::ArchivedAt,
        ];
        type Row = (i64, B256, Address, B256, String, bool, Option<B256>, Option<i64>);
        let none: Vec<Row> = read(&test.db, Entity::find(), &columns).await.unwrap();
        assert_eq!(none, vec![]);

        deposit(&test, PAYER, 1_000, 100).await;
        let root = B256::repeat_byte(0x7e);
        let plain = new_settlement(PAYER, 1, 100, 5, 1);
        let grouped = new_settlement(PAYER, 2, 7, 0, 2);
        accept(&test, &[plain.clone(), grouped.clone()]).await;
        let set = "UPDATE settlement SET group_root = $1, archived_at = 9, revocable = NOT revocable WHERE settlement_id = $2";
        let values = [root.to_vec().into(), grouped.id.0.to_vec().into()];
        let set = sea_orm::Statement::from_sql_and_values(test.db.get_database_backend(), set, values);
        test.db.execute_raw(set).await.unwrap();
        let mut all: Vec<Row> = read(&test.db, Entity::find(), &columns).await.unwrap();
        all.sort_unstable_by_key(|row| row.0);
        let flags: Vec<bool> = all.iter().map(|row| row.5).collect();
        let told: Vec<_> = all
            .into_iter()
            .map(|(_, id, payer, amount, state, _, root, archived)| (id, payer, amount, state, root, archived))
            .collect();
        let expected = |new: &crate::store::NewSettlement, amount: u64, root, archived| {
            let amount = B256::from(U256::from(amount));
            (new.id.0, PAYER, amount, "accepted".to_owned(), root, archived)
        };
        let expected = [
            expected(&plain, 100, None, None),
            expected(&grouped, 7, Some(root), Some(9)),
        ];
        assert_eq!(told, expected);
        assert_eq!(flags, if plain.revocable { [true, false] } else { [false, true] });

        let narrow: Result<Vec<(B256,)>, _> = read(&test.db, Entity::find(), &[Column::Payer]).await;
        let told = narrow.unwrap_err().to_string();
        assert!(told.contains("settlement"), "{told}");
    }
}
