//! Groups: one signature for many, every item its own answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::world::*;
use super::*;
use crate::intake::group::{GroupAnswer, SubmitGroup};
use crate::settlement::SettlementId;
use crate::settlement::terms::{Domain, TermsFields, group_root};
use crate::store::Settlement;
use crate::store::testing::{INBOX, TARGET};
use alloy::primitives::keccak256;
use alloy::signers::SignerSync;
use relayer_adapter_api::tree;

/// An item whose terms state everything, as a group's should.
fn item(tag: u64) -> SubmitRequest {
    let mut item = request(tag);
    let hash = crate::settlement::receipt::Receipt::parse(&item.receipts[0], &Default::default())
        .unwrap()
        .hash();
    item.terms.receipt_hash = Some(hash);
    item.terms.job_id = Some(keccak256(format!("j{tag}")));
    item.auth = Bytes::new();
    item
}

/// What the payer signs for an item, however bad.
fn id_of(item: &SubmitRequest) -> SettlementId {
    let terms = &item.terms;
    let fields = TermsFields {
        job_id: terms.job_id.unwrap(),
        receipt_hash: terms.receipt_hash.unwrap(),
        proof_hash: terms.proof_hash.unwrap_or_default(),
        source_chain: terms.source,
        payer: terms.payer,
        payee: terms.payee,
        token: terms.token,
        amount: terms.amount,
        fee: terms.fee,
        nonce: terms.nonce,
        deadline: terms.deadline,
    };
    SettlementId(Domain::new(TARGET, INBOX).terms_digest(&fields))
}

fn digest_of(items: &[SubmitRequest]) -> B256 {
    let ids: Vec<SettlementId> = items.iter().map(id_of).collect();
    Domain::new(TARGET, INBOX).group_digest(group_root(&ids).unwrap(), ids.len() as u32)
}

fn signed_as(digest: B256, key: &PrivateKeySigner, items: Vec<SubmitRequest>) -> SubmitGroup {
    SubmitGroup {
        coordinator_id: items
            .first()
            .map_or(COORDINATOR.into(), |item| item.coordinator_id.clone()),
        auth: key.sign_hash_sync(&digest).unwrap().as_bytes().to_vec().into(),
        items,
    }
}

fn group_by(key: &PrivateKeySigner, items: Vec<SubmitRequest>) -> SubmitGroup {
    signed_as(digest_of(&items), key, items)
}

fn group(items: Vec<SubmitRequest>) -> SubmitGroup {
    group_by(&payer(), items)
}

fn items(tags: impl IntoIterator<Item = u64>) -> Vec<SubmitRequest> {
    tags.into_iter().map(item).collect()
}

fn codes(answer: &GroupAnswer) -> Vec<String> {
    let code = |result: &Result<Accepted, IntakeError>| match result {
        Ok(accepted) if accepted.existing => "existing".to_owned(),
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.code().code.trim_start_matches("RLY-INTAKE-").to_owned(),
    };
    answer.results.iter().map(code).collect()
}

async fn submit(world: &World, group: SubmitGroup) -> GroupAnswer {
    world.intake.submit_group(group).await.unwrap()
}

async fn refused_whole(world: &World, group: SubmitGroup, code: &str) {
    let before = stored(world).await;
    let error = world.intake.submit_group(group).await.unwrap_err();
    assert_eq!(error.code().code, format!("RLY-INTAKE-{code}"), "{error}");
    assert_eq!(stored(world).await, before);
}

async fn row(world: &World, item: &SubmitRequest) -> Settlement {
    world.test.get_settlement(id_of(item)).await.unwrap()
}

