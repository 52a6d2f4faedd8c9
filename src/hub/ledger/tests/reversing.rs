//! Operations that come late, and those that turn out never to have been.
use super::*;

fn fact(kind: HubOperationKind, who: u64, amount: u64) -> HubFact {
    HubFact::Operation {
        kind,
        token: CONTRACT,
        wallet: wallet(who),
        amount: U256::from(amount),
    }
}

impl Bench {
    /// These logs are all that the chain has in the blocks, which are final.
    async fn reread(&mut self, logs: &[NewHubLog], blocks: (u64, u64)) {
        let mut txn = self.test.begin(1).await.unwrap();
        txn.restore_hub_logs(self.hub.id, logs, blocks).await.unwrap();
        txn.finalize_hub_logs(SOURCE, blocks.1).await.unwrap();
        txn.commit().await.unwrap();
    }

    /// Blocks above this one are gone, final or not.
    async fn lose_above(&mut self, number: u64) {
        let mut txn = self.test.begin(1).await.unwrap();
        let new = Cursor {
            seen: block(number),
            finalized: block(number),
        };
        txn.move_cursor(SOURCE, self.cursor.as_ref(), &new).await.unwrap();
        txn.orphan_hub_logs_above(SOURCE, number).await.unwrap();
        txn.commit().await.unwrap();
        self.cursor = Some(new);
    }

    async fn follow_all(&self) {
        while self.ledger.follow(&self.hub, 1_000, 2).await.unwrap() > 0 {}
    }
}

#[tokio::test]
async fn a_deposit_that_was_put_back_is_booked_and_told_once() {
    let mut bench = Bench::with_wallets(2).await;
    let lost = bench.new_log(1, fact(HubOperationKind::Deposit, 0, 100));
    bench.deposit(2, 1, 7).await;
    bench.deposit(3, 1, 8).await;
    bench.read_to(6, 5).await;
    bench.follow_all().await;
    assert_eq!((bench.available(0).await, bench.available(1).await), (0, 15));
    bench.reread(std::slice::from_ref(&lost), (1, 1)).await;
    bench.follow_all().await;
    assert_eq!((bench.available(0).await, bench.available(1).await), (100, 15));
    assert_eq!(bench.follow().await, 0);
    let filter = HubEventFilter {
        token: None,
        wallet: None,
        kinds: Vec::new(),
    };
    let (events, _) = bench.test.list_hub_events(bench.hub.id, 0, &filter, 100).await.unwrap();
    let amounts: Vec<u64> = events.iter().map(|event| event.amount.unwrap().to()).collect();
    assert_eq!(amounts, [7, 8, 100]);
    // It belongs to its wallet, not to whoever gets the leftover.
    bench.read_to(12, 10).await;
    bench.build(2).await.unwrap();
    assert_eq!((bench.allotted(0, 2).await, bench.allotted(1, 2).await), (100, 15));
}

#[tokio::test]
async fn a_request_that_was_put_back_cannot_be_spent_even_before_it_is_booked() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    let lost = bench.new_log(2, fact(HubOperationKind::WithdrawalRequest, 0, 70));
    bench.deposit(3, 1, 8).await;
    bench.read_to(6, 5).await;
    bench.follow_all().await;
    assert_eq!(bench.available(0).await, 100);
    bench.reread(std::slice::from_ref(&lost), (2, 2)).await;
    assert_eq!(bench.available(0).await, 30);
    let answers = bench.record(1, &[transfer("a", 0, 1, 31)]).await.unwrap();
    assert_eq!(answers, [short(0, 30, 31)]);
    bench.follow_all().await;
    assert_eq!((bench.available(0).await, bench.available(1).await), (30, 8));
}

fn short(who: u64, available: u64, needed: u64) -> TransferAnswer {
    TransferAnswer::Refused(TransferRefusal::Short {
        wallet: wallet(who),
        available: U256::from(available),
        needed: U256::from(needed),
    })
}

#[tokio::test]
async fn a_deposit_that_comes_back_after_broken_finality_counts_once() {
    let mut bench = Bench::with_wallets(3).await;
    bench.deposit(1, 1, 5).await;
    bench.deposit(3, 0, 100).await;
    bench.withdraw(4, 1, 5).await;
    bench.read_to(6, 5).await;
    bench.follow_all().await;
    let sent = bench.record(1, &[transfer("a", 0, 2, 60)]).await.unwrap();
    assert_eq!(sent, [TransferAnswer::Recorded]);
    bench.lose_above(2).await;
    assert_eq!(bench.available(0).await, 0, "nothing can be spent of what is gone");
    bench.follow_all().await;
    let balances = [
        bench.available(0).await,
        bench.available(1).await,
        bench.available(2).await,
    ];
    assert_eq!(balances, [0, 5, 60], "the withdrawal never was");
    assert!(bench.build_is_refused().await);
    // What others send it does not get out of debt, and cannot be spent.
    bench.record(1, &[transfer("b", 1, 0, 5)]).await.unwrap();
    assert_eq!(bench.available(0).await, 0);
    bench.deposit(5, 0, 100).await;
    bench.read_to(8, 7).await;
    bench.follow_all().await;
    let balances = [
        bench.available(0).await,
        bench.available(1).await,
        bench.available(2).await,
    ];
    assert_eq!(balances, [45, 0, 60]);
    bench.read_to(12, 10).await;
    let built = bench.build(2).await.unwrap();
    assert_eq!(built.commitments[0].upper_bound, U256::from(105));
}

impl Bench {
    async fn build_is_refused(&mut self) -> bool {
        self.read_to(4, 4).await;
        let mut txn = self.test.begin(1).await.unwrap();
        let backing = txn.hub_backing(self.hub.id, 2).await.unwrap();
        backing[&CONTRACT].leftover().is_none()
    }
}

#[tokio::test]
async fn a_deposit_that_is_there_again_is_there_again() {
    let mut bench = Bench::with_wallets(2).await;
    let log = bench.new_log(1, fact(HubOperationKind::Deposit, 0, 100));
    let request = bench.new_log(2, fact(HubOperationKind::WithdrawalRequest, 0, 30));
    bench.reread(&[log.clone(), request.clone()], (1, 2)).await;
    bench.read_to(5, 4).await;
    bench.follow_all().await;
    bench.record(1, &[transfer("a", 0, 1, 60)]).await.unwrap();
    assert_eq!(bench.available(0).await, 10);
    bench.reread(&[], (1, 2)).await;
    bench.follow_all().await;
    assert_eq!((bench.available(0).await, bench.available(1).await), (0, 60));
    bench.reread(&[log, request], (1, 2)).await;
    bench.follow_all().await;
    assert_eq!((bench.available(0).await, bench.available(1).await), (10, 60));
    bench.read_to(12, 10).await;
    bench.build(2).await.unwrap();
    assert_eq!((bench.allotted(0, 2).await, bench.allotted(1, 2).await), (10, 60));
}
