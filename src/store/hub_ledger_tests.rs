#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::hub_ledger::run;
use super::testing::{self, *};
use super::*;
use alloy::primitives::{Address, U256};
use sea_orm::Value;

const CONTRACT: Address = Address::repeat_byte(0xc0);

async fn hub(store: &Store) -> HubId {
    let mut txn = store.begin(1).await.unwrap();
    let new = NewHub {
        name: "own".into(),
        chain: SOURCE,
        contract: CONTRACT,
        genesis: 0,
        blocks_per_eon: 10,
        start_block: 0,
    };
    let id = txn.register_hub(&new).await.unwrap();
    txn.commit().await.unwrap();
    id
}

fn word(value: u64) -> Value {
    codec::u256_bytes(U256::from(value)).into()
}

async fn refused(store: &Store, sql: &str, values: Vec<Value>) {
    let refused = run(&store.db, sql, values).await;
    assert!(refused.is_err(), "the database took {sql}");
}

#[tokio::test]
async fn the_database_itself_refuses_money_from_nowhere() {
    let test = testing::open().await;
    let hub = hub(&test).await;
    let mut txn = test.begin(1).await.unwrap();
    let mut token = txn.add_hub_token(hub, CONTRACT, 0, ("Ether", "ETH")).await.unwrap();
    let wallets: Vec<NewHubWallet> = [1, 2]
        .into_iter()
        .map(|byte| NewHubWallet {
            wallet: Address::repeat_byte(byte),
            ..NewHubWallet::default()
        })
        .collect();
    let admitted = txn.admit_hub_wallets(&mut token, 1, &wallets).await.unwrap();
    txn.commit().await.unwrap();
    let (a, b) = (admitted[0].id, admitted[1].id);

    let spend = "UPDATE hub_wallet SET gained = $2, spent = $3 WHERE id = $1";
    refused(&test, spend, vec![a.into(), word(255), word(256)]).await;
    assert_eq!(
        run(&test.db, spend, vec![a.into(), word(256), word(255)])
            .await
            .unwrap(),
        1
    );
    let short = "UPDATE hub_wallet SET gained = $2 WHERE id = $1";
    refused(&test, short, vec![a.into(), vec![0xff_u8; 31].into()]).await;

    let transfer = "INSERT INTO hub_transfer (hub_id, token_id, tx_id, eon, sender, recipient, amount, nonce, position, seq, at_ms) \
                    VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, 1)";
    let row = |id: &str, from: i64, to: i64, nonce: u64, position: u64, seq: i64| -> Vec<Value> {
        let place = [word(1), word(nonce), word(position), seq.into()];
        let mut values: Vec<Value> = vec![hub.0.into(), token.id.into(), id.into(), from.into(), to.into()];
        values.extend(place);
        values
    };
    run(&test.db, transfer, row("t", a, b, 1, 0, 1)).await.unwrap();
    refused(&test, transfer, row("t", a, b, 2, 1, 2)).await;
    refused(&test, transfer, row("u", a, b, 1, 1, 2)).await;
    refused(&test, transfer, row("u", a, b, 2, 0, 2)).await;
    refused(&test, transfer, row("u", a, b, 2, 1, 1)).await;
    refused(&test, transfer, row("u", a, a, 2, 1, 2)).await;
    refused(&test, transfer, row("u", a, 999, 2, 1, 2)).await;
    run(&test.db, transfer, row("u", a, b, 2, 1, 2)).await.unwrap();
}

#[tokio::test]
async fn the_database_itself_refuses_contents_that_contradict_themselves() {
    let test = testing::open().await;
    let hub = hub(&test).await;
    let mut txn = test.begin(1).await.unwrap();
    let root = txn.stage_hub_root(hub, 1, RootOrigin::Imported).await.unwrap();
    let commitment = txn.stage_hub_commitment(root, CONTRACT, 0).await.unwrap();
    txn.commit().await.unwrap();
    let insert =
        "INSERT INTO hub_allotment (commitment_id, trail, wallet, left_bound, right_bound) VALUES ($1, $2, $3, $4, $5)";
    let row = |trail: i64, left: u64, right: u64| -> Vec<Value> {
        vec![
            commitment.into(),
            trail.into(),
            vec![1_u8; 20].into(),
            word(left),
            word(right),
        ]
    };
    run(&test.db, insert, row(0, 0, 256)).await.unwrap();
    refused(&test, insert, row(1, 256, 255)).await;
    refused(&test, insert, row(0, 256, 300)).await;
    let complete = "UPDATE hub_root SET state = 'complete' WHERE id = $1";
    refused(&test, complete, vec![root.into()]).await;
    assert!(
        test.find_hub_root(hub, Some(1)).await.unwrap().is_none(),
        "staged contents are seen"
    );

    let done = |root: i64| {
        let store = test.store.clone();
        async move {
            let mut txn = store.begin(2).await.unwrap();
            txn.complete_hub_root(root, alloy::primitives::B256::repeat_byte(7), 1)
                .await?;
            txn.commit().await
        }
    };
    done(root).await.unwrap();
    let mut txn = test.begin(1).await.unwrap();
    let second = txn.stage_hub_root(hub, 1, RootOrigin::Built).await.unwrap();
    txn.commit().await.unwrap();
    let error = done(second).await.unwrap_err();
    assert!(error.is_race(), "{error}");
    assert_eq!(test.find_hub_root(hub, None).await.unwrap().unwrap().id, root);

    test.delete_hub_root(root).await.unwrap();
    assert!(test.find_hub_root(hub, None).await.unwrap().is_none());
    assert!(test.list_hub_allotments(commitment, 0..10).await.unwrap().is_empty());
    assert_eq!(test.list_abandoned_hub_roots(hub, 1).await.unwrap(), Vec::<i64>::new());
    assert_eq!(test.list_abandoned_hub_roots(hub, 1_000_000).await.unwrap(), [second]);
}
