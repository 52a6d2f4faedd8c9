//! `quote`: what every lane asks for one message now, and why a lane that asks nothing refuses.

use super::Global;
use super::failure::{Exit, Failure};
use super::output::{Output, duration, ether, table};
use crate::api::v1;
use crate::config::Config;
use clap::Args;
use serde::Serialize;

#[derive(Debug, Args)]
pub(super) struct QuoteArgs {
    /// Chain of the outbox [default: all configured]
    #[arg(long, value_name = "CHAIN ID")]
    source_chain: Option<u64>,
    /// Chain payees are paid on [default: all configured]
    #[arg(long, value_name = "CHAIN ID")]
    target_chain: Option<u64>,
}

/// One direction and what was answered for it.
#[derive(Debug, Serialize)]
struct Direction {
    source_chain: u64,
    target_chain: u64,
    /// Best first, as the router would choose now.
    lanes: Vec<v1::LaneQuote>,
    /// Why there are no lanes.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
}

#[derive(Debug, Serialize)]
struct Refused {
    code: String,
    message: String,
    hint: String,
}

#[derive(Debug, Serialize)]
struct Answer {
    directions: Vec<Direction>,
}

pub(super) async fn quote(global: &Global, args: QuoteArgs, output: &Output) -> Result<Exit, Failure> {
    let mut client = global.client().await?;
    if let (Some(source_chain), Some(target_chain)) = (args.source_chain, args.target_chain) {
        let request = v1::QuoteRequest {
            source_chain,
            target_chain,
        };
        let answer = client.quote(request).await?;
        let usable = answer.lanes.iter().any(|lane| lane.error.is_empty());
        output.answer(&answer, || shown(&[(String::new(), &answer.lanes)]));
        return Ok(if usable { Exit::Ok } else { Exit::Failed });
    }
    let config = global.load(&[])?;
    let mut directions = Vec::new();
    for (source_chain, target_chain) in pairs(&config, &args) {
        let request = v1::QuoteRequest {
            source_chain,
            target_chain,
        };
        let (lanes, refused) = match client.quote(request).await.map_err(Failure::from) {
            Ok(answer) => (answer.lanes, None),
            // One direction without a lane says nothing about the others.
            Err(failure) if failure.exit == Exit::Failed => (Vec::new(), Some(Refused::from(failure))),
            Err(failure) => return Err(failure),
        };
        directions.push(Direction {
            source_chain,
            target_chain,
            lanes,
            refused,
        });
    }
    if directions.is_empty() {
        return Err(Failure::usage(
            "no two configured chains with outbox and inbox: name --source-chain and --target-chain",
        ));
    }
    let usable = directions
        .iter()
        .any(|direction| direction.lanes.iter().any(|lane| lane.error.is_empty()));
    let answer = Answer { directions };
    output.answer(&answer, || answer.to_string());
    Ok(if usable { Exit::Ok } else { Exit::Failed })
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
            hint: failure.hint,
        }
    }
}

/// Every ordered pair of chains a settlement could cross, as far as it was not narrowed.
fn pairs(config: &Config, args: &QuoteArgs) -> Vec<(u64, u64)> {
    let wanted = |asked: Option<u64>, chain: u64| asked.is_none_or(|asked| asked == chain);
    let sources = config
        .chains
        .values()
        .filter(|chain| chain.contracts.outbox.is_some() && wanted(args.source_chain, chain.chain_id));
    let target = |chain: &&crate::config::ChainConfig| {
        chain.contracts.inbox.is_some() && wanted(args.target_chain, chain.chain_id)
    };
    sources
        .flat_map(|source| {
            let targets = config.chains.values().filter(target);
            targets.map(|target| (source.chain_id, target.chain_id))
        })
        .filter(|(source, target)| source != target)
        .collect()
}

