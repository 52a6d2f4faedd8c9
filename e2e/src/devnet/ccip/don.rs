//! The committee of CCIP 1.6, one instance per direction: signs roots over what was sent, and executes each message once.
//!
//! Like the other roles it looks at the chains anew whenever a head or a switch changed and remembers nothing but times, so that reorgs need no
//! special case. It also holds the key that curses: the switch decides, the contract is made to agree.

use super::abi::{IOffRampDon, IRmnRemote, commit_report, execution_reports};
use super::deploy::Ccip;
use super::{DIGESTS, FAULTY};
use crate::devnet::key;
use crate::devnet::roles::{head, request, send_all, wallet};
use crate::devnet::switches::{CcipSetting, Switches};
use alloy::primitives::{B256, Bytes, FixedBytes, U256, keccak256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::Filter;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use anyhow::{Context, Result};
use relayer_adapter_ccip::abi::v1_6::{ExecutionReport, IOffRamp, IOnRamp, MerkleRoot, SentMessage};
use relayer_adapter_ccip::v1_6;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_millis(200);
/// How far back messages and commits are looked for.
const LOOKBACK_BLOCKS: u64 = 2_000;
/// What was sent and did not show is sent again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
const COMMIT_GAS: u64 = 600_000;
/// Gas is fixed: estimates lie, since an execution that fails is a transaction that succeeds.
const EXECUTE_GAS: u64 = 3_000_000;
const CURSE_GAS: u64 = 300_000;

sol! {
    #[sol(rpc)]
    interface IRampState {
        function getExecutionState(uint64 sourceChainSelector, uint64 sequenceNumber) external view returns (uint8);
    }
}

/// One direction: watches `source`, acts on `target`.
#[derive(Debug)]
pub struct Committee {
    pub source: Ccip,
    pub target: Ccip,
    pub source_provider: DynProvider,
    pub target_url: String,
    /// Blocks it waits on the source.
    pub confirmations: u64,
    pub admin: PrivateKeySigner,
    pub switches: Switches,
}

/// When messages were first seen and last tried, by id.
#[derive(Debug, Default)]
struct Memory {
    first_seen: BTreeMap<B256, Instant>,
    tried: BTreeMap<B256, Instant>,
    committed_at: Option<Instant>,
    last: Option<(B256, B256, CcipSetting)>,
}

impl Memory {
    fn age(&mut self, id: B256) -> Duration {
        self.first_seen.entry(id).or_insert_with(Instant::now).elapsed()
    }
}

impl Committee {
    /// The key that sends commits and executions in every direction.
    pub fn transmitter() -> Result<PrivateKeySigner> {
        key("ccip transmitter")
    }

    pub async fn run(self, stop: CancellationToken) {
        let wallets = Self::transmitter()
            .and_then(|key| wallet(&self.target_url, &key))
            .and_then(|don| Ok((don, wallet(&self.target_url, &self.admin)?)));
        let (don, admin) = match wallets {
            Ok(wallets) => wallets,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the devnet's CCIP committee cannot start");
                return;
            }
        };
        let mut memory = Memory::default();
        loop {
            let tick = self.tick(&mut memory, &don, &admin);
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = tick => if let Err(error) = outcome {
                    tracing::debug!(selector = self.source.selector, error = format!("{error:#}"), "the CCIP committee will try again");
                    memory.last = None;
                    sleep(TICK * 5).await;
                },
            }
            tokio::select! { () = stop.cancelled() => return, () = sleep(TICK) => {} }
        }
    }

    async fn tick(&self, memory: &mut Memory, don: &DynProvider, admin: &DynProvider) -> Result<()> {
        let setting = self.switches.get().ccip;
        let (source_head, source_hash, _) = head(&self.source_provider).await?;
        let (target_head, target_hash, _) = head(don).await?;
        let look = (source_hash, target_hash, setting.clone());
        let waits = setting.commit_delay_ms > 0 || setting.execute_delay_ms > 0;
        if !waits && memory.last.as_ref() == Some(&look) {
            return Ok(());
        }
        self.agree_on_curse(&setting, admin).await?;
        if setting.cursed {
            memory.last = Some(look);
            return Ok(());
        }
        let messages = self.messages(source_head).await?;
        let lane = self.lane(don).await?;
        if setting.commits {
            self.commit(memory, don, &messages, lane, &setting).await?;
        }
        if setting.executes {
            self.execute(memory, don, &messages, target_head, &setting).await?;
        }
        memory.last = Some(look);
        Ok(())
    }

    async fn agree_on_curse(&self, setting: &CcipSetting, admin: &DynProvider) -> Result<()> {
        let subject = FixedBytes(u128::from(self.source.selector).to_be_bytes());
        let cursed = IRmnRemote::new(self.target.rmn, admin).isCursed(subject).call().await?;
        let change = match (cursed, setting.cursed) {
            (false, true) => request(self.target.rmn, IRmnRemote::curseCall { subject }, CURSE_GAS),
            (true, false) => request(self.target.rmn, IRmnRemote::uncurseCall { subject }, CURSE_GAS),
            _ => return Ok(()),
        };
        send_all(admin, vec![change]).await
    }

    /// Everything sent this way with enough confirmations, by sequence number.
    async fn messages(&self, head: u64) -> Result<BTreeMap<u64, SentMessage>> {
        let filter = Filter::new()
            .address(self.source.on_ramp)
            .event_signature(IOnRamp::CCIPMessageSent::SIGNATURE_HASH)
            .from_block(head.saturating_sub(LOOKBACK_BLOCKS))
            .to_block(head.saturating_sub(self.confirmations));
        let mut messages = BTreeMap::new();
        for log in self.source_provider.get_logs(&filter).await? {
            let event = IOnRamp::CCIPMessageSent::decode_log(&log.inner)?.data;
            if event.destChainSelector == self.target.selector {
                messages.insert(event.sequenceNumber, event.message);
            }
        }
        Ok(messages)
    }

    /// First sequence number that is not committed.
    async fn lane(&self, provider: &DynProvider) -> Result<u64> {
        let call = IOffRamp::getSourceChainConfigCall {
            sourceChainSelector: self.source.selector,
        };
        let answer = provider.call(request(self.target.off_ramp, call, COMMIT_GAS)).await?;
        Ok(IOffRamp::getSourceChainConfigCall::abi_decode_returns(&answer)?.minSeqNr)
    }

    fn leaf(&self, message: &SentMessage) -> Result<B256> {
        Ok(v1_6::leaf(&v1_6::arriving(message)?, self.source.on_ramp))
    }

    /// One root over all that is due: intervals leave no gaps.
    async fn commit(
        &self,
        memory: &mut Memory,
        don: &DynProvider,
        messages: &BTreeMap<u64, SentMessage>,
        first: u64,
        setting: &CcipSetting,
    ) -> Result<()> {
        let wait = Duration::from_millis(setting.commit_delay_ms);
        let (mut leaves, mut last) = (Vec::new(), first);
        for (number, message) in messages.range(first..) {
            if *number != first + leaves.len() as u64 || memory.age(message.header.messageId) < wait {
                break;
            }
            leaves.push(self.leaf(message)?);
            last = *number;
        }
        let recently = memory.committed_at.is_some_and(|at| at.elapsed() < AGAIN_AFTER / 2);
        let Some((root, _)) = v1_6::prove(&leaves, 0).filter(|_| !recently) else {
            return Ok(());
        };
        let report = commit_report(MerkleRoot {
            sourceChainSelector: self.source.selector,
            onRampAddress: self.source.on_ramp.abi_encode().into(),
            minSeqNr: first,
            maxSeqNr: last,
            merkleRoot: root,
        });
        let context = [B256::from(DIGESTS[0]), B256::from(U256::from(first))];
        // Raw ECDSA over hash and context, by one more member than may be faulty, exactly.
        let digest = keccak256([keccak256(&report), context[0], context[1]].concat());
        let (mut rs, mut ss, mut vs) = (Vec::new(), Vec::new(), B256::ZERO);
        for index in 0..=usize::from(FAULTY) {
            let signature = key(&format!("ccip signer {index}"))?.sign_hash_sync(&digest)?;
            rs.push(B256::from(signature.r()));
            ss.push(B256::from(signature.s()));
            vs[index] = u8::from(signature.v());
        }
        let call = IOffRampDon::commitCall {
            context,
            report: report.into(),
            rs,
            ss,
            rawVs: vs,
        };
        memory.committed_at = Some(Instant::now());
        send_all(don, vec![request(self.target.off_ramp, call, COMMIT_GAS)]).await
    }

    /// Committed intervals, from the off-ramp's own words.
    async fn roots(&self, don: &DynProvider, target_head: u64) -> Result<Vec<MerkleRoot>> {
        let filter = Filter::new()
            .address(self.target.off_ramp)
            .event_signature(IOffRamp::CommitReportAccepted::SIGNATURE_HASH)
            .from_block(target_head.saturating_sub(LOOKBACK_BLOCKS))
            .to_block(target_head);
        let mut roots = Vec::new();
        for log in don.get_logs(&filter).await? {
            let report = IOffRamp::CommitReportAccepted::decode_log(&log.inner)?.data;
            roots.extend(report.unblessedMerkleRoots);
        }
        roots.retain(|root| root.sourceChainSelector == self.source.selector);
        Ok(roots)
    }

    async fn execute(
        &self,
        memory: &mut Memory,
        don: &DynProvider,
        messages: &BTreeMap<u64, SentMessage>,
        target_head: u64,
        setting: &CcipSetting,
    ) -> Result<()> {
        let wait = Duration::from_millis(setting.execute_delay_ms);
        let mut requests = Vec::new();
        for root in self.roots(don, target_head).await? {
            for number in root.minSeqNr..=root.maxSeqNr {
                let Some(message) = messages.get(&number) else { continue };
                let id = message.header.messageId;
                let tried = memory.tried.get(&id).is_some_and(|at| at.elapsed() < AGAIN_AFTER);
                // A real committee tries a message once; a failed one is left to whoever cares.
                if tried || memory.age(id) < wait || self.state(don, number).await? != 0 {
                    continue;
                }
                let report = self.execution(messages, &root, number)?;
                let call = IOffRampDon::executeCall {
                    context: [B256::from(DIGESTS[1]), B256::from(U256::from(number))],
                    report: execution_reports(vec![report]).into(),
                };
                memory.tried.insert(id, Instant::now());
                let gas = setting.execute_gas.unwrap_or(EXECUTE_GAS);
                requests.push(request(self.target.off_ramp, call, gas));
            }
        }
        if requests.is_empty() {
            return Ok(());
        }
        send_all(don, requests).await
    }

    async fn state(&self, don: &DynProvider, number: u64) -> Result<u8> {
        let ramp = IRampState::new(self.target.off_ramp, don);
        Ok(ramp.getExecutionState(self.source.selector, number).call().await?)
    }

    fn execution(
        &self,
        messages: &BTreeMap<u64, SentMessage>,
        root: &MerkleRoot,
        number: u64,
    ) -> Result<ExecutionReport> {
        let mut leaves = Vec::new();
        for (_, message) in messages.range(root.minSeqNr..=root.maxSeqNr) {
            leaves.push(self.leaf(message)?);
        }
        let index = usize::try_from(number - root.minSeqNr)?;
        let (found, proofs) = v1_6::prove(&leaves, index).context("the interval has no such message")?;
        anyhow::ensure!(
            found == root.merkleRoot,
            "a reorg of the source undid a committed message"
        );
        let arriving = v1_6::arriving(&messages[&number])?;
        Ok(ExecutionReport {
            sourceChainSelector: self.source.selector,
            offchainTokenData: vec![vec![Bytes::new(); arriving.tokenAmounts.len()]],
            messages: vec![arriving],
            proofs,
            proofFlagBits: U256::ZERO,
        })
    }
}
