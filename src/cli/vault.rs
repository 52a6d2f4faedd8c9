//! `vault fund --via BRIDGE`: a payer's money from another chain into the vault of the target, by a bridge that carries tokens. Works on the
//! configuration and the chains alone; the running relayer books the deposit when it sees it.

use super::Global;
use super::failure::{CHAIN, Exit, Failure, TOP_UP, TOP_UP_LATE};
use super::output::{Output, ether, fields};
use super::submit::private_key;
use crate::api::parse;
use crate::chain::Chain;
use crate::clock::{Clock, SystemClock};
use crate::config::{ChainConfig, ChainName, Config};
use crate::wiring;
use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol;
use alloy::sol_types::SolCall;
use clap::{Args, Subcommand};
use relayer_adapter_api::abi::ISettlementVault;
use relayer_adapter_api::top_up::{TopUp, TopUpBridge, TopUpOffer};
use relayer_adapter_api::{AdapterError, BridgeId, Call, ChainId, ChainView, Delivery, GasRule, MessageRef};
use serde::Serialize;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Between two looks at a message under way.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two attempts to execute a message ourselves: the first one must get into a block.
const FINISH_EVERY: Duration = Duration::from_secs(20);
/// How long a transaction may take into a block.
const INCLUSION: Duration = Duration::from_secs(300);

sol! {
    interface IToken {
        function balanceOf(address account) external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        function approve(address spender, uint256 amount) external returns (bool);
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum VaultCommand {
    /// Send tokens from another chain into the vault of the target, as a deposit of a payer
    Fund(Box<FundArgs>),
}

#[derive(Debug, Args)]
pub(super) struct FundArgs {
    /// Bridge of the configuration that carries the tokens (CCIP)
    #[arg(long, value_name = "BRIDGE")]
    via: String,
    /// Chain the tokens are on
    #[arg(long, value_name = "CHAIN ID")]
    source_chain: u64,
    /// Chain of the vault
    #[arg(long, value_name = "CHAIN ID")]
    target_chain: u64,
    /// Token on the source chain
    #[arg(long, value_name = "ADDRESS", required_unless_present = "sent")]
    token: Option<String>,
    /// Base units of it
    #[arg(long, required_unless_present = "sent")]
    amount: Option<String>,
    /// Whose deposit it becomes [default: the account of the key]
    #[arg(long, value_name = "ADDRESS")]
    payer: Option<String>,
    /// Variable with the private key that owns the tokens and pays the fee
    #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
    key_env: Option<String>,
    /// File with that private key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Approve the bridge for the amount first, where that is missing
    #[arg(long)]
    approve: bool,
    /// Do not ask before sending
    #[arg(long)]
    yes: bool,
    /// Check and price only; nothing is sent
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the arrival
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting for the arrival after this many seconds; the message goes on
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS")]
    wait: u64,
    /// Transaction of an earlier top-up: wait for it, and execute it when that helps, instead of sending a new one
    #[arg(long, value_name = "HASH", conflicts_with_all = ["token", "amount", "payer", "approve", "dry_run", "no_wait"])]
    sent: Option<String>,
}

/// What the command answers.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// quoted, sent or arrived
    state: &'static str,
    source_chain: u64,
    target_chain: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    target_token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    amount: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    payer: String,
    /// Wei of the source chain.
    #[serde(skip_serializing_if = "String::is_empty")]
    fee: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    transaction_hash: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message_id: String,
    /// Executions by this command because the bridge's own had failed or was missing.
    executed_by_us: u32,
}

impl Report {
    fn text(&self) -> String {
        let fee = self.fee.parse::<U256>().map(|_| ether(&self.fee)).unwrap_or_default();
        fields(&[
            ("top-up", self.state.to_owned()),
            ("chains", format!("{} to {}", self.source_chain, self.target_chain)),
            ("amount", self.amount.clone()),
            ("token", self.token.clone()),
            ("arrives as", self.target_token.clone()),
            ("payer", self.payer.clone()),
            ("fee", fee),
            ("transaction", self.transaction_hash.clone()),
            ("message", self.message_id.clone()),
        ])
    }
}

/// One end: reading through the chain's policy, writing through its first endpoint.
struct End {
    id: ChainId,
    chain: Arc<dyn Chain>,
    vault: Option<Address>,
    url: String,
}

struct Fund<'a> {
    bridge: Arc<dyn TopUpBridge>,
    source: End,
    target: End,
    key: Option<PrivateKeySigner>,
    args: &'a FundArgs,
}