/// One table over all directions. A lane that refuses has no price, unless it named one that is too high.
fn shown(directions: &[(String, &[v1::LaneQuote])]) -> String {
    let mut rows = table(&[
        "chains",
        "bridge",
        "fee per message",
        "gas",
        "settlements",
        "arrives in",
        "good for",
        "problem",
    ]);
    for (chains, lanes) in directions {
        for lane in *lanes {
            let priced = !lane.native_fee.is_empty();
            let cell = |text: String| if priced { text } else { String::new() };
            rows.add_row([
                chains.clone(),
                lane.bridge.clone(),
                cell(ether(&lane.native_fee)),
                cell(lane.gas_limit.to_string()),
                cell(format!("up to {}", lane.settlements_per_message_max)),
                cell(duration(lane.expected_ms)),
                cell(duration(lane.valid_for_ms)),
                lane.error.clone(),
            ]);
        }
    }
    rows.to_string()
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |direction: &Direction| format!("{} > {}", direction.source_chain, direction.target_chain);
        let rows: Vec<(String, &[v1::LaneQuote])> = self
            .directions
            .iter()
            .map(|direction| (name(direction), direction.lanes.as_slice()))
            .collect();
        writeln!(f, "{}", shown(&rows))?;
        for direction in &self.directions {
            if let Some(refused) = &direction.refused {
                writeln!(
                    f,
                    "\n{}: {} {}\n  {}",
                    name(direction),
                    refused.code,
                    refused.message,
                    refused.hint
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn config() -> Config {
        let address = |byte: u8| format!("0x{}", hex::encode([byte; 20]));
        let text = format!(
            "[chains.\"eip155:1\".contracts]\noutbox = \"{0}\"\n[chains.\"eip155:2\".contracts]\noutbox = \"{0}\"\ninbox = \"{1}\"\n\
             [chains.\"eip155:3\".contracts]\ninbox = \"{1}\"\n[chains.\"eip155:1\"]\nchain_id = 1\n[chains.\"eip155:2\"]\nchain_id = 2\n\
             [chains.\"eip155:3\"]\nchain_id = 3\n",
            address(1),
            address(2)
        );
        Config::from_toml(&text).unwrap()
    }

    #[test]
    fn every_pair_from_an_outbox_to_an_inbox_is_asked_for() {
        let of = |source_chain, target_chain| {
            pairs(
                &config(),
                &QuoteArgs {
                    source_chain,
                    target_chain,
                },
            )
        };
        assert_eq!(of(None, None), [(1, 2), (1, 3), (2, 3)]);
        assert_eq!(of(Some(2), None), [(2, 3)]);
        assert_eq!(of(None, Some(2)), [(1, 2)]);
        assert_eq!(of(Some(3), None), []);
    }

    #[test]
    fn a_refusing_lane_is_shown_with_its_reason_and_without_a_price() {
        let lane = |bridge: &str, fee: &str, error: &str| v1::LaneQuote {
            bridge: bridge.into(),
            native_fee: fee.into(),
            expected_ms: 60_000,
            error: error.into(),
            ..Default::default()
        };
        let answer = Answer {
            directions: vec![
                Direction {
                    source_chain: 1,
                    target_chain: 2,
                    lanes: vec![
                        lane("a", "1000000000000000000", ""),
                        lane("b", "", "asks 9 wei, above the cap of 5"),
                    ],
                    refused: None,
                },
                Direction {
                    source_chain: 2,
                    target_chain: 1,
                    lanes: vec![],
                    refused: Some(Refused {
                        code: "RLY-API-012".into(),
                        message: "no bridge".into(),
                        hint: "add one".into(),
                    }),
                },
            ],
        };
        let text = answer.to_string();
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(
            line(" a ").contains("1 ether") && line(" a ").contains("1 min"),
            "{text}"
        );
        assert!(
            line("above the cap").contains("1 > 2") && !line("above the cap").contains("ether"),
            "{text}"
        );
        assert!(line("RLY-API-012").starts_with("2 > 1"), "{text}");
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["directions"][1]["refused"]["hint"], "add one");
    }
}
