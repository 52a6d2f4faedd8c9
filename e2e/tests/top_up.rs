//! `relayer vault fund --via ccip` with the real command, the real contracts of CCIP 1.6 and a real token pool whose rate limits are hit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use alloy::primitives::U256;
use relayer::adapter::abi::ISettlementVault;
use relayer_adapter_ccip::Version;
use relayer_e2e::devnet::Chain;
use relayer_e2e::devnet::abi::ITestToken;
use relayer_e2e::devnet::ccip::BRIDGE;
use relayer_e2e::devnet::ccip::abi::{ITokenPool, RateLimit};
use relayer_e2e::devnet::layerzero::call;
use relayer_e2e::harness::World;
use relayer_e2e::relayer_process::built;
use serde_json::Value;
use std::process::Output;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const ETHER: u128 = 1_000_000_000_000_000_000;
const TOKENS: u64 = 25;

fn amount() -> U256 {
    U256::from(TOKENS) * U256::from(ETHER)
}

struct Desk {
    world: World,
}

impl Desk {
    async fn open() -> Self {
        let world = World::start(&|devnet, relayer| {
            devnet.ccip = Some(Version::V1_6);
            relayer.default_bridge = Some(BRIDGE.to_owned());
        })
        .await
        .unwrap();
        let source = &world.devnet.source;
        let provider = world.devnet.wallet(source, &world.devnet.accounts.payer).unwrap();
        let mint = ITestToken::mintCall {
            to: world.devnet.accounts.payer.address(),
            amount: amount() * U256::from(10),
        };
        call(&provider, source.token, mint).await.unwrap();
        Self { world }
    }

    /// Runs the command as a person would.
    async fn relayer(&self, flags: &[&str]) -> Output {
        let devnet = &self.world.devnet;
        let (source, target) = (devnet.source.anvil.chain, devnet.target.anvil.chain);
        let mut command = std::process::Command::new(built("relayer").unwrap());
        command
            .arg("--config")
            .arg(devnet.options.dir.join("relayer.toml"))
            .args(["--json", "vault", "fund", "--via", BRIDGE, "--key-env", "FUNDER_KEY"])
            .args([
                "--source-chain",
                &source.to_string(),
                "--target-chain",
                &target.to_string(),
            ])
            .args(flags)
            .env("FUNDER_KEY", devnet.accounts.payer.to_bytes().to_string());
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    async fn fund(&self, flags: &[&str]) -> Output {
        let (token, amount) = (self.world.devnet.source.token.to_string(), amount().to_string());
        let mut all = vec!["--token", token.as_str(), "--amount", amount.as_str(), "--yes"];
        all.extend(flags);
        self.relayer(&all).await
    }

    async fn deposited(&self) -> U256 {
        let target = &self.world.devnet.target;
        let vault = ISettlementVault::new(target.vault, &target.anvil.provider);
        let payer = self.world.devnet.accounts.payer.address();
        vault.balanceOf(payer, target.token).call().await.unwrap()
    }

    async fn held(&self) -> U256 {
        let source = &self.world.devnet.source;
        let account = self.world.devnet.accounts.payer.address();
        self.world.balance(source, account).await.unwrap()
    }

    /// Limits of the pool on `here` for tokens to and from `there`.
    async fn limits(&self, here: &Chain, there: &Chain, outbound: RateLimit, inbound: RateLimit) {
        let (ccip, remote) = (here.ccip.as_ref().unwrap(), there.ccip.as_ref().unwrap());
        let set = ITokenPool::setChainRateLimiterConfigCall {
            remoteChainSelector: remote.selector,
            outbound,
            inbound,
        };
        let admin = self
            .world
            .devnet
            .wallet(here, &self.world.devnet.accounts.admin)
            .unwrap();
        call(&admin, ccip.pool, set).await.unwrap();
    }
}

fn limit(tokens: u128, rate: u128) -> RateLimit {
    RateLimit {
        isEnabled: true,
        capacity: tokens * ETHER,
        rate,
    }
}

fn plenty() -> RateLimit {
    limit(1_000_000, 1_000 * ETHER)
}

fn answer(output: &Output) -> Value {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn refusal(output: &Output, exit: i32, code: &str, says: &str) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{text}");
    assert!(text.contains(code) && text.contains(says), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_is_priced_checked_sent_booked_and_survives_the_rate_limits_of_the_pool() {
    let desk = Desk::open().await;
    let (source, target) = (&desk.world.devnet.source, &desk.world.devnet.target);
    let (before, held) = (desk.deposited().await, desk.held().await);

    // Nothing is sent without an allowance, and a dry run sends nothing in any case.
    refusal(&desk.fund(&[]).await, 1, "RLY-CLI-010", "allowance");
    let quoted = answer(&desk.fund(&["--dry-run"]).await);
    assert_eq!(
        (quoted["state"].as_str(), quoted.get("transaction_hash")),
        (Some("quoted"), None)
    );
    assert!(quoted["fee"].as_str().unwrap().parse::<u128>().unwrap() > 0);
    assert_eq!(desk.held().await, held);

    let arrived = answer(&desk.fund(&["--approve"]).await);
    assert_eq!(arrived["state"], "arrived", "{arrived}");
    assert_eq!(arrived["target_token"], target.token.to_string());
    assert_eq!(
        (desk.deposited().await, desk.held().await),
        (before + amount(), held - amount())
    );

    // More than the pool lets out at once: refused with the pool's own words before anything is sent.
    desk.limits(source, target, limit(10, 1), plenty()).await;
    let text = refusal(
        &desk.fund(&["--approve"]).await,
        1,
        "RLY-CLI-010",
        "TokenMaxCapacityExceeded",
    );
    assert!(text.contains("10000000000000000000"), "{text}");
    assert_eq!(desk.held().await, held - amount());
    desk.limits(source, target, plenty(), plenty()).await;

    // More than the other pool lets in: the message waits, the money is nowhere else, and it is brought in when the limit allows it.
    desk.limits(target, source, plenty(), limit(10, 1)).await;
    let sent = answer(&desk.fund(&["--approve", "--no-wait"]).await);
    let tx = sent["transaction_hash"].as_str().unwrap().to_owned();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let late = desk.relayer(&["--sent", &tx, "--wait", "1"]).await;
        let text = refusal(&late, 3, "RLY-CLI-011", "is not in the vault yet");
        if text.contains("TokenMaxCapacityExceeded") {
            break;
        }
        assert!(Instant::now() < until, "{text}");
    }
    assert_eq!(desk.deposited().await, before + amount());
    desk.limits(target, source, plenty(), plenty()).await;
    let late = answer(&desk.relayer(&["--sent", &tx]).await);
    assert_eq!(
        (&late["state"], &late["executed_by_us"]),
        (&"arrived".into(), &1.into()),
        "{late}"
    );
    let two = amount() * U256::from(2);
    assert_eq!((desk.deposited().await, desk.held().await), (before + two, held - two));

    // The books know both deposits: what the vault holds is what they say.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(desk.world.drift().await.unwrap(), 0);
}
