//! What the demo says at its end.

use super::{Report, Share, say};
use crate::bench::report::shown;
use crate::bench::stats::Times;
use crate::carriage::{Carried, Timing, bridge_fees, timing};
use crate::coordinator::Signed;
use crate::harness::World;
use crate::witness::Witness;
use alloy::primitives::utils::format_ether;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use anyhow::{Context, Result};
use comfy_table::Table;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What one bridge did. Settlements count where their message arrived first; those that needed two bridges count apart. Everything else is
/// about the share it carried alone.
#[derive(Debug, Clone, Serialize)]
pub struct BridgeFigures {
    pub settled: u64,
    pub messages: u64,
    /// Gas of a whole transaction, the median: the first message of all also stores what later ones only read.
    pub send_gas: u64,
    pub receive_gas: u64,
    pub receive_gas_most: u64,
    pub execute_gas_per_settlement: u64,
    pub fee_wei_per_settlement: String,
    /// From source finality to payment.
    pub p50_s: Option<f64>,
    pub p95_s: Option<f64>,
    /// The relayer's own share of that.
    pub own_p50_s: Option<f64>,
    pub own_p95_s: Option<f64>,
    /// Polling of both chains included.
    pub rpc_calls_per_message: f64,
    #[serde(skip)]
    carried_alone: u64,
}

