use super::*;
use crate::hub::model::account::AccountTreeBuilder;
use crate::hub::model::{Account, Allotment, CHUNK, Checkpoint, TokenCommitment};
use crate::store::{HubEventFilter, HubEventKind, RootOrigin, StoredAllotment, TransferFilter};

/// Three wallets; 100, 50 and 0 deposited in eon 1; 30 and 5 sent in eon 2.
async fn two_eons() -> Bench {
    let mut bench = Bench::with_wallets(3).await;
    bench.deposit(1, 0, 100).await;
    bench.deposit(2, 1, 50).await;
    bench.read_to(13, 11).await;
    bench.follow().await;
    bench
        .record(
            2,
            &[transfer("t", 0, 1, 30), transfer("u", 2, 0, 1), transfer("v", 1, 2, 5)],
        )
        .await
        .unwrap();
    bench
}

#[tokio::test]
async fn a_checkpoint_commits_to_the_end_of_the_eon_before() {
    let mut bench = two_eons().await;
    let built = bench.build(2).await.unwrap();
    assert_eq!(
        [
            bench.allotted(0, 2).await,
            bench.allotted(1, 2).await,
            bench.allotted(2, 2).await
        ],
        [100, 50, 0],
        "what was sent in eon 2 is not in its checkpoint"
    );
    assert_eq!(built.commitments[0].upper_bound, U256::from(150));
    assert_eq!(built.commitments[1].accounts, 0, "the second token has no wallets");
    bench.withdraw(15, 0, 20).await;
    bench.read_to(25, 22).await;
    bench.record(3, &[transfer("w", 1, 0, 40)]).await.unwrap();
    let third = bench.build(3).await.unwrap();
    assert_eq!(
        [
            bench.allotted(0, 3).await,
            bench.allotted(1, 3).await,
            bench.allotted(2, 3).await
        ],
        [50, 75, 5]
    );
    assert_ne!(third.root.root, built.root.root);
    let again = bench.build(3).await.unwrap();
    assert!(again.duplicate && again.root == third.root);
    assert_eq!(bench.test.newest_built_eon(bench.hub.id).await.unwrap(), 3);
}

#[tokio::test]
async fn the_root_is_the_one_the_hub_s_own_trees_give() {
    let bench = two_eons().await;
    let built = bench.build(2).await.unwrap();
    let tree = |token: Address, amounts: &[u64]| {
        let accounts: Vec<Allotment> = amounts
            .iter()
            .enumerate()
            .map(|(n, amount)| Allotment {
                account: Account {
                    wallet: wallet(n as u64),
                    ..Account::default()
                },
                amount: U256::from(*amount),
            })
            .collect();
        let mut tree = AccountTreeBuilder::new(CONTRACT, token, 3);
        tree.extend(&accounts).unwrap();
        TokenCommitment {
            token,
            accounts: tree.finish().unwrap(),
        }
    };
    let checkpoint = Checkpoint::new(CONTRACT, vec![tree(CONTRACT, &[100, 50, 0]), tree(TOKEN, &[])]).unwrap();
    assert_eq!(built.root.root, checkpoint.root());
    for trail in 0..3 {
        let proven = bench.proven(wallet(trail), 2).await.unwrap();
        assert_eq!(proven.proof, checkpoint.proof(0, trail).unwrap());
    }
}

#[tokio::test]
async fn an_eon_that_is_not_final_is_not_closed() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    bench.read_to(12, 8).await;
    let open = bench.build(2).await.unwrap_err();
    assert_eq!(open.code().code, "RLY-HUB-069");
    bench.follow().await;
    bench.record(1, &[transfer("still open", 0, 1, 1)]).await.unwrap();
    bench.read_to(13, 9).await;
    assert_eq!(bench.build(0).await.unwrap().root.eon, 2);
    let part = Bench::open_from(5).await;
    part.register(CONTRACT, 0).await.unwrap();
    let partial = part.build(1).await.unwrap_err();
    assert_eq!(partial.code().code, "RLY-HUB-070");
}

