//! The Wormhole adapter against the real core contracts: guardians that sleep, lie and are replaced, reorgs, fees, replay, gas.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolError;
use relayer::adapter::abi::{ISettlementInbox, IWormholePort};
use relayer::adapter::{
    AdapterError, BridgeAdapter, BridgeId, Call, ChainId, Class, Delivery, GasRule, Header, Kind, Level, MessageRef,
    SealedMessage, SettlementId, tree,
};
use relayer::chain::{Chain as _, Finality, RpcChain, RpcConfig};
use relayer::clock::SystemClock;
use relayer_adapter_wormhole::{WormholeAdapter, WormholeChain, WormholeConfig};
use relayer_e2e::devnet::guardians::Endpoint;
use relayer_e2e::devnet::{Chain, Devnet, Options, WORMHOLE_BRIDGE};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
/// The whole transaction that brings a message in, 13 signatures, in steady state.
const RECEIVE_GAS_MAX: u64 = 185_000;
const A_DAY: u64 = 86_400;

struct Bench {
    devnet: Devnet,
    adapter: WormholeAdapter,
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

/// An adapter that remembers nothing of another one's messages.
fn adapter(devnet: &Devnet) -> WormholeAdapter {
    let chains = [&devnet.source, &devnet.target].map(|chain| WormholeChain {
        chain: ChainId(chain.anvil.chain),
        wormhole_chain: chain.wormhole.wormhole_chain,
        core: chain.wormhole.core,
        port: chain.ports[WORMHOLE_BRIDGE],
        outbox: Some(chain.outbox),
    });
    let id = BridgeId::new(WORMHOLE_BRIDGE).unwrap();
    WormholeAdapter::new(WormholeConfig::new(
        id,
        chains.into(),
        devnet.guardians.endpoints.clone(),
    ))
    .unwrap()
}

impl Bench {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(adjust: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path());
        adjust(&mut options);
        let devnet = Devnet::start(options).await.unwrap();
        Self {
            adapter: adapter(&devnet),
            devnet,
            _folder: folder,
        }
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

    /// Sends a call the way the chain module would: estimate, apply the rule.
    async fn send(&self, chain: &Chain, signer: &PrivateKeySigner, call: &Call) -> TransactionReceipt {
        let provider = self.devnet.wallet(chain, signer).unwrap();
        let request = TransactionRequest::default()
            .with_from(signer.address())
            .with_to(call.to)
            .with_input(call.data.clone())
            .with_value(call.value);
        let estimate = provider.estimate_gas(request.clone()).await.unwrap();
        let GasRule::Estimate { percent, extra } = call.gas else {
            panic!("{:?}", call.gas);
        };
        let gas = estimate * u64::from(percent) / 100 + extra;
        let pending = provider.send_transaction(request.with_gas_limit(gas)).await.unwrap();
        let receipt = timeout(PATIENCE, pending.get_receipt()).await.unwrap().unwrap();
        assert!(receipt.status(), "{call:?} reverted");
        receipt
    }

    fn ends(&self, source: ChainId) -> (&Chain, &Chain) {
        if source.0 == self.devnet.source.anvil.chain {
            (&self.devnet.source, &self.devnet.target)
        } else {
            (&self.devnet.target, &self.devnet.source)
        }
    }

    async fn quoted(&self, message: &SealedMessage) -> Result<Call, AdapterError> {
        let chain = rpc(self.ends(message.header.source).0);
        let view = chain.view(chain.head().await.unwrap());
        let quote = self.adapter.quote(&*view, message).await?;
        self.adapter.build_send(message, &quote)
    }

    async fn dispatch(&self, message: &SealedMessage) -> MessageRef {
        let from = self.ends(message.header.source).0;
        let call = self.quoted(message).await.unwrap();
        let sent = self.send(from, &self.devnet.accounts.relayer, &call).await;
        eprintln!("gas of a send: {}", sent.gas_used);
        let chain = rpc(from);
        let view = chain.view(chain.head().await.unwrap());
        let receipt = view.receipt(sent.transaction_hash).await.unwrap().unwrap();
        self.adapter.decode_send(&receipt).unwrap()
    }

