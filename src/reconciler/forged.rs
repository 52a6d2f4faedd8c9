//! Votes that no outbox explains: what a compromised bridge leaves behind. The inbox records whatever an active port brings; that a message was
//! really sent is known on the source chain alone, so the two are compared here.
//!
//! A message may be seen on its target before the source chain has been read that far. A vote is judged only when every source chain is
//! final beyond its time; and before it is called forged, the outbox itself is asked, since logs may be pruned.

use super::error::{FORGED, ReconcilerError};
use super::service::Reconciler;
use crate::chain::Chain;
use crate::settlement::{ChainId, MessageId};
use crate::store::{ChainLog, Cursor, Departure, Drift, DriftClass};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementOutbox;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Seconds the clocks of two chains may differ by.
const CLOCK_SKEW_S: u64 = 10;

/// A chain messages come from.
#[derive(Clone)]
pub struct Origin {
    pub chain: Arc<dyn Chain>,
    pub outbox: Address,
    /// Ports of the inbox to the ports over there that belong to them.
    pub ports: BTreeMap<Address, Address>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("chain", &self.chain.id())
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}

/// A port of the inbox said that this message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Vote {
    message: MessageId,
    port: Address,
}

impl Vote {
    fn of(log: &ChainLog) -> Self {
        Self {
            message: MessageId(log.key),
            port: Address::from_word(log.key2),
        }
    }

    fn subject(&self) -> String {
        format!("vote {} {}", self.message, self.port)
    }

    fn parse(subject: &str) -> Option<Self> {
        let (message, port) = subject.strip_prefix("vote ")?.split_once(' ')?;
        Some(Self {
            message: MessageId(message.parse::<B256>().ok()?),
            port: port.parse().ok()?,
        })
    }
}

impl Reconciler {
    /// Returns how many votes were judged.
    pub(super) async fn judge_votes(&self, now_ms: i64, limit: usize) -> Result<usize, ReconcilerError> {
        let chain = self.params.chain_id;
        let Some(target) = self.params.target.filter(|_| !self.origins.is_empty()) else {
            return Ok(0);
        };
        let Some(cursors) = self.origin_cursors().await? else {
            return Ok(0);
        };
        self.close_explained(&cursors, now_ms).await?;
        let read = cursors.iter().map(|cursor| cursor.finalized.timestamp).min();
        let until = read.unwrap_or_default().saturating_sub(CLOCK_SKEW_S);
        let votes = self
            .store
            .list_unjudged_votes(chain, target.inbox, until, limit.max(1) as u64)
            .await?;
        let Some(last) = votes.last() else {
            return Ok(0);
        };
        let departures = self.departures(votes.iter().map(Vote::of)).await?;
        let mut found = Vec::new();
        for log in &votes {
            let vote = Vote::of(log);
            if !self.is_explained(vote, &departures, &cursors).await? {
                found.push((log, self.forged(vote, log)));
            }
        }
        let mut txn = self.store.begin(now_ms).await?;
        let mut fresh = Vec::new();
        for (log, drift) in &found {
            if txn.report_drift(drift).await? {
                fresh.push((log, drift));
            }
        }
        txn.advance_judged(chain, target.inbox, last.block_number).await?;
        txn.commit().await?;
        for (log, drift) in fresh {
            let vote = Vote::of(log);
            tracing::error!(code = FORGED.code, %chain, vote = %vote.message, port = %vote.port, tx = %log.tx_hash, expected = %drift.expected, "{}", FORGED.title);
        }
        Ok(votes.len())
    }

    fn forged(&self, vote: Vote, log: &ChainLog) -> Drift {
        let known = self
            .origins
            .iter()
            .filter(|origin| origin.ports.contains_key(&vote.port));
        let chains: Vec<String> = known.map(|origin| origin.chain.id().to_string()).collect();
        let from = if chains.is_empty() {
            "any chain".to_owned()
        } else {
            format!("chain {}", chains.join(", "))
        };
        Drift {
            class: DriftClass::Forged,
            chain: self.params.chain_id,
            subject: vote.subject(),
            expected: format!("sent by the outbox on {from}"),
            actual: format!("only in transaction {} of block {}", log.tx_hash, log.block_number),
        }
    }

    /// How far the sources have been read; None while one has not been at all.
    async fn origin_cursors(&self) -> Result<Option<Vec<Cursor>>, ReconcilerError> {
        let mut cursors = Vec::with_capacity(self.origins.len());
        for origin in &self.origins {
            match self.store.get_cursor(origin.chain.id()).await? {
                Some(cursor) => cursors.push(cursor),
                None => return Ok(None),
            }
        }
        Ok(Some(cursors))
    }

