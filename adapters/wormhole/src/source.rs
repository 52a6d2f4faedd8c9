//! The guardians' public REST. Whatever it answers is a claim: nothing here is trusted, so nothing here is checked beyond its form.

use crate::config::{ConfigError, WormholeConfig};
use crate::vaa::Vaa;
use alloy::primitives::{B256, hex};
use alloy::transports::http::reqwest::{Client, StatusCode, Url, redirect};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// A VAA of ours has less than 2,000 bytes even with 19 signatures.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What names a VAA: the contract that published it, on its chain, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaaName {
    pub emitter_chain: u16,
    pub emitter: B256,
    pub sequence: u64,
}

/// What an endpoint said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Vaa(Box<Vaa>),
    /// Not yet, or never: an endpoint does not know the difference.
    Absent,
    /// No answer, or none that is a VAA.
    Useless(String),
}

/// Somewhere signed VAAs can be had.
#[async_trait]
pub trait VaaSource: Send + Sync {
    /// For notes and findings.
    fn name(&self) -> &str;
    async fn signed_vaa(&self, name: VaaName) -> Answer;
    /// Index of the guardian set it calls current.
    async fn guardian_set(&self) -> Result<u32, String>;
}

/// A guardian's REST endpoint, or Wormholescan's copy of it.
#[derive(Debug, Clone)]
pub struct RestGuardian {
    client: Client,
    base: String,
    host: String,
}

#[derive(Deserialize)]
struct SignedVaa {
    #[serde(rename = "vaaBytes")]
    vaa_bytes: String,
}

#[derive(Deserialize)]
struct CurrentSet {
    #[serde(rename = "guardianSet")]
    guardian_set: SetIndex,
}

#[derive(Deserialize)]
struct SetIndex {
    index: u32,
}

impl RestGuardian {
    /// One per configured endpoint, sharing a client.
    pub fn all(config: &WormholeConfig) -> Result<Vec<Arc<dyn VaaSource>>, ConfigError> {
        // No redirects: an endpoint must not send us into our own network.
        let client = Client::builder()
            .timeout(Duration::from_millis(config.endpoint_timeout_ms))
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| ConfigError::Client(error.to_string()))?;
        let mut all: Vec<Arc<dyn VaaSource>> = Vec::new();
        for base in &config.guardian_endpoints {
            let url: Url = base.parse().map_err(|_| ConfigError::Endpoint(base.clone()))?;
            let host = match (url.scheme(), url.host_str()) {
                ("http" | "https", Some(host)) => host.to_owned(),
                _ => return Err(ConfigError::Endpoint(base.clone())),
            };
            let host = url.port().map_or(host.clone(), |port| format!("{host}:{port}"));
            all.push(Arc::new(Self {
                client: client.clone(),
                base: base.trim_end_matches('/').to_owned(),
                host,
            }));
        }
        Ok(all)
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Vec<u8>), String> {
        // The error's own text would repeat the URL with whatever key an operator put into it.
        let plain = |error: alloy::transports::http::reqwest::Error| error.without_url().to_string();
        let request = self.client.get(format!("{}{path}", self.base));
        let mut response = request.send().await.map_err(plain)?;
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

/// The body of a 200.
pub(crate) fn parse(body: &[u8]) -> Result<Vaa, String> {
    let answer: SignedVaa = serde_json::from_slice(body).map_err(|error| format!("not a signed VAA: {error}"))?;
    let bytes = STANDARD
        .decode(answer.vaa_bytes.as_bytes())
        .map_err(|error| format!("not base64: {error}"))?;
    Vaa::decode(&bytes).map_err(|error| error.to_string())
}

#[async_trait]
impl VaaSource for RestGuardian {
    fn name(&self) -> &str {
        &self.host
    }

    async fn signed_vaa(&self, name: VaaName) -> Answer {
        // 64 lower-case digits without 0x; anything else is answered like a VAA that does not exist.
        let emitter = hex::encode(name.emitter);
        let path = format!("/v1/signed_vaa/{}/{emitter}/{}", name.emitter_chain, name.sequence);
        match self.get(&path).await {
            Ok((StatusCode::OK, body)) => match parse(&body) {
                Ok(vaa) => Answer::Vaa(Box::new(vaa)),
                Err(reason) => Answer::Useless(reason),
            },
            Ok((StatusCode::NOT_FOUND, _)) => Answer::Absent,
            Ok((status, _)) => Answer::Useless(format!("answered {status}")),
            Err(reason) => Answer::Useless(reason),
        }
    }

    async fn guardian_set(&self) -> Result<u32, String> {
        match self.get("/v1/guardianset/current").await? {
            (StatusCode::OK, body) => serde_json::from_slice::<CurrentSet>(&body)
                .map(|answer| answer.guardian_set.index)
                .map_err(|error| error.to_string()),
            (status, _) => Err(format!("answered {status}")),
        }
    }
}
