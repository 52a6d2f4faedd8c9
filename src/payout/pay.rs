//! One received message: where its leaves stand, what of them pays, and the executions that do it.

use super::error::PayoutError;
use super::gas::ESTIMATE;
use super::judge::{Simulated, Verdict, judge};
use super::plan::{Facts, Leaf, stretches};
use super::service::Payout;
use super::skip::skip_name;
use crate::chain::ChainError;
use crate::settlement::SettlementId;
use crate::settlement::packed::{Authorization, Member, encode, plan_chunks};
use crate::settlement::states::{ExecutionEvent, ExecutionState, SettlementState};
use crate::store::{Claim, Cursor, Execution, ExecutionPatch, Intent, IntentKind, LeafSeen, Message, MessageMember};
use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementInbox::{executeCall, executeOneCall};
use relayer_adapter_api::{Call, ChainView, SealedMessage, ViewError, tree};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Revert data kept in a reason.
const REVERT_BYTES_MAX: usize = 68;

/// Everything known about a message at one block.
struct Board<'a> {
    message: &'a Message,
    token: i64,
    sealed: SealedMessage,
    /// By leaf; None where nobody knows the terms.
    members: Vec<Option<MessageMember>>,
    leaves: Vec<Leaf>,
    view: Arc<dyn ChainView>,
    /// Leaves whose execution reverted before.
    reverted: Vec<Range<usize>>,
}

/// What a round over a message did and left.
#[derive(Default)]
struct Round {
    sent: usize,
    simulated: usize,
    /// Bounds of this step or of the chain were reached.
    cut: bool,
    /// Leaves nothing could be paid of.
    left: Vec<usize>,
    reasons: BTreeMap<usize, String>,
}

impl Payout {
    /// Sends what can be paid, stores why the rest cannot, and returns when to look again.
    pub(super) async fn pay(&self, claim: &Claim<Message>, now_ms: i64) -> Result<i64, PayoutError> {
        let message = &claim.row;
        let target = message.header.target;
        let cursor = self.cursor(target).await?;
        let executions = self.store.list_executions(message.id).await?;
        let in_flight = self.in_flight(&executions, &cursor).await?;
        let seen = self.store.list_leaves_seen(message).await?;
        if is_under_way(message, &in_flight, &seen) {
            return Ok(self.next_look(message, &Round::default(), !in_flight.is_empty(), now_ms));
        }
        let sealed = self.store.get_sealed_message(message.id, true).await?;
        let mut members: Vec<Option<MessageMember>> = sealed.ids().iter().map(|_| None).collect();
        for member in self.store.list_members(message.id).await? {
            let leaf = member.leaf;
            if let Some(place) = members.get_mut(leaf) {
                *place = Some(member);
            }
        }
        let leaf = |member: &Option<MessageMember>| match member {
            Some(member) => Leaf::of(facts(member, &in_flight, &seen), cursor.seen.timestamp),
            None => Leaf::Unknown,
        };
        let leaves: Vec<Leaf> = members.iter().map(leaf).collect();
        let board = Board {
            message,
            token: claim.token,
            sealed,
            members,
            leaves,
            reverted: executions
                .iter()
                .filter(|execution| execution.state == ExecutionState::Reverted)
                .map(|execution| execution.leaves.clone())
                .collect(),
            view: self.chain(target)?.view(cursor.seen),
        };
        let mut round = Round::default();
        let worked = self.work(&board, &mut round, now_ms).await;
        self.probe(&board, &mut round).await;
        for (leaf, seen) in &seen {
            let untold = board.member(*leaf).is_some_and(|m| m.settlement.skip_reason.is_none());
            if let (false, true, Some(name)) = (seen.paid, untold, seen.skipped.and_then(skip_name)) {
                round.reasons.entry(*leaf).or_insert_with(|| name.to_owned());
            }
        }
        self.note_reasons(&board, &round, now_ms).await?;
        worked?;
        Ok(self.next_look(message, &round, !in_flight.is_empty(), now_ms))
    }

    /// Leaf ranges that must not be planned again: on their way, or in a block whose logs have not been read.
    async fn in_flight(&self, executions: &[Execution], cursor: &Cursor) -> Result<Vec<Range<usize>>, PayoutError> {
        let mut ranges = Vec::new();
        for execution in executions {
            let unread = match (execution.state, execution.tx) {
                (ExecutionState::Included, Some(tx)) => {
                    let included = self.store.get_tx(tx).await?.included;
                    included.is_none_or(|included| included.block_number > cursor.seen.number)
                }
                _ => false,
            };
            if execution.is_live() || unread {
                ranges.push(execution.leaves.clone());
            }
        }
        Ok(ranges)
    }