    async fn departures(&self, votes: impl Iterator<Item = Vote>) -> Result<BTreeSet<Departure>, ReconcilerError> {
        let messages = votes.map(|vote| vote.message).collect();
        let chains: Vec<ChainId> = self.origins.iter().map(|origin| origin.chain.id()).collect();
        Ok(self.store.list_departures(&messages, &chains).await?)
    }

    /// Whether an outbox sent the message over the port's counterpart; of a port nobody has configured, whether it was sent at all.
    async fn is_explained(
        &self,
        vote: Vote,
        departures: &BTreeSet<Departure>,
        cursors: &[Cursor],
    ) -> Result<bool, ReconcilerError> {
        let is_known = self.origins.iter().any(|origin| origin.ports.contains_key(&vote.port));
        let ends = || self.origins.iter().zip(cursors);
        for (origin, _) in ends() {
            let chain = origin.chain.id();
            let logged = match origin.ports.get(&vote.port) {
                Some(port) => departures.contains(&(chain, vote.message, *port)),
                None => {
                    !is_known
                        && departures
                            .iter()
                            .any(|(at, message, _)| (*at, *message) == (chain, vote.message))
                }
            };
            if logged {
                return Ok(true);
            }
        }
        for (origin, cursor) in ends() {
            let said = match origin.ports.get(&vote.port) {
                Some(port) => {
                    let call = ISettlementOutbox::dispatchedCall {
                        messageId: vote.message.0,
                        port: *port,
                    };
                    self.ask(
                        origin,
                        cursor,
                        &call,
                        ISettlementOutbox::dispatchedCall::abi_decode_returns,
                    )
                    .await?
                }
                None if is_known => false,
                None => {
                    let call = ISettlementOutbox::committedCall {
                        messageId: vote.message.0,
                    };
                    self.ask(
                        origin,
                        cursor,
                        &call,
                        ISettlementOutbox::committedCall::abi_decode_returns,
                    )
                    .await?
                }
            };
            if said {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The outbox's own word at a final block.
    async fn ask<C: SolCall>(
        &self,
        origin: &Origin,
        cursor: &Cursor,
        call: &C,
        decode: fn(&[u8]) -> alloy::sol_types::Result<bool>,
    ) -> Result<bool, ReconcilerError> {
        let (chain, attempted) = (origin.chain.id(), "asking the outbox about a vote");
        let view = origin.chain.view(cursor.finalized);
        let answer: Bytes = view
            .call(None, origin.outbox, call.abi_encode().into(), U256::ZERO)
            .await
            .map_err(|source| ReconcilerError::View {
                chain,
                attempted,
                source,
            })?;
        decode(&answer).map_err(|error| ReconcilerError::Decode {
            chain,
            attempted,
            reason: error.to_string(),
        })
    }

    /// An alarm ends when the outbox turns out to have sent it after all, or when the port it came through counts no more.
    async fn close_explained(&self, cursors: &[Cursor], now_ms: i64) -> Result<(), ReconcilerError> {
        let chain = self.params.chain_id;
        let open = self.store.list_open_drifts().await?.into_iter().map(|row| row.drift);
        for drift in open.filter(|drift| drift.class == DriftClass::Forged && drift.chain == chain) {
            let Some(vote) = Vote::parse(&drift.subject) else {
                continue;
            };
            let departures = self.departures([vote].into_iter()).await?;
            let resolution = if self.is_explained(vote, &departures, cursors).await? {
                "the outbox has sent it over this bridge"
            } else if self.is_removed(vote.port).await? {
                "the port was removed from the inbox"
            } else {
                continue;
            };
            let mut txn = self.store.begin(now_ms).await?;
            txn.resolve_drift(drift.class, chain, &drift.subject, resolution)
                .await?;
            txn.commit().await?;
            tracing::info!(%chain, vote = %vote.message, port = %vote.port, resolution, "forged vote closed");
        }
        Ok(())
    }

    async fn is_removed(&self, port: Address) -> Result<bool, ReconcilerError> {
        let logs = self
            .store
            .find_logs(self.params.chain_id, "port_removed", port.into_word(), None, false)
            .await?;
        let inbox = self.params.target.map(|target| target.inbox);
        Ok(logs.iter().any(|log| Some(log.address) == inbox))
    }
}
