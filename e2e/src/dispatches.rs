//! How messages travelled: the dispatches of a settlement, what their bridges took by the chain and by the books, and what a lie needs.

use crate::coordinator::Signed;
use crate::devnet::Chain;
use crate::harness::World;
use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent;
use anyhow::{Context, Result, bail, ensure};
use relayer::adapter::abi::{ISettlementInbox, ISettlementOutbox};
use relayer::adapter::{ChainId, Header, Kind, SettlementId, tree};
use relayer::ledger::{AccountKey, Asset};
use relayer::store::{Store, StoreConfig};
use relayer_proto::v1;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Every dispatch a settlement's messages have, oldest first.
pub async fn dispatches(world: &World, id: SettlementId) -> Result<Vec<v1::Dispatch>> {
    let messages = world.get(id).await?.messages;
    Ok(messages.into_iter().flat_map(|message| message.dispatches).collect())
}

/// Waits until the dispatches are as `is` wants them.
pub async fn wait_dispatches(
    world: &World,
    id: SettlementId,
    what: &str,
    patience: Duration,
    is: impl Fn(&[v1::Dispatch]) -> bool,
) -> Result<Vec<v1::Dispatch>> {
    let until = Instant::now() + patience;
    loop {
        let now = dispatches(world, id).await?;
        if is(&now) {
            return Ok(now);
        }
        if Instant::now() > until {
            let log = std::fs::read_to_string(world.relayer.log_path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            bail!("{what}: not within {patience:?}: {:?}\n---- log\n{tail}", brief(&now));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn brief(dispatches: &[v1::Dispatch]) -> Vec<String> {
    let line = |d: &v1::Dispatch| {
        let stalled = if d.stalled_at_ms > 0 { " stalled" } else { "" };
        format!("{} {}/{}{stalled} {}", d.bridge, d.source_state, d.target_state, d.note)
    };
    dispatches.iter().map(line).collect()
}

/// On the source chain.
pub fn is_sent(dispatch: &v1::Dispatch) -> bool {
    ["included", "finalized"].contains(&dispatch.source_state.as_str())
}

/// Final on the source chain and recorded on the target: all a dispatch can become.
pub fn is_done(dispatch: &v1::Dispatch) -> bool {
    dispatch.source_state == "finalized" && dispatch.target_state == "received"
}

/// What was paid for sends on the source chain, by the chain alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fees {
    pub sends: usize,
    /// What all bridges together kept.
    pub kept: U256,
    /// What was sent along, refunds included: the most they can have kept.
    pub attached: U256,
}

/// Asks the chain. Fails when the relayer's account did anything there but send.
pub async fn bridge_fees(world: &World) -> Result<Fees> {
    let chain = &world.devnet.source;
    let account = world.devnet.accounts.relayer.address();
    let filter = Filter::new()
        .address(chain.outbox)
        .event_signature(ISettlementOutbox::MessageDispatched::SIGNATURE_HASH)
        .from_block(chain.start_block);
    let logs = chain.anvil.provider.get_logs(&filter).await?;
    let sends: BTreeSet<B256> = logs.iter().filter_map(|log| log.transaction_hash).collect();
    let mut spent = U256::ZERO;
    let mut attached = U256::ZERO;
    for hash in &sends {
        let receipt = chain.anvil.provider.get_transaction_receipt(*hash).await?;
        let receipt = receipt.context("a log without a receipt")?;
        spent += U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price);
        let tx = chain.anvil.provider.get_transaction_by_hash(*hash).await?;
        let value = alloy::consensus::Transaction::value(&tx.context("a log without a transaction")?);
        ensure!(!value.is_zero(), "{hash} paid its bridge nothing");
        attached += value;
    }
    let count = chain.anvil.provider.get_transaction_count(account).await?;
    ensure!(
        count as usize == sends.len(),
        "{count} transactions, {} sends",
        sends.len()
    );
    let left = chain.anvil.provider.get_balance(account).await?;
    // What the devnet gives to everybody.
    let kept = U256::from(10).pow(U256::from(22)) - left - spent;
    Ok(Fees {
        sends: sends.len(),
        kept,
        attached,
    })
}

/// The relayer's database, read beside the relayer.
pub async fn store(world: &World) -> Result<Store> {
    let options = &world.relayer_options;
    let file = format!("sqlite://{}", options.database.display());
    let url = options.store_url.clone().unwrap_or(file);
    Ok(Store::open(&StoreConfig::new(url)).await?)
}

/// Bridge fees of sends on the source chain, by the relayer's books.
pub async fn booked_fees(world: &World) -> Result<U256> {
    booked_in(&store(world).await?, ChainId(world.devnet.source.anvil.chain)).await
}

async fn booked_in(books: &Store, chain: ChainId) -> Result<U256> {
    let fees = AccountKey::fees_bridge(Asset::native(chain));
    let balance = books.get_balance(fees).await?;
    Ok(balance.amount() + balance.shortfall())
}

/// Waits until the books have the fees of every send: exactly what the bridges kept, but for sends that shared a block, of which the value
/// sent along is booked.
pub async fn assert_fees_booked(world: &World, sends: usize) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    let (books, chain) = (store(world).await?, ChainId(world.devnet.source.anvil.chain));
    loop {
        let fees = bridge_fees(world).await?;
        let booked = booked_in(&books, chain).await?;
        let unposted = books.list_finalized_unposted_txs(chain, 10).await?;
        if fees.sends == sends && unposted.is_empty() && fees.kept <= booked && booked <= fees.attached {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{sends} sends expected, the chain says {fees:?}, the books {booked}, {} not booked",
            unposted.len()
        );
        sleep(Duration::from_millis(500)).await;
    }
}

/// The 158 bytes of a message that commits to these settlements, as the outbox would send it.
pub fn header(world: &World, sequence: u64, ids: &[SettlementId]) -> Result<Bytes> {
    let words: Vec<B256> = ids.iter().map(|id| id.0).collect();
    let header = Header {
        kind: Kind::SettlementBatch,
        source: ChainId(world.devnet.source.anvil.chain),
        target: ChainId(world.devnet.target.anvil.chain),
        outbox: world.devnet.source.outbox,
        inbox: world.devnet.target.inbox,
        sequence,
        root: tree::root(&words)?,
        count: u32::try_from(ids.len())?,
        fee_recipient: world.devnet.accounts.admin.address(),
    };
    Ok(Bytes::from(header.encode().to_vec()))
}

/// The terms as the inbox takes them.
pub fn terms(one: &Signed) -> ISettlementInbox::Settlement {
    let terms = &one.terms;
    ISettlementInbox::Settlement {
        jobId: terms.job_id,
        receiptHash: terms.receipt_hash,
        proofHash: terms.proof_hash,
        sourceChainId: U256::from(terms.source_chain.0),
        payer: terms.payer,
        payee: terms.payee,
        token: terms.token,
        amount: terms.amount,
        fee: terms.fee,
        nonce: terms.nonce,
        deadline: U256::from(terms.deadline),
    }
}

/// A call that pays one settlement out of a message, whoever sends it.
pub fn execute_one(message: &Bytes, ids: &[SettlementId], one: &Signed) -> Result<ISettlementInbox::executeOneCall> {
    let words: Vec<B256> = ids.iter().map(|id| id.0).collect();
    let leaf = ids.iter().position(|id| *id == one.id).context("not in the message")?;
    Ok(ISettlementInbox::executeOneCall {
        message: message.clone(),
        settlement: terms(one),
        auth: one.auth.clone(),
        leaf: U256::from(leaf),
        proof: tree::range_proof(&words, leaf, leaf + 1)?,
    })
}

/// What the inbox would say now to an execution of one settlement, from anybody.
pub async fn would_skip(chain: &Chain, call: ISettlementInbox::executeOneCall) -> Result<u8> {
    let inbox = ISettlementInbox::new(chain.inbox, &chain.anvil.provider);
    let skip = inbox
        .executeOne(call.message, call.settlement, call.auth, call.leaf, call.proof)
        .from(Address::repeat_byte(0x77))
        .block(BlockId::latest())
        .call()
        .await?;
    Ok(skip as u8)
}

/// Families that have brought a message, among the active ports.
pub async fn families(chain: &Chain, message: B256) -> Result<u64> {
    let inbox = ISettlementInbox::new(chain.inbox, &chain.anvil.provider);
    Ok(inbox.familiesOf(message).call().await?.to())
}

/// Runs the command line beside the relayer; it must succeed.
pub fn command(world: &World, args: &[&str]) -> Result<String> {
    let output = std::process::Command::new(crate::relayer_process::built("relayer")?)
        .arg("--config")
        .arg(world.devnet.options.dir.join("relayer.toml"))
        .args(["--server", &world.relayer.grpc_url()])
        .args(args)
        .output()?;
    let (out, err) = (
        String::from_utf8(output.stdout)?,
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "relayer {args:?}: {err}");
    Ok(out)
}

/// Waits until the relayer has read the payer's deposit, which counts at finality only.
pub async fn wait_deposit(world: &World) -> Result<()> {
    let asset = Asset {
        chain: ChainId(world.devnet.target.anvil.chain),
        token: world.devnet.target.token,
    };
    let payer = AccountKey::available(asset, world.coordinator.payer.address());
    let until = Instant::now() + Duration::from_secs(60);
    let books = store(world).await?;
    while books.get_balance(payer).await?.amount().is_zero() {
        ensure!(Instant::now() < until, "the relayer does not see the deposit");
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
