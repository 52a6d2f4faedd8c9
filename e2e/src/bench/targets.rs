//! What we set out to reach, beside what was measured.

use super::report::{Report, VALUE, shown};
use serde::Serialize;
use std::fmt::Write as _;

/// Which side of the bound is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtLeast,
    AtMost,
    Below,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    pub what: String,
    pub bound: Bound,
    pub target: f64,
    pub unit: &'static str,
    /// Table of the report it is taken from.
    #[serde(skip)]
    pub table: &'static str,
    /// None: not measured in this run.
    pub measured: Option<f64>,
}

impl Target {
    pub fn met(&self) -> Option<bool> {
        self.measured.map(|measured| match self.bound {
            Bound::AtLeast => measured >= self.target,
            Bound::AtMost => measured <= self.target,
            Bound::Below => measured < self.target,
        })
    }

    /// By how much it is missed, percent of the target.
    pub fn missed_percent(&self) -> Option<f64> {
        let measured = self.measured.filter(|_| self.met() == Some(false))?;
        Some((measured - self.target).abs() / self.target * 100.0)
    }

    fn verdict(&self) -> String {
        match (self.met(), self.missed_percent()) {
            (Some(true), _) => "met".into(),
            (_, Some(percent)) => format!("missed by {percent:.0} %"),
            _ => "not measured".into(),
        }
    }
}

/// (what, bound, target, unit, table, row, column)
const TARGETS: &[(&str, Bound, f64, &str, &str, &str, &str)] = {
    use Bound::{AtLeast, AtMost, Below};
    &[
        (
            "accepted unary, share of min(signatures, store), SQLite",
            AtLeast,
            60.0,
            "%",
            "intake",
            "unary_share",
            "sqlite",
        ),
        (
            "accepted unary, share of min(signatures, store), PostgreSQL",
            AtLeast,
            60.0,
            "%",
            "intake",
            "unary_share",
            "postgres",
        ),
        (
            "accepted streamed, share of min(signatures, store), SQLite",
            AtLeast,
            60.0,
            "%",
            "intake",
            "stream_share",
            "sqlite",
        ),
        (
            "accepted streamed, share of min(signatures, store), PostgreSQL",
            AtLeast,
            60.0,
            "%",
            "intake",
            "stream_share",
            "postgres",
        ),
        (
            "accepted streamed, SQLite",
            AtLeast,
            10_000.0,
            "1/s",
            "intake",
            "stream_best",
            "sqlite",
        ),
        (
            "accepted streamed, PostgreSQL",
            AtLeast,
            10_000.0,
            "1/s",
            "intake",
            "stream_best",
            "postgres",
        ),
        (
            "accepted in groups of 128, share of the store ceiling, SQLite",
            AtLeast,
            60.0,
            "%",
            "intake",
            "group_share",
            "sqlite",
        ),
        (
            "accepted in groups of 128, share of the store ceiling, PostgreSQL",
            AtLeast,
            60.0,
            "%",
            "intake",
            "group_share",
            "postgres",
        ),
        (
            "p99 of an accept at half load, unary, SQLite",
            Below,
            50.0,
            "ms",
            "intake",
            "unary_half_p99",
            "sqlite",
        ),
        (
            "p99 of an accept at half load, unary, PostgreSQL",
            Below,
            50.0,
            "ms",
            "intake",
            "unary_half_p99",
            "postgres",
        ),
        (
            "p99 of an accept at half load, streamed, SQLite",
            Below,
            50.0,
            "ms",
            "intake",
            "stream_half_p99",
            "sqlite",
        ),
        (
            "p99 of an accept at half load, streamed, PostgreSQL",
            Below,
            50.0,
            "ms",
            "intake",
            "stream_half_p99",
            "postgres",
        ),
        (
            "settled end to end, sustained, blocks of 1 s, SQLite",
            AtLeast,
            1_000.0,
            "1/s",
            "settling",
            "sustained_per_second",
            "sqlite",
        ),
        (
            "settled end to end, sustained, blocks of 1 s, PostgreSQL",
            AtLeast,
            1_000.0,
            "1/s",
            "settling",
            "sustained_per_second",
            "postgres",
        ),
        (
            "RPC calls per settlement at batch 128",
            AtMost,
            0.2,
            "",
            "settling",
            "rpc_calls_per_settlement",
            "sqlite",
        ),
        (
            "resident memory with 100,000 in flight, SQLite",
            Below,
            150.0,
            "MB",
            "memory",
            "rss_mb",
            "sqlite",
        ),
        (
            "resident memory with 100,000 in flight, PostgreSQL",
            Below,
            150.0,
            "MB",
            "memory",
            "rss_mb",
            "postgres",
        ),
        (
            "1,000,000 settlements reconciled, SQLite",
            Below,
            60.0,
            "s",
            "books",
            "reconcile_seconds",
            "sqlite",
        ),
        (
            "1,000,000 settlements reconciled, PostgreSQL",
            Below,
            60.0,
            "s",
            "books",
            "reconcile_seconds",
            "postgres",
        ),
        (
            "start with a full database, SQLite",
            Below,
            3.0,
            "s",
            "start",
            "seconds",
            "sqlite",
        ),
        (
            "start with a full database, PostgreSQL",
            Below,
            3.0,
            "s",
            "start",
            "seconds",
            "postgres",
        ),
        (
            "Watch, events to 100 watchers together without a gap",
            AtLeast,
            20_000.0,
            "1/s",
            "watch",
            "deliveries_per_second",
            "sqlite",
        ),
        (
            "gas of receiving a message, whole transaction, LayerZero",
            AtMost,
            110_000.0,
            "",
            "bridge_times",
            "receive_gas_max",
            "layerzero",
        ),
        (
            "gas of receiving a message, whole transaction, CCIP",
            AtMost,
            260_000.0,
            "",
            "bridge_times",
            "receive_gas_max",
            "ccip",
        ),
        (
            "gas of receiving a message, whole transaction, Wormhole, 13 signatures",
            AtMost,
            185_000.0,
            "",
            "bridge_times",
            "receive_gas_max",
            "wormhole",
        ),
        (
            "relayer's own share from source finality to payment, p95, blocks of 1 s, LayerZero",
            Below,
            1.0,
            "s",
            "bridge_times",
            "own_p95",
            "layerzero",
        ),
        (
            "relayer's own share from source finality to payment, p95, blocks of 1 s, CCIP",
            Below,
            1.0,
            "s",
            "bridge_times",
            "own_p95",
            "ccip",
        ),
        (
            "relayer's own share from source finality to payment, p95, blocks of 1 s, Wormhole",
            Below,
            1.0,
            "s",
            "bridge_times",
            "own_p95",
            "wormhole",
        ),
        (
            "checkpoint of 1,000,000 allotments",
            Below,
            3.0,
            "s",
            "hub_tree",
            "seconds",
            VALUE,
        ),
        ("peak memory of that", Below, 1_073.0, "MB", "hub_tree", "rss_mb", VALUE),
        (
            "proofs made and checked, share of the raw hashes they need",
            AtLeast,
            50.0,
            "%",
            "hub_tree",
            "share",
            VALUE,
        ),
    ]
};

