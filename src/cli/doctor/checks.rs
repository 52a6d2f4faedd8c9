//! What is asked of chains and contracts. A question that is not answered is a finding too, never a guess.

use super::super::output::{duration, ether};
use crate::chain::Chain;
use crate::config::{BridgeConfig, ChainConfig, ChainName, Config};
use crate::wiring;
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox, ISettlementPort, ISettlementVault};
use relayer_adapter_api::{BlockRef, BridgeId, ChainId, ChainView, Finding};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A head older than this is suspicious on any chain.
const HEAD_AGE_S_MAX: u64 = 600;
/// What the inbox's constructor demands of the port delay beyond the exit delay.
const PAUSE_S_MAX: u64 = 72 * 3_600;

/// Everything about one chain that is not about a bridge.
pub(super) struct ChainChecks<'a> {
    pub name: &'a ChainName,
    pub config: &'a ChainConfig,
    pub chain: &'a dyn Chain,
    pub now_s: u64,
}

/// Calls at one block.
struct Ask {
    view: Arc<dyn ChainView>,
}

impl Ask {
    async fn call<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, String> {
        let answer = self.view.call(None, to, call.abi_encode().into(), U256::ZERO).await;
        let answer = answer.map_err(|error| error.to_string())?;
        C::abi_decode_returns(&answer).map_err(|_| format!("{to} does not answer {}", C::SIGNATURE))
    }
}

/// A question that went unanswered.
fn unanswered(what: impl Into<String>, error: impl std::fmt::Display) -> Finding {
    Finding::fail(
        what,
        error.to_string(),
        "Check the address in the configuration and the endpoint.",
    )
}

