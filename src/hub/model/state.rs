//! What wallets and the operator sign: active states, balance markers, withdrawal authorizations.

use super::eon::Eon;
use super::preimage::{self, hash, word};
use alloy::consensus::crypto::secp256k1::recover_signer_unchecked;
use alloy::primitives::{Address, B256, Signature, U256, keccak256};

/// A wallet of a token at a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub contract: Address,
    /// The contract itself for the native coin.
    pub token: Address,
    pub wallet: Address,
}

impl Holder {
    fn hashes(&self) -> [B256; 3] {
        [self.contract, self.token, self.wallet].map(preimage::address)
    }
}

/// Sum of what a wallet did actively in an eon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveState {
    pub holder: Holder,
    pub trail: u64,
    pub eon: Eon,
    /// Root of the plain tree over the checksums of its transfers and swaps.
    pub tx_set_root: B256,
    pub spent: U256,
    pub gained: U256,
}

impl ActiveState {
    /// `K(K(contract) | K(token) | K(wallet) | trail u64 | eon u256 | set root | spent u256 | gained u256)`; 232 bytes.
    pub fn checksum(&self) -> B256 {
        let [contract, token, wallet] = self.holder.hashes();
        hash::<232>(&[
            contract.as_slice(),
            token.as_slice(),
            wallet.as_slice(),
            &self.trail.to_be_bytes(),
            &word(U256::from(self.eon.0)),
            self.tx_set_root.as_slice(),
            &word(self.spent),
            &word(self.gained),
        ])
    }
}

/// A wallet's word that it will keep at least this balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceMarker {
    pub holder: Holder,
    pub eon: Eon,
    pub amount: U256,
}

impl BalanceMarker {
    /// `K(K(contract) | K(token) | K(wallet) | eon u256 | amount u256)`; 160 bytes. The same bytes authorize a withdrawal that expires in block
    /// `eon`, long past on any hub whose eons have more than one block.
    pub fn checksum(&self) -> B256 {
        marker(&self.holder, U256::from(self.eon.0), self.amount)
    }
}

/// Leave to withdraw without a proof, from the operator or the wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithdrawalAuthorization {
    pub holder: Holder,
    /// Last block in which it may be used.
    pub expiry: U256,
    /// This withdrawal and everything the wallet has pending in the same eon.
    pub amount_with_pending: U256,
}

impl WithdrawalAuthorization {
    /// As [`BalanceMarker::checksum`] with expiry and amount.
    pub fn checksum(&self) -> B256 {
        marker(&self.holder, self.expiry, self.amount_with_pending)
    }
}

fn marker(holder: &Holder, number: U256, amount: U256) -> B256 {
    let [contract, token, wallet] = holder.hashes();
    hash::<160>(&[
        contract.as_slice(),
        token.as_slice(),
        wallet.as_slice(),
        &word(number),
        &word(amount),
    ])
}

/// The digest that is signed for a checksum: two prefixes, the hub's inside Ethereum's.
pub fn signed_digest(checksum: B256) -> B256 {
    const HUB: &[u8] = b"\x19Liquidity.Network Authorization:\n32";
    const ETHEREUM: &[u8] = b"\x19Ethereum Signed Message:\n32";
    let inner = keccak256([HUB, checksum.as_slice()].concat());
    keccak256([ETHEREUM, inner.as_slice()].concat())
}

/// Why a signature is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("reading a hub signature: it is not 130 hex digits")]
    Hex,
    #[error("reading a hub signature: v is {0}, not 27 or 28")]
    V(u8),
    #[error("checking a hub signature: no key made it")]
    Invalid,
    #[error("checking a hub signature: {found} made it, not {expected}")]
    Signer { expected: Address, found: Address },
}

/// Who signed a checksum; `rsv` is hex `r | s | v` as the hub writes it, with or without 0x. Both values of s are accepted, as by the contract.
pub fn signer(checksum: B256, rsv: &str) -> Result<Address, SignatureError> {
    let mut bytes = [0_u8; 65];
    let digits = rsv.strip_prefix("0x").unwrap_or(rsv);
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| SignatureError::Hex)?;
    let [rs @ .., v] = &bytes;
    let parity = match v {
        27 => false,
        28 => true,
        other => return Err(SignatureError::V(*other)),
    };
    let signature = Signature::from_bytes_and_parity(rs, parity);
    recover_signer_unchecked(&signature, signed_digest(checksum)).map_err(|_| SignatureError::Invalid)
}

/// That this address signed the checksum.
pub fn check_signer(checksum: B256, rsv: &str, expected: Address) -> Result<(), SignatureError> {
    let found = signer(checksum, rsv)?;
    if found == expected {
        Ok(())
    } else {
        Err(SignatureError::Signer { expected, found })
    }
}
