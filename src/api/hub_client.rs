//! The command line's side of `HubService`.

use super::client::{Client, ClientError};
use relayer_proto::v1;
use relayer_proto::v1::hub_service_client::HubServiceClient;
use tonic::transport::Channel;

/// Largest answer read: a thousand refusals, or an eon's tokens.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A connected client.
#[derive(Debug, Clone)]
pub struct HubClient {
    client: Client,
    inner: HubServiceClient<Channel>,
}

/// Answers as they come.
#[derive(Debug)]
pub struct Answers<T>(tonic::Streaming<T>);

impl<T> Answers<T> {
    /// None after the last.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        Ok(self.0.message().await?)
    }
}

macro_rules! call {
    ($name:ident, $request:ident, $response:ident) => {
        pub async fn $name(&mut self, request: v1::$request) -> Result<v1::$response, ClientError> {
            let request = self.client.request(request);
            Ok(self.inner.$name(request).await?.into_inner())
        }
    };
}

impl HubClient {
    pub fn new(client: Client) -> Self {
        let inner = HubServiceClient::new(client.channel()).max_decoding_message_size(ANSWER_BYTES_MAX);
        Self { client, inner }
    }

    call!(list_hubs, ListHubsRequest, ListHubsResponse);
    call!(get_checkpoint, GetCheckpointRequest, GetCheckpointResponse);
    call!(submit_checkpoint, SubmitCheckpointRequest, SubmitCheckpointResponse);
    call!(list_tokens, ListTokensRequest, ListTokensResponse);
    call!(whois, WhoisRequest, WhoisResponse);
    call!(get_allotment, GetAllotmentRequest, GetAllotmentResponse);
    call!(list_transactions, ListTransactionsRequest, ListTransactionsResponse);
    call!(get_transaction, GetTransactionRequest, GetTransactionResponse);
    call!(register_token, RegisterTokenRequest, RegisterTokenResponse);

    pub async fn import_allotments(
        &mut self,
        pieces: Vec<v1::ImportAllotmentsRequest>,
    ) -> Result<v1::ImportAllotmentsResponse, ClientError> {
        let request = self.client.request(futures::stream::iter(pieces));
        Ok(self.inner.import_allotments(request).await?.into_inner())
    }

    pub async fn build_checkpoint(
        &mut self,
        request: v1::BuildCheckpointRequest,
    ) -> Result<Answers<v1::BuildCheckpointResponse>, ClientError> {
        let request = self.client.request(request);
        Ok(Answers(self.inner.build_checkpoint(request).await?.into_inner()))
    }

    pub async fn watch(&mut self, request: v1::WatchHubRequest) -> Result<Answers<v1::WatchHubResponse>, ClientError> {
        let request = self.client.request(request);
        Ok(Answers(self.inner.watch(request).await?.into_inner()))
    }
}
