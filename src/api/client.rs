//! The command line's side of the gRPC service.

use relayer_proto::v1;
use relayer_proto::v1::operator_service_client::OperatorServiceClient;
use relayer_proto::v1::settlement_service_client::SettlementServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

/// Changes as they come.
#[derive(Debug)]
pub struct Changes(tonic::Streaming<v1::WatchResponse>);

impl Changes {
    /// None when the relayer ended the stream without a word.
    pub async fn next(&mut self) -> Result<Option<v1::WatchResponse>, ClientError> {
        Ok(self.0.message().await?)
    }
}

/// A connected client.
#[derive(Debug, Clone)]
pub struct Client {
    inner: SettlementServiceClient<Channel>,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

/// A call that was not answered, or refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("the token is not printable text")]
    Token,
    /// Refused with one of our codes, or by something between.
    #[error("{message}")]
    Refused {
        code: Option<String>,
        not_found: bool,
        unavailable: bool,
        message: String,
        metadata: Vec<(String, String)>,
    },
}

/// Whether a refusal of one of many may be gone when the same is asked again.
pub fn is_transient(refusal: &v1::Refusal) -> bool {
    passes(tonic::Code::from(refusal.status))
}

fn passes(code: tonic::Code) -> bool {
    matches!(code, tonic::Code::Unavailable | tonic::Code::DeadlineExceeded)
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        let info = status.get_details_error_info();
        let mut metadata: Vec<(String, String)> = info
            .as_ref()
            .map(|info| info.metadata.clone().into_iter().collect())
            .unwrap_or_default();
        metadata.sort();
        Self::Refused {
            code: info.map(|info| info.reason),
            not_found: status.code() == tonic::Code::NotFound,
            unavailable: passes(status.code()),
            message: status.message().to_owned(),
            metadata,
        }
    }
}

/// Largest answer read: a settlement with a long history.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where to, and as whom.
async fn connected(server: &str, token: Option<&str>) -> Result<(Channel, Option<MetadataValue<Ascii>>), ClientError> {
    let unreachable = |error: tonic::transport::Error| {
        let reason = std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
        ClientError::Unreachable {
            server: server.to_owned(),
            reason,
        }
    };
    let endpoint = Endpoint::from_shared(server.to_owned()).map_err(unreachable)?;
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let token = match token {
        Some(token) => Some(format!("Bearer {token}").parse().map_err(|_| ClientError::Token)?),
        None => None,
    };
    Ok((channel, token))
}

fn authorized<T>(message: T, token: Option<&MetadataValue<Ascii>>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.clone());
    }
    request
}

/// Drifts as they come and go.
#[derive(Debug)]
pub struct DriftChanges(tonic::Streaming<v1::DriftChange>);

impl DriftChanges {
    /// None when the relayer ended the stream.
    pub async fn next(&mut self) -> Result<Option<v1::DriftChange>, ClientError> {
        Ok(self.0.message().await?)
    }
}

/// A connected client of the operator's service.
#[derive(Debug, Clone)]
pub struct OperatorClient {
    inner: OperatorServiceClient<Channel>,
    token: Option<MetadataValue<Ascii>>,
}

impl OperatorClient {
    pub async fn connect(server: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let (channel, token) = connected(server, token).await?;
        Ok(Self {
            inner: OperatorServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
            token,
        })
    }

    pub async fn list_drift(&mut self, request: v1::ListDriftRequest) -> Result<v1::ListDriftResponse, ClientError> {
        let request = authorized(request, self.token.as_ref());
        Ok(self.inner.list_drift(request).await?.into_inner())
    }

    pub async fn stream_drift(&mut self, after_seq: i64) -> Result<DriftChanges, ClientError> {
        let request = authorized(v1::StreamDriftRequest { after_seq }, self.token.as_ref());
        Ok(DriftChanges(self.inner.stream_drift(request).await?.into_inner()))
    }

    pub async fn resolve_dispute(
        &mut self,
        request: v1::ResolveDisputeRequest,
    ) -> Result<v1::ResolveDisputeResponse, ClientError> {
        let request = authorized(request, self.token.as_ref());
        Ok(self.inner.resolve_dispute(request).await?.into_inner())
    }
}

impl Client {
    pub async fn connect(server: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let (channel, token) = connected(server, token).await?;
        Ok(Self {
            inner: SettlementServiceClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            channel,
            token,
        })
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(super) fn request<T>(&self, message: T) -> tonic::Request<T> {
        authorized(message, self.token.as_ref())
    }

    pub async fn submit(&mut self, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, ClientError> {
        let request = self.request(request);
        Ok(self.inner.submit(request).await?.into_inner())
    }

    pub async fn submit_group(
        &mut self,
        request: v1::SubmitGroupRequest,
    ) -> Result<v1::SubmitGroupResponse, ClientError> {
        let request = self.request(request);
        Ok(self.inner.submit_group(request).await?.into_inner())
    }

    pub async fn get(&mut self, settlement_id: &str) -> Result<v1::GetResponse, ClientError> {
        let settlement_id = settlement_id.to_owned();
        let request = self.request(v1::GetRequest { settlement_id });
        Ok(self.inner.get(request).await?.into_inner())
    }

    pub async fn list(&mut self, request: v1::ListRequest) -> Result<v1::ListResponse, ClientError> {
        let request = self.request(request);
        Ok(self.inner.list(request).await?.into_inner())
    }

    pub async fn quote(&mut self, request: v1::QuoteRequest) -> Result<v1::QuoteResponse, ClientError> {
        let request = self.request(request);
        Ok(self.inner.quote(request).await?.into_inner())
    }

    pub async fn cancel(&mut self, settlement_id: &str) -> Result<v1::CancelResponse, ClientError> {
        let settlement_id = settlement_id.to_owned();
        let request = self.request(v1::CancelRequest { settlement_id });
        Ok(self.inner.cancel(request).await?.into_inner())
    }

    pub async fn watch(&mut self, request: v1::WatchRequest) -> Result<Changes, ClientError> {
        let request = self.request(request);
        Ok(Changes(self.inner.watch(request).await?.into_inner()))
    }
}
