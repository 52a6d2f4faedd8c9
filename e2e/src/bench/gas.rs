//! What one settlement costs on chain and in RPC calls, by how many travel together and by how many receipts each covers.

use super::report::Table;
use super::site::{PAYEES, Site};
use super::{Backend, Bench};
use crate::coordinator::{Job, Signed};
use crate::devnet::Chain;
use crate::metrics::{scrape, total};
use alloy::consensus::Transaction as _;
use alloy::network::TransactionResponse as _;
use alloy::primitives::{Address, B256, keccak256};
use alloy::providers::Provider;
use alloy::sol_types::SolEvent;
use anyhow::{Context, Result, ensure};
use relayer::adapter::abi::ISettlementInbox;
use relayer::settlement::receipt::netting::roots;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Largest batch the wire format allows.
const BATCH_MAX: usize = 1_024;
/// Settlements of a batch whose settlements cover several receipts.
const NETTED: usize = 128;

/// What a batch cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    settlements: u64,
    dispatch_gas: u64,
    execute_gas: u64,
    messages: u64,
    executions: u64,
    rpc_calls: f64,
    /// The same without what polling two quiet chains would have cost in that time.
    rpc_calls_own: f64,
}

/// Transactions of the relayer on a chain after `from`: (how many, gas, settlements they paid).
async fn spent(chain: &Chain, sender: Address, from: u64) -> Result<(u64, u64, u64)> {
    let provider = &chain.anvil.provider;
    let (mut count, mut gas, mut paid) = (0, 0, 0);
    for number in from + 1..=provider.get_block_number().await? {
        let block = provider.get_block_by_number(number.into()).full().await?;
        for transaction in block.context("a block vanished")?.transactions.txns() {
            if transaction.from() != sender || transaction.to().is_none() {
                continue;
            }
            let receipt = provider.get_transaction_receipt(transaction.tx_hash()).await?;
            let receipt = receipt.context("a receipt vanished")?;
            count += 1;
            gas += receipt.gas_used;
            let topic = Some(&ISettlementInbox::SettlementPaid::SIGNATURE_HASH);
            paid += receipt.inner.logs().iter().filter(|log| log.topic0() == topic).count() as u64;
        }
    }
    Ok((count, gas, paid))
}

struct Lab<'a> {
    bench: &'a Bench,
    site: Site,
}

impl Lab<'_> {
    async fn rpc_calls(&self) -> Result<f64> {
        let text = scrape(&self.site.world.relayer.rest_url()).await?;
        Ok(total(&text, "relayer_chain_rpc_calls_total"))
    }

    /// Settles these in messages of `batch` and reads from the chains what it took.
    async fn settle(&mut self, batch: usize, signed: &[Signed]) -> Result<Cost> {
        let settings = [
            ("batcher.count_max", toml::Value::from(batch as i64)),
            // Only a full message leaves; the last one is full too.
            ("batcher.linger_ms", 20_000.into()),
            ("intake.receipts_per_settlement_max", 128.into()),
        ];
        self.site.configure(&settings)?;
        self.site.relayer().start().await?;
        sleep(Duration::from_secs(2)).await;
        let idle = (self.rpc_calls().await?, Instant::now());
        sleep(Duration::from_secs(3)).await;
        let before = (self.rpc_calls().await?, Instant::now());
        let idle_per_second = (before.0 - idle.0) / before.1.duration_since(idle.1).as_secs_f64();
        let devnet = &self.site.world.devnet;
        let heads = [
            devnet.source.anvil.provider.get_block_number().await?,
            devnet.target.anvil.provider.get_block_number().await?,
        ];
        self.site.submit(signed).await?;
        self.site.wait_settled(signed).await?;
        let after = (self.rpc_calls().await?, Instant::now());
        let relayer = devnet.accounts.relayer.address();
        let (messages, dispatch_gas, _) = spent(&devnet.source, relayer, heads[0]).await?;
        let (executions, execute_gas, paid) = spent(&devnet.target, relayer, heads[1]).await?;
        ensure!(paid == signed.len() as u64, "{paid} of {} were paid", signed.len());
        self.site.relayer().stop().await?;
        let rpc_calls = after.0 - before.0;
        let quiet = idle_per_second * after.1.duration_since(before.1).as_secs_f64();
        Ok(Cost {
            settlements: signed.len() as u64,
            dispatch_gas,
            execute_gas,
            messages,
            executions,
            rpc_calls,
            rpc_calls_own: (rpc_calls - quiet).max(0.0),
        })
    }

    /// Settlements that cover so many receipts each.
    async fn netted(&self, count: usize, receipts: usize, payees: &[Address]) -> Result<Vec<Signed>> {
        let coordinator = &self.site.world.coordinator;
        let deadline = self.site.world.deadline().await?;
        let mut signed = Vec::with_capacity(count);
        for n in 0..count {
            let mut jobs: Vec<Job> = (0..receipts).map(|_| coordinator.job("provider", 1)).collect();
            jobs.sort_by_key(|job| job.receipt_hash);
            let hashes: Vec<B256> = jobs.iter().map(|job| job.receipt_hash).collect();
            let ids: Vec<B256> = jobs.iter().map(|job| keccak256(job.job_id.as_bytes())).collect();
            let first = jobs.first().context("a settlement without receipts")?;
            let amount = coordinator.amount(receipts as u64);
            let mut fields = coordinator.terms(first, payees[n % payees.len()], amount, deadline);
            (fields.receipt_hash, fields.job_id) = roots(&hashes, &ids)?;
            let mut one = coordinator.sign(first, fields)?;
            one.request = coordinator.request(&jobs.iter().collect::<Vec<_>>(), &one.terms, &one.auth);
            signed.push(one);
        }
        Ok(signed)
    }
}