pub fn two_digits(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn seconds(timings: &[Timing], part: impl Fn(&Timing) -> Duration, percent: u32) -> Option<f64> {
    let mut times = Times::default();
    timings.iter().for_each(|timing| times.push(part(timing)));
    times.percentile_ms(percent).map(|ms| two_digits(ms / 1_000.0))
}

/// By bridge.
pub async fn figures(
    world: &World,
    witness: &Witness,
    messages: &[Carried],
    shares: &[Share],
    quorum_message: B256,
) -> Result<BTreeMap<String, BridgeFigures>> {
    let mut found = BTreeMap::new();
    for (position, share) in shares.iter().enumerate() {
        let before = shares.get(position + 1).map_or(u64::MAX, |next| next.after[0]);
        let within = |one: &&Carried| {
            let first = one.sent.first().map_or(0, |leg| leg.block);
            first > share.after[0] && first <= before && one.sent.iter().all(|leg| leg.bridge == share.bridge)
        };
        let alone: Vec<&Carried> = messages
            .iter()
            .filter(within)
            .filter(|one| one.message != quorum_message)
            .collect();
        let timings: Vec<Timing> = alone
            .iter()
            .filter_map(|one| timing(&world.devnet, witness, one, 1))
            .collect();
        let settled = alone.iter().map(|one| one.settled()).sum::<u64>().max(1);
        let fees = bridge_fees(&world.devnet, alone.iter().flat_map(|one| &one.sent)).await?;
        let fee = fees.get(share.bridge).map_or(U256::ZERO, |(wei, _)| *wei);
        let execute_gas: u64 = alone.iter().flat_map(|one| &one.paid).map(|paying| paying.gas).sum();
        let first = |one: &&Carried| one.message != quorum_message && one.first() == Some(share.bridge);
        let figures = BridgeFigures {
            settled: messages.iter().filter(first).map(Carried::settled).sum(),
            messages: alone.len() as u64,
            send_gas: median(alone.iter().flat_map(|one| &one.sent).map(|leg| leg.gas)),
            receive_gas: median(alone.iter().flat_map(|one| &one.received).map(|leg| leg.gas)),
            receive_gas_most: alone
                .iter()
                .flat_map(|one| &one.received)
                .map(|leg| leg.gas)
                .max()
                .unwrap_or(0),
            execute_gas_per_settlement: execute_gas / settled,
            fee_wei_per_settlement: (fee / U256::from(settled)).to_string(),
            p50_s: seconds(&timings, |timing| timing.total, 50),
            p95_s: seconds(&timings, |timing| timing.total, 95),
            own_p50_s: seconds(&timings, |timing| timing.own(), 50),
            own_p95_s: seconds(&timings, |timing| timing.own(), 95),
            rpc_calls_per_message: two_digits(share.rpc_calls / alone.len().max(1) as f64),
            carried_alone: settled,
        };
        found.insert(share.bridge.to_owned(), figures);
    }
    Ok(found)
}

/// Settlements and gas of every execution of the relayer.
pub fn executions(world: &World, messages: &[Carried]) -> Vec<(u64, u64)> {
    let relayer = world.devnet.accounts.relayer.address();
    let paying = messages.iter().flat_map(|one| &one.paid);
    let ours = paying.filter(|paying| paying.by == relayer);
    ours.map(|paying| (paying.settlements, paying.gas)).collect()
}

fn comparison(report: &Report) -> Table {
    let bridges: Vec<(&String, &BridgeFigures)> = report.bridges.iter().collect();
    let mut table = Table::new();
    let names = bridges.iter().map(|(name, _)| (*name).clone());
    table.set_header(std::iter::once("bridge for bridge, each alone".to_owned()).chain(names));
    let mut row = |what: &str, cell: &dyn Fn(&BridgeFigures) -> String| {
        let cells = bridges.iter().map(|(_, figures)| cell(figures));
        table.add_row(std::iter::once(what.to_owned()).chain(cells));
    };
    row("messages", &|one| one.messages.to_string());
    row("settlements", &|one| one.carried_alone.to_string());
    row("gas of sending a message", &|one| shown(Some(one.send_gas as f64)));
    row("gas of receiving it, median (most)", &|one| {
        format!(
            "{} ({})",
            shown(Some(one.receive_gas as f64)),
            shown(Some(one.receive_gas_most as f64))
        )
    });
    row("gas of paying, per settlement", &|one| {
        shown(Some(one.execute_gas_per_settlement as f64))
    });
    row("bridge fee per settlement, gwei", &|one| {
        let wei: f64 = one.fee_wei_per_settlement.parse().unwrap_or(0.0);
        shown(Some(wei / 1e9))
    });
    row("source finality to payment, p50 / p95, s", &|one| {
        format!("{} / {}", shown(one.p50_s), shown(one.p95_s))
    });
    row("of it the relayer's own share, p50 / p95, s", &|one| {
        format!("{} / {}", shown(one.own_p50_s), shown(one.own_p95_s))
    });
    row("RPC calls per message, polling included", &|one| {
        shown(Some(one.rpc_calls_per_message))
    });
    table
}

pub async fn closing(
    world: &World,
    signed: &[Signed],
    deposited: U256,
    executions: &[(u64, u64)],
    report: &Report,
) -> Result<()> {
    say(comparison(report).to_string());
    let mut rows = vec![(
        "settlements paid, each exactly once".to_owned(),
        report.settled.to_string(),
    )];
    rows.extend(money(world, signed, deposited).await?);
    let (least, most) = executions.iter().fold((u64::MAX, 0), |(least, most), (paid, _)| {
        (least.min(*paid), most.max(*paid))
    });
    let sizes = format!("{}, of {least} to {most} settlements", executions.len());
    rows.push(("executions, without the self-executed one".into(), sizes));
    for (what, count) in [
        ("gas of paying, per settlement", report.gas_per_settlement),
        ("messages another bridge took over", report.failovers),
        ("settlements paid by the word of two bridges", report.quorum_settled),
    ] {
        rows.push((what.into(), count.to_string()));
    }
    say(table("read from the chains", rows).to_string());
    let per_second = "settled per second, first submit to last finality".to_owned();
    let drift = "differences between ledger and chains (drift)".to_owned();
    let rows = vec![
        (
            "RPC calls per settlement".to_owned(),
            format!("{:.2}", report.rpc_calls_per_settlement),
        ),
        (per_second, format!("{:.1}", report.settled_per_second)),
        (drift, report.drift.to_string()),
        ("duplicates refused".to_owned(), report.duplicates_refused.to_string()),
    ];
    say(table("said by the relayer", rows).to_string());
    Ok(())
}

fn table(title: &str, rows: Vec<(String, String)>) -> Table {
    let mut table = Table::new();
    table.set_header([title, ""]);
    for (what, value) in rows {
        table.add_row([what, value]);
    }
    table
}

/// Where the deposit is, and what all this cost the relayer.
async fn money(world: &World, signed: &[Signed], deposited: U256) -> Result<[(String, String); 6]> {
    let chain = &world.devnet.target;
    let payees: BTreeSet<Address> = signed.iter().map(|one| one.terms.payee).collect();
    let mut received = U256::ZERO;
    for payee in &payees {
        received += world.balance(chain, *payee).await?;
    }
    let vault = world.balance(chain, chain.vault).await?;
    let relayer = world.devnet.accounts.relayer.address();
    let funded = U256::from(10).pow(U256::from(22));
    let spent_source = funded - world.devnet.source.anvil.provider.get_balance(relayer).await?;
    let spent_target = funded - chain.anvil.provider.get_balance(relayer).await?;
    let rest = deposited
        .checked_sub(received + vault)
        .context("more was paid than deposited")?;
    let tokens = |units| format!("{} tokens", whole(units));
    let ether = |wei| format!("{} ether", format_ether(wei));
    Ok([
        (format!("{} payees hold", payees.len()), tokens(received)),
        ("deposited by the payer".into(), tokens(deposited)),
        ("left in the vault".into(), tokens(vault)),
        ("deposited - paid - left".into(), tokens(rest)),
        ("source: gas and bridge fees of the relayer".into(), ether(spent_source)),
        ("target: gas of the relayer".into(), ether(spent_target)),
    ])
}

/// Whole tokens with at most two digits behind the point.
pub fn whole(units: U256) -> String {
    let cents = units / U256::from(10).pow(U256::from(16));
    let cents: u128 = cents.try_into().unwrap_or(u128::MAX);
    format!("{}.{:02}", cents / 100, cents % 100)
}
