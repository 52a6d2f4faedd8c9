//! Logs of hubs' contracts: what each says, and how a range of them is read. A hub is somebody else's contract: a log of it that makes no sense
//! is set aside and reported, and holds up nobody else on its chain.

use super::error::Attempted;
use super::{Chain, ChainError};
use crate::hub::model::Eon;
use crate::store::{Drift, DriftClass, Hub, HubFact, HubOperationKind, NewHubLog, StoreError, Txn};
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolEvent;
use relayer_adapter_api::abi::ICommitChain;
use relayer_adapter_api::{BlockRef, LogFilter, LogRecord, ViewError};
use serde_json::json;
use std::collections::BTreeMap;

/// A hub's contract on a chain, to be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubContract {
    /// As configured.
    pub name: String,
    pub contract: Address,
    /// First block whose logs are read; before the contract's genesis = from its genesis.
    pub start_block: u64,
}

/// A log that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddLog {
    /// Name of the hub.
    pub hub: String,
    /// Block hash and index.
    pub reference: String,
    pub reason: String,
}

/// Logs as they were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HubLogs {
    pub logs: Vec<NewHubLog>,
    pub odd: Vec<OddLog>,
}

impl HubLogs {
    /// Takes a log of this hub in.
    pub fn take(&mut self, hub: &Hub, log: &LogRecord, timestamp: u64) {
        match decode(hub, log, timestamp) {
            Ok(decoded) => self.logs.extend(decoded),
            Err(reason) => self.odd.push(OddLog {
                hub: hub.name.clone(),
                reference: format!("{}:{}", log.block_hash, log.log_index),
                reason,
            }),
        }
    }

    /// Stores them; odd ones become drifts. Returns how many rows are new or came back.
    pub async fn put(&self, txn: &mut Txn, chain: relayer_adapter_api::ChainId) -> Result<u64, StoreError> {
        for odd in &self.odd {
            let found = Drift {
                class: DriftClass::Unknown,
                chain,
                subject: format!("hub {} log {}", odd.hub, odd.reference),
                expected: "an event of docs/hub.md".into(),
                actual: odd.reason.clone(),
            };
            if txn.report_drift(&found).await? {
                tracing::error!(
                    hub = odd.hub,
                    log = odd.reference,
                    reason = odd.reason,
                    "a hub's log makes no sense"
                );
            }
        }
        txn.put_hub_logs(&self.logs).await
    }
}

/// What a log of a hub says; None for events that change nothing we keep.
pub fn decode(hub: &Hub, log: &LogRecord, timestamp: u64) -> Result<Option<NewHubLog>, String> {
    let Some(fact) = fact(log)? else {
        return Ok(None);
    };
    let clock = hub.clock().map_err(|error| error.to_string())?;
    let eon = clock.eon(log.block_number).map_err(|error| error.to_string())?;
    if let HubFact::Checkpoint { eon: of, .. } = &fact
        && *of != eon
    {
        return Err(format!("a checkpoint of eon {of} was submitted in eon {eon}"));
    }
    Ok(Some(NewHubLog {
        hub: hub.id,
        eon,
        block: BlockRef {
            number: log.block_number,
            hash: log.block_hash,
            timestamp,
        },
        log_index: log.log_index,
        tx_hash: log.tx_hash,
        fact,
    }))
}

fn event<E: SolEvent>(log: &LogRecord) -> Result<E, String> {
    E::decode_raw_log_validate(log.topics.iter().copied(), &log.data)
        .map_err(|error| format!("{} does not decode: {error}", E::SIGNATURE))
}

fn eon_of(number: U256) -> Result<Eon, String> {
    // The columns are signed.
    i64::try_from(number)
        .map(|eon| Eon(eon.unsigned_abs()))
        .map_err(|_| format!("{number} is no eon"))
}

fn operation(kind: HubOperationKind, token: Address, wallet: Address, amount: U256) -> HubFact {
    HubFact::Operation {
        kind,
        token,
        wallet,
        amount,
    }
}

