//! How messages crossed, read from the chains: over which bridges they were sent, which brought them in and when, what paid them, and what each
//! of that cost. With a [`Witness`] also how long it took, and whose time it was.

use crate::devnet::{Chain, Devnet};
use crate::witness::Witness;
use alloy::consensus::Transaction as _;
use alloy::network::TransactionResponse as _;
use alloy::primitives::{Address, B256, Log, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, Log as FoundLog, TransactionReceipt};
use alloy::sol_types::SolEvent;
use anyhow::{Context, Result};
use relayer::adapter::abi::{ISettlementInbox, ISettlementOutbox};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A transaction that sent a message or brought it in.
#[derive(Debug, Clone)]
pub struct Leg {
    pub bridge: String,
    pub block: u64,
    pub transaction: B256,
    /// Of the whole transaction.
    pub gas: u64,
    /// Who sent the transaction.
    pub by: Address,
}

/// A transaction that paid settlements of one message.
#[derive(Debug, Clone)]
pub struct Paying {
    pub block: u64,
    pub transaction: B256,
    pub gas: u64,
    pub by: Address,
    pub settlements: u64,
}

/// One message from the source's outbox to the target's inbox, in the order of the chains.
#[derive(Debug, Clone)]
pub struct Carried {
    pub message: B256,
    pub settlements: u32,
    pub sent: Vec<Leg>,
    pub received: Vec<Leg>,
    pub paid: Vec<Paying>,
}

/// Newest block of source and target.
pub type Heads = [u64; 2];

pub async fn heads(devnet: &Devnet) -> Result<Heads> {
    let source = devnet.source.anvil.provider.get_block_number();
    let target = devnet.target.anvil.provider.get_block_number();
    let (source, target) = tokio::try_join!(source, target)?;
    Ok([source, target])
}

impl Carried {
    /// Settlements it has paid so far.
    pub fn settled(&self) -> u64 {
        self.paid.iter().map(|paying| paying.settlements).sum()
    }

    /// The bridge that brought it in first.
    pub fn first(&self) -> Option<&str> {
        self.received.first().map(|leg| leg.bridge.as_str())
    }
}

async fn logs(chain: &Chain, of: Address, topics: Vec<B256>, after: u64) -> Result<Vec<FoundLog>> {
    // Asked for a block that does not exist yet, a node answers with an error.
    if chain.anvil.provider.get_block_number().await? <= after {
        return Ok(Vec::new());
    }
    let filter = Filter::new().address(of).event_signature(topics).from_block(after + 1);
    Ok(chain.anvil.provider.get_logs(&filter).await?)
}

fn place(log: &FoundLog) -> Result<(u64, B256)> {
    let block = log.block_number.context("a log without a block")?;
    Ok((block, log.transaction_hash.context("a log without a transaction")?))
}

async fn receipt(chain: &Chain, transaction: B256) -> Result<TransactionReceipt> {
    let found = chain.anvil.provider.get_transaction_receipt(transaction).await?;
    found.context("a receipt vanished")
}

async fn leg(chain: &Chain, port: Address, log: &FoundLog) -> Result<Leg> {
    let (block, transaction) = place(log)?;
    let found = chain.ports.iter().find(|(_, address)| **address == port);
    let receipt = receipt(chain, transaction).await?;
    Ok(Leg {
        bridge: found.map_or_else(|| port.to_string(), |(bridge, _)| bridge.clone()),
        block,
        transaction,
        gas: receipt.gas_used,
        by: receipt.from,
    })
}

/// Batches from source to target that were sent after these heads, by the order of sending.
pub async fn carried(devnet: &Devnet, after: Heads) -> Result<Vec<Carried>> {
    let all = messages(devnet, after).await?;
    Ok(all.into_iter().filter(|one| one.settlements > 0).collect())
}

/// Checkpoints of hubs, likewise; they count no settlements.
pub async fn carried_checkpoints(devnet: &Devnet, after: Heads) -> Result<Vec<Carried>> {
    let all = messages(devnet, after).await?;
    Ok(all.into_iter().filter(|one| one.settlements == 0).collect())
}

async fn messages(devnet: &Devnet, after: Heads) -> Result<Vec<Carried>> {
    let (source, target) = (&devnet.source, &devnet.target);
    let mut all: Vec<Carried> = Vec::new();
    let topic = vec![ISettlementOutbox::MessageDispatched::SIGNATURE_HASH];
    for log in logs(source, source.outbox, topic, after[0]).await? {
        let event = ISettlementOutbox::MessageDispatched::decode_log(&log.inner)?;
        let leg = leg(source, event.port, &log).await?;
        match all.iter_mut().find(|one| one.message == event.messageId) {
            Some(one) => one.sent.push(leg),
            None => all.push(Carried {
                message: event.messageId,
                settlements: event.count,
                sent: vec![leg],
                received: Vec::new(),
                paid: Vec::new(),
            }),
        }
    }
    let topic = vec![ISettlementInbox::MessageReceived::SIGNATURE_HASH];
    for log in logs(target, target.inbox, topic, after[1]).await? {
        let event = ISettlementInbox::MessageReceived::decode_log(&log.inner)?;
        if let Some(one) = all.iter_mut().find(|one| one.message == event.messageId) {
            one.received.push(leg(target, event.port, &log).await?);
        }
    }
    payments(target, after[1], &mut all).await?;
    Ok(all)
}

