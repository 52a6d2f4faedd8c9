//! x
pub mod abi;
pub mod anvil;
pub mod layerzero;
