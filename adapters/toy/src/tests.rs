#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use alloy::primitives::Bytes;
use relayer_adapter_api::Header;
use relayer_adapter_api::{BlockRef, Kind, Level, SettlementId, ViewError};
use relayer_adapter_conformance::{Breaches, Rank, Scene, Step, check, check_findings};

const SOURCE: ChainId = ChainId(1);
const TARGET: ChainId = ChainId(2);
const OUTBOX: Address = Address::repeat_byte(0x0b);
const PORTS: [Address; 2] = [Address::repeat_byte(0xa1), Address::repeat_byte(0xa2)];

fn toy() -> ToyAdapter {
    let end = |chain, port| ToyChain {
        chain,
        port,
        outbox: OUTBOX,
    };
    ToyAdapter {
        id: BridgeId::new("toy").unwrap(),
        chains: vec![end(SOURCE, PORTS[0]), end(TARGET, PORTS[1])],
        fee: U256::from(7),
    }
}

fn message() -> SealedMessage {
    SealedMessage {
        header: Header {
            kind: Kind::SettlementBatch,
            source: SOURCE,
            target: TARGET,
            outbox: OUTBOX,
            inbox: Address::repeat_byte(0x1b),
            sequence: 3,
            root: B256::repeat_byte(7),
            count: 2,
            fee_recipient: Address::repeat_byte(0xfe),
        },
        body: relayer_adapter_api::Body::Batch {
            ids: vec![SettlementId(B256::repeat_byte(1)), SettlementId(B256::repeat_byte(2))],
        },
        committed: false,
    }
}

fn log<E: SolEvent>(address: Address, event: &E) -> LogRecord {
    let data = event.encode_log_data();
    LogRecord {
        address,
        topics: data.topics().to_vec(),
        data: data.data,
        block_number: 9,
        block_hash: B256::repeat_byte(8),
        tx_hash: B256::repeat_byte(4),
        log_index: 0,
    }
}

fn receipt() -> TxReceipt {
    let bytes = message().header.encode();
    let sent = IToyPort::ToySent {
        id: toy_id(&bytes),
        message: Bytes::copy_from_slice(&bytes),
    };
    TxReceipt {
        tx_hash: B256::repeat_byte(4),
        block_number: 9,
        block_hash: B256::repeat_byte(8),
        succeeded: true,
        gas_used: 1,
        effective_gas_price: 1,
        logs: vec![log(PORTS[0], &sent)],
    }
}

/// A chain that is nothing but its logs.
struct Logs(ChainId, Vec<LogRecord>);

#[async_trait]
impl ChainView for Logs {
    fn chain(&self) -> ChainId {
        self.0
    }

    fn block(&self) -> BlockRef {
        BlockRef {
            number: 10,
            hash: B256::repeat_byte(9),
            timestamp: 1,
        }
    }

    async fn call(&self, _: Option<Address>, _: Address, _: Bytes, _: U256) -> Result<Bytes, ViewError> {
        Ok(Bytes::new())
    }

    async fn logs(&self, _: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        Ok(self.1.clone())
    }

    async fn receipt(&self, _: B256) -> Result<Option<TxReceipt>, ViewError> {
        Ok(None)
    }
}

/// The suite over any adapter that is meant to behave as the toy does.
async fn judge(adapter: &dyn BridgeAdapter) -> Result<(), Breaches> {
    let id = toy_id(&message().header.encode());
    let vouched = log(PORTS[1], &IToyPort::ToyVouched { id });
    let delivered = log(PORTS[1], &IToyPort::ToyDelivered { id });
    let source = Logs(SOURCE, vec![]);
    let targets = [vec![], vec![vouched.clone()], vec![vouched, delivered]].map(|logs| Logs(TARGET, logs));
    let step = |at: usize, name, rank, helps| Step {
        name,
        source: &source,
        target: &targets[at],
        rank,
        helps,
    };
    let scene = Scene {
        adapter,
        message: message(),
        source: &source,
        receipt: receipt(),
        id_is_announced: false,
        steps: vec![
            step(0, "sent", Rank::Pending, false),
            step(1, "vouched for", Rank::Attested, true),
            step(2, "delivered", Rank::Received, false),
        ],
    };
    check(&scene).await
}

