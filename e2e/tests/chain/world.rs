//! One anvil, one database, and everything of the chain module on top; killed and rebuilt at will.

use alloy::primitives::{Address, B256, Bytes, U256, address, b256};
use alloy::rpc::client::RpcClient;
use alloy::sol_types::SolEvent;
use relayer::adapter::{BlockRef, Call, ChainId, GasRule};
use relayer::chain::fee::FeePolicy;
use relayer::chain::{
    Chain, ChainError, Contracts, Finality, Observer, ObserverParams, RpcChain, RpcConfig, Sender, SenderParams,
    SignerPool, TxChain, TxEngine,
};
use relayer::clock::Clock;
use relayer::settlement::states::TxState;
use relayer::stage::Stage;
use relayer::store::{Intent, IntentKind, Store, StoreConfig, TxId, TxRow};
use serde_json::{Value, json};
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tempfile::TempDir;

pub const CHAIN: ChainId = ChainId(31_337);
/// anvil's first development account.
pub const KEY: B256 = b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
pub const SIGNER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
pub const GWEI: u128 = 1_000_000_000;

/// A node process; dies with the value.
#[derive(Debug)]
pub struct Anvil {
    child: Child,
    pub url: String,
    client: RpcClient,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn anvil_path() -> PathBuf {
    if let Ok(path) = std::env::var("RELAYER_ANVIL") {
        return path.into();
    }
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
}

impl Anvil {
    pub fn start(chain: ChainId) -> Self {
        let mut child = Command::new(anvil_path())
            .args(["--port", "0", "--no-mining", "--chain-id", &chain.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil: run `npm ci` in contracts/, or set RELAYER_ANVIL");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("anvil says where it listens").unwrap();
            if let Some(place) = line.strip_prefix("Listening on ") {
                break format!("http://{place}");
            }
        };
        // The pipe must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        let client = RpcClient::new_http(url.parse().unwrap());
        Self { child, url, client }
    }

    pub async fn rpc(&self, method: &'static str, params: Value) -> Value {
        self.try_rpc(method, params).await.unwrap()
    }

    pub async fn try_rpc(&self, method: &'static str, params: Value) -> Result<Value, String> {
        match self.client.request::<Value, Value>(method, params).await {
            Ok(value) => Ok(value),
            Err(alloy::transports::RpcError::NullResp) => Ok(Value::Null),
            Err(error) => Err(error.to_string()),
        }
    }

    pub async fn mine(&self, blocks: u64) {
        for _ in 0..blocks {
            self.rpc("evm_mine", json!([])).await;
        }
    }

    pub async fn reorg(&self, depth: u64) {
        self.rpc("anvil_reorg", json!([depth, []])).await;
    }

    pub async fn balance(&self, account: Address) -> U256 {
        serde_json::from_value(self.rpc("eth_getBalance", json!([account, "latest"])).await).unwrap()
    }

    pub async fn count(&self, account: Address) -> u64 {
        let count: U256 =
            serde_json::from_value(self.rpc("eth_getTransactionCount", json!([account, "latest"])).await).unwrap();
        count.to()
    }

    /// Makes `address` emit whatever event it is called with: three topics from the calldata, the rest as data.
    pub async fn install_emitter(&self, address: Address) {
        let code = "0x60603603806060600037604035602035600035836000a300";
        self.rpc("anvil_setCode", json!([address, code])).await;
    }

    /// Emits an event with two indexed fields from one of anvil's own accounts.
    pub async fn emit(&self, from: Address, emitter: Address, event: &impl SolEvent) {
        let log = event.encode_log_data();
        assert_eq!(log.topics().len(), 3);
        let mut data: Vec<u8> = log.topics().iter().flat_map(|topic| topic.0).collect();
        data.extend_from_slice(&log.data);
        let tx = json!({"from": from, "to": emitter, "data": Bytes::from(data), "gas": "0x30d40"});
        self.rpc("eth_sendTransaction", json!([tx])).await;
    }
}

/// A clock that stands until moved.
#[derive(Debug, Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a process of the product has in memory.
pub struct Process {
    pub store: Store,
    pub chain: Arc<RpcChain>,
    pub sender: Arc<Sender>,
    pub engine: TxEngine,
    pub observer: Observer,
}

pub struct World {
    pub anvil: Anvil,
    pub dir: TempDir,
    pub clock: Arc<TestClock>,
    pub urls: Vec<String>,
    pub finality: u64,
    pub policy: FeePolicy,
    pub contracts: Contracts,
    pub process: Process,
}

async fn boot(
    database: PathBuf,
    urls: &[String],
    finality: u64,
    policy: FeePolicy,
    contracts: Contracts,
    clock: Arc<TestClock>,
) -> Process {
    let url = format!("sqlite://{}", database.display());
    let store = Store::open(&StoreConfig::new(url)).await.unwrap();
    store.migrate().await.unwrap();
    let mut config = RpcConfig::new(CHAIN, urls, Finality::Depth(finality));
    config.head_age_ms_max = 0;
    config.timeout = Duration::from_secs(3);
    config.breaker.failures_max = 3;
    config.breaker.cooldown_ms = 1_000;
    let chain = Arc::new(RpcChain::new(&config, clock.clone()).unwrap());
    let params = SenderParams {
        owner: "worker".into(),
        lease_ms: 60_000,
        fees: policy,
    };
    let signers = SignerPool::new(CHAIN, &[KEY]).unwrap();
    let sender = Arc::new(Sender::new(chain.clone(), store.clone(), signers, params, clock));
    let engine = TxEngine::new(chain.clone() as Arc<dyn TxChain>, store.clone(), sender.clone());
    let observer = Observer::new(chain.clone(), store.clone(), contracts, ObserverParams::default());
    Process {
        store,
        chain,
        sender,
        engine,
        observer,
    }
}

impl World {
    pub async fn new(finality: u64) -> Self {
        let anvil = Anvil::start(CHAIN);
        let urls = vec![anvil.url.clone()];
        Self::with(anvil, urls, finality, FeePolicy::default(), Contracts::default()).await
    }

