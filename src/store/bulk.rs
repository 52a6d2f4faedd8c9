//! Writing many rows with few statements. A statement costs a round trip, or with SQLite a hop to its thread, and its text is parsed once:
//! rows go in pieces of a few fixed sizes, so that every text is prepared once per connection and then only bound.

use super::StoreError;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, Value};
use std::fmt::Write;

/// Rows of one statement, largest first. 256 rows of 30 values stay far below what SQLite (32,766) and PostgreSQL (65,535) bind.
const PIECES: [usize; 5] = [256, 64, 16, 4, 1];

/// One INSERT of many rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Insert {
    pub table: &'static str,
    /// Columns whose values differ from row to row, in the order of the values.
    pub columns: &'static [&'static str],
    /// Columns with the same literal in every row, as SQL.
    pub constants: &'static [(&'static str, &'static str)],
    /// What follows the rows, e.g. `ON CONFLICT DO NOTHING`.
    pub tail: &'static str,
}

/// Splits rows into pieces of the fixed sizes.
fn pieces(rows: Vec<Vec<Value>>) -> impl Iterator<Item = (usize, Vec<Value>)> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let size = PIECES.into_iter().find(|size| *size <= rows.len())?;
        Some((size, rows.by_ref().take(size).flatten().collect()))
    })
}

/// `($1, $2), ($3, $4)` for this many rows, each ending with the literals; `(?, ?), (?, ?)` on SQLite.
///
/// The driver asks SQLite for the name of every parameter, and SQLite walks a list of all those that have a name or a number: with numbers a
/// statement of n values costs n². Nameless ones are bound in order just the same.
fn placeholders(sql: &mut String, backend: DbBackend, rows: usize, width: usize, literals: &str) {
    let numbered = backend == DbBackend::Postgres;
    let mut next = 1usize;
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..width {
            sql.push_str(if column == 0 { "" } else { ", " });
            if numbered {
                // Writing to a String does not fail.
                let _ = write!(sql, "${next}");
                next = next.saturating_add(1);
            } else {
                sql.push('?');
            }
        }
        sql.push_str(literals);
        sql.push(')');
    }
}

/// A table `v` with these columns as the start of a statement whose only values are these.
pub(super) fn values_table(backend: DbBackend, columns: &str, rows: usize, width: usize) -> String {
    let mut sql = format!("WITH v ({columns}) AS (VALUES ");
    placeholders(&mut sql, backend, rows, width, "");
    sql.push_str(") ");
    sql
}

impl Insert {
    fn sql(&self, backend: DbBackend, rows: usize) -> String {
        let mut sql = format!("INSERT INTO {} ({}", self.table, self.columns.join(", "));
        let mut literals = String::new();
        for (column, literal) in self.constants {
            let _ = write!(sql, ", {column}");
            let _ = write!(literals, ", {literal}");
        }
        sql.push_str(") VALUES ");
        placeholders(&mut sql, backend, rows, self.columns.len(), &literals);
        sql.push(' ');
        sql.push_str(self.tail);
        sql
    }

    /// Rows written; fewer than given when some met a conflict.
    pub async fn run(&self, tx: &DatabaseTransaction, rows: Vec<Vec<Value>>) -> Result<u64, StoreError> {
        let mut written = 0u64;
        for (size, values) in pieces(rows) {
            let backend = tx.get_database_backend();
            let statement = Statement::from_sql_and_values(backend, self.sql(backend, size), values);
            written = written.saturating_add(tx.execute_raw(statement).await?.rows_affected());
        }
        Ok(written)
    }
}

/// One UPDATE of many rows, each with values of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update {
    pub columns: &'static str,
    pub width: usize,
    /// From UPDATE on; reads the values as `v`.
    pub update: &'static str,
}

impl Update {
    /// Rows written.
    pub async fn run(&self, tx: &DatabaseTransaction, rows: Vec<Vec<Value>>) -> Result<u64, StoreError> {
        let mut written = 0u64;
        for (size, values) in pieces(rows) {
            let backend = tx.get_database_backend();
            let sql = values_table(backend, self.columns, size, self.width) + self.update;
            let statement = Statement::from_sql_and_values(backend, sql, values);
            written = written.saturating_add(tx.execute_raw(statement).await?.rows_affected());
        }
        Ok(written)
    }
}

/// Fills a list of values up to the next fixed size by repeating the last, so that `IN` lists have few texts. Harmless in a set.
pub(super) fn padded<T: Clone>(mut values: Vec<T>) -> Vec<T> {
    let size = PIECES.into_iter().rev().find(|size| *size >= values.len());
    let size = size.unwrap_or_else(|| values.len().next_multiple_of(256));
    if let Some(last) = values.last().cloned() {
        values.resize(size, last);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: i64) -> Vec<Vec<Value>> {
        (0..count).map(|n| vec![n.into(), (-n).into()]).collect()
    }

    #[test]
    fn pieces_keep_every_value_in_order_and_come_in_few_sizes() {
        let all: Vec<Value> = rows(603).into_iter().flatten().collect();
        let (mut sizes, mut seen) = (Vec::new(), Vec::new());
        for (size, values) in pieces(rows(603)) {
            assert_eq!(values.len(), 2 * size);
            sizes.push(size);
            seen.extend(values);
        }
        assert_eq!(seen, all);
        assert_eq!(sizes, [256, 256, 64, 16, 4, 4, 1, 1, 1]);
    }

    #[test]
    fn an_insert_repeats_its_literals_and_numbers_its_values_only_where_that_is_needed() {
        let insert = Insert {
            table: "t",
            columns: &["a", "b"],
            constants: &[("c", "0"), ("d", "'x'")],
            tail: "ON CONFLICT DO NOTHING",
        };
        assert_eq!(
            insert.sql(DbBackend::Postgres, 2),
            "INSERT INTO t (a, b, c, d) VALUES ($1, $2, 0, 'x'), ($3, $4, 0, 'x') ON CONFLICT DO NOTHING"
        );
        assert_eq!(
            insert.sql(DbBackend::Sqlite, 2),
            "INSERT INTO t (a, b, c, d) VALUES (?, ?, 0, 'x'), (?, ?, 0, 'x') ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn padding_repeats_the_last_value_only() {
        assert_eq!(padded(vec![1, 2, 3]), [1, 2, 3, 3]);
        assert_eq!(padded(Vec::<u8>::new()), Vec::<u8>::new());
        assert_eq!(padded((0..300).collect::<Vec<_>>()).len(), 512);
    }
}