fn unreachable_chain(attempted: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, CHAIN, format!("{attempted}: {error}"))
}

fn refused(reason: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, TOP_UP, reason.to_string())
}

fn adapter(error: AdapterError) -> Failure {
    match &error {
        AdapterError::View { .. } => Failure::new(Exit::Unavailable, CHAIN, error.to_string()),
        _ => refused(error),
    }
}

fn address(flag: &'static str, text: &str) -> Result<Address, Failure> {
    parse::address(flag, text).map_err(|error| Failure::usage(error.message.clone()))
}

pub(super) async fn run(global: &Global, command: VaultCommand, output: &Output) -> Result<Exit, Failure> {
    let VaultCommand::Fund(args) = command;
    let config = global.load(&[])?;
    let fund = Fund::new(&config, &args)?;
    let mut report = Report {
        source_chain: args.source_chain,
        target_chain: args.target_chain,
        ..Report::default()
    };
    let tx = match &args.sent {
        Some(hash) => {
            let hash: B256 = hash
                .parse()
                .map_err(|_| Failure::usage("--sent is no transaction hash"))?;
            Some(hash)
        }
        None => fund.send(&mut report).await?,
    };
    if let Some(tx) = tx {
        report.state = "sent";
        report.transaction_hash = tx.to_string();
        let message = fund.message(tx).await?;
        report.message_id = message.id.to_string();
        if !args.no_wait {
            fund.wait(&message, &mut report).await?;
        }
    }
    output.answer(&report, || report.text());
    Ok(Exit::Ok)
}

impl End {
    fn new(config: &Config, id: u64) -> Result<Self, Failure> {
        let found = config.chains.iter().find(|(_, chain)| chain.chain_id == id);
        let (name, chain): (&ChainName, &ChainConfig) =
            found.ok_or_else(|| Failure::usage(format!("chain {id} is not configured")))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let rpc = wiring::rpc_chain(name, chain, clock).map_err(|error| Failure::of(&error))?;
        let first = chain.rpc.first();
        let url = first.ok_or_else(|| Failure::usage(format!("chain {id} has no rpc")))?;
        Ok(Self {
            id: ChainId(id),
            chain: Arc::new(rpc),
            vault: chain.contracts.vault,
            url: url.resolve(&format!("chains.\"{name}\".rpc"))?,
        })
    }

    async fn view(&self) -> Result<Arc<dyn ChainView>, Failure> {
        let head = self.chain.head().await;
        Ok(self
            .chain
            .view(head.map_err(|error| unreachable_chain("asking for the newest block", error))?))
    }

    fn provider(&self, key: &PrivateKeySigner) -> Result<DynProvider, Failure> {
        let url = self.url.parse();
        let url = url.map_err(|_| Failure::usage(format!("the first rpc of chain {} is not a URL", self.id)))?;
        let wallet = EthereumWallet::from(key.clone());
        Ok(ProviderBuilder::new().wallet(wallet).connect_http(url).erased())
    }

    /// Sends a call and waits until it is in a block and has not reverted.
    async fn transact(&self, key: &PrivateKeySigner, call: &Call) -> Result<B256, Failure> {
        let provider = self.provider(key)?;
        let request = TransactionRequest::default()
            .with_from(key.address())
            .with_to(call.to)
            .with_input(call.data.clone())
            .with_value(call.value);
        let gas = match call.gas {
            GasRule::Fixed(gas) => gas,
            GasRule::Estimate { .. } | GasRule::AtLeast(_) => {
                let estimate = provider.estimate_gas(request.clone()).await;
                let estimate = estimate.map_err(|error| unreachable_chain("estimating gas", error))?;
                match call.gas {
                    GasRule::Estimate { percent, extra } => {
                        (estimate.saturating_mul(u64::from(percent)) / 100).saturating_add(extra)
                    }
                    GasRule::AtLeast(gas) | GasRule::Fixed(gas) => estimate.max(gas),
                }
            }
        };
        let pending = provider
            .send_transaction(request.with_gas_limit(gas))
            .await
            .map_err(|error| unreachable_chain("sending", error))?;
        let hash = *pending.tx_hash();
        // Said at once: whoever interrupts the wait can follow it with --sent instead of paying twice.
        eprintln!("transaction {hash} sent on chain {}", self.id);
        let receipt = pending
            .with_timeout(Some(INCLUSION))
            .get_receipt()
            .await
            .map_err(|error| unreachable_chain(&format!("waiting for transaction {hash}"), error))?;
        if receipt.status() {
            Ok(hash)
        } else {
            Err(refused(format!("transaction {hash} reverted")))
        }
    }
}

