//! The relay seals a message for every checkpoint of a followed hub and every chain that is to learn it; the pipeline that carries batches
//! carries it from there.
//!
//! Reads hubs and their checkpoints as the observer stored them, and the registries of the targets. Writes messages of kind 2 in `Sealed`,
//! and gives up those that nothing can be made of any more ([`super::relay_plan`]). A checkpoint sets out once it stands in a final block of
//! the hub's chain, at most the last five eons, oldest first; of a halted hub none does. Sealing is one transaction, and there is one live
//! message per (hub, eon, target): killed anywhere, it seals the same message again or finds it sealed.

use super::model::Eon;
use super::model::eon::EONS_KEPT;
use super::registry::{Registration, Registry, hub_id};
use super::relay_error::{GIVEN_UP, RelayError};
use super::relay_plan::{Sealed, Step, plan};
use crate::chain::Chain;
use crate::error::Coded;
use crate::metrics as names;
use crate::settlement::policy::RoutePolicy;
use crate::settlement::states::{DispatchSource, MessageState};
use crate::stage::{Outcome, Stage};
use crate::store::{CheckpointLane, Cursor, Dispatch, Hub, Message, Store, StoreError};
use alloy::primitives::{Address, B256};
use async_trait::async_trait;
use metrics::counter;
use relayer_adapter_api::{Body, ChainId, Header, Kind, SealedMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Eons looked back on: those the contract keeps, and as many again whose messages may be under way.
const LOOK_BACK: u64 = 2 * EONS_KEPT as u64;
/// Checkpoints and messages of a lane read at once.
const ROWS_MAX: u64 = 64;

/// One hub and one chain that learns its checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubLane {
    /// Of the hub, as configured.
    pub name: String,
    pub lane: CheckpointLane,
    /// On the hub's chain; without one only signed checkpoints are carried.
    pub outbox: Option<Address>,
    pub inbox: Address,
    pub registry: Address,
    pub policy: Option<RoutePolicy>,
}

impl HubLane {
    pub fn hub_id(&self) -> B256 {
        hub_id(self.lane)
    }

    /// The message that carries a checkpoint: the same whoever makes it.
    pub fn message(&self, outbox: Address, eon: Eon, root: B256) -> SealedMessage {
        SealedMessage {
            header: Header {
                kind: Kind::Checkpoint,
                source: self.lane.source,
                target: self.lane.target,
                outbox,
                inbox: self.inbox,
                sequence: eon.0,
                root,
                count: 0,
                fee_recipient: Address::ZERO,
            },
            body: Body::Checkpoint { hub: self.lane.hub },
            committed: false,
        }
    }
}

/// Chains and what their registries said about hubs, which never changes.
pub(super) struct Targets {
    pub chains: BTreeMap<ChainId, Arc<dyn Chain>>,
    known: Mutex<BTreeMap<CheckpointLane, Registration>>,
}

impl Targets {
    pub fn new(chains: BTreeMap<ChainId, Arc<dyn Chain>>) -> Self {
        Self {
            chains,
            known: Mutex::default(),
        }
    }

