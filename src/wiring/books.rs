//! What books and what compares, per chain: for the loops of `serve` and for `relayer reconcile`.

use super::chains::{audit_chain, chains};
use super::{WiringError, ms};
use crate::chain::{Chain, Contracts, RpcChain};
use crate::clock::{Clock, SystemClock};
use crate::config::{ChainConfig, ChainName, Config};
use crate::reconciler::{Auditor, AuditorParams, ChainBooks, Reconciler, ReconcilerParams, TargetContracts};
use crate::store::Store;
use relayer_adapter_api::ChainId;
use std::sync::Arc;

/// Everything `relayer reconcile` works with.
pub fn books(config: &Config, store: &Store) -> Result<Vec<ChainBooks>, WiringError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rpc = chains(config, &clock)?;
    let mut books = Vec::new();
    for (name, chain) in &config.chains {
        let Some(own) = rpc.get(&ChainId(chain.chain_id)) else {
            continue;
        };
        let (auditor, own_endpoints) = auditor(config, (name, chain), store, own, &clock)?;
        books.push(ChainBooks {
            reconciler: Reconciler::new(store.clone(), own.clone(), reconciler_params(config, chain)),
            auditor,
            own_endpoints,
        });
    }
    Ok(books)
}

pub(super) fn reconciler_params(config: &Config, chain: &ChainConfig) -> ReconcilerParams {
    let target = chain.contracts.inbox.zip(chain.contracts.vault);
    ReconcilerParams {
        chain_id: ChainId(chain.chain_id),
        target: target.map(|(inbox, vault)| TargetContracts { inbox, vault }),
        outbox: chain.contracts.outbox,
        sweep_ms: ms(config.reconciler.sweep_ms),
    }
}

/// The comparison of one chain, and whether it reads from endpoints of its own. `own` is what everything else reads from.
pub(super) fn auditor(
    config: &Config,
    (name, chain): (&ChainName, &ChainConfig),
    store: &Store,
    own: &Arc<RpcChain>,
    clock: &Arc<dyn Clock>,
) -> Result<(Auditor, bool), WiringError> {
    let other = audit_chain(name, chain, clock)?;
    let own_endpoints = other.is_some();
    let rpc = other.map_or_else(|| own.clone(), Arc::new);
    let params = AuditorParams {
        contracts: Contracts {
            outbox: chain.contracts.outbox,
            inbox: chain.contracts.inbox,
            vault: chain.contracts.vault,
            registry: chain.contracts.registry,
        },
        start_block: chain.start_block,
        range_max: chain.log_range_max,
        every_ms: ms(config.reconciler.sweep_ms),
        patience: config.reconciler.patience,
    };
    let view: Arc<dyn Chain> = rpc.clone();
    Ok((Auditor::new(store.clone(), view, rpc, params), own_endpoints))
}
