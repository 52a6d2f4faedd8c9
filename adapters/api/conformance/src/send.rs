//! Lane, quote, the call that sends, and the receipt of it.

use crate::{Breaches, Dark, Scene, is_lasting};
use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::ISettlementOutbox;
use relayer_adapter_api::message::CHECKPOINT_LEN;
use relayer_adapter_api::{AdapterError, Body, ChainId, Class, Kind, MessageRef, Quote, SealedMessage, TxReceipt};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// No chain has this id.
const NOWHERE: ChainId = ChainId(u64::MAX);
const NOBODY: Address = Address::repeat_byte(0xee);

pub(crate) fn lane(scene: &Scene<'_>, breaches: &mut Breaches) {
    let (adapter, header) = (scene.adapter, &scene.message.header);
    let (from, to) = (header.source, header.target);
    let Some(lane) = adapter.lane(from, to) else {
        breaches.demand(false, format!("lane: none from {from} to {to}"));
        return;
    };
    breaches.demand(lane.bridge == adapter.id(), "lane: bears another bridge's id");
    breaches.demand((lane.source, lane.target) == (from, to), "lane: names other chains");
    breaches.demand((1..=15).contains(&lane.family.0), "lane: the family is outside 1..=15");
    let ports = !lane.source_port.is_zero() && !lane.target_port.is_zero();
    breaches.demand(ports, "lane: a port is zero");
    let fits = lane.message_bytes_max as usize >= CHECKPOINT_LEN;
    breaches.demand(fits, "lane: a message of ours does not fit");
    breaches.demand(!lane.expected.is_zero(), "lane: arrives before it was sent");
    breaches.demand(adapter.lane(from, from).is_none(), "lane: leads from a chain to itself");
    let nowhere = adapter.lane(from, NOWHERE).is_none() && adapter.lane(NOWHERE, to).is_none();
    breaches.demand(nowhere, "lane: leads to or from a chain nobody configured");
}

fn redirected(message: &SealedMessage, change: impl FnOnce(&mut SealedMessage)) -> SealedMessage {
    let mut other = message.clone();
    change(&mut other);
    other
}

fn is_rejected<T>(answer: &Result<T, AdapterError>) -> bool {
    matches!(answer, Err(error) if error.class() == Class::Reject)
}

pub(crate) async fn quote(scene: &Scene<'_>, breaches: &mut Breaches) -> Option<Quote> {
    let nowhere = redirected(&scene.message, |message| message.header.target = NOWHERE);
    let refused = scene.adapter.quote(scene.source, &nowhere).await;
    breaches.demand(
        is_rejected(&refused),
        "quote: a lane that does not exist is not rejected",
    );
    let dark = scene.adapter.quote(&Dark::of(scene.source), &scene.message).await;
    let waits = match &dark {
        // A price that needs no look at the chain is no lie.
        Ok(_) => true,
        Err(error) => matches!(error.class(), Class::Retry { .. } | Class::NotYet),
    };
    breaches.demand(waits, "quote: a chain that does not answer is taken for a refusal");
    let quote = match scene.adapter.quote(scene.source, &scene.message).await {
        Ok(quote) => quote,
        Err(error) => {
            breaches.demand(false, format!("quote: {error}"));
            return None;
        }
    };
    let again = scene.adapter.quote(scene.source, &scene.message).await;
    breaches.demand(again.is_ok_and(|again| again == quote), "quote: one block, two prices");
    breaches.demand(quote.gas_limit > 0, "quote: the receive callback gets no gas");
    breaches.demand(u64::try_from(quote.gas_limit).is_ok(), "quote: the gas limit is absurd");
    breaches.demand(!quote.valid_for.is_zero(), "quote: is good for no time");
    breaches.demand(!quote.expected.is_zero(), "quote: arrives before it was sent");
    Some(quote)
}