#[tokio::test]
async fn each_item_gets_its_own_answer_under_one_signature_over_all() {
    let world = world().await;
    let mut all = items(1..=9);
    all[1].receipts[0].reverse();
    all[2].receipts[0] = sign_receipt(fields(3), &receipt_key(9));
    all[3].terms.amount = U256::from(4_200_001);
    all[4].terms.deadline = HEAD + 899;
    all[5].terms.amount = U256::from(1) << 96;
    all[6].terms.fee = U256::from(1_000_000_000u64);
    all[7].receipts[0] = receipt(1);
    let answer = submit(&world, group(all.clone())).await;
    let expected = ["accepted", "009", "010", "030", "034", "015", "036", "014", "accepted"];
    assert_eq!(codes(&answer), expected);
    let ids: Vec<SettlementId> = all.iter().map(id_of).collect();
    assert_eq!(answer.root, tree::root(&crate::settlement::terms::words(&ids)).unwrap());
    assert_eq!(stored(&world).await, 2);
    assert_eq!(testing::reserved(&world.test, payer().address()).await, 2 * 4_200_007);
    let last = row(&world, &all[8]).await;
    let place = last.group.unwrap();
    assert_eq!((place.root, place.index), (answer.root, 8));
    assert_eq!(last.auth, group(all.clone()).auth);
    // A message of one of them finds the whole group behind it, refused members included.
    let message = testing::seal(&world.test, &[last.id]).await;
    let member = world.test.get_member(message.id(), 0).await.unwrap();
    crate::settlement::packed::encode(&message, 0, &[member.member()]).unwrap();
}

#[tokio::test]
async fn the_same_group_again_is_the_same_answer_and_takes_what_can_be_taken_now() {
    let world = world().await;
    let mut all = items(1..=4);
    all[2].terms.fee = U256::from(990_000_000u64);
    let first = submit(&world, group(all.clone())).await;
    assert_eq!(codes(&first), ["accepted", "accepted", "036", "accepted"]);
    let again = submit(&world, group(all.clone())).await;
    assert_eq!(codes(&again), ["existing", "existing", "036", "existing"]);
    assert_eq!(again.root, first.root);
    for (one, other) in first
        .results
        .iter()
        .zip(&again.results)
        .filter_map(|(a, b)| a.as_ref().ok().zip(b.as_ref().ok()))
    {
        assert_eq!(
            (one.id, one.accepted_at, &one.trace_id),
            (other.id, other.accepted_at, &other.trace_id)
        );
    }
    testing::deposit(&world.test, payer().address(), 1_000_000_000, 200).await;
    let funded = submit(&world, group(all.clone())).await;
    assert_eq!(codes(&funded), ["existing", "existing", "accepted", "existing"]);
    assert_eq!(row(&world, &all[2]).await.group.unwrap().index, 2);
}

#[tokio::test]
async fn alone_and_in_a_group_a_settlement_is_the_same() {
    let world = world().await;
    let alone = world.intake.submit(signed(request(2))).await.unwrap();
    let answer = submit(&world, group(items(1..=3))).await;
    assert_eq!(codes(&answer), ["accepted", "existing", "accepted"]);
    assert_eq!(answer.results[1].as_ref().unwrap().id, alone.id);
    assert!(
        row(&world, &item(2)).await.group.is_none(),
        "it keeps its own signature"
    );
    let third = world.intake.submit(signed(request(3))).await.unwrap();
    assert!(third.existing);
    // In another group it is still the one that was accepted first.
    let other = submit(&world, group(items(3..=4))).await;
    assert_eq!(codes(&other), ["existing", "accepted"]);
    assert_eq!(row(&world, &item(3)).await.group.unwrap().root, answer.root);
}