fn fact(log: &LogRecord) -> Result<Option<HubFact>, String> {
    use HubOperationKind::{Deposit, WithdrawalConfirmation, WithdrawalRequest};
    let Some(topic) = log.topics.first() else {
        return Ok(None);
    };
    Ok(Some(match *topic {
        ICommitChain::CheckpointSubmission::SIGNATURE_HASH => {
            let e: ICommitChain::CheckpointSubmission = event(log)?;
            HubFact::Checkpoint {
                eon: eon_of(e.eon)?,
                root: e.merkleRoot,
            }
        }
        ICommitChain::Deposit::SIGNATURE_HASH => {
            let e: ICommitChain::Deposit = event(log)?;
            operation(Deposit, e.token, e.recipient, e.amount)
        }
        ICommitChain::WithdrawalRequest::SIGNATURE_HASH => {
            let e: ICommitChain::WithdrawalRequest = event(log)?;
            operation(WithdrawalRequest, e.token, e.requestor, e.amount)
        }
        ICommitChain::WithdrawalConfirmation::SIGNATURE_HASH => {
            let e: ICommitChain::WithdrawalConfirmation = event(log)?;
            operation(WithdrawalConfirmation, e.token, e.requestor, e.amount)
        }
        ICommitChain::ChallengeIssued::SIGNATURE_HASH => {
            let e: ICommitChain::ChallengeIssued = event(log)?;
            HubFact::ChallengeIssued {
                token: e.token,
                wallet: e.recipient,
                sender: e.sender,
            }
        }
        ICommitChain::StateUpdate::SIGNATURE_HASH => answer(&event(log)?)?,
        _ => return Ok(None),
    }))
}

fn answer(e: &ICommitChain::StateUpdate) -> Result<HubFact, String> {
    let words = |values: &[U256]| -> Vec<String> { values.iter().map(ToString::to_string).collect() };
    Ok(HubFact::ChallengeAnswered {
        token: e.token,
        wallet: e.account,
        eon: eon_of(e.eon)?,
        proof: json!({
            "trail": e.trail.to_string(),
            "allotmentChain": e.allotmentChain,
            "membershipChain": e.membershipChain,
            "values": words(&e.values),
            "lrDeltasPassiveMark": e.lrDeltasPassiveMark.iter().map(|pair| words(pair)).collect::<Vec<_>>(),
            "activeStateChecksum": e.activeStateChecksum,
            "passiveChecksum": e.passiveChecksum,
            "r": e.r, "s": e.s, "v": e.v.to_string(),
        }),
    })
}

/// Logs of one hub in final blocks `from ..= to`.
pub async fn read_final(chain: &dyn Chain, hub: &Hub, from: u64, to: BlockRef) -> Result<HubLogs, ChainError> {
    let filter = LogFilter {
        addresses: vec![hub.contract],
        topics0: Vec::new(),
        from_block: Some(from),
    };
    let found = chain.view(to).logs(&filter).await.attempted("reading a hub's logs")?;
    let mut blocks = BTreeMap::from([(to.number, to)]);
    let mut logs = HubLogs::default();
    for log in &found {
        let unknown = || ChainError::View {
            attempted: "reading a hub's logs",
            source: ViewError::UnknownBlock {
                chain: chain.id().0,
                block: format!("{} ({})", log.block_number, log.block_hash),
            },
        };
        let block = match blocks.get(&log.block_number) {
            Some(block) => *block,
            None => {
                let found = chain.block_at(log.block_number).await.attempted("reading a block")?;
                let (block, _) = found.ok_or_else(unknown)?;
                blocks.insert(log.block_number, block);
                block
            }
        };
        if block.hash != log.block_hash {
            return Err(unknown());
        }
        logs.take(hub, log, block.timestamp);
    }
    Ok(logs)
}

/// Logs of one hub in one block.
pub async fn read_block(chain: &dyn Chain, hub: &Hub, block: BlockRef) -> Result<HubLogs, ChainError> {
    let filter = LogFilter {
        addresses: vec![hub.contract],
        topics0: Vec::new(),
        from_block: None,
    };
    let found = chain
        .view(block)
        .logs(&filter)
        .await
        .attempted("reading a hub's logs")?;
    let mut logs = HubLogs::default();
    for log in &found {
        logs.take(hub, log, block.timestamp);
    }
    Ok(logs)
}
