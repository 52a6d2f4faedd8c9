//! CCIP's public REST, where verifier results of 2.0 can be had. Whatever it answers is a claim that the off-ramp checks; nothing here is trusted.

use crate::config::ConfigError;
use crate::verifiers::{Verified, VerifierResults};
use alloy::primitives::{Address, B256, Bytes};
use alloy::transports::http::reqwest::{Client, StatusCode, Url, redirect};
use async_trait::async_trait;
use relayer_adapter_api::{AdapterError, Class};
use serde::Deserialize;
use std::time::Duration;

/// Our message has 400 bytes, a result 150; whole batches of others are no answer to our question.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_secs(15);

/// An endpoint that serves `/v2/messages/{id}/execution-inputs`, as `https://api.ccip.chain.link` does.
#[derive(Debug, Clone)]
pub struct ResultsEndpoint {
    client: Client,
    base: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionInputs {
    encoded_message: Bytes,
    #[serde(default)]
    verification_complete: bool,
    #[serde(default)]
    ccv_data: Vec<Bytes>,
    verifier_addresses: Vec<Address>,
}

impl ResultsEndpoint {
    pub fn new(base: &str) -> Result<Self, ConfigError> {
        let refused = || ConfigError::Endpoint(base.to_owned());
        let url: Url = base.parse().map_err(|_| refused())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refused());
        }
        // No redirects: an endpoint must not send us into our own network.
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| ConfigError::Client(error.to_string()))?;
        Ok(Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    async fn get(&self, message_id: B256) -> Result<(StatusCode, Vec<u8>), String> {
        let url = format!("{}/v2/messages/{message_id}/execution-inputs", self.base);
        // The error's own text would repeat the URL with whatever key an operator put into it.
        let plain = |error: alloy::transports::http::reqwest::Error| error.without_url().to_string();
        let mut response = self.client.get(url).send().await.map_err(plain)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(plain)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("the answer has more than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// What the body of a 200 says about our message; None while verifiers are at work.
fn parse(body: &[u8], encoded: &Bytes) -> Result<Option<Verified>, String> {
    let inputs: ExecutionInputs =
        serde_json::from_slice(body).map_err(|error| format!("no execution inputs: {error}"))?;
    if inputs.encoded_message != *encoded {
        return Err("it speaks of another message".to_owned());
    }
    if !inputs.verification_complete || inputs.ccv_data.is_empty() {
        return Ok(None);
    }
    if inputs.ccv_data.len() != inputs.verifier_addresses.len() {
        return Err("results and verifiers do not pair up".to_owned());
    }
    Ok(Some(Verified {
        ccvs: inputs.verifier_addresses,
        results: inputs.ccv_data,
    }))
}

#[async_trait]
impl VerifierResults for ResultsEndpoint {
    async fn find(&self, message_id: B256, encoded: &Bytes) -> Result<Option<Verified>, AdapterError> {
        let useless = |reason: String| AdapterError::Protocol {
            attempted: "asking CCIP's endpoint for verifier results",
            reason,
            class: Class::Retry { after: RETRY_AFTER },
        };
        match self.get(message_id).await.map_err(useless)? {
            (StatusCode::OK, body) => parse(&body, encoded).map_err(useless),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, _) => Err(useless(format!("it answered {status}"))),
        }
    }
}
