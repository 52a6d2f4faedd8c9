#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod building;
mod moving;
mod reversing;

use super::*;
use crate::clock::Clock;
use crate::error::Coded;
use crate::hub::model::EonClock;
use crate::store::testing::{self, SOURCE, TestStore};
use crate::store::{
    Cursor, HubEventFilter, HubFact, HubOperationKind, NewHub, NewHubLog, SignedState, TransferRefusal,
};
use alloy::primitives::{B256, U256, keccak256};
use relayer_adapter_api::BlockRef;

pub(crate) const CONTRACT: Address = Address::repeat_byte(0xc0);
pub(crate) const TOKEN: Address = Address::repeat_byte(0x70);
pub(crate) const OPERATOR: Address = Address::repeat_byte(0x0e);
pub(crate) const KEEPER: &str = "keeper";
const EON_BLOCKS: u64 = 10;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now_ms(&self) -> i64 {
        1_000
    }
}

pub(crate) fn wallet(n: u64) -> Address {
    Address::left_padding_from(&(n + 1).to_be_bytes())
}

fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: keccak256(number.to_be_bytes()),
        timestamp: number,
    }
}

/// A hub with a chain that a test moves by hand.
pub(crate) struct Bench {
    pub test: TestStore,
    pub ledger: Ledger,
    pub hub: Hub,
    logs: u64,
    cursor: Option<Cursor>,
}

impl Bench {
    pub(crate) async fn open() -> Self {
        Self::open_from(0).await
    }

    pub(crate) async fn open_from(start_block: u64) -> Self {
        let test = testing::open().await;
        let mut txn = test.begin(1).await.unwrap();
        let new = NewHub {
            name: "own".into(),
            chain: SOURCE,
            contract: CONTRACT,
            genesis: 0,
            blocks_per_eon: EON_BLOCKS,
            start_block,
        };
        txn.register_hub(&new).await.unwrap();
        txn.commit().await.unwrap();
        let hub = test.find_hub_by_name("own").await.unwrap().unwrap();
        let ledger = Ledger::new(test.store.clone(), Arc::new(Still));
        Self {
            test,
            ledger,
            hub,
            logs: 0,
            cursor: None,
        }
    }

    /// With both tokens, and wallets 0..n admitted to the native one.
    pub(crate) async fn with_wallets(n: u64) -> Self {
        let bench = Self::open().await;
        bench.register(CONTRACT, 0).await.unwrap();
        bench.register(TOKEN, 1).await.unwrap();
        let wallets: Vec<u64> = (0..n).collect();
        bench.admit(CONTRACT, &wallets).await;
        bench
    }

    pub(crate) async fn register(&self, token: Address, trail: u64) -> Result<bool, LedgerError> {
        let answer = self
            .ledger
            .register_token(&self.hub, KEEPER, (token, trail), ("Name", "N"))
            .await;
        answer.map(|(_, known)| known)
    }

    pub(crate) async fn admit(&self, token: Address, wallets: &[u64]) -> Admitted {
        let new: Vec<NewHubWallet> = wallets
            .iter()
            .map(|n| NewHubWallet {
                wallet: wallet(*n),
                ..NewHubWallet::default()
            })
            .collect();
        self.ledger.admit(&self.hub, KEEPER, token, &new).await.unwrap()
    }

    /// The chain was read up to a block, and is final up to another.
    pub(crate) async fn read_to(&mut self, seen: u64, finalized: u64) {
        let hub = self.test.get_hub(self.hub.id).await.unwrap();
        let mut txn = self.test.begin(1).await.unwrap();
        let new = Cursor {
            seen: block(seen),
            finalized: block(finalized),
        };
        txn.move_cursor(SOURCE, self.cursor.as_ref(), &new).await.unwrap();
        txn.advance_hubs(&[hub.id], hub.read_to, seen).await.unwrap();
        txn.finalize_hub_logs(SOURCE, finalized).await.unwrap();
        txn.commit().await.unwrap();
        self.cursor = Some(new);
        self.hub = self.test.get_hub(self.hub.id).await.unwrap();
    }

    fn new_log(&mut self, number: u64, fact: HubFact) -> NewHubLog {
        self.logs += 1;
        let clock = EonClock::new(0, EON_BLOCKS).unwrap();
        NewHubLog {
            hub: self.hub.id,
            eon: clock.eon(number).unwrap(),
            block: block(number),
            log_index: self.logs,
            tx_hash: B256::from(U256::from(self.logs)),
            fact,
        }
    }

    pub(crate) async fn log(&mut self, number: u64, fact: HubFact) {
        let log = self.new_log(number, fact);
        let mut txn = self.test.begin(1).await.unwrap();
        txn.put_hub_logs(&[log]).await.unwrap();
        txn.commit().await.unwrap();
    }

    pub(crate) async fn operation(&mut self, number: u64, kind: HubOperationKind, of: (Address, Address), amount: u64) {
        let (token, wallet) = of;
        let amount = U256::from(amount);
        let fact = HubFact::Operation {
            kind,
            token,
            wallet,
            amount,
        };
        self.log(number, fact).await;
    }

    pub(crate) async fn deposit(&mut self, number: u64, who: u64, amount: u64) {
        let of = (CONTRACT, wallet(who));
        self.operation(number, HubOperationKind::Deposit, of, amount).await;
    }

    pub(crate) async fn withdraw(&mut self, number: u64, who: u64, amount: u64) {
        let of = (CONTRACT, wallet(who));
        self.operation(number, HubOperationKind::WithdrawalRequest, of, amount)
            .await;
    }

    pub(crate) async fn follow(&self) -> u64 {
        self.ledger.follow(&self.hub, 1_000, 1_000).await.unwrap()
    }

    pub(crate) async fn available(&self, who: u64) -> u64 {
        let (_, available) = self.ledger.whois(&self.hub, CONTRACT, wallet(who)).await.unwrap();
        available.to()
    }

    pub(crate) async fn record(&self, eon: u64, transfers: &[NewTransfer]) -> Result<Vec<TransferAnswer>, LedgerError> {
        self.ledger.record(&self.hub, KEEPER, Eon(eon), transfers).await
    }

    pub(crate) async fn build(&self, eon: u64) -> Result<Built, LedgerError> {
        let options = (Some(OPERATOR), false);
        self.ledger
            .build(&self.hub, KEEPER, Eon(eon), options, &|_, _| {})
            .await
    }

    /// The code these are refused with.
    async fn refusal(&self, eon: u64, transfers: &[NewTransfer]) -> &'static str {
        self.record(eon, transfers).await.unwrap_err().code().code
    }

    pub(crate) async fn proven(&self, who: Address, eon: u64) -> Result<Proven, LedgerError> {
        self.ledger.allotment(&self.hub, (CONTRACT, who), Some(Eon(eon))).await
    }

    pub(crate) async fn allotted(&self, who: u64, eon: u64) -> u64 {
        let proven = self.proven(wallet(who), eon).await.unwrap();
        proven.proof.interval.amount().unwrap().to()
    }
}

fn transfer(id: &str, from: u64, to: u64, amount: u64) -> NewTransfer {
    NewTransfer {
        tx_id: id.to_owned(),
        token: CONTRACT,
        sender: wallet(from),
        recipient: wallet(to),
        amount: U256::from(amount),
        nonce: keccak256(id).into(),
        signed: None,
    }
}
