//! The three bridges beside each other: gas, fees, RPC calls, and how long a message takes from source finality to payment.

use super::report::Table;
use super::site::{PAYEES, Site};
use super::stats::Times;
use super::throughput::wait_funded;
use super::{Backend, Bench};
use crate::carriage::{Carried, Timing, bridge_fees, carried, heads, timing};
use crate::coordinator::Signed;
use crate::devnet::{BRIDGES, WORMHOLE_BRIDGE, ccip};
use crate::metrics::{scrape, total};
use crate::witness::Witness;
use alloy::primitives::U256;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const COST: &str = "bridges";
const TIMES: &str = "bridge_times";
/// Columns.
pub const NAMES: [&str; 3] = [BRIDGES[0], ccip::BRIDGE, WORMHOLE_BRIDGE];
/// Settlements per message whose cost is shown.
const SIZES: [usize; 3] = [1, 16, 128];
/// How long two quiet chains are polled to know what polling costs.
const QUIET: Duration = Duration::from_secs(4);
/// Between two submits of the messages whose time is taken: they overlap, as they would under light load.
const SPACING: Duration = Duration::from_millis(900);

/// Whether a table is one of this family.
pub fn is_of(table: &str) -> bool {
    [COST, TIMES].contains(&table)
}

struct Lab<'a> {
    bench: &'a Bench,
    site: Site,
    witness: Witness,
}

/// One message alone.
struct Alone {
    carried: Carried,
    fee: U256,
    rpc_calls: f64,
    rpc_calls_own: f64,
}

impl<'a> Lab<'a> {
    async fn new(bench: &'a Bench, bridge: &str) -> Result<Self> {
        let preferred = bridge.to_owned();
        let site = Site::new(bench, Backend::Sqlite, &[], &|devnet, relayer| {
            devnet.with_every_protocol();
            // Every bridge waits for the same finality, so that only what comes after it differs.
            devnet.confirmations = devnet.finality_depth;
            relayer.bridges = vec![BRIDGES[0].into(), WORMHOLE_BRIDGE.into()];
            relayer.default_bridge = Some(preferred.clone());
            // Nothing is carried by another bridge, nothing rescued.
            relayer.timeout = 600;
            relayer.rescue_after = 600;
        })
        .await?;
        site.endow().await?;
        let witness = Witness::watch([&site.world.devnet.source, &site.world.devnet.target]);
        Ok(Self { bench, site, witness })
    }

    async fn rpc_calls(&self) -> Result<f64> {
        let text = scrape(&self.site.world.relayer.rest_url()).await?;
        Ok(total(&text, "relayer_chain_rpc_calls_total"))
    }

    async fn start(&mut self, batch: usize, linger_ms: i64) -> Result<()> {
        let settings = [
            ("batcher.count_max", toml::Value::from(batch as i64)),
            ("batcher.linger_ms", linger_ms.into()),
        ];
        self.site.configure(&settings)?;
        self.site.relayer().start().await?;
        wait_funded(&self.site.world).await
    }

    /// What was sent after these heads, all of it over this bridge and paid.
    async fn paid(&self, after: crate::carriage::Heads, bridge: &str, messages: usize) -> Result<Vec<Carried>> {
        let found = carried(&self.site.world.devnet, after).await?;
        ensure!(
            found.len() == messages,
            "{} of {messages} messages were sent",
            found.len()
        );
        for one in &found {
            let over = one.sent.iter().all(|leg| leg.bridge == bridge) && one.first() == Some(bridge);
            ensure!(over, "{} went over {:?}", one.message, one.sent);
            let (settled, all) = (one.settled(), u64::from(one.settlements));
            ensure!(
                settled == all,
                "{settled} of {all} settlements of {} were paid",
                one.message
            );
        }
        Ok(found)
    }

