//! `submit`: a request from a JSON file, flags, or both (flags win); for testing it can sign the terms. [`group`]: many under one signature.

mod group;

use super::Global;
use super::failure::{Exit, Failure};
use super::output::{Output, fields};
use crate::api::{self, parse, v1};
use crate::clock::{Clock, SystemClock};
use crate::settlement::receipt::{Limits, Receipt, net};
use crate::settlement::terms::{Domain, Terms, TermsFields};
use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use clap::Args;
use relayer_adapter_api::ChainId;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// Request as JSON, in the form of POST /v1/settlement/cross-chain; - = stdin
    file: Option<PathBuf>,
    /// Many settlements under one signature, as JSON: {"coordinator", "auth", "items": [{"terms", "receipts"}, …]}; - = stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "file", "receipt", "source_chain", "target_chain", "inbox", "payer", "payee", "token", "amount", "fee", "nonce", "deadline",
        "proof",
    ])]
    group: Option<PathBuf>,
    #[arg(long)]
    coordinator: Option<String>,
    /// Signed receipt (JSON); repeat it for one settlement over several receipts
    #[arg(long, value_name = "FILE")]
    receipt: Vec<PathBuf>,
    #[arg(long, value_name = "CHAIN ID")]
    source_chain: Option<u64>,
    #[arg(long, value_name = "CHAIN ID")]
    target_chain: Option<u64>,
    /// Inbox on the target chain; needed to sign
    #[arg(long, value_name = "ADDRESS")]
    inbox: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    payer: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    payee: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    token: Option<String>,
    /// Base units
    #[arg(long)]
    amount: Option<String>,
    /// Base units
    #[arg(long)]
    fee: Option<String>,
    #[arg(long)]
    nonce: Option<String>,
    /// Unix seconds, or +SECONDS from now
    #[arg(long, allow_hyphen_values = true)]
    deadline: Option<String>,
    /// Proof of the work, bound by the terms
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The payer's authorization, 0x hex
    #[arg(long, value_name = "HEX", conflicts_with_all = ["payer_key_env", "payer_key_file"])]
    auth: Option<String>,
    /// Sign the terms with the key in this variable (for testing)
    #[arg(long, value_name = "NAME", conflicts_with = "payer_key_file")]
    payer_key_env: Option<String>,
    /// Sign the terms with the key in this file (for testing)
    #[arg(long, value_name = "FILE")]
    payer_key_file: Option<PathBuf>,
    #[arg(long)]
    trace_id: Option<String>,
    /// How the bridges are ranked: preferred, cheapest, fastest or safest; default: as the relayer is configured
    #[arg(long)]
    policy: Option<String>,
}

pub(super) async fn submit(global: &Global, args: SubmitArgs, output: &Output) -> Result<Exit, Failure> {
    if args.group.is_some() {
        return group::submit(global, args, output).await;
    }
    let key = args.key()?;
    let now = u64::try_from(SystemClock.now_ms() / 1_000).unwrap_or_default();
    let mut request = args.request(now)?;
    if let Some(key) = key {
        sign(&mut request, &key)?;
    }
    let answer = global.client().await?.submit(request).await?;
    output.answer(&answer, || {
        fields(&[
            ("settlement", answer.settlement_id.clone()),
            ("state", answer.state.clone()),
            (
                "duplicate",
                if answer.duplicate {
                    "yes, accepted before".into()
                } else {
                    String::new()
                },
            ),
            (
                "revocable",
                if answer.revocable {
                    "yes, the payer is a contract".into()
                } else {
                    String::new()
                },
            ),
            ("supersedes", answer.supersedes.clone()),
            ("trace", answer.trace_id.clone()),
        ])
    });
    Ok(Exit::Ok)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        return match std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(Failure::file(path, error)),
        };
    }
    std::fs::read(path).map_err(|error| Failure::file(path, error))
}

/// A private key from a variable or a file.
pub(super) fn private_key(env: Option<&str>, file: Option<&Path>) -> Result<Option<PrivateKeySigner>, Failure> {
    let (text, place) = match (env, file) {
        (Some(name), _) => {
            let text = std::env::var(name).map_err(|_| Failure::usage(format!("variable {name} is not set")))?;
            (text, format!("variable {name}"))
        }
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
            (text, format!("file {}", path.display()))
        }
        (None, None) => return Ok(None),
    };
    // The parser's own message could repeat the key.
    let key = text
        .trim()
        .parse()
        .map_err(|_| Failure::usage(format!("{place} holds no private key (32 bytes hex)")))?;
    Ok(Some(key))
}

impl SubmitArgs {
    fn key(&self) -> Result<Option<PrivateKeySigner>, Failure> {
        private_key(self.payer_key_env.as_deref(), self.payer_key_file.as_deref())
    }