    pub fn chain(&self, id: ChainId) -> Result<&Arc<dyn Chain>, RelayError> {
        self.chains.get(&id).ok_or(RelayError::UnknownChain(id))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<CheckpointLane, Registration>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the registry of a lane's target asks for. Registrations cannot be changed, so a final one is asked for once.
    pub async fn registration(&self, of: &HubLane, cursor: &Cursor) -> Result<Registration, RelayError> {
        if let Some(known) = self.known().get(&of.lane) {
            return Ok(*known);
        }
        let view = self.chain(of.lane.target)?.view(cursor.finalized);
        let registry = Registry {
            view: view.as_ref(),
            address: of.registry,
        };
        let found = registry.registration(of.hub_id()).await?;
        let found = found.ok_or_else(|| RelayError::NotRegistered {
            hub: of.name.clone(),
            target: of.lane.target,
        })?;
        self.known().insert(of.lane, found);
        Ok(found)
    }
}

/// See the module's page.
pub struct CheckpointRelay {
    store: Store,
    targets: Targets,
    lanes: Vec<HubLane>,
    memory: Mutex<Memory>,
}

/// Saves calls and repeated warnings; losing it costs nothing else.
#[derive(Default)]
struct Memory {
    /// Checkpoints the registry has in a final block.
    recorded: BTreeSet<(CheckpointLane, Eon, B256)>,
    /// What was wrong with a lane when it was looked at last.
    troubles: BTreeMap<CheckpointLane, String>,
}

impl std::fmt::Debug for CheckpointRelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckpointRelay")
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Stage for CheckpointRelay {
    fn name(&self) -> String {
        "checkpoint-relay".into()
    }

    async fn step(&self, now_ms: i64, _limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let mut processed = 0_usize;
        for lane in &self.lanes {
            let done = self.relay(lane, now_ms).await;
            processed = processed.saturating_add(self.settle(lane, done)?);
        }
        Ok(Outcome { processed, more: false })
    }
}

impl CheckpointRelay {
    pub fn new(store: Store, chains: BTreeMap<ChainId, Arc<dyn Chain>>, lanes: Vec<HubLane>) -> Self {
        Self {
            store,
            targets: Targets::new(chains),
            lanes,
            memory: Mutex::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of one lane. Only a broken database stops the others; the same trouble is told once.
    fn settle(&self, lane: &HubLane, done: Result<usize, RelayError>) -> Result<usize, RelayError> {
        match done {
            Ok(moved) => {
                self.memory().troubles.remove(&lane.lane);
                Ok(moved)
            }
            Err(RelayError::Store(StoreError::Conflict { what })) => {
                tracing::debug!(hub = lane.name, what, "relaying a checkpoint lost a race");
                Ok(0)
            }
            Err(RelayError::Store(error)) => Err(error.into()),
            Err(error) => {
                let text = error.to_string();
                let before = self.memory().troubles.insert(lane.lane, text.clone());
                if before.as_deref() != Some(text.as_str()) {
                    tracing::warn!(hub = lane.name, target = %lane.lane.target, code = error.code().code, error = text, "checkpoints wait");
                }
                Ok(0)
            }
        }
    }

    async fn relay(&self, of: &HubLane, now_ms: i64) -> Result<usize, RelayError> {
        let (lane, Some(outbox)) = (of.lane, of.outbox) else {
            return Ok(0);
        };
        let Some(hub) = self.store.find_hub(lane.source, lane.hub).await? else {
            // The observer has not asked the contract yet.
            return Ok(0);
        };
        let from = hub.last_eon.0.saturating_sub(LOOK_BACK);
        let checkpoints = self.store.list_checkpoints(hub.id, Eon(from), ROWS_MAX).await?;
        let messages = self.sealed(lane, from).await?;
        let mut moved = 0_usize;
        for step in plan(hub.halted.is_some(), &checkpoints, &messages) {
            let done = match step {
                Step::GiveUp { message, reason } => {
                    self.give_up(of, message, &reason, now_ms).await?;
                    true
                }
                Step::Seal { eon, root } => self.seal(of, &hub, outbox, (eon, root), now_ms).await?,
            };
            moved = moved.saturating_add(usize::from(done));
        }
        Ok(moved)
    }

    async fn sealed(&self, lane: CheckpointLane, from: u64) -> Result<Vec<Sealed>, RelayError> {
        let mut messages = self.store.list_open_checkpoint_messages(lane, ROWS_MAX).await?;
        messages.retain(|message| message.header.sequence < from);
        messages.extend(self.store.list_checkpoint_messages(lane, from, ROWS_MAX).await?);
        let mut sealed = Vec::with_capacity(messages.len());
        for message in &messages {
            sealed.push(Sealed {
                id: message.id,
                eon: Eon(message.header.sequence),
                root: message.header.root,
                state: message.state,
                covered: message.state != MessageState::Sealed || self.is_covered(message).await?,
            });
        }
        Ok(sealed)
    }

    async fn is_covered(&self, message: &Message) -> Result<bool, RelayError> {
        let dispatches = self.store.list_dispatches(message.id).await?;
        let unsent = [DispatchSource::Planned, DispatchSource::Dropped];
        let sent = |dispatch: &&Dispatch| !unsent.contains(&dispatch.source_state);
        Ok(dispatches.iter().filter(sent).count() >= usize::from(message.tier))
    }

    /// False when there is nothing to seal: the registry has the root already, or somebody else was faster.
    async fn seal(
        &self,
        of: &HubLane,
        hub: &Hub,
        outbox: Address,
        (eon, root): (Eon, B256),
        now_ms: i64,
    ) -> Result<bool, RelayError> {
        if self.memory().recorded.contains(&(of.lane, eon, root)) {
            return Ok(false);
        }
        let target = of.lane.target;
        let cursor = self
            .store
            .get_cursor(target)
            .await?
            .ok_or(RelayError::NotRead(target))?;
        let registration = self.targets.registration(of, &cursor).await?;
        if registration.outbox != outbox {
            return Err(RelayError::OtherOutbox {
                hub: of.name.clone(),
                target,
                expected: registration.outbox,
                actual: outbox,
            });
        }
        let view = self.targets.chain(target)?.view(cursor.finalized);
        let registry = Registry {
            view: view.as_ref(),
            address: of.registry,
        };
        if registry.recorded(of.hub_id(), eon.0).await?.has(root) {
            self.memory().recorded.insert((of.lane, eon, root));
            return Ok(false);
        }
        let message = of.message(outbox, eon, root);
        let mut txn = self.store.begin(now_ms).await?;
        let cause = format!("hub {} eon {eon}", hub.name);
        let fresh = txn
            .seal_checkpoint(&message, registration.quorum, of.policy, &cause)
            .await?;
        txn.commit().await?;
        if fresh {
            counter!(names::HUB_RELAYED_TOTAL, "hub" => of.name.clone(), "target" => target.to_string(), "step" => "sealed")
                .increment(1);
            tracing::info!(hub = of.name, %target, %eon, %root, message = %message.id(), "checkpoint sealed");
        }
        Ok(fresh)
    }

    /// Nothing of it is batched again: a checkpoint is no settlement.
    async fn give_up(
        &self,
        of: &HubLane,
        message: crate::settlement::MessageId,
        reason: &str,
        now_ms: i64,
    ) -> Result<(), RelayError> {
        let mut txn = self.store.begin(now_ms).await?;
        txn.abandon_message(message, reason, now_ms, None, "checkpoint-relay")
            .await?;
        txn.commit().await?;
        counter!(names::HUB_RELAYED_TOTAL, "hub" => of.name.clone(), "target" => of.lane.target.to_string(), "step" => "given_up")
            .increment(1);
        tracing::error!(code = GIVEN_UP.code, hub = of.name, target = %of.lane.target, %message, reason, "{}", GIVEN_UP.title);
        Ok(())
    }
}