    /// One message of so many settlements on two chains where nothing else happens.
    async fn alone(&mut self, bridge: &str, size: usize) -> Result<Alone> {
        // Only a full message leaves.
        self.start(size, 20_000).await?;
        // What follows a start is no polling of quiet chains.
        sleep(Duration::from_secs(2)).await;
        let quiet = (self.rpc_calls().await?, Instant::now());
        sleep(QUIET).await;
        let before = (self.rpc_calls().await?, Instant::now());
        let polling = (before.0 - quiet.0) / before.1.duration_since(quiet.1).as_secs_f64();
        let after = heads(&self.site.world.devnet).await?;
        let signed = self.site.sign(size).await?;
        self.site.submit(&signed).await?;
        self.site.wait_settled(&signed).await?;
        let rpc_calls = self.rpc_calls().await? - before.0;
        let seconds = before.1.elapsed().as_secs_f64();
        let mut found = self.paid(after, bridge, 1).await?;
        let carried = found.pop().context("no message")?;
        let fees = bridge_fees(&self.site.world.devnet, carried.sent.iter()).await?;
        self.site.relayer().stop().await?;
        Ok(Alone {
            fee: fees.get(bridge).map_or(U256::ZERO, |(wei, _)| *wei),
            carried,
            rpc_calls,
            rpc_calls_own: (rpc_calls - polling * seconds).max(0.0),
        })
    }

    /// Messages of one settlement each, one after the other, as soon as they come.
    async fn times(&mut self, bridge: &str) -> Result<(Vec<Carried>, Vec<Timing>)> {
        let messages = self.bench.size(8, 40);
        self.start(1, 0).await?;
        let after = heads(&self.site.world.devnet).await?;
        let signed: Vec<Signed> = self.site.sign(messages).await?;
        for one in &signed {
            self.site.submit(std::slice::from_ref(one)).await?;
            sleep(SPACING).await;
        }
        self.site.wait_settled(&signed).await?;
        let found = self.paid(after, bridge, messages).await?;
        self.site.relayer().stop().await?;
        let devnet = &self.site.world.devnet;
        let timings = found.iter().map(|one| timing(devnet, &self.witness, one, 1));
        let timings: Option<Vec<Timing>> = timings.collect();
        Ok((found, timings.context("a block or a transaction was not seen")?))
    }
}

fn tables() -> Vec<Table> {
    let cost = Table::new(
        COST,
        "Bridge for bridge: cost",
        &NAMES,
        &format!(
            "The real contracts of LayerZero V2 (one DVN), CCIP 1.6 and Wormhole (19 guardians, 13 signatures) on anvil; each bridge carries one \
             message of 1, one of 16 and one of 128 settlements to {PAYEES} payees that hold the token. Gas is of whole transactions; receiving is the \
             transaction that ends in our inbox, whoever sends it: the protocol's executor, or the relayer over Wormhole. The bridge fee is what the \
             sender's account lost beside gas, at the prices this devnet is set to (LayerZero: gas at 2 gwei on the target; CCIP: 3,000 USD per coin, 20 gwei; \
             Wormhole: no fee, as on most chains); only its division by the batch carries over to real chains. The sum values gas at 1 gwei. RPC calls \
             are of one message alone, without the polling of two quiet chains, and with it."
        ),
    );
    let time = Table::new(
        TIMES,
        "Bridge for bridge: from source finality to payment",
        &NAMES,
        "Messages of one settlement, one each 0.9 s, blocks of 1 s, finality after 3 blocks, for which every bridge waits too. Blocks and \
         pending transactions are watched every 20 ms from outside the relayer. The clock starts when the block that makes the send final appears and stops \
         when the block with the payment appears; the relayer asks for heads every 250 ms (chains.poll_ms; the default is a second). Its own share is all time in which the next step was its: from the appearance of the block in \
         which the message arrived until its paying transaction was in the node's pool, and over Wormhole, where nobody else brings messages in, also \
         from the guardians' signatures until the receiving transaction was in the pool. The bridge's share ends where the relayer's begins; the rest waited in \
         the pool for a block. Percentiles are taken of each share by itself and do not add up.",
    );
    vec![cost, time]
}

