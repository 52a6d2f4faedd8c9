//! The REST endpoint of verifier results, against a server that says what each case needs.

use super::*;
use crate::{ConfigError, ResultsEndpoint, Verified, VerifierResults};
use relayer_adapter_api::{AdapterError, BridgeAdapter, Class, Delivery};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every request alike; returns its base URL.
async fn serving(status: &'static str, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 2_000];
            let read = stream.read(&mut request).await.unwrap();
            let wanted = format!("GET /v2/messages/{}/execution-inputs ", sent_2_0(1).id());
            assert!(request[..read].starts_with(wanted.as_bytes()));
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream
                .write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())
                .await;
        }
    });
    base
}

async fn find(status: &'static str, body: String) -> Result<Option<Verified>, AdapterError> {
    let endpoint = ResultsEndpoint::new(&serving(status, body).await).unwrap();
    endpoint.find(sent_2_0(1).id(), &packed(1).into()).await
}

fn inputs(number: u64, complete: bool, results: &str) -> String {
    format!(
        "{{\"offramp\":\"{OFF_RAMP}\",\"encodedMessage\":\"0x{}\",\"verificationComplete\":{complete},\"ccvData\":[{results}],\"verifierAddresses\":[\"{RMN}\"]}}",
        hex::encode(packed(number))
    )
}

#[tokio::test]
async fn complete_results_are_found_and_unfinished_or_unknown_ones_are_not_yet_there() {
    let found = find("200 OK", inputs(1, true, "\"0xe9a05a20\""))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.ccvs, vec![RMN]);
    assert_eq!(found.results, vec![Bytes::from_static(&hex!("e9a05a20"))]);
    assert!(
        find("200 OK", inputs(1, false, "\"0xe9a05a20\""))
            .await
            .unwrap()
            .is_none()
    );
    assert!(find("200 OK", inputs(1, true, "")).await.unwrap().is_none());
    assert!(find("404 Not Found", String::new()).await.unwrap().is_none());
}

#[tokio::test]
async fn an_endpoint_that_lies_or_fails_is_asked_again_and_believed_in_nothing() {
    let check = async |status: &'static str, body: String, why: &str| {
        let error = find(status, body).await.unwrap_err();
        assert!(matches!(error.class(), Class::Retry { .. }));
        assert!(error.to_string().contains(why), "{error}");
    };
    check("200 OK", inputs(2, true, "\"0x00\""), "another message").await;
    check("200 OK", inputs(1, true, "\"0x00\",\"0x01\""), "pair up").await;
    check("200 OK", "{}".to_owned(), "no execution inputs").await;
    check("200 OK", "x".repeat(70_000), "more than").await;
    check("302 Found", String::new(), "302").await;
    check("503 Service Unavailable", String::new(), "503").await;
}

#[tokio::test]
async fn an_endpoint_that_is_down_leaves_a_message_pending_and_says_why() {
    let endpoint = ResultsEndpoint::new(&serving("503 Service Unavailable", String::new()).await).unwrap();
    let adapter = CcipAdapter::with_verifier_results(config(), Arc::new(endpoint)).unwrap();
    let target = Scripted {
        off_ramp_version: "OffRamp 2.0.0",
        ..Scripted::default()
    };
    let reference = reference(&sent_2_0(1));
    let delivery = adapter
        .delivery(&Scripted::default(), &target, &reference)
        .await
        .unwrap();
    assert!(
        matches!(&delivery, Delivery::Pending { note } if note.contains("503")),
        "{delivery:?}"
    );
    assert!(
        adapter
            .advance(&Scripted::default(), &target, &reference)
            .await
            .is_err()
    );
}

#[test]
fn an_address_that_is_no_web_address_is_refused() {
    for base in ["ftp://example.org", "example.org", "", "file:///etc/passwd"] {
        assert_eq!(
            ResultsEndpoint::new(base).unwrap_err(),
            ConfigError::Endpoint(base.to_owned())
        );
    }
}
