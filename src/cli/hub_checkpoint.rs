//! `hub checkpoint`: how one checkpoint of a followed hub fares on its way to each target, from the database.

use super::config::open_store;
use super::failure::{DATABASE, Exit, Failure};
use super::output::{Output, duration, fields, short, table, time};
use crate::hub::NO_CHECKPOINT;
use crate::hub::carriage::{Carriage, Carriages, carriages};
use crate::hub::model::Eon;
use crate::store::{Hub, HubCheckpoint, StoreError};
use alloy::primitives::B256;
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(super) struct CheckpointArgs {
    /// Name of the hub in the configuration
    name: String,
    /// Eon; the newest unless given
    eon: Option<u64>,
}

fn failed(error: StoreError) -> Failure {
    Failure::new(Exit::Failed, DATABASE, error.to_string())
}

pub(super) async fn checkpoint(global: &super::Global, args: CheckpointArgs, output: &Output) -> Result<Exit, Failure> {
    let config = global.load(&[])?;
    let store = open_store(&config).await?;
    store.check_schema().await.map_err(failed)?;
    let missing = |what: String| Failure::new(Exit::NotFound, NO_CHECKPOINT, what);
    let hub = store.find_hub_by_name(&args.name).await.map_err(failed)?;
    let hub = hub.ok_or_else(|| missing(format!("hub {:?} is not followed", args.name)))?;
    let eon = args.eon.map_or(hub.last_eon, Eon);
    let checkpoint = store.find_checkpoint(hub.id, eon).await.map_err(failed)?;
    let found = carriages(&store, &hub, eon).await.map_err(failed)?;
    if checkpoint.is_none() && found.messages.is_empty() && found.signatures.is_empty() {
        return Err(missing(format!("{} has no checkpoint of eon {eon}", args.name)));
    }
    let answer = answer(&hub, eon, checkpoint.as_ref(), &found);
    output.answer(&answer, || print(&hub, eon, checkpoint.as_ref(), &found));
    Ok(Exit::Ok)
}

fn answer(hub: &Hub, eon: Eon, checkpoint: Option<&HubCheckpoint>, found: &Carriages) -> Value {
    json!({
        "hub": hub.name,
        "eon": eon.0,
        "halted": hub.halted.map(|halt| halt.reason.as_str()),
        "checkpoint": checkpoint.map(|checkpoint| json!({
            "root": checkpoint.root, "standing": checkpoint.standing.as_str(), "refused": checkpoint.refused,
            "block": checkpoint.block.number, "transaction": checkpoint.tx_hash,
        })),
        "carriages": found.messages.iter().map(carriage_json).collect::<Vec<_>>(),
        "signatures": found.signatures.iter().map(|row| json!({
            "target": row.signed.lane.target.0, "root": row.signed.root, "state": row.state.as_str(), "note": row.note,
        })).collect::<Vec<_>>(),
    })
}

fn carriage_json(carriage: &Carriage) -> Value {
    let message = &carriage.message;
    json!({
        "target": message.header.target.0, "message": message.id, "root": message.header.root, "state": message.state.as_str(),
        "families": message.tier, "headline": carriage.headline(),
        "dispatches": carriage.dispatches.iter().map(|dispatch| json!({
            "bridge": dispatch.bridge.as_str(), "source": dispatch.source_state.as_str(), "target": dispatch.target_state.as_str(),
            "note": dispatch.note,
        })).collect::<Vec<_>>(),
        "history": carriage.events.iter().map(|event| json!({
            "at_ms": event.at_ms, "event": event.event, "cause": event.cause, "detail": detail(event.detail.as_deref()),
        })).collect::<Vec<_>>(),
    })
}

fn detail(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn print(hub: &Hub, eon: Eon, checkpoint: Option<&HubCheckpoint>, found: &Carriages) -> String {
    let root = |root: B256| root.to_string();
    let standing = checkpoint.map_or("not on the hub's chain".to_owned(), |checkpoint| {
        let refused = checkpoint.refused.as_deref().map(|why| format!(", refused: {why}"));
        format!("{}{}", checkpoint.standing, refused.unwrap_or_default())
    });
    let mut head = vec![
        ("hub", format!("{} ({}:{})", hub.name, hub.chain, hub.contract)),
        ("eon", eon.to_string()),
        ("standing", standing),
    ];
    if let Some(checkpoint) = checkpoint {
        head.push(("root", root(checkpoint.root)));
    }
    if let Some(halt) = hub.halted {
        head.push((
            "halted",
            format!("{} in eon {}: nothing sets out", halt.reason, halt.eon),
        ));
    }
    let mut text = fields(&head);
    for carriage in &found.messages {
        let message = &carriage.message;
        text.push_str(&format!(
            "\n\nchain {}: {}\n  message {}\n",
            message.header.target,
            carriage.headline(),
            message.id
        ));
        if checkpoint.is_some_and(|checkpoint| checkpoint.root != message.header.root) {
            text.push_str(&format!("  of another root: {}\n", message.header.root));
        }
        let mut rows = table(&["bridge", "source", "target", "note"]);
        for dispatch in &carriage.dispatches {
            rows.add_row([
                dispatch.bridge.to_string(),
                dispatch.source_state.to_string(),
                dispatch.target_state.to_string(),
                dispatch.note.clone().unwrap_or_default(),
            ]);
        }
        if !carriage.dispatches.is_empty() {
            text.push_str(&format!("{}\n", rows.trim_fmt()));
        }
        text.push_str(&history(carriage));
    }
    for row in &found.signatures {
        let note = row.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
        text.push_str(&format!(
            "\nsigned for chain {}: {}{note}, root {}\n",
            row.signed.lane.target,
            row.state.as_str(),
            short(&root(row.signed.root))
        ));
    }
    text
}

fn history(carriage: &Carriage) -> String {
    let mut text = String::new();
    let mut before: Option<i64> = None;
    for event in &carriage.events {
        let passed = before.map_or(String::new(), |before| {
            let ms = u64::try_from(event.at_ms.saturating_sub(before)).unwrap_or_default();
            format!("+{}", duration(ms))
        });
        before = Some(event.at_ms);
        let why = detail(event.detail.as_deref());
        let why = why["why"].as_str().or(why["reason"].as_str());
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let at = time(u64::try_from(event.at_ms).unwrap_or_default());
        text.push_str(&format!(
            "  {at}  {passed:>12}  {}, because of {}{why}\n",
            event.event, event.cause
        ));
    }
    text
}
