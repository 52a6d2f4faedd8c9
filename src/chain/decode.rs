//! Events of our contracts as rows of `chain_log`: which subject, which amount, every field as JSON.

use super::ChainError;
use super::decode_registry::registry;
use crate::store::NewChainLog;
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolEvent;
use relayer_adapter_api::abi::{ISettlementInbox as Inbox, ISettlementOutbox as Outbox, ISettlementVault as Vault};
use relayer_adapter_api::{ChainId, LogRecord, view};
use serde_json::{Value, json};

/// Our contracts on one chain. A chain may carry only a source side or only a target side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contracts {
    pub outbox: Option<Address>,
    pub inbox: Option<Address>,
    pub vault: Option<Address>,
    pub registry: Option<Address>,
}

impl Contracts {
    /// Addresses whose logs are read.
    pub fn addresses(&self) -> Vec<Address> {
        [self.outbox, self.inbox, self.vault, self.registry]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// What a log says.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub kind: &'static str,
    pub key: B256,
    pub key2: B256,
    pub amount: U256,
    pub detail: Value,
}

pub(super) fn decoded(kind: &'static str, key: B256, key2: B256, amount: U256, detail: Value) -> Decoded {
    Decoded {
        kind,
        key,
        key2,
        amount,
        detail,
    }
}

pub(super) fn word(address: Address) -> B256 {
    address.into_word()
}

pub(super) fn event<E: SolEvent>(log: &view::LogRecord) -> Result<E, ChainError> {
    E::decode_raw_log_validate(log.topics.iter().copied(), &log.data).map_err(|error| ChainError::Decode {
        log: format!("{}:{}", log.block_hash, log.log_index),
        event: E::SIGNATURE,
        reason: error.to_string(),
    })
}

/// The row of a log in a block of this time. None as with [`decode`].
pub fn row(
    contracts: &Contracts,
    chain: ChainId,
    log: &LogRecord,
    block_timestamp: u64,
) -> Result<Option<NewChainLog>, ChainError> {
    let decoded = decode(contracts, log)?;
    Ok(decoded.map(|decoded| NewChainLog {
        chain,
        block_number: log.block_number,
        block_hash: log.block_hash,
        block_timestamp,
        log_index: log.log_index,
        tx_hash: log.tx_hash,
        address: log.address,
        kind: decoded.kind.to_owned(),
        key: decoded.key,
        key2: decoded.key2,
        amount: decoded.amount,
        detail: decoded.detail,
    }))
}

/// Decodes a log of one of our contracts; None for events that change nothing we keep (e.g. ownership). A log of a known event that does
/// not decode is an error: skipping it could be skipping a payment.
pub fn decode(contracts: &Contracts, log: &LogRecord) -> Result<Option<Decoded>, ChainError> {
    let Some(topic) = log.topics.first() else {
        return Ok(None);
    };
    let is = |address: Option<Address>| address == Some(log.address);
    if is(contracts.outbox) {
        return outbox(*topic, log);
    }
    if is(contracts.inbox) {
        return inbox(*topic, log);
    }
    if is(contracts.vault) {
        return vault(*topic, log);
    }
    if is(contracts.registry) {
        return registry(*topic, log);
    }
    Ok(None)
}

fn outbox(topic: B256, log: &LogRecord) -> Result<Option<Decoded>, ChainError> {
    let zero = (B256::ZERO, U256::ZERO);
    Ok(Some(match topic {
        Outbox::MessageDispatched::SIGNATURE_HASH => {
            let e: Outbox::MessageDispatched = event(log)?;
            let detail = json!({
                "messageId": e.messageId, "port": e.port, "bridgeRef": e.bridgeRef, "targetChain": e.targetChain.to_string(),
                "sequence": e.sequence.to_string(), "count": e.count.to_string(),
            });
            decoded("message_dispatched", e.messageId, word(e.port), zero.1, detail)
        }
        Outbox::PortAdded::SIGNATURE_HASH => {
            let e: Outbox::PortAdded = event(log)?;
            let detail = json!({"port": e.port, "slot": e.slot.to_string(), "family": e.family.to_string()});
            decoded("port_added", word(e.port), zero.0, zero.1, detail)
        }
        Outbox::PortRemoved::SIGNATURE_HASH => {
            let e: Outbox::PortRemoved = event(log)?;
            let detail = json!({"port": e.port, "slot": e.slot.to_string()});
            decoded("port_removed", word(e.port), zero.0, zero.1, detail)
        }
        Outbox::DispatcherSet::SIGNATURE_HASH => {
            let e: Outbox::DispatcherSet = event(log)?;
            let detail = json!({"dispatcher": e.dispatcher, "allowed": e.allowed});
            decoded("dispatcher_set", word(e.dispatcher), zero.0, zero.1, detail)
        }
        _ => return Ok(None),
    }))
}

/// The transfers of RunsPaid as JSON, and what went to payees in all: 48 bytes each, payee b20 | items u16 | amount u104 | fee u104
/// (docs/wire.md section 6).
fn transfers(packed: &[u8]) -> Option<(Vec<Value>, U256)> {
    let (runs, rest) = packed.as_chunks::<48>();
    if runs.is_empty() || !rest.is_empty() {
        return None;
    }
    let mut sum = U256::ZERO;
    let mut all = Vec::with_capacity(runs.len());
    for run in runs {
        let count = u16::from_be_bytes([run[20], run[21]]);
        let (amount, fee) = (U256::from_be_slice(&run[22..35]), U256::from_be_slice(&run[35..48]));
        sum = sum.saturating_add(amount);
        all.push(json!({
            "payee": Address::from_slice(&run[..20]), "count": count.to_string(),
            "amount": amount.to_string(), "fee": fee.to_string(),
        }));
    }
    Some((all, sum))
}

fn inbox(topic: B256, log: &LogRecord) -> Result<Option<Decoded>, ChainError> {
    let zero = (B256::ZERO, U256::ZERO);
    Ok(Some(match topic {
        Inbox::MessageReceived::SIGNATURE_HASH => {
            let e: Inbox::MessageReceived = event(log)?;
            let detail = json!({"messageId": e.messageId, "port": e.port, "votes": e.votes.to_string()});
            decoded("message_received", e.messageId, word(e.port), zero.1, detail)
        }
        Inbox::MessageRepeated::SIGNATURE_HASH => {
            let e: Inbox::MessageRepeated = event(log)?;
            let detail = json!({"messageId": e.messageId, "port": e.port});
            decoded("message_repeated", e.messageId, word(e.port), zero.1, detail)
        }
        Inbox::SettlementPaid::SIGNATURE_HASH => {
            let e: Inbox::SettlementPaid = event(log)?;
            let credited = e.nonceAndCredited.bit(255);
            let nonce: U256 = e.nonceAndCredited & (U256::MAX >> 1usize);
            let detail = json!({
                "id": e.id, "payer": e.payer, "nonceAndCredited": e.nonceAndCredited.to_string(),
                "nonce": nonce.to_string(), "credited": credited,
            });
            decoded("settlement_paid", e.id, word(e.payer), e.nonceAndCredited, detail)
        }
        Inbox::RunsPaid::SIGNATURE_HASH => {
            let e: Inbox::RunsPaid = event(log)?;
            let (runs, sum) = transfers(&e.runs).ok_or_else(|| ChainError::Decode {
                log: format!("{}:{}", log.block_hash, log.log_index),
                event: Inbox::RunsPaid::SIGNATURE,
                reason: format!("{} bytes are no whole number of runs", e.runs.len()),
            })?;
            let detail = json!({"messageId": e.messageId, "token": e.token, "payer": e.payer, "runs": runs});
            decoded("runs_paid", e.messageId, word(e.payer), sum, detail)
        }
        Inbox::SettlementSkipped::SIGNATURE_HASH => {
            let e: Inbox::SettlementSkipped = event(log)?;
            let detail = json!({"id": e.id, "reason": e.reason.to_string()});
            decoded("settlement_skipped", e.id, zero.0, zero.1, detail)
        }
        Inbox::PortProposed::SIGNATURE_HASH => {
            let e: Inbox::PortProposed = event(log)?;
            let detail =
                json!({"port": e.port, "family": e.family.to_string(), "activatableAt": e.activatableAt.to_string()});
            decoded("port_proposed", word(e.port), zero.0, zero.1, detail)
        }
        Inbox::PortActivated::SIGNATURE_HASH => {
            let e: Inbox::PortActivated = event(log)?;
            let detail = json!({"port": e.port, "slot": e.slot.to_string(), "family": e.family.to_string()});
            decoded("port_activated", word(e.port), zero.0, zero.1, detail)
        }
        Inbox::PortRemoved::SIGNATURE_HASH => {
            let e: Inbox::PortRemoved = event(log)?;
            let detail = json!({"port": e.port, "slot": e.slot.to_string()});
            decoded("port_removed", word(e.port), zero.0, zero.1, detail)
        }
        _ => return Ok(None),
    }))
}

fn vault(topic: B256, log: &LogRecord) -> Result<Option<Decoded>, ChainError> {
    for part in [vault_funds, vault_admin] {
        if let Some(decoded) = part(topic, log)? {
            return Ok(Some(decoded));
        }
    }
    let zero = (B256::ZERO, U256::ZERO);
    Ok(Some(match topic {
        Vault::BurnAnnounced::SIGNATURE_HASH => {
            let e: Vault::BurnAnnounced = event(log)?;
            let detail = json!({"payer": e.payer, "nonce": e.nonce.to_string()});
            decoded("burn_announced", word(e.payer), e.nonce.into(), zero.1, detail)
        }
        Vault::NonceBurned::SIGNATURE_HASH => {
            let e: Vault::NonceBurned = event(log)?;
            let detail = json!({"payer": e.payer, "nonce": e.nonce.to_string()});
            decoded("nonce_burned", word(e.payer), e.nonce.into(), zero.1, detail)
        }
        Vault::SignerAdded::SIGNATURE_HASH => {
            let e: Vault::SignerAdded = event(log)?;
            let detail = json!({"payer": e.payer, "signer": e.signer});
            decoded("signer_added", word(e.payer), word(e.signer), zero.1, detail)
        }
        Vault::SignerRemovalAnnounced::SIGNATURE_HASH => {
            let e: Vault::SignerRemovalAnnounced = event(log)?;
            let detail = json!({"payer": e.payer, "signer": e.signer});
            decoded(
                "signer_removal_announced",
                word(e.payer),
                word(e.signer),
                zero.1,
                detail,
            )
        }
        Vault::SignerRemoved::SIGNATURE_HASH => {
            let e: Vault::SignerRemoved = event(log)?;
            let detail = json!({"payer": e.payer, "signer": e.signer});
            decoded("signer_removed", word(e.payer), word(e.signer), zero.1, detail)
        }
        _ => return Ok(None),
    }))
}

fn vault_admin(topic: B256, log: &LogRecord) -> Result<Option<Decoded>, ChainError> {
    let zero = (B256::ZERO, U256::ZERO);
    Ok(Some(match topic {
        Vault::TokenListed::SIGNATURE_HASH => {
            let e: Vault::TokenListed = event(log)?;
            let detail = json!({
                "token": e.token, "decimals": e.decimals.to_string(),
                "limit1": e.limit1.to_string(), "limit2": e.limit2.to_string(),
                "quorum1": e.quorum1.to_string(), "quorum2": e.quorum2.to_string(), "quorum3": e.quorum3.to_string(),
            });
            decoded("token_listed", word(e.token), zero.0, zero.1, detail)
        }
        Vault::TokenDelisted::SIGNATURE_HASH => {
            let e: Vault::TokenDelisted = event(log)?;
            decoded(
                "token_delisted",
                word(e.token),
                zero.0,
                zero.1,
                json!({"token": e.token}),
            )
        }
        Vault::Paused::SIGNATURE_HASH => {
            let e: Vault::Paused = event(log)?;
            let detail = json!({"payer": e.payer, "until": e.until.to_string()});
            decoded("paused", word(e.payer), zero.0, zero.1, detail)
        }
        Vault::Unpaused::SIGNATURE_HASH => {
            let e: Vault::Unpaused = event(log)?;
            decoded("unpaused", word(e.payer), zero.0, zero.1, json!({"payer": e.payer}))
        }
        Vault::GuardianSet::SIGNATURE_HASH => {
            let e: Vault::GuardianSet = event(log)?;
            decoded(
                "guardian_set",
                word(e.guardian),
                zero.0,
                zero.1,
                json!({"guardian": e.guardian}),
            )
        }
        _ => return Ok(None),
    }))
}

fn vault_funds(topic: B256, log: &LogRecord) -> Result<Option<Decoded>, ChainError> {
    Ok(Some(match topic {
        Vault::Deposited::SIGNATURE_HASH => {
            let e: Vault::Deposited = event(log)?;
            let detail = json!({"payer": e.payer, "token": e.token, "from": e.from, "amount": e.amount.to_string()});
            decoded("deposited", word(e.payer), word(e.token), e.amount, detail)
        }
        Vault::WithdrawalAnnounced::SIGNATURE_HASH => {
            let e: Vault::WithdrawalAnnounced = event(log)?;
            let detail = json!({"payer": e.payer, "token": e.token, "amount": e.amount.to_string()});
            decoded("withdrawal_announced", word(e.payer), word(e.token), e.amount, detail)
        }
        Vault::WithdrawalCancelled::SIGNATURE_HASH => {
            let e: Vault::WithdrawalCancelled = event(log)?;
            let detail = json!({"payer": e.payer, "token": e.token});
            decoded("withdrawal_cancelled", word(e.payer), word(e.token), U256::ZERO, detail)
        }
        Vault::Withdrawn::SIGNATURE_HASH => {
            let e: Vault::Withdrawn = event(log)?;
            let detail = json!({"payer": e.payer, "token": e.token, "amount": e.amount.to_string()});
            decoded("withdrawn", word(e.payer), word(e.token), e.amount, detail)
        }
        Vault::Credited::SIGNATURE_HASH => {
            let e: Vault::Credited = event(log)?;
            let detail = json!({"account": e.account, "token": e.token, "amount": e.amount.to_string()});
            decoded("credited", word(e.account), word(e.token), e.amount, detail)
        }
        Vault::Claimed::SIGNATURE_HASH => {
            let e: Vault::Claimed = event(log)?;
            let detail = json!({"account": e.account, "token": e.token, "amount": e.amount.to_string()});
            decoded("claimed", word(e.account), word(e.token), e.amount, detail)
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use alloy::primitives::address;

    const OUTBOX: Address = address!("00000000000000000000000000000000000000a1");
    const INBOX: Address = address!("00000000000000000000000000000000000000a2");
    const VAULT: Address = address!("00000000000000000000000000000000000000a3");
    const PAYER: Address = address!("00000000000000000000000000000000000000b1");
    const CONTRACTS: Contracts = Contracts {
        outbox: Some(OUTBOX),
        inbox: Some(INBOX),
        vault: Some(VAULT),
        registry: None,
    };

    fn record(address: Address, event: &impl SolEvent) -> LogRecord {
        let data = event.encode_log_data();
        LogRecord {
            address,
            topics: data.topics().to_vec(),
            data: data.data,
            block_number: 1,
            block_hash: B256::repeat_byte(1),
            tx_hash: B256::repeat_byte(2),
            log_index: 3,
        }
    }

    fn check(address: Address, event: &impl SolEvent, kind: &str, key: B256, key2: B256, amount: U256) -> Decoded {
        let decoded = decode(&CONTRACTS, &record(address, event))
            .unwrap()
            .expect("a kind of ours");
        assert_eq!(
            (decoded.kind, decoded.key, decoded.key2, decoded.amount),
            (kind, key, key2, amount)
        );
        decoded
    }

    #[test]
    fn a_payment_keeps_its_nonce_and_credited_bit() {
        let id = B256::repeat_byte(7);
        let packed = U256::from(41) | (U256::from(1) << 255);
        let paid = Inbox::SettlementPaid {
            id,
            payer: PAYER,
            nonceAndCredited: packed,
        };
        let decoded = check(INBOX, &paid, "settlement_paid", id, word(PAYER), packed);
        assert_eq!(decoded.detail["nonce"], "41");
        assert_eq!(decoded.detail["credited"], true);
    }

    #[test]
    fn runs_are_unpacked_and_broken_ones_are_an_error() {
        let run = |payee: u8, count: u16, amount: u128, fee: u128| {
            let mut bytes = Address::repeat_byte(payee).to_vec();
            bytes.extend(count.to_be_bytes());
            bytes.extend(&amount.to_be_bytes()[3..]);
            bytes.extend(&fee.to_be_bytes()[3..]);
            bytes
        };
        let largest = (1 << 104) - 1;
        let paid = |runs: Vec<u8>| Inbox::RunsPaid {
            messageId: B256::repeat_byte(4),
            token: Address::repeat_byte(9),
            payer: PAYER,
            runs: runs.into(),
        };
        let two = paid([run(5, 2, 30, 4), run(6, 256, largest, 0)].concat());
        let sum = U256::from(largest) + U256::from(30);
        let decoded = check(INBOX, &two, "runs_paid", B256::repeat_byte(4), word(PAYER), sum);
        let expected = json!([
            {"payee": Address::repeat_byte(5), "count": "2", "amount": "30", "fee": "4"},
            {"payee": Address::repeat_byte(6), "count": "256", "amount": largest.to_string(), "fee": "0"},
        ]);
        assert_eq!(decoded.detail["runs"], expected);
        for broken in [Vec::new(), run(5, 1, 1, 1)[..47].to_vec()] {
            assert!(matches!(
                decode(&CONTRACTS, &record(INBOX, &paid(broken))),
                Err(ChainError::Decode { .. })
            ));
        }
    }

    #[test]
    fn subjects_follow_the_table_of_kinds() {
        let token = Address::repeat_byte(9);
        let deposit = Vault::Deposited {
            payer: PAYER,
            token,
            from: token,
            amount: U256::from(5),
        };
        check(VAULT, &deposit, "deposited", word(PAYER), word(token), U256::from(5));
        let burn = Vault::BurnAnnounced {
            payer: PAYER,
            nonce: U256::from(6),
        };
        check(
            VAULT,
            &burn,
            "burn_announced",
            word(PAYER),
            U256::from(6).into(),
            U256::ZERO,
        );
        let sent = Outbox::MessageDispatched {
            messageId: B256::repeat_byte(4),
            port: token,
            bridgeRef: B256::repeat_byte(5),
            targetChain: 7,
            sequence: 8,
            count: 9,
        };
        let decoded = check(
            OUTBOX,
            &sent,
            "message_dispatched",
            B256::repeat_byte(4),
            word(token),
            U256::ZERO,
        );
        assert_eq!(decoded.detail["sequence"], "8");
        let received = Inbox::MessageReceived {
            messageId: B256::repeat_byte(4),
            port: token,
            votes: U256::from(3),
        };
        check(
            INBOX,
            &received,
            "message_received",
            B256::repeat_byte(4),
            word(token),
            U256::ZERO,
        );
    }

    #[test]
    fn an_event_of_another_contract_of_ours_is_not_taken_for_it() {
        let paid = Inbox::SettlementPaid {
            id: B256::repeat_byte(7),
            payer: PAYER,
            nonceAndCredited: U256::ZERO,
        };
        assert_eq!(decode(&CONTRACTS, &record(OUTBOX, &paid)).unwrap(), None);
        assert_eq!(
            decode(&CONTRACTS, &record(Address::repeat_byte(8), &paid)).unwrap(),
            None
        );
    }

    #[test]
    fn a_known_event_with_broken_data_is_an_error() {
        let deposit = Vault::Deposited {
            payer: PAYER,
            token: PAYER,
            from: PAYER,
            amount: U256::from(5),
        };
        let mut log = record(VAULT, &deposit);
        log.data = log.data.slice(..31);
        assert!(matches!(decode(&CONTRACTS, &log), Err(ChainError::Decode { .. })));
    }
}
