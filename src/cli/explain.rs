//! The story of one settlement in words: every event with its time and cause, then what happens next. Pure.

use super::output::{duration, short, time};
use super::route::routes;
use crate::api::v1;
use serde::Serialize;
use std::fmt;

/// What `explain` answers.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    settlement_id: String,
    state: String,
    /// Where it stands, in a sentence.
    headline: String,
    timeline: Vec<Line>,
    /// Why each dispatch took its bridge, with the scores of every lane.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<String>,
    /// What happens next, and what anyone can do about it.
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    at_ms: u64,
    text: String,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n", self.settlement_id, self.headline)?;
        let mut before = None;
        for line in &self.timeline {
            let passed = before.map_or(String::new(), |before| {
                format!("+{}", duration(line.at_ms.saturating_sub(before)))
            });
            writeln!(f, "  {}  {passed:>12}  {}", time(line.at_ms), line.text)?;
            before = Some(line.at_ms);
        }
        if !self.routes.is_empty() {
            writeln!(f, "\nRoutes:")?;
        }
        self.routes.iter().try_for_each(|route| writeln!(f, "  {route}"))?;
        if !self.next.is_empty() {
            writeln!(f, "\nNext:")?;
        }
        self.next.iter().try_for_each(|next| writeln!(f, "  {next}"))
    }
}

pub(super) fn story(found: &v1::GetResponse, now_ms: u64) -> Story {
    let settlement = found.settlement.clone().unwrap_or_default();
    Story {
        headline: headline(&settlement),
        timeline: found
            .history
            .iter()
            .map(|event| Line {
                at_ms: event.at_ms,
                text: words(event, found),
            })
            .collect(),
        routes: routes(found),
        next: next(&settlement, found, now_ms),
        settlement_id: settlement.settlement_id,
        state: settlement.state,
    }
}

fn headline(settlement: &v1::Settlement) -> String {
    let terms = settlement.terms.clone().unwrap_or_default();
    let what = format!(
        "{} base units of {} from {} to {}",
        terms.amount,
        short(&terms.token),
        short(&terms.payer),
        short(&terms.payee)
    );
    let how = match settlement.state.as_str() {
        "accepted" => "is accepted and durable, and waits for a batch".to_owned(),
        "batched" => "is in a sealed message that has not left the source chain".to_owned(),
        "dispatched" => "is on its way".to_owned(),
        "delivered" => "has arrived on the target chain and waits for its payment to be final".to_owned(),
        "settled" if settlement.credited => "is settled as a credit: the token refused the transfer".to_owned(),
        "settled" => "is paid, proven at a final block".to_owned(),
        "expired" => "ended unpaid: its deadline passed with the nonce unused".to_owned(),
        "burned" => "ended unpaid: the payer burned its nonce".to_owned(),
        "superseded" => "ended unpaid: another settlement was paid on its nonce".to_owned(),
        "cancelled" => "ended unpaid after its coordinator had asked to cancel".to_owned(),
        "disputed" => "is disputed: evidence contradicts itself, and an operator decides".to_owned(),
        other => format!("is {other}"),
    };
    format!("{what} {how}.")
}