impl ChainChecks<'_> {
    pub async fn run(&self) -> Vec<Finding> {
        let mut findings = self.endpoints().await;
        let head = match self.chain.head().await {
            Ok(head) => head,
            Err(error) => {
                findings.push(Finding::fail(
                    "head",
                    error.to_string(),
                    "Check that enough endpoints answer.",
                ));
                return findings;
            }
        };
        findings.push(self.head_age(&head));
        match self.chain.finalized().await {
            Ok(block) => {
                let behind = head.number.saturating_sub(block.number);
                findings.push(Finding::ok(
                    "finality",
                    format!("block {}, {behind} behind the head", block.number),
                ));
            }
            Err(error) => findings.push(Finding::fail(
                "finality",
                error.to_string(),
                "The endpoint may not know the tag: set finality to a depth.",
            )),
        }
        let ask = Ask {
            view: self.chain.view(head),
        };
        let signers = self.signers(&mut findings);
        self.funds(&signers, head, &mut findings).await;
        if let Some(outbox) = self.config.contracts.outbox {
            self.outbox(&ask, outbox, &signers, &mut findings).await;
        }
        if let (Some(inbox), Some(vault)) = (self.config.contracts.inbox, self.config.contracts.vault) {
            self.inbox(&ask, inbox, vault, &mut findings).await;
            self.vault(&ask, inbox, vault, &mut findings).await;
        }
        findings
    }

    /// Every endpoint alone: a wrong one would only be outvoted.
    async fn endpoints(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (index, answer) in wiring::chain_ids(self.name, self.config).await.into_iter().enumerate() {
            let what = format!("endpoint {index}");
            findings.push(match answer {
                Ok(found) => Finding::check(
                    found == self.config.chain_id,
                    what,
                    format!("chain {found}"),
                    "The endpoint serves another chain: correct its URL.",
                ),
                Err(error) => Finding::fail(what, error, "Check that the endpoint is up and reachable."),
            });
        }
        let (quorum, count) = (self.config.quorum(), self.config.rpc.len());
        let found = format!("{quorum} of {count} must agree");
        findings.push(if quorum > 1 {
            Finding::ok("quorum", found)
        } else {
            Finding::warn(
                "quorum",
                found,
                "One endpoint alone decides what is true: configure three of different operators.",
            )
        });
        findings
    }

    fn head_age(&self, head: &BlockRef) -> Finding {
        let age = self.now_s.saturating_sub(head.timestamp);
        let found = format!("block {}, {} old", head.number, duration(age.saturating_mul(1_000)));
        if age <= HEAD_AGE_S_MAX {
            Finding::ok("head", found)
        } else {
            Finding::warn(
                "head",
                found,
                "The chain or the endpoint stands still, or this machine's clock is wrong.",
            )
        }
    }

    fn signers(&self, findings: &mut Vec<Finding>) -> Vec<Address> {
        match wiring::signers(self.name, self.config) {
            Ok(pool) if pool.addresses().is_empty() => {
                findings.push(Finding::warn(
                    "signers",
                    "none",
                    "Without a signer this relayer sends nothing here: add `signers`.",
                ));
                Vec::new()
            }
            Ok(pool) => pool.addresses(),
            Err(error) => {
                findings.push(Finding::fail("signers", error.to_string(), "Correct the key."));
                Vec::new()
            }
        }
    }

    async fn funds(&self, signers: &[Address], head: BlockRef, findings: &mut Vec<Finding>) {
        for signer in signers {
            let what = format!("funds of {signer}");
            findings.push(match self.chain.balance(*signer, head).await {
                Ok(balance) => {
                    let least = self.config.fees.balance_min.0;
                    let found = ether(&balance.to_string());
                    let todo = format!("Send native coin: less than {} is left.", ether(&least.to_string()));
                    if balance.is_zero() {
                        Finding::fail(what, found, todo)
                    } else if balance < least {
                        Finding::warn(what, found, todo)
                    } else {
                        Finding::ok(what, found)
                    }
                }
                Err(error) => unanswered(what, error),
            });
        }
    }

    /// False when there is nothing to ask.
    async fn code(&self, what: &str, address: Address, findings: &mut Vec<Finding>) -> bool {
        let found = self.chain.code(address).await;
        let there = found.as_ref().is_ok_and(|code| !code.is_empty());
        findings.push(match found {
            Ok(code) => Finding::check(
                there,
                format!("{what} code"),
                format!("{address}, {} bytes", code.len()),
                format!("There is no contract at this address: correct contracts.{what}, or deploy it (`cargo xtask contracts`)."),
            ),
            Err(error) => unanswered(format!("{what} code"), error),
        });
        there
    }

    /// Admins are meant to be timelocked multisigs; an account with a bare key is worth a warning.
    async fn owner(&self, what: &str, owner: Result<Address, String>, findings: &mut Vec<Finding>) {
        let what = format!("{what} owner");
        findings.push(match owner {
            Ok(owner) => match self.chain.code(owner).await {
                Ok(code) if !code.is_empty() => Finding::ok(what, format!("{owner}, a contract")),
                Ok(_) => Finding::warn(
                    what,
                    format!("{owner}, an account with a key"),
                    "Hand it to a timelocked multisig before real money is at stake.",
                ),
                Err(error) => unanswered(what, error),
            },
            Err(error) => unanswered(what, error),
        });
    }

    async fn outbox(&self, ask: &Ask, outbox: Address, signers: &[Address], findings: &mut Vec<Finding>) {
        if !self.code("outbox", outbox, findings).await {
            return;
        }
        for signer in signers {
            let what = format!("dispatcher role of {signer}");
            let call = ISettlementOutbox::isDispatcherCall { account: *signer };
            findings.push(match ask.call(outbox, call).await {
                Ok(allowed) => Finding::check(
                    allowed,
                    what,
                    if allowed { "granted" } else { "missing" },
                    format!("The outbox's owner calls setDispatcher({signer}, true)."),
                ),
                Err(error) => unanswered(what, error),
            });
        }
        self.owner(
            "outbox",
            ask.call(outbox, ISettlementOutbox::ownerCall {}).await,
            findings,
        )
        .await;
    }

    async fn inbox(&self, ask: &Ask, inbox: Address, vault: Address, findings: &mut Vec<Finding>) {
        if !self.code("inbox", inbox, findings).await {
            return;
        }
        findings.push(match ask.call(inbox, ISettlementInbox::vaultCall {}).await {
            Ok(found) => Finding::check(
                found == vault,
                "inbox's vault",
                found.to_string(),
                "Correct contracts.vault: the inbox's constructor created it.",
            ),
            Err(error) => unanswered("inbox's vault", error),
        });
        let delays = (
            ask.call(inbox, ISettlementInbox::portDelayCall {}).await,
            ask.call(vault, ISettlementVault::exitDelayCall {}).await,
        );
        findings.push(match delays {
            (Ok(port), Ok(exit)) => {
                let shown =
                    |seconds: U256| duration(u64::try_from(seconds).unwrap_or(u64::MAX / 1_000).saturating_mul(1_000));
                Finding::check(
                    port > exit.saturating_add(U256::from(PAUSE_S_MAX)),
                    "delays",
                    format!("new ports wait {}, payers leave in {}", shown(port), shown(exit)),
                    "A new port could be activated before a payer can leave: deploy again with a longer port delay.",
                )
            }
            (Err(error), _) | (_, Err(error)) => unanswered("delays", error),
        });
        self.owner("inbox", ask.call(inbox, ISettlementInbox::ownerCall {}).await, findings)
            .await;
    }

    async fn vault(&self, ask: &Ask, inbox: Address, vault: Address, findings: &mut Vec<Finding>) {
        if !self.code("vault", vault, findings).await {
            return;
        }
        findings.push(match ask.call(vault, ISettlementVault::inboxCall {}).await {
            Ok(found) => Finding::check(
                found == inbox,
                "vault's inbox",
                found.to_string(),
                "Correct contracts.inbox.",
            ),
            Err(error) => unanswered("vault's inbox", error),
        });
        findings.push(match ask.call(vault, ISettlementVault::guardianCall {}).await {
            Ok(Address::ZERO) => Finding::warn(
                "guardian",
                "none",
                "A stolen payer key is answered by the guardian's pause: set a guardian.",
            ),
            Ok(guardian) => Finding::ok("guardian", guardian.to_string()),
            Err(error) => unanswered("guardian", error),
        });
        let paused = ISettlementVault::isPausedCall { payer: Address::ZERO };
        findings.push(match ask.call(vault, paused).await {
            Ok(false) => Finding::ok("pause", "not paused"),
            Ok(true) => Finding::warn(
                "pause",
                "everybody is paused",
                "Nothing is paid until the guardian unpauses or it runs out.",
            ),
            Err(error) => unanswered("pause", error),
        });
        self.owner("vault", ask.call(vault, ISettlementVault::ownerCall {}).await, findings)
            .await;
    }
}

