//! The LayerZero adapter against the real contracts: messages dispatched by hand, roles that misbehave, rescue, reorgs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, TxHash};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use relayer::adapter::abi::ISettlementInbox;
use relayer::adapter::{
    BridgeAdapter, BridgeId, Call, ChainId, Delivery, GasRule, Header, Kind, MessageRef, SealedMessage, SettlementId,
    tree,
};
use relayer::chain::{Chain as _, Finality, RpcChain, RpcConfig};
use relayer::clock::SystemClock;
use relayer_adapter_layerzero::{LayerZeroAdapter, LayerZeroChain, LayerZeroConfig};
use relayer_e2e::carriage::carried;
use relayer_e2e::devnet::switches::PacketName;
use relayer_e2e::devnet::{BRIDGES, Chain, Devnet, Options};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
/// Gas limits of the requirement and of this repository, for whole transactions.
const RECEIVE_GAS_MAX: u64 = 110_000;
const SEND_GAS_MAX: u64 = 400_000;

struct Bench {
    devnet: Devnet,
    adapters: [LayerZeroAdapter; 2],
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

fn adapter(devnet: &Devnet, bridge: &str) -> LayerZeroAdapter {
    let chains = [&devnet.source, &devnet.target].map(|chain| LayerZeroChain {
        chain: ChainId(chain.anvil.chain),
        eid: chain.layerzero.eid,
        endpoint: chain.layerzero.endpoint,
        port: chain.ports[bridge],
        outbox: Some(chain.outbox),
        receive_library: None,
    });
    LayerZeroAdapter::new(LayerZeroConfig::new(BridgeId::new(bridge).unwrap(), chains.into())).unwrap()
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let devnet = Devnet::start(Options::new(folder.path())).await.unwrap();
        eprintln!("devnet ready after {:?}", started.elapsed());
        let adapters = BRIDGES.map(|bridge| adapter(&devnet, bridge));
        Self {
            devnet,
            adapters,
            _folder: folder,
        }
    }

