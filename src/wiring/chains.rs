//! Chains from their tables: endpoints, signers, fee caps.

use super::{WiringError, ms, wrong};
use crate::chain::fee::FeePolicy;
use crate::chain::signer::SignerPool;
use crate::chain::{self, RpcChain, RpcConfig};
use crate::clock::Clock;
use crate::config::{ChainConfig, ChainName, Config, Finality, FinalityTag};
use alloy::primitives::{B256, U256};
use relayer_adapter_api::ChainId;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn key_of(name: &ChainName, rest: &str) -> String {
    format!("chains.\"{name}\".{rest}")
}

/// One chain behind its endpoints.
pub fn rpc_chain(name: &ChainName, config: &ChainConfig, clock: Arc<dyn Clock>) -> Result<RpcChain, WiringError> {
    Ok(RpcChain::new(&rpc_config(name, config)?, clock)?)
}

fn rpc_config(name: &ChainName, config: &ChainConfig) -> Result<RpcConfig, WiringError> {
    let urls: Vec<String> = config
        .rpc
        .iter()
        .map(|url| url.resolve(&key_of(name, "rpc")))
        .collect::<Result<_, _>>()?;
    let finality = match config.finality {
        Finality::Tag(FinalityTag::Finalized) => chain::Finality::Tag(chain::FinalityTag::Finalized),
        Finality::Tag(FinalityTag::Safe) => chain::Finality::Tag(chain::FinalityTag::Safe),
        Finality::Depth(depth) => chain::Finality::Depth(depth),
    };
    Ok(RpcConfig {
        quorum: config.quorum(),
        timeout: Duration::from_millis(config.rpc_timeout_ms),
        log_range_max: config.log_range_max,
        ..RpcConfig::new(ChainId(config.chain_id), &urls, finality)
    })
}

/// The chain as the comparison reads it: behind endpoints of its own where they are configured, else behind those the others ask last. None when
/// there are only those every reading asks.
pub(super) fn audit_chain(
    name: &ChainName,
    config: &ChainConfig,
    clock: &Arc<dyn Clock>,
) -> Result<Option<RpcChain>, WiringError> {
    if config.reconcile_rpc.is_empty() && config.rpc.len() <= config.quorum() {
        return Ok(None);
    }
    let mut other = config.clone();
    if config.reconcile_rpc.is_empty() {
        other.rpc.reverse();
    } else {
        other.rpc = config.reconcile_rpc.clone();
    }
    let rpc = RpcConfig {
        quorum: config.reconcile_quorum(),
        read_only: true,
        ..rpc_config(name, &other)?
    };
    Ok(Some(RpcChain::new(&rpc, clock.clone())?))
}

/// All chains.
pub(super) fn chains(config: &Config, clock: &Arc<dyn Clock>) -> Result<BTreeMap<ChainId, Arc<RpcChain>>, WiringError> {
    let made = config.chains.iter().map(|(name, chain)| {
        let rpc = RpcConfig {
            read_only: config.dry_run,
            ..rpc_config(name, chain)?
        };
        let rpc = RpcChain::new(&rpc, clock.clone())?;
        Ok((ChainId(chain.chain_id), Arc::new(rpc)))
    });
    made.collect()
}

/// The chain id each endpoint answers by itself, in the order of the configuration.
pub async fn chain_ids(name: &ChainName, config: &ChainConfig) -> Vec<Result<u64, String>> {
    use alloy::providers::{Provider, ProviderBuilder};
    let bound = Duration::from_millis(config.rpc_timeout_ms);
    let ask = config.rpc.iter().map(|url| async move {
        let url = url.resolve(&key_of(name, "rpc")).map_err(|error| error.to_string())?;
        let url = url.parse().map_err(|_| "is not a URL".to_owned())?;
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_http(url);
        match tokio::time::timeout(bound, provider.get_chain_id()).await {
            Ok(Ok(found)) => Ok(found),
            // The error could repeat the URL and the key in it.
            Ok(Err(_)) => Err("does not answer eth_chainId".to_owned()),
            Err(_) => Err("does not answer in time".to_owned()),
        }
    });
    futures::future::join_all(ask).await
}

/// Fails when an endpoint serves another chain. One that does not answer is only reported: it may come back.
pub(super) async fn check_chain_ids(config: &Config) -> Result<(), WiringError> {
    let asked = config.chains.iter().map(|(name, chain)| chain_ids(name, chain));
    let answers = futures::future::join_all(asked).await;
    for ((name, chain), answers) in config.chains.iter().zip(answers) {
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(found) if found != chain.chain_id => {
                    return Err(WiringError::ChainId {
                        key: key_of(name, "rpc"),
                        index,
                        found,
                        expected: chain.chain_id,
                    });
                }
                Ok(_) => {}
                Err(reason) => tracing::warn!(chain = chain.chain_id, index, reason, "endpoint does not answer"),
            }
        }
    }
    Ok(())
}

/// Signers of one chain.
pub fn signers(name: &ChainName, config: &ChainConfig) -> Result<SignerPool, WiringError> {
    let mut keys = Vec::with_capacity(config.signers.len());
    for (index, secret) in config.signers.iter().enumerate() {
        let key = key_of(name, &format!("signers[{index}]"));
        let text = secret.resolve(&key)?;
        // The parser's own message could repeat the key.
        keys.push(B256::from_str(&text).map_err(|_| wrong(&key, "is not 32 bytes of hex"))?);
    }
    Ok(SignerPool::new(ChainId(config.chain_id), &keys)?)
}

pub(super) fn fee_policy(config: &Config, chain: &ChainConfig) -> FeePolicy {
    let gwei = U256::from(1_000_000_000u64);
    FeePolicy {
        max_fee_cap: chain.fees.max_fee_per_gas.as_u128(),
        tx_cap: chain.fees.per_tx.0,
        day_cap_gwei: u64::try_from(chain.fees.per_day.0.checked_div(gwei).unwrap_or_default()).unwrap_or(u64::MAX),
        priority_floor: chain.fees.priority_fee_min.as_u128(),
        escalate_after_ms: ms(config.tx.escalate_after_ms),
        escalate_percent: config.tx.escalate_percent,
        rebroadcast_ms: ms(config.tx.rebroadcast_ms),
        legacy: chain.fees.legacy,
        ..FeePolicy::default()
    }
}