async fn read<C: SolCall>(view: &dyn ChainView, to: Address, call: C) -> Result<C::Return, Failure> {
    let data = view
        .call(None, to, Bytes::from(call.abi_encode()), U256::ZERO)
        .await
        .map_err(|error| unreachable_chain(&format!("asking {to}"), error))?;
    C::abi_decode_returns(&data).map_err(|error| refused(format!("{to} does not answer as it should: {error}")))
}

impl<'a> Fund<'a> {
    fn new(config: &Config, args: &'a FundArgs) -> Result<Self, Failure> {
        let id = BridgeId::new(&args.via).map_err(|error| Failure::usage(format!("--via: {error}")))?;
        let bridge = wiring::top_up_bridge(config, &id).map_err(|error| Failure::of(&error))?;
        let key = private_key(args.key_env.as_deref(), args.key_file.as_deref())?;
        if key.is_none() && !args.dry_run && args.sent.is_none() {
            return Err(Failure::usage("--key-env or --key-file is needed to send"));
        }
        Ok(Self {
            bridge,
            source: End::new(config, args.source_chain)?,
            target: End::new(config, args.target_chain)?,
            key,
            args,
        })
    }

    /// What the flags ask for.
    fn top_up(&self) -> Result<TopUp, Failure> {
        let args = self.args;
        let amount = parse::decimal("--amount", args.amount.as_deref().unwrap_or_default());
        let amount = amount.map_err(|error| Failure::usage(error.message.clone()))?;
        if amount.is_zero() {
            return Err(Failure::usage("--amount is zero"));
        }
        let payer = match (&args.payer, &self.key) {
            (Some(text), _) => address("--payer", text)?,
            (None, Some(key)) => key.address(),
            (None, None) => return Err(Failure::usage("--payer or a key is needed")),
        };
        Ok(TopUp {
            source: self.source.id,
            target: self.target.id,
            token: address("--token", args.token.as_deref().unwrap_or_default())?,
            amount,
            payer,
        })
    }

    /// Prices, checks and, unless it is a dry run, sends. None when nothing was sent.
    async fn send(&self, report: &mut Report) -> Result<Option<B256>, Failure> {
        let top_up = self.top_up()?;
        let view = self.source.view().await?;
        let offer = self.bridge.offer(view.as_ref(), &top_up).await.map_err(adapter)?;
        report.state = "quoted";
        report.token = top_up.token.to_string();
        report.target_token = offer.target_token.to_string();
        report.amount = top_up.amount.to_string();
        report.payer = top_up.payer.to_string();
        report.fee = offer.native_fee.to_string();
        self.expect_listed(offer.target_token).await?;
        let Some(key) = &self.key else { return Ok(None) };
        let allowed = self.expect_funds(view.as_ref(), &top_up, &offer, key.address()).await?;
        if allowed {
            self.bridge
                .check(view.as_ref(), key.address(), &offer)
                .await
                .map_err(adapter)?;
        }
        if self.args.dry_run {
            return Ok(None);
        }
        if !self.args.yes {
            ask(report)?;
        }
        if !allowed {
            self.approve(&top_up, &offer, key).await?;
            let view = self.source.view().await?;
            self.bridge
                .check(view.as_ref(), key.address(), &offer)
                .await
                .map_err(adapter)?;
        }
        Ok(Some(self.source.transact(key, &offer.call).await?))
    }

    /// What the vault does not list it would send back for ever.
    async fn expect_listed(&self, token: Address) -> Result<(), Failure> {
        let vault = self.target.vault;
        let vault = vault.ok_or_else(|| Failure::usage(format!("chain {} has no vault", self.target.id)))?;
        let view = self.target.view().await?;
        let call = ISettlementVault::tokenConfigCall { token };
        if read(view.as_ref(), vault, call).await?.listed {
            Ok(())
        } else {
            let chain = self.target.id;
            Err(refused(format!(
                "the vault on chain {chain} does not list token {token}"
            )))
        }
    }

