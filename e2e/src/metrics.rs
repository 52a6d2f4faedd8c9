//! Reads the relayer's `/metrics`.

use alloy::transports::http::reqwest;
use anyhow::{Context, Result};

/// All of `/metrics`, as text.
pub async fn scrape(rest_url: &str) -> Result<String> {
    let reply = reqwest::get(format!("{rest_url}/metrics"))
        .await
        .context("GET /metrics")?;
    Ok(reply.error_for_status()?.text().await?)
}

/// Sum of one metric over all its labels; 0 when it was never recorded.
pub fn total(text: &str, name: &str) -> f64 {
    let of_metric = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    };
    text.lines().filter(of_metric).filter_map(value).sum()
}

/// The same over the series with one label only, e.g. `class="forged"`.
pub fn labelled(text: &str, name: &str, label: &str) -> f64 {
    let series = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
    text.lines().filter(series).filter_map(value).sum()
}

fn value(line: &str) -> Option<f64> {
    line.rsplit(' ').next()?.parse().ok()
}
