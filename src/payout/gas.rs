//! How much gas an execution is given. The model is an upper bound for ordinary tokens; what is ordinary, one estimate per token shows.
//!
//! An estimate costs the node several runs of the whole execution, so it is not asked for every time: once an estimate has confirmed the
//! model for the tokens of an execution, the next ones go by the model for a while. An execution that reverted is estimated again.

use alloy::primitives::Address;
use relayer_adapter_api::{ChainId, GasRule};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// On top of an estimate: state may change between it and the block, by a fresh balance slot here and a nonce word there.
const PERCENT: u16 = 120;
const EXTRA: u64 = 100_000;
/// How long a confirmation holds.
const TRUST_MS: i64 = 600_000;

/// By estimate, with what may change until the block.
pub const ESTIMATE: GasRule = GasRule::Estimate {
    percent: PERCENT,
    extra: EXTRA,
};

/// Tokens whose executions took no more than the model says, and since when that is known.
#[derive(Debug, Default)]
pub struct TrustedTokens(Mutex<BTreeMap<(ChainId, Address), i64>>);

impl TrustedTokens {
    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<(ChainId, Address), i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model's figure when every token is trusted, else an estimate.
    pub fn rule(&self, chain: ChainId, tokens: &[Address], model_gas: u64, now_ms: i64) -> GasRule {
        let map = self.map();
        let trusted = |token: &Address| {
            map.get(&(chain, *token))
                .is_some_and(|since| (0..TRUST_MS).contains(&now_ms.saturating_sub(*since)))
        };
        if model_gas > 0 && !tokens.is_empty() && tokens.iter().all(trusted) {
            GasRule::Fixed(model_gas.saturating_add(EXTRA))
        } else {
            ESTIMATE
        }
    }

    /// What an estimate made of the model: `limit` is what [`ESTIMATE`] came to.
    pub fn learn(&self, chain: ChainId, tokens: &[Address], model_gas: u64, limit: u64, now_ms: i64) {
        let estimate = limit.saturating_sub(EXTRA).saturating_mul(100) / u64::from(PERCENT);
        let mut map = self.map();
        for token in tokens {
            if estimate <= model_gas {
                map.insert((chain, *token), now_ms);
            } else {
                map.remove(&(chain, *token));
            }
        }
    }

    /// An execution of these tokens reverted: whatever the reason, the next one is estimated.
    pub fn forget(&self, chain: ChainId, tokens: &[Address]) {
        let mut map = self.map();
        for token in tokens {
            map.remove(&(chain, *token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: ChainId = ChainId(1);
    const A: Address = Address::repeat_byte(1);
    const B: Address = Address::repeat_byte(2);

    #[test]
    fn a_token_is_trusted_once_an_estimate_confirmed_the_model_and_not_for_ever() {
        let trusted = TrustedTokens::default();
        assert_eq!(trusted.rule(CHAIN, &[A], 1_000_000, 0), ESTIMATE);
        trusted.learn(CHAIN, &[A], 1_000_000, 1_000_000 * 120 / 100 + EXTRA, 0);
        assert_eq!(
            trusted.rule(CHAIN, &[A], 2_000_000, 1),
            GasRule::Fixed(2_000_000 + EXTRA)
        );
        assert_eq!(trusted.rule(CHAIN, &[A, B], 2_000_000, 1), ESTIMATE);
        assert_eq!(trusted.rule(ChainId(2), &[A], 2_000_000, 1), ESTIMATE);
        assert_eq!(trusted.rule(CHAIN, &[A], 2_000_000, TRUST_MS), ESTIMATE);
    }

    #[test]
    fn an_estimate_above_the_model_or_a_revert_ends_the_trust() {
        let trusted = TrustedTokens::default();
        trusted.learn(CHAIN, &[A, B], 1_000_000, 500_000, 0);
        trusted.learn(CHAIN, &[A], 1_000_000, 1_400_000, 1);
        assert_eq!(trusted.rule(CHAIN, &[A], 1, 2), ESTIMATE);
        assert_ne!(trusted.rule(CHAIN, &[B], 1, 2), ESTIMATE);
        trusted.forget(CHAIN, &[B]);
        assert_eq!(trusted.rule(CHAIN, &[B], 1, 2), ESTIMATE);
    }
}
