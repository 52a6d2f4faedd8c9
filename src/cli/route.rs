//! Why a message took a bridge, in words: the router's decision with the score of every lane it weighed. Pure.

use super::output::time;
use crate::api::v1;
use serde_json::Value;

/// One paragraph per dispatch, oldest first; decisions nobody can read are left out.
pub(super) fn routes(found: &v1::GetResponse) -> Vec<String> {
    let dispatches = found.messages.iter().flat_map(|message| &message.dispatches);
    dispatches.filter_map(route).collect()
}

fn route(dispatch: &v1::Dispatch) -> Option<String> {
    let decision: Value = serde_json::from_str(&dispatch.decision).ok()?;
    let why = decision["why"].as_str()?;
    let policy = decision["policy"].as_str().unwrap_or("?");
    let unit = decision["unit"].as_str().unwrap_or_default();
    let mut text = format!(
        "{} over {}: {why} (policy {policy})",
        time(dispatch.planned_at_ms),
        dispatch.bridge
    );
    for offer in decision["lanes"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "\n    {}: {}{}",
            bridge(offer),
            answer(&offer["answer"]),
            score(&offer["score"], unit)
        ));
    }
    Some(text)
}

fn bridge(offer: &Value) -> &str {
    offer["bridge"].as_str().unwrap_or("?")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn answer(answer: &Value) -> String {
    if let Some(word) = answer.as_str() {
        return match word {
            "used" => "this message took it already".to_owned(),
            "family_covered" => "its family brings a vote already".to_owned(),
            other => other.to_owned(),
        };
    }
    let Some((name, said)) = answer.as_object().and_then(|all| all.iter().next()) else {
        return "no answer".to_owned();
    };
    match name.as_str() {
        "quoted" => format!("asks {} wei, cap {}", text(&said["fee"]), text(&said["cap"])),
        "over_cap" => format!(
            "asks {} wei, above its cap of {} ({})",
            text(&said["fee"]),
            text(&said["cap"]),
            text(&said["by"])
        ),
        "over_value" => {
            let of = if said["whole_bridge"] == true { "bridge" } else { "lane" };
            let (in_flight, value, cap) = (whole(&said["in_flight"]), whole(&said["value"]), whole(&said["cap"]));
            format!("has {in_flight} in flight, and {value} more are above the cap of its {of}, {cap}")
        }
        "shut" => format!("shut: {}", text(&said["reason"])),
        "refused" => format!("refused: {}", text(&said["reason"])),
        other => other.to_owned(),
    }
}

fn score(score: &Value, unit: &str) -> String {
    let mut parts = Vec::new();
    if score["fee_value"].is_string() {
        parts.push(format!("worth {} {unit}", whole(&score["fee_value"])));
    }
    if let (Some(p50), Some(p95)) = (score["health"]["p50_ms"].as_u64(), score["health"]["p95_ms"].as_u64()) {
        parts.push(format!("p50 {} s, p95 {} s", p50 / 1_000, p95 / 1_000));
    }
    if let Some(success) = score["success"].as_u64() {
        parts.push(format!("rated {} %", success / 100));
    }
    if score["headroom"].is_string() {
        parts.push(format!("room for {} {unit}", whole(&score["headroom"])));
    }
    if !score["breaker"].is_null() && score["breaker"] != "closed" {
        parts.push("breaker not closed".to_owned());
    }
    if parts.is_empty() {
        String::new()
    } else {
        format!("; {}", parts.join(", "))
    }
}

/// 10^-18 of the unit as a decimal with at most six places, cut, never rounded up; digits are moved, not calculated with.
fn whole(value: &Value) -> String {
    let digits = format!("{:0>19}", text(value));
    let (units, fraction) = digits.split_at(digits.len().saturating_sub(18));
    let places = fraction.get(..6).unwrap_or(fraction).trim_end_matches('0');
    let cut = fraction.trim_end_matches('0').len() > 6;
    match (places, cut) {
        ("", false) => units.to_owned(),
        ("", true) => format!("{units}.000000…"),
        (places, false) => format!("{units}.{places}"),
        (places, true) => format!("{units}.{places}…"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn found(decision: &Value) -> v1::GetResponse {
        let dispatch = v1::Dispatch {
            bridge: "a".into(),
            decision: decision.to_string(),
            ..Default::default()
        };
        let message = v1::Message {
            dispatches: vec![dispatch],
            ..Default::default()
        };
        v1::GetResponse {
            messages: vec![message],
            ..Default::default()
        }
    }

    #[test]
    fn every_lane_is_told_with_its_answer_and_its_scores() {
        let told = routes(&found(&json!({
            "policy": "safest", "why": "a is the safest", "unit": "usd",
            "lanes": [
                { "bridge": "a", "answer": { "quoted": { "fee": "7", "cap": "9" } }, "score": {
                    "fee_value": "1500000000000000000", "success": 9_900, "breaker": "closed",
                    "health": { "p50_ms": 1_000, "p95_ms": 2_000 }, "headroom": "5000000000000000000" } },
                { "bridge": "b", "answer": { "shut": { "reason": "paused by ann: curse" } }, "score": {} },
                { "bridge": "c", "answer": "used" },
            ],
        })));
        let lines: Vec<&str> = told[0].lines().collect();
        assert!(
            lines[0].ends_with("over a: a is the safest (policy safest)"),
            "{told:?}"
        );
        let expected = "    a: asks 7 wei, cap 9; worth 1.5 usd, p50 1 s, p95 2 s, rated 99 %, room for 5 usd";
        assert_eq!(lines[1], expected);
        assert_eq!(lines[2], "    b: shut: paused by ann: curse");
        assert_eq!(lines[3], "    c: this message took it already");
    }

    #[test]
    fn a_decision_nobody_can_read_is_left_out() {
        assert!(routes(&found(&json!("no object"))).is_empty());
    }

    #[test]
    fn values_are_cut_and_say_so() {
        for (value, expected) in [
            ("0", "0"),
            ("1", "0.000000…"),
            ("1000000000000000000", "1"),
            ("1234567890000000000", "1.234567…"),
            ("12300000000000000000", "12.3"),
        ] {
            assert_eq!(whole(&json!(value)), expected);
        }
    }
}