/// One event as a sentence.
fn words(event: &v1::Event, found: &v1::GetResponse) -> String {
    let dispatch = || {
        let all = found.messages.iter().flat_map(|message| &message.dispatches);
        let bridge = all
            .into_iter()
            .find(|dispatch| dispatch.id.to_string() == event.aggregate_id);
        bridge.map_or(format!("dispatch {}", event.aggregate_id), |dispatch| {
            format!("dispatch over {}", dispatch.bridge)
        })
    };
    let subject = match event.aggregate.as_str() {
        "settlement" => "settlement".to_owned(),
        "message" => format!("message {}", short(&event.aggregate_id)),
        "dispatch" => dispatch(),
        "execution" => format!("execution {}", event.aggregate_id),
        "tx" => format!("transaction {}", event.aggregate_id),
        other => format!("{other} {}", event.aggregate_id),
    };
    let verb = match (event.aggregate.as_str(), event.event.as_str()) {
        ("settlement", "accept") => "verified, reserved and stored",
        ("settlement", "seal") => "put into a message",
        ("settlement", "dispatch") => "left the source chain",
        ("settlement", "deliver") => "arrived on the target chain",
        ("settlement", "pay") => "paid, final",
        ("settlement", "expire") => "expired: deadline passed with the nonce unused, final",
        ("settlement", "burn") => "ended: nonce burned, final",
        ("settlement", "supersede") => "ended: another settlement was paid on this nonce, final",
        ("settlement", "cancel") => "ended as cancelled",
        ("settlement", "requeue") => "goes back to be batched again",
        ("settlement", "undeliver") => "a reorg took the message off the target chain",
        ("settlement", "undispatch") => "a reorg took the dispatch off the source chain",
        ("settlement", "unpay") => "finality of the paying block broke",
        ("settlement", "dispute") => "evidence contradicts itself",
        ("message", "seal") => "sealed",
        ("message", "receive") => "recorded by the inbox at its quorum",
        ("message", "execute") => "every settlement in it is resolved",
        ("message", "abandon") => "given up; its settlements are batched again",
        (_, "plan") => "planned",
        (_, "prepare") => "signed and stored",
        (_, "submit") => "sent",
        (_, "include") => "in a block",
        (_, "finalize") => "final",
        (_, "revert") => "reverted; planned again",
        (_, "unwind") => "a reorg took it out of its block",
        ("dispatch", "attest") => "attested by the bridge",
        ("dispatch", "stall") => "held up: alerted, and another lane may carry the message too",
        ("dispatch", "drop") => "given up before it was sent",
        ("dispatch", "rescue") => "brought in by us, as anyone may",
        ("dispatch", "receive") => "received on the target chain",
        ("tx", "replace") => "replaced by another transaction of the same nonce",
        (_, other) => other,
    };
    let mut text = format!("{subject}: {verb}");
    if !event.from_state.is_empty() && event.from_state != event.to_state {
        text.push_str(&format!(" ({} to {})", event.from_state, event.to_state));
    } else if !event.to_state.is_empty() {
        text.push_str(&format!(" ({})", event.to_state));
    }
    if !event.cause.is_empty() {
        text.push_str(&format!(", because of {}", shortened(&event.cause)));
    }
    let detail = detail(&event.detail);
    if !detail.is_empty() {
        text.push_str(&format!(": {detail}"));
    }
    text
}

/// Long hashes in a text, shortened.
fn shortened(text: &str) -> String {
    let words = text.split_inclusive([' ', ':']);
    words
        .map(|word| {
            let bare = word.trim_end_matches([' ', ':']);
            if bare.starts_with("0x") {
                word.replace(bare, &short(bare))
            } else {
                word.to_owned()
            }
        })
        .collect()
}

