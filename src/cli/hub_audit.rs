//! `relayer hub list|whois|audit|allotment|build|import|watch`: a hub's ledger as the relayer has it. What is proven is checked here again.

use super::Global;
use super::failure::{Exit, Failure};
use super::output::{Output, fields, short, table, time};
use crate::api::client::ClientError;
use crate::api::hub_client::HubClient;
use crate::api::v1;
use crate::hub::model::{Account, AllotmentProof, DOES_NOT_HOLD, Document, Interval, Passive};
use alloy::primitives::{Address, B256, U256};
use clap::Args;
use std::str::FromStr;

/// Accounts of one piece of an import.
const PIECE: usize = 2_000;

#[derive(Debug, Args)]
pub(super) struct HolderArgs {
    /// Name of the hub, or CHAIN:CONTRACT
    hub: String,
    /// Address of the token; the hub's contract for the native coin
    token: String,
    /// Address of the wallet
    wallet: String,
}

#[derive(Debug, Args)]
pub(super) struct AllotmentArgs {
    #[command(flatten)]
    holder: HolderArgs,
    /// Of this eon; otherwise of the newest whose contents are known
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    eon: u64,
}

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Name of the hub, or CHAIN:CONTRACT
    hub: String,
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    token: String,
    /// Sender or recipient
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    wallet: String,
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    eon: u64,
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    tx_id: String,
    #[arg(long, default_value = "", hide_default_value = true)]
    nonce: String,
    /// Stop after this many
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Name of the hub, or CHAIN:CONTRACT
    hub: String,
    /// Its balances are those at the end of the eon before; otherwise the newest that can be built
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    eon: u64,
    /// Account of the funds that belong to no admitted wallet
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    leftover_to: String,
    #[arg(long, default_value = "", hide_default_value = true)]
    coordinator: String,
    /// Build anew what was built and is not on the chain
    #[arg(long)]
    rebuild: bool,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Name of the hub, or CHAIN:CONTRACT
    hub: String,
    eon: u64,
    /// The checkpoint as JSON, in the shape of `hub verify`; - = stdin
    #[arg(value_name = "FILE")]
    file: std::path::PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct HubWatchArgs {
    /// Name of the hub, or CHAIN:CONTRACT
    hub: String,
    /// Events after this one; otherwise from now on
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    token: String,
    /// Sender or recipient
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    wallet: String,
    /// CHECKPOINT_CREATED, CONFIRMED_DEPOSIT, REQUESTED_WITHDRAWAL, CONFIRMED_WITHDRAWAL or TRANSFER_CONFIRMATION; may be repeated
    #[arg(long = "type", value_name = "NAME")]
    types: Vec<String>,
}

async fn client(global: &Global) -> Result<HubClient, Failure> {
    Ok(HubClient::new(global.client().await?))
}

pub(super) async fn list(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let answer = client(global).await?.list_hubs(v1::ListHubsRequest {}).await?;
    output.answer(&answer, || {
        let mut rows = table(&[
            "hub",
            "chain",
            "contract",
            "eon",
            "checkpoint",
            "built",
            "halted",
            "ledger of",
        ]);
        for hub in &answer.hubs {
            rows.add_row([
                hub.name.clone(),
                hub.chain.to_string(),
                hub.contract.clone(),
                hub.current_eon.to_string(),
                hub.last_eon.to_string(),
                hub.built_eon.to_string(),
                hub.halted.clone(),
                hub.ledger_of.clone(),
            ]);
        }
        rows.trim_fmt()
    });
    Ok(Exit::Ok)
}

pub(super) async fn whois(global: &Global, args: HolderArgs, output: &Output) -> Result<Exit, Failure> {
    let request = v1::WhoisRequest {
        hub: args.hub,
        token: args.token,
        wallet: args.wallet,
    };
    let answer = client(global).await?.whois(request).await?;
    let registration = answer.registration.clone().unwrap_or_default();
    output.answer(&answer, || {
        fields(&[
            ("trail", registration.trail_identifier.to_string()),
            ("admitted in eon", registration.eon_number.to_string()),
            ("available", answer.available.clone()),
            ("authorization", registration.authorization.clone()),
            ("operator's", registration.operator_authorization.clone()),
        ])
    });
    Ok(Exit::Ok)
}