pub(crate) fn call(scene: &Scene<'_>, quote: &Quote, breaches: &mut Breaches) {
    let (adapter, header) = (scene.adapter, &scene.message.header);
    for committed in [false, true] {
        let message = redirected(&scene.message, |message| message.committed = committed);
        let call = match adapter.build_send(&message, quote) {
            Ok(call) => call,
            Err(error) => {
                breaches.demand(false, format!("build_send: {error}"));
                continue;
            }
        };
        let again = adapter.build_send(&message, quote);
        breaches.demand(
            again.is_ok_and(|again| again == call),
            "build_send: one message, two calls",
        );
        breaches.demand(call.chain == header.source, "build_send: the call is for another chain");
        breaches.demand(call.to == header.outbox, "build_send: does not call our outbox");
        breaches.demand(call.value <= quote.native_fee, "build_send: sends more than was quoted");
        let Ok(sent) = ISettlementOutbox::dispatchCall::abi_decode(&call.data) else {
            breaches.demand(false, "build_send: is no dispatch call");
            continue;
        };
        breaches.demand(
            sent.header.as_ref() == header.encode().as_slice(),
            "build_send: carries another message",
        );
        let port = adapter.lane(header.source, header.target).map(|lane| lane.source_port);
        breaches.demand(Some(sent.port) == port, "build_send: names another port than the lane");
        breaches.demand(
            sent.gasLimit == quote.gas_limit,
            "build_send: another gas limit than quoted",
        );
        let ids: Vec<B256> = if committed {
            Vec::new()
        } else {
            scene.message.ids().iter().map(|id| id.0).collect()
        };
        breaches.demand(
            sent.settlementIds == ids,
            format!("build_send: wrong settlement ids for a message with committed = {committed}"),
        );
    }
    checkpoint(scene, quote, breaches);
    let nowhere = redirected(&scene.message, |message| message.header.target = NOWHERE);
    let refused = adapter.build_send(&nowhere, quote);
    breaches.demand(
        is_rejected(&refused),
        "build_send: a lane that does not exist is not rejected",
    );
    let foreign = redirected(&scene.message, |message| message.header.outbox = NOBODY);
    let refused = adapter.build_send(&foreign, quote);
    breaches.demand(
        is_rejected(&refused),
        "build_send: a message of another outbox is not rejected",
    );
}

/// A checkpoint goes over the same port by the outbox's other call, committed or not.
fn checkpoint(scene: &Scene<'_>, quote: &Quote, breaches: &mut Breaches) {
    let message = redirected(&scene.message, |message| {
        message.header.kind = Kind::Checkpoint;
        message.header.count = 0;
        message.header.fee_recipient = Address::ZERO;
        message.body = Body::Checkpoint { hub: NOBODY };
    });
    let header = &message.header;
    let Ok(call) = scene.adapter.build_send(&message, quote) else {
        breaches.demand(false, "build_send: refuses a checkpoint");
        return;
    };
    let Ok(sent) = ISettlementOutbox::dispatchCheckpointCall::abi_decode(&call.data) else {
        breaches.demand(false, "build_send: a checkpoint is no dispatchCheckpoint call");
        return;
    };
    let port = scene
        .adapter
        .lane(header.source, header.target)
        .map(|lane| lane.source_port);
    let named =
        (sent.hub, sent.eon, sent.targetChain, sent.inbox) == (NOBODY, header.sequence, header.target.0, header.inbox);
    breaches.demand(named, "build_send: carries another checkpoint");
    let carried = Some(sent.port) == port && sent.gasLimit == quote.gas_limit && call.to == header.outbox;
    breaches.demand(
        carried,
        "build_send: a checkpoint goes over another port, outbox or gas limit",
    );
}

pub(crate) fn receipt(scene: &Scene<'_>, breaches: &mut Breaches) -> Option<MessageRef> {
    let header = &scene.message.header;
    let reference = match scene.adapter.decode_send(&scene.receipt) {
        Ok(reference) => reference,
        Err(error) => {
            breaches.demand(false, format!("decode_send: {error}"));
            return None;
        }
    };
    let again = scene.adapter.decode_send(&scene.receipt);
    let same = again.is_ok_and(|again| again == reference);
    breaches.demand(same, "decode_send: one receipt, two references");
    let chains = (reference.source, reference.target) == (header.source, header.target);
    breaches.demand(chains, "decode_send: names other chains");
    breaches.demand(!reference.id.is_zero(), "decode_send: the reference has no id");
    breaches.demand(
        !reference.evidence.is_empty(),
        "decode_send: the reference has no evidence",
    );
    Some(reference)
}