    fn message(&self, from: &Chain, to: &Chain, sequence: u64) -> SealedMessage {
        let ids = vec![
            B256::repeat_byte(1),
            B256::from(alloy::primitives::U256::from(sequence)),
        ];
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

    /// Forward from source to target, over the first pair.
    fn forward(&self, sequence: u64) -> SealedMessage {
        self.message(&self.devnet.source, &self.devnet.target, sequence)
    }

    /// Sends a call the way the chain module would: estimate, apply the rule.
    async fn send(&self, chain: &Chain, signer: &PrivateKeySigner, call: &Call) -> TxHash {
        let provider = self.devnet.wallet(chain, signer).unwrap();
        let request = TransactionRequest::default()
            .with_from(signer.address())
            .with_to(call.to)
            .with_input(call.data.clone())
            .with_value(call.value);
        let estimate = provider.estimate_gas(request.clone()).await.unwrap();
        let gas = match call.gas {
            GasRule::Estimate { percent, extra } => estimate * u64::from(percent) / 100 + extra,
            GasRule::Fixed(gas) => gas,
            GasRule::AtLeast(gas) => estimate.max(gas),
        };
        let pending = provider.send_transaction(request.with_gas_limit(gas)).await.unwrap();
        let receipt = timeout(PATIENCE, pending.get_receipt()).await.unwrap().unwrap();
        assert!(receipt.status(), "{call:?} reverted");
        receipt.transaction_hash
    }

    async fn dispatch(&self, adapter: &LayerZeroAdapter, message: &SealedMessage) -> MessageRef {
        let from = if message.header.source.0 == self.devnet.source.anvil.chain {
            &self.devnet.source
        } else {
            &self.devnet.target
        };
        let chain = rpc(from);
        let view = chain.view(chain.head().await.unwrap());
        let quote = adapter.quote(&*view, message).await.unwrap();
        assert!(!quote.native_fee.is_zero());
        let call = adapter.build_send(message, &quote).unwrap();
        let tx = self.send(from, &self.devnet.accounts.relayer, &call).await;
        let view = chain.view(chain.head().await.unwrap());
        let receipt = view.receipt(tx).await.unwrap().unwrap();
        adapter.decode_send(&receipt).unwrap()
    }

    async fn delivery(&self, adapter: &LayerZeroAdapter, reference: &MessageRef) -> Delivery {
        let (source, target) = self.ends(reference);
        let (source, target) = (rpc(source), rpc(target));
        let source = source.view(source.head().await.unwrap());
        let target = target.view(target.head().await.unwrap());
        adapter.delivery(&*source, &*target, reference).await.unwrap()
    }

    async fn advance(&self, adapter: &LayerZeroAdapter, reference: &MessageRef) -> Vec<Call> {
        let (source, target) = self.ends(reference);
        let (source, target) = (rpc(source), rpc(target));
        let source = source.view(source.head().await.unwrap());
        let target = target.view(target.head().await.unwrap());
        adapter.advance(&*source, &*target, reference).await.unwrap()
    }

    fn ends(&self, reference: &MessageRef) -> (&Chain, &Chain) {
        if reference.source.0 == self.devnet.source.anvil.chain {
            (&self.devnet.source, &self.devnet.target)
        } else {
            (&self.devnet.target, &self.devnet.source)
        }
    }

    async fn wait(&self, adapter: &LayerZeroAdapter, reference: &MessageRef, wanted: &Delivery) {
        let until = Instant::now() + PATIENCE;
        loop {
            let now = self.delivery(adapter, reference).await;
            if now == *wanted {
                return;
            }
            assert!(Instant::now() < until, "waited for {wanted:?}, still {now:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn votes(&self, chain: &Chain, message: &SealedMessage) -> u64 {
        let inbox = ISettlementInbox::new(chain.inbox, &chain.anvil.provider);
        inbox.votes(message.id().0).call().await.unwrap().to()
    }
}

fn pending(note: &str) -> Delivery {
    Delivery::Pending { note: note.to_owned() }
}

fn attested(note: &str) -> Delivery {
    Delivery::Attested { note: note.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatched_message_is_recorded_by_the_inbox_in_both_directions() {
    let bench = Bench::start().await;
    let (a, b) = (&bench.devnet.source, &bench.devnet.target);
    for (from, to) in [(a, b), (b, a)] {
        let message = bench.message(from, to, 1);
        let reference = bench.dispatch(&bench.adapters[0], &message).await;
        bench.wait(&bench.adapters[0], &reference, &Delivery::Received).await;
        assert_eq!(bench.votes(to, &message).await.count_ones(), 1);
        assert!(bench.advance(&bench.adapters[0], &reference).await.is_empty());
    }
    assert!(Path::new(&bench.devnet.options.dir).join("devnet.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_dvn_blocks_its_path_by_name_and_the_second_pair_carries_the_message() {
    let bench = Bench::start().await;
    let [first, second] = &bench.adapters;
    let (source, target) = (&bench.devnet.source, &bench.devnet.target);
    let silent = PacketName {
        source_chain: source.anvil.chain,
        sender: source.ports[BRIDGES[0]],
        nonce: 1,
    };
    bench.devnet.switches.change(|setting| {
        setting.ignored.insert(silent);
    });
    let mut messages = [bench.forward(1), bench.forward(2)];
    let references = [
        bench.dispatch(first, &messages[0]).await,
        bench.dispatch(first, &messages[1]).await,
    ];
    bench
        .wait(first, &references[1], &pending("blocked behind nonce 1"))
        .await;
    assert_eq!(
        bench.delivery(first, &references[0]).await,
        pending("0 of 1 verifiers attested")
    );
    assert!(bench.advance(first, &references[1]).await.is_empty());

    messages[1].committed = true;
    let other_way = bench.dispatch(second, &messages[1]).await;
    bench.wait(second, &other_way, &Delivery::Received).await;
    assert_eq!(
        bench.delivery(first, &references[1]).await,
        pending("blocked behind nonce 1")
    );

    bench.devnet.switches.change(|setting| {
        setting.ignored.clear();
    });
    for reference in &references {
        bench.wait(first, reference, &Delivery::Received).await;
    }
    assert_eq!(bench.votes(target, &messages[1]).await.count_ones(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_executor_anyone_commits_and_delivers_what_the_adapter_says() {
    let bench = Bench::start().await;
    let adapter = &bench.adapters[0];
    bench.devnet.switches.change(|setting| setting.executor = false);
    let first = bench.dispatch(adapter, &bench.forward(1)).await;
    let second = bench.dispatch(adapter, &bench.forward(2)).await;
    bench
        .wait(
            adapter,
            &second,
            &attested("attested, 2 packets of the path not committed"),
        )
        .await;
    let commits = bench.advance(adapter, &second).await;
    assert_eq!(commits.len(), 2);
    for call in &commits {
        bench
            .send(&bench.devnet.target, &bench.devnet.accounts.payee, call)
            .await;
    }
    assert_eq!(
        bench.delivery(adapter, &second).await,
        attested("committed, not executed")
    );
    let receive = bench.advance(adapter, &second).await;
    assert_eq!(receive.len(), 1);
    bench
        .send(&bench.devnet.target, &bench.devnet.accounts.payee, &receive[0])
        .await;
    assert_eq!(bench.delivery(adapter, &second).await, Delivery::Received);
    assert_eq!(
        bench.delivery(adapter, &first).await,
        attested("committed, not executed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_a_reorg_undid_is_not_mistaken_for_the_one_that_took_its_nonce() {
    let bench = Bench::start().await;
    let adapter = &bench.adapters[0];
    bench.devnet.switches.change(|setting| setting.dvn = false);
    let lost = bench.dispatch(adapter, &bench.forward(1)).await;
    bench.devnet.source.anvil.reorg(3).await.unwrap();
    let kept = bench.dispatch(adapter, &bench.forward(2)).await;
    assert_eq!(lost.id, kept.id, "LayerZero's guid does not commit to the message");
    bench.devnet.switches.change(|setting| setting.dvn = true);
    bench.wait(adapter, &kept, &Delivery::Received).await;
    let delivery = bench.delivery(adapter, &lost).await;
    assert!(matches!(delivery, Delivery::Failed { .. }), "{delivery:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorg_of_the_target_undoes_the_arrival_and_the_roles_bring_it_again() {
    let bench = Bench::start().await;
    let adapter = &bench.adapters[0];
    let reference = bench.dispatch(adapter, &bench.forward(1)).await;
    bench.wait(adapter, &reference, &Delivery::Received).await;
    bench.devnet.switches.change(|setting| setting.executor = false);
    bench.devnet.target.anvil.reorg(8).await.unwrap();
    let delivery = bench.delivery(adapter, &reference).await;
    assert_ne!(delivery, Delivery::Received);
    bench.devnet.switches.change(|setting| setting.executor = true);
    bench.wait(adapter, &reference, &Delivery::Received).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_messages_arrives_in_a_few_blocks() {
    let bench = Bench::start().await;
    let adapter = &bench.adapters[0];
    bench.devnet.switches.change(|setting| setting.dvn = false);
    let mut references = Vec::new();
    for sequence in 1..=6 {
        references.push(bench.dispatch(adapter, &bench.forward(sequence)).await);
    }
    bench.devnet.switches.change(|setting| setting.dvn = true);
    let before = bench.devnet.target.anvil.provider.get_block_number().await.unwrap();
    for reference in &references {
        bench.wait(adapter, reference, &Delivery::Received).await;
    }
    let blocks = bench.devnet.target.anvil.provider.get_block_number().await.unwrap() - before;
    let heads = [bench.devnet.source.start_block, bench.devnet.target.start_block];
    for one in carried(&bench.devnet, heads).await.unwrap() {
        let (sent, received) = (one.sent[0].gas, one.received[0].gas);
        eprintln!("send: {sent} gas, receive: {received} gas in the executor's transaction");
        assert!(received <= RECEIVE_GAS_MAX, "{received}");
        assert!(sent <= SEND_GAS_MAX, "{sent}");
    }
    // The last dispatch waits for its confirmations, then one block attests and one delivers; one at a time would take three per message.
    assert!(blocks <= 12, "{blocks} blocks");
}
