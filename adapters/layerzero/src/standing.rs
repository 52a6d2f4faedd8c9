//! Where one message stands on its path, walking the nonces before it: the only thing of LayerZero that needs more than one answer.

use crate::abi::UlnConfig;
use crate::adapter::{LayerZeroAdapter, dispatched};
use crate::packet::Packet;
use crate::path::{PathReader, Slot};
use crate::revert;
use alloy::primitives::{Address, B256};
use alloy::sol_types::SolEvent;
use relayer_adapter_api::abi::ISettlementOutbox;
use relayer_adapter_api::{AdapterError, ChainView, Delivery, LogFilter, MessageRef};

/// Earlier nonces looked at for one message. A path with more of them in flight is judged by the first ones.
const EARLIER_MAX: u64 = 64;
/// Where a message of ours stands, with what is needed to move it.
pub(crate) struct Standing {
    pub packet: Packet,
    pub slot: Slot,
    pub library: Address,
    /// Packets anyone may commit now: earlier ones of the path first, then ours.
    pub committable: Vec<Packet>,
    /// First nonce before ours that nobody can commit yet.
    pub blocked_behind: Option<u64>,
    /// Ours: attested and required verifiers, when they are not done.
    pub waiting: Option<(usize, usize)>,
}

/// A dispatch of our outbox.
struct Send {
    guid: B256,
    tx: B256,
}

impl LayerZeroAdapter {
    pub(crate) async fn standing(
        &self,
        source: &dyn ChainView,
        target: &dyn ChainView,
        message: &MessageRef,
    ) -> Result<Standing, AdapterError> {
        let packet = self.packet_of(message)?;
        let (_, to, outbox) = self.ends(message.source, message.target)?;
        let reader = PathReader {
            view: target,
            endpoint: to.endpoint,
            path: packet.path,
        };
        let mut standing = Standing {
            slot: reader.slot(packet.nonce).await?,
            packet,
            library: to.receive_library.unwrap_or_default(),
            committable: Vec::new(),
            blocked_behind: None,
            waiting: None,
        };
        if !matches!(standing.slot, Slot::Open | Slot::Committed(_)) {
            return Ok(standing);
        }
        let verified = reader.verified_up_to().await?;
        let nonce = standing.packet.nonce;
        if matches!(standing.slot, Slot::Committed(_)) && verified >= nonce {
            return Ok(standing);
        }
        standing.library = reader.receive_library(to.receive_library).await?;
        let verifiers = reader.verifiers(standing.library).await?;
        let first = verified.saturating_add(1);
        if first < nonce {
            self.earlier(source, outbox, &reader, &verifiers, first, &mut standing)
                .await?;
        }
        if standing.slot == Slot::Open {
            if reader
                .is_verifiable(standing.library, &verifiers, &standing.packet)
                .await?
            {
                standing.committable.push(standing.packet.clone());
            } else {
                let attested = reader
                    .attested_by(standing.library, &verifiers, &standing.packet)
                    .await?;
                standing.waiting = Some((attested, verifiers.requiredDVNs.len()));
            }
        }
        Ok(standing)
    }

    /// Walks the nonces between the gapless verified ones and ours, until one that nobody can commit yet.
    async fn earlier(
        &self,
        source: &dyn ChainView,
        outbox: Address,
        reader: &PathReader<'_>,
        verifiers: &UlnConfig,
        first: u64,
        standing: &mut Standing,
    ) -> Result<(), AdapterError> {
        let end = standing.packet.nonce.min(first.saturating_add(EARLIER_MAX));
        let mut sends = None;
        for nonce in first..end {
            if reader.slot(nonce).await? != Slot::Open {
                continue;
            }
            if sends.is_none() {
                sends = Some(self.sends(source, outbox).await?);
            }
            let guid = reader.path.guid(nonce);
            let sent = sends.iter().flatten().find(|send| send.guid == guid);
            let packet = match sent {
                Some(send) => self.packet_in(source, send.tx, guid).await?,
                None => None,
            };
            let committable = match &packet {
                Some(packet) => reader.is_verifiable(standing.library, verifiers, packet).await?,
                None => false,
            };
            match packet {
                Some(packet) if committable => standing.committable.push(packet),
                _ => {
                    standing.blocked_behind = Some(nonce);
                    return Ok(());
                }
            }
        }
        if end < standing.packet.nonce {
            standing.blocked_behind = Some(end);
        }
        Ok(())
    }

    /// Recent dispatches of our outbox over this port: one query, indexed by nothing but the contract.
    async fn sends(&self, source: &dyn ChainView, outbox: Address) -> Result<Vec<Send>, AdapterError> {
        let filter = LogFilter {
            addresses: vec![outbox],
            topics0: vec![ISettlementOutbox::MessageDispatched::SIGNATURE_HASH],
            from_block: Some(source.block().number.saturating_sub(self.config.search_blocks)),
        };
        let logs = source
            .logs(&filter)
            .await
            .map_err(|error| revert::error("looking for earlier packets of the path", error))?;
        Ok(logs
            .iter()
            .filter(|log| log.address == outbox)
            .filter_map(|log| {
                Some(Send {
                    guid: dispatched(log)?.bridgeRef,
                    tx: log.tx_hash,
                })
            })
            .collect())
    }

    async fn packet_in(&self, source: &dyn ChainView, tx: B256, guid: B256) -> Result<Option<Packet>, AdapterError> {
        let receipt = source
            .receipt(tx)
            .await
            .map_err(|error| revert::error("reading the send of an earlier packet", error))?;
        let Some(receipt) = receipt else { return Ok(None) };
        Ok(self
            .packets(&receipt)?
            .into_iter()
            .map(|(packet, _)| packet)
            .find(|packet| packet.guid == guid))
    }
}

/// What the standing of a message that the inbox has not recorded means.
pub(crate) fn verdict(standing: &Standing) -> Delivery {
    let ours = standing.packet.payload_hash();
    match standing.slot {
        Slot::Nilified => Delivery::Failed {
            why: "the packet was nilified".to_owned(),
        },
        Slot::Committed(other) if other != ours => Delivery::Failed {
            why: format!("another payload {other} is committed under this nonce, ours is {ours}"),
        },
        Slot::Passed => Delivery::Failed {
            why: "the endpoint consumed the nonce without our port recording it (skipped, cleared or burnt)".to_owned(),
        },
        Slot::Committed(_) | Slot::Open => {
            let behind = standing
                .blocked_behind
                .map(|nonce| format!("blocked behind nonce {nonce}"));
            match (standing.waiting, behind) {
                (Some((attested, required)), behind) => Delivery::Pending {
                    note: [Some(format!("{attested} of {required} verifiers attested")), behind]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join("; "),
                },
                (None, Some(note)) => Delivery::Pending { note },
                (None, None) => Delivery::Attested {
                    note: match standing.committable.len() {
                        0 => "committed, not executed".to_owned(),
                        1 => "attested, not committed".to_owned(),
                        more => format!("attested, {more} packets of the path not committed"),
                    },
                },
            }
        }
    }
}
