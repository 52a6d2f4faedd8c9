//! The suite every adapter passes, over one packet.

use super::*;
use relayer_adapter_conformance::{Rank, Scene, Step, check, check_findings};

#[tokio::test]
async fn the_adapter_conforms() {
    let message = SealedMessage {
        header: header(1),
        body: relayer_adapter_api::Body::Batch {
            ids: vec![SettlementId(B256::repeat_byte(1))],
        },
        committed: false,
    };
    let source = Scripted {
        fee: U256::from(1_000),
        ..source_with(&[1])
    };
    let arrived = Scripted {
        lazy: 1,
        votes: [(1, U256::from(0b1000))].into(),
        ..Scripted::default()
    };
    let targets = [
        Scripted::default(),
        Scripted::default().attested(1),
        Scripted::default().attested(1).committed(1),
        arrived,
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
        message,
        source: &source,
        receipt: receipt(&packet(1)),
        id_is_announced: false,
        steps: vec![
            step(0, "sent", Rank::Pending, false),
            step(1, "attested", Rank::Attested, true),
            step(2, "committed", Rank::Attested, true),
            step(3, "received", Rank::Received, false),
        ],
    };
    check(&scene).await.unwrap();
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
            .all(|finding| finding.level == relayer_adapter_api::Level::Fail)
    );
}
