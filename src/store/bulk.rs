//! Writing many rows with few statements. A statement costs a round trip, or with SQLite a hop to its thread, and its text is parsed once.
//!
//! PostgreSQL gets each column as one array, so that one text serves any number of rows. SQLite has no arrays: there the rows go in pieces of
//! a few fixed sizes, so that every text is prepared once per connection and then only bound.

use super::StoreError;
use sea_orm::sea_query::ArrayType;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, Value};
use std::fmt::Write;

/// Rows of one statement of SQLite, largest first. 256 rows of 30 values stay below the 32,766 it binds.
const PIECES: [usize; 5] = [256, 64, 16, 4, 1];

/// Rows of one statement of PostgreSQL: far more than one commit has, and a bound on the memory of one message.
const ROWS_MAX: usize = 4_096;

/// One INSERT of many rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Insert<'a> {
    pub table: &'a str,
    /// Columns whose values differ from row to row, in the order of the values.
    pub columns: &'a [&'a str],
    /// Columns with the same literal in every row, as SQL.
    pub constants: &'a [(&'a str, &'a str)],
    /// What follows the rows, e.g. `ON CONFLICT DO NOTHING`.
    pub tail: &'a str,
}

/// Splits rows into those of one statement each.
pub(super) fn pieces(backend: DbBackend, rows: Vec<Vec<Value>>) -> impl Iterator<Item = Vec<Vec<Value>>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let size = match backend {
            DbBackend::Postgres => rows.len().min(ROWS_MAX),
            _ => PIECES.into_iter().find(|size| *size <= rows.len())?,
        };
        (size > 0).then(|| rows.by_ref().take(size).collect())
    })
}

/// Rows as SQL: a list of expressions for their columns, where they come from, and the values to bind.
struct Source {
    select: String,
    from: String,
    values: Vec<Value>,
}

/// `(?, ?), (?, ?)`, each row ending with the literals.
///
/// The driver asks SQLite for the name of every parameter, and SQLite walks a list of all those that have a name or a number: with numbers a
/// statement of n values costs n². Nameless ones are bound in order just the same.
fn placeholders(rows: usize, width: usize, literals: &str) -> String {
    let row = format!("({}{literals})", vec!["?"; width].join(", "));
    vec![row; rows].join(", ")
}

/// How PostgreSQL calls the type, of those that the store binds.
fn postgres_type(column: &ArrayType) -> &'static str {
    match column {
        ArrayType::Bool => "boolean",
        ArrayType::Int => "integer",
        ArrayType::BigInt => "bigint",
        ArrayType::Bytes => "bytea",
        _ => "text",
    }
}

/// A value that stands where an array has none: arrays of the driver hold no NULL.
fn placeholder_of(column: &ArrayType) -> Value {
    match column {
        ArrayType::Bool => false.into(),
        ArrayType::Int => 0i32.into(),
        ArrayType::BigInt => 0i64.into(),
        ArrayType::Bytes => Vec::<u8>::new().into(),
        _ => String::new().into(),
    }
}

fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}

