//! What the chain allows: transactions signed beforehand, sent to an anvil like the ones everything else runs on.

use super::Bench;
use super::report::Table;
use super::stats::per_second;
use crate::devnet::anvil::Anvil;
use crate::devnet::key;
use alloy::eips::eip2718::Encodable2718;
use alloy::network::{EthereumWallet, NetworkTransactionBuilder, TransactionBuilder};
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use anyhow::{Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::time::{Duration, Instant};

const CHAIN: u64 = 31_339;

async fn sign(from_nonce: u64, count: u64) -> Result<Vec<Bytes>> {
    let signer = key("payer")?;
    let wallet = EthereumWallet::from(signer);
    let mut raw = Vec::new();
    for nonce in from_nonce..from_nonce + count {
        let request = TransactionRequest::default()
            .with_chain_id(CHAIN)
            .with_to(Address::repeat_byte(0x55))
            .with_value(U256::from(1))
            .with_nonce(nonce)
            .with_gas_limit(21_000)
            .with_max_fee_per_gas(100_000_000_000)
            .with_max_priority_fee_per_gas(1_000_000_000);
        raw.push(request.build(&wallet).await?.encoded_2718().into());
    }
    Ok(raw)
}

/// Sends with `in_flight` calls at a time; the rate of accepted ones.
async fn send(anvil: &Anvil, raw: Vec<Bytes>, in_flight: usize) -> Result<f64> {
    let (count, last) = (
        raw.len() as u64,
        anvil.provider.get_transaction_count(key("payer")?.address()).await?,
    );
    let started = Instant::now();
    stream::iter(raw)
        .map(|bytes| async move {
            anvil
                .provider
                .raw_request::<_, String>("eth_sendRawTransaction".into(), (bytes,))
                .await
        })
        .buffered(in_flight)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let rate = per_second(count, started.elapsed().as_secs_f64());
    // All of them must be mined, else the node only stored them.
    for _ in 0..300 {
        if anvil.provider.get_transaction_count(key("payer")?.address()).await? == last + count {
            return Ok(rate);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the node did not mine what it took")
}

pub async fn run(bench: &Bench) -> Result<Vec<Table>> {
    let count = if bench.quick { 1_500 } else { 6_000 };
    let folder = tempfile::tempdir()?;
    let anvil = Anvil::start(CHAIN, &folder.path().join("chain.log")).await?;
    anvil
        .set_balance(key("payer")?.address(), U256::from(10).pow(U256::from(24)))
        .await?;
    anvil.mine_every(1).await?;
    let columns = ["in_flight_8", "in_flight_64"];
    let mut table = Table::new(
        "node",
        "Chain node",
        &columns,
        &format!("{count} transfers signed beforehand, from one account, to an anvil with blocks of 1 s."),
    );
    let mut values = Vec::new();
    for (round, in_flight) in [8usize, 64].into_iter().enumerate() {
        bench.progress.say(&format!("raw transactions, {in_flight} in flight"));
        let raw = sign(round as u64 * count, count).await?;
        ensure!(raw.len() as u64 == count, "not all transactions were signed");
        values.push(Some(send(&anvil, raw, in_flight).await?));
    }
    table.row("send_raw", "eth_sendRawTransaction", "1/s", values);
    Ok(vec![table])
}
