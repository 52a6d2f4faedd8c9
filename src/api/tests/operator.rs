//! The operator's service: who may, what it lists and follows, and how disputes end.

use super::*;
use crate::store::testing::{self as world, PAYER, TARGET, accept, new_settlement};
use crate::store::{Drift, DriftAbout, DriftClass};
use relayer_proto::v1::operator_service_client::OperatorServiceClient;

fn as_operator<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

async fn found(bench: &Bench, subject: &str, class: DriftClass) {
    let drift = Drift {
        class,
        chain: TARGET,
        subject: subject.into(),
        expected: "1".into(),
        actual: "2".into(),
    };
    let mut txn = bench.db.store.begin(5).await.unwrap();
    txn.report_drift_about(&drift, DriftAbout::default()).await.unwrap();
    txn.commit().await.unwrap();
}

fn code(status: &tonic::Status) -> String {
    use tonic_types::StatusExt;
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

#[tokio::test]
async fn nobody_without_the_operators_token_sees_or_decides_anything() {
    let bench = bench().await;
    let mut client = OperatorServiceClient::new(bench.channel.clone());
    for token in ["", "another"] {
        let list = client
            .list_drift(as_operator(v1::ListDriftRequest::default(), token))
            .await;
        assert_eq!(list.unwrap_err().code(), tonic::Code::Unauthenticated);
        let stream = client
            .stream_drift(as_operator(v1::StreamDriftRequest::default(), token))
            .await;
        assert_eq!(stream.unwrap_err().code(), tonic::Code::Unauthenticated);
        let resolve = client
            .resolve_dispute(as_operator(v1::ResolveDisputeRequest::default(), token))
            .await;
        assert_eq!(resolve.unwrap_err().code(), tonic::Code::Unauthenticated);
    }
}

#[tokio::test]
async fn differences_are_listed_in_pages_and_followed_from_a_place_on() {
    let bench = bench().await;
    let mut client = OperatorServiceClient::new(bench.channel.clone());
    for n in 0..3 {
        found(&bench, &format!("thing {n}"), DriftClass::Amount).await;
    }
    found(&bench, "another", DriftClass::Payee).await;
    let mut request = v1::ListDriftRequest {
        class: "amount".into(),
        page_size: 2,
        ..Default::default()
    };
    let first = client
        .list_drift(as_operator(request.clone(), "operator's"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        first.drifts.iter().map(|d| d.subject.as_str()).collect::<Vec<_>>(),
        ["thing 2", "thing 1"]
    );
    request.page_token = first.next_page_token;
    let second = client
        .list_drift(as_operator(request, "operator's"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(second.drifts.len(), 1);
    assert!(second.next_page_token.is_empty());
    let wrong = v1::ListDriftRequest {
        class: "odd".into(),
        ..Default::default()
    };
    let refused = client.list_drift(as_operator(wrong, "operator's")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);

    let from = v1::StreamDriftRequest { after_seq: 3 };
    let mut stream = client
        .stream_drift(as_operator(from, "operator's"))
        .await
        .unwrap()
        .into_inner();
    let change = stream.message().await.unwrap().unwrap();
    assert_eq!(change.drift.unwrap().subject, "another");
    found(&bench, "later", DriftClass::Root).await;
    let change = stream.message().await.unwrap().unwrap();
    assert_eq!((change.seq, change.drift.unwrap().subject.as_str()), (5, "later"));
    bench.stop.cancel();
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_dispute_ends_as_the_books_allow_with_a_note_of_who_and_why() {
    let bench = bench().await;
    let store = &bench.db.store;
    world::deposit(store, PAYER, 1_000, 1).await;
    let new = new_settlement(PAYER, 1, 100, 5, 1);
    accept(store, std::slice::from_ref(&new)).await;
    let mut client = OperatorServiceClient::new(bench.channel.clone());
    let request = |outcome: &str, note: &str| v1::ResolveDisputeRequest {
        settlement_id: new.id.to_string(),
        outcome: outcome.into(),
        note: note.into(),
        by: "alice".into(),
    };
    let open = client
        .resolve_dispute(as_operator(request("unpaid", "why"), "operator's"))
        .await
        .unwrap_err();
    assert_eq!(
        (open.code(), code(&open).as_str()),
        (tonic::Code::FailedPrecondition, "RLY-RECONCILER-013")
    );
    let mut txn = store.begin(6).await.unwrap();
    assert!(txn.settlement_dispute(new.id, "test").await.unwrap());
    txn.commit().await.unwrap();
    let silent = client
        .resolve_dispute(as_operator(request("unpaid", " "), "operator's"))
        .await
        .unwrap_err();
    assert_eq!(silent.code(), tonic::Code::InvalidArgument);
    let never = client
        .resolve_dispute(as_operator(request("paid", "why"), "operator's"))
        .await
        .unwrap_err();
    assert_eq!(never.code(), tonic::Code::FailedPrecondition);
    let done = client
        .resolve_dispute(as_operator(request("unpaid", "the payer said so"), "operator's"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.state, "cancelled");
    assert_eq!(world::reserved(store, PAYER).await, 0);
    assert_eq!(world::available(store, PAYER).await, 1_000);
    let events = store.list_settlement_events(new.id).await.unwrap();
    let cause = |event: &crate::store::Event| event.cause == "operator alice: the payer said so";
    assert!(events.iter().any(cause), "{events:?}");
    assert!(
        events
            .iter()
            .any(|event| event.event == "repaired" && event.cause == "operator alice")
    );
    let again = client
        .resolve_dispute(as_operator(request("unpaid", "again"), "operator's"))
        .await
        .unwrap_err();
    assert_eq!(again.code(), tonic::Code::FailedPrecondition);
}
