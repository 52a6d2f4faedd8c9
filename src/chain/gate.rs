//! The gate before a chain: nothing is sent there until it is sure that this database knows everything its signers and its outbox have done.
//! A database that was restored from an older copy, or begun anew, does not; then `relayer recover` must run first (docs/recovery.md). Closed
//! for one chain, it keeps no other from going on, and reading, accepting and ending settlements do not pass it at all.

use super::error::Attempted;
use super::nonce::{Known, Start, start};
use super::{Chain, ChainError, Contracts, counters};
use crate::clock::Clock;
use crate::store::Store;
use alloy::primitives::Address;
use relayer_adapter_api::{BlockRef, ChainId};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Between two looks while the gate is not open.
const LOOK_MS: i64 = 1_000;
/// Between two lines of the log about a closed gate.
const REMIND_MS: i64 = 60_000;

/// Why a chain may not be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ahead {
    /// An earlier look found it, or a recovery was cut off.
    Pending,
    /// A signer has sent transactions the database does not know.
    Nonces { signer: Address, count: u64, known: u64 },
    /// A signer was used and the database knows nothing of it, while our contracts there have a history.
    UsedSigner { signer: Address, count: u64 },
    /// The database knows nothing of the chain, and our contracts there have a history.
    Blank { messages: u128 },
    /// The outbox sent batches the database does not know.
    Messages { unknown: u64 },
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => write!(f, "a recovery is due or was not finished"),
            Self::Nonces { signer, count, known } => {
                write!(
                    f,
                    "signer {signer} has sent {count} transactions, the database knows of {known}"
                )
            }
            Self::UsedSigner { signer, count } => write!(
                f,
                "signer {signer} has sent {count} transactions, the database knows of none, and our contracts there have a history"
            ),
            Self::Blank { messages } => write!(
                f,
                "our contracts there have carried {messages} messages, and the database has never sent anything"
            ),
            Self::Messages { unknown } => write!(f, "the outbox has sent {unknown} batches the database does not know"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Not looked yet. The observer must get to the height the chain had at the first look.
    Unknown {
        first_head: Option<u64>,
    },
    Open,
    Closed(Ahead),
}

#[derive(Debug)]
struct State {
    standing: Standing,
    next_look: i64,
    next_reminder: i64,
}

/// One per chain and process.
pub struct Gate {
    chain: Arc<dyn Chain>,
    store: Store,
    contracts: Contracts,
    signers: Vec<Address>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// One at a time looks.
    looking: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("chain", &self.chain.id())
            .finish_non_exhaustive()
    }
}

impl Gate {
    pub fn new(
        chain: Arc<dyn Chain>,
        store: Store,
        contracts: Contracts,
        signers: Vec<Address>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let state = State {
            standing: Standing::Unknown { first_head: None },
            next_look: i64::MIN,
            next_reminder: i64::MIN,
        };
        Self {
            chain,
            store,
            contracts,
            signers,
            clock,
            state: Mutex::new(state),
            looking: tokio::sync::Mutex::new(()),
        }
    }

