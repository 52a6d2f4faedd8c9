//! How a checkpoint fares on its way to each target: what `relayer hub checkpoint` shows.

use super::model::Eon;
use crate::settlement::states::MessageState;
use crate::store::{Dispatch, Event, Hub, Message, SignedCheckpoint, Store, StoreError};
use relayer_adapter_api::ChainId;

/// One checkpoint on its way to one target.
#[derive(Debug, Clone)]
pub struct Carriage {
    pub message: Message,
    pub dispatches: Vec<Dispatch>,
    /// Of the message, oldest first.
    pub events: Vec<Event>,
}

/// Everything that was done to bring a checkpoint somewhere.
#[derive(Debug, Clone, Default)]
pub struct Carriages {
    pub messages: Vec<Carriage>,
    pub signatures: Vec<SignedCheckpoint>,
}

impl Carriage {
    pub fn target(&self) -> ChainId {
        self.message.header.target
    }

    /// Where it stands, in a sentence.
    pub fn headline(&self) -> String {
        let header = &self.message.header;
        let arrived = self
            .dispatches
            .iter()
            .filter(|dispatch| dispatch.received_at.is_some())
            .count();
        match self.message.state {
            MessageState::Sealed if self.dispatches.is_empty() => "sealed, waits for a lane".to_owned(),
            MessageState::Sealed => format!(
                "under way over {} bridge(s), {arrived} arrived of {} needed",
                self.dispatches.len(),
                self.message.tier
            ),
            MessageState::Received => format!("arrived on chain {}, waits to be recorded", header.target),
            MessageState::Executed => format!("recorded by the registry of chain {}", header.target),
            MessageState::Abandoned => format!(
                "given up: {}",
                self.message.abandon_reason.as_deref().unwrap_or("no reason was stored")
            ),
        }
    }
}

/// By target, then in the order they were sealed.
pub async fn carriages(store: &Store, hub: &Hub, eon: Eon) -> Result<Carriages, StoreError> {
    let mut found = Carriages {
        messages: Vec::new(),
        signatures: store.list_signatures_of(hub.chain, hub.contract, eon.0).await?,
    };
    for message in store
        .list_messages_of_checkpoint(hub.chain, hub.contract, eon.0)
        .await?
    {
        found.messages.push(Carriage {
            dispatches: store.list_dispatches(message.id).await?,
            events: store.list_aggregate_events("message", &message.id.to_string()).await?,
            message,
        });
    }
    Ok(found)
}
