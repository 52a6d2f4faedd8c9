//! The suite every adapter passes, over one message of each version.

use super::*;
use relayer_adapter_api::{SealedMessage, SettlementId};
use relayer_adapter_conformance::{Rank, Scene, Step, check, check_findings};

fn message() -> SealedMessage {
    SealedMessage {
        header: header(1),
        body: relayer_adapter_api::Body::Batch {
            ids: vec![SettlementId(B256::repeat_byte(1))],
        },
        committed: false,
    }
}

#[tokio::test]
async fn the_adapter_conforms() {
    let committed = |age: u64| Scripted {
        uncommitted: 6,
        committed_at: NOW - age,
        logs: vec![commit(1, 5).0],
        ..Scripted::default()
    };
    let source = Scripted {
        logs: (1..=5).map(emission).collect(),
        ..Scripted::default()
    };
    let targets = [
        Scripted::default(),
        committed(10),
        committed(u64::from(THRESHOLD) + 1),
        Scripted {
            state: 2,
            votes: U256::from(0b1000),
            ..committed(u64::from(THRESHOLD) + 1)
        },
    ];
    let step = |at: usize, name, rank, helps| Step {
        name,
        source: &source,
        target: &targets[at],
        rank,
        helps,
    };
    let adapter = adapter();
    let scene = Scene {
        adapter: &adapter,
        message: message(),
        source: &source,
        receipt: receipt(vec![emission(1), announcement(&sent(1))]),
        id_is_announced: false,
        steps: vec![
            step(0, "sent", Rank::Pending, false),
            step(1, "committed", Rank::Attested, false),
            step(2, "committed long ago", Rank::Attested, true),
            step(3, "received", Rank::Received, false),
        ],
    };
    if let Err(breaches) = check(&scene).await {
        panic!("{breaches}");
    }
}

#[tokio::test]
async fn an_inspection_says_what_to_do() {
    struct Port;

    #[async_trait]
    impl ChainView for Port {
        fn chain(&self) -> ChainId {
            TARGET
        }

        fn block(&self) -> BlockRef {
            Scripted::default().block()
        }

        async fn call(&self, _: Option<Address>, _: Address, _: Bytes, _: U256) -> Result<Bytes, ViewError> {
            // Zeros: a port that was deployed and never wired.
            Ok(vec![0; 32 * 8].into())
        }

        async fn logs(&self, _: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
            Ok(Vec::new())
        }

        async fn receipt(&self, _: B256) -> Result<Option<TxReceipt>, ViewError> {
            Ok(None)
        }
    }

    let findings = adapter().inspect(&Port).await.unwrap();
    check_findings(&findings).unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.level == relayer_adapter_api::Level::Fail)
    );
}
