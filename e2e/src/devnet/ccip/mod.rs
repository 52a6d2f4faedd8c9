//! Chainlink CCIP on the devnet: the real contracts from the audited bytecode in the npm package, and the committees nobody else plays locally.
//!
//! Layout: [`deploy`] the contracts of 1.6 and their wiring, [`don`] the committee that commits and executes there, [`v2`] contracts and
//! committee of 2.0, [`results`] its results over REST, [`abi`] what all call. The switches are a part of the devnet's ([`super::switches::CcipSetting`]).

pub mod abi;
pub mod deploy;
pub mod don;
pub mod results;
pub mod v2;

use super::Accounts;
use super::anvil::Anvil;
use alloy::primitives::{Address, U256};
use alloy::providers::DynProvider;
use anyhow::{Result, bail};
use relayer_adapter_ccip::Version;

pub use deploy::Ccip;
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

/// CCIP on both chains, open in both directions; with 1.6, for the test token too.
pub async fn put(
    version: Version,
    accounts: &Accounts,
    anvils: [&Anvil; 2],
    providers: [&DynProvider; 2],
    tokens: [Address; 2],
) -> Result<[Ccip; 2]> {
    let (admin, [pa, pb], [sa, sb]) = (accounts.admin.address(), providers, SELECTORS);
    match version {
        Version::V1_5 => bail!("the devnet has no CCIP 1.5"),
        Version::V1_6 => {
            let transmitter = Committee::transmitter()?.address();
            for anvil in anvils {
                anvil
                    .set_balance(transmitter, U256::from(10).pow(U256::from(22)))
                    .await?;
            }
            let (mut a, mut b) = tokio::try_join!(
                deploy::deploy(pa, admin, sa, sb, tokens[0]),
                deploy::deploy(pb, admin, sb, sa, tokens[1])
            )?;
            let (there_a, there_b) = (b.clone(), a.clone());
            tokio::try_join!(
                deploy::wire(pa, &mut a, &there_a, transmitter),
                deploy::wire(pb, &mut b, &there_b, transmitter)
            )?;
            tokio::try_join!(
                deploy::link_tokens(pa, admin, &a, &b, tokens),
                deploy::link_tokens(pb, admin, &b, &a, [tokens[1], tokens[0]])
            )?;
            Ok([a, b])
        }
        Version::V2_0 => {
            let (a, b) = tokio::try_join!(v2::deploy(pa, admin, sa, sb), v2::deploy(pb, admin, sb, sa))?;
            tokio::try_join!(v2::wire(pa, &a, &b), v2::wire(pb, &b, &a))?;
            Ok([a, b])
        }
    }
}