#[tokio::test]
async fn what_is_wrong_with_the_group_refuses_the_whole() {
    let world = world().await;
    refused_whole(&world, group_of_none(), "046").await;
    let mut many: Vec<SubmitRequest> = Vec::new();
    for nonce in 1..=1_025 {
        let mut one = item(1);
        one.terms.nonce = U256::from(nonce);
        many.push(one);
    }
    let too_many = signed_as(B256::ZERO, &payer(), many);
    refused_whole(&world, too_many, "046").await;
    let changed = |change: &dyn Fn(&mut SubmitRequest)| {
        let mut all = items(1..=3);
        change(&mut all[1]);
        all
    };
    let cases: Vec<(Vec<SubmitRequest>, &str)> = vec![
        (changed(&|item| item.terms.source = ChainId(5)), "047"),
        (changed(&|item| item.terms.target = ChainId(5)), "047"),
        (changed(&|item| item.terms.payer = AGREEABLE), "047"),
        (changed(&|item| item.terms.token = PAYEE), "047"),
        (changed(&|item| item.terms.inbox = Some(PAYEE)), "018"),
        (changed(&|item| item.terms.nonce = U256::from(3)), "048"),
        (changed(&|item| item.terms.nonce = U256::from(256)), "048"),
        (changed(&|item| item.terms.payee = Address::repeat_byte(0xff)), "048"),
        (items([1, 3, 2]), "048"),
        (items([1, 1]), "048"),
    ];
    for (all, code) in cases {
        refused_whole(&world, group(all), code).await;
    }
    let mut nameless = items(1..=3);
    let good = group(nameless.clone());
    nameless[1].receipts[0] = b"no json".to_vec();
    nameless[1].terms.job_id = None;
    refused_whole(
        &world,
        SubmitGroup {
            items: nameless,
            ..good
        },
        "049",
    )
    .await;
}

fn group_of_none() -> SubmitGroup {
    signed_as(B256::ZERO, &payer(), Vec::new())
}

#[tokio::test]
async fn hashes_left_out_are_derived_and_the_proof_s_too() {
    let world = world().await;
    let mut all = items(1..=3);
    all[0].proof = Some(vec![1, 2, 3]);
    all[0].terms.proof_hash = Some(keccak256([1, 2, 3]));
    all[2].terms.deadline = HEAD;
    let mut sent = group(all);
    for item in &mut sent.items {
        (item.terms.job_id, item.terms.receipt_hash, item.terms.proof_hash) = (None, None, None);
    }
    assert_eq!(codes(&submit(&world, sent).await), ["accepted", "accepted", "034"]);
}

#[tokio::test]
async fn only_the_payer_s_word_over_this_very_group_counts() {
    let world = world().await;
    let stranger = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x52)).unwrap();
    let all = || items(1..=3);
    refused_whole(&world, group_by(&stranger, all()), "024").await;
    for digest in [
        digest_of(&items(1..=2)),
        digest_of(&items(1..=4)),
        id_of(&item(1)).0,
        group_root(&all().iter().map(id_of).collect::<Vec<_>>()).unwrap(),
    ] {
        refused_whole(&world, signed_as(digest, &payer(), all()), "024").await;
    }
    let long = SubmitGroup {
        auth: vec![1; 1_025].into(),
        ..group(all())
    };
    refused_whole(&world, long, "022").await;
    let mut low_v = group(all());
    let mut auth = low_v.auth.to_vec();
    auth[64] -= 27;
    low_v.auth = auth.into();
    assert_eq!(codes(&submit(&world, low_v).await), ["accepted"; 3]);
    assert_eq!(
        row(&world, &item(1)).await.auth,
        group(all()).auth,
        "stored as normalized"
    );
}

#[tokio::test]
async fn a_bad_signature_takes_nothing_in_even_beside_what_was_taken_before() {
    let world = world().await;
    let stranger = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x52)).unwrap();
    world.intake.submit(signed(request(1))).await.unwrap();
    refused_whole(&world, group_by(&stranger, items(1..=2)), "024").await;
    let mut all = items(3..=5);
    all[1].terms.fee = U256::from(990_000_000u64);
    assert_eq!(
        codes(&submit(&world, group(all.clone())).await),
        ["accepted", "036", "accepted"]
    );
    testing::deposit(&world.test, payer().address(), 1_000_000_000, 200).await;
    let answer = submit(&world, group_by(&stranger, all)).await;
    assert_eq!(codes(&answer), ["existing", "024", "existing"]);
    assert_eq!(stored(&world).await, 3);
}

