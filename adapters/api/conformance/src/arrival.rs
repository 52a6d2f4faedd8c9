//! Where a message is, and what helps it along.

use crate::{Breaches, Dark, Rank, Scene, Step, is_lasting};
use alloy::primitives::{B256, Bytes};
use relayer_adapter_api::{Class, Delivery, MessageRef};

/// None for a message the protocol gave up.
fn rank(delivery: &Delivery) -> Option<Rank> {
    match delivery {
        Delivery::Pending { .. } => Some(Rank::Pending),
        Delivery::Attested { .. } => Some(Rank::Attested),
        Delivery::Received => Some(Rank::Received),
        Delivery::Failed { .. } => None,
    }
}

fn words(delivery: &Delivery) -> Option<&str> {
    match delivery {
        Delivery::Pending { note } | Delivery::Attested { note } => Some(note),
        Delivery::Failed { why } => Some(why),
        Delivery::Received => None,
    }
}

pub(crate) async fn steps(scene: &Scene<'_>, reference: &MessageRef, breaches: &mut Breaches) {
    let ranks: Vec<Rank> = scene.steps.iter().map(|step| step.rank).collect();
    breaches.demand(ranks.is_sorted(), "scene: its steps go backwards");
    let whole = ranks.first() == Some(&Rank::Pending) && ranks.last() == Some(&Rank::Received);
    breaches.demand(whole, "scene: does not lead from pending to received");
    for step in &scene.steps {
        delivery(scene, step, reference, breaches).await;
        advance(scene, step, reference, breaches).await;
    }
}

async fn delivery(scene: &Scene<'_>, step: &Step<'_>, reference: &MessageRef, breaches: &mut Breaches) {
    let name = step.name;
    let found = match scene.adapter.delivery(step.source, step.target, reference).await {
        Ok(found) => found,
        Err(error) => {
            breaches.demand(false, format!("delivery, {name}: {error}"));
            return;
        }
    };
    breaches.demand(
        rank(&found) == Some(step.rank),
        format!("delivery, {name}: is {found:?}, should be {:?}", step.rank),
    );
    let told = words(&found).is_none_or(|words| !words.trim().is_empty());
    breaches.demand(told, format!("delivery, {name}: gives no reason"));
    let again = scene.adapter.delivery(step.source, step.target, reference).await;
    let same = again.is_ok_and(|again| again == found);
    breaches.demand(same, format!("delivery, {name}: two answers at one block"));
}

/// Planning rescue changes nothing: asked twice, it wants the same; and nothing once the message is there.
async fn advance(scene: &Scene<'_>, step: &Step<'_>, reference: &MessageRef, breaches: &mut Breaches) {
    let name = step.name;
    let calls = match scene.adapter.advance(step.source, step.target, reference).await {
        Ok(calls) => calls,
        Err(error) => {
            breaches.demand(false, format!("advance, {name}: {error}"));
            return;
        }
    };
    let again = scene.adapter.advance(step.source, step.target, reference).await;
    let same = again.is_ok_and(|again| again == calls);
    breaches.demand(same, format!("advance, {name}: wants something else when asked twice"));
    let rule = match (step.helps, step.rank) {
        (_, Rank::Received) => "wants to send what has arrived",
        (true, _) => "does not help, although somebody could",
        (false, _) => "wants to do what does not help",
    };
    let right = calls.is_empty() != (step.helps && step.rank != Rank::Received);
    breaches.demand(right, format!("advance, {name}: {rule}"));
    for call in calls {
        let chain = call.chain == reference.source || call.chain == reference.target;
        breaches.demand(chain, format!("advance, {name}: calls a third chain"));
        breaches.demand(!call.to.is_zero(), format!("advance, {name}: calls nobody"));
    }
}

/// What was stored is not trusted more than what is read.
pub(crate) async fn references(scene: &Scene<'_>, reference: &MessageRef, breaches: &mut Breaches) {
    let Some(step) = scene.steps.last() else { return };
    let with = |change: &dyn Fn(&mut MessageRef)| {
        let mut changed = reference.clone();
        change(&mut changed);
        changed
    };
    let half = reference.evidence.slice(..reference.evidence.len() / 2);
    let wrong = [
        ("without evidence", with(&|it| it.evidence = Bytes::new())),
        ("with half its evidence", with(&|it| it.evidence = half.clone())),
        ("with another id", with(&|it| it.id = B256::repeat_byte(0x5a))),
        (
            "the other way round",
            with(&|it| std::mem::swap(&mut it.source, &mut it.target)),
        ),
    ];
    for (name, wrong) in wrong {
        if scene.id_is_announced && wrong.id != reference.id {
            continue;
        }
        let asked = scene.adapter.delivery(step.source, step.target, &wrong).await;
        match asked {
            Ok(found) => breaches.demand(false, format!("delivery: {found:?} for a reference {name}")),
            Err(error) => {
                breaches.demand(
                    is_lasting(error.class()),
                    format!("delivery: would ask again about a reference {name}"),
                );
            }
        }
        let planned = scene.adapter.advance(step.source, step.target, &wrong).await;
        let sends = planned.is_ok_and(|calls| !calls.is_empty());
        breaches.demand(!sends, format!("advance: sends for a reference {name}"));
    }
}

/// A chain that does not answer says nothing about a message, least of all that it arrived or failed.
pub(crate) async fn darkness(scene: &Scene<'_>, reference: &MessageRef, breaches: &mut Breaches) {
    let Some(step) = scene.steps.last() else { return };
    let dark = Dark::of(step.target);
    match scene.adapter.delivery(step.source, &dark, reference).await {
        Ok(found) => breaches.demand(
            false,
            format!("delivery: {found:?} although the target chain does not answer"),
        ),
        Err(error) => {
            let waits = matches!(error.class(), Class::Retry { .. } | Class::NotYet);
            breaches.demand(
                waits,
                format!("delivery: gives up because the target chain does not answer: {error}"),
            );
        }
    }
    let planned = scene.adapter.advance(step.source, &dark, reference).await;
    let sends = planned.is_ok_and(|calls| !calls.is_empty());
    breaches.demand(!sends, "advance: sends although the target chain does not answer");
}