    async fn work(&self, board: &Board<'_>, round: &mut Round, now_ms: i64) -> Result<(), PayoutError> {
        let live = self.store.count_live_executions(board.message.header.target).await?;
        let live = usize::try_from(live).unwrap_or(usize::MAX);
        let mut room = self.params.executions_max.saturating_sub(live);
        let mut queue: Vec<Range<usize>> = Vec::new();
        for stretch in stretches(&board.leaves, self.params.gap_max) {
            queue.extend(self.chunks(board, stretch.leaves, round));
        }
        // A stack, so that the halves of a range are judged before the next range.
        queue.reverse();
        while let Some(range) = queue.pop() {
            if room == 0 || round.simulated >= self.params.simulations_max {
                round.cut = true;
                return Ok(());
            }
            round.simulated = round.simulated.saturating_add(1);
            let packed = encode(&board.sealed, range.start, &board.packable(&range));
            let simulated = match &packed {
                Ok(packed) => self.simulate(board, packed).await?,
                Err(error) => Simulated::Reverted(error.to_string()),
            };
            match (judge(range.len(), board.payable(&range), simulated), packed) {
                (Verdict::Send, Ok(packed)) => {
                    if self.execute(board, &range, packed, now_ms).await? {
                        round.sent = round.sent.saturating_add(1);
                        room = room.saturating_sub(1);
                    } else {
                        round.left.extend(range);
                    }
                }
                (Verdict::Split, _) => {
                    let middle = range.start.saturating_add(range.len() / 2);
                    queue.push(middle..range.end);
                    queue.push(range.start..middle);
                }
                (Verdict::Poisoned(why), _) => {
                    tracing::warn!(message = %board.message.id, leaf = range.start, why, "a settlement makes its execution revert");
                    round.reasons.insert(range.start, format!("reverts: {why}"));
                }
                (Verdict::Leave | Verdict::Send, _) => round.left.extend(range.filter(|leaf| board.is_payable(*leaf))),
            }
        }
        Ok(())
    }

    /// Cuts a stretch to what fits a transaction. A leaf that does not fit alone is set aside with its reason.
    fn chunks(&self, board: &Board<'_>, stretch: Range<usize>, round: &mut Round) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut rest = stretch;
        while !rest.is_empty() {
            let members = board.packable(&rest);
            match plan_chunks(rest.start, &members, &self.params.limits, &self.params.gas) {
                Ok(chunks) => {
                    found.extend(chunks.into_iter().map(|chunk| chunk.leaves));
                    break;
                }
                Err(error) => {
                    round.reasons.insert(error.leaf, error.to_string());
                    if error.leaf > rest.start {
                        let before = board.packable(&(rest.start..error.leaf));
                        let chunks = plan_chunks(rest.start, &before, &self.params.limits, &self.params.gas);
                        found.extend(chunks.unwrap_or_default().into_iter().map(|chunk| chunk.leaves));
                    }
                    rest = error.leaf.saturating_add(1)..rest.end;
                }
            }
        }
        found
    }

    /// What `execute` would pay at the newest block read. Anyone may call it, so nobody in particular does.
    async fn simulate(&self, board: &Board<'_>, packed: &[u8]) -> Result<Simulated, PayoutError> {
        let data = execute_data(packed);
        match board
            .view
            .call(None, board.message.header.inbox, data, U256::ZERO)
            .await
        {
            Ok(answer) => match executeCall::abi_decode_returns(&answer) {
                Ok(paid) => Ok(Simulated::Paid(usize::try_from(paid).unwrap_or(usize::MAX))),
                Err(error) => Ok(Simulated::Reverted(format!("undecodable answer: {error}"))),
            },
            Err(ViewError::Reverted { data }) => Ok(Simulated::Reverted(revert_name(&data))),
            Err(source) => Err(PayoutError::Simulate {
                chain: board.message.header.target,
                source,
            }),
        }
    }

