//! `relayer prune`: deletes what nothing needs any more of settlements that ended before a date. Works beside a running relayer.

use super::Global;
use super::config::open_store;
use super::failure::{DATABASE, Exit, Failure};
use super::output::{Output, fields, time};
use crate::clock::{Clock, SystemClock};
use crate::store::{Archive, PruneRule, Pruned};
use clap::Args;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Ended before this: a date (2026-01-31), a time (2026-01-31T12:00:00Z) or an age (30d, 12h, 10m)
    #[arg(long, value_name = "WHEN")]
    before: String,
    /// Count what would go and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write what goes to this file first, one JSON object per line; an existing file is added to
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    archive: Option<PathBuf>,
}

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(2);

struct Lines(File);

impl Archive for Lines {
    fn line(&mut self, line: &serde_json::Value) -> std::io::Result<()> {
        let mut text = line.to_string();
        text.push('\n');
        self.0.write_all(text.as_bytes())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.0.sync_data()
    }
}

pub(super) async fn prune(global: &Global, args: PruneArgs, output: &Output) -> Result<Exit, Failure> {
    let now_ms = SystemClock.now_ms();
    let rule = PruneRule {
        before_ms: moment(&args.before, now_ms).ok_or_else(|| {
            Failure::usage("--before must be a date, a time in UTC or an age: 2026-01-31, 2026-01-31T12:00:00Z, 30d")
        })?,
        now_ms,
    };
    if rule.before_ms > now_ms {
        return Err(Failure::usage("--before is in the future"));
    }
    let config = global.load(&[])?;
    let store = open_store(&config).await?;
    let failed = |error: crate::store::StoreError| Failure::new(Exit::Failed, DATABASE, error.to_string());
    store.check_schema().await.map_err(failed)?;
    if args.dry_run {
        let would = store.count_prunable(&rule).await.map_err(failed)?;
        print(output, &would, &rule, true);
        return Ok(Exit::Ok);
    }
    let mut archive = match &args.archive {
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            Some(Lines(file.map_err(|error| Failure::file(path, error))?))
        }
        None => None,
    };
    let mut told = Instant::now();
    let mut progress = |done: &Pruned| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            eprintln!(
                "{} settlements, {} messages, {} events",
                done.settlements, done.messages, done.events
            );
        }
    };
    let archive = archive.as_mut().map(|lines| lines as &mut dyn Archive);
    let done = store.prune(&rule, archive, &mut progress).await.map_err(failed)?;
    print(output, &done, &rule, false);
    Ok(Exit::Ok)
}

fn print(output: &Output, pruned: &Pruned, rule: &PruneRule, dry_run: bool) {
    let answer = serde_json::json!({ "before_ms": rule.before_ms, "dry_run": dry_run, "pruned": pruned });
    output.answer(&answer, || {
        let before = time(u64::try_from(rule.before_ms).unwrap_or_default());
        fields(&[
            ("ended before", before),
            (
                if dry_run { "would archive" } else { "archived" },
                format!("{} settlements", pruned.settlements),
            ),
            ("messages", pruned.messages.to_string()),
            ("groups", pruned.groups.to_string()),
            ("transactions", pruned.transactions.to_string()),
            ("receipts", pruned.receipts.to_string()),
            ("events", pruned.events.to_string()),
            ("logs", pruned.logs.to_string()),
        ])
    });
}

/// Unix ms of a date, a time in UTC, or so long before now.
pub(super) fn moment(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(unit) = text.chars().last().filter(char::is_ascii_lowercase) {
        let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
        let seconds = match unit {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        return now_ms.checked_sub(number.checked_mul(seconds)?.checked_mul(1_000)?);
    }
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) => (date, clock.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    if !fits {
        return None;
    }
    // Date to days after Howard Hinnant's days_from_civil: years from March, eras of 400 years.
    let shifted_year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let parts: Option<Vec<i64>> = text
        .split(separator)
        .map(|part| {
            part.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| part.parse().ok())
                .flatten()
        })
        .collect();
    parts?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_moment_is_a_date_a_time_or_an_age() {
        let now = 1_700_000_000_000;
        let check = |text: &str, expected: Option<i64>| assert_eq!(moment(text, now), expected, "{text}");
        check("1970-01-01", Some(0));
        check("2000-02-29T12:34:56Z", Some(951_827_696_000));
        check("2026-11-21 00:00:01Z", Some(1_795_219_201_000));
        check("30d", Some(now - 30 * 86_400_000));
        check("12h", Some(now - 43_200_000));
        check("0s", Some(now));
        for wrong in [
            "",
            "d",
            "30",
            "-3d",
            "2026-13-01",
            "2026-01-01T10:00:00",
            "2026-01-01T25:00:00Z",
            "2026-1",
            "3y",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn moments_and_printed_times_agree() {
        for ms in [0, 951_827_696_000, 1_709_164_800_000, 4_102_444_799_000] {
            assert_eq!(
                moment(&time(ms), 0),
                Some(ms as i64).filter(|ms| *ms > 0),
                "{}",
                time(ms)
            );
        }
    }
}
