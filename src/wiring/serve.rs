//! Runs what the wiring built: listeners, loops and the writer, from the first look at the chains to a clean stop.

use super::chains::check_chain_ids;
use super::{Face, Wired, WiringError, store, wire};
use crate::api::{
    Api, Auth, DryRun, Feed, FeedLimits, Handlers, Health, HealthListener, Hubs, Listeners, Operators, ServeError,
    Settlements,
};
use crate::chain::Sender;
use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::hub::ledger::Ledger;
use crate::liveness::Liveness;
use crate::store::Store;
use crate::supervisor::{Supervisor, Wakers};
use metrics_exporter_prometheus::PrometheusHandle;
use relayer_adapter_api::ChainId;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the listeners wait for the first look at every chain.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Runs the relayer until `stop`. Fails early, before it listens, when it could not keep its promises.
pub async fn serve(
    config: &Config,
    metrics: Option<PrometheusHandle>,
    stop: CancellationToken,
) -> Result<(), WiringError> {
    // Stopped while it starts: nothing runs yet, so nothing is wrong.
    let started = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        started = start(config) => started,
    };
    let (wired, listening) = started?;
    let health = Health {
        metrics,
        liveness: Liveness::default(),
    };
    let supervisor = Supervisor {
        config: config.supervisor.clone(),
        clock: wired.clock.clone(),
        wakers: wired.wakers,
        liveness: health.liveness.clone(),
        changes: wired.store.is_shared().then(|| wired.store.changes()),
    };
    let ledger = Ledger::new(wired.store.clone(), wired.clock.clone());
    let hubs = hubs(config, ledger, supervisor.wakers.clone());
    let roles = &config.supervisor.roles;
    if config.dry_run {
        tracing::warn!(
            "dry run: calls are simulated and reported, nothing is signed or sent, no settlement is accepted"
        );
    }
    tracing::info!(%listening, %roles, owner = wired.owner, loops = wired.tasks.len(), "relayer runs");
    let loops = tokio::spawn(supervisor.run(wired.tasks, stop.clone()));
    let served = tokio::select! {
        served = listening.serve(config, wired.face, (&wired.store, wired.clock.clone(), hubs), health, &stop) => served,
        () = outlast(&stop, config.supervisor.stop_ms_max) => Ok(()),
    };
    // A listener that failed ends the process; the loops are stopped as on a signal.
    stop.cancel();
    match loops.await {
        Ok(cut) if cut.is_empty() => tracing::info!("relayer stopped"),
        Ok(cut) => tracing::warn!(
            ?cut,
            "relayer stopped; these steps were cut off and will be claimed again"
        ),
        Err(error) => tracing::error!(%error, "the supervisor ended abnormally"),
    }
    release(&wired.senders, config.supervisor.stop_ms_max).await;
    Ok(served?)
}

/// What answers about hubs. A hint wakes the loops that read the hub's chain in this process; elsewhere they look by themselves.
fn hubs(config: &Config, ledger: Ledger, wakers: Wakers) -> Hubs {
    let keepers = config
        .hubs
        .iter()
        .filter_map(|(name, hub)| Some((name.clone(), hub.coordinator.clone()?)));
    Hubs {
        ledger,
        dry_run: config.dry_run,
        keepers: keepers.collect(),
        look: Arc::new(move |chain: ChainId| {
            for stage in ["observer", "hubs"] {
                wakers.of(&format!("{stage}:{chain}")).notify_one();
            }
        }),
    }
}

async fn start(config: &Config) -> Result<(Wired, Listening), WiringError> {
    let store = store(config).await?;
    check_chain_ids(config).await?;
    let listening = Listening::bind(config).await?;
    Ok((wire(config, store).await?, listening))
}

/// What this process listens on.
enum Listening {
    /// Role `api`.
    Api {
        listeners: Listeners,
        auth: Auth,
        operator_token: Option<String>,
    },
    /// Any other: only how it stands.
    Health(HealthListener),
}

impl std::fmt::Display for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Api { listeners, .. } => match listeners.addresses() {
                Ok((grpc, rest)) => write!(f, "grpc {grpc}, rest {rest}"),
                Err(error) => write!(f, "{error}"),
            },
            Self::Health(listener) => match listener.address() {
                Ok(rest) => write!(f, "rest {rest}"),
                Err(error) => write!(f, "{error}"),
            },
        }
    }
}