#[tokio::test]
async fn registered_signers_and_contracts_speak_for_groups_by_the_same_rules() {
    let world = world().await;
    let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x53)).unwrap();
    refused_whole(&world, group_by(&signer, items(1..=2)), "024").await;
    let (who, key) = (payer().address().into_word(), signer.address().into_word());
    let fact = |kind: &str, index| log(kind, index, who, key, U256::ZERO, json!({}));
    put(&world.test, &[fact("signer_added", 1)]).await;
    assert_eq!(
        codes(&submit(&world, group_by(&signer, items(1..=2))).await),
        ["accepted"; 2]
    );
    put(&world.test, &[fact("signer_removal_announced", 2)]).await;
    refused_whole(&world, group_by(&signer, items(3..=4)), "025").await;
    assert_eq!(
        codes(&submit(&world, group_by(&signer, items(1..=2))).await),
        ["existing"; 2]
    );

    let of = |payer: Address, coordinator: &str, tags: std::ops::RangeInclusive<u64>| {
        let mut all = items(tags);
        for item in &mut all {
            item.coordinator_id = coordinator.into();
            item.terms.payer = payer;
            item.terms.fee = U256::ZERO;
        }
        SubmitGroup {
            coordinator_id: coordinator.into(),
            auth: vec![5; 200].into(),
            items: all,
        }
    };
    refused_whole(&world, of(AGREEABLE, COORDINATOR, 5..=6), "026").await;
    refused_whole(&world, of(STUBBORN, "lenient", 5..=6), "027").await;
    let answer = submit(&world, of(AGREEABLE, "lenient", 5..=6)).await;
    assert_eq!(codes(&answer), ["accepted"; 2]);
    assert!(answer.results.iter().all(|result| result.as_ref().unwrap().revocable));
}

#[tokio::test]
async fn a_payer_of_another_coordinator_and_a_full_intake_refuse_the_whole() {
    let mut policy = policy();
    policy.queue_max = 2;
    let restricted = policy.coordinators.get_mut("lenient").unwrap();
    restricted.payers = BTreeSet::from([PAYEE]);
    let world = world_with(policy, false).await;
    let mut all = items(1..=2);
    for item in &mut all {
        item.coordinator_id = "lenient".into();
    }
    refused_whole(&world, group(all), "020").await;
    // A group larger than the bound takes all of it, and then nothing else fits beside it.
    assert_eq!(codes(&submit(&world, group(items(1..=4))).await), ["accepted"; 4]);
}

#[tokio::test]
async fn a_policy_nobody_knows_refuses_the_whole_group() {
    let world = world().await;
    let mut items = vec![item(1), item(2)];
    for item in &mut items {
        item.policy = "quickest".into();
    }
    let error = world
        .intake
        .submit_group(signed_as(digest_of(&items), &payer(), items))
        .await;
    assert_eq!(error.unwrap_err().code().code, "RLY-INTAKE-052");
}

#[tokio::test]
async fn what_the_chains_know_of_a_group_is_taken_up_when_its_signer_is_on_the_way_out_or_gone() {
    use super::recalled::{book, carry, pay, signer, signer_fact};
    let world = world().await;
    let all = group_by(&signer(), items(1..=4));
    signer_fact(&world, "signer_added", 1, &signer()).await;
    signer_fact(&world, "signer_removal_announced", 2, &signer()).await;
    refused_whole(&world, all.clone(), "025").await;
    pay(&world, &item(1)).await;
    book(&world).await;
    let message = carry(&world, &items(1..=3)).await;
    let answer = submit(&world, all.clone()).await;
    assert_eq!(codes(&answer), ["accepted", "accepted", "accepted", "025"]);
    assert_eq!(
        codes(&submit(&world, all.clone()).await),
        ["existing", "existing", "existing", "025"]
    );
    let states = [row(&world, &item(1)).await, row(&world, &item(2)).await].map(|row| row.state.to_string());
    assert_eq!(states, ["settled", "batched"]);
    assert_eq!(world.test.list_members(message).await.unwrap().len(), 3);

    // What nobody was asked about never becomes the word of a group.
    signer_fact(&world, "signer_removed", 3, &signer()).await;
    let gone = group_by(&signer(), items(5..=7));
    refused_whole(&world, gone.clone(), "024").await;
    pay(&world, &item(5)).await;
    book(&world).await;
    assert_eq!(codes(&submit(&world, gone.clone()).await), ["accepted", "024", "024"]);
    assert_eq!(codes(&submit(&world, gone).await), ["existing", "024", "024"]);
    assert_eq!(row(&world, &item(5)).await.group, None);
}