    async fn delivery_by(&self, adapter: &WormholeAdapter, reference: &MessageRef) -> Delivery {
        let (source, target) = self.ends(reference.source);
        let (source, target) = (rpc(source), rpc(target));
        let source = source.view(source.head().await.unwrap());
        let target = target.view(target.head().await.unwrap());
        adapter.delivery(&*source, &*target, reference).await.unwrap()
    }

    async fn delivery(&self, reference: &MessageRef) -> Delivery {
        self.delivery_by(&self.adapter, reference).await
    }

    async fn advance_by(&self, adapter: &WormholeAdapter, reference: &MessageRef) -> Vec<Call> {
        let (source, target) = self.ends(reference.source);
        let (source, target) = (rpc(source), rpc(target));
        let source = source.view(source.head().await.unwrap());
        let target = target.view(target.head().await.unwrap());
        adapter.advance(&*source, &*target, reference).await.unwrap()
    }

    /// Waits until the bridge says what `is` takes.
    async fn wait(&self, reference: &MessageRef, is: impl Fn(&Delivery) -> bool) -> Delivery {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.delivery(reference).await;
            if is(&now) {
                return now;
            }
            assert!(Instant::now() < until, "still {now:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Brings an attested message in, as anybody may; returns the gas of the transaction.
    async fn bring(&self, adapter: &WormholeAdapter, reference: &MessageRef) -> u64 {
        let calls = self.advance_by(adapter, reference).await;
        assert_eq!(calls.len(), 1);
        let target = self.ends(reference.source).1;
        let receipt = self.send(target, &self.devnet.accounts.payee, &calls[0]).await;
        assert_eq!(self.delivery(reference).await, Delivery::Received);
        receipt.gas_used
    }

    async fn votes(&self, chain: &Chain, message: &SealedMessage) -> u64 {
        let inbox = ISettlementInbox::new(chain.inbox, &chain.anvil.provider);
        inbox.votes(message.id().0).call().await.unwrap().to()
    }

    fn endpoints(&self, modes: &[Endpoint]) {
        self.devnet
            .switches
            .change(|setting| setting.guardians.endpoints = modes.to_vec());
    }
}

fn is_attested(delivery: &Delivery) -> bool {
    matches!(delivery, Delivery::Attested { .. })
}

fn pending_with(text: &str) -> impl Fn(&Delivery) -> bool + '_ {
    move |delivery| matches!(delivery, Delivery::Pending { note } if note.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_cross_in_both_directions_once_and_within_the_gas_limit() {
    let bench = Bench::start().await;
    let (a, b) = (&bench.devnet.source, &bench.devnet.target);
    let mut used = Vec::new();
    for (from, to, sequence) in [(a, b, 1), (a, b, 2), (b, a, 1)] {
        let message = bench.message(from, to, sequence);
        let reference = bench.dispatch(&message).await;
        let attested = bench.wait(&reference, is_attested).await;
        let note = "13 guardians of set 0 signed".to_owned();
        assert_eq!(attested, Delivery::Attested { note });
        let call = bench.advance_by(&bench.adapter, &reference).await.remove(0);
        let gas = bench.bring(&bench.adapter, &reference).await;
        eprintln!("gas of a receive, 13 of 19: {gas}");
        used.push(gas);
        assert_eq!(bench.votes(to, &message).await.count_ones(), 1);
        let port = IWormholePort::new(to.ports[WORMHOLE_BRIDGE], &to.anvil.provider);
        let delivered = port.delivered(from.anvil.chain, sequence - 1).call().await.unwrap();
        assert_eq!(
            delivered, reference.id,
            "what the outbox announced is the digest the guardians signed"
        );

        // The same VAA again, by anybody: refused by name, and the adapter knows better than to offer it.
        let request = TransactionRequest::default()
            .with_to(call.to)
            .with_input(call.data.clone());
        let refused = to.anvil.provider.call(request).await.unwrap_err();
        let data = refused.as_error_resp().unwrap().as_revert_data().unwrap();
        assert_eq!(
            IWormholePort::AlreadyDelivered::abi_decode(&data).unwrap().digest,
            reference.id
        );
        assert!(bench.advance_by(&bench.adapter, &reference).await.is_empty());
    }
    // The first delivery of a chain under a guardian set copies its keys.
    assert!(used[1] <= RECEIVE_GAS_MAX, "{used:?}");
    assert!(used[0] <= RECEIVE_GAS_MAX + 220_000, "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_guardian_is_enough_where_there_is_one() {
    let bench = Bench::with(|options| options.guardians = 1).await;
    let reference = bench.dispatch(&bench.forward(1)).await;
    bench.wait(&reference, is_attested).await;
    let gas = bench.bring(&bench.adapter, &reference).await;
    eprintln!("gas of a first receive, 1 of 1: {gas}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_down_or_lie_delay_nothing_while_one_is_honest() {
    let bench = Bench::start().await;
    bench.endpoints(&[Endpoint::BadSignatures, Endpoint::WrongPayload, Endpoint::Down]);
    let message = bench.forward(1);
    let reference = bench.dispatch(&message).await;
    bench
        .wait(&reference, pending_with("signed by 0 of 13 guardians needed"))
        .await;
    assert!(bench.advance_by(&bench.adapter, &reference).await.is_empty());
    bench.endpoints(&[Endpoint::Garbage, Endpoint::Empty, Endpoint::Down]);
    bench.wait(&reference, pending_with("no VAA yet")).await;
    bench.endpoints(&[Endpoint::BadSignatures, Endpoint::WrongPayload, Endpoint::Honest]);
    bench.wait(&reference, is_attested).await;
    // Attested once, it can be brought in although every endpoint is gone.
    bench.endpoints(&[Endpoint::Down; 3]);
    bench.bring(&bench.adapter, &reference).await;
    assert_eq!(bench.votes(&bench.devnet.target, &message).await.count_ones(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn guardians_that_sleep_or_are_too_few_leave_a_message_pending() {
    let bench = Bench::start().await;
    bench
        .devnet
        .switches
        .change(|setting| setting.guardians.signing = false);
    let reference = bench.dispatch(&bench.forward(1)).await;
    sleep(Duration::from_secs(6)).await;
    assert!(pending_with("no VAA yet, 3 of 3")(&bench.delivery(&reference).await));
    bench.devnet.switches.change(|setting| {
        setting.guardians.signing = true;
        setting.guardians.signers = Some(12);
    });
    bench
        .wait(&reference, pending_with("signed by 12 of 13 guardians needed"))
        .await;
    bench.devnet.switches.change(|setting| setting.guardians.signers = None);
    bench.devnet.guardians.reobserve();
    bench.wait(&reference, is_attested).await;
    bench.bring(&bench.adapter, &reference).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_vaa_outlives_the_guardian_set_that_signed_it() {
    let bench = Bench::start().await;
    let references = [
        bench.dispatch(&bench.forward(1)).await,
        bench.dispatch(&bench.forward(2)).await,
        bench.dispatch(&bench.forward(3)).await,
    ];
    for reference in &references {
        bench.wait(reference, is_attested).await;
    }
    // Two days of holding with a rotation in between: the old set counts for one of them.
    bench.devnet.guardians.rotate(5).await.unwrap();
    bench.bring(&adapter(&bench.devnet), &references[0]).await;
    bench.devnet.target.anvil.increase_time(A_DAY + 60).await.unwrap();
    bench.devnet.target.anvil.mine(1).await.unwrap();
    // Fourteen stayed: the same signatures under the new set's index and places, by an adapter that never saw the message before.
    let fresh = adapter(&bench.devnet);
    let note = "13 guardians of set 1 signed".to_owned();
    assert_eq!(
        bench.delivery_by(&fresh, &references[1]).await,
        Delivery::Attested { note }
    );
    bench.bring(&fresh, &references[1]).await;

    // Now too few stayed: nothing helps until the guardians sign anew, and then everything is as before.
    bench.devnet.guardians.rotate(12).await.unwrap();
    bench.devnet.target.anvil.increase_time(A_DAY + 60).await.unwrap();
    bench.devnet.target.anvil.mine(1).await.unwrap();
    let fresh = adapter(&bench.devnet);
    let delivery = bench.delivery_by(&fresh, &references[2]).await;
    assert!(
        pending_with("of 13 guardians needed of set 2")(&delivery),
        "{delivery:?}"
    );
    assert!(bench.advance_by(&fresh, &references[2]).await.is_empty());
    bench.devnet.guardians.reobserve();
    bench.wait(&references[2], is_attested).await;
    bench.bring(&fresh, &references[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_a_reorg_undid_is_not_mistaken_for_the_one_that_took_its_sequence() {
    let bench = Bench::start().await;
    bench
        .devnet
        .switches
        .change(|setting| setting.guardians.signing = false);
    let lost = bench.dispatch(&bench.forward(1)).await;
    bench.devnet.source.anvil.reorg(3).await.unwrap();
    let message = bench.forward(2);
    let kept = bench.dispatch(&message).await;
    assert_ne!(lost.id, kept.id, "the digest commits to the message");
    bench.devnet.switches.change(|setting| setting.guardians.signing = true);
    bench.wait(&kept, is_attested).await;
    let failed = |delivery: &Delivery| matches!(delivery, Delivery::Failed { .. });
    assert!(failed(&bench.delivery(&lost).await));
    bench.bring(&bench.adapter, &kept).await;
    assert!(failed(&bench.delivery(&lost).await));
    assert_eq!(bench.votes(&bench.devnet.target, &message).await.count_ones(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_that_moves_between_quote_and_send_is_asked_again() {
    let bench = Bench::start().await;
    let message = bench.forward(1);
    let cheap = bench.quoted(&message).await.unwrap();
    assert_eq!(cheap.value, U256::ZERO);
    bench.devnet.guardians.set_fee(0, U256::from(5_000)).await.unwrap();
    let request = TransactionRequest::default()
        .with_from(bench.devnet.accounts.relayer.address())
        .with_to(cheap.to)
        .with_input(cheap.data.clone());
    let refused = bench.devnet.source.anvil.provider.call(request).await.unwrap_err();
    let data = refused.as_error_resp().unwrap().as_revert_data().unwrap();
    let (reason, class) = relayer_adapter_wormhole::explain_revert(&data);
    assert!(
        reason.contains("FeeTooLow") && matches!(class, Class::Retry { .. }),
        "{reason}"
    );
    assert_eq!(bench.quoted(&message).await.unwrap().value, U256::from(5_000));
    let reference = bench.dispatch(&message).await;
    bench.wait(&reference, is_attested).await;
    bench.bring(&bench.adapter, &reference).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_the_devnet_in_order_and_names_what_is_not() {
    let bench = Bench::start().await;
    let chain = rpc(&bench.devnet.target);
    let view = chain.view(chain.head().await.unwrap());
    let findings = bench.adapter.inspect(&*view).await.unwrap();
    assert!(findings.len() >= 12, "{findings:#?}");
    assert!(
        findings.iter().all(|finding| finding.level == Level::Ok),
        "{findings:#?}"
    );
    bench.endpoints(&[Endpoint::Down; 3]);
    let findings = bench.adapter.inspect(&*view).await.unwrap();
    let bad: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Fail).collect();
    assert_eq!(bad.len(), 1, "{findings:#?}");
    assert_eq!(bad[0].what, "guardian endpoints");
}
