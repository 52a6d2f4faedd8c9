//! Hubs over REST: the audit routes of NOCUST's hub below `/v1/hubs/{hub}/audit/`, in its shapes, and events as server-sent events. What a
//! transfer of ours never has (swaps, cancellations) is there with the value that says so.

use super::lists::read;
use super::{sse, token};
use crate::api::Api;
use crate::api::error::{ApiError, Kind, ROUTE};
use crate::api::hub::WalletAudit;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use relayer_proto::v1;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;

type Answer = Result<Json<Value>, ApiError>;

/// Every route with and without the slash at its end.
pub(super) fn routes() -> Router<Api> {
    let both = |router: Router<Api>, path: &str, method: axum::routing::MethodRouter<Api>| {
        router.route(path, method.clone()).route(&format!("{path}/"), method)
    };
    let mut router = Router::new();
    router = both(router, "/v1/hubs", get(hubs));
    router = both(router, "/v1/hubs/{hub}/events", get(events));
    router = both(router, "/v1/hubs/{hub}/checkpoints/{eon}", get(checkpoint).post(hint));
    router = both(router, "/v1/hubs/{hub}/audit", get(state));
    router = both(router, "/v1/hubs/{hub}/audit/tokens", get(tokens));
    router = both(router, "/v1/hubs/{hub}/audit/transactions", get(transactions));
    router = both(router, "/v1/hubs/{hub}/audit/transactions/{id}", get(transaction));
    both(router, "/v1/hubs/{hub}/audit/{first}/{second}/{third}", get(wallet))
}

async fn hubs(State(api): State<Api>, headers: HeaderMap) -> Result<Json<v1::ListHubsResponse>, ApiError> {
    let request = v1::ListHubsRequest {};
    Ok(Json(api.handlers.list_hubs(token(&headers).as_deref(), request).await?))
}

async fn checkpoint(
    State(api): State<Api>,
    headers: HeaderMap,
    Path((hub, eon)): Path<(String, u64)>,
) -> Result<Json<v1::GetCheckpointResponse>, ApiError> {
    let request = v1::GetCheckpointRequest { hub, eon };
    Ok(Json(
        api.handlers.get_checkpoint(token(&headers).as_deref(), request).await?,
    ))
}

async fn hint(
    State(api): State<Api>,
    headers: HeaderMap,
    Path((hub, eon)): Path<(String, u64)>,
) -> Result<Json<v1::SubmitCheckpointResponse>, ApiError> {
    let request = v1::SubmitCheckpointRequest {
        hub,
        eon,
        ..Default::default()
    };
    let bearer = token(&headers);
    Ok(Json(api.handlers.submit_checkpoint(bearer.as_deref(), request).await?))
}

async fn state(State(api): State<Api>, headers: HeaderMap, Path(hub): Path<String>) -> Answer {
    let hub = api.handlers.find_hub(token(&headers).as_deref(), &hub).await?;
    let confirmations = hub.latest_block.saturating_sub(hub.confirmed_block);
    Ok(Json(json!({
        "latest": { "block": hub.latest_block, "eon_number": hub.current_eon },
        "confirmed": { "block": hub.confirmed_block, "eon_number": hub.confirmed_eon },
        "blocks_per_eon": hub.blocks_per_eon,
        "confirmation_blocks": confirmations,
        "halted": (!hub.halted.is_empty()).then_some(hub.halted),
    })))
}

