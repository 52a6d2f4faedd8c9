use super::*;
use crate::hub::model::state::{ActiveState, Holder, signed_digest};
use crate::hub::model::transfer::Transfer;
use crate::hub::model::tree::HashTree;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;

fn refusal(answer: &TransferAnswer) -> &TransferRefusal {
    match answer {
        TransferAnswer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_deposit_can_be_spent_once_it_is_final_and_only_once() {
    let mut bench = Bench::with_wallets(3).await;
    bench.deposit(1, 0, 100).await;
    bench.read_to(3, 0).await;
    bench.follow().await;
    assert_eq!(bench.available(0).await, 0, "not final");
    bench.read_to(4, 2).await;
    assert_eq!(bench.follow().await, 1);
    assert_eq!(bench.follow().await, 0, "booked again");
    assert_eq!(bench.available(0).await, 100);

    let batch = [
        transfer("a", 0, 1, 60),
        transfer("b", 0, 2, 60),
        transfer("c", 1, 2, 10),
        transfer("a", 0, 1, 60),
    ];
    let answers = bench.record(0, &batch).await.unwrap();
    assert_eq!(answers[0], TransferAnswer::Recorded);
    assert!(matches!(refusal(&answers[1]), TransferRefusal::Short { available, .. } if *available == U256::from(40)));
    assert_eq!(answers[2], TransferAnswer::Recorded, "what came in a moment ago");
    assert_eq!(answers[3], TransferAnswer::Known);
    let again = bench.record(1, &batch).await.unwrap();
    assert_eq!((&again[0], &again[2]), (&TransferAnswer::Known, &TransferAnswer::Known));
    let balances = [
        bench.available(0).await,
        bench.available(1).await,
        bench.available(2).await,
    ];
    assert_eq!(balances, [40, 50, 10]);
}

#[tokio::test]
async fn what_was_asked_back_on_the_chain_cannot_be_spent_even_before_that_is_final() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    bench.read_to(2, 1).await;
    bench.follow().await;
    bench.withdraw(3, 0, 70).await;
    bench.read_to(3, 1).await;
    assert_eq!(bench.available(0).await, 30);
    let answers = bench
        .record(0, &[transfer("a", 0, 1, 31), transfer("b", 0, 1, 30)])
        .await
        .unwrap();
    assert!(matches!(refusal(&answers[0]), TransferRefusal::Short { .. }));
    assert_eq!(answers[1], TransferAnswer::Recorded);
    bench.read_to(5, 4).await;
    bench.follow().await;
    assert_eq!((bench.available(0).await, bench.available(1).await), (0, 30));
}

#[tokio::test]
async fn each_bad_transfer_is_refused_for_its_own_reason_and_holds_up_no_other() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    bench.read_to(2, 1).await;
    bench.follow().await;
    let good = transfer("good", 0, 1, 1);
    let other = |change: fn(&mut NewTransfer)| {
        let mut bad = transfer("bad", 0, 1, 1);
        change(&mut bad);
        bad
    };
    bench.record(0, std::slice::from_ref(&good)).await.unwrap();
    let nonce = good.nonce;
    let cases = [
        other(|bad| bad.token = Address::repeat_byte(9)),
        other(|bad| bad.token = TOKEN),
        other(|bad| bad.recipient = wallet(77)),
        other(|bad| bad.amount = U256::ZERO),
        other(|bad| bad.recipient = bad.sender),
        other(|bad| bad.amount = U256::MAX),
        NewTransfer { nonce, ..other(|_| {}) },
        NewTransfer {
            amount: U256::from(2),
            ..good.clone()
        },
        transfer("fine", 0, 1, 1),
    ];
    let answers = bench.record(0, &cases).await.unwrap();
    let codes: Vec<&str> = answers[..8]
        .iter()
        .map(|answer| code_of(refusal(answer)).code)
        .collect();
    let expected = [
        "RLY-HUB-063",
        "RLY-HUB-064",
        "RLY-HUB-064",
        "RLY-HUB-067",
        "RLY-HUB-067",
        "RLY-HUB-065",
        "RLY-HUB-066",
        "RLY-HUB-066",
    ];
    assert_eq!(codes, expected);
    assert_eq!(answers[8], TransferAnswer::Recorded);
    assert_eq!((bench.available(0).await, bench.available(1).await), (98, 2));
}