/// The detail of an event in words: its note, or its fields. What names the aggregate is said already.
fn detail(json: &str) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(json) else {
        return json.to_owned();
    };
    let said = ["bridge", "message", "first"];
    let fields = fields
        .iter()
        .filter(|(key, value)| !said.contains(&key.as_str()) && !value.is_null());
    let shown = fields.map(|(key, value)| {
        let value = value.as_str().map_or(value.to_string(), ToOwned::to_owned);
        if key == "note" {
            value
        } else {
            format!("{key} {}", shortened(&value))
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn next(settlement: &v1::Settlement, found: &v1::GetResponse, now_ms: u64) -> Vec<String> {
    let terms = settlement.terms.clone().unwrap_or_default();
    let deadline_ms = terms.deadline.saturating_mul(1_000);
    let mut next = match settlement.state.as_str() {
        "accepted" => vec![held_by(found).unwrap_or_else(|| accepted_next(settlement, now_ms))],
        "batched" | "dispatched" => travelling_next(found),
        "delivered" => delivered_next(settlement, found),
        "settled" if settlement.credited => {
            vec![format!(
                "Anyone may call claim({}, {}) on the vault; only the payee is paid.",
                terms.token, terms.payee
            )]
        }
        "disputed" => vec!["An operator compares the chains with the ledger and resolves it.".to_owned()],
        _ => return Vec::new(),
    };
    if settlement.state != "settled" {
        if settlement.cancel_requested_at_ms > 0 {
            next.push("A cancel was asked for; it ends as cancelled once it can no longer be paid.".to_owned());
        }
        let end = match deadline_ms.checked_sub(now_ms) {
            Some(left) => format!(
                "Deadline {} (in {}): unpaid by then, it expires and the reservation is released.",
                time(deadline_ms),
                duration(left)
            ),
            None => format!(
                "The deadline {} has passed; it ends when a final block proves that its nonce is unused.",
                time(deadline_ms)
            ),
        };
        next.push(end);
    }
    if found.bundle.is_some() && matches!(settlement.state.as_str(), "dispatched" | "delivered") {
        next.push(format!(
            "Without the relayer: `relayer status {} --bundle bundle.json`, then `relayer execute --bundle bundle.json --rpc URL`.",
            settlement.settlement_id
        ));
    }
    next
}

/// Why it waits although it is its turn: what it relies on does not hold.
fn held_by(found: &v1::GetResponse) -> Option<String> {
    let relies_on = found.relies_on.as_ref()?;
    let what = format!("checkpoint {} of hub {}", relies_on.eon, relies_on.hub);
    let why = match (
        relies_on.halted.as_str(),
        relies_on.refused.as_str(),
        relies_on.standing.as_str(),
    ) {
        ("", "", "final") if relies_on.unjudged => {
            "and what that promises has not been compared with what the hub's contract holds yet".to_owned()
        }
        ("", "", "final") => return None,
        ("", "", standing) => format!("which is {standing} now"),
        ("", refused, _) => format!("which is refused: {refused}"),
        ("missed_checkpoint", ..) => "which is halted for ever: it missed a checkpoint (RLY-HUB-020)".to_owned(),
        (halted, ..) => format!("which is halted: {halted} (RLY-HUB-021)"),
    };
    Some(format!("It is not batched: it relies on {what}, {why}."))
}

fn accepted_next(settlement: &v1::Settlement, now_ms: u64) -> String {
    match settlement.batch_after_ms.checked_sub(now_ms) {
        Some(wait) if wait > 0 => format!("It is batched (again) in {}.", duration(wait)),
        _ => "The next batch takes it.".to_owned(),
    }
}

fn travelling_next(found: &v1::GetResponse) -> Vec<String> {
    let Some(message) = found.messages.last() else {
        return vec!["Its message is being sealed.".to_owned()];
    };
    if message.dispatches.is_empty() {
        return vec!["The router chooses a bridge for its message.".to_owned()];
    }
    let tell = |dispatch: &v1::Dispatch| {
        let waits = match (dispatch.source_state.as_str(), dispatch.target_state.as_str()) {
            (_, "received") => "has arrived; the inbox still needs its quorum",
            ("planned", _) => "waits to be signed",
            ("prepared" | "submitted", _) => "waits to be included on the source chain",
            ("included", "pending") => "is included; the bridge waits for source finality",
            (_, "attested") => "is attested; somebody brings it in, at the latest we do",
            ("finalized", _) => "waits for the bridge to attest it",
            ("dropped", _) => "was given up",
            _ => "is under way",
        };
        let note = if dispatch.note.is_empty() {
            String::new()
        } else {
            format!(" ({})", dispatch.note)
        };
        let stalled = if dispatch.stalled_at_ms > 0 {
            format!(
                " It is overdue since {}: the router may use another bridge.",
                time(dispatch.stalled_at_ms)
            )
        } else {
            String::new()
        };
        format!("The dispatch over {} {waits}{note}.{stalled}", dispatch.bridge)
    };
    message.dispatches.iter().map(tell).collect()
}

fn delivered_next(settlement: &v1::Settlement, found: &v1::GetResponse) -> Vec<String> {
    let skipped = match settlement.skip_reason.as_str() {
        "" => None,
        "payer_short" => Some("the payer's vault balance is too small: a deposit lets it be paid"),
        "payer_paused" => Some("the payer is paused by the guardian: it is tried again afterwards"),
        "quorum_short" => Some("the message has not arrived over enough bridge families"),
        "signature_refused" => {
            Some("the inbox refused the authorization: the payer's contract or signer list has changed")
        }
        "token_refused" => Some("the vault does not list the token for this amount"),
        "nonce_used" => Some("the nonce is used: the reconciler finds out by whom at a final block"),
        "expired" => Some("the deadline has passed on the target chain"),
        other => Some(other),
    };
    if let Some(reason) = skipped {
        return vec![format!(
            "The last execution left it unpaid: {reason}. It is tried again with growing pauses."
        )];
    }
    let executions = found.messages.iter().flat_map(|message| {
        let covers = |execution: &&v1::Execution| {
            (execution.first_leaf..execution.first_leaf.saturating_add(execution.leaves)).contains(&message.leaf)
        };
        message.executions.iter().filter(covers)
    });
    match executions.last() {
        Some(execution) => vec![match execution.state.as_str() {
            "included" | "finalized" => {
                "Its execution is in a block; the payment counts when that block is final.".into()
            }
            "reverted" => "Its execution reverted; it is planned anew.".into(),
            _ => format!("Its execution is {}.", execution.state),
        }],
        None => vec!["An execution that pays it is planned next.".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn event(at_ms: u64, aggregate: &str, event: &str, from: &str, to: &str, cause: &str) -> v1::Event {
        v1::Event {
            at_ms,
            aggregate: aggregate.into(),
            aggregate_id: if aggregate == "dispatch" {
                "1".into()
            } else {
                "0x22".into()
            },
            event: event.into(),
            from_state: from.into(),
            to_state: to.into(),
            cause: cause.into(),
            ..Default::default()
        }
    }

    fn sample(state: &str) -> v1::GetResponse {
        let settlement = v1::Settlement {
            settlement_id: format!("0x{}", "11".repeat(32)),
            state: state.into(),
            terms: Some(v1::Terms {
                amount: "110".into(),
                token: format!("0x{}", "aa".repeat(20)),
                payer: format!("0x{}", "bb".repeat(20)),
                payee: format!("0x{}", "cc".repeat(20)),
                deadline: 1_800_003_600,
                ..Default::default()
            }),
            ..Default::default()
        };
        let dispatch = v1::Dispatch {
            id: 1,
            bridge: "layerzero".into(),
            source_state: "finalized".into(),
            target_state: "pending".into(),
            note: "blocked behind nonce 7".into(),
            stalled_at_ms: 1_800_000_000_000,
            ..Default::default()
        };
        v1::GetResponse {
            settlement: Some(settlement),
            history: vec![
                event(1_799_999_000_000, "settlement", "accept", "", "accepted", "intake"),
                event(
                    1_799_999_002_000,
                    "settlement",
                    "seal",
                    "accepted",
                    "batched",
                    "batcher",
                ),
                event(
                    1_799_999_003_500,
                    "dispatch",
                    "include",
                    "submitted",
                    "included",
                    "tx 4",
                ),
                event(
                    1_799_999_003_600,
                    "settlement",
                    "dispatch",
                    "batched",
                    "dispatched",
                    "dispatch 1",
                ),
            ],
            messages: vec![v1::Message {
                dispatches: vec![dispatch],
                leaf: 3,
                leaves: 9,
                ..Default::default()
            }],
            bundle: Some(v1::ExecutionBundle::default()),
            relies_on: None,
        }
    }

    #[test]
    fn the_story_of_a_stalled_dispatch() {
        insta::assert_snapshot!(story(&sample("dispatched"), 1_800_000_000_000).to_string());
    }

    #[test]
    fn the_story_of_a_skipped_payment() {
        let mut found = sample("delivered");
        found.settlement.as_mut().unwrap().skip_reason = "payer_short".into();
        insta::assert_snapshot!(story(&found, 1_800_009_000_000).to_string());
    }

    #[test]
    fn what_relies_on_a_hub_that_stands_still_says_so() {
        let mut found = sample("accepted");
        let mut told = |halted: &str, refused: &str, standing: &str| {
            found.relies_on = Some(v1::HubReliance {
                hub: "exchange".into(),
                eon: 4,
                standing: standing.into(),
                halted: halted.into(),
                refused: refused.into(),
                unjudged: false,
            });
            held_by(&found)
        };
        assert_eq!(told("", "", "final"), None);
        let waits = "It is not batched: it relies on checkpoint 4 of hub exchange, which is";
        for (halted, refused, standing, why) in [
            ("", "", "orphaned", "orphaned now."),
            ("", "RLY-HUB-008", "final", "refused: RLY-HUB-008."),
            ("live_challenge", "", "final", "halted: live_challenge (RLY-HUB-021)."),
            (
                "missed_checkpoint",
                "",
                "final",
                "halted for ever: it missed a checkpoint (RLY-HUB-020).",
            ),
        ] {
            assert_eq!(told(halted, refused, standing), Some(format!("{waits} {why}")));
        }
        told("", "", "final");
        found.relies_on.as_mut().unwrap().unjudged = true;
        assert!(held_by(&found).unwrap().contains("has not been compared"));
    }

    #[test]
    fn an_ended_settlement_has_no_next() {
        for state in ["settled", "expired", "burned", "superseded", "cancelled"] {
            assert!(story(&sample(state), 0).next.is_empty(), "{state}");
        }
    }
}
