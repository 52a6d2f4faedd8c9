//! What a bridge adapter is: the trait, its vocabulary, the sealed message and the ABI of our own contracts.
//!
//! Layout: [`ids`] newtypes, [`message`] the bytes that cross a bridge, [`tree`] its Merkle tree, [`abi`] our contracts,
//! [`view`] how adapters read chains, [`call`] what they want sent, [`adapter`] the trait, [`error`] its errors, [`inspect`] what a look at the wiring found,
//! [`send`] the call every adapter sends with, [`revert`] what they make of reverts, [`obstacle`] what our contracts say against a lane, [`top_up`] money for a vault from another chain.
//! This crate knows no bridge, no database and no clock.

pub mod abi;
pub mod adapter;
pub mod call;
pub mod error;
pub mod ids;
pub mod inspect;
pub mod message;
pub mod obstacle;
pub mod revert;
pub mod send;
pub mod top_up;
pub mod tree;
pub mod view;

pub use adapter::{BridgeAdapter, Delivery, Lane, MessageRef, Quote};
pub use call::{Call, GasRule};
pub use error::{AdapterError, Class, ViewError};
pub use ids::{BridgeId, ChainId, Family, MessageId, SettlementId};
pub use inspect::{Finding, Level};
pub use message::{Body, Header, HeaderError, Kind, SealedMessage, WireMessage};
pub use view::{BlockRef, ChainView, LogFilter, LogRecord, TxReceipt};