#[tokio::test]
async fn only_its_keeper_writes_to_a_ledger_and_tokens_come_in_their_order() {
    let mut bench = Bench::open().await;
    bench.read_to(2, 1).await;
    let early = bench.record(0, &[]).await.unwrap_err();
    assert_eq!(early.code().code, "RLY-HUB-062");
    let wrong = bench.register(TOKEN, 0).await.unwrap_err();
    assert_eq!(wrong.code().code, "RLY-HUB-063");
    assert!(!bench.register(CONTRACT, 0).await.unwrap());
    assert!(bench.register(CONTRACT, 0).await.unwrap(), "again");
    assert!(bench.register(TOKEN, 2).await.is_err(), "a gap");
    assert!(bench.register(CONTRACT, 1).await.is_err(), "twice");
    assert!(!bench.register(TOKEN, 1).await.unwrap());
    let thief = bench.ledger.record(&bench.hub, "thief", Eon(1), &[]).await.unwrap_err();
    assert_eq!(thief.code().code, "RLY-HUB-062");
    let thief = bench
        .ledger
        .register_token(&bench.hub, "thief", (wallet(1), 2), ("", ""))
        .await;
    assert!(thief.is_err());
    let first = bench.admit(CONTRACT, &[5, 6, 5]).await;
    assert_eq!((first.admitted, first.known, first.next_trail), (2, 1, 2));
    let second = bench.admit(CONTRACT, &[7, 5]).await;
    assert_eq!((second.admitted, second.known, second.next_trail), (1, 1, 3));
    let (account, _) = bench.ledger.whois(&bench.hub, CONTRACT, wallet(7)).await.unwrap();
    assert_eq!((account.trail, account.admitted_eon), (2, 1));
}

#[tokio::test]
async fn transfers_belong_to_an_eon_that_is_open() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    bench.read_to(25, 22).await;
    bench.follow().await;
    let ahead = bench.record(4, &[transfer("x", 0, 1, 1)]).await.unwrap_err();
    assert_eq!(ahead.code().code, "RLY-HUB-068");
    bench.record(2, &[transfer("late", 0, 1, 1)]).await.unwrap();
    bench.build(3).await.unwrap();
    let closed = bench.record(2, &[transfer("later", 0, 1, 1)]).await.unwrap_err();
    assert_eq!(closed.code().code, "RLY-HUB-068");
    let known = bench.record(2, &[transfer("late", 0, 1, 1)]).await.unwrap();
    assert_eq!(known, [TransferAnswer::Known], "who was not told asks again");
    bench.record(3, &[transfer("now", 0, 1, 1)]).await.unwrap();
}

#[tokio::test]
async fn a_signed_state_is_kept_when_it_is_the_one_that_follows() {
    let mut bench = Bench::with_wallets(1).await;
    let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(5)).unwrap();
    let new = NewHubWallet {
        wallet: key.address(),
        ..NewHubWallet::default()
    };
    bench.ledger.admit(&bench.hub, KEEPER, CONTRACT, &[new]).await.unwrap();
    let of = (CONTRACT, key.address());
    bench.operation(1, HubOperationKind::Deposit, of, 100).await;
    bench.read_to(2, 1).await;
    bench.follow().await;
    let checksum = |amount: u64, nonce: U256| {
        let sent = Transfer {
            counterparty: wallet(0),
            amount: U256::from(amount),
            recipient_trail: 0,
            nonce,
        };
        sent.passive_checksum(None)
    };
    let signed = |id: &str, amount: u64, set: Vec<B256>, spent: u64| {
        let root = HashTree::new(set).unwrap().root();
        let state = ActiveState {
            holder: Holder {
                contract: CONTRACT,
                token: CONTRACT,
                wallet: key.address(),
            },
            trail: 1,
            eon: Eon(1),
            tx_set_root: root,
            spent: U256::from(spent),
            gained: U256::ZERO,
        };
        let signature = key.sign_hash_sync(&signed_digest(state.checksum())).unwrap();
        let new = NewTransfer {
            sender: key.address(),
            signed: Some(SignedState {
                set_root: root,
                spent: U256::from(spent),
                gained: U256::ZERO,
                signature: hex::encode(signature.as_bytes()),
            }),
            ..transfer(id, 0, 0, amount)
        };
        (new, state.checksum())
    };
    let nonce = |id: &str| U256::from_be_bytes(keccak256(id).0);
    let (one, two) = (checksum(30, nonce("one")), checksum(20, nonce("two")));
    let (first, _) = signed("one", 30, vec![one], 30);
    let (stale, _) = signed("two", 20, vec![two], 20);
    let (second, last) = signed("two", 20, vec![one, two], 50);
    let mut forged = second.clone();
    forged.signed.as_mut().unwrap().signature = first.signed.clone().unwrap().signature;
    let answers = bench.record(1, &[first, stale, forged, second]).await.unwrap();
    assert_eq!(answers[0], TransferAnswer::Recorded);
    assert!(matches!(refusal(&answers[1]), TransferRefusal::Signed(_)));
    assert!(matches!(refusal(&answers[2]), TransferRefusal::Signed(_)));
    assert_eq!(answers[3], TransferAnswer::Recorded);
    bench.read_to(12, 10).await;
    bench.build(2).await.unwrap();
    let proven = bench.proven(key.address(), 2).await.unwrap();
    assert_eq!(proven.allotment.account.active_state_checksum, last);
}
