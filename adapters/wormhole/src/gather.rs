//! From a sent message to a VAA that the target chain takes now: asked of all guardians at once, judged by the target's own guardian set.

use crate::abi::ICore;
use crate::adapter::{WormholeAdapter, read};
use crate::config::WormholeChain;
use crate::endorsement::{Endorsed, GuardianSet, group, quorum};
use crate::evidence::Evidence;
use crate::source::Answer;
use crate::vaa::Vaa;
use alloy::primitives::B256;
use futures::future::join_all;
use relayer_adapter_api::{AdapterError, ChainView};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// VAAs kept in memory; when it is full the next one displaces any other, which costs a question to the guardians.
const SHELF_MAX: usize = 512;
/// Sets other than the current one that are looked up for one message; guardians change a few times a year.
const OLD_SETS_MAX: usize = 3;

/// What the guardians' word amounts to on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// Enough of them vouch for our message.
    Ready(Vaa),
    /// Enough of them vouch for another message under the same name: a reorg took ours back after it was read.
    Other,
    /// Not enough is known yet; what there is, in words.
    Missing(String),
}

/// Messages found endorsed before, by reference. It spares the second question and survives endpoints that go down while a message is held;
/// nothing on it is trusted more than a fresh answer.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<BTreeMap<B256, Endorsed>>);

impl Shelf {
    fn find(&self, id: B256) -> Option<Endorsed> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&id).cloned()
    }

    fn keep(&self, id: B256, endorsed: Endorsed) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= SHELF_MAX && !kept.contains_key(&id) {
            kept.pop_first();
        }
        kept.insert(id, endorsed);
    }

    pub fn forget(&self, id: B256) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// The guardian sets of one chain, as of the view's block.
struct Sets<'a> {
    view: &'a dyn ChainView,
    chain: &'a WormholeChain,
    current: GuardianSet,
}

impl<'a> Sets<'a> {
    async fn read(view: &'a dyn ChainView, chain: &'a WormholeChain) -> Result<Self, AdapterError> {
        let attempted = "reading the current guardian set";
        let index = read(view, chain.core, ICore::getCurrentGuardianSetIndexCall {}, attempted).await?;
        let current = Self::set(view, chain, index).await?;
        Ok(Self { view, chain, current })
    }

    async fn set(view: &dyn ChainView, chain: &WormholeChain, index: u32) -> Result<GuardianSet, AdapterError> {
        let attempted = "reading a guardian set";
        let set = read(view, chain.core, ICore::getGuardianSetCall { index }, attempted).await?;
        Ok(GuardianSet {
            index,
            keys: set.keys,
            expires: set.expirationTime,
        })
    }

    /// The VAA for the newest set that enough signers belong to: the current one, or one that has not expired yet.
    async fn assemble(&self, endorsed: &Endorsed) -> Result<Option<Vaa>, AdapterError> {
        if let Some(vaa) = endorsed.assemble(&self.current) {
            return Ok(Some(vaa));
        }
        let older = endorsed
            .named_sets
            .iter()
            .rev()
            .filter(|index| **index < self.current.index);
        for index in older.take(OLD_SETS_MAX) {
            let set = Self::set(self.view, self.chain, *index).await?;
            // An unexpired older set always has an expiry; 0 would be a set the core does not know.
            if set.expires != 0
                && set.is_valid_at(self.view.block().timestamp)
                && let Some(vaa) = endorsed.assemble(&set)
            {
                return Ok(Some(vaa));
            }
        }
        Ok(None)
    }
}

impl WormholeAdapter {
    pub(crate) async fn gather(
        &self,
        target: &dyn ChainView,
        to: &WormholeChain,
        id: B256,
        evidence: &Evidence,
    ) -> Result<Gathered, AdapterError> {
        let sets = Sets::read(target, to).await?;
        let kept = self.shelf.find(id);
        if let Some(kept) = &kept
            && let Some(vaa) = kept.assemble(&sets.current)
        {
            return Ok(Gathered::Ready(vaa));
        }
        let name = evidence.name();
        let asked = self.sources.iter().map(|source| async move {
            let answer = source.signed_vaa(name).await;
            (source.name(), answer)
        });
        let (mut vaas, mut absent, mut useless) = (Vec::new(), 0_usize, Vec::new());
        for (host, answer) in join_all(asked).await {
            match answer {
                Answer::Vaa(vaa) => vaas.push(*vaa),
                Answer::Absent => absent += 1,
                Answer::Useless(reason) => {
                    tracing::debug!(host, reason, "a guardian endpoint was of no use");
                    useless.push(host.to_owned());
                }
            }
        }
        let groups = group(vaas);
        let (ours, others): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|one| one.body.same_message(&evidence.expected));
        let mut best: Option<Endorsed> = None;
        for mut endorsed in ours.into_iter().chain(kept.clone()) {
            if let Some(kept) = &kept {
                endorsed.merge(kept);
            }
            if let Some(vaa) = sets.assemble(&endorsed).await? {
                self.shelf.keep(id, endorsed);
                return Ok(Gathered::Ready(vaa));
            }
            if best
                .as_ref()
                .is_none_or(|best| best.signed_by(&sets.current) < endorsed.signed_by(&sets.current))
            {
                best = Some(endorsed);
            }
        }
        for other in &others {
            let named = (other.body.emitter_chain, other.body.emitter, other.body.sequence);
            let is_named = named == (name.emitter_chain, name.emitter, name.sequence);
            if is_named && sets.assemble(other).await?.is_some() {
                return Ok(Gathered::Other);
            }
        }
        let total = self.sources.len();
        Ok(Gathered::Missing(note(
            &sets.current,
            best.as_ref(),
            others.len(),
            absent,
            &useless,
            total,
        )))
    }
}

/// What is missing, in words that stay the same while nothing changes.
fn note(
    current: &GuardianSet,
    best: Option<&Endorsed>,
    others: usize,
    absent: usize,
    useless: &[String],
    total: usize,
) -> String {
    let mut parts = Vec::new();
    match best {
        Some(best) => parts.push(format!(
            "signed by {} of {} guardians needed of set {}",
            best.signed_by(current),
            quorum(current.keys.len()),
            current.index
        )),
        None => parts.push(format!("no VAA yet, {absent} of {total} endpoints say so")),
    }
    if others > 0 {
        parts.push(format!("{others} unsigned other messages were offered"));
    }
    if !useless.is_empty() {
        parts.push(format!("no answer from {}", useless.join(", ")));
    }
    parts.join("; ")
}