/// Each column as one array; beside one in which only some rows have a value, an array that says which. `bound` values come before them.
fn arrays(rows: Vec<Vec<Value>>, bound: usize) -> Source {
    let width = rows.first().map_or(0, Vec::len);
    let mut columns: Vec<Vec<Value>> = vec![Vec::with_capacity(rows.len()); width];
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let (mut select, mut arrays, mut names, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut bind = |kind: ArrayType, name: String, column: Vec<Value>| {
        values.push(Value::Array(kind.clone(), Some(Box::new(column))));
        let number = bound.saturating_add(values.len());
        arrays.push(format!("${number}::{}[]", postgres_type(&kind)));
        names.push(name);
    };
    for (index, column) in columns.into_iter().enumerate() {
        let Some(kind) = column.first().map(Value::array_type) else {
            continue;
        };
        let missing = column.iter().filter(|value| is_null(value)).count();
        if missing == column.len() {
            select.push(format!("CAST(NULL AS {})", postgres_type(&kind)));
            continue;
        }
        if missing == 0 {
            select.push(format!("u.c{index}"));
            bind(kind, format!("c{index}"), column);
            continue;
        }
        select.push(format!("CASE WHEN u.has{index} THEN u.c{index} END"));
        bind(
            ArrayType::Bool,
            format!("has{index}"),
            column.iter().map(|value| (!is_null(value)).into()).collect(),
        );
        let filled = column.into_iter().map(|value| match is_null(&value) {
            true => placeholder_of(&kind),
            false => value,
        });
        let filled = filled.collect();
        bind(kind, format!("c{index}"), filled);
    }
    Source {
        select: select.join(", "),
        from: format!("unnest({}) AS u ({})", arrays.join(", "), names.join(", ")),
        values,
    }
}

/// Tables of values as the start of a statement that reads them.
#[derive(Debug)]
pub(super) struct Tables {
    backend: DbBackend,
    sql: String,
    values: Vec<Value>,
}

impl Tables {
    pub fn new(backend: DbBackend) -> Self {
        Self {
            backend,
            sql: String::new(),
            values: Vec::new(),
        }
    }

    /// One more table with these columns. At least one row; on SQLite, whose text depends on their number, it may hold the last one repeatedly.
    pub fn with(mut self, name: &str, columns: &str, rows: Vec<Vec<Value>>) -> Self {
        self.sql.push_str(if self.sql.is_empty() { "WITH " } else { ", " });
        let table = if self.backend == DbBackend::Postgres {
            let Source { select, from, values } = arrays(rows, self.values.len());
            self.values.extend(values);
            format!("SELECT {select} FROM {from}")
        } else {
            let rows = padded(rows);
            let width = rows.first().map_or(0, Vec::len);
            let sql = placeholders(rows.len(), width, "");
            self.values.extend(rows.into_iter().flatten());
            format!("VALUES {sql}")
        };
        // Writing to a String does not fail.
        let _ = write!(self.sql, "{name} ({columns}) AS ({table})");
        self
    }

    /// The whole statement.
    pub fn statement(self, query: &str) -> Statement {
        Statement::from_sql_and_values(self.backend, format!("{} {query}", self.sql), self.values)
    }
}

impl Insert<'_> {
    /// At least one row.
    pub fn statement(&self, backend: DbBackend, rows: Vec<Vec<Value>>) -> Statement {
        let mut head = format!("INSERT INTO {} ({}", self.table, self.columns.join(", "));
        let mut literals = String::new();
        for (column, literal) in self.constants {
            // Writing to a String does not fail.
            let _ = write!(head, ", {column}");
            let _ = write!(literals, ", {literal}");
        }
        if backend == DbBackend::Postgres {
            let Source { select, from, values } = arrays(rows, 0);
            let sql = format!("{head}) SELECT {select}{literals} FROM {from} {}", self.tail);
            return Statement::from_sql_and_values(backend, sql, values);
        }
        let values = placeholders(rows.len(), self.columns.len(), &literals);
        let sql = format!("{head}) VALUES {values} {}", self.tail);
        Statement::from_sql_and_values(backend, sql, rows.into_iter().flatten().collect::<Vec<_>>())
    }

    /// Rows written; fewer than given when some met a conflict.
    pub async fn run(&self, tx: &DatabaseTransaction, rows: Vec<Vec<Value>>) -> Result<u64, StoreError> {
        let backend = tx.get_database_backend();
        let mut written = 0u64;
        for piece in pieces(backend, rows) {
            let statement = self.statement(backend, piece);
            written = written.saturating_add(tx.execute_raw(statement).await?.rows_affected());
        }
        Ok(written)
    }
}

/// One UPDATE of many rows, each with values of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update {
    pub columns: &'static str,
    /// From UPDATE on; reads the values as `v`.
    pub update: &'static str,
}

