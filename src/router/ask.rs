//! Asking: which lanes there are, what each would take for a message, and what that is worth.

use super::cap::{Cap, CapRule, fee_cap};
use super::choose::{Answer, Offer, Score, choose};
use super::cover::Carriage;
use super::error::RouterError;
use super::service::{Router, shut_and_unused};
use super::standing::{BridgeLimits, Standing, Standings};
use crate::settlement::price::{Coin, Worth, worth};
use crate::store::Message;
use alloy::primitives::{Address, B256};
use futures::future::join_all;
use relayer_adapter_api::{
    AdapterError, Body, BridgeAdapter, BridgeId, ChainId, ChainView, Header, Kind, Lane, Quote, SealedMessage,
    SettlementId,
};
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

/// A lane as its quotes are kept: bridge, kind of message, both chains, outbox and inbox. Messages of one kind are all of one size.
pub(super) type QuoteKey = (BridgeId, u8, ChainId, ChainId, Address, Address);

/// A message that does not exist yet, to be priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hypothetical {
    pub source: ChainId,
    pub target: ChainId,
    pub outbox: Address,
    pub inbox: Address,
    /// Settlements in it.
    pub count: u32,
}

/// What the answers about one message rest on, beside the lanes themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) worth: Option<Worth>,
    /// No cap relative to a message that does not exist.
    pub(super) rule: CapRule,
    pub(super) now_ms: i64,
}

impl Router {
    /// What every lane would ask for a message of this shape, in the order the policy would take them.
    pub async fn quote(&self, wanted: &Hypothetical, now_ms: i64) -> Result<Vec<Offer>, RouterError> {
        let message = SealedMessage {
            header: Header {
                kind: Kind::SettlementBatch,
                source: wanted.source,
                target: wanted.target,
                outbox: wanted.outbox,
                inbox: wanted.inbox,
                sequence: 0,
                root: B256::ZERO,
                count: wanted.count,
                fee_recipient: Address::ZERO,
            },
            body: Body::Batch {
                ids: vec![SettlementId(B256::ZERO); wanted.count as usize],
            },
            committed: false,
        };
        let standings = self.standings([(wanted.source, wanted.target)].into(), now_ms).await?;
        let lanes = self.lanes(wanted.source, wanted.target);
        let view = self.view(wanted.source).await?;
        let asked = Asked {
            worth: None,
            rule: CapRule::default(),
            // A question of its own, never answered from memory.
            now_ms: i64::MIN,
        };
        let mut offers = join_all(lanes.iter().map(|(adapter, lane)| async {
            let answer = self.ask(adapter.as_ref(), lane, view.as_ref(), &message, asked).await;
            self.offer(lane, &standings, answer)
        }))
        .await;
        if let Some(choice) = choose(self.params.policy, &self.params.order, &offers) {
            offers[..=choice.index].rotate_right(1);
        }
        Ok(offers)
    }

    pub(super) fn lanes(&self, from: ChainId, to: ChainId) -> Vec<(Arc<dyn BridgeAdapter>, Lane)> {
        let lane = |adapter: &Arc<dyn BridgeAdapter>| Some((adapter.clone(), adapter.lane(from, to)?));
        self.adapters.iter().filter_map(lane).collect()
    }

    /// The source chain at the newest block the observer has read: quoting adds no call of its own for the head.
    pub(super) async fn view(&self, chain: ChainId) -> Result<Arc<dyn ChainView>, RouterError> {
        let handle = self.chains.get(&chain).ok_or(RouterError::UnknownChain(chain))?;
        let cursor = self.store.get_cursor(chain).await?.ok_or(RouterError::NotRead(chain))?;
        Ok(handle.view(cursor.seen))
    }

    /// What the answers about a message rest on. A checkpoint pays nobody: only absolute caps apply to it, and its value at stake is zero.
    pub(super) async fn asked(&self, message: &Message, now_ms: i64) -> Result<Asked, RouterError> {
        Ok(match message.header.kind {
            Kind::SettlementBatch => Asked {
                worth: self.worth(message).await?,
                rule: self.params.cap_rule,
                now_ms,
            },
            Kind::Checkpoint => Asked {
                worth: Some(Worth::default()),
                rule: CapRule::default(),
                now_ms,
            },
        })
    }

    /// What the settlements of a message move, in the unit; read only where a cap needs it.
    async fn worth(&self, message: &Message) -> Result<Option<Worth>, RouterError> {
        let needed = self.params.cap_rule.is_relative() || self.params.limits.values().any(BridgeLimits::caps_value);
        if !needed {
            return Ok(None);
        }
        let sums = self.store.message_sums(message.id).await?;
        Ok(worth(self.params.prices.as_ref(), message.header.target, &sums))
    }