    pub async fn with(anvil: Anvil, urls: Vec<String>, finality: u64, policy: FeePolicy, contracts: Contracts) -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(TestClock::default());
        clock.advance(1_000_000);
        let process = boot(dir.path().join("db"), &urls, finality, policy, contracts, clock.clone()).await;
        Self {
            anvil,
            dir,
            clock,
            urls,
            finality,
            policy,
            contracts,
            process,
        }
    }

    /// Loses everything in memory and starts again from the database.
    pub async fn restart(&mut self) {
        self.restart_from(self.dir.path().join("db")).await;
    }

    pub async fn restart_from(&mut self, database: PathBuf) {
        self.process = boot(
            database,
            &self.urls,
            self.finality,
            self.policy,
            self.contracts,
            self.clock.clone(),
        )
        .await;
    }

    pub fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    pub async fn prepare(&self, call: &Call, intent: Intent) -> Result<TxId, ChainError> {
        let planned = self.process.sender.plan(call).await?;
        let mut txn = self.process.store.begin(self.now()).await?;
        let id = self.process.sender.prepare(&mut txn, &planned, intent).await?;
        txn.commit().await?;
        Ok(id)
    }

    pub async fn prepare_transfer(&self, n: u64) -> TxId {
        self.prepare(&transfer(n), dispatch(n)).await.unwrap()
    }

    pub async fn observe(&self) {
        while self.process.observer.step(self.now(), 100).await.unwrap().more {}
    }

    pub async fn engine_step(&self) {
        self.process.engine.step(self.now(), 100).await.unwrap();
    }

    /// One round of the product: read the chain, mind the transactions; a second passes.
    pub async fn round(&self) {
        self.observe().await;
        self.engine_step().await;
        self.clock.advance(1_000);
    }

    pub async fn tx(&self, id: TxId) -> TxRow {
        self.process.store.get_tx(id).await.unwrap()
    }

    /// Rounds and blocks until a transaction is in `state`.
    pub async fn until(&self, id: TxId, state: TxState) {
        for _ in 0..80 {
            self.round().await;
            if self.tx(id).await.state == state {
                return;
            }
            self.anvil.mine(1).await;
        }
        let attempts = self.process.store.list_attempts(id).await.unwrap();
        panic!("{id} did not become {state}: {:?} {attempts:?}", self.tx(id).await);
    }

    pub async fn head(&self) -> BlockRef {
        self.process.chain.head().await.unwrap()
    }
}

/// Recipient and amount of transfer n: nobody else pays there.
pub fn payee(n: u64) -> Address {
    Address::left_padding_from(&(0xabcd_0000_0000 + n).to_be_bytes())
}

pub fn transfer(n: u64) -> Call {
    Call {
        chain: CHAIN,
        to: payee(n),
        data: Bytes::new(),
        value: U256::from(1_000 + n),
        gas: GasRule::Estimate { percent: 120, extra: 0 },
    }
}

pub fn dispatch(n: u64) -> Intent {
    Intent::new(IntentKind::Dispatch, n.to_string())
}

/// A future that is dropped after so many polls: what a kill leaves behind.
pub struct KillAfter<F> {
    inner: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> KillAfter<F> {
    pub fn new(inner: F, polls: usize) -> Self {
        Self {
            inner: Box::pin(inner),
            polls,
        }
    }
}

impl<F: Future> Future for KillAfter<F> {
    /// None = killed.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.inner.as_mut().poll(context).map(Some)
    }
}