#[tokio::test]
async fn the_toy_conforms() {
    judge(&toy()).await.unwrap();
}

#[test]
fn its_inspection_conforms() {
    let here = toy().inspect(&Logs(TARGET, vec![]));
    check_findings(&here).unwrap();
    let nowhere = toy().inspect(&Logs(ChainId(3), vec![]));
    check_findings(&nowhere).unwrap();
    assert_eq!(nowhere[0].level, Level::Fail);
    let silent = Finding::fail("port", "none", "");
    assert_eq!(check_findings(&[silent]).unwrap_err().0, ["port: says not what to do"]);
    assert_eq!(check_findings(&[]).unwrap_err().0.len(), 1);
}

/// A toy with one fault.
struct Faulty(ToyAdapter, &'static str);

#[async_trait]
impl BridgeAdapter for Faulty {
    fn id(&self) -> BridgeId {
        self.0.id()
    }

    fn lane(&self, from: ChainId, to: ChainId) -> Option<Lane> {
        let lane = self.0.lane(from, to);
        match (self.1, lane) {
            ("family 0", Some(lane)) => Some(Lane {
                family: Family(0),
                ..lane
            }),
            (_, lane) => lane,
        }
    }

    async fn quote(&self, source: &dyn ChainView, message: &SealedMessage) -> Result<Quote, AdapterError> {
        let quote = self.0.quote(source, message).await?;
        Ok(match self.1 {
            "no gas" => Quote { gas_limit: 0, ..quote },
            _ => quote,
        })
    }

    fn build_send(&self, message: &SealedMessage, quote: &Quote) -> Result<Call, AdapterError> {
        let call = self.0.build_send(message, quote)?;
        Ok(match self.1 {
            "overpays" => Call {
                value: call.value + U256::from(1),
                ..call
            },
            _ => call,
        })
    }

    fn decode_send(&self, receipt: &TxReceipt) -> Result<MessageRef, AdapterError> {
        match self.1 {
            "panics" => assert!(receipt.logs.iter().all(|log| log.data.len() > 40), "short"),
            "forgets to look at the outcome" => {
                return self.0.decode_send(&TxReceipt {
                    succeeded: true,
                    ..receipt.clone()
                });
            }
            _ => {}
        }
        let mut found = self.0.decode_send(receipt)?;
        if self.1 == "keeps no evidence" {
            found.evidence = Bytes::new();
        }
        Ok(found)
    }

    async fn delivery(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Delivery, AdapterError> {
        match (self.1, self.0.delivery(source, target, message).await) {
            ("takes silence for failure", Err(_)) => Ok(Delivery::Failed { why: "gone".into() }),
            ("never arrives", Ok(Delivery::Received)) => Ok(Delivery::Attested { note: "still".into() }),
            (_, found) => found,
        }
    }

    async fn advance(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Vec<Call>, AdapterError> {
        match self.1 {
            "never helps" => Ok(Vec::new()),
            _ => self.0.advance(source, target, message).await,
        }
    }
}

#[tokio::test]
async fn each_fault_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    for (fault, says) in [
        ("family 0", "lane: the family"),
        ("no gas", "quote: the receive callback gets no gas"),
        ("overpays", "build_send: sends more than was quoted"),
        ("panics", "decode_send: panics at"),
        (
            "forgets to look at the outcome",
            "decode_send: accepts a reverted transaction",
        ),
        ("keeps no evidence", "decode_send: the reference has no evidence"),
        ("takes silence for failure", "although the target chain does not answer"),
        ("never arrives", "delivery, delivered: is Attested"),
        ("never helps", "advance, vouched for: does not help"),
    ] {
        let found = judge(&Faulty(toy(), fault)).await.unwrap_err().to_string();
        assert!(found.contains(says), "{fault}: {found}");
    }
    drop(std::panic::take_hook());
    judge(&Faulty(toy(), "none")).await.unwrap();
}