/// Every target with what this run measured.
pub fn judge(report: &Report) -> Vec<Target> {
    let judged = TARGETS
        .iter()
        .map(|(what, bound, target, unit, table, row, column)| Target {
            what: (*what).to_owned(),
            bound: *bound,
            target: *target,
            unit,
            table,
            measured: report.get(table, row, column),
        });
    judged.collect()
}

/// A JSON array with the verdicts.
pub fn json(targets: &[Target]) -> serde_json::Value {
    let one = |target: &Target| {
        serde_json::json!({
            "what": target.what,
            "bound": target.bound,
            "target": target.target,
            "unit": target.unit,
            "measured": target.measured.map(super::report::rounded),
            "met": target.met(),
            "missed_percent": target.missed_percent().map(super::report::rounded),
        })
    };
    targets.iter().map(one).collect()
}

pub fn markdown(targets: &[Target]) -> String {
    let mut text = String::from("### Targets\n\n| | target | measured | |\n|---|---:|---:|---|\n");
    for target in targets {
        let sign = match target.bound {
            Bound::AtLeast => "≥",
            Bound::AtMost => "≤",
            Bound::Below => "<",
        };
        let _ = writeln!(
            text,
            "| {} | {sign} {} {} | {} | {} |",
            target.what,
            shown(Some(target.target)),
            target.unit,
            shown(target.measured),
            target.verdict()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::report::Table;
    use super::*;

    fn target(bound: Bound, target: f64, measured: Option<f64>) -> Target {
        Target {
            what: "speed".into(),
            bound,
            target,
            unit: "1/s",
            table: "speeds",
            measured,
        }
    }

    #[test]
    fn the_verdict_says_by_how_much_it_is_missed() {
        for (bound, goal, measured, verdict) in [
            (Bound::AtLeast, 100.0, Some(100.0), "met"),
            (Bound::AtLeast, 100.0, Some(75.0), "missed by 25 %"),
            (Bound::Below, 50.0, Some(49.9), "met"),
            (Bound::Below, 50.0, Some(50.0), "missed by 0 %"),
            (Bound::Below, 50.0, Some(100.0), "missed by 100 %"),
            (Bound::AtMost, 0.2, Some(0.2), "met"),
            (Bound::AtMost, 0.2, Some(0.3), "missed by 50 %"),
            (Bound::AtLeast, 1.0, None, "not measured"),
        ] {
            assert_eq!(target(bound, goal, measured).verdict(), verdict);
        }
    }

    #[test]
    fn targets_take_their_figures_from_the_report() {
        let mut table = Table::new("start", "", &["sqlite", "postgres"], "");
        table.set("sqlite", "seconds", "", "s", Some(4.5));
        let mut report = Report::default();
        report.tables.push(table);
        let judged = judge(&report);
        let of = |end: &str| {
            let found = judged
                .iter()
                .find(|target| target.what.starts_with("start") && target.what.ends_with(end));
            found.unwrap().verdict()
        };
        assert_eq!(of("SQLite"), "missed by 50 %");
        assert_eq!(of("PostgreSQL"), "not measured");
        assert_eq!(judged.len(), TARGETS.len());
    }

    #[test]
    fn the_table_shows_target_measure_and_verdict() {
        let text = markdown(&[target(Bound::AtLeast, 10_000.0, Some(12_345.0))]);
        assert!(text.ends_with("| speed | ≥ 10,000 1/s | 12,345 | met |\n"), "{text}");
    }
}