    /// Stores an execution with its signed transaction. False when the chain would revert it by now.
    async fn execute(
        &self,
        board: &Board<'_>,
        range: &Range<usize>,
        packed: Vec<u8>,
        now_ms: i64,
    ) -> Result<bool, PayoutError> {
        let message = board.message;
        let target = message.header.target;
        let tokens = board.tokens(range);
        if board
            .reverted
            .iter()
            .any(|before| before.start < range.end && range.start < before.end)
        {
            self.trusted.forget(target, &tokens);
        }
        let model_gas = self.model_gas(board, range);
        let mut gas = self.trusted.rule(target, &tokens, model_gas, now_ms);
        let mut turn = None;
        if gas == ESTIMATE {
            turn = Some(self.estimating.lock().await);
            gas = self.trusted.rule(target, &tokens, model_gas, now_ms);
        }
        let call = Call {
            chain: target,
            to: message.header.inbox,
            data: execute_data(&packed),
            value: U256::ZERO,
            gas,
        };
        let sender = self.sender(target)?;
        let planned = match sender.plan(&call).await {
            Err(ChainError::View {
                source: ViewError::Reverted { data },
                ..
            }) => {
                tracing::info!(message = %message.id, ?range, why = revert_name(&data), "execution reverts at the head");
                return Ok(false);
            }
            other => other?,
        };
        if call.gas == ESTIMATE {
            let limit = planned.gas_limit;
            self.trusted.learn(target, &tokens, model_gas, limit, now_ms);
        }
        drop(turn);
        let mut txn = self.store.begin(now_ms).await?;
        txn.expect_message_lease(message.id, board.token).await?;
        let id = txn
            .execution_insert(message.id, target, range.clone(), "payout")
            .await?;
        let intent = Intent::new(IntentKind::Execution, id.to_string());
        let tx = sender.prepare(&mut txn, &planned, intent).await?;
        let patch = ExecutionPatch {
            tx: Some(tx),
            ..ExecutionPatch::default()
        };
        txn.execution_apply(id, None, ExecutionEvent::Prepare, patch, &format!("tx {tx}"))
            .await?;
        txn.commit().await?;
        tracing::info!(message = %message.id, execution = %id, first = range.start, leaves = range.len(), %tx, "execution prepared");
        Ok(true)
    }

    /// What the model gives a range that has been cut to the limits already; 0 when it does not fit after all.
    fn model_gas(&self, board: &Board<'_>, range: &Range<usize>) -> u64 {
        let chunks = plan_chunks(
            range.start,
            &board.packable(range),
            &self.params.limits,
            &self.params.gas,
        );
        match chunks.as_deref() {
            Ok([chunk]) => chunk.gas,
            _ => 0,
        }
    }

    /// Asks why single leaves are left, a few per round. Only a hint: what cannot be asked stays without a reason.
    async fn probe(&self, board: &Board<'_>, round: &mut Round) {
        let mut probes = 0_usize;
        for leaf in round.left.clone() {
            let known = round.reasons.contains_key(&leaf);
            let stored = board.member(leaf).is_some_and(|m| m.settlement.skip_reason.is_some());
            // A reason that is stored is asked for again only while it is the single one: it may have changed.
            if known || (stored && round.left.len() > 1) || probes >= self.params.probes_max {
                continue;
            }
            probes = probes.saturating_add(1);
            if let Some(reason) = self.skip_reason(board, leaf).await {
                round.reasons.insert(leaf, reason);
            }
        }
    }

    /// What `executeOne` would answer. A member of a group has no signature of its own, so it cannot be asked that way.
    async fn skip_reason(&self, board: &Board<'_>, leaf: usize) -> Option<String> {
        let member = board.member(leaf)?;
        let Authorization::Single(auth) = &member.authorization else {
            return None;
        };
        let words: Vec<_> = board.sealed.ids().iter().map(|id| id.0).collect();
        let data = executeOneCall {
            message: board.sealed.header.encode().to_vec().into(),
            settlement: member.settlement.terms.to_abi(),
            auth: auth.clone(),
            leaf: U256::from(leaf),
            proof: tree::range_proof(&words, leaf, leaf.saturating_add(1)).ok()?,
        }
        .abi_encode();
        let inbox = board.message.header.inbox;
        match board.view.call(None, inbox, data.into(), U256::ZERO).await {
            Ok(answer) => {
                let skip = executeOneCall::abi_decode_returns(&answer).ok()?;
                skip_name(skip as u8).map(str::to_owned)
            }
            Err(ViewError::Reverted { data }) => Some(format!("reverts: {}", revert_name(&data))),
            Err(_) => None,
        }
    }