    fn id(&self) -> ChainId {
        self.chain.id()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ok when the chain may be sent to. Looks when that is not known yet, or was not so a moment ago; an open gate stays open.
    pub async fn check(&self) -> Result<(), ChainError> {
        if let Some(answer) = self.known() {
            return answer;
        }
        let _turn = self.looking.lock().await;
        if let Some(answer) = self.known() {
            return answer;
        }
        let was_closed = matches!(self.state().standing, Standing::Closed(_));
        let looked = self.look().await;
        let now = self.clock.now_ms();
        self.state().next_look = now.saturating_add(LOOK_MS);
        let ahead = looked?;
        let standing = ahead.map_or(Standing::Open, Standing::Closed);
        match &standing {
            Standing::Closed(why) => self.remind(now, why),
            _ if was_closed => tracing::info!(chain = self.id().0, "recovered: sending goes on"),
            _ => {}
        }
        self.state().standing = standing;
        self.known().unwrap_or(Ok(()))
    }

    /// The answer as far as it is known and not to be asked for again.
    fn known(&self) -> Option<Result<(), ChainError>> {
        let chain = self.id();
        let state = self.state();
        match &state.standing {
            Standing::Open => Some(Ok(())),
            _ if self.clock.now_ms() >= state.next_look => None,
            Standing::Closed(why) => Some(Err(ChainError::RecoveryNeeded {
                chain,
                why: why.clone(),
            })),
            Standing::Unknown { .. } => Some(Err(ChainError::GateUnknown { chain })),
        }
    }

    fn remind(&self, now: i64, why: &Ahead) {
        let mut state = self.state();
        if now < state.next_reminder {
            return;
        }
        state.next_reminder = now.saturating_add(REMIND_MS);
        tracing::error!(
            chain = self.id().0,
            code = super::error::RECOVERY_NEEDED.code,
            %why,
            "nothing is sent: stop this process and run `relayer recover`"
        );
    }

    /// What is ahead of the database, if anything is. What is found is stored, so that it is not forgotten when the observer catches up.
    async fn look(&self) -> Result<Option<Ahead>, ChainError> {
        let chain = self.id();
        if self.store.is_recovery_pending(chain).await? {
            return Ok(Some(Ahead::Pending));
        }
        let head = self.chain.head().await.attempted("reading the head")?;
        let first_head = {
            let mut state = self.state();
            let first = match state.standing {
                Standing::Unknown {
                    first_head: Some(first),
                } => first,
                _ => head.number,
            };
            state.standing = Standing::Unknown {
                first_head: Some(first),
            };
            first
        };
        let (mut found, used) = self.signers_ahead(head).await?;
        if found.is_none() && self.contracts.outbox.is_some() {
            let cursor = self.store.get_cursor(chain).await?;
            if cursor.is_none_or(|cursor| cursor.seen.number < first_head) {
                return Err(ChainError::GateUnknown { chain });
            }
            let unknown = self.store.count_unknown_dispatches(chain).await?;
            let accepted = self.store.count_accepted_unknown(chain).await?;
            found = (unknown > accepted).then_some(Ahead::Messages { unknown });
        }
        if let Some(why) = &found {
            let mut txn = self.store.begin(self.clock.now_ms()).await?;
            txn.begin_recovery(chain, &why.to_string()).await?;
            txn.commit().await?;
        } else if !used.is_empty() || !self.store.was_in_step(chain).await? {
            // Before anything is sent: the next process may find messages here that this one has sent to the chain, and nothing sent from it.
            let txn = self.store.begin(self.clock.now_ms()).await?;
            txn.keep_in_step(chain, &used).await?;
            txn.commit().await?;
        }
        Ok(found)
    }

    /// What the chain is ahead by, and the signers that were used before, with their transaction counts. The chain is asked before the
    /// database: what a process beside this one sends meanwhile is stored before it is sent.
    async fn signers_ahead(&self, head: BlockRef) -> Result<(Option<Ahead>, Vec<(Address, u64)>), ChainError> {
        let chain = self.id();
        let mut used = Vec::new();
        for signer in &self.signers {
            let count = self
                .chain
                .transaction_count(*signer, head)
                .await
                .attempted("reading the transaction count")?;
            let known = Known {
                chain_count: count,
                base: self.store.find_nonce_base(chain, *signer).await?,
                last: self.store.find_last_nonce(chain, *signer).await?,
            };
            match start(known) {
                Start::From(_) => {}
                Start::Adopt(count) => used.push((*signer, count)),
                Start::Ahead { known } => {
                    let signer = *signer;
                    return Ok((Some(Ahead::Nonces { signer, count, known }), Vec::new()));
                }
            }
        }
        let blank = !self.store.has_history(chain).await?;
        if !blank && used.is_empty() {
            return Ok((None, used));
        }
        let messages = self.messages(head).await?;
        let ahead = match (messages, used.last()) {
            (0, _) => None,
            (messages, _) if blank => Some(Ahead::Blank { messages }),
            (_, Some(&(signer, count))) => Some(Ahead::UsedSigner { signer, count }),
            (_, None) => None,
        };
        Ok((ahead, used))
    }

    /// Messages our contracts have ever sent or received there.
    async fn messages(&self, head: BlockRef) -> Result<u128, ChainError> {
        let counts = counters::read(self.id(), &self.contracts, self.chain.view(head).as_ref()).await?;
        let sent = counts.outbox.map_or(0, |outbox| outbox.messages);
        Ok(counts.inbox.map_or(sent, |inbox| sent.saturating_add(inbox.received)))
    }
}