pub(super) async fn audit(global: &Global, args: AuditArgs, output: &Output) -> Result<Exit, Failure> {
    let mut client = client(global).await?;
    let mut found = v1::ListTransactionsResponse::default();
    loop {
        let left = args.limit.saturating_sub(found.transactions.len());
        let request = v1::ListTransactionsRequest {
            hub: args.hub.clone(),
            tx_id: args.tx_id.clone(),
            eon: args.eon,
            nonce: args.nonce.clone(),
            token: args.token.clone(),
            wallet: args.wallet.clone(),
            page_size: u32::try_from(left.min(50)).unwrap_or(50),
            page_token: found.next_page_token.clone(),
        };
        let page = client.list_transactions(request).await?;
        found.transactions.extend(page.transactions);
        found.next_page_token = page.next_page_token;
        found.count = page.count;
        if found.next_page_token.is_empty() || found.transactions.len() >= args.limit {
            break;
        }
    }
    output.answer(&found, || {
        let mut rows = table(&["id", "eon", "at", "from", "to", "amount", "closed", "tx id"]);
        let of =
            |wallet: &Option<v1::WalletRef>| wallet.as_ref().map(|wallet| short(&wallet.address)).unwrap_or_default();
        for one in &found.transactions {
            rows.add_row([
                one.id.to_string(),
                one.eon_number.to_string(),
                time(one.at_ms),
                of(&one.wallet),
                of(&one.recipient),
                one.amount.clone(),
                if one.complete { "yes" } else { "no" }.to_owned(),
                one.tx_id.clone(),
            ]);
        }
        format!("{}\n\n{} of {}", rows.trim_fmt(), found.transactions.len(), found.count)
    });
    Ok(Exit::Ok)
}

pub(super) async fn allotment(global: &Global, args: AllotmentArgs, output: &Output) -> Result<Exit, Failure> {
    let mut client = client(global).await?;
    let holder = &args.holder;
    let request = v1::GetAllotmentRequest {
        hub: holder.hub.clone(),
        token: holder.token.clone(),
        wallet: holder.wallet.clone(),
        eon: args.eon,
    };
    let answer = client.get_allotment(request).await?;
    let hubs = client.list_hubs(v1::ListHubsRequest {}).await?.hubs;
    let same = |hub: &&v1::Hub| {
        hub.name == holder.hub || format!("{}:{}", hub.chain, hub.contract).eq_ignore_ascii_case(&holder.hub)
    };
    let contract = hubs.iter().find(same).map(|hub| hub.contract.clone());
    let verdict = check(&answer, &contract.unwrap_or_default(), holder);
    let proof = answer.merkle_proof.clone().unwrap_or_default();
    output.answer(&answer, || {
        let amount = number(&proof.right)
            .zip(number(&proof.left))
            .and_then(|(right, left)| right.checked_sub(left));
        fields(&[
            ("eon", proof.eon_number.to_string()),
            ("allotted", amount.map(|amount| amount.to_string()).unwrap_or_default()),
            (
                "interval",
                format!("{} .. {} of {}", proof.left, proof.right, answer.upper_bound),
            ),
            ("trail", proof.trail.to_string()),
            ("root", answer.root.clone()),
            (
                "on the chain",
                if answer.standing.is_empty() {
                    "no".into()
                } else {
                    answer.standing.clone()
                },
            ),
            (
                "proof",
                verdict
                    .clone()
                    .map_or_else(|why| format!("FAILS: {why}"), |()| "holds".into()),
            ),
        ])
    });
    match verdict {
        Ok(()) => Ok(Exit::Ok),
        Err(why) => Err(Failure::new(
            Exit::Failed,
            DOES_NOT_HOLD,
            format!("the relayer's proof does not hold: {why}"),
        )),
    }
}

fn number(text: &str) -> Option<U256> {
    U256::from_str_radix(text, 10).ok()
}

/// The proof against the stated root, computed here.
fn check(answer: &v1::GetAllotmentResponse, contract: &str, holder: &HolderArgs) -> Result<(), String> {
    let proof = answer.merkle_proof.clone().unwrap_or_default();
    let hash = |text: &str| B256::from_str(text).map_err(|error| format!("{text:?}: {error}"));
    let amount = |text: &str| number(text).ok_or_else(|| format!("{text:?} is no number"));
    let address = |text: &str| Address::from_str(text).map_err(|error| format!("{text:?}: {error}"));
    let account = Account {
        wallet: address(&holder.wallet)?,
        active_state_checksum: hash(&proof.active_state_checksum)?,
        passive: Passive {
            checksum: hash(&proof.passive_checksum)?,
            amount: amount(&proof.passive_amount)?,
            marker: amount(&proof.passive_marker)?,
        },
    };
    let all = |hashes: &[String]| hashes.iter().map(|text| hash(text)).collect::<Result<Vec<_>, _>>();
    let judged = AllotmentProof {
        interval: Interval {
            left: amount(&proof.left)?,
            right: amount(&proof.right)?,
        },
        trail: proof.trail,
        allotment_chain: all(&proof.allotment_chain)?,
        values: proof.values.iter().map(|text| amount(text)).collect::<Result<_, _>>()?,
        token_trail: answer.token_trail,
        membership_chain: all(&proof.membership_chain)?,
    };
    let bound = judged
        .verify(
            address(contract)?,
            address(&holder.token)?,
            &account,
            hash(&answer.root)?,
        )
        .map_err(|error| error.to_string())?;
    if bound == amount(&answer.upper_bound)? {
        Ok(())
    } else {
        Err(format!(
            "it gives upper bound {bound}, stated is {}",
            answer.upper_bound
        ))
    }
}