fn put_cost(table: &mut Table, bridge: &str, size: usize, alone: &Alone) {
    let count = size as f64;
    let mut set = |key: &str, what: &str, unit, value: f64| {
        table.set(
            bridge,
            &format!("{key}_{size}"),
            &format!("{what}, batch {size}"),
            unit,
            Some(value),
        );
    };
    let gas = |legs: &[crate::carriage::Leg]| legs.iter().map(|leg| leg.gas).sum::<u64>() as f64;
    let ours = |legs: &[crate::carriage::Leg]| if bridge == WORMHOLE_BRIDGE { gas(legs) } else { 0.0 };
    let (send, receive) = (gas(&alone.carried.sent), gas(&alone.carried.received));
    let pay: u64 = alone.carried.paid.iter().map(|paying| paying.gas).sum();
    let fee_gwei = f64::from(alone.fee) / 1e9;
    set("send_gas", "gas of sending", "", send);
    set("receive_gas", "gas of receiving", "", receive);
    set("pay_gas", "gas of paying, per settlement", "", pay as f64 / count);
    set("fee", "bridge fee per settlement", "gwei", fee_gwei / count);
    let sum = fee_gwei + send + ours(&alone.carried.received) + pay as f64;
    set("sum", "fee and the relayer's gas per settlement", "gwei", sum / count);
    set(
        "rpc_own",
        "RPC calls of the message, without polling",
        "",
        alone.rpc_calls_own,
    );
    set("rpc", "RPC calls of the message, polling included", "", alone.rpc_calls);
}

/// Id, words and value of one part of a message's time.
type Part = (&'static str, &'static str, fn(&Timing) -> Duration);

fn put_times(table: &mut Table, bridge: &str, messages: &[Carried], timings: &[Timing]) {
    let mut set = |key: &str, what: &str, unit, value| table.set(bridge, key, what, unit, value);
    set("messages", "messages", "", Some(messages.len() as f64));
    let most = |gas: u64, leg: &crate::carriage::Leg| gas.max(leg.gas);
    let legs = messages.iter().flat_map(|one| &one.received);
    set(
        "receive_gas_max",
        "gas of receiving, most",
        "",
        Some(legs.fold(0, most) as f64),
    );
    let legs = messages.iter().flat_map(|one| &one.sent);
    set(
        "send_gas_max",
        "gas of sending, most",
        "",
        Some(legs.fold(0, most) as f64),
    );
    let parts: [Part; 6] = [
        ("total", "source finality to payment", |timing| timing.total),
        ("own", "of it the relayer's own share", Timing::own),
        ("bringing", "of that bringing the message in", |timing| timing.bringing),
        ("paying", "of that paying", |timing| timing.paying),
        ("bridge", "of it the bridge", |timing| timing.bridge),
        ("blocks", "of it waiting for blocks", |timing| timing.blocks),
    ];
    for (key, what, part) in parts {
        let mut times = Times::default();
        timings.iter().for_each(|timing| times.push(part(timing)));
        for percent in [50, 95] {
            let seconds = times.percentile_ms(percent).map(|ms| ms / 1_000.0);
            set(
                &format!("{key}_p{percent}"),
                &format!("{what}, p{percent}"),
                "s",
                seconds,
            );
        }
    }
}

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let mut made = tables();
    for bridge in NAMES {
        bench.progress.say(&format!("two chains for {bridge}"));
        let mut lab = Lab::new(bench, bridge).await?;
        for size in SIZES {
            bench.progress.say(&format!("{bridge}: a message of {size}"));
            let alone = lab.alone(bridge, size).await?;
            put_cost(&mut made[0], bridge, size, &alone);
        }
        bench.progress.say(&format!("{bridge}: times"));
        let (messages, timings) = lab.times(bridge).await?;
        put_times(&mut made[1], bridge, &messages, &timings);
    }
    Ok(made)
}
