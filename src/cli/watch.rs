//! `relayer watch`: prints every change as it happens, and connects again by itself where it left off.

use super::Global;
use super::failure::{Exit, Failure};
use super::output::{Output, short, time};
use crate::api::client::ClientError;
use crate::api::v1;
use clap::Args;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Changes after this cursor; 0 = from the beginning of what is kept
    #[arg(long, value_name = "SEQ", conflicts_with = "now")]
    from: Option<u64>,
    /// Changes from now on (the default)
    #[arg(long)]
    now: bool,
    /// Only changes into this state; may be repeated
    #[arg(long)]
    state: Vec<String>,
    #[arg(long)]
    coordinator: Option<String>,
    /// Only this settlement; may be repeated
    #[arg(long, value_name = "ID")]
    settlement: Vec<String>,
    /// settlement (the default), message, dispatch, execution, tx, chain or ledger; may be repeated
    #[arg(long)]
    aggregate: Vec<String>,
}

/// Pauses between attempts to connect again.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

pub(super) async fn watch(global: &Global, args: WatchArgs, output: &Output) -> Result<Exit, Failure> {
    let mut request = v1::WatchRequest {
        after_seq: args.from.unwrap_or_default(),
        from_now: args.from.is_none(),
        coordinator: args.coordinator.unwrap_or_default(),
        settlement_ids: args.settlement,
        states: args.state,
        aggregates: args.aggregate,
        heartbeat_ms: 0,
    };
    let mut pause = PAUSE_MIN;
    let mut connected = false;
    loop {
        let ended = tokio::select! {
            ended = follow(global, &mut request, output, &mut connected, &mut pause) => ended,
            _ = tokio::signal::ctrl_c() => return Ok(goodbye(&request)),
        };
        let Err(error) = ended else { continue };
        // Who was never reached is reported at once; later it is a matter of time.
        if !connected || !passes(&error) {
            return Err(error.into());
        }
        eprintln!("{error}; connecting again after cursor {}", request.after_seq);
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            _ = tokio::signal::ctrl_c() => return Ok(goodbye(&request)),
        }
    }
}

fn goodbye(request: &v1::WatchRequest) -> Exit {
    if !request.from_now {
        eprintln!("continue with --from {}", request.after_seq);
    }
    Exit::Ok
}

/// Whether connecting again can help: everything but a refusal of what was asked.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Token => false,
        ClientError::Refused { code, unavailable, .. } => match code.as_deref() {
            // Not ours: the connection broke.
            None => true,
            Some("RLY-API-006" | "RLY-API-015") => true,
            Some(_) => *unavailable,
        },
    }
}

async fn follow(
    global: &Global,
    request: &mut v1::WatchRequest,
    output: &Output,
    connected: &mut bool,
    pause: &mut Duration,
) -> Result<(), ClientError> {
    let mut client = global.connect().await?;
    let mut changes = client.watch(request.clone()).await?;
    *connected = true;
    while let Some(response) = changes.next().await? {
        *pause = PAUSE_MIN;
        for event in &response.events {
            output.answer(event, || line(event));
        }
        request.after_seq = response.after_seq;
        request.from_now = false;
    }
    Ok(())
}

fn line(event: &v1::Event) -> String {
    let arrow = if event.from_state.is_empty() { "" } else { " > " };
    let states = format!("{}{arrow}{}", event.from_state, event.to_state);
    let subject = format!("{} {}", event.aggregate, short(&event.aggregate_id));
    let (seq, at) = (event.seq, time(event.at_ms));
    format!(
        "{seq:>9}  {at}  {subject:<30}  {:<16}  {states:<24}  {}",
        event.event, event.cause
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn refused(code: Option<&str>, unavailable: bool) -> ClientError {
        ClientError::Refused {
            code: code.map(str::to_owned),
            not_found: false,
            unavailable,
            message: String::new(),
            metadata: Vec::new(),
        }
    }

    #[test]
    fn a_broken_connection_passes_and_a_refused_request_does_not() {
        assert!(passes(&refused(None, false)));
        assert!(passes(&refused(Some("RLY-API-016"), true)));
        assert!(passes(&refused(Some("RLY-API-015"), false)));
        assert!(!passes(&refused(Some("RLY-API-013"), false)));
        assert!(!passes(&refused(Some("RLY-API-002"), false)));
        assert!(!passes(&ClientError::Token));
    }

    #[test]
    fn a_line_names_the_change_and_its_cause() {
        let event = v1::Event {
            seq: 12,
            aggregate: "settlement".into(),
            aggregate_id: format!("0x{}", "ab".repeat(32)),
            event: "pay".into(),
            from_state: "delivered".into(),
            to_state: "settled".into(),
            cause: "event:1:0x00:3".into(),
            ..Default::default()
        };
        let line = line(&event);
        assert!(
            line.contains("0xabababab…abab") && line.contains("delivered > settled"),
            "{line}"
        );
    }
}