fn columns(sizes: &[usize]) -> Vec<String> {
    sizes.iter().map(ToString::to_string).collect()
}

/// Gas and calls by settlements per message.
async fn by_batch(lab: &mut Lab<'_>) -> Result<Table> {
    let sizes: &[usize] = if lab.bench.quick {
        &[1, 16, 128]
    } else {
        &[1, 16, 128, BATCH_MAX]
    };
    let names = columns(sizes);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut table = Table::new(
        "gas",
        "Gas and RPC calls by batch size",
        &names,
        &format!(
            "One message of so many settlements over LayerZero V2, one signature each, paid to {PAYEES} payees that hold the token; whole \
             transactions on anvil, divided by the settlements. What the bridge charges for attesting and delivering a message is its native fee \
             and not in here. RPC calls of one message alone on two chains that are polled four times a second; without the polling that happens \
             anyway in the second row. At throughput, polling is shared: see End to end."
        ),
    );
    for size in sizes {
        lab.bench.progress.say(&format!("a message of {size}"));
        let signed = lab.site.sign(*size).await?;
        let cost = lab.settle(*size, &signed).await?;
        let count = cost.settlements as f64;
        let mut set = |key: &str, what: &str, value| table.set(&size.to_string(), key, what, "", Some(value));
        set(
            "gas_per_settlement",
            "gas per settlement",
            (cost.dispatch_gas + cost.execute_gas) as f64 / count,
        );
        set("execute_gas", "of it paying", cost.execute_gas as f64 / count);
        set(
            "dispatch_gas",
            "of it sending the message",
            cost.dispatch_gas as f64 / count,
        );
        set("executions", "executions", cost.executions as f64);
        set("messages", "messages", cost.messages as f64);
        set(
            "rpc_calls",
            "RPC calls per settlement, polling included",
            cost.rpc_calls / count,
        );
        set(
            "rpc_calls_own",
            "RPC calls per settlement, without polling",
            cost.rpc_calls_own / count,
        );
    }
    Ok(table)
}

/// Gas per receipt by receipts per settlement.
async fn by_receipts(lab: &mut Lab<'_>, payees: &[Address]) -> Result<Table> {
    let sizes = [1usize, 16, 128];
    let names = columns(&sizes);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let count = if lab.bench.quick { 16 } else { NETTED };
    let mut table = Table::new(
        "gas_per_receipt",
        "Gas by receipts per settlement",
        &names,
        &format!(
            "One message of {count} settlements, each over so many receipts of one provider. What goes on chain is the same: terms carry roots."
        ),
    );
    for receipts in sizes {
        lab.bench
            .progress
            .say(&format!("{count} settlements of {receipts} receipts"));
        let signed = lab.netted(count, receipts, payees).await?;
        let cost = lab.settle(count, &signed).await?;
        let gas = (cost.dispatch_gas + cost.execute_gas) as f64;
        let mut set = |key: &str, what: &str, value| table.set(&receipts.to_string(), key, what, "", Some(value));
        set(
            "gas_per_settlement",
            "gas per settlement",
            gas / cost.settlements as f64,
        );
        set(
            "gas_per_receipt",
            "gas per receipt",
            gas / (cost.settlements * receipts as u64) as f64,
        );
        set(
            "rpc_calls_per_receipt",
            "RPC calls per receipt, without polling",
            cost.rpc_calls_own / (cost.settlements * receipts as u64) as f64,
        );
    }
    Ok(table)
}

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let site = Site::new(bench, Backend::Sqlite, &[], &|_, relayer| {
        relayer.timeout = 600;
        relayer.rescue_after = 600;
    })
    .await?;
    let mut lab = Lab { bench, site };
    let payees = Site::payees()?;
    lab.site.endow().await?;
    Ok(vec![by_batch(&mut lab).await?, by_receipts(&mut lab, &payees).await?])
}
