//! What operators may ask: differences between ledger and chains, and ends of disputes. Every call needs the operator's token.

use super::convert::stamp;
use super::error::{ApiError, Kind, TOKEN};
use super::parse;
use crate::clock::Clock;
use crate::reconciler::{DISPUTE, payment_on_chain};
use crate::store::{DisputeOutcome, DisputeRefusal, DriftClass, DriftFilter, DriftRow, Settlement, Store};
use futures::Stream;
use relayer_adapter_api::{ChainId, SettlementId};
use relayer_proto::v1;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between two looks for changes.
const LOOK: Duration = Duration::from_millis(500);
/// Changes read at once.
const CHANGES: u64 = 200;
const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 500;
/// Longest note and name: they are kept for ever.
const TEXT_MAX: usize = 500;

/// The operator's service.
#[derive(Clone)]
pub struct Operators {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Hash of the token; comparing hashes takes the same time whatever was presented.
    token: Option<[u8; 32]>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Operators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operators")
            .field("token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

impl Operators {
    pub fn new(store: Store, clock: Arc<dyn Clock>, token: Option<&str>, stop: CancellationToken) -> Self {
        Self {
            store,
            clock,
            token: token.map(|token| Sha256::digest(token.as_bytes()).into()),
            stop,
        }
    }

    /// Refuses whoever does not show the operator's token.
    fn admit(&self, header: Option<&str>) -> Result<(), ApiError> {
        let refused = |reason: &str| ApiError::new(Kind::Unauthenticated, TOKEN, reason);
        let Some(expected) = self.token else {
            return Err(refused("operator.token is not configured: nobody is an operator here"));
        };
        let presented = header.and_then(|header| header.split_once(' '));
        let presented = presented.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let digest: Option<[u8; 32]> = presented.map(|(_, token)| Sha256::digest(token.trim().as_bytes()).into());
        if digest == Some(expected) {
            Ok(())
        } else {
            Err(refused("the operator's bearer token is needed"))
        }
    }

    pub async fn list_drift(
        &self,
        header: Option<&str>,
        request: v1::ListDriftRequest,
    ) -> Result<v1::ListDriftResponse, ApiError> {
        self.admit(header)?;
        let filter = filter(&request)?;
        let before = match request.page_token.as_str() {
            "" => None,
            token => {
                let row = token.strip_prefix('d').and_then(|row| row.parse::<i64>().ok());
                Some(row.ok_or_else(|| ApiError::field("page_token", "is not one of ours"))?)
            }
        };
        let limit = match request.page_size {
            0 => PAGE_DEFAULT,
            asked => asked.min(PAGE_MAX),
        };
        let rows = self.store.list_drifts(&filter, before, u64::from(limit)).await?;
        let last = rows.last().filter(|_| rows.len() == limit as usize);
        Ok(v1::ListDriftResponse {
            next_page_token: last.map(|last| format!("d{}", last.id)).unwrap_or_default(),
            drifts: rows.iter().map(drift).collect(),
        })
    }

    /// Changes from a place on, for as long as the client listens and the relayer runs.
    pub fn stream_drift(
        &self,
        header: Option<&str>,
        request: &v1::StreamDriftRequest,
    ) -> Result<impl Stream<Item = Result<v1::DriftChange, ApiError>> + Send + use<>, ApiError> {
        self.admit(header)?;
        if request.after_seq < 0 {
            return Err(ApiError::field("after_seq", "is negative"));
        }
        let start = (self.clone(), request.after_seq, Vec::new().into_iter());
        Ok(futures::stream::unfold(
            start,
            |(own, mut after, mut page)| async move {
                loop {
                    let next: Option<DriftRow> = page.next();
                    if let Some(row) = next {
                        after = row.seq;
                        let change = v1::DriftChange {
                            seq: row.seq,
                            drift: Some(drift(&row)),
                        };
                        return Some((Ok(change), (own, after, page)));
                    }
                    match own.store.list_drift_changes(after, CHANGES).await {
                        Ok(rows) => page = rows.into_iter(),
                        Err(error) => return Some((Err(error.into()), (own, after, page))),
                    }
                    if page.len() == 0 {
                        tokio::select! {
                            () = own.stop.cancelled() => return None,
                            () = tokio::time::sleep(LOOK) => {}
                        }
                    }
                }
            },
        ))
    }

    pub async fn resolve_dispute(
        &self,
        header: Option<&str>,
        request: v1::ResolveDisputeRequest,
    ) -> Result<v1::ResolveDisputeResponse, ApiError> {
        self.admit(header)?;
        let id = SettlementId(parse::hash("settlement_id", &request.settlement_id)?);
        for (field, text) in [("note", &request.note), ("by", &request.by)] {
            if text.trim().is_empty() || text.len() > TEXT_MAX {
                return Err(ApiError::field(field, format!("is required, at most {TEXT_MAX} bytes")));
            }
        }
        let row = self.store.find_settlement(id).await?;
        let row: Settlement = row.ok_or_else(|| ApiError::not_found(id))?;
        let outcome = match request.outcome.as_str() {
            "paid" => match payment_on_chain(&self.store, row.target, id).await? {
                Some(payment) => DisputeOutcome::Paid(payment),
                None => return Err(refused("the chain tells of no final payment of it")),
            },
            "unpaid" => DisputeOutcome::Unpaid,
            _ => return Err(ApiError::field("outcome", "is paid or unpaid")),
        };
        let by = format!("operator {}", request.by);
        let mut txn = self.store.begin(self.clock.now_ms()).await?;
        let resolved = txn.resolve_dispute(id, &outcome, &by, &request.note).await?;
        match resolved {
            Ok(row) => {
                txn.commit().await?;
                tracing::info!(settlement = %id, outcome = request.outcome, by, "dispute resolved");
                Ok(v1::ResolveDisputeResponse {
                    settlement_id: id.to_string(),
                    state: row.state.to_string(),
                })
            }
            Err(DisputeRefusal::Unknown) => Err(ApiError::not_found(id)),
            Err(refusal) => Err(refused(&refusal.to_string())),
        }
    }
}

fn refused(reason: &str) -> ApiError {
    ApiError::new(Kind::FailedPrecondition, DISPUTE, reason)
}

fn filter(request: &v1::ListDriftRequest) -> Result<DriftFilter, ApiError> {
    let class = match request.class.as_str() {
        "" => None,
        name => Some(
            name.parse::<DriftClass>()
                .map_err(|error| ApiError::field("class", error))?,
        ),
    };
    Ok(DriftFilter {
        class,
        chain: (request.chain != 0).then_some(ChainId(request.chain)),
        settlement: parse::optional_hash("settlement_id", &request.settlement_id)?.map(SettlementId),
        resolved: request.resolved,
    })
}

fn drift(row: &DriftRow) -> v1::Drift {
    let drift = &row.drift;
    v1::Drift {
        id: stamp(row.id),
        class: drift.class.to_string(),
        chain: drift.chain.0,
        subject: drift.subject.clone(),
        token: row.about.token.map(|token| token.to_string()).unwrap_or_default(),
        settlement_id: row.about.settlement.map(|id| id.to_string()).unwrap_or_default(),
        expected: drift.expected.clone(),
        actual: drift.actual.clone(),
        found_at_ms: stamp(row.found_at),
        resolved_at_ms: stamp(row.resolved_at),
        resolution: row.resolution.clone().unwrap_or_default(),
    }
}