    /// Every lane with its answer; only lanes in `open` are asked.
    #[expect(clippy::too_many_arguments, reason = "everything a decision rests on, named once")]
    pub(super) async fn offers(
        &self,
        message: &Message,
        lanes: &[(Arc<dyn BridgeAdapter>, Lane)],
        open: &[BridgeId],
        carriages: &[Carriage],
        standings: &Standings,
        committed: bool,
        asked: Asked,
    ) -> Result<Vec<Offer>, RouterError> {
        let sealed = self.store.get_sealed_message(message.id, committed).await?;
        let view = self.view(message.header.source).await?;
        let offers = lanes.iter().map(|(adapter, lane)| async {
            let answer = if open.contains(&lane.bridge) {
                self.ask(adapter.as_ref(), lane, view.as_ref(), &sealed, asked).await
            } else if let Some(reason) = shut_and_unused(lane, carriages, standings) {
                Answer::Shut { reason }
            } else if carriages.iter().any(|carriage| carriage.bridge == lane.bridge) {
                Answer::Used
            } else {
                Answer::FamilyCovered
            };
            self.offer(lane, standings, answer)
        });
        Ok(join_all(offers).await)
    }

    pub(super) fn offer(&self, lane: &Lane, standings: &Standings, answer: Answer) -> Offer {
        let standing = standings.of(lane);
        let native = self.params.prices.price(Coin::Native(lane.source));
        let fee = match &answer {
            Answer::Quoted { fee, .. } | Answer::OverCap { fee, .. } => Some(*fee),
            _ => None,
        };
        let score = standing.map(Standing::score).unwrap_or_default();
        Offer {
            bridge: lane.bridge.clone(),
            family: lane.family,
            lane_stalled: standing.is_some_and(|standing| standing.stalled),
            // An operator's word or the breaker's stands, whatever the bridge would ask.
            answer: match standing.and_then(Standing::shut) {
                Some(reason) if !matches!(answer, Answer::Used | Answer::FamilyCovered) => Answer::Shut { reason },
                _ => answer,
            },
            score: Score {
                fee_value: native.zip(fee).and_then(|(price, fee)| price.value_up(fee)),
                ..score
            },
        }
    }

    async fn ask(
        &self,
        adapter: &dyn BridgeAdapter,
        lane: &Lane,
        view: &dyn ChainView,
        message: &SealedMessage,
        asked: Asked,
    ) -> Answer {
        let refused = |reason: String| Answer::Refused { reason };
        let asking = self.quote_of(adapter, view, message, asked.now_ms);
        let quote = match tokio::time::timeout(self.params.quote_timeout, asking).await {
            Ok(Ok(quote)) => quote,
            Ok(Err(error)) => return refused(error.to_string()),
            Err(_) => return refused(format!("no quote within {:?}", self.params.quote_timeout)),
        };
        let native = self.params.prices.price(Coin::Native(lane.source));
        let absolute = self.limits(&lane.bridge).fee_cap(lane.source);
        let Some(Cap { wei: cap, by }) = fee_cap(absolute, asked.rule, asked.worth, native) else {
            return refused("its fee cap is relative, and a price is missing".to_owned());
        };
        let fee = quote.native_fee;
        if fee > cap {
            return Answer::OverCap { fee, cap, by };
        }
        match u64::try_from(quote.gas_limit) {
            Ok(gas_limit) => Answer::Quoted {
                fee,
                cap,
                gas_limit,
                expected_s: quote.expected.as_secs(),
            },
            Err(_) => refused(format!("gas limit {} is absurd", quote.gas_limit)),
        }
    }

    /// The lane's last quote while it stands, else a new one.
    async fn quote_of(
        &self,
        adapter: &dyn BridgeAdapter,
        view: &dyn ChainView,
        message: &SealedMessage,
        now_ms: i64,
    ) -> Result<Quote, AdapterError> {
        let header = &message.header;
        let key = (
            adapter.id(),
            header.kind as u8,
            header.source,
            header.target,
            header.outbox,
            header.inbox,
        );
        let kept = self.quotes().get(&key).cloned();
        if let Some((quote, at)) = kept
            && (0..self.params.quote_ms).contains(&now_ms.saturating_sub(at))
        {
            return Ok(quote);
        }
        let quote = adapter.quote(view, message).await?;
        self.quotes().insert(key, (quote.clone(), now_ms));
        Ok(quote)
    }

    fn quotes(&self) -> MutexGuard<'_, BTreeMap<QuoteKey, (Quote, i64)>> {
        self.quotes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
