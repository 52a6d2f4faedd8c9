//! Settlements that the chains know and this database does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::world::*;
use super::*;
use crate::settlement::SettlementId;
use crate::store::testing as fixtures;
use crate::store::{AdoptedMessage, NewChainLog, Settlement};
use relayer_adapter_api::MessageId;

/// A message on its way commits to these.
pub(super) async fn carry(world: &World, requests: &[SubmitRequest]) -> MessageId {
    let ids: Vec<SettlementId> = requests.iter().map(id_of).collect();
    let sealed = fixtures::sealed(&ids, 1);
    let adopted = AdoptedMessage {
        id: sealed.id(),
        header: sealed.header,
        ids,
        sent_at: 1,
        dispatches: Vec::new(),
    };
    let mut txn = world.test.begin(1).await.unwrap();
    txn.adopt_message(&adopted).await.unwrap();
    txn.commit().await.unwrap();
    adopted.id
}

/// The inbox paid it.
pub(super) async fn pay(world: &World, request: &SubmitRequest) {
    let terms = &request.terms;
    let index = 50 + terms.nonce.to::<u64>();
    let payer = terms.payer.into_word();
    let log = log("settlement_paid", index, digest(request), payer, terms.nonce, json!({}));
    let log = NewChainLog { address: INBOX, ..log };
    put(&world.test, &[log]).await;
}

/// What the inbox paid is final and on the books.
pub(super) async fn book(world: &World) {
    let sql = "UPDATE chain_log SET status = 'final', applied_final = TRUE WHERE kind = 'settlement_paid'";
    world.test.execute(sql).await;
}

pub(super) async fn signer_fact(world: &World, kind: &str, index: u64, signer: &PrivateKeySigner) {
    let (payer, signer) = (payer().address().into_word(), signer.address().into_word());
    put(&world.test, &[log(kind, index, payer, signer, U256::ZERO, json!({}))]).await;
}

pub(super) fn signer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x53)).unwrap()
}

fn id_of(request: &SubmitRequest) -> SettlementId {
    SettlementId(digest(request))
}

async fn taken(world: &World, request: &SubmitRequest) -> Settlement {
    world.intake.submit(request.clone()).await.unwrap();
    world.test.get_settlement(id_of(request)).await.unwrap()
}

/// The receipt of another request, under a new nonce and the payer's own signature.
fn anew(request: &SubmitRequest, nonce: u64) -> SubmitRequest {
    let mut again = request.clone();
    again.terms.payer = payer().address();
    again.terms.nonce = U256::from(nonce);
    signed(again)
}

#[tokio::test]
async fn what_was_paid_is_taken_up_whatever_its_signer_or_contract_says_by_now() {
    let world = world().await;
    signer_fact(&world, "signer_added", 1, &signer()).await;
    signer_fact(&world, "signer_removal_announced", 2, &signer()).await;
    let leaving = signed_by(request(1), &signer());
    pay(&world, &leaving).await;
    let rotated = tampered(|r| {
        *r = request(3);
        r.coordinator_id = "lenient".into();
        r.terms.payer = STUBBORN;
        r.terms.fee = U256::ZERO;
        r.auth = vec![5; 200].into();
    });
    pay(&world, &rotated).await;
    book(&world).await;
    assert_eq!(taken(&world, &leaving).await.state.as_str(), "settled");
    assert_eq!(taken(&world, &rotated).await.state.as_str(), "settled");
    signer_fact(&world, "signer_removed", 3, &signer()).await;
    let gone = signed_by(request(2), &signer());
    pay(&world, &gone).await;
    book(&world).await;
    assert_eq!(taken(&world, &gone).await.state.as_str(), "settled");
    assert_eq!(testing::reserved(&world.test, payer().address()).await, 0);
    // Their receipts are held, so that nobody pays them again.
    for (paid, nonce) in [(&leaving, 11), (&gone, 12), (&rotated, 13)] {
        check_refused(&world, anew(paid, nonce), "040").await;
    }
}

#[tokio::test]
async fn what_is_on_its_way_counts_a_signer_until_it_is_gone_and_nobody_else() {
    let world = world().await;
    let by_signer = |tag| signed_by(request(tag), &signer());
    let stranger = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x52)).unwrap();
    carry(&world, &[by_signer(1), by_signer(2), request(3)]).await;
    signer_fact(&world, "signer_added", 1, &signer()).await;
    signer_fact(&world, "signer_removal_announced", 2, &signer()).await;
    assert_eq!(taken(&world, &by_signer(1)).await.state.as_str(), "batched");
    check_refused(&world, by_signer(4), "025").await;
    signer_fact(&world, "signer_removed", 3, &signer()).await;
    check_refused(&world, by_signer(2), "024").await;
    check_refused(&world, signed_by(request(3), &stranger), "024").await;
    // A payment that is not final is no reason to refuse, and none to believe.
    pay(&world, &by_signer(2)).await;
    let error = check_refused(&world, by_signer(2), "042").await;
    assert_eq!(error.refusal(), Refusal::Unavailable);
    book(&world).await;
    assert_eq!(taken(&world, &by_signer(2)).await.state.as_str(), "settled");
}

#[tokio::test]
async fn a_withdrawal_that_was_announced_meanwhile_takes_nothing_from_what_is_on_its_way() {
    let world = world().await;
    carry(&world, &[request(1)]).await;
    let (who, all) = (payer().address().into_word(), U256::from(1_000_000_000));
    let leaves = log("withdrawal_announced", 1, who, TOKEN.into_word(), all, json!({}));
    put(&world.test, &[leaves]).await;
    assert_eq!(taken(&world, &request(1)).await.state.as_str(), "batched");
    assert_eq!(testing::reserved(&world.test, payer().address()).await, 4_200_007);
    check_refused(&world, request(2), "036").await;
}