impl Update {
    /// Rows written.
    pub async fn run(&self, tx: &DatabaseTransaction, rows: Vec<Vec<Value>>) -> Result<u64, StoreError> {
        let backend = tx.get_database_backend();
        let mut written = 0u64;
        for piece in pieces(backend, rows) {
            let statement = Tables::new(backend)
                .with("v", self.columns, piece)
                .statement(self.update);
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

    const BOTH: [DbBackend; 2] = [DbBackend::Sqlite, DbBackend::Postgres];

    fn rows(count: i64) -> Vec<Vec<Value>> {
        (0..count).map(|n| vec![n.into(), (-n).into()]).collect()
    }

    #[test]
    fn pieces_keep_every_row_in_order_and_come_in_few_sizes_where_the_text_depends_on_them() {
        for (backend, expected) in BOTH.into_iter().zip([vec![256, 256, 64, 16, 4, 4, 1, 1, 1], vec![603]]) {
            let pieces: Vec<Vec<Vec<Value>>> = pieces(backend, rows(603)).collect();
            assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), expected);
            assert_eq!(pieces.concat(), rows(603));
        }
        for backend in BOTH {
            assert_eq!(pieces(backend, Vec::new()).count(), 0);
        }
    }

    const INSERT: Insert = Insert {
        table: "t",
        columns: &["a", "b", "d"],
        constants: &[("x", "0"), ("y", "'z'")],
        tail: "ON CONFLICT DO NOTHING",
    };

    #[test]
    fn sqlite_gets_nameless_values_and_its_literals_in_every_row() {
        let rows = vec![vec![1i64.into(), 2i64.into(), 3i64.into()]; 2];
        let statement = INSERT.statement(DbBackend::Sqlite, rows);
        assert_eq!(
            statement.sql,
            "INSERT INTO t (a, b, d, x, y) VALUES (?, ?, ?, 0, 'z'), (?, ?, ?, 0, 'z') ON CONFLICT DO NOTHING"
        );
        assert_eq!(statement.values.map(|values| values.0.len()), Some(6));
    }

    #[test]
    fn postgres_gets_arrays_and_learns_which_rows_have_no_value() {
        let none: Option<String> = None;
        let row = |n: i64, text: Option<&str>| -> Vec<Value> {
            vec![n.into(), text.map(str::to_owned).into(), none.clone().into()]
        };
        let statement = INSERT.statement(DbBackend::Postgres, vec![row(1, None), row(2, Some("two"))]);
        assert_eq!(
            statement.sql,
            "INSERT INTO t (a, b, d, x, y) SELECT u.c0, CASE WHEN u.has1 THEN u.c1 END, CAST(NULL AS text), 0, 'z' \
             FROM unnest($1::bigint[], $2::boolean[], $3::text[]) AS u (c0, has1, c1) ON CONFLICT DO NOTHING"
        );
        let array = |kind: ArrayType, values: Vec<Value>| Value::Array(kind, Some(Box::new(values)));
        let expected = vec![
            array(ArrayType::BigInt, vec![1i64.into(), 2i64.into()]),
            array(ArrayType::Bool, vec![false.into(), true.into()]),
            array(ArrayType::String, vec!["".into(), "two".into()]),
        ];
        assert_eq!(statement.values.map(|values| values.0), Some(expected));
    }

    #[test]
    fn tables_number_their_values_one_after_the_other() {
        let rows = |n: i64| vec![vec![n.into(), n.into()]; 2];
        let both = |backend| {
            let tables = Tables::new(backend)
                .with("v", "a, b", rows(1))
                .with("w", "c, d", rows(2));
            tables.statement("SELECT 1").sql
        };
        assert_eq!(
            both(DbBackend::Postgres),
            "WITH v (a, b) AS (SELECT u.c0, u.c1 FROM unnest($1::bigint[], $2::bigint[]) AS u (c0, c1)), \
             w (c, d) AS (SELECT u.c0, u.c1 FROM unnest($3::bigint[], $4::bigint[]) AS u (c0, c1)) SELECT 1"
        );
        assert_eq!(
            both(DbBackend::Sqlite),
            "WITH v (a, b) AS (VALUES (?, ?), (?, ?), (?, ?), (?, ?)), w (c, d) AS (VALUES (?, ?), (?, ?), (?, ?), (?, ?)) SELECT 1",
            "filled up to a size whose text is known already"
        );
    }

    #[test]
    fn padding_repeats_the_last_value_only() {
        assert_eq!(padded(vec![1, 2, 3]), [1, 2, 3, 3]);
        assert_eq!(padded(Vec::<u8>::new()), Vec::<u8>::new());
        assert_eq!(padded((0..300).collect::<Vec<_>>()).len(), 512);
    }
}