    fn request(self, now: u64) -> Result<v1::SubmitRequest, Failure> {
        let mut request = match &self.file {
            Some(path) => api::submission(&read(path)?).map_err(|error| Failure::usage(error.to_string()))?,
            None => v1::SubmitRequest::default(),
        };
        for path in &self.receipt {
            request.receipts.push(read(path)?);
        }
        if let Some(path) = &self.proof {
            request.proof = read(path)?;
        }
        let deadline = self.deadline.as_deref().map(|text| deadline(text, now)).transpose()?;
        let terms = request.terms.get_or_insert_default();
        let mut set = |field: fn(&mut v1::Terms) -> &mut String, value: Option<String>| {
            if let Some(value) = value {
                *field(terms) = value;
            }
        };
        set(|terms| &mut terms.inbox, self.inbox);
        set(|terms| &mut terms.payer, self.payer);
        set(|terms| &mut terms.payee, self.payee);
        set(|terms| &mut terms.token, self.token);
        set(|terms| &mut terms.amount, self.amount);
        set(|terms| &mut terms.fee, self.fee);
        set(|terms| &mut terms.nonce, self.nonce);
        terms.source_chain = self.source_chain.unwrap_or(terms.source_chain);
        terms.target_chain = self.target_chain.unwrap_or(terms.target_chain);
        terms.deadline = deadline.unwrap_or(terms.deadline);
        if terms.fee.is_empty() {
            terms.fee = "0".into();
        }
        request.coordinator = self.coordinator.unwrap_or(request.coordinator);
        request.auth = self.auth.unwrap_or(request.auth);
        request.trace_id = self.trace_id.unwrap_or(request.trace_id);
        request.policy = self.policy.unwrap_or(request.policy);
        Ok(request)
    }
}

fn deadline(text: &str, now: u64) -> Result<u64, Failure> {
    let (relative, digits) = match text.strip_prefix('+') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value: u64 = digits
        .parse()
        .map_err(|_| Failure::usage("--deadline is Unix seconds or +SECONDS"))?;
    Ok(if relative { now.saturating_add(value) } else { value })
}

/// Completes the terms from receipts and proof, as intake would, and signs their digest.
fn sign(request: &mut v1::SubmitRequest, key: &PrivateKeySigner) -> Result<(), Failure> {
    let terms = request.terms.get_or_insert_default();
    let (domain, signed) = complete(terms, &request.receipts, &request.proof, key.address())?;
    request.auth = signature(domain.settlement_id(&signed).0, key)?;
    Ok(())
}

fn signature(digest: B256, key: &PrivateKeySigner) -> Result<String, Failure> {
    let signature = key
        .sign_hash_sync(&digest)
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(alloy::hex::encode_prefixed(signature.as_bytes()))
}

/// Fills in what follows from receipts, proof and key; answers what is to be signed.
fn complete(
    terms: &mut v1::Terms,
    receipts: &[Vec<u8>],
    proof: &[u8],
    payer: Address,
) -> Result<(Domain, Terms), Failure> {
    let wrong = |error: String| Failure::usage(error);
    let limits = Limits::default();
    let receipts: Vec<Receipt> = receipts
        .iter()
        .map(|bytes| Receipt::parse(bytes, &limits))
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    let netted = net(&receipts).map_err(|error| wrong(error.to_string()))?;
    let proof_hash = if proof.is_empty() { B256::ZERO } else { keccak256(proof) };
    if terms.payer.is_empty() {
        terms.payer = payer.to_string();
    }
    terms.job_id = netted.job_id.to_string();
    terms.receipt_hash = netted.receipt_hash.to_string();
    terms.proof_hash = proof_hash.to_string();
    let inbox = parse::address("--inbox", &terms.inbox).map_err(|error| wrong(error.message.clone()))?;
    let signed = fields_of(terms).map_err(|error| wrong(error.message.clone()))?;
    let signed = Terms::new(signed).map_err(|error| wrong(error.to_string()))?;
    Ok((Domain::new(ChainId(terms.target_chain), inbox), signed))
}

/// Terms of the proto with every field present.
pub(super) fn fields_of(terms: &v1::Terms) -> Result<TermsFields, api::ApiError> {
    Ok(TermsFields {
        job_id: parse::hash("job_id", &terms.job_id)?,
        receipt_hash: parse::hash("receipt_hash", &terms.receipt_hash)?,
        proof_hash: parse::hash("proof_hash", &terms.proof_hash)?,
        source_chain: ChainId(terms.source_chain),
        payer: parse::address("payer", &terms.payer)?,
        payee: parse::address("payee", &terms.payee)?,
        token: parse::address("token", &terms.token)?,
        amount: parse::decimal("amount", &terms.amount)?,
        fee: parse::decimal("fee", &terms.fee)?,
        nonce: parse::decimal("nonce", &terms.nonce)?,
        deadline: terms.deadline,
    })
}

#[cfg(test)]
mod tests;
