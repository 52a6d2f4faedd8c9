//! Waiting, with something to look at.

use super::say;
use crate::harness::{PATIENCE, World};
use crate::metrics::scrape;
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Shows how many are in which state until so many are settled; returns the seconds from the first submit.
pub async fn wait_settled(world: &World, wanted: u64, since: Instant) -> Result<f64> {
    let bar = ProgressBar::new(wanted);
    bar.set_style(
        ProgressStyle::with_template("   {elapsed_precise} [{bar:30}] {pos}/{len} settled  {msg}")?
            .progress_chars("=> "),
    );
    let until = Instant::now() + PATIENCE * 2;
    let mut shown = String::new();
    loop {
        let text = scrape(&world.relayer.rest_url()).await?;
        let count = |state: &str| state_count(&text, state);
        let settled = count("settled");
        let states = ["accepted", "batched", "dispatched", "delivered", "settled"];
        let message = states.map(|state| format!("{state} {}", count(state))).join("  ");
        bar.set_position(settled);
        bar.set_message(message.clone());
        if bar.is_hidden() && message != shown {
            say(format!("   {:5.1} s  {message}", since.elapsed().as_secs_f32()));
            shown = message.clone();
        }
        if settled >= wanted {
            bar.finish();
            return Ok(since.elapsed().as_secs_f64());
        }
        if Instant::now() > until {
            bail!(
                "{wanted} are not settled after {:?}: {message}; the log is {}",
                PATIENCE * 2,
                world.relayer.log_path().display()
            );
        }
        sleep(Duration::from_millis(250)).await;
    }
}

fn state_count(text: &str, state: &str) -> u64 {
    let label = format!("relayer_settlement_state_count{{state=\"{state}\"}}");
    text.lines()
        .find_map(|line| line.strip_prefix(&label)?.trim().parse::<f64>().ok())
        .unwrap_or(0.0) as u64
}
