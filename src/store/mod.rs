//! The only user of sea-orm. One file per aggregate; every write goes through a [`Txn`], which appends the events of what it changed.
//!
//! Layout: [`open`] opens and migrates, [`txn`] transactions, events and compare-and-set, [`changes`] wakes those that wait for
//! events, [`lease`] claims, [`codec`] columns, then one file per aggregate. `entity/` are the rows.

pub mod account;
pub mod books;
mod bulk;
#[doc(hidden)]
pub mod ceiling;
pub mod chain_cursor;
pub mod chain_log;
mod chain_log_reads;
mod changes;
pub mod checkpoint_message;
pub mod checkpoint_signature;
pub mod codec;
pub mod dispatch;
pub mod drift;
mod entity;
mod error;
pub mod event;
pub mod execution;
mod exit_delay;
pub mod figures;
pub mod group;
pub mod hub;
pub mod hub_allotment;
pub mod hub_booking;
pub mod hub_chain;
pub mod hub_ledger;
pub mod hub_reads;
pub mod hub_reversal;
pub mod hub_transfer;
pub mod hub_transfer_reads;
pub mod hub_verdict;
pub mod interval;
pub mod lane;
pub mod lease;
mod log_tally;
pub mod message;
pub mod message_members;
mod open;
mod packed;
pub mod posting;
mod prune;
mod recovery;
pub mod repair;
#[doc(hidden)]
pub mod seed;
pub mod settlement;
pub mod settlement_accept;
pub mod settlement_apply;
mod settlement_cover;
pub mod settlement_end;
mod settlement_page;
pub mod settlement_pay;
mod settlement_recall;
pub mod signer_lease;
mod statistics;
#[cfg(test)]
pub(crate) mod testing;
mod trouble;
pub mod tx;
mod tx_write;
mod txn;
pub mod vault_facts;
mod vote;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod concurrent_tests;
#[cfg(test)]
mod hub_ledger_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod postgres_tests;

pub use books::{MessageBooks, Movement, PaidLog, SettlementBooks};
pub use chain_cursor::{Cursor, StoredBlock};
pub use chain_log::{ChainLog, LogStatus, NewChainLog};
pub use checkpoint_message::CheckpointLane;
pub use checkpoint_signature::{NewSignedCheckpoint, SignatureState, SignedCheckpoint};
pub use dispatch::{Dispatch, DispatchChange, DispatchId, DispatchPatch, DispatchQueue, LaneKey, NewDispatch};
pub use drift::{Drift, DriftAbout, DriftClass, DriftFilter, DriftRow};
pub use error::StoreError;
pub use event::Event;
pub use execution::{Execution, ExecutionId, ExecutionPatch};
pub use figures::{Census, Counted};
pub use group::NewGroup;
pub use hub::{CheckpointStanding, Halt, HaltReason, Hub, HubCheckpoint, HubId};
pub use hub_allotment::{HubRoot, RootOrigin, StoredAllotment, StoredCommitment, WalletHistory};
pub use hub_booking::{HubEvent, HubEventFilter, HubEventKind, LedgerOperation, TokenBacking};
pub use hub_chain::{HubFact, HubOperationKind, NewHub, NewHubLog};
pub use hub_ledger::{HubToken, HubWallet, LedgerHead, NewHubWallet};
pub use hub_reads::{HubBound, HubChallenge, HubOperation, HubPlace, HubSums};
pub use hub_transfer::{
    HubTransfer, NewTransfer, SignedState, TransferAnswer, TransferFilter, TransferRefusal, WalletEon,
};
pub use hub_verdict::{CheckpointFact, HubFacts, Restored};
pub use interval::{Counters, Interval, Standing};
pub use lane::{InFlight, InsertLimits, Insertion, LaneMode, LaneObstacle, LaneSwitch, Passage};
pub use lease::{Claim, LeaseClock, SystemLeaseClock};
pub use log_tally::TallyKey;
pub use message::{Message, MessageLeaf, MessagePatch};
pub use message_members::{LeafSeen, MessageMember};
pub use open::{Durability, Store, StoreConfig};
pub use posting::PostingRow;
pub use prune::{Archive, PruneRule, Pruned};
pub use recovery::{Adopted, AdoptedDispatch, AdoptedMessage, Overtaken};
pub use relayer_migrations::SCHEMA_VERSION;
pub use repair::{DisputeOutcome, DisputeRefusal, RepairNote};
pub use settlement::{AuthKind, CoveredReceipt, Evidence, GroupMember, Reliance, Settlement, SettlementFilter};
pub use settlement_accept::{Accept, NewSettlement};
pub use settlement_end::Ending;
pub use settlement_pay::Payment;
pub use settlement_recall::OnChain;
pub use signer_lease::{LeaseToken, SignerLease};
pub use tx::{AttemptRow, Inclusion, Intent, IntentKind, NewAttempt, NewTx, TxChange, TxId, TxRow};
pub use txn::{NewEvent, Txn};
pub use vault_facts::{FactsQuery, NonceFact, SignerFact, TokenFacts, VaultFacts};
pub use vote::Departure;

#[cfg(test)]
mod tests;
