//! What the outbox was told: the calls in a transaction that emitted `MessageDispatched`. From them every batch can be rebuilt, with nobody's
//! help but a node's (docs/wire.md): the header hashes to the message id of the log, the settlement ids to the header's root. So an answer
//! proves itself, and one endpoint that tells the truth is enough.

use super::error::Attempted;
use super::{ChainError, TransactionSource};
use crate::settlement::{MessageId, SettlementId};
use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementOutbox::{dispatchCall, dispatchCheckpointCall};
use relayer_adapter_api::message::Header;
use relayer_adapter_api::tree;

/// One call of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dispatched {
    /// `dispatch`. Without ids, the outbox had committed to the message before: an earlier dispatch of it has them.
    Batch {
        header: Header,
        /// In leaf order; they give the header's root.
        ids: Vec<SettlementId>,
        port: Address,
        gas_limit: u128,
    },
    /// `dispatchCheckpoint`: the outbox read the root itself, so that the call does not prove the message.
    Checkpoint(CheckpointCall),
}

/// What `dispatchCheckpoint` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointCall {
    pub hub: Address,
    pub eon: u64,
    pub target: u64,
    pub inbox: Address,
    pub port: Address,
    pub gas_limit: u128,
}

/// Every call of the outbox in a transaction's input, in order. The outbox may have been called through another contract (a multisig, a
/// multicall), so its calls are looked for anywhere; what merely looks like one gives no message.
pub fn calls(input: &[u8]) -> Vec<Dispatched> {
    let mut found = Vec::new();
    for at in 0..input.len().saturating_sub(3) {
        let rest = &input[at..];
        if rest.starts_with(&dispatchCall::SELECTOR) {
            found.extend(batch(rest));
        } else if rest.starts_with(&dispatchCheckpointCall::SELECTOR) {
            found.extend(checkpoint(rest));
        }
    }
    found
}

fn batch(call: &[u8]) -> Option<Dispatched> {
    let call = dispatchCall::abi_decode(call).ok()?;
    let header = Header::decode(&call.header).ok()?;
    let ids = call.settlementIds;
    let whole = || u32::try_from(ids.len()) == Ok(header.count) && tree::root(&ids) == Ok(header.root);
    (ids.is_empty() || whole()).then(|| Dispatched::Batch {
        header,
        ids: ids.iter().copied().map(SettlementId).collect(),
        port: call.port,
        gas_limit: call.gasLimit,
    })
}

fn checkpoint(call: &[u8]) -> Option<Dispatched> {
    let call = dispatchCheckpointCall::abi_decode(call).ok()?;
    Some(Dispatched::Checkpoint(CheckpointCall {
        hub: call.hub,
        eon: call.eon,
        target: call.targetChain,
        inbox: call.inbox,
        port: call.port,
        gas_limit: call.gasLimit,
    }))
}

/// The batch of this id in a transaction's input, the fullest where it is there more than once.
pub fn batch_in(input: &[u8], message: MessageId) -> Option<(Header, Vec<SettlementId>)> {
    let batches = calls(input).into_iter().filter_map(|call| match call {
        Dispatched::Batch { header, ids, .. } if keccak256(header.encode()) == message.0 => Some((header, ids)),
        _ => None,
    });
    batches.max_by_key(|(_, ids)| ids.len())
}

/// The batch that transaction `tx` gave to the outbox under this id. `None` when no endpoint has such a transaction, or it carries no such
/// batch (a checkpoint, or calldata another contract made up on chain). The ids are empty when an earlier dispatch has them.
pub async fn read_batch(
    chain: &dyn TransactionSource,
    tx: B256,
    message: MessageId,
) -> Result<Option<(Header, Vec<SettlementId>)>, ChainError> {
    let batches = inputs(chain, tx).await?;
    let batches = batches.iter().filter_map(|input| batch_in(input, message));
    Ok(batches.max_by_key(|(_, ids)| ids.len()))
}

/// The outbox calls of a transaction, for logs of checkpoints. An endpoint could make them up: compare the message they give with the log.
pub async fn read_calls(chain: &dyn TransactionSource, tx: B256) -> Result<Vec<Dispatched>, ChainError> {
    let mut found: Vec<Dispatched> = Vec::new();
    for input in inputs(chain, tx).await? {
        for call in calls(&input) {
            if !found.contains(&call) {
                found.push(call);
            }
        }
    }
    Ok(found)
}

