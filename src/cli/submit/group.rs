//! `submit --group`: many settlements under one signature of their payer, each with its own answer.

use super::{SubmitArgs, complete, read, signature};
use crate::api::{self, client, v1};
use crate::cli::Global;
use crate::cli::failure::{ANSWER, Exit, Failure};
use crate::cli::output::{Output, fields, table};
use crate::settlement::packed::leaf_order;
use crate::settlement::terms::group_root;
use alloy::signers::local::PrivateKeySigner;
use serde_json::{Value, json};
use v1::group_result::Result as Outcome;

/// A group as it is sent, and where its items stand in the file.
#[derive(Debug)]
struct Group {
    request: v1::SubmitGroupRequest,
    places: Vec<usize>,
}

pub(super) async fn submit(global: &Global, args: SubmitArgs, output: &Output) -> Result<Exit, Failure> {
    let group = Group::of(args)?;
    let answer = global.client().await?.submit_group(group.request.clone()).await?;
    let results = group.results(answer.results);
    let refused = results.iter().filter(|result| result.outcome.is_err()).count();
    let accepted = results.len().saturating_sub(refused);
    let json = json!({
        "group_root": answer.group_root, "accepted": accepted, "refused": refused,
        "results": results.iter().map(ItemResult::json).collect::<Vec<_>>(),
    });
    output.answer(&json, || {
        let mut rows = table(&["item", "nonce", "result", "settlement or reason"]);
        for result in &results {
            rows.add_row(result.row());
        }
        let head = fields(&[
            ("group", answer.group_root.clone()),
            ("accepted", accepted.to_string()),
            ("refused", refused.to_string()),
        ]);
        format!("{head}\n{rows}")
    });
    Ok(exit_of(&results))
}

/// As for one settlement: a refusal that stands outweighs one that passes with time.
fn exit_of(results: &[ItemResult]) -> Exit {
    let exits = results.iter().filter_map(|result| result.outcome.as_ref().err());
    exits.fold(Exit::Ok, |worst, refusal| {
        match (worst, client::is_transient(refusal)) {
            (Exit::Ok | Exit::Unavailable, true) => Exit::Unavailable,
            _ => Exit::Failed,
        }
    })
}

/// What became of one item.
#[derive(Debug)]
struct ItemResult {
    /// Place in the file, from 0.
    item: usize,
    nonce: String,
    outcome: Result<v1::SubmitResponse, v1::Refusal>,
}

impl ItemResult {
    fn json(&self) -> Value {
        let mut value = json!({ "item": self.item, "nonce": self.nonce });
        match &self.outcome {
            Ok(accepted) => value["accepted"] = json!(accepted),
            Err(refused) => {
                let hint = crate::error::find(&refused.code).unwrap_or(ANSWER).you;
                value["refused"] = json!({
                    "code": refused.code, "message": refused.message, "hint": hint, "metadata": refused.metadata,
                    "retry_after_ms": refused.retry_after_ms,
                });
            }
        }
        value
    }

    fn row(&self) -> [String; 4] {
        let (result, what) = match &self.outcome {
            Ok(accepted) if accepted.duplicate => ("accepted before".to_owned(), accepted.settlement_id.clone()),
            Ok(accepted) => ("accepted".to_owned(), accepted.settlement_id.clone()),
            Err(refused) => (refused.code.clone(), refused.message.clone()),
        };
        [self.item.to_string(), self.nonce.clone(), result, what]
    }
}

impl Group {
    fn of(args: SubmitArgs) -> Result<Self, Failure> {
        let key = args.key()?;
        let bytes = read(args.group.as_deref().unwrap_or_else(|| "-".as_ref()))?;
        let mut request = api::group_submission(&bytes).map_err(|error| {
            let item = error.metadata.get("item").map(|item| format!(" (item {item})"));
            Failure::usage(format!("{error}{}", item.unwrap_or_default()))
        })?;
        request.coordinator = args.coordinator.unwrap_or(request.coordinator);
        request.auth = args.auth.unwrap_or(request.auth);
        request.trace_id = args.trace_id.unwrap_or(request.trace_id);
        request.policy = args.policy.unwrap_or(request.policy);
        let places = (0..request.items.len()).collect();
        let mut group = Self { request, places };
        match key {
            Some(key) => group.sign(&key)?,
            None if group.request.auth.is_empty() => {
                let message =
                    "the group has no auth: put it into the file, or use --auth, --payer-key-env or --payer-key-file";
                return Err(Failure::usage(message));
            }
            None => {}
        }
        Ok(group)
    }

    /// Completes the terms of all items, brings them into the order in which they can be paid together, and signs.
    fn sign(&mut self, key: &PrivateKeySigner) -> Result<(), Failure> {
        let mut items = Vec::with_capacity(self.places.len());
        for (place, mut item) in std::mem::take(&mut self.request.items).into_iter().enumerate() {
            let terms = item.terms.get_or_insert_default();
            let (domain, signed) = complete(terms, &item.receipts, &item.proof, key.address())
                .map_err(|failure| Failure::usage(format!("item {place}: {}", failure.message)))?;
            items.push((place, item, domain, signed));
        }
        items.sort_by_key(|(.., signed)| leaf_order(signed, None));
        let Some((_, _, domain, _)) = items.first() else {
            return Err(Failure::usage("the group has no items"));
        };
        // Items of another chain or inbox get ids of theirs; the relayer says which they are.
        let ids: Vec<_> = items
            .iter()
            .map(|(_, _, domain, signed)| domain.settlement_id(signed))
            .collect();
        let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("the group cannot be signed: {error}"));
        let root = group_root(&ids).map_err(|error| wrong(&error))?;
        let count = u32::try_from(ids.len()).map_err(|error| wrong(&error))?;
        self.request.auth = signature(domain.group_digest(root, count), key)?;
        (self.places, self.request.items) = items.into_iter().map(|(place, item, ..)| (place, item)).unzip();
        Ok(())
    }

    /// One for each item, in the order of the file.
    fn results(&self, answers: Vec<v1::GroupResult>) -> Vec<ItemResult> {
        let mut answers = answers.into_iter();
        let items = self.places.iter().zip(&self.request.items);
        let mut results: Vec<ItemResult> = items
            .map(|(place, item)| ItemResult {
                item: *place,
                nonce: item.terms.as_ref().map(|terms| terms.nonce.clone()).unwrap_or_default(),
                outcome: match answers.next().and_then(|answer| answer.result) {
                    Some(Outcome::Accepted(accepted)) => Ok(accepted),
                    Some(Outcome::Refused(refused)) => Err(refused),
                    None => Err(v1::Refusal {
                        code: ANSWER.code.to_owned(),
                        message: "the relayer did not say what became of it".to_owned(),
                        ..v1::Refusal::default()
                    }),
                },
            })
            .collect();
        results.sort_by_key(|result| result.item);
        results
    }
}

#[cfg(test)]
mod tests;
