//! What every method of `HubService` does, whatever the transport. A hub's ledger lies behind it; `relayer serve` gives it to the handlers.
//!
//! Layout: this page reads; [`keeping`] is a coordinator's own hub and imports, which come as streams; [`watch`] live events; [`convert`] rows to
//! answers.

mod convert;
mod keeping;
mod watch;

pub use watch::HubWatching;

use super::error::{ApiError, DRY_RUN, Kind, NO_HUBS};
use super::handlers::Handlers;
use super::parse;
use crate::error::Coded;
use crate::hub::ledger::{Ledger, LedgerError, SIGNED};
use crate::hub::model::Eon;
use crate::store::{Hub, HubOperationKind, LedgerOperation, TransferFilter};
use alloy::primitives::{Address, B256, Bytes};
use relayer_adapter_api::{ChainId, Class};
use relayer_proto::v1;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Transfers on a page at most, as the audit of NOCUST's hub has it.
const PAGE_MAX: u32 = 50;

/// Rings the bell of who reads a chain's hubs.
pub type Look = Arc<dyn Fn(ChainId) + Send + Sync>;

/// What lies behind the methods.
#[derive(Clone)]
pub struct Hubs {
    pub ledger: Ledger,
    /// Coordinator that may keep a hub's ledger, by the hub's name.
    pub keepers: BTreeMap<String, String>,
    pub look: Look,
    /// Nothing is written.
    pub dry_run: bool,
}

impl std::fmt::Debug for Hubs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hubs")
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

/// An operation at a hub's contract, for an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedOperation {
    pub txid: String,
    pub block: i64,
    pub eon: u64,
    pub amount: String,
    /// Unix seconds.
    pub time: u64,
}

/// Everything about a wallet in an eon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WalletAudit {
    pub registration: Option<v1::Registration>,
    pub proof: Option<v1::GetAllotmentResponse>,
    pub transactions: Vec<v1::HubTransaction>,
    pub deposits: Vec<AuditedOperation>,
    pub withdrawal_requests: Vec<AuditedOperation>,
    pub withdrawals: Vec<AuditedOperation>,
}

/// Rows of each kind in an audit; more are found with ListTransactions.
const AUDIT_MAX: u64 = 1_000;

impl Hubs {
    fn may_write(&self) -> Result<(), ApiError> {
        if !self.dry_run {
            return Ok(());
        }
        let message = "this relayer runs with --dry-run: it takes nothing on";
        Err(ApiError::new(Kind::FailedPrecondition, DRY_RUN, message))
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        let kind = match error.class() {
            Class::Retry { .. } => Kind::Unavailable,
            // What is missing comes with the chain's blocks.
            Class::NotYet => Kind::FailedPrecondition,
            Class::Bug => Kind::Internal,
            Class::Reject if error.is_absent() => Kind::NotFound,
            Class::Reject => match &error {
                LedgerError::NotKept { .. } => Kind::PermissionDenied,
                LedgerError::BadToken { .. } | LedgerError::BadImport { .. } => Kind::InvalidArgument,
                _ => Kind::FailedPrecondition,
            },
        };
        Self::as_kind(kind, &error)
    }
}

fn eon(eon: u64) -> Option<Eon> {
    (eon != 0).then_some(Eon(eon))
}

impl Handlers {
    pub(super) fn hubs(&self) -> Result<&Hubs, ApiError> {
        let none = || ApiError::new(Kind::Unavailable, NO_HUBS, "this listener knows no hubs");
        self.hubs.as_ref().ok_or_else(none)
    }

    /// Reading is open where nobody has a token.
    async fn hub_of(&self, token: Option<&str>, name: &str) -> Result<(&Hubs, Hub), ApiError> {
        self.may_read(token, "read a hub")?;
        let hubs = self.hubs()?;
        if name.is_empty() {
            return Err(ApiError::field("hub", "is empty"));
        }
        Ok((hubs, hubs.ledger.hub(name).await?))
    }