/// `SettlementPaid` does not name the message, `RunsPaid` of the same transaction does.
async fn payments(target: &Chain, after: u64, all: &mut [Carried]) -> Result<()> {
    let (paid, runs) = (
        ISettlementInbox::SettlementPaid::SIGNATURE_HASH,
        ISettlementInbox::RunsPaid::SIGNATURE_HASH,
    );
    let mut counts: BTreeMap<(u64, B256), (u64, Option<B256>)> = BTreeMap::new();
    for log in logs(target, target.inbox, vec![paid, runs], after).await? {
        let entry = counts.entry(place(&log)?).or_default();
        if log.topic0() == Some(&paid) {
            entry.0 += 1;
        } else {
            let inner: &Log = &log.inner;
            entry.1 = Some(ISettlementInbox::RunsPaid::decode_log(inner)?.messageId);
        }
    }
    for ((block, transaction), (settlements, message)) in counts {
        let Some(one) = all.iter_mut().find(|one| Some(one.message) == message) else {
            continue;
        };
        let receipt = receipt(target, transaction).await?;
        one.paid.push(Paying {
            block,
            transaction,
            gas: receipt.gas_used,
            by: receipt.from,
            settlements,
        });
    }
    Ok(())
}

/// What bridges took for carrying these legs, by bridge: (wei, legs). A block in which one account sent over several bridges does not say
/// what each took and is left out.
pub async fn bridge_fees<'a>(
    devnet: &Devnet,
    legs: impl Iterator<Item = &'a Leg>,
) -> Result<BTreeMap<String, (U256, u64)>> {
    let mut blocks: BTreeMap<(u64, Address), Vec<&str>> = BTreeMap::new();
    for leg in legs {
        blocks.entry((leg.block, leg.by)).or_default().push(&leg.bridge);
    }
    let mut fees: BTreeMap<String, (U256, u64)> = BTreeMap::new();
    for ((block, by), bridges) in blocks {
        let distinct: BTreeSet<&str> = bridges.iter().copied().collect();
        if distinct.len() > 1 {
            continue;
        }
        let entry = fees.entry(bridges[0].to_owned()).or_default();
        entry.0 += paid_beside_gas(&devnet.source, by, block).await?;
        entry.1 += bridges.len() as u64;
    }
    Ok(fees)
}

/// What an account had less after a block than before, without the gas of its transactions.
async fn paid_beside_gas(chain: &Chain, account: Address, block: u64) -> Result<U256> {
    let provider = &chain.anvil.provider;
    let before = provider.get_balance(account).number(block - 1).await?;
    let after = provider.get_balance(account).number(block).await?;
    let full = provider.get_block_by_number(block.into()).full().await?;
    let mut gas = U256::ZERO;
    for transaction in full.context("a block vanished")?.transactions.txns() {
        if transaction.from() == account && transaction.to().is_some() {
            let receipt = receipt(chain, transaction.tx_hash()).await?;
            gas += U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price);
        }
    }
    Ok(before.saturating_sub(after).saturating_sub(gas))
}

/// How long a message took from the finality of its source block to its payment, and whose time that was. The four parts are the whole.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub total: Duration,
    /// Until somebody else's part was done: the protocol had attested, and its own roles had brought the message in where they do.
    pub bridge: Duration,
    /// The relayer's: from an attestation that let it bring the message in until that transaction was in the node's pool; zero where somebody
    /// else does that.
    pub bringing: Duration,
    /// The relayer's: from the block in which the message arrived until the paying transaction was in the pool.
    pub paying: Duration,
    /// What it had sent waited for a block.
    pub blocks: Duration,
}

/// None while it is not paid, or where the witness came too late. `families` = how many bridges had to bring it.
pub fn timing(devnet: &Devnet, witness: &Witness, one: &Carried, families: usize) -> Option<Timing> {
    let (source, target) = (&devnet.source.anvil, &devnet.target.anvil);
    let finality = witness.block(source.chain, one.sent.first()?.block + devnet.options.finality_depth)?;
    let arrival = one.received.get(families.checked_sub(1)?)?;
    let arrived = witness.block(target.chain, arrival.block)?;
    let (first, last) = (one.paid.first()?, one.paid.last()?);
    let paid = witness.block(target.chain, last.block)?;
    let paying = witness.pooled(first.transaction)?.saturating_duration_since(arrived);
    let mut bringing = Duration::ZERO;
    let mut bridge = arrived.saturating_duration_since(finality);
    if arrival.by == devnet.accounts.relayer.address() {
        // We brought it in: theirs ended with the attestation.
        let ready = signed_at(devnet, one.message).map_or(finality, |signed| signed.max(finality));
        bringing = witness.pooled(arrival.transaction)?.saturating_duration_since(ready);
        bridge = ready.saturating_duration_since(finality);
    }
    let total = paid.saturating_duration_since(finality);
    Some(Timing {
        total,
        bridge,
        bringing,
        paying,
        blocks: total.saturating_sub(bridge).saturating_sub(bringing + paying),
    })
}

impl Timing {
    /// The relayer's own share.
    pub fn own(&self) -> Duration {
        self.bringing + self.paying
    }
}

fn signed_at(devnet: &Devnet, message: B256) -> Option<Instant> {
    devnet.guardians.signed_at(message)
}
