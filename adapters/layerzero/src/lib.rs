//! LayerZero V2: messages cross as packets of our port, one nonce path per direction.
//!
//! Layout: [`config`] what an operator names, [`abi`] and [`revert`] the hand-written ABI and every error of the protocol,
//! [`packet`] the wire format, [`path`] what the target says of one path, [`standing`] how far a message got on it, [`adapter`] the trait over them.
//!
//! What shapes this crate: the guid does not commit to the message, so a packet is named by guid and payload hash; events of the endpoint
//! are unindexed and `PacketDelivered` is emitted for discarded packets too, so verdicts come from state, and "received" from our own inbox;
//! a nonce is executable only when every earlier nonce of its path is verified.

mod abi;
mod adapter;
mod config;
mod inspect;
mod packet;
mod path;
mod revert;
mod standing;

#[cfg(test)]
mod tests;

pub use adapter::LayerZeroAdapter;
pub use config::{ConfigError, LayerZeroChain, LayerZeroConfig};
pub use packet::{Packet, PacketError};
pub use revert::explain as explain_revert;
