//! Figures as they were measured: one JSON object, and the same as Markdown tables.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The one column of a table whose figures have no variants.
pub const VALUE: &str = "value";

/// One figure, per column; None where it could not be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub key: String,
    pub what: String,
    pub unit: &'static str,
    pub values: Vec<Option<f64>>,
}

/// Figures of one family that share their columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub key: String,
    pub title: String,
    /// How it was measured, so that it can be repeated and judged.
    pub how: String,
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn new(key: &str, title: &str, columns: &[&str], how: &str) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
            how: how.into(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, key: &str, what: &str, unit: &'static str, values: Vec<Option<f64>>) {
        self.rows.push(Row {
            key: key.into(),
            what: what.into(),
            unit,
            values,
        });
    }

    /// Sets one cell; the row is made when it is the first of its key.
    pub fn set(&mut self, column: &str, key: &str, what: &str, unit: &'static str, value: Option<f64>) {
        let Some(position) = self.columns.iter().position(|name| name == column) else {
            return;
        };
        if !self.rows.iter().any(|row| row.key == key) {
            self.row(key, what, unit, vec![None; self.columns.len()]);
        }
        if let Some(row) = self.rows.iter_mut().find(|row| row.key == key) {
            row.values[position] = value;
        }
    }

    pub fn get(&self, key: &str, column: &str) -> Option<f64> {
        let position = self.columns.iter().position(|name| name == column)?;
        let row = self.rows.iter().find(|row| row.key == key)?;
        row.values.get(position).copied().flatten()
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        for row in &self.rows {
            let cell = |value: &Option<f64>| value.map_or(Value::Null, |value| json!(rounded(value)));
            let figures = if self.columns == [VALUE] {
                row.values.first().map_or(Value::Null, cell)
            } else {
                let cells = self.columns.iter().cloned().zip(row.values.iter().map(cell));
                Value::Object(cells.collect())
            };
            object.insert(row.key.clone(), figures);
        }
        Value::Object(object)
    }

    fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.title, self.how);
        let header: Vec<&str> = self
            .columns
            .iter()
            .map(|column| if column == VALUE { "" } else { column.as_str() })
            .collect();
        let _ = writeln!(text, "| | {} |", header.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(self.columns.len()));
        for row in &self.rows {
            let cells: Vec<String> = row.values.iter().map(|value| shown(*value)).collect();
            let unit = if row.unit.is_empty() {
                String::new()
            } else {
                format!(", {}", row.unit)
            };
            let _ = writeln!(text, "| {}{unit} | {} |", row.what, cells.join(" | "));
        }
        text
    }
}

/// Three digits that mean something: no figure here repeats better than that.
pub fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    if digits <= 0 {
        return value.round();
    }
    let scale = 10f64.powi(digits.min(6));
    (value * scale).round() / scale
}

/// A number as people write it; a dash for what was not measured.
pub fn shown(value: Option<f64>) -> String {
    let Some(value) = value.map(rounded) else {
        return "–".into();
    };
    let text = format!("{value}");
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

/// Everything one run measured.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub tables: Vec<Table>,
    /// Families that failed, and why.
    pub failures: Vec<(String, String)>,
}

impl Report {
    /// A figure by table, row and column.
    pub fn get(&self, table: &str, key: &str, column: &str) -> Option<f64> {
        self.tables.iter().find(|found| found.key == table)?.get(key, column)
    }

    /// The tables with these keys, without the failures, and the rest.
    pub fn part(&self, is_of: impl Fn(&str) -> bool) -> (Self, Self) {
        let (of, rest) = self.tables.iter().cloned().partition(|table| is_of(&table.key));
        let failures = self.failures.clone();
        let of = Self {
            tables: of,
            failures: Vec::new(),
        };
        (of, Self { tables: rest, failures })
    }

    /// By table key.
    pub fn json(&self) -> Map<String, Value> {
        let mut object: Map<String, Value> = self
            .tables
            .iter()
            .map(|table| (table.key.clone(), table.json()))
            .collect();
        let failures: Map<String, Value> = self
            .failures
            .iter()
            .map(|(family, why)| (family.clone(), Value::String(why.clone())))
            .collect();
        object.insert("failures".into(), Value::Object(failures));
        object
    }

    pub fn markdown(&self) -> String {
        let mut text: Vec<String> = self.tables.iter().map(Table::markdown).collect();
        for (family, _) in &self.failures {
            text.push(format!("Figures of `{family}` are missing: it failed in this run.\n"));
        }
        text.join("\n")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn numbers_are_shown_with_three_digits_and_groups() {
        for (value, text) in [
            (1_234_567.0, "1,234,567"),
            (1_234.5, "1,235"),
            (-12_345.6, "-12,346"),
            (0.123_456, "0.123"),
            (12.345, "12.3"),
            (0.000_123_4, "0.000123"),
            (0.0, "0"),
            (999.96, "1,000"),
        ] {
            assert_eq!(shown(Some(value)), text, "{value}");
        }
        assert_eq!(shown(None), "–");
    }

    fn table() -> Table {
        let mut table = Table::new("intake", "Intake", &["sqlite", "postgres"], "So it was done.");
        table.set("sqlite", "accepted", "accepted", "1/s", Some(10_000.0));
        table.set("postgres", "p99", "p99", "ms", Some(4.25));
        table
    }

    #[test]
    fn cells_are_found_by_row_and_column_and_unmeasured_ones_are_null() {
        let mut report = Report::default();
        report.tables.push(table());
        assert_eq!(report.get("intake", "accepted", "sqlite"), Some(10_000.0));
        assert_eq!(report.get("intake", "accepted", "postgres"), None);
        assert_eq!(report.get("intake", "nothing", "postgres"), None);
        let json = Value::Object(report.json());
        assert_eq!(json["intake"]["accepted"]["sqlite"], 10_000.0);
        assert_eq!(json["intake"]["accepted"]["postgres"], Value::Null);
        assert_eq!(json["intake"]["p99"]["postgres"], 4.25);
    }

    #[test]
    fn a_table_of_single_values_is_flat_in_json() {
        let mut single = Table::new("start", "Start", &[VALUE], "");
        single.row("seconds", "until it answers", "s", vec![Some(0.5)]);
        assert_eq!(single.json()["seconds"], 0.5);
    }

    #[test]
    fn markdown_says_how_it_was_measured_and_dashes_what_was_not() {
        assert_eq!(
            table().markdown(),
            "### Intake\n\nSo it was done.\n\n| | sqlite | postgres |\n|---|---:|---:|\n\
             | accepted, 1/s | 10,000 | – |\n| p99, ms | – | 4.25 |\n"
        );
    }

    #[test]
    fn a_failed_family_is_named_in_both_forms() {
        let report = Report {
            tables: vec![],
            failures: vec![("gas".into(), "no chain".into())],
        };
        assert!(report.markdown().contains("`gas`"));
        assert_eq!(report.json()["failures"]["gas"], "no chain");
    }
}
