//! The CCIP adapter against the real contracts of CCIP 1.6: messages dispatched by hand, a committee that misbehaves, rescue, curse, top-up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, FixedBytes, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use relayer::adapter::abi::{ISettlementInbox, ISettlementVault};
use relayer::adapter::{
    AdapterError, BridgeAdapter, BridgeId, Call, ChainId, Class, Delivery, GasRule, Header, Kind, MessageRef,
    SealedMessage, SettlementId, tree,
};
use relayer::chain::{Chain as _, Finality, RpcChain, RpcConfig};
use relayer::clock::SystemClock;
use relayer_adapter_api::Level;
use relayer_adapter_ccip::abi::v1_6::IOffRamp;
use relayer_adapter_ccip::abi::v2_0;
use relayer_adapter_ccip::{CcipAdapter, CcipChain, CcipConfig, Version};
use relayer_e2e::coordinator::Signed;
use relayer_e2e::deploy::artifacts::with_args;
use relayer_e2e::devnet::abi::ITestToken;
use relayer_e2e::devnet::ccip::BRIDGE;
use relayer_e2e::devnet::ccip::deploy::THRESHOLD_SECONDS;
use relayer_e2e::devnet::ccip::v2::Aggregator;
use relayer_e2e::devnet::layerzero::{call, create};
use relayer_e2e::devnet::switches::CcipSetting;
use relayer_e2e::devnet::{Chain, Devnet, Options, test_contract};
use relayer_e2e::harness::{self, World, fresh_payee};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(90);
/// Gas limits of the requirement and of this repository, for whole transactions.
const RECEIVE_GAS_MAX: u64 = 260_000;
const SEND_GAS_MAX: u64 = 450_000;

sol! {
    struct TokenAmount { address token; uint256 amount; }
    struct Outgoing { bytes receiver; bytes data; TokenAmount[] tokenAmounts; address feeToken; bytes extraArgs; }
    interface IRouter {
        function getFee(uint64 destChainSelector, Outgoing message) external view returns (uint256 fee);
        function ccipSend(uint64 destChainSelector, Outgoing message) external payable returns (bytes32);
    }
}

struct Bench {
    devnet: Devnet,
    adapter: CcipAdapter,
    _folder: tempfile::TempDir,
}

fn rpc(chain: &Chain) -> RpcChain {
    let mut config = RpcConfig::new(
        ChainId(chain.anvil.chain),
        std::slice::from_ref(&chain.anvil.url),
        Finality::Depth(3),
    );
    // A remembered head would hide the block that was just waited for.
    config.head_age_ms_max = 0;
    RpcChain::new(&config, Arc::new(SystemClock)).unwrap()
}

impl Bench {
    async fn start() -> Self {
        Self::of(Version::V1_6).await
    }