    /// Stores reasons that changed.
    async fn note_reasons(&self, board: &Board<'_>, round: &Round, now_ms: i64) -> Result<(), PayoutError> {
        let mut by_reason: BTreeMap<&str, Vec<SettlementId>> = BTreeMap::new();
        for (leaf, reason) in &round.reasons {
            let Some(member) = board.member(*leaf) else {
                continue;
            };
            let standing = board.leaves.get(*leaf);
            let news = member.settlement.skip_reason.as_deref() != Some(reason.as_str());
            if news && standing != Some(&Leaf::Done) {
                by_reason.entry(reason).or_default().push(member.settlement.id);
            }
        }
        if by_reason.is_empty() {
            return Ok(());
        }
        let mut txn = self.store.begin(now_ms).await?;
        for (reason, ids) in by_reason {
            txn.set_skip_reason(&ids, Some(reason)).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    fn next_look(&self, message: &Message, round: &Round, in_flight: bool, now_ms: i64) -> i64 {
        let waiting = !round.left.is_empty() || !round.reasons.is_empty() || in_flight || round.sent > 0;
        let recheck = now_ms.saturating_add(self.params.recheck_ms);
        match (round.cut, waiting) {
            (true, _) => now_ms.saturating_add(self.params.retry_min_ms),
            (false, true) => recheck.min(self.retry_at(message, now_ms)),
            (false, false) => recheck,
        }
    }
}

impl Board<'_> {
    fn member(&self, leaf: usize) -> Option<&MessageMember> {
        self.members.get(leaf)?.as_ref()
    }

    /// Of leaves whose terms are known: no range to execute has another.
    fn packable(&self, range: &Range<usize>) -> Vec<Member> {
        let members = self.members.get(range.clone()).unwrap_or_default();
        members.iter().flatten().map(MessageMember::member).collect()
    }

    fn tokens(&self, range: &Range<usize>) -> Vec<Address> {
        let members = self.members.get(range.clone()).unwrap_or_default();
        let known = members.iter().flatten();
        let tokens: BTreeSet<Address> = known.map(|member| member.settlement.terms.token).collect();
        tokens.into_iter().collect()
    }

    fn is_payable(&self, leaf: usize) -> bool {
        matches!(self.leaves.get(leaf), Some(Leaf::Fresh | Leaf::Skipped))
    }

    fn payable(&self, range: &Range<usize>) -> usize {
        range.clone().filter(|leaf| self.is_payable(*leaf)).count()
    }
}

/// Whether every leaf is paid or on its way: then there is nothing to do, and no need to read what the leaves are.
fn is_under_way(message: &Message, in_flight: &[Range<usize>], seen: &BTreeMap<usize, LeafSeen>) -> bool {
    let covered = |leaf: usize| {
        seen.get(&leaf).is_some_and(|seen| seen.paid) || in_flight.iter().any(|range| range.contains(&leaf))
    };
    (0..message.header.count as usize).all(covered)
}

fn facts(member: &MessageMember, in_flight: &[Range<usize>], seen: &BTreeMap<usize, LeafSeen>) -> Facts {
    let seen = seen.get(&member.leaf).copied().unwrap_or_default();
    let state = member.settlement.state;
    Facts {
        resolved: member.resolved || state.is_terminal() || state == SettlementState::Disputed,
        paid_seen: seen.paid,
        in_flight: in_flight.iter().any(|range| range.contains(&member.leaf)),
        deadline: member.settlement.terms.deadline,
        skipped: seen.skipped.is_some() || member.settlement.skip_reason.is_some(),
    }
}

fn execute_data(packed: &[u8]) -> Bytes {
    executeCall {
        packed: packed.to_vec().into(),
    }
    .abi_encode()
    .into()
}

/// The error's name when it is the inbox's, else the data in hex.
fn revert_name(data: &[u8]) -> String {
    use alloy::sol_types::SolInterface;
    use relayer_adapter_api::abi::ISettlementInbox::ISettlementInboxErrors;
    match ISettlementInboxErrors::abi_decode(data) {
        Ok(error) => {
            let text = format!("{error:?}");
            text.split(['(', ' ']).next().unwrap_or_default().to_owned()
        }
        Err(_) => format!("0x{}", alloy::hex::encode(&data[..data.len().min(REVERT_BYTES_MAX)])),
    }
}
