//! Keys of one chain, and signing. Keys never leave this file.

use super::ChainError;
use super::fee::TxFees;
use crate::store::NewAttempt;
use alloy::consensus::{SignableTransaction, TxEip1559, TxLegacy};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::Secp256k1Signer;
use relayer_adapter_api::ChainId;

/// The signing accounts of one chain.
#[derive(Debug)]
pub struct SignerPool {
    signers: Vec<Secp256k1Signer>,
}

/// All of a transaction but its fees and signature.
#[derive(Debug, Clone)]
pub struct Unsigned {
    pub chain: ChainId,
    pub nonce: u64,
    pub to: Address,
    pub value: U256,
    pub data: Bytes,
    pub gas_limit: u64,
}

impl SignerPool {
    /// From private keys. Fails naming the position of a key that is none, never its text.
    pub fn new(chain: ChainId, keys: &[B256]) -> Result<Self, ChainError> {
        let signers = keys.iter().enumerate().map(|(i, key)| {
            Secp256k1Signer::from_bytes(key).map_err(|_| ChainError::Config {
                chain,
                reason: format!("signer key {i} is not a private key"),
            })
        });
        Ok(Self {
            signers: signers.collect::<Result<_, _>>()?,
        })
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.signers.iter().map(Secp256k1Signer::address).collect()
    }

    /// Signs: EIP-1559, or the old format where the chain knows no other.
    pub fn sign(&self, signer: Address, tx: &Unsigned, fees: &TxFees, legacy: bool) -> Result<NewAttempt, ChainError> {
        let refuse = |reason: String| ChainError::Signing { signer, reason };
        let key = self.signers.iter().find(|key| key.address() == signer);
        let key = key.ok_or_else(|| refuse("no such key".into()))?;
        let (hash, raw) = if legacy {
            let body = TxLegacy {
                chain_id: Some(tx.chain.0),
                nonce: tx.nonce,
                gas_price: fees.max_fee,
                gas_limit: tx.gas_limit,
                to: TxKind::Call(tx.to),
                value: tx.value,
                input: tx.data.clone(),
            };
            let signature = key
                .sign_hash_sync(&body.signature_hash())
                .map_err(|error| refuse(error.to_string()))?;
            let signed = body.into_signed(signature);
            (*signed.hash(), signed.encoded_2718())
        } else {
            let body = TxEip1559 {
                chain_id: tx.chain.0,
                nonce: tx.nonce,
                gas_limit: tx.gas_limit,
                max_fee_per_gas: fees.max_fee,
                max_priority_fee_per_gas: fees.max_priority_fee,
                to: TxKind::Call(tx.to),
                value: tx.value,
                access_list: Default::default(),
                input: tx.data.clone(),
            };
            let signature = key
                .sign_hash_sync(&body.signature_hash())
                .map_err(|error| refuse(error.to_string()))?;
            let signed = body.into_signed(signature);
            (*signed.hash(), signed.encoded_2718())
        };
        Ok(NewAttempt {
            hash,
            raw: raw.into(),
            max_fee: fees.max_fee,
            max_priority_fee: fees.max_priority_fee,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use alloy::consensus::TxEnvelope;
    use alloy::consensus::transaction::SignerRecoverable;
    use alloy::eips::eip2718::Decodable2718;
    use alloy::primitives::keccak256;

    #[test]
    fn both_formats_decode_to_the_signer_and_the_stored_hash() {
        let chain = ChainId(31_337);
        let pool = SignerPool::new(chain, &[B256::repeat_byte(7)]).unwrap();
        let signer = pool.addresses()[0];
        let tx = Unsigned {
            chain,
            nonce: 5,
            to: Address::repeat_byte(1),
            value: U256::from(2),
            data: Bytes::from_static(b"x"),
            gas_limit: 30_000,
        };
        let fees = TxFees {
            max_fee: 10,
            max_priority_fee: 3,
        };
        for legacy in [false, true] {
            let attempt = pool.sign(signer, &tx, &fees, legacy).unwrap();
            assert_eq!(attempt.hash, keccak256(&attempt.raw));
            let envelope = TxEnvelope::decode_2718(&mut attempt.raw.as_ref()).unwrap();
            assert_eq!(envelope.recover_signer().unwrap(), signer);
            assert_eq!(envelope.is_legacy(), legacy);
        }
    }

    #[test]
    fn a_bad_key_is_refused_without_showing_it() {
        let error = SignerPool::new(ChainId(1), &[B256::repeat_byte(0xff)]).unwrap_err();
        assert!(!error.to_string().contains("ff"), "{error}");
    }
}