    pub async fn list_hubs(
        &self,
        token: Option<&str>,
        _: v1::ListHubsRequest,
    ) -> Result<v1::ListHubsResponse, ApiError> {
        let work = async {
            self.may_read(token, "list hubs")?;
            let ledger = &self.hubs()?.ledger;
            let mut hubs = Vec::new();
            for hub in ledger.store().list_hubs().await? {
                hubs.push(self.describe(self.hubs()?, &hub).await?);
            }
            Ok(v1::ListHubsResponse { hubs })
        };
        self.admit("ListHubs", work).await
    }

    /// One hub as [`Handlers::list_hubs`] shows it.
    pub async fn find_hub(&self, token: Option<&str>, name: &str) -> Result<v1::Hub, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, name).await?;
            self.describe(hubs, &hub).await
        };
        self.admit("FindHub", work).await
    }

    async fn describe(&self, hubs: &Hubs, hub: &Hub) -> Result<v1::Hub, ApiError> {
        let time = hubs.ledger.time(hub).await?;
        let head = hubs.ledger.store().find_hub_ledger(hub.id).await?;
        let built = hubs.ledger.store().newest_built_eon(hub.id).await?;
        Ok(convert::hub(hub, time, head, built))
    }

    /// A wallet's allotment, transfers and operations in an eon.
    pub async fn audit_wallet(
        &self,
        token: Option<&str>,
        (name, of_eon): (&str, u64),
        (of, wallet): (&str, &str),
    ) -> Result<WalletAudit, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, name).await?;
            let (of, wallet) = holder(of, wallet)?;
            let mut audit = WalletAudit::default();
            match hubs.ledger.whois(&hub, of, wallet).await {
                Ok((account, _)) => audit.registration = Some(convert::registration(&account)),
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error.into()),
            }
            match hubs.ledger.allotment(&hub, (of, wallet), Some(Eon(of_eon))).await {
                Ok(proven) => audit.proof = Some(convert::allotment(&proven, None)),
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error.into()),
            }
            let store = hubs.ledger.store();
            let filter = TransferFilter {
                eon: Some(of_eon),
                token: Some(of),
                wallet: Some(wallet),
                ..TransferFilter::of(hub.id)
            };
            let closed = store.find_hub_ledger(hub.id).await?.map_or(0, |head| head.closed_eon);
            let transfers = store.list_hub_transfers(&filter, None, AUDIT_MAX).await?;
            audit.transactions = transfers.iter().map(|one| convert::transaction(one, closed)).collect();
            for operation in store
                .list_ledger_operations(hub.id, (of, wallet), of_eon, AUDIT_MAX)
                .await?
            {
                let list = match operation.kind {
                    HubOperationKind::Deposit => &mut audit.deposits,
                    HubOperationKind::WithdrawalRequest => &mut audit.withdrawal_requests,
                    HubOperationKind::WithdrawalConfirmation => &mut audit.withdrawals,
                };
                list.push(audited(&operation));
            }
            Ok(audit)
        };
        self.admit("AuditWallet", work).await
    }

    /// Without a signature a hint; what the contract says counts. With one the operator's word, for the registries it names.
    pub async fn submit_checkpoint(
        &self,
        token: Option<&str>,
        request: v1::SubmitCheckpointRequest,
    ) -> Result<v1::SubmitCheckpointResponse, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, &request.hub).await?;
            let root = parse::optional_hash("root", &request.root)?;
            if !request.signature.is_empty() {
                return self.signed_checkpoint(hubs, &hub, &request, root).await;
            }
            let known = self.checkpoint(hubs, &hub, eon(request.eon)).await?;
            let same = match &known {
                Some(known) => request.eon != 0 && (root.is_none_or(|root| root.to_string() == known.root)),
                None => false,
            };
            if !same {
                (hubs.look)(hub.chain);
            }
            Ok(v1::SubmitCheckpointResponse {
                status: if same { "known" } else { "looking" }.into(),
                checkpoint: known.filter(|_| request.eon != 0),
            })
        };
        self.admit("SubmitCheckpoint", work).await
    }

    /// The signature says who speaks, so whoever brings it may.
    async fn signed_checkpoint(
        &self,
        hubs: &Hubs,
        hub: &Hub,
        request: &v1::SubmitCheckpointRequest,
        root: Option<B256>,
    ) -> Result<v1::SubmitCheckpointResponse, ApiError> {
        hubs.may_write()?;
        let Some(signed) = &self.signed else {
            let message = "no hub is carried anywhere; without a signature this is a hint to look at the hub";
            return Err(ApiError::new(Kind::FailedPrecondition, SIGNED, message));
        };
        let root = root.ok_or_else(|| ApiError::field("root", "is empty, and a signature is over one"))?;
        let signature: Bytes = request
            .signature
            .parse()
            .map_err(|_| ApiError::field("signature", "is not hex"))?;
        let of = (hub.chain, hub.contract);
        let taken = signed.submit(of, Eon(request.eon), root, &signature).await;
        taken.map_err(|error| {
            let kind = match error.class() {
                Class::Retry { .. } => Kind::Unavailable,
                Class::NotYet => Kind::FailedPrecondition,
                Class::Bug => Kind::Internal,
                Class::Reject => Kind::InvalidArgument,
            };
            ApiError::as_kind(kind, &error)
        })?;
        Ok(v1::SubmitCheckpointResponse {
            status: "stored".into(),
            checkpoint: self.checkpoint(hubs, hub, eon(request.eon)).await?,
        })
    }

    pub async fn get_checkpoint(
        &self,
        token: Option<&str>,
        request: v1::GetCheckpointRequest,
    ) -> Result<v1::GetCheckpointResponse, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, &request.hub).await?;
            let wanted = eon(request.eon).or((hub.last_eon.0 > 0).then_some(hub.last_eon));
            let found = self.checkpoint(hubs, &hub, wanted).await?;
            let found = found.ok_or(LedgerError::NoContents { eon: wanted })?;
            Ok(v1::GetCheckpointResponse {
                checkpoint: Some(found),
            })
        };
        self.admit("GetCheckpoint", work).await
    }

    /// None when neither the chain nor the ledger knows the eon.
    async fn checkpoint(
        &self,
        hubs: &Hubs,
        hub: &Hub,
        eon: Option<Eon>,
    ) -> Result<Option<v1::HubCheckpoint>, ApiError> {
        let store = hubs.ledger.store();
        let on_chain = match eon {
            Some(eon) => store.find_checkpoint(hub.id, eon).await?,
            None => None,
        };
        let root = store.find_hub_root(hub.id, eon.map(|eon| eon.0)).await?;
        let contents = match root {
            Some(root) => {
                let commitments = store.list_hub_commitments(root.id).await?;
                Some((root, commitments))
            }
            None => None,
        };
        Ok(convert::checkpoint(hub, on_chain, contents))
    }

    pub async fn list_tokens(
        &self,
        token: Option<&str>,
        request: v1::ListTokensRequest,
    ) -> Result<v1::ListTokensResponse, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, &request.hub).await?;
            let mut tokens = hubs.ledger.store().list_ledger_tokens(hub.id).await?;
            let mut answer: Vec<v1::HubToken> = tokens.drain(..).map(convert::token).collect();
            if answer.is_empty()
                && let Some(root) = hubs.ledger.store().find_hub_root(hub.id, None).await?
            {
                // Somebody else's hub: the tokens of what was imported.
                let commitments = hubs.ledger.store().list_hub_commitments(root.id).await?;
                answer = commitments.iter().map(convert::imported_token).collect();
            }
            Ok(v1::ListTokensResponse { tokens: answer })
        };
        self.admit("ListTokens", work).await
    }

    pub async fn whois(&self, token: Option<&str>, request: v1::WhoisRequest) -> Result<v1::WhoisResponse, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, &request.hub).await?;
            let (of, wallet) = holder(&request.token, &request.wallet)?;
            let (account, available) = hubs.ledger.whois(&hub, of, wallet).await?;
            Ok(v1::WhoisResponse {
                registration: Some(convert::registration(&account)),
                available: available.to_string(),
            })
        };
        self.admit("Whois", work).await
    }

    pub async fn get_allotment(
        &self,
        token: Option<&str>,
        request: v1::GetAllotmentRequest,
    ) -> Result<v1::GetAllotmentResponse, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, &request.hub).await?;
            let (of, wallet) = holder(&request.token, &request.wallet)?;
            let proven = hubs.ledger.allotment(&hub, (of, wallet), eon(request.eon)).await?;
            // An outside hub's wallets are not admitted here.
            let account = match hubs.ledger.whois(&hub, of, wallet).await {
                Ok((account, _)) => Some(convert::registration(&account)),
                Err(error) if error.is_absent() => None,
                Err(error) => return Err(error.into()),
            };
            Ok(convert::allotment(&proven, account))
        };
        self.admit("GetAllotment", work).await
    }

    pub async fn list_transactions(
        &self,
        token: Option<&str>,
        request: v1::ListTransactionsRequest,
    ) -> Result<v1::ListTransactionsResponse, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, &request.hub).await?;
            let before = match request.page_token.as_str() {
                "" => None,
                token => {
                    let row = token.strip_prefix('t').and_then(|row| row.parse::<i64>().ok());
                    Some(row.ok_or_else(|| ApiError::field("page_token", "is not one of ours"))?)
                }
            };
            let nonce = match request.nonce.as_str() {
                "" => None,
                nonce => Some(parse::decimal("nonce", nonce)?),
            };
            let filter = TransferFilter {
                tx_id: (!request.tx_id.is_empty()).then(|| request.tx_id.clone()),
                eon: eon(request.eon).map(|eon| eon.0),
                nonce,
                token: parse::optional_address("token", &request.token)?,
                wallet: parse::optional_address("wallet", &request.wallet)?,
                ..TransferFilter::of(hub.id)
            };
            let size = match request.page_size {
                0 => PAGE_MAX,
                asked => asked.min(PAGE_MAX),
            };
            let store = hubs.ledger.store();
            let mut rows = store
                .list_hub_transfers(&filter, before, u64::from(size).saturating_add(1))
                .await?;
            let more = rows.len() > size as usize;
            rows.truncate(size as usize);
            let next = rows.last().filter(|_| more).map(|last| format!("t{}", last.id));
            let closed = store.find_hub_ledger(hub.id).await?.map_or(0, |head| head.closed_eon);
            Ok(v1::ListTransactionsResponse {
                transactions: rows.iter().map(|row| convert::transaction(row, closed)).collect(),
                next_page_token: next.unwrap_or_default(),
                count: store.count_hub_transfers(&filter).await?,
            })
        };
        self.admit("ListTransactions", work).await
    }

    pub async fn get_transaction(
        &self,
        token: Option<&str>,
        request: v1::GetTransactionRequest,
    ) -> Result<v1::GetTransactionResponse, ApiError> {
        let work = async {
            let (hubs, hub) = self.hub_of(token, &request.hub).await?;
            let id = i64::try_from(request.id).map_err(|error| ApiError::field("id", error))?;
            if id == 0 && request.tx_id.is_empty() {
                return Err(ApiError::field("id", "and tx_id are empty"));
            }
            let filter = TransferFilter {
                id: (id != 0).then_some(id),
                tx_id: (!request.tx_id.is_empty()).then(|| request.tx_id.clone()),
                ..TransferFilter::of(hub.id)
            };
            let store = hubs.ledger.store();
            let found = store.list_hub_transfers(&filter, None, 1).await?.pop();
            let found = found.ok_or_else(|| {
                ApiError::new(
                    Kind::NotFound,
                    super::error::NO_TRANSFER,
                    "the hub has no such transfer",
                )
            })?;
            let closed = store.find_hub_ledger(hub.id).await?.map_or(0, |head| head.closed_eon);
            let delivery = hubs.ledger.delivery(&hub, &found).await?;
            Ok(v1::GetTransactionResponse {
                transaction: Some(convert::transaction(&found, closed)),
                delivery_proof: delivery.as_ref().map(convert::delivery),
            })
        };
        self.admit("GetTransaction", work).await
    }
}

fn audited(operation: &LedgerOperation) -> AuditedOperation {
    AuditedOperation {
        txid: operation.tx_hash.to_string(),
        block: operation.place.0,
        eon: operation.eon,
        amount: operation.amount.to_string(),
        time: operation.timestamp,
    }
}

fn holder(token: &str, wallet: &str) -> Result<(Address, Address), ApiError> {
    Ok((parse::address("token", token)?, parse::address("wallet", wallet)?))
}

#[cfg(test)]
mod tests;