/// Decodes without letting a panic through.
fn decode(scene: &Scene<'_>, receipt: &TxReceipt) -> Option<Result<MessageRef, AdapterError>> {
    catch_unwind(AssertUnwindSafe(|| scene.adapter.decode_send(receipt))).ok()
}

/// Logs are written by others: whatever stands in them, nothing panics, and no other message is made of them.
pub(crate) fn mutations(scene: &Scene<'_>, reference: &MessageRef, breaches: &mut Breaches) {
    let altered = |change: &dyn Fn(&mut TxReceipt)| {
        let mut receipt = scene.receipt.clone();
        change(&mut receipt);
        receipt
    };
    let hopeless = [
        ("a reverted transaction", altered(&|it| it.succeeded = false)),
        ("a receipt without logs", altered(&|it| it.logs.clear())),
        (
            "logs of strangers",
            altered(&|it| it.logs.iter_mut().for_each(|log| log.address = NOBODY)),
        ),
        (
            "logs without data",
            altered(&|it| it.logs.iter_mut().for_each(|log| log.data = Bytes::new())),
        ),
        (
            "logs without topics",
            altered(&|it| it.logs.iter_mut().for_each(|log| log.topics.clear())),
        ),
    ];
    for (name, receipt) in hopeless {
        match decode(scene, &receipt) {
            None => breaches.demand(false, format!("decode_send: panics at {name}")),
            Some(Ok(_)) => breaches.demand(false, format!("decode_send: accepts {name}")),
            Some(Err(error)) => {
                breaches.demand(
                    is_lasting(error.class()),
                    format!("decode_send: would ask again after {name}"),
                );
            }
        }
    }
    for (name, receipt) in single_changes(&scene.receipt) {
        match decode(scene, &receipt) {
            None => breaches.demand(false, format!("decode_send: panics at {name}")),
            Some(Ok(found)) => {
                let named = found.id == reference.id || (scene.id_is_announced && found.evidence == reference.evidence);
                let same = named && (found.source, found.target) == (reference.source, reference.target);
                breaches.demand(same, format!("decode_send: makes another message of {name}"));
            }
            Some(Err(error)) => {
                breaches.demand(
                    is_lasting(error.class()),
                    format!("decode_send: would ask again after {name}"),
                );
            }
        }
    }
}

/// One thing changed at a time, in every log.
fn single_changes(receipt: &TxReceipt) -> Vec<(String, TxReceipt)> {
    let mut all = Vec::new();
    for index in 0..receipt.logs.len() {
        let mut add = |name: String, change: &dyn Fn(&mut TxReceipt)| {
            let mut changed = receipt.clone();
            change(&mut changed);
            all.push((format!("log {index} {name}"), changed));
        };
        add("removed".into(), &|it| drop(it.logs.remove(index)));
        add("twice".into(), &|it| it.logs.push(it.logs[index].clone()));
        add("from a stranger".into(), &|it| it.logs[index].address = NOBODY);
        for topic in 0..receipt.logs[index].topics.len() {
            add(format!("with another topic {topic}"), &|it| {
                it.logs[index].topics[topic].0[31] ^= 1
            });
            add(format!("cut at topic {topic}"), &|it| {
                it.logs[index].topics.truncate(topic)
            });
        }
        let data = receipt.logs[index].data.clone();
        for len in (0..data.len()).step_by(7) {
            add(format!("cut to {len} bytes"), &|it| {
                it.logs[index].data = data.slice(..len)
            });
        }
        for at in 0..data.len() {
            let flipped = |bits: u8| -> Bytes {
                let mut bytes = data.to_vec();
                bytes[at] ^= bits;
                bytes.into()
            };
            for bits in [0x01, 0xff] {
                let bytes = flipped(bits);
                add(format!("with byte {at} xor {bits:#04x}"), &|it| {
                    it.logs[index].data = bytes.clone()
                });
            }
        }
    }
    all
}