#[tokio::test]
async fn what_belongs_to_nobody_is_a_last_account_until_its_wallet_is_admitted() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    bench.deposit(2, 9, 7).await;
    bench.read_to(12, 10).await;
    let none = bench
        .ledger
        .build(&bench.hub, KEEPER, Eon(2), (None, false), &|_, _| {})
        .await
        .unwrap_err();
    assert_eq!(none.code().code, "RLY-HUB-070");
    let built = bench.build(2).await.unwrap();
    assert_eq!(
        (built.root.accounts, built.commitments[0].upper_bound),
        (3, U256::from(107))
    );
    let leftover = bench.proven(OPERATOR, 2).await.unwrap();
    assert_eq!(
        (leftover.proof.trail, leftover.proof.interval.amount()),
        (2, Some(U256::from(7)))
    );
    bench.admit(CONTRACT, &[9]).await;
    assert_eq!(bench.available(9).await, 7);
    bench.read_to(22, 20).await;
    bench.build(3).await.unwrap();
    assert_eq!(bench.allotted(9, 3).await, 7);
    assert!(bench.proven(OPERATOR, 3).await.unwrap_err().is_absent());
}

#[tokio::test]
async fn a_ledger_that_promises_more_than_the_contract_holds_builds_nothing() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    bench.read_to(3, 2).await;
    bench.follow().await;
    bench.record(1, &[transfer("spent", 0, 1, 80)]).await.unwrap();
    bench.withdraw(4, 0, 100).await;
    bench.read_to(14, 12).await;
    let over = bench.build(2).await.unwrap_err();
    assert_eq!(over.code().code, "RLY-HUB-071", "{over}");
    assert!(bench.test.find_hub_root(bench.hub.id, None).await.unwrap().is_none());
    bench.deposit(15, 9, 80).await;
    bench.read_to(23, 21).await;
    let built = bench.build(3).await.unwrap();
    assert_eq!(
        built.commitments[0].upper_bound,
        U256::from(80),
        "covered by somebody's leftover"
    );
}

#[tokio::test]
async fn deliveries_are_proven_once_their_eon_is_closed() {
    let mut bench = two_eons().await;
    let filter = TransferFilter {
        tx_id: Some("t".into()),
        ..TransferFilter::of(bench.hub.id)
    };
    let found = bench.test.list_hub_transfers(&filter, None, 10).await.unwrap();
    let transfer = found.first().unwrap();
    assert!(bench.ledger.delivery(&bench.hub, transfer).await.unwrap().is_none());
    bench.read_to(25, 22).await;
    bench.build(3).await.unwrap();
    let delivery = bench.ledger.delivery(&bench.hub, transfer).await.unwrap().unwrap();
    let account = delivery.recipient.allotment.account;
    assert_eq!((account.wallet, account.passive.amount), (wallet(1), U256::from(30)));
    let checksum = transfer.received_checksum();
    assert_eq!(
        delivery
            .proof
            .verify(checksum, account.passive.checksum, account.passive.amount),
        Ok(())
    );
    let sender = bench.proven(wallet(1), 3).await.unwrap();
    assert_eq!(sender.allotment.account.passive.marker, U256::ZERO);
}

