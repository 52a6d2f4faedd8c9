//! G2: a stream that breaks leaves nothing half-done; submitting everything again accepts each settlement exactly once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relayer_e2e::coordinator::Signed;
use relayer_e2e::harness::{World, fresh_payee};
use relayer_proto::v1;
use relayer_proto::v1::submit_stream_response::Result as Outcome;
use std::collections::BTreeMap;
use std::time::Duration;

const SETTLEMENTS: u64 = 1_000;

/// Streams all and returns the answers by item, up to the end of the stream or its break; `seen` is told after each how many there are.
async fn stream(world: &World, signed: &[Signed], mut seen: impl FnMut(usize)) -> (BTreeMap<u64, Outcome>, bool) {
    let items: Vec<_> = (0..)
        .zip(signed)
        .map(|(item, one)| v1::SubmitStreamRequest {
            item,
            submit: Some(one.request.clone()),
        })
        .collect();
    let mut client = world.client().await.unwrap();
    let mut answers = client
        .submit_stream(tokio_stream::iter(items))
        .await
        .unwrap()
        .into_inner();
    let mut outcomes = BTreeMap::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                let twice = outcomes.insert(answer.item, answer.result.unwrap());
                assert!(twice.is_none(), "item {} was answered twice", answer.item);
                seen(outcomes.len());
            }
            Ok(None) => return (outcomes, true),
            Err(_) => return (outcomes, false),
        }
    }
}

#[tokio::test]
async fn a_thousand_streamed_settlements_survive_a_kill_in_the_middle_and_are_accepted_once() {
    let mut world = World::start(&|_, relayer| {
        // Nothing is batched while the test looks at what was accepted.
        relayer.linger_ms = 600_000;
        relayer.batch_max = 1_024;
    })
    .await
    .unwrap();
    // Asked for once: a thousand questions to the chain would be most of the test.
    let deadline = world.deadline().await.unwrap();
    let mut signed = Vec::new();
    for n in 0..SETTLEMENTS {
        let payee = fresh_payee(&format!("{}", n % 11)).unwrap();
        let job = world.coordinator.job("provider", 1 + n % 3);
        let one = world.coordinator.settlement(&job, payee, 1 + n % 3, deadline);
        signed.push(one.unwrap());
    }
    let pid = world.relayer.pid().unwrap().to_string();
    let kill_at = 200;
    let (first, complete) = stream(&world, &signed, |seen| {
        if seen == kill_at {
            std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
        }
    })
    .await;
    // On a fast machine everything may have been answered before the signal arrived.
    assert!(!complete || first.len() == signed.len(), "{} answers", first.len());
    world.relayer.kill().unwrap();
    world.relayer.start().await.unwrap();

    let (second, complete) = stream(&world, &signed, |_| {}).await;
    assert!(complete);
    assert_eq!(second.len(), signed.len());
    for (item, one) in (0..).zip(&signed) {
        let Outcome::Accepted(answer) = &second[&item] else {
            panic!("item {item}: {:?}", second[&item]);
        };
        assert_eq!(answer.settlement_id, one.id.to_string());
        if let Some(Outcome::Accepted(before)) = first.get(&item) {
            assert!(answer.duplicate, "item {item} was acknowledged and lost");
            assert_eq!(answer.accepted_at_ms, before.accepted_at_ms);
        }
    }
    let (third, _) = stream(&world, &signed, |_| {}).await;
    let duplicates = third.values().filter(|outcome| match outcome {
        Outcome::Accepted(answer) => answer.duplicate,
        Outcome::Refused(_) => false,
    });
    assert_eq!(duplicates.count(), signed.len());
    let text = relayer_e2e::metrics::scrape(&world.relayer.rest_url()).await.unwrap();
    let fresh = "relayer_intake_accepted_total{duplicate=\"false\"}";
    let accepted_now = text.lines().find_map(|line| line.strip_prefix(fresh));
    let accepted_now: f64 = accepted_now.map_or(0.0, |number| number.trim().parse().unwrap());
    let after_the_kill = second
        .values()
        .filter(|outcome| matches!(outcome, Outcome::Accepted(answer) if !answer.duplicate))
        .count();
    assert_eq!(accepted_now as usize, after_the_kill);
    // A stop lets the stream say its last word.
    tokio::time::timeout(Duration::from_secs(30), world.relayer.stop())
        .await
        .unwrap()
        .unwrap();
}