pub(super) async fn build(global: &Global, args: BuildArgs, output: &Output) -> Result<Exit, Failure> {
    let request = v1::BuildCheckpointRequest {
        hub: args.hub,
        eon: args.eon,
        coordinator: args.coordinator,
        leftover_to: args.leftover_to,
        rebuild: args.rebuild,
    };
    let mut answers = client(global).await?.build_checkpoint(request).await?;
    let mut built = None;
    while let Some(answer) = answers.next().await? {
        if answer.checkpoint.is_none() && !output.json {
            eprintln!("{} of {} accounts", answer.accounts_done, answer.accounts);
        }
        built = answer.checkpoint.or(built);
    }
    let built = built.unwrap_or_default();
    output.answer(&built, || checkpoint_text(&built));
    Ok(Exit::Ok)
}

fn contents_text(contents: &v1::CheckpointContents) -> String {
    let mut rows = table(&["trail", "token", "accounts", "upper bound", "account root"]);
    for token in &contents.tokens {
        rows.add_row([
            token.token_trail.to_string(),
            token.token.clone(),
            token.accounts.to_string(),
            token.upper_bound.clone(),
            token.account_root.clone(),
        ]);
    }
    rows.trim_fmt()
}

fn checkpoint_text(built: &v1::BuiltCheckpoint) -> String {
    let head = fields(&[
        ("hub", built.hub.clone()),
        ("eon", built.eon.to_string()),
        ("root", built.root.clone()),
        ("accumulator", built.accumulator.clone()),
        (
            "built before",
            if built.duplicate { "yes".into() } else { String::new() },
        ),
    ]);
    let contents = built.contents.clone().unwrap_or_default();
    format!("{head}\n{}", contents_text(&contents))
}

pub(super) async fn import(global: &Global, args: ImportArgs, output: &Output) -> Result<Exit, Failure> {
    let mut documents = super::hub::documents(&args.file)?;
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        return Err(Failure::usage("the file holds several checkpoints; import one"));
    };
    let answer = client(global)
        .await?
        .import_allotments(pieces(&args.hub, args.eon, &document))
        .await?;
    let contents = answer.contents.clone().unwrap_or_default();
    output.answer(&contents, || {
        format!("root {}\n\n{}", answer.root, contents_text(&contents))
    });
    Ok(Exit::Ok)
}

/// A document as the stream the relayer reads.
fn pieces(hub: &str, eon: u64, document: &Document) -> Vec<v1::ImportAllotmentsRequest> {
    let mut pieces = Vec::new();
    for token in &document.tokens {
        let accounts: Vec<v1::ImportedAccount> = token
            .accounts
            .iter()
            .map(|account| v1::ImportedAccount {
                wallet: account.wallet.to_string(),
                amount: account.right.0.saturating_sub(account.left.0).to_string(),
                active_state_checksum: account.active_state_checksum.to_string(),
                passive_checksum: account.passive_checksum.to_string(),
                passive_amount: account.passive_amount.0.to_string(),
                passive_marker: account.passive_marker.0.to_string(),
            })
            .collect();
        let piece = |accounts: &[v1::ImportedAccount]| v1::ImportAllotmentsRequest {
            hub: hub.to_owned(),
            eon,
            token: token.token.to_string(),
            accounts: accounts.to_vec(),
        };
        if accounts.is_empty() {
            pieces.push(piece(&[]));
        }
        pieces.extend(accounts.chunks(PIECE).map(piece));
    }
    pieces
}

pub(super) async fn watch(global: &Global, args: HubWatchArgs, output: &Output) -> Result<Exit, Failure> {
    let request = v1::WatchHubRequest {
        hub: args.hub,
        after_seq: args.from.unwrap_or_default(),
        from_now: args.from.is_none(),
        token: args.token,
        wallet: args.wallet,
        types: args.types,
        heartbeat_ms: 0,
    };
    let mut after = request.after_seq;
    let mut answers = client(global).await?.watch(request).await?;
    loop {
        let answer = tokio::select! {
            answer = answers.next() => answer,
            _ = tokio::signal::ctrl_c() => break,
        };
        let answer: Result<_, ClientError> = answer;
        let Some(answer) = answer? else { break };
        for event in &answer.events {
            output.answer(event, || line(event));
        }
        after = answer.after_seq;
    }
    eprintln!("continue with --from {after}");
    Ok(Exit::Ok)
}

fn line(event: &v1::HubEvent) -> String {
    let arrow = if event.recipient.is_empty() { "" } else { " > " };
    format!(
        "{:>9}  {}  eon {:<6}  {:<21}  {:>24}  {}{arrow}{}  {}",
        event.seq,
        time(event.at_ms),
        event.eon,
        event.r#type,
        event.amount,
        short(&event.wallet),
        short(&event.recipient),
        short(&event.reference),
    )
}
