//! The suite every adapter passes, over one VAA.

use super::sending::{announced, published, receipt, sealed};
use super::*;
use relayer_adapter_conformance::{Rank, Scene, Step, check, check_findings};

#[tokio::test]
async fn the_adapter_conforms() {
    let (old, new) = (guardians(0, 19), guardians(12, 19));
    let expired = u32::try_from(NOW).unwrap() - 1;
    let source = World {
        fee: U256::from(1_000),
        ..World::default()
    };
    let signed_by_all = || vaa(signed(body(1), 0, &old, |_| true));
    let mut arrived = World::with_sets(vec![set(0, &old, 0)]);
    arrived.votes = U256::from(0b1000);
    arrived.delivered = body(1).digest();
    arrived.reverts = Some(
        IWormholePort::AlreadyDelivered {
            digest: body(1).digest(),
        }
        .abi_encode(),
    );
    let targets = [
        // Signed, but by a set whose time is over and of which too few are left.
        World::with_sets(vec![set(0, &old, expired), set(1, &new, 0)]),
        World::with_sets(vec![set(0, &old, 0)]),
        arrived,
    ];
    let step = |at: usize, name, rank, helps| Step {
        name,
        source: &source,
        target: &targets[at],
        rank,
        helps,
    };
    let asked = Asked::of(vec![signed_by_all(), down()]);
    let scene = Scene {
        adapter: &asked.adapter,
        message: sealed(),
        source: &source,
        receipt: receipt(vec![published(SOURCE_PORT, 1), announced(1)]),
        id_is_announced: true,
        steps: vec![
            step(0, "signed by too few", Rank::Pending, false),
            step(1, "signed", Rank::Attested, true),
            step(2, "received", Rank::Received, false),
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
            World::default().block()
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

    let findings = Asked::of(vec![Answer::Absent]).adapter.inspect(&Port).await.unwrap();
    check_findings(&findings).unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.level == relayer_adapter_api::Level::Fail)
    );
}
