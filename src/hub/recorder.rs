//! The recorder brings what has arrived to the registries: messages their quorum has voted for, and checkpoints an operator has signed.
//!
//! Reads checkpoint messages in `Received`, signatures, the registries at the newest block read and at the final one, and their logs. Writes
//! one transaction `record` or `recordSigned` at a time per (hub, target), oldest eon first, each simulated first; ends a message as
//! `Executed` when a final block shows its root in the registry, whoever brought it. Row, nonce, intent and signed bytes are stored in one
//! database transaction, and there is one live transaction per message; recording is idempotent on chain too. So a kill anywhere neither
//! loses nor doubles it. No ledger and no settlement is touched.
//!
//! Two roots for one eon, or a recorded root the hub's chain does not have, are drift of class root and an alert ([`super::verdict`]).

use super::model::Eon;
use super::registry::{Recorded, Refusal, Registration, Registry, record_call, record_signed_call};
use super::relay::{HubLane, Targets};
use super::relay_error::{GIVEN_UP, REFUSED, RelayError};
use crate::chain::sender::Sender;
use crate::chain::{Chain, ChainError};
use crate::error::Coded;
use crate::metrics as names;
use crate::settlement::states::{DispatchTarget, MessageState};
use crate::stage::{Outcome, Stage};
use crate::store::{
    Cursor, Intent, IntentKind, Message, NewEvent, SignatureState, SignedCheckpoint, Store, StoreError,
};
use alloy::primitives::{B256, U256};
use async_trait::async_trait;
use metrics::counter;
use relayer_adapter_api::{Call, ChainId, ViewError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open messages and signatures of a lane looked at in one step.
const ROWS_MAX: u64 = 32;
/// How long a signature the registry does not take yet waits.
const SIGNATURE_RETRY_MS: i64 = 5_000;

/// See the module's page.
pub struct Recorder {
    pub(super) store: Store,
    pub(super) targets: Targets,
    senders: BTreeMap<ChainId, Arc<Sender>>,
    pub(super) lanes: Vec<HubLane>,
    memory: Mutex<Memory>,
}

/// Newest block read, final block, and versions and states of what was open.
type Looked = (B256, B256, Vec<(i64, MessageState)>);

/// Saves calls and repeated words; losing it costs nothing else.
#[derive(Default)]
struct Memory {
    /// What was open at which block of the target when a lane was looked at last: nothing changes without one of them.
    looked: BTreeMap<usize, Looked>,
    /// Why a message waits, as it was told last.
    told: BTreeMap<String, String>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Stage for Recorder {
    fn name(&self) -> String {
        "checkpoint-recorder".into()
    }

    async fn step(&self, now_ms: i64, _limit: usize) -> Result<Outcome, Box<dyn Coded>> {
        let mut processed = 0_usize;
        for (index, lane) in self.lanes.iter().enumerate() {
            let done = self.look(index, lane, now_ms).await;
            processed = processed.saturating_add(self.settle(lane, done)?);
        }
        Ok(Outcome { processed, more: false })
    }
}

/// A lane at the two blocks that matter.
struct Board<'a> {
    of: &'a HubLane,
    id: B256,
    registration: Registration,
    seen: Registry<'a>,
    last: Registry<'a>,
    final_number: u64,
    now_ms: i64,
}

/// What became of an attempt to record.
enum Attempt {
    Sent,
    /// Another one of the lane is on its way, or this one is.
    Busy,
    Refused(Refusal),
}

impl Recorder {
    pub fn new(
        store: Store,
        chains: BTreeMap<ChainId, Arc<dyn Chain>>,
        senders: BTreeMap<ChainId, Arc<Sender>>,
        lanes: Vec<HubLane>,
    ) -> Self {
        Self {
            store,
            targets: Targets::new(chains),
            senders,
            lanes,
            memory: Mutex::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is said for the first time about a subject.
    fn is_news(&self, subject: String, text: &str) -> bool {
        let before = self.memory().told.insert(subject, text.to_owned());
        before.as_deref() != Some(text)
    }

    /// What became of one lane. Only a broken database stops the others.
    fn settle(&self, lane: &HubLane, done: Result<usize, RelayError>) -> Result<usize, RelayError> {
        match done {
            Ok(moved) => Ok(moved),
            Err(RelayError::Store(StoreError::Conflict { what })) => {
                tracing::debug!(hub = lane.name, what, "recording a checkpoint lost a race");
                Ok(0)
            }
            Err(RelayError::Store(error)) => Err(error.into()),
            Err(error) => {
                let text = error.to_string();
                if self.is_news(format!("{} {}", lane.name, lane.lane.target), &text) {
                    tracing::warn!(hub = lane.name, target = %lane.lane.target, code = error.code().code, error = text, "checkpoints wait to be recorded");
                }
                Ok(0)
            }
        }
    }

    async fn look(&self, index: usize, of: &HubLane, now_ms: i64) -> Result<usize, RelayError> {
        let target = of.lane.target;
        let Some(cursor) = self.store.get_cursor(target).await? else {
            return Ok(0);
        };
        let open = self.store.list_open_checkpoint_messages(of.lane, ROWS_MAX).await?;
        let signatures = self.store.list_due_signatures(of.lane, now_ms, ROWS_MAX).await?;
        let standing: Vec<_> = open.iter().map(|message| (message.version, message.state)).collect();
        let looked = (cursor.seen.hash, cursor.finalized.hash, standing);
        if signatures.is_empty() && self.memory().looked.get(&index) == Some(&looked) {
            return Ok(0);
        }
        self.compare(of, &cursor, now_ms).await?;
        let mut moved = 0_usize;
        if !open.is_empty() || !signatures.is_empty() {
            moved = self.work(of, &cursor, &open, &signatures, now_ms).await?;
        }
        // Only now: what failed is looked at again with the next step.
        self.memory().looked.insert(index, looked);
        Ok(moved)
    }

    async fn work(
        &self,
        of: &HubLane,
        cursor: &Cursor,
        open: &[Message],
        signatures: &[SignedCheckpoint],
        now_ms: i64,
    ) -> Result<usize, RelayError> {
        let chain = self.targets.chain(of.lane.target)?;
        let (seen, last) = (chain.view(cursor.seen), chain.view(cursor.finalized));
        let board = Board {
            of,
            id: of.hub_id(),
            registration: self.targets.registration(of, cursor).await?,
            seen: Registry {
                view: seen.as_ref(),
                address: of.registry,
            },
            last: Registry {
                view: last.as_ref(),
                address: of.registry,
            },
            final_number: cursor.finalized.number,
            now_ms,
        };
        let mut moved = 0_usize;
        for signature in signatures {
            moved = moved.saturating_add(usize::from(self.bring_signature(&board, signature).await?));
        }
        for message in open {
            moved = moved.saturating_add(usize::from(self.bring_message(&board, message).await?));
        }
        Ok(moved)
    }

    /// True when something was written.
    async fn bring_message(&self, board: &Board<'_>, message: &Message) -> Result<bool, RelayError> {
        let (eon, root) = (message.header.sequence, message.header.root);
        if message.state == MessageState::Sealed && !self.may_be_complete(board, message).await? {
            return Ok(false);
        }
        match board.last.recorded(board.id, eon).await? {
            Recorded::Root(found) if found == root => {
                self.end(board, message).await?;
                return Ok(true);
            }
            // The registry has both: there is nothing left to bring.
            conflicting @ Recorded::Conflicting(..) if conflicting.has(root) => return Ok(false),
            // Brought before, and not chosen; or not brought yet, and then it must be, for the lie to show.
            Recorded::Root(_) if self.is_refused_for_good(board, message).await? => {
                self.give_up(board, message, &Refusal::Rejected.to_string()).await?;
                return Ok(true);
            }
            _ => {}
        }
        if board.seen.recorded(board.id, eon).await?.has(root) {
            // It is there; finality says for good.
            return Ok(false);
        }
        let bytes = self.store.get_sealed_message(message.id, true).await?.bytes();
        let call = record_call(board.of.lane, board.of.registry, bytes);
        match self.bring(board, eon, &message.id.to_string(), &call).await? {
            Attempt::Sent => Ok(true),
            Attempt::Busy => Ok(false),
            Attempt::Refused(refusal) => self.refused(board, message, &refusal).await,
        }
    }

    /// The operator's signature counts as a family, so a message can be complete with fewer bridges than its own quorum.
    async fn may_be_complete(&self, board: &Board<'_>, message: &Message) -> Result<bool, RelayError> {
        if board.registration.operator.is_zero() {
            return Ok(false);
        }
        let dispatches = self.store.list_dispatches(message.id).await?;
        if !dispatches
            .iter()
            .any(|dispatch| dispatch.target_state == DispatchTarget::Received)
        {
            return Ok(false);
        }
        let header = &message.header;
        let families = board.seen.families(board.id, header.sequence, header.root).await?;
        Ok(families >= U256::from(board.registration.quorum))
    }

    /// Simulates, plans and stores one transaction; nothing has left the machine when this returns.
    async fn bring(&self, board: &Board<'_>, eon: u64, what: &str, call: &Call) -> Result<Attempt, RelayError> {
        let lane = board.of.lane;
        let intent = Intent::new(IntentKind::Record, lane.record_intent(eon, what));
        if self.store.find_live_tx(&intent).await?.is_some() || self.store.count_pending_records(lane).await? > 0 {
            return Ok(Attempt::Busy);
        }
        if let Err(refusal) = board.seen.simulate(call).await? {
            return Ok(Attempt::Refused(refusal));
        }
        let sender = self
            .senders
            .get(&lane.target)
            .ok_or(RelayError::UnknownChain(lane.target))?;
        let planned = match sender.plan(call).await {
            Ok(planned) => planned,
            // The head is beyond the block it was simulated at: the next look sees why.
            Err(ChainError::View {
                source: ViewError::Reverted { data },
                ..
            }) => return Ok(Attempt::Refused(super::registry::refusal(&data))),
            Err(error) => return Err(error.into()),
        };
        let mut txn = self.store.begin(board.now_ms).await?;
        txn.hold_checkpoints(lane).await?;
        if txn.count_pending_records(lane).await? > 0 {
            return Ok(Attempt::Busy);
        }
        let tx = match sender.prepare(&mut txn, &planned, intent).await {
            Ok(tx) => tx,
            Err(ChainError::IntentBound { .. }) => return Ok(Attempt::Busy),
            Err(error) => return Err(error.into()),
        };
        txn.commit().await?;
        tracing::info!(hub = board.of.name, target = %lane.target, eon, what, %tx, "recording prepared");
        Ok(Attempt::Sent)
    }

    async fn end(&self, board: &Board<'_>, message: &Message) -> Result<(), RelayError> {
        let mut txn = self.store.begin(board.now_ms).await?;
        let cause = format!("registry of {} at block {}", board.of.lane.target, board.final_number);
        txn.checkpoint_recorded(message.id, &cause).await?;
        txn.commit().await?;
        let target = board.of.lane.target;
        counter!(names::HUB_RELAYED_TOTAL, "hub" => board.of.name.clone(), "target" => target.to_string(), "step" => "recorded")
            .increment(1);
        tracing::info!(hub = board.of.name, %target, eon = message.header.sequence, message = %message.id, "checkpoint recorded");
        Ok(())
    }

    /// The registry does not take it now. What it can never take is given up, once a final block says so.
    async fn refused(&self, board: &Board<'_>, message: &Message, refusal: &Refusal) -> Result<bool, RelayError> {
        let why = refusal.to_string();
        let hopeless = matches!(refusal, Refusal::Rejected | Refusal::TooOld { .. });
        if hopeless && self.is_refused_for_good(board, message).await? {
            self.give_up(board, message, &why).await?;
            return Ok(true);
        }
        if !self.is_news(message.id.to_string(), &why) {
            return Ok(false);
        }
        tracing::warn!(code = REFUSED.code, hub = board.of.name, target = %board.of.lane.target, eon = message.header.sequence, message = %message.id, why, "{}", REFUSED.title);
        let mut txn = self.store.begin(board.now_ms).await?;
        txn.record(NewEvent {
            aggregate: "message",
            aggregate_id: message.id.to_string(),
            event: "wait".into(),
            cause: "checkpoint-recorder".into(),
            detail: Some(serde_json::json!({ "why": why, "code": REFUSED.code }).to_string()),
            ..NewEvent::default()
        });
        txn.commit().await?;
        Ok(false)
    }

    async fn give_up(&self, board: &Board<'_>, message: &Message, why: &str) -> Result<(), RelayError> {
        let mut txn = self.store.begin(board.now_ms).await?;
        txn.abandon_message(message.id, why, board.now_ms, None, "checkpoint-recorder")
            .await?;
        txn.commit().await?;
        tracing::error!(code = GIVEN_UP.code, hub = board.of.name, message = %message.id, why, "{}", GIVEN_UP.title);
        Ok(())
    }

    async fn is_refused_for_good(&self, board: &Board<'_>, message: &Message) -> Result<bool, RelayError> {
        let bytes = self.store.get_sealed_message(message.id, true).await?.bytes();
        let call = record_call(board.of.lane, board.of.registry, bytes);
        let answer = board.last.simulate(&call).await?;
        Ok(matches!(answer, Err(Refusal::Rejected | Refusal::TooOld { .. })))
    }

    async fn bring_signature(&self, board: &Board<'_>, row: &SignedCheckpoint) -> Result<bool, RelayError> {
        let signed = &row.signed;
        let wait = board.now_ms.saturating_add(SIGNATURE_RETRY_MS);
        if board.last.recorded(board.id, signed.eon).await?.has(signed.root) {
            self.note(board, row, SignatureState::Recorded, None, wait).await?;
            return Ok(true);
        }
        let call = record_signed_call(
            board.of.lane,
            board.of.registry,
            signed.eon,
            signed.root,
            &signed.signature,
        );
        let what = format!("signature {}", row.id);
        let (state, note) = match self.bring(board, signed.eon, &what, &call).await? {
            Attempt::Sent => (SignatureState::Open, Some("on its way".to_owned())),
            Attempt::Busy => (SignatureState::Open, row.note.clone()),
            Attempt::Refused(refusal) => {
                let hopeless = match refusal {
                    Refusal::Rejected | Refusal::TooOld { .. } | Refusal::Signature => {
                        let at_final = board.last.simulate(&call).await?;
                        at_final.is_err_and(|at_final| at_final == refusal)
                    }
                    _ => false,
                };
                let why = refusal.to_string();
                if self.is_news(format!("signature {}", row.id), &why) {
                    tracing::warn!(code = REFUSED.code, hub = board.of.name, target = %board.of.lane.target, eon = signed.eon, why, "{}", REFUSED.title);
                }
                let state = if hopeless {
                    SignatureState::Refused
                } else {
                    SignatureState::Open
                };
                (state, Some(why))
            }
        };
        self.note(board, row, state, note, wait).await?;
        Ok(state != SignatureState::Open)
    }

    async fn note(
        &self,
        board: &Board<'_>,
        row: &SignedCheckpoint,
        state: SignatureState,
        note: Option<String>,
        next_at: i64,
    ) -> Result<(), RelayError> {
        let mut txn = self.store.begin(board.now_ms).await?;
        txn.note_signature(row, state, note, next_at).await?;
        txn.commit().await?;
        if state != SignatureState::Open {
            tracing::info!(hub = board.of.name, target = %board.of.lane.target, eon = %Eon(row.signed.eon), state = state.as_str(), "signed checkpoint");
        }
        Ok(())
    }
}