impl Listening {
    async fn bind(config: &Config) -> Result<Self, WiringError> {
        if !config.supervisor.roles.has(Role::Api) {
            return Ok(Self::Health(Listeners::bind_health(&config.api).await?));
        }
        let operator_token = match &config.operator.token {
            Some(secret) => Some(secret.resolve("operator.token")?),
            None => None,
        };
        Ok(Self::Api {
            operator_token,
            auth: Auth::from_config(&config.coordinators)?,
            listeners: Listeners::bind(&config.api).await?,
        })
    }

    /// Answers until `stop`; the intake's writer runs as long.
    async fn serve(
        self,
        config: &Config,
        face: Option<Face>,
        (store, clock, hubs): (&Store, Arc<dyn Clock>, Hubs),
        health: Health,
        stop: &CancellationToken,
    ) -> Result<(), ServeError> {
        match (self, face) {
            (
                Self::Api {
                    listeners,
                    auth,
                    operator_token,
                },
                Some(face),
            ) => {
                let writer = tokio::spawn(face.writer.run(stop.clone()));
                let limits = FeedLimits {
                    ring_events: config.api.watch_ring_events,
                    streams_max: config.api.watch_streams_max,
                    stall: Duration::from_millis(config.api.watch_stall_ms),
                    outage: FeedLimits::OUTAGE,
                };
                let operators = Operators::new(store.clone(), clock.clone(), operator_token.as_deref(), stop.clone());
                let feed = Feed::start(store.clone(), clock, limits, stop.clone());
                let mut service: Arc<dyn Settlements> = Arc::new(face.service);
                if config.dry_run {
                    service = Arc::new(DryRun(service));
                }
                let mut handlers = Handlers::new(service, auth, config.api.clone())
                    .with_stop(stop.clone())
                    .with_feed(feed)
                    .with_hubs(hubs);
                if let Some(signed) = face.signed {
                    handlers = handlers.with_signed(signed);
                }
                let api = Api {
                    handlers: Arc::new(handlers),
                    operators: Some(operators),
                    health,
                };
                first_look(store, config, stop).await;
                let served = listeners.serve(api, stop.clone()).await;
                stop.cancel();
                // What was handed to the writer is answered or lost with the connection; either way nothing half-done remains.
                let _ = tokio::time::timeout(Duration::from_millis(config.supervisor.stop_ms_max), writer).await;
                served
            }
            (Self::Health(listener), _) => listener.serve(health, stop.clone()).await,
            // The wiring builds a face exactly for the role that listens with one.
            (Self::Api { .. }, None) => Ok(()),
        }
    }
}

/// Gives the signers' leases back, so that the next process need not wait for them to run out. Late writes of a step that was cut off
/// are refused by the token all the same.
async fn release(senders: &[Arc<Sender>], bound_ms: u64) {
    let release = async {
        for sender in senders {
            if let Err(error) = sender.release_leases().await {
                tracing::warn!(chain = sender.chain().0, %error, "leases not given back; they run out by themselves");
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(bound_ms), release).await;
}

/// Waits until every chain has been read once, so that the first submissions are not refused for want of a head or of a deposit. A chain that does not answer
/// may not keep the others waiting: the listeners answer after a moment in any case.
async fn first_look(store: &Store, config: &Config, stop: &CancellationToken) {
    let read_all = async {
        for chain in config.chains.values().map(|chain| ChainId(chain.chain_id)) {
            while !is_caught_up(store, chain).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(FIRST_LOOK) => tracing::warn!("a chain has not been read yet; answering all the same"),
        () = read_all => {}
    }
}

/// Whether a chain has been read and what it said for good is in the books: before that, a payer's deposit looks like nothing.
async fn is_caught_up(store: &Store, chain: ChainId) -> bool {
    matches!(store.get_cursor(chain).await, Ok(Some(_)))
        && store
            .list_unapplied_final(chain, 1)
            .await
            .is_ok_and(|waiting| waiting.is_empty())
}

/// Open connections may not hold a stop up for ever.
async fn outlast(stop: &CancellationToken, bound_ms: u64) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_millis(bound_ms)).await;
}