    /// Whether the bridge may take the tokens already; an error when they, or the permission to approve, are missing.
    async fn expect_funds(
        &self,
        view: &dyn ChainView,
        top_up: &TopUp,
        offer: &TopUpOffer,
        owner: Address,
    ) -> Result<bool, Failure> {
        let balance = read(view, top_up.token, IToken::balanceOfCall { account: owner }).await?;
        if balance < top_up.amount {
            return Err(refused(format!(
                "{owner} has {balance} of token {}, the top-up takes {}",
                top_up.token, top_up.amount
            )));
        }
        let call = IToken::allowanceCall {
            owner,
            spender: offer.spender,
        };
        let allowance = read(view, top_up.token, call).await?;
        let allowed = allowance >= top_up.amount;
        if !allowed && !self.args.approve && !self.args.dry_run {
            return Err(refused(format!(
                "allowance of {} for {} is {allowance}, the top-up takes {}",
                owner, offer.spender, top_up.amount
            )));
        }
        Ok(allowed)
    }

    async fn approve(&self, top_up: &TopUp, offer: &TopUpOffer, key: &PrivateKeySigner) -> Result<(), Failure> {
        let approve = IToken::approveCall {
            spender: offer.spender,
            amount: top_up.amount,
        };
        let call = Call {
            chain: self.source.id,
            to: top_up.token,
            data: approve.abi_encode().into(),
            value: U256::ZERO,
            gas: GasRule::Estimate { percent: 120, extra: 0 },
        };
        self.source.transact(key, &call).await?;
        Ok(())
    }

    /// The message a transaction sent. Endpoints may be a moment behind the block it is in.
    async fn message(&self, tx: B256) -> Result<MessageRef, Failure> {
        let until = Instant::now() + INCLUSION;
        loop {
            let view = self.source.view().await?;
            let receipt = view.receipt(tx).await;
            match receipt.map_err(|error| unreachable_chain("reading the receipt", error))? {
                Some(receipt) => return self.bridge.decode(self.source.id, &receipt).map_err(adapter),
                None if Instant::now() >= until => {
                    return Err(refused(format!("chain {} knows no transaction {tx}", self.source.id)));
                }
                None => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Until it is in the vault; what anyone may execute is executed with our key.
    async fn wait(&self, message: &MessageRef, report: &mut Report) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_secs(self.args.wait);
        let mut next_finish = Instant::now();
        let mut last = "nothing known yet".to_owned();
        loop {
            let look = async {
                let view = self.target.view().await?;
                self.bridge.arrival(view.as_ref(), message).await.map_err(adapter)
            };
            match timeout_at(until, look).await {
                Ok(Ok(Delivery::Received)) => {
                    report.state = "arrived";
                    return Ok(());
                }
                Ok(Ok(Delivery::Pending { note } | Delivery::Attested { note } | Delivery::Failed { why: note })) => {
                    last = note;
                }
                // An endpoint that fails now says nothing about the message.
                Ok(Err(failure)) => last = failure.message,
                Err(_) => {}
            }
            if Instant::now() >= until {
                let message = format!("message {} is not in the vault yet: {last}", message.id);
                return Err(Failure::new(Exit::Unavailable, TOP_UP_LATE, message));
            }
            if Instant::now() >= next_finish
                && let Some(key) = &self.key
            {
                match self.finish(key, message).await {
                    Ok(calls) => report.executed_by_us = report.executed_by_us.saturating_add(calls),
                    Err(failure) => tracing::debug!(reason = failure.message, "nothing helps now"),
                }
                next_finish = Instant::now() + FINISH_EVERY;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn finish(&self, key: &PrivateKeySigner, message: &MessageRef) -> Result<u32, Failure> {
        let (source, target) = (self.source.view().await?, self.target.view().await?);
        let calls = self.bridge.finish(source.as_ref(), target.as_ref(), message).await;
        let mut sent = 0_u32;
        for call in &calls.map_err(adapter)? {
            self.target.transact(key, call).await?;
            sent = sent.saturating_add(1);
        }
        Ok(sent)
    }
}

/// Money leaves only on a word.
fn ask(report: &Report) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody to ask: pass --yes to send without a question"));
    }
    eprint!("{}\n\nSend it? [y/N] ", report.text().trim_end());
    let mut line = String::new();
    // A prompt that cannot be shown is answered by nobody, which means no.
    let _ = std::io::stderr().flush();
    let _ = std::io::stdin().lock().read_line(&mut line);
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::usage("nothing was sent")),
    }
}
