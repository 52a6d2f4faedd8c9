//! Chainlink CCIP 1.6 on the devnet: the real contracts from the audited bytecode in the npm package, and the committee nobody else plays locally.
//!
//! Layout: [`deploy`] the contracts and their wiring, [`don`] the committee that commits and executes, [`abi`] what both call. The committee's
//! switches are a part of the devnet's ([`super::switches::CcipSetting`]).

pub mod abi;
pub mod deploy;
pub mod don;

pub use deploy::{Ccip, deploy, link_tokens, wire};
pub use don::Committee;

/// Bridge id of the port pair.
pub const BRIDGE: &str = "ccip";
/// Official selectors of two test chains; the contracts never compare them with the chain id.
pub const SELECTORS: [u64; 2] = [3_379_446_385_462_418_246, 7_759_470_850_252_068_959];
/// Digests of the committee's configurations for its two duties; the off-ramp takes any.
pub const DIGESTS: [[u8; 32]; 2] = [[0x11; 32], [0x22; 32]];
/// Signers of the committee: more than three times the faulty ones it tolerates. One more than those must sign a commit, exactly.
pub const SIGNERS: usize = 4;
pub const FAULTY: u8 = 1;
