//! SubmitStream over real connections, with answers under the test's control.

use super::*;
use crate::api::error::{COORDINATOR, STALLED, STOPPING};
use futures::StreamExt;
use relayer_proto::v1::submit_stream_response::Result as Outcome;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

const WAIT: Duration = Duration::from_secs(20);

fn item(item: u64, amount: &str) -> v1::SubmitStreamRequest {
    v1::SubmitStreamRequest {
        item,
        submit: Some(submission("open", amount)),
    }
}

struct Stream {
    send: Option<mpsc::UnboundedSender<v1::SubmitStreamRequest>>,
    answers: tonic::Streaming<v1::SubmitStreamResponse>,
}

impl Stream {
    async fn open(client: &mut SettlementServiceClient<Channel>, items: Vec<v1::SubmitStreamRequest>) -> Self {
        let (send, requests) = mpsc::unbounded_channel();
        for item in items {
            send.send(item).unwrap();
        }
        let answers = client.submit_stream(UnboundedReceiverStream::new(requests)).await;
        Self {
            send: Some(send),
            answers: answers.unwrap().into_inner(),
        }
    }

    fn finish(&mut self) {
        self.send = None;
    }

    async fn next(&mut self) -> Option<Result<v1::SubmitStreamResponse, tonic::Status>> {
        tokio::time::timeout(WAIT, self.answers.next())
            .await
            .expect("no word on the stream")
    }

    async fn answer(&mut self) -> v1::SubmitStreamResponse {
        self.next().await.expect("the stream ended").unwrap()
    }
}

async fn held(bench: &Bench, count: usize) {
    tokio::time::timeout(WAIT, async {
        while bench.fake.held.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("not taken");
}

#[tokio::test]
async fn every_item_is_answered_by_itself_in_any_order_and_a_broken_one_ends_nothing() {
    let mut bench = bench().await;
    let nameless = v1::SubmitStreamRequest { item: 4, submit: None };
    let foreign = v1::SubmitStreamRequest {
        item: 5,
        submit: Some(submission("closed", "1")),
    };
    let mut large = item(6, "1");
    large.submit.as_mut().unwrap().proof = vec![0; 3_000];
    let items = vec![
        item(1, "15"),
        item(2, "1"),
        item(3, "13"),
        nameless,
        foreign,
        large,
        item(7, "1"),
    ];
    let mut stream = Stream::open(&mut bench.grpc, items).await;
    let mut codes = BTreeMap::new();
    for _ in 0..6 {
        let answer = stream.answer().await;
        let code = match answer.result.unwrap() {
            Outcome::Accepted(accepted) => accepted.state,
            Outcome::Refused(refusal) => {
                if answer.item == 3 {
                    assert_eq!(refusal.metadata["conflict"], ID);
                    assert_eq!(refusal.status, i32::from(Code::AlreadyExists));
                }
                refusal.code
            }
        };
        codes.insert(answer.item, code);
    }
    let expected = [
        (2, "accepted"),
        (3, FIELD.code),
        (4, FIELD.code),
        (5, TOKEN.code),
        (6, error::TOO_LARGE.code),
        (7, "accepted"),
    ];
    assert_eq!(codes, expected.map(|(item, code)| (item, code.to_owned())).into());
    stream.finish();
    bench.fake.release();
    assert_eq!(stream.answer().await.item, 1);
    assert!(stream.next().await.is_none(), "all is said");
}

#[tokio::test]
async fn a_stream_acts_for_the_coordinator_of_its_token_only() {
    let mut bench = bench().await;
    let wrong = bench
        .grpc
        .submit_stream(with_token("wrong", tokio_stream::once(item(1, "1"))))
        .await;
    refused(wrong.unwrap_err(), Code::Unauthenticated, TOKEN.code);
    let mut own = item(1, "1");
    own.submit.as_mut().unwrap().coordinator = String::new();
    let items = tokio_stream::iter([own, item(2, "1")]);
    let answers = bench.grpc.submit_stream(with_token("hunter2", items)).await;
    let answers: Vec<_> = answers.unwrap().into_inner().map(Result::unwrap).collect().await;
    let refused = answers.iter().find(|answer| answer.item == 2).unwrap();
    let Some(Outcome::Refused(refusal)) = &refused.result else {
        panic!("{answers:?}")
    };
    assert_eq!(refusal.code, COORDINATOR.code);
    let submitted = bench.fake.submitted.lock().unwrap();
    assert_eq!((submitted.len(), submitted[0].0.as_str()), (1, "closed"));
}

#[tokio::test]
async fn a_stop_answers_what_was_taken_and_says_so() {
    let mut bench = bench().await;
    let mut stream = Stream::open(&mut bench.grpc, vec![item(1, "15")]).await;
    held(&bench, 1).await;
    bench.stop.cancel();
    // An item after the stop is not read; the one before it still gets its answer.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _ = stream.send.as_ref().unwrap().send(item(2, "1"));
    bench.fake.release();
    assert_eq!(stream.answer().await.item, 1);
    let status = stream.next().await.unwrap().unwrap_err();
    refused(status, Code::Unavailable, STOPPING.code);
    drop((stream, bench.grpc, bench.channel));
    tokio::time::timeout(WAIT, bench.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_read_no_further_and_given_up() {
    let bench = bench().await;
    let lazy = Channel::from_shared(format!("http://{}", bench.grpc_address)).unwrap();
    let mut lazy = SettlementServiceClient::new(lazy.connect().await.unwrap());
    // Answers of 16 KiB fill every buffer on the way after a few of them.
    let items = (1..=5_000).map(|n| item(n, "17")).collect();
    let mut stream = Stream::open(&mut lazy, items).await;
    let mut other = bench.grpc.clone();
    let mut taken = 0;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        other.submit(submission("open", "1")).await.unwrap();
        taken = bench
            .fake
            .submitted
            .lock()
            .unwrap()
            .iter()
            .filter(|(_, one)| is_large(one))
            .count();
    }
    assert!((1..200).contains(&taken), "{taken} items were read");
    let status = loop {
        match stream
            .next()
            .await
            .expect("a stream that is given up ends with a reason")
        {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    refused(status, Code::DeadlineExceeded, STALLED.code);
}

fn is_large(request: &v1::SubmitRequest) -> bool {
    request.terms.as_ref().is_some_and(|terms| terms.amount == "17")
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let mut bench = bench().await;
    let free = bench.handlers.slots().available_permits();
    let stream = Stream::open(&mut bench.grpc, vec![item(1, "15"), item(2, "1")]).await;
    held(&bench, 1).await;
    assert_eq!(bench.handlers.slots().available_permits(), free - 1);
    drop(stream);
    bench.fake.release();
    tokio::time::timeout(WAIT, async {
        while bench.handlers.slots().available_permits() < free {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the place of the stream is still taken");
}

#[tokio::test]
async fn a_full_intake_refuses_a_single_request_with_a_time_to_come_back() {
    let mut bench = bench().await;
    let status = bench.grpc.submit(submission("open", "18")).await.unwrap_err();
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    refused(status, Code::ResourceExhausted, "RLY-INTAKE-001");
}
