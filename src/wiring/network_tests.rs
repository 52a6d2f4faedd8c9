#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::chain::Fees;
use alloy::primitives::B256;
use alloy::sol_types::SolValue;
use async_trait::async_trait;
use relayer_adapter_api::{BlockRef, Call, ChainId, Level, LogFilter, LogRecord, TxReceipt};
use std::collections::BTreeMap;

const RAMP: Address = Address::repeat_byte(0x4a);

/// A chain whose contracts answer what a test wrote down.
#[derive(Clone, Default)]
struct Scripted {
    answers: BTreeMap<(Address, [u8; 4]), Vec<u8>>,
    silent: bool,
}

impl Scripted {
    fn answer<C: SolCall>(&mut self, to: Address, _: &C, answer: Vec<u8>) {
        self.answers.insert((to, C::SELECTOR), answer);
    }

    /// The chain as the file says it is.
    fn of(network: &Network) -> Self {
        let mut it = Self::default();
        if let Some(file) = &network.layerzero {
            it.answer(file.endpoint, &IEndpoint::eidCall {}, file.eid.abi_encode());
            let library = Address::ZERO;
            it.answer(
                file.endpoint,
                &IEndpoint::isRegisteredLibraryCall { library },
                true.abi_encode(),
            );
            it.answer(
                file.endpoint,
                &IEndpoint::isSupportedEidCall { eid: 0 },
                true.abi_encode(),
            );
            it.answer(
                file.send_library,
                &IMessageLibrary::messageLibTypeCall {},
                U256::ZERO.abi_encode(),
            );
            it.answer(
                file.receive_library,
                &IMessageLibrary::messageLibTypeCall {},
                U256::ONE.abi_encode(),
            );
        }
        if let Some(file) = &network.ccip {
            let version = |text: &str| text.to_owned().abi_encode();
            it.answer(
                file.router,
                &ITypeAndVersion::typeAndVersionCall {},
                version("Router 1.2.0"),
            );
            it.answer(file.router, &IRouter::getArmProxyCall {}, file.rmn_proxy.abi_encode());
            it.answer(
                file.router,
                &IRouter::isChainSupportedCall { chainSelector: 0 },
                true.abi_encode(),
            );
            it.answer(
                file.router,
                &IRouter::getOnRampCall { destChainSelector: 0 },
                RAMP.abi_encode(),
            );
            it.answer(RAMP, &ITypeAndVersion::typeAndVersionCall {}, version("OnRamp 1.6.0"));
            let config = (file.selector, file.rmn_proxy, file.router, file.router).abi_encode();
            it.answer(RAMP, &ITypeAndVersion::getStaticConfigCall {}, config);
            let registry = file.token_admin_registry;
            it.answer(
                registry,
                &ITypeAndVersion::typeAndVersionCall {},
                version("TokenAdminRegistry 1.5.0"),
            );
            it.answer(file.link, &IErc20::symbolCall {}, version("LINK"));
        }
        if let Some(file) = &network.wormhole {
            it.answer(file.core, &ICore::chainIdCall {}, file.chain_id.abi_encode());
            it.answer(
                file.core,
                &ICore::evmChainIdCall {},
                U256::from(network.chain_id).abi_encode(),
            );
            it.answer(file.core, &ICore::getCurrentGuardianSetIndexCall {}, 7u32.abi_encode());
            it.answer(file.core, &ICore::messageFeeCall {}, U256::ZERO.abi_encode());
        }
        it
    }

    fn gone(&self) -> ViewError {
        ViewError::Unavailable {
            chain: 1,
            reason: "scripted".into(),
        }
    }
}

#[async_trait]
impl ChainView for Scripted {
    fn chain(&self) -> ChainId {
        ChainId(1)
    }

    fn block(&self) -> BlockRef {
        BlockRef {
            number: 100,
            hash: B256::repeat_byte(1),
            timestamp: 1,
        }
    }