async fn inputs(chain: &dyn TransactionSource, tx: B256) -> Result<Vec<Bytes>, ChainError> {
    chain
        .transaction_inputs(tx)
        .await
        .attempted("reading a transaction's input")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use async_trait::async_trait;
    use relayer_adapter_api::message::Kind;
    use relayer_adapter_api::{ChainId, ViewError};

    const PORT: Address = Address::repeat_byte(0x77);

    fn ids(count: u8) -> Vec<B256> {
        (1..=count).map(B256::repeat_byte).collect()
    }

    fn header(ids: &[B256]) -> Header {
        Header {
            kind: Kind::SettlementBatch,
            source: ChainId(1),
            target: ChainId(2),
            outbox: Address::repeat_byte(1),
            inbox: Address::repeat_byte(2),
            sequence: 7,
            root: tree::root(ids).unwrap(),
            count: u32::try_from(ids.len()).unwrap(),
            fee_recipient: Address::repeat_byte(3),
        }
    }

    fn dispatch(header: &Header, ids: &[B256]) -> Vec<u8> {
        let call = dispatchCall {
            header: header.encode().to_vec().into(),
            settlementIds: ids.to_vec(),
            port: PORT,
            gasLimit: 200_000,
        };
        call.abi_encode()
    }

    fn id(header: &Header) -> MessageId {
        MessageId(keccak256(header.encode()))
    }

    fn settlements(ids: &[B256]) -> Vec<SettlementId> {
        ids.iter().copied().map(SettlementId).collect()
    }

    #[test]
    fn a_dispatch_gives_its_message_and_leaves() {
        let ids = ids(3);
        let header = header(&ids);
        let input = dispatch(&header, &ids);
        assert_eq!(batch_in(&input, id(&header)), Some((header.clone(), settlements(&ids))));
        assert_eq!(batch_in(&input, MessageId(B256::repeat_byte(9))), None);
        let further = dispatch(&header, &[]);
        assert_eq!(batch_in(&further, id(&header)), Some((header, Vec::new())));
    }

    #[test]
    fn ids_that_do_not_give_the_root_are_nobodys_word() {
        let ids = ids(3);
        let header = header(&ids);
        let swapped = dispatch(&header, &[ids[1], ids[0], ids[2]]);
        assert_eq!(batch_in(&swapped, id(&header)), None);
        let short = dispatch(&header, &ids[..2]);
        assert_eq!(batch_in(&short, id(&header)), None);
    }

    #[test]
    fn calls_inside_another_contracts_call_are_found_in_order() {
        let (one, two) = (ids(1), ids(4));
        let (first, second) = (header(&one), header(&two));
        let checkpoint = dispatchCheckpointCall {
            hub: Address::repeat_byte(8),
            eon: 5,
            targetChain: 2,
            inbox: Address::repeat_byte(2),
            port: PORT,
            gasLimit: 9,
        };
        let input = [
            vec![0xac, 0x96, 0x50, 0xd8, 0, 1, 2],
            dispatch(&first, &one),
            vec![0; 28],
            checkpoint.abi_encode(),
            dispatch(&second, &two),
            vec![0; 5],
        ]
        .concat();
        assert_eq!(calls(&input).len(), 3);
        assert!(matches!(calls(&input)[1], Dispatched::Checkpoint(call) if call.eon == 5 && call.port == PORT));
        assert_eq!(batch_in(&input, id(&second)), Some((second, settlements(&two))));
    }

    #[test]
    fn rubbish_is_no_call() {
        let ids = ids(3);
        let whole = dispatch(&header(&ids), &ids);
        for end in 0..whole.len() {
            assert_eq!(calls(&whole[..end]), Vec::new(), "cut at {end}");
        }
    }

    struct Endpoints(Vec<Bytes>);

    #[async_trait]
    impl TransactionSource for Endpoints {
        async fn transaction_inputs(&self, _tx: B256) -> Result<Vec<Bytes>, ViewError> {
            Ok(self.0.clone())
        }
    }

    #[tokio::test]
    async fn one_honest_endpoint_among_liars_is_enough() {
        let ids = ids(2);
        let header = header(&ids);
        let lie = dispatch(&header, &[ids[1], ids[0]]);
        let known = dispatch(&header, &[]);
        let endpoints = Endpoints(vec![lie.into(), known.into(), dispatch(&header, &ids).into()]);
        let read = read_batch(&endpoints, B256::ZERO, id(&header)).await.unwrap();
        assert_eq!(read, Some((header, settlements(&ids))));
        let none = read_batch(&Endpoints(Vec::new()), B256::ZERO, id(&endpoints_header()))
            .await
            .unwrap();
        assert_eq!(none, None);
    }

    fn endpoints_header() -> Header {
        header(&ids(1))
    }
}
