//! Printing: tables, JSON, times, durations. Nothing else in the program writes to stdout.

use super::failure::Failure;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Where and how answers go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// One answer: JSON on one line, or what `human` makes of it.
    pub fn answer<T: Serialize>(&self, value: &T, human: impl FnOnce() -> String) {
        if self.json {
            println!("{}", serde_json::to_string(value).unwrap_or_default());
        } else {
            println!("{}", human().trim_end());
        }
    }

    pub fn failure(&self, failure: &Failure) {
        eprintln!("{}", self.failure_text(failure));
    }

    pub(super) fn failure_text(&self, failure: &Failure) -> String {
        if self.json {
            let metadata: serde_json::Map<String, serde_json::Value> = failure
                .metadata
                .iter()
                .map(|(key, value)| (key.clone(), value.clone().into()))
                .collect();
            return serde_json::json!({ "error": {
                "code": failure.code, "message": failure.message, "hint": failure.hint, "metadata": metadata,
            }})
            .to_string();
        }
        let mut text = format!("error {}: {}\n", failure.code, failure.message);
        for (key, value) in &failure.metadata {
            text.push_str(&format!("  {key}: {value}\n"));
        }
        text.push_str(&format!("  hint: {}", failure.hint));
        text
    }
}

/// A table with a header line and no frame, so that it can be cut with the usual tools.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table
}

/// Name and value, one per line; empty values are left out.
pub fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = rows.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// `0x12345678…9abc`: enough to recognise.
pub fn short(hex: &str) -> String {
    match (hex.get(..10), hex.len().checked_sub(4).and_then(|at| hex.get(at..))) {
        (Some(head), Some(tail)) if hex.len() > 18 => format!("{head}…{tail}"),
        _ => hex.to_owned(),
    }
}

/// UTC time of Unix milliseconds, to the second; empty for 0.
pub fn time(ms: u64) -> String {
    if ms == 0 {
        return String::new();
    }
    let seconds = ms / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to date after Howard Hinnant's civil_from_days, years from March, era of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// `850 ms`, `12.3 s`, `4 min 5 s`, `2 h 3 min`, `3 d 4 h`.
pub fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// Wei as ether with up to 9 decimals, exact digits only.
pub fn ether(wei: &str) -> String {
    let Ok(wei) = wei.parse::<alloy::primitives::U256>() else {
        return wei.to_owned();
    };
    let text = alloy::primitives::utils::format_ether(wei);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{} ether", if text.is_empty() { "0" } else { text })
}