    async fn call(&self, _: Option<Address>, to: Address, data: Bytes, _: U256) -> Result<Bytes, ViewError> {
        if self.silent {
            return Err(self.gone());
        }
        let selector: [u8; 4] = data[..4].try_into().unwrap();
        Ok(self.answers.get(&(to, selector)).cloned().unwrap_or_default().into())
    }

    async fn logs(&self, _: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        Ok(Vec::new())
    }

    async fn receipt(&self, _: B256) -> Result<Option<TxReceipt>, ViewError> {
        Ok(None)
    }
}

#[async_trait]
impl Chain for Scripted {
    fn id(&self) -> ChainId {
        ChainId(1)
    }

    async fn head(&self) -> Result<BlockRef, ViewError> {
        Ok(ChainView::block(self))
    }

    async fn finalized(&self) -> Result<BlockRef, ViewError> {
        Ok(BlockRef {
            number: 90,
            ..ChainView::block(self)
        })
    }

    fn view(&self, _: BlockRef) -> Arc<dyn ChainView> {
        Arc::new(self.clone())
    }

    async fn block_at(&self, _: u64) -> Result<Option<(BlockRef, B256)>, ViewError> {
        Ok(None)
    }

    async fn estimate_gas(&self, _: Address, _: &Call) -> Result<u64, ViewError> {
        Err(self.gone())
    }

    async fn fees(&self) -> Result<Fees, ViewError> {
        Err(self.gone())
    }

    async fn broadcast(&self, _: &Bytes) -> Result<B256, ViewError> {
        panic!("doctor sends nothing")
    }

    async fn transaction_count(&self, _: Address, _: BlockRef) -> Result<u64, ViewError> {
        Err(self.gone())
    }

    async fn balance(&self, _: Address, _: BlockRef) -> Result<U256, ViewError> {
        Err(self.gone())
    }

    async fn code(&self, account: Address) -> Result<Bytes, ViewError> {
        let there = self.answers.keys().any(|(address, _)| *address == account);
        Ok(if there { Bytes::from_static(&[1]) } else { Bytes::new() })
    }
}

async fn look(network: &Network, chain: &Scripted) -> Vec<Finding> {
    inspect_network(network, &Network::all().unwrap(), chain).await
}

/// What is not ok, by name.
fn bad(findings: &[Finding]) -> Vec<(&str, Level)> {
    let bad = findings.iter().filter(|finding| finding.level != Level::Ok);
    bad.inspect(|finding| assert!(!finding.todo.is_empty(), "{finding:?} does not say what to do"))
        .map(|finding| (finding.what.as_str(), finding.level))
        .collect()
}

#[tokio::test]
async fn a_network_that_is_as_its_file_says_has_no_bad_finding() {
    let bsc = Network::find("bsc").unwrap();
    let findings = look(&bsc, &Scripted::of(&bsc)).await;
    assert_eq!(bad(&findings), []);
    for what in [
        "LayerZero eid",
        "LayerZero lane to polygon",
        "CCIP selector",
        "CCIP lane to arbitrum",
        "Wormhole chain id",
    ] {
        assert!(
            findings.iter().any(|finding| finding.what == what),
            "{what} was not asked"
        );
    }
    let selectors = findings.iter().filter(|finding| finding.what == "CCIP selector");
    assert_eq!(selectors.count(), 1, "one on-ramp tells for all");
    // Lanes never lead from one world to another.
    assert!(!findings.iter().any(|finding| finding.what.contains("sepolia")));
}

#[tokio::test]
async fn what_the_file_leaves_out_is_a_warning_and_nothing_is_asked() {
    let test = Network::find("bsc-testnet").unwrap();
    let findings = look(&test, &Scripted::of(&test)).await;
    assert_eq!(bad(&findings), [("finality", Level::Warn), ("LayerZero", Level::Warn)]);
}

