//! A run of consecutive events, encoded once for every watcher, and what a watcher wants of it.

use crate::api::convert;
use crate::store::Event;
use alloy::primitives::B256;
use prost::Message as _;
use prost::bytes::{Bytes, BytesMut};
use relayer_proto::v1;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// A name as a number, so that filtering compares integers.
pub type Symbol = u32;

/// Names seen so far: aggregates, states and coordinators, a handful each.
#[derive(Debug, Default)]
pub struct Symbols(Mutex<HashMap<String, Symbol>>);

impl Symbols {
    pub fn of(&self, name: &str) -> Symbol {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(symbol) = known.get(name) {
            return *symbol;
        }
        let symbol = Symbol::try_from(known.len()).unwrap_or(Symbol::MAX);
        known.insert(name.to_owned(), symbol);
        symbol
    }
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy)]
struct Head {
    aggregate: Symbol,
    to_state: Symbol,
    coordinator: Symbol,
    settlement: Option<B256>,
    /// Where its bytes end.
    end: usize,
}

/// What a watcher wants; an empty field does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub coordinator: Option<Symbol>,
    pub settlements: HashSet<B256>,
    pub states: Vec<Symbol>,
    pub aggregates: Vec<Symbol>,
}

impl Filter {
    fn wants(&self, head: &Head) -> bool {
        (self.aggregates.is_empty() || self.aggregates.contains(&head.aggregate))
            && self
                .coordinator
                .is_none_or(|coordinator| coordinator == head.coordinator)
            && (self.states.is_empty() || self.states.contains(&head.to_state))
            && (self.settlements.is_empty() || head.settlement.is_some_and(|id| self.settlements.contains(&id)))
    }
}

/// Events with consecutive `seq`, as they stand in field 1 of a `WatchResponse`.
#[derive(Debug)]
pub struct Page {
    first: i64,
    heads: Vec<Head>,
    bytes: Bytes,
}

/// Encoded events of one response; pieces share the page's memory.
#[derive(Debug, Default, Clone)]
pub struct Selection {
    pub pieces: Vec<Bytes>,
    pub count: usize,
}

impl Page {
    /// The longest run of consecutive events at the front; None of none.
    pub fn new(events: Vec<Event>, symbols: &Symbols) -> Option<Self> {
        let first = events.first()?.seq;
        let mut bytes = BytesMut::with_capacity(events.len().saturating_mul(384));
        let mut heads = Vec::with_capacity(events.len());
        for (event, seq) in events.into_iter().zip(first..) {
            if event.seq != seq {
                break;
            }
            let (settlement, aggregate) = (event.settlement.map(|id| id.0), symbols.of(&event.aggregate));
            let to_state = symbols.of(event.to_state.as_deref().unwrap_or_default());
            let coordinator = symbols.of(event.coordinator_id.as_deref().unwrap_or_default());
            prost::encoding::message::encode(1, &convert::event(event), &mut bytes);
            heads.push(Head {
                aggregate,
                to_state,
                coordinator,
                settlement,
                end: bytes.len(),
            });
        }
        Some(Self {
            first,
            heads,
            bytes: bytes.freeze(),
        })
    }

    pub fn first(&self) -> i64 {
        self.first
    }

    pub fn last(&self) -> i64 {
        let count = i64::try_from(self.heads.len()).unwrap_or_default();
        self.first.saturating_add(count).saturating_sub(1)
    }

    pub fn count(&self) -> usize {
        self.heads.len()
    }

    /// Whether the change right after `after` is in it.
    pub fn follows(&self, after: i64) -> bool {
        self.first <= after.saturating_add(1) && after < self.last()
    }

    /// What `filter` wants of the changes after `after`.
    pub fn select(&self, after: i64, filter: &Filter) -> Selection {
        let skip = usize::try_from(after.saturating_add(1).saturating_sub(self.first)).unwrap_or_default();
        let mut found = Selection::default();
        let mut start = skip
            .checked_sub(1)
            .and_then(|index| self.heads.get(index))
            .map_or(0, |head| head.end);
        // Bytes of the run of wanted events that is being collected.
        let mut run = start..start;
        for head in self.heads.iter().skip(skip) {
            if filter.wants(head) {
                found.count = found.count.saturating_add(1);
                if run.end != start {
                    if !run.is_empty() {
                        found.pieces.push(self.bytes.slice(run));
                    }
                    run = start..start;
                }
                run.end = head.end;
            }
            start = head.end;
        }
        if !run.is_empty() {
            found.pieces.push(self.bytes.slice(run));
        }
        found
    }
}

/// One response of a watch.
#[derive(Debug, Clone)]
pub struct Frame {
    pub selection: Selection,
    /// Cursor to continue after it.
    pub after_seq: i64,
    pub newest_seq: i64,
    pub at_ms: i64,
}

impl Frame {
    /// What stands beside the events, as a message of its own: fields of protobuf messages may be concatenated.
    pub fn rest(&self) -> v1::WatchResponse {
        v1::WatchResponse {
            events: Vec::new(),
            after_seq: convert::stamp(self.after_seq),
            newest_seq: convert::stamp(self.newest_seq),
            at_ms: convert::stamp(self.at_ms),
        }
    }

    /// The events as messages, for transports that do not pass bytes on.
    pub fn events(&self) -> Vec<v1::Event> {
        let decode = |piece: &Bytes| v1::WatchResponse::decode(piece.clone()).unwrap_or_default().events;
        self.selection.pieces.iter().flat_map(decode).collect()
    }
}