async fn tokens(State(api): State<Api>, headers: HeaderMap, Path(hub): Path<String>) -> Answer {
    let request = v1::ListTokensRequest { hub };
    let answer = api.handlers.list_tokens(token(&headers).as_deref(), request).await?;
    let token =
        |token: &v1::HubToken| json!({ "address": token.address, "name": token.name, "short_name": token.short_name });
    Ok(Json(answer.tokens.iter().map(token).collect()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TransactionsQuery {
    tx_id: String,
    eon_number: u64,
    nonce: String,
    token: String,
    /// Sender or recipient.
    search: String,
    limit: u32,
    page: String,
}

async fn transactions(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(hub): Path<String>,
    query: Result<Query<TransactionsQuery>, QueryRejection>,
) -> Answer {
    let query = read(query)?;
    let request = v1::ListTransactionsRequest {
        hub: hub.clone(),
        tx_id: query.tx_id.clone(),
        eon: query.eon_number,
        nonce: query.nonce.clone(),
        token: query.token.clone(),
        wallet: query.search.clone(),
        page_size: query.limit,
        page_token: query.page.clone(),
    };
    let answer = api
        .handlers
        .list_transactions(token(&headers).as_deref(), request)
        .await?;
    let mut next = Value::Null;
    if !answer.next_page_token.is_empty() {
        let mut url = format!("/v1/hubs/{hub}/audit/transactions/?page={}", answer.next_page_token);
        let filters = [
            ("tx_id", query.tx_id),
            ("nonce", query.nonce),
            ("token", query.token),
            ("search", query.search),
        ];
        // Writing to a String cannot fail. Whatever got through the filters' parsers needs no escaping, except ids, which are the client's.
        for (name, value) in filters.into_iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(url, "&{name}={}", escaped(&value));
        }
        for (name, value) in [("eon_number", query.eon_number), ("limit", query.limit.into())] {
            if value > 0 {
                let _ = write!(url, "&{name}={value}");
            }
        }
        next = url.into();
    }
    let results: Vec<Value> = answer.transactions.iter().map(concise).collect();
    Ok(Json(
        json!({ "count": answer.count, "next": next, "previous": null, "results": results }),
    ))
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn wallet_of(wallet: &Option<v1::WalletRef>) -> Value {
    let wallet = wallet.clone().unwrap_or_default();
    json!({ "address": wallet.address, "token": wallet.token, "trail_identifier": wallet.trail_identifier })
}

fn concise(transaction: &v1::HubTransaction) -> Value {
    json!({
        "wallet": wallet_of(&transaction.wallet),
        "recipient": wallet_of(&transaction.recipient),
        "time": transaction.at_ms / 1_000,
        "id": transaction.id,
        "tx_id": transaction.tx_id,
        "eon_number": transaction.eon_number,
        "swap": false,
        "passive": true,
        "complete": transaction.complete,
        "cancelled": false,
        "voided": false,
        "nonce": transaction.nonce,
        "amount": transaction.amount,
        "amount_swapped": "None",
    })
}

fn full(transaction: &v1::HubTransaction, delivery: Option<&v1::DeliveryProof>) -> Value {
    let mut value = concise(transaction);
    if let Value::Object(fields) = &mut value {
        fields.insert("amount_swapped".into(), Value::Null);
        fields.insert("position".into(), transaction.position.clone().into());
        fields.insert("processed".into(), true.into());
        fields.insert("appended".into(), true.into());
        let proof = delivery.map(|proof| {
            json!({
                "merkle_proof": proof.merkle_proof,
                "transfer_membership_chain": proof.transfer_membership_chain,
                "transfer_membership_trail": proof.transfer_membership_trail,
                "transfer_membership_values": proof.transfer_membership_values,
                "root": proof.root,
            })
        });
        fields.insert("delivery_proof".into(), proof.into());
    }
    value
}

async fn transaction(State(api): State<Api>, headers: HeaderMap, Path((hub, id)): Path<(String, String)>) -> Answer {
    let request = v1::GetTransactionRequest {
        hub,
        id: id.parse().unwrap_or_default(),
        // What is no number is an id of the coordinator's.
        tx_id: if id.parse::<u64>().is_ok() { String::new() } else { id },
    };
    let answer = api
        .handlers
        .get_transaction(token(&headers).as_deref(), request)
        .await?;
    let transaction = answer.transaction.unwrap_or_default();
    Ok(Json(full(&transaction, answer.delivery_proof.as_ref())))
}

/// `{token}/{wallet}/whois` or `{eon}/{token}/{wallet}`.
async fn wallet(
    State(api): State<Api>,
    headers: HeaderMap,
    Path((hub, first, second, third)): Path<(String, String, String, String)>,
) -> Answer {
    let bearer = token(&headers);
    if third == "whois" {
        let request = v1::WhoisRequest {
            hub,
            token: first,
            wallet: second,
        };
        let answer = api.handlers.whois(bearer.as_deref(), request).await?;
        return Ok(Json(registration(&answer.registration.unwrap_or_default())));
    }
    let Ok(eon) = first.parse::<u64>() else {
        return Err(ApiError::new(Kind::NotFound, ROUTE, "no such route"));
    };
    let audit = api
        .handlers
        .audit_wallet(bearer.as_deref(), (&hub, eon), (&second, &third))
        .await?;
    Ok(Json(audit_of(&audit)))
}

fn registration(registration: &v1::Registration) -> Value {
    json!({
        "eon_number": registration.eon_number,
        "authorization": registration.authorization,
        "operator_authorization": Some(&registration.operator_authorization).filter(|text| !text.is_empty()),
        "trail_identifier": registration.trail_identifier,
    })
}

fn audit_of(audit: &WalletAudit) -> Value {
    let operation = |operation: &crate::api::hub::AuditedOperation| {
        json!({
            "txid": operation.txid,
            "block": operation.block,
            "eon_number": operation.eon,
            "amount": operation.amount,
            "time": operation.time,
        })
    };
    let all =
        |operations: &[crate::api::hub::AuditedOperation]| operations.iter().map(operation).collect::<Vec<Value>>();
    json!({
        "registration": audit.registration.as_ref().map(registration),
        "merkle_proof": audit.proof.as_ref().and_then(|proof| proof.merkle_proof.clone()),
        "root": audit.proof.as_ref().map(|proof| &proof.root),
        "standing": audit.proof.as_ref().map(|proof| &proof.standing).filter(|standing| !standing.is_empty()),
        "transactions": audit.transactions.iter().map(|one| full(one, None)).collect::<Vec<Value>>(),
        "deposits": all(&audit.deposits),
        "withdrawal_requests": all(&audit.withdrawal_requests),
        "withdrawals": all(&audit.withdrawals),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EventsQuery {
    after_seq: Option<u64>,
    token: String,
    wallet: String,
    /// Comma-separated.
    r#type: String,
    heartbeat_ms: u32,
}

/// Server-sent events; `id` is the cursor. Without one the stream starts now, and `after_seq=0` starts with the first event.
async fn events(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(hub): Path<String>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = read(query)?;
    let after = sse::cursor(&headers, query.after_seq)?;
    let request = v1::WatchHubRequest {
        hub,
        after_seq: after.unwrap_or_default(),
        from_now: after.is_none(),
        token: query.token,
        wallet: query.wallet,
        types: super::lists::names(&query.r#type),
        heartbeat_ms: query.heartbeat_ms,
    };
    let watching = api.handlers.watch_hub(token(&headers).as_deref(), request).await?;
    Ok(sse::answer(watching, text))
}

fn text(answer: &v1::WatchHubResponse) -> String {
    let mut text = String::new();
    for event in &answer.events {
        sse::write_event(&mut text, event.seq, &event.r#type, event);
    }
    sse::write_cursor(&mut text, "heartbeat", answer.after_seq);
    text
}