/// One bridge instance on each of its chains: our side of the port, then what its protocol says.
pub(super) async fn bridge(
    config: &Config,
    id: &BridgeId,
    bridge: &BridgeConfig,
    chains: &BTreeMap<ChainId, Arc<dyn Chain>>,
) -> Vec<(ChainName, Vec<Finding>)> {
    let mut areas = Vec::new();
    for (name, entry) in &bridge.chains {
        let mut findings = Vec::new();
        let (Some(port), Some(chain)) = (entry.port, chains.get(&ChainId(name.reference()))) else {
            continue;
        };
        match chain.head().await {
            Ok(head) => {
                let view = chain.view(head);
                let ask = Ask { view: view.clone() };
                if let Some(of) = config.chains.get(name) {
                    our_side(&ask, of, port, &mut findings).await;
                }
                match wiring::inspect_bridge(config, id, bridge, view.as_ref()).await {
                    Ok(found) => findings.extend(found),
                    Err(error) => findings.push(unanswered("port", error)),
                }
            }
            Err(error) => findings.push(unanswered("port", error)),
        }
        areas.push((name.clone(), findings));
    }
    areas
}

async fn our_side(ask: &Ask, chain: &ChainConfig, port: Address, findings: &mut Vec<Finding>) {
    if let Some(outbox) = chain.contracts.outbox {
        findings.push(match ask.call(port, ISettlementPort::outboxCall {}).await {
            Ok(found) => Finding::check(
                found == outbox,
                "port's outbox",
                found.to_string(),
                "The port serves another outbox: correct `port`.",
            ),
            Err(error) => unanswered("port's outbox", error),
        });
        findings.push(match ask.call(outbox, ISettlementOutbox::portSlotCall { port }).await {
            Ok(slot) => Finding::check(
                slot > 0,
                "outbox slot",
                if slot > 0 {
                    format!("slot {}", slot.saturating_sub(1))
                } else {
                    "not added".to_owned()
                },
                format!("The outbox's owner calls addPort({port})."),
            ),
            Err(error) => unanswered("outbox slot", error),
        });
    }
    if let Some(inbox) = chain.contracts.inbox {
        findings.push(match ask.call(port, ISettlementPort::inboxCall {}).await {
            Ok(found) => Finding::check(
                found == inbox,
                "port's inbox",
                found.to_string(),
                "The port serves another inbox: correct `port`.",
            ),
            Err(error) => unanswered("port's inbox", error),
        });
        findings.push(match ask.call(inbox, ISettlementInbox::portInfoCall { port }).await {
            Ok(info) if info.active => Finding::ok(
                "inbox slot",
                format!("slot {}, family {}, active", info.slot, info.family),
            ),
            Ok(info) if info.activatableAt.is_zero() => Finding::fail(
                "inbox slot",
                "never proposed",
                format!("The inbox's owner calls proposePort({port}), and activatePort after the port delay."),
            ),
            Ok(info) => Finding::fail(
                "inbox slot",
                format!("proposed, can be activated at Unix {}", info.activatableAt),
                format!("The inbox's owner calls activatePort({port}) then."),
            ),
            Err(error) => unanswered("inbox slot", error),
        });
    }
}