    async fn of(version: Version) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path());
        options.ccip = Some(version);
        let started = Instant::now();
        let devnet = Devnet::start(options).await.unwrap();
        eprintln!("devnet with CCIP ready after {:?}", started.elapsed());
        let chains = [&devnet.source, &devnet.target].map(|chain| {
            let ccip = chain.ccip.as_ref().unwrap();
            CcipChain {
                self_execute: false,
                chain: ChainId(chain.anvil.chain),
                selector: ccip.selector,
                router: ccip.router,
                port: chain.ports[BRIDGE],
                outbox: Some(chain.outbox),
                fee_token: None,
            }
        });
        let config = CcipConfig::new(BridgeId::new(BRIDGE).unwrap(), chains.into());
        let adapter = match &devnet.target.ccip.as_ref().unwrap().verifiers {
            None => CcipAdapter::new(config).unwrap(),
            Some(verifiers) => {
                let aggregator = Aggregator {
                    switches: devnet.switches.clone(),
                    resolver: verifiers.resolver,
                };
                CcipAdapter::with_verifier_results(config, Arc::new(aggregator)).unwrap()
            }
        };
        Self {
            devnet,
            adapter,
            _folder: folder,
        }
    }

    fn committee(&self, change: impl FnOnce(&mut CcipSetting)) {
        self.devnet.switches.change(|setting| change(&mut setting.ccip));
    }

    fn message(&self, from: &Chain, to: &Chain, sequence: u64) -> SealedMessage {
        let ids = vec![B256::repeat_byte(1), B256::from(U256::from(sequence))];
        SealedMessage {
            header: Header {
                kind: Kind::SettlementBatch,
                source: ChainId(from.anvil.chain),
                target: ChainId(to.anvil.chain),
                outbox: from.outbox,
                inbox: to.inbox,
                sequence,
                root: tree::root(&ids).unwrap(),
                count: 2,
                fee_recipient: Address::ZERO,
            },
            body: relayer_adapter_api::Body::Batch {
                ids: ids.into_iter().map(SettlementId).collect(),
            },
            committed: false,
        }
    }

    fn forward(&self, sequence: u64) -> SealedMessage {
        self.message(&self.devnet.source, &self.devnet.target, sequence)
    }

    /// Sends a call the way the chain module would.
    async fn send(&self, chain: &Chain, signer: &PrivateKeySigner, call: &Call) -> TransactionReceipt {
        let provider = self.devnet.wallet(chain, signer).unwrap();
        let request = TransactionRequest::default()
            .with_from(signer.address())
            .with_to(call.to)
            .with_input(call.data.clone())
            .with_value(call.value);
        let gas = match call.gas {
            GasRule::Fixed(gas) => gas,
            GasRule::Estimate { percent, extra } => {
                provider.estimate_gas(request.clone()).await.unwrap() * u64::from(percent) / 100 + extra
            }
            GasRule::AtLeast(gas) => provider.estimate_gas(request.clone()).await.unwrap().max(gas),
        };
        let pending = provider.send_transaction(request.with_gas_limit(gas)).await.unwrap();
        let receipt = timeout(PATIENCE, pending.get_receipt()).await.unwrap().unwrap();
        assert!(receipt.status(), "{call:?} reverted");
        receipt
    }

    async fn dispatch(&self, message: &SealedMessage) -> MessageRef {
        let from = self.chain(message.header.source);
        let chain = rpc(from);
        let view = chain.view(chain.head().await.unwrap());
        let quote = self.adapter.quote(&*view, message).await.unwrap();
        let call = self.adapter.build_send(message, &quote).unwrap();
        let before = from
            .anvil
            .provider
            .get_balance(self.devnet.accounts.relayer.address())
            .await
            .unwrap();
        let sent = self.send(from, &self.devnet.accounts.relayer, &call).await;
        let after = from
            .anvil
            .provider
            .get_balance(self.devnet.accounts.relayer.address())
            .await
            .unwrap();
        let fee = before - after - U256::from(u128::from(sent.gas_used) * sent.effective_gas_price);
        // The quote's buffer came back, although CCIP would have kept it.
        assert_eq!((fee * U256::from(110)).div_ceil(U256::from(100)), quote.native_fee);
        eprintln!("send: {} gas, fee {fee} wei", sent.gas_used);
        assert!(sent.gas_used <= SEND_GAS_MAX, "{}", sent.gas_used);
        let view = chain.view(chain.head().await.unwrap());
        let receipt = view.receipt(sent.transaction_hash).await.unwrap().unwrap();
        self.adapter.decode_send(&receipt).unwrap()
    }

    fn chain(&self, chain: ChainId) -> &Chain {
        if chain.0 == self.devnet.source.anvil.chain {
            &self.devnet.source
        } else {
            &self.devnet.target
        }
    }

    async fn delivery(&self, reference: &MessageRef) -> Delivery {
        let (source, target) = (rpc(self.chain(reference.source)), rpc(self.chain(reference.target)));
        let source = source.view(source.head().await.unwrap());
        let target = target.view(target.head().await.unwrap());
        self.adapter.delivery(&*source, &*target, reference).await.unwrap()
    }

    async fn advance(&self, reference: &MessageRef) -> Result<Vec<Call>, AdapterError> {
        let (source, target) = (rpc(self.chain(reference.source)), rpc(self.chain(reference.target)));
        let source = source.view(source.head().await.unwrap());
        let target = target.view(target.head().await.unwrap());
        self.adapter.advance(&*source, &*target, reference).await
    }

    async fn wait(&self, reference: &MessageRef, wanted: &Delivery) {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.delivery(reference).await;
            if now == *wanted {
                return;
            }
            assert!(Instant::now() < until, "waited for {wanted:?}, still {now:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// A stranger does what the adapter says.
    async fn rescue(&self, reference: &MessageRef) -> TransactionReceipt {
        let calls = self.advance(reference).await.unwrap();
        assert_eq!(calls.len(), 1, "{calls:?}");
        self.send(self.chain(reference.target), &self.devnet.accounts.payee, &calls[0])
            .await
    }

    async fn votes(&self, chain: &Chain, message: &SealedMessage) -> u64 {
        let inbox = ISettlementInbox::new(chain.inbox, &chain.anvil.provider);
        inbox.votes(message.id().0).call().await.unwrap().to()
    }

    /// Gas of the transaction in which the committee executed a message.
    async fn execution_gas(&self, reference: &MessageRef) -> u64 {
        let chain = self.chain(reference.target);
        let filter = Filter::new()
            .address(chain.ccip.as_ref().unwrap().off_ramp)
            .event_signature(IOffRamp::ExecutionStateChanged::SIGNATURE_HASH)
            .topic3(reference.id)
            .from_block(0);
        let logs = chain.anvil.provider.get_logs(&filter).await.unwrap();
        let tx = logs.last().unwrap().transaction_hash.unwrap();
        chain
            .anvil
            .provider
            .get_transaction_receipt(tx)
            .await
            .unwrap()
            .unwrap()
            .gas_used
    }
}

fn pending(note: &str) -> Delivery {
    Delivery::Pending { note: note.to_owned() }
}

fn attested(note: &str) -> Delivery {
    Delivery::Attested { note: note.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_message_crosses_the_real_contracts_in_both_directions_within_the_gas_limits() {
    let bench = Bench::start().await;
    let (a, b) = (&bench.devnet.source, &bench.devnet.target);
    for (from, to) in [(a, b), (b, a)] {
        let message = bench.message(from, to, 1);
        let reference = bench.dispatch(&message).await;
        bench.wait(&reference, &Delivery::Received).await;
        assert_eq!(bench.votes(to, &message).await.count_ones(), 1);
        assert!(bench.advance(&reference).await.unwrap().is_empty());
        let gas = bench.execution_gas(&reference).await;
        eprintln!("receive: {gas} gas in the committee's transaction");
        assert!(gas <= RECEIVE_GAS_MAX, "{gas}");
    }
    for chain in [a, b] {
        let rpc = rpc(chain);
        let view = rpc.view(rpc.head().await.unwrap());
        let findings = bench.adapter.inspect(&*view).await.unwrap();
        assert_eq!(findings.len(), 11);
        assert!(
            findings.iter().all(|finding| finding.level == Level::Ok),
            "{findings:#?}"
        );
        assert!(
            findings
                .iter()
                .any(|finding| finding.found.starts_with("CCIP 1.6 by on-ramp"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_committed_and_never_executed_is_rescued_by_anyone_after_the_threshold() {
    let bench = Bench::start().await;
    bench.committee(|don| (don.commits, don.executes) = (false, false));
    let mut references = Vec::new();
    for sequence in 1..=3 {
        references.push(bench.dispatch(&bench.forward(sequence)).await);
    }
    assert_eq!(bench.delivery(&references[1]).await, pending("not committed"));
    assert!(bench.advance(&references[1]).await.unwrap().is_empty());
    // One root over all three, so that a rescue needs everybody's messages.
    sleep(Duration::from_secs(4)).await;
    bench.committee(|don| don.commits = true);
    for reference in &references {
        bench.wait(reference, &attested("committed, not executed")).await;
    }
    assert!(
        bench.advance(&references[1]).await.unwrap().is_empty(),
        "the committee still has its time"
    );
    bench
        .devnet
        .target
        .anvil
        .increase_time(u64::from(THRESHOLD_SECONDS) + 2)
        .await
        .unwrap();
    bench.devnet.target.anvil.mine(1).await.unwrap();

    let rescued = bench.rescue(&references[1]).await;
    eprintln!(
        "receive: {} gas by manual execution, one of three in a root",
        rescued.gas_used
    );
    assert!(rescued.gas_used <= RECEIVE_GAS_MAX, "{}", rescued.gas_used);
    assert_eq!(bench.delivery(&references[1]).await, Delivery::Received);
    assert!(bench.advance(&references[1]).await.unwrap().is_empty());
    // The others are untouched: nothing here is in order.
    assert_eq!(
        bench.delivery(&references[0]).await,
        attested("committed, not executed")
    );
    bench.committee(|don| don.executes = true);
    for reference in [&references[0], &references[2]] {
        bench.wait(reference, &Delivery::Received).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_with_too_little_gas_fails_the_message_and_the_rescue_brings_it_in() {
    let bench = Bench::start().await;
    bench.committee(|don| don.execute_gas = Some(170_000));
    let message = bench.forward(1);
    let reference = bench.dispatch(&message).await;
    let until = Instant::now() + PATIENCE;
    loop {
        match bench.delivery(&reference).await {
            Delivery::Attested { note } if note.starts_with("committed, execution failed") => {
                eprintln!("{note}");
                break;
            }
            now => assert!(Instant::now() < until, "still {now:?}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(bench.votes(&bench.devnet.target, &message).await, 0);
    // No waiting: what failed may be executed by anyone at once.
    let rescued = bench.rescue(&reference).await;
    assert!(rescued.gas_used <= RECEIVE_GAS_MAX, "{}", rescued.gas_used);
    assert_eq!(bench.delivery(&reference).await, Delivery::Received);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_runs_out_of_gas_is_rescued_with_the_gas_it_needs() {
    let bench = Bench::start().await;
    let target = &bench.devnet.target;
    let port = target.ports[BRIDGE];
    // The port's code moves elsewhere, and what takes its place burns 200,000 before it calls it.
    let elsewhere = Address::repeat_byte(0xc0);
    let provider = &target.anvil.provider;
    let set = async |address: Address, code: Bytes| {
        let _: serde_json::Value = provider
            .raw_request("anvil_setCode".into(), json!([address, code]))
            .await
            .unwrap();
    };
    set(elsewhere, provider.get_code_at(port).await.unwrap()).await;
    let code = with_args(
        &test_contract("CcipDevnet", "HungryPort").unwrap(),
        &(elsewhere, U256::from(200_000)),
    );
    let admin = bench.devnet.wallet(target, &bench.devnet.accounts.admin).unwrap();
    let hungry = create(&admin, code, "a hungry port").await.unwrap();
    set(port, provider.get_code_at(hungry).await.unwrap()).await;

    let message = bench.forward(1);
    let reference = bench.dispatch(&message).await;
    let note =
        "committed, execution failed: the receiver reverted: reverted without data (out of gas, or no contract there)";
    bench.wait(&reference, &attested(note)).await;
    let rescued = bench.rescue(&reference).await;
    eprintln!("a receiver that needs 275,000: rescued with {} gas", rescued.gas_used);
    assert_eq!(bench.delivery(&reference).await, Delivery::Received);
    assert_eq!(bench.votes(target, &message).await.count_ones(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_curse_is_seen_on_both_chains_and_messages_go_on_when_it_is_lifted() {
    let bench = Bench::start().await;
    bench.committee(|don| don.commits = false);
    let held = bench.dispatch(&bench.forward(1)).await;
    bench.committee(|don| {
        *don = CcipSetting {
            cursed: true,
            ..CcipSetting::default()
        }
    });
    bench.wait(&held, &pending("cursed by the RMN of the target")).await;
    assert!(bench.advance(&held).await.unwrap().is_empty());
    // The other direction's committee has cursed the target on the source by then, or soon.
    let source = rpc(&bench.devnet.source);
    let until = Instant::now() + PATIENCE;
    let refused = loop {
        let view = source.view(source.head().await.unwrap());
        match bench.adapter.quote(&*view, &bench.forward(2)).await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < until, "the curse does not reach the quote"),
        }
        sleep(Duration::from_millis(200)).await;
    };
    assert!(refused.to_string().contains("CursedByRMN"), "{refused}");
    assert!(matches!(refused.class(), Class::Retry { .. }));
    let view = source.view(source.head().await.unwrap());
    let findings = bench.adapter.inspect(&*view).await.unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.level == Level::Fail && finding.what.contains("RMN"))
    );

    bench.committee(|don| don.cursed = false);
    bench.wait(&held, &Delivery::Received).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_sent_with_a_payer_are_its_deposit_on_the_other_side_when_they_arrive() {
    let bench = Bench::start().await;
    let (source, target) = (&bench.devnet.source, &bench.devnet.target);
    let (from, to) = (source.ccip.as_ref().unwrap(), target.ccip.as_ref().unwrap());
    let payer = Address::repeat_byte(0x77);
    let amount = U256::from(25) * U256::from(10).pow(U256::from(18));
    let funder = &bench.devnet.accounts.payer;
    let provider = bench.devnet.wallet(source, funder).unwrap();
    let mint = ITestToken::mintCall {
        to: funder.address(),
        amount,
    };
    call(&provider, source.token, mint).await.unwrap();
    let approve = ITestToken::approveCall {
        spender: from.router,
        amount,
    };
    call(&provider, source.token, approve).await.unwrap();
    let outgoing = Outgoing {
        receiver: target.ports[BRIDGE].abi_encode().into(),
        data: payer.abi_encode().into(),
        tokenAmounts: vec![TokenAmount {
            token: source.token,
            amount,
        }],
        feeToken: Address::ZERO,
        extraArgs: [
            FixedBytes::<4>::from([0x18, 0x1d, 0xcf, 0x10]).to_vec(),
            (U256::from(300_000), true).abi_encode_params(),
        ]
        .concat()
        .into(),
    };
    let quote = IRouter::getFeeCall {
        destChainSelector: to.selector,
        message: outgoing.clone(),
    };
    let request = TransactionRequest::default()
        .with_to(from.router)
        .with_input(quote.abi_encode());
    let fee = IRouter::getFeeCall::abi_decode_returns(&provider.call(request).await.unwrap()).unwrap();
    let send = Call {
        chain: ChainId(source.anvil.chain),
        to: from.router,
        data: IRouter::ccipSendCall {
            destChainSelector: to.selector,
            message: outgoing,
        }
        .abi_encode()
        .into(),
        value: fee,
        gas: GasRule::Estimate { percent: 120, extra: 0 },
    };
    bench.send(source, funder, &send).await;

    let vault = ISettlementVault::new(target.vault, &target.anvil.provider);
    let until = Instant::now() + PATIENCE;
    while vault.balanceOf(payer, target.token).call().await.unwrap() != amount {
        assert!(Instant::now() < until, "the top-up does not arrive");
        sleep(Duration::from_millis(200)).await;
    }
    let token = ITestToken::new(target.token, &target.anvil.provider);
    assert_eq!(token.balanceOf(target.ports[BRIDGE]).call().await.unwrap(), U256::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_2_0_that_junk_results_marked_as_failed_is_executed_by_us_without_an_executor_s_fee() {
    let bench = Bench::of(Version::V2_0).await;
    let target = &bench.devnet.target;
    bench.committee(|members| members.commits = false);
    let message = bench.forward(1);
    let reference = bench.dispatch(&message).await;
    assert_eq!(bench.delivery(&reference).await, pending("no verifier results yet"));
    assert!(bench.advance(&reference).await.unwrap().is_empty());
    // Anybody can do this to any message.
    let ccip = target.ccip.as_ref().unwrap();
    let junk = Call {
        chain: reference.target,
        to: ccip.off_ramp,
        data: v2_0::IOffRamp::executeCall {
            encodedMessage: Bytes::copy_from_slice(&reference.evidence[30..]),
            ccvs: vec![ccip.verifiers.as_ref().unwrap().resolver],
            verifierResults: vec![Bytes::from_static(&[0xe9, 0xa0, 0x5a, 0x20, 0, 0])],
            gasLimitOverride: 0,
        }
        .abi_encode()
        .into(),
        value: U256::ZERO,
        gas: GasRule::Fixed(2_000_000),
    };
    bench.send(target, &bench.devnet.accounts.payee, &junk).await;
    assert_eq!(
        bench.delivery(&reference).await,
        pending("no verifier results yet, an execution failed")
    );
    assert!(bench.advance(&reference).await.unwrap().is_empty());

    bench.committee(|members| members.commits = true);
    assert_eq!(
        bench.delivery(&reference).await,
        attested("verified, not executed, an execution failed")
    );
    let executed = bench.rescue(&reference).await;
    eprintln!("receive over 2.0: {} gas", executed.gas_used);
    assert_eq!(bench.delivery(&reference).await, Delivery::Received);
    assert_eq!(bench.votes(target, &message).await.count_ones(), 1);
    assert!(bench.advance(&reference).await.unwrap().is_empty());
}

// ------------------------------------------------------------------------------------------------ the relayer

async fn world() -> World {
    let world = World::start(&|devnet, relayer| {
        devnet.ccip = Some(Version::V1_6);
        relayer.default_bridge = Some(BRIDGE.to_owned());
        // No failover within the test: CCIP carries it or nobody does.
        relayer.timeout = 600;
    })
    .await
    .unwrap();
    world.devnet.switches.change(|setting| setting.dvn = false);
    world
}

async fn submit(world: &World, count: u64) -> Vec<Signed> {
    let mut signed = Vec::new();
    for n in 0..count {
        let payee = fresh_payee(&format!("{}", n % 7)).unwrap();
        let one = world.signed(payee, 1 + n % 9).await.unwrap();
        world.submit(&one).await.unwrap();
        signed.push(one);
    }
    signed
}

async fn settled(world: &World, signed: &[Signed]) {
    let ids: Vec<SettlementId> = signed.iter().map(|one| one.id).collect();
    world.wait_states(&ids, &["settled"], harness::PATIENCE).await.unwrap();
    let deposited = U256::from(world.devnet.options.deposit) * world.coordinator.unit;
    world.assert_paid_exactly_once(signed, deposited).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ccip_alone_carries_a_hundred_settlements_and_the_books_balance() {
    let world = world().await;
    let signed = submit(&world, 100).await;
    settled(&world, &signed).await;
    sleep(Duration::from_secs(4)).await;
    assert_eq!(world.drift().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relayer_executes_by_itself_what_the_committee_leaves() {
    let world = world().await;
    world.devnet.switches.change(|setting| setting.ccip.executes = false);
    let signed = submit(&world, 3).await;
    settled(&world, &signed).await;
}