#[tokio::test]
async fn each_wrong_value_is_found() {
    let right = Network::find("bsc").unwrap();
    let chain = Scripted::of(&right);
    let with = |change: &dyn Fn(&mut Network)| {
        let mut wrong = right.clone();
        change(&mut wrong);
        wrong
    };
    let nobody = Address::repeat_byte(0x77);
    let cases: [(&str, Network); 12] = [
        ("LayerZero eid", with(&|it| it.layerzero.as_mut().unwrap().eid = 30_101)),
        (
            "LayerZero endpoint",
            with(&|it| it.layerzero.as_mut().unwrap().endpoint = nobody),
        ),
        (
            "LayerZero send library",
            with(&|it| it.layerzero.as_mut().unwrap().send_library = nobody),
        ),
        (
            "LayerZero receive library",
            with(&|it| {
                let file = it.layerzero.as_mut().unwrap();
                file.receive_library = file.send_library;
            }),
        ),
        ("CCIP router", with(&|it| it.ccip.as_mut().unwrap().router = nobody)),
        ("CCIP selector", with(&|it| it.ccip.as_mut().unwrap().selector = 1)),
        (
            "CCIP RMN proxy",
            with(&|it| it.ccip.as_mut().unwrap().rmn_proxy = nobody),
        ),
        (
            "CCIP token admin registry",
            with(&|it| it.ccip.as_mut().unwrap().token_admin_registry = nobody),
        ),
        ("CCIP LINK token", with(&|it| it.ccip.as_mut().unwrap().link = nobody)),
        ("Wormhole core", with(&|it| it.wormhole.as_mut().unwrap().core = nobody)),
        (
            "Wormhole chain id",
            with(&|it| it.wormhole.as_mut().unwrap().chain_id = 2),
        ),
        ("Wormhole EVM chain id", with(&|it| it.chain_id = 57)),
    ];
    for (what, wrong) in cases {
        let findings = look(&wrong, &chain).await;
        assert!(bad(&findings).contains(&(what, Level::Fail)), "{what}: {findings:#?}");
    }
}

#[tokio::test]
async fn closed_lanes_and_old_versions_are_warnings() {
    let polygon = Network::find("polygon").unwrap();
    let mut chain = Scripted::of(&polygon);
    let file = polygon.ccip.clone().unwrap();
    let old = "EVM2EVMOnRamp 1.5.0".to_owned().abi_encode();
    chain.answer(RAMP, &ITypeAndVersion::typeAndVersionCall {}, old);
    let config = (file.link, file.selector, 0u64).abi_encode();
    chain.answer(RAMP, &ITypeAndVersion::getStaticConfigCall {}, config);
    let lanes = |findings: &[Finding], level| {
        let of = |finding: &&Finding| finding.what.starts_with("CCIP lane") && finding.level == level;
        findings.iter().filter(of).count()
    };
    let findings = look(&polygon, &chain).await;
    assert_eq!(lanes(&findings, Level::Warn), 3);
    assert!(
        findings
            .iter()
            .any(|finding| finding.what == "CCIP selector" && finding.level == Level::Ok)
    );
    // No lane at all: nobody confirms the selector.
    chain.answer(
        file.router,
        &IRouter::isChainSupportedCall { chainSelector: 0 },
        false.abi_encode(),
    );
    let findings = look(&polygon, &chain).await;
    assert_eq!(lanes(&findings, Level::Warn), 3);
    assert!(bad(&findings).contains(&("CCIP selector", Level::Warn)));
}

#[tokio::test]
async fn an_endpoint_that_is_silent_does_not_make_a_value_wrong() {
    let bsc = Network::find("bsc").unwrap();
    let mut chain = Scripted::of(&bsc);
    chain.silent = true;
    let findings = look(&bsc, &chain).await;
    let failed = findings.iter().filter(|finding| finding.level == Level::Fail);
    assert!(failed.clone().count() > 3);
    assert!(failed.clone().all(|finding| finding.todo == ASK_AGAIN), "{findings:#?}");
}