#[tokio::test]
async fn contents_are_imported_only_when_they_give_the_root_the_chain_has() {
    let mut bench = Bench::open().await;
    let count = CHUNK as u64 + 40;
    let accounts: Vec<Allotment> = (0..count)
        .map(|n| Allotment {
            account: Account {
                wallet: wallet(n),
                active_state_checksum: if n % 5 == 0 { keccak256([1]) } else { B256::ZERO },
                ..Account::default()
            },
            amount: U256::from(n),
        })
        .collect();
    let mut tree = AccountTreeBuilder::new(CONTRACT, CONTRACT, 0);
    tree.extend(&accounts).unwrap();
    let only = TokenCommitment {
        token: CONTRACT,
        accounts: tree.finish().unwrap(),
    };
    let checkpoint = Checkpoint::new(CONTRACT, vec![only]).unwrap();
    let root = checkpoint.root();
    let early = bench.ledger.import(&bench.hub, Eon(1)).await.unwrap_err();
    assert_eq!(early.code().code, "RLY-HUB-074");
    bench.log(3, HubFact::Checkpoint { eon: Eon(1), root }).await;
    bench.read_to(4, 3).await;

    let import = |accounts: Vec<Allotment>| {
        let (ledger, hub) = (bench.ledger.clone(), bench.hub.clone());
        async move {
            let mut import = ledger.import(&hub, Eon(1)).await.unwrap();
            for piece in accounts.chunks(300) {
                import.push(Some(CONTRACT), piece.to_vec()).await.unwrap();
            }
            import.finish().await
        }
    };
    let mut altered = accounts.clone();
    altered[7].amount += U256::from(1);
    let wrong = import(altered).await.unwrap_err();
    assert_eq!(wrong.code().code, "RLY-HUB-075");
    assert!(bench.proven(wallet(7), 1).await.unwrap_err().is_absent());
    let kept = import(accounts).await.unwrap();
    assert_eq!((kept.root.origin, kept.root.accounts), (RootOrigin::Imported, count));
    for n in [0, 7, count - 1] {
        let proven = bench.proven(wallet(n), 1).await.unwrap();
        assert_eq!(proven.proof, checkpoint.proof(0, n).unwrap());
        assert!(proven.standing.is_some());
    }
    assert!(import(Vec::new()).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_root_the_chain_has_is_not_built_anew_and_another_one_is() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    bench.read_to(12, 10).await;
    let first = bench.build(2).await.unwrap();
    let rebuild = |bench: &Bench| {
        let (ledger, hub) = (bench.ledger.clone(), bench.hub.clone());
        async move { ledger.build(&hub, KEEPER, Eon(2), (None, true), &|_, _| {}).await }
    };
    let again = rebuild(&bench).await.unwrap();
    assert_eq!(again.root.root, first.root.root);
    assert!(!again.duplicate && again.root.id != first.root.id);
    let fact = HubFact::Checkpoint {
        eon: Eon(2),
        root: first.root.root,
    };
    bench.log(13, fact).await;
    assert_eq!(rebuild(&bench).await.unwrap_err().code().code, "RLY-HUB-072");
}

#[tokio::test]
async fn watchers_are_told_everything_in_one_order() {
    let mut bench = two_eons().await;
    let root = B256::repeat_byte(4);
    bench.log(12, HubFact::Checkpoint { eon: Eon(2), root }).await;
    bench.withdraw(12, 1, 3).await;
    bench.read_to(14, 13).await;
    bench.follow().await;
    let mut filter = HubEventFilter {
        token: None,
        wallet: None,
        kinds: Vec::new(),
    };
    let (events, next) = bench.test.list_hub_events(bench.hub.id, 0, &filter, 100).await.unwrap();
    use HubEventKind::*;
    let kinds: Vec<HubEventKind> = events.iter().map(|event| event.kind).collect();
    let expected = [
        ConfirmedDeposit,
        ConfirmedDeposit,
        TransferConfirmation,
        TransferConfirmation,
        RequestedWithdrawal,
        CheckpointCreated,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(
        events.iter().map(|event| event.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!((next, events[5].reference.clone()), (6, root.to_string()));
    assert_eq!(
        (events[2].reference.as_str(), events[2].recipient),
        ("t", Some(wallet(1)))
    );
    let (rest, _) = bench.test.list_hub_events(bench.hub.id, 4, &filter, 100).await.unwrap();
    assert_eq!(rest.len(), 2);
    filter.wallet = Some(wallet(2));
    let (mine, next) = bench.test.list_hub_events(bench.hub.id, 0, &filter, 100).await.unwrap();
    let mine: Vec<i64> = mine.iter().map(|event| event.seq).collect();
    assert_eq!((mine, next), (vec![4, 6], 6), "and checkpoints, which are everybody's");
    filter.kinds = vec![ConfirmedDeposit];
    assert!(
        bench
            .test
            .list_hub_events(bench.hub.id, 0, &filter, 3)
            .await
            .unwrap()
            .0
            .is_empty()
    );
}

#[tokio::test]
async fn many_wallets_come_in_pieces_and_every_proof_holds() {
    let count = 2 * CHUNK as u64 + 3;
    let mut bench = Bench::with_wallets(count).await;
    bench.deposit(1, 0, 10_000_000).await;
    bench.read_to(5, 4).await;
    bench.follow().await;
    let transfers: Vec<NewTransfer> = (1..count).map(|n| transfer(&format!("t{n}"), 0, n, n)).collect();
    let answers = bench.record(1, &transfers).await.unwrap();
    assert!(answers.iter().all(|answer| *answer == TransferAnswer::Recorded));
    bench.read_to(13, 11).await;
    let built = bench.build(2).await.unwrap();
    assert_eq!(
        (built.root.accounts, built.commitments[0].upper_bound),
        (count, U256::from(10_000_000))
    );
    for n in [1, 1_000, CHUNK as u64, count - 1] {
        assert_eq!(bench.allotted(n, 2).await, n);
    }
    let filter = TransferFilter {
        wallet: Some(wallet(1_000)),
        ..TransferFilter::of(bench.hub.id)
    };
    assert_eq!(bench.test.count_hub_transfers(&filter).await.unwrap(), 1);
    let page = bench
        .test
        .list_hub_transfers(&TransferFilter::of(bench.hub.id), Some(100), 50)
        .await
        .unwrap();
    assert_eq!((page.len(), page[0].id), (50, 99));
}

/// As [`two_eons`], read to the end of eon 2, with the last `lost` of its three transfers missing.
async fn copy_without(lost: usize) -> Bench {
    let mut bench = Bench::with_wallets(3).await;
    bench.deposit(1, 0, 100).await;
    bench.deposit(2, 1, 50).await;
    bench.read_to(13, 11).await;
    bench.follow().await;
    let all = [transfer("t", 0, 1, 30), transfer("u", 1, 0, 1), transfer("v", 1, 2, 5)];
    bench.record(2, &all[..all.len() - lost]).await.unwrap();
    bench.read_to(23, 21).await;
    bench
}

/// The hub submitted what it built from a ledger that lost nothing.
async fn restored(lost: usize) -> (Bench, B256) {
    let whole = copy_without(0).await;
    let root = whole.build(3).await.unwrap().root.root;
    let mut bench = copy_without(lost).await;
    bench.log(22, HubFact::Checkpoint { eon: Eon(3), root }).await;
    bench.read_to(25, 24).await;
    bench.follow().await;
    (bench, root)
}

async fn open_drifts(bench: &Bench) -> Vec<String> {
    let open = bench.test.list_open_drifts().await.unwrap();
    open.into_iter()
        .map(|row| format!("{} {}", row.drift.class, row.drift.subject))
        .collect()
}

#[tokio::test]
async fn a_ledger_that_lost_transfers_takes_no_new_ones_until_it_gives_the_root_the_chain_has() {
    let (bench, root) = restored(1).await;
    assert_eq!(open_drifts(&bench).await, vec!["root ledger of hub own"]);
    assert_eq!(bench.refusal(3, &[transfer("new", 0, 1, 1)]).await, "RLY-HUB-080");
    assert_eq!(bench.available(0).await, 71, "nothing was moved");

    // Tried in vain, any number of times: the eon stays open for what is missing.
    for _ in 0..2 {
        let other = bench.build(3).await.unwrap_err();
        assert_eq!(other.code().code, "RLY-HUB-081", "{other}");
        assert!(other.to_string().contains(&root.to_string()));
        assert_eq!(bench.test.find_hub_root(bench.hub.id, Some(3)).await.unwrap(), None);
    }
    let again = bench
        .record(2, &[transfer("t", 0, 1, 30), transfer("v", 1, 2, 5)])
        .await
        .unwrap();
    assert_eq!(again, vec![TransferAnswer::Known, TransferAnswer::Recorded]);

    let built = bench.build(3).await.unwrap();
    assert_eq!(
        (built.root.root, built.root.origin, built.duplicate),
        (root, RootOrigin::Built, false)
    );
    assert_eq!(open_drifts(&bench).await, Vec::<String>::new());
    assert_eq!(bench.refusal(2, &[transfer("late", 0, 1, 1)]).await, "RLY-HUB-068");
    bench.record(3, &[transfer("new", 0, 1, 1)]).await.unwrap();
    assert!(bench.build(3).await.unwrap().duplicate);
}

#[tokio::test]
async fn the_next_checkpoint_is_not_built_from_a_ledger_that_does_not_give_the_one_before() {
    let (mut bench, root) = restored(1).await;
    bench.read_to(35, 32).await;
    for eon in [4, 0] {
        let refused = bench.build(eon).await.unwrap_err();
        assert_eq!(refused.code().code, "RLY-HUB-080", "{refused}");
    }
    bench.record(2, &[transfer("v", 1, 2, 5)]).await.unwrap();
    assert_eq!(bench.build(3).await.unwrap().root.root, root);
    bench.build(4).await.unwrap();
}

#[tokio::test]
async fn contents_that_were_imported_say_nothing_of_the_ledger() {
    let (bench, root) = restored(1).await;
    let whole = copy_without(0).await;
    let from = whole.build(3).await.unwrap();
    let mut import = bench.ledger.import(&bench.hub, Eon(3)).await.unwrap();
    for commitment in &from.commitments {
        let stored = whole.test.list_hub_allotments(commitment.id, 0..10).await.unwrap();
        let accounts: Vec<Allotment> = stored.iter().map(StoredAllotment::allotment).collect();
        import.push(Some(commitment.token), accounts).await.unwrap();
    }
    assert_eq!(import.finish().await.unwrap().root.root, root);
    assert_eq!(bench.refusal(3, &[transfer("new", 0, 1, 1)]).await, "RLY-HUB-080");
    assert_eq!(bench.build(3).await.unwrap_err().code().code, "RLY-HUB-081");
    assert_eq!(bench.allotted(2, 3).await, 5, "what was imported stays");

    bench.record(2, &[transfer("v", 1, 2, 5)]).await.unwrap();
    let proven = bench.build(3).await.unwrap();
    assert_eq!((proven.root.root, proven.root.origin), (root, RootOrigin::Built));
    assert_eq!(bench.allotted(2, 3).await, 5);
    bench.record(3, &[transfer("new", 0, 1, 1)]).await.unwrap();
}

#[tokio::test]
async fn of_two_that_were_built_the_one_the_chain_has_is_built_again() {
    let mut bench = Bench::with_wallets(2).await;
    bench.deposit(1, 0, 100).await;
    bench.deposit(2, 9, 7).await;
    bench.read_to(12, 10).await;
    let build = |bench: &Bench, to: Address, rebuild| {
        let (ledger, hub) = (bench.ledger.clone(), bench.hub.clone());
        async move {
            ledger
                .build(&hub, KEEPER, Eon(2), (Some(to), rebuild), &|_, _| {})
                .await
        }
    };
    let submitted = build(&bench, wallet(1), false).await.unwrap().root.root;
    let other = build(&bench, OPERATOR, true).await.unwrap().root.root;
    assert_ne!(submitted, other);
    let fact = HubFact::Checkpoint {
        eon: Eon(2),
        root: submitted,
    };
    bench.log(13, fact).await;
    bench.read_to(15, 14).await;
    assert_eq!(bench.refusal(2, &[transfer("a", 0, 1, 1)]).await, "RLY-HUB-080");
    assert_eq!(
        build(&bench, OPERATOR, false).await.unwrap_err().code().code,
        "RLY-HUB-081"
    );
    assert_eq!(build(&bench, wallet(1), false).await.unwrap().root.root, submitted);
    bench.record(2, &[transfer("a", 0, 1, 1)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_comes_while_the_ledger_is_compared_is_in_no_checkpoint_that_says_otherwise() {
    let (bench, root) = restored(0).await;
    let late = |_: u64, _: u64| {
        tokio::task::block_in_place(|| {
            let new = [transfer("late", 1, 0, 1)];
            let recorded = tokio::runtime::Handle::current().block_on(bench.record(2, &new));
            assert_ne!(recorded.unwrap(), vec![]);
        });
    };
    let options = (Some(OPERATOR), false);
    let raced = bench.ledger.build(&bench.hub, KEEPER, Eon(3), options, &late).await;
    assert!(
        matches!(raced, Err(LedgerError::Store(StoreError::Conflict { .. }))),
        "{raced:?}"
    );
    let other = bench.build(3).await.unwrap_err();
    assert_eq!(
        other.code().code,
        "RLY-HUB-081",
        "it was not sent by who submitted {root}"
    );
}
