//! A hub on the source chain: our devnet contract with NOCUST's rules, its operator, and three wallets that deposit, pay one another off chain
//! and withdraw.
//!
//! The operator keeps nothing of the chain in memory: each checkpoint is computed from the logs up to the end of the eon before, so reorgs need no
//! special case. What happens off chain exists here alone. Layout: this file the contract, the wallets and what tests ask for, [`operator`] the role.

mod operator;

use super::layerzero::{call, create, send};
use super::{Accounts, Chain, key, test_contract, wallet};
use crate::deploy::artifacts::with_args;
use crate::deploy::plan::{HubPlan, HubTokenPlan, Plan, RegistryPlan};
use crate::devnet::abi::ITestToken;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::{DynProvider, Provider};
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolEvent};
use anyhow::{Context, Result};
use relayer::adapter::ChainId;
use relayer::adapter::abi::{ICheckpointRegistry, ICommitChain};
use relayer::adapter::message::{Header, Kind, WireMessage};
use relayer::hub::model::state::{ActiveState, Holder};
use relayer::hub::model::transfer::{Transfer, passive_tree};
use relayer::hub::model::{
    Account, AccountTreeBuilder, Allotment, Checkpoint, Eon, HashTree, Passive, TokenCommitment,
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod challenges {
    #![allow(
        clippy::too_many_arguments,
        reason = "the proofs of the hub's contract have as many parts"
    )]
    alloy::sol!(
        #[sol(rpc)]
        "../contracts/test/mocks/ICommitChainChallenges.sol"
    );
}

/// Name of the hub in configuration and registry.
pub const NAME: &str = "devnet";
/// Trail of the token among the hub's, after the native coin; and of the devnet's payer among the wallets.
pub const TOKEN: usize = 1;
pub const PAYER: usize = 0;
/// Seconds between announcing and making a choice between two roots.
const RESOLVE_DELAY: u64 = 3_600;
/// What every wallet deposits at first, of token and native coin.
const FIRST_DEPOSIT: u64 = 100;

/// How the hub shall be.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// At least 16, or the operator's transactions do not fit.
    pub blocks_per_eon: u64,
    /// Families that must have brought a root to the registry. The operator's signature counts as one, unless one is enough.
    pub quorum: u8,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            blocks_per_eon: 24,
            quorum: 2,
        }
    }
}

/// What `devnet.json` says of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HubFile {
    pub name: String,
    pub chain_id: u64,
    pub contract: Address,
    pub genesis: u64,
    pub blocks_per_eon: u64,
    pub operator: Address,
    /// In the order of their trails; the first is the contract itself, which stands for the native coin.
    pub tokens: Vec<Address>,
    /// In the order of their trails.
    pub wallets: Vec<Address>,
    /// Worthless.
    pub operator_key: B256,
}

/// A payment between two wallets, by their trails, that no chain knows of.
#[derive(Debug, Clone, Copy)]
struct OffChain {
    eon: u64,
    /// Trail.
    token: usize,
    from: usize,
    to: usize,
    amount: U256,
}

/// What the hub's ledger says at the end of an eon; the next eon's checkpoint commits to it.
#[derive(Debug, Clone)]
pub struct Balances {
    pub checkpoint: Checkpoint,
    /// By token, by wallet, in the order of their trails.
    pub allotments: Vec<Vec<Allotment>>,
}

/// The running hub. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Hub {
    pub chain: u64,
    pub contract: Address,
    pub genesis: u64,
    pub blocks_per_eon: u64,
    pub operator: PrivateKeySigner,
    /// The devnet's payer first, so that its settlements can name its allotment.
    pub wallets: [PrivateKeySigner; 3],
    pub tokens: [Address; 2],
    url: String,
    provider: DynProvider,
    transfers: Arc<Mutex<Vec<OffChain>>>,
}

/// Deploys the contract, has the wallets deposit, submits eon 1's checkpoint, and adds registry and hub to the plan of the target.
pub async fn put(
    options: &HubOptions,
    accounts: &Accounts,
    [source, target]: [&Chain; 2],
    block_time: u64,
    plan: &mut Plan,
) -> Result<Hub> {
    let operator = key("hub operator")?;
    let wallets = [accounts.payer.clone(), key("hub alice")?, key("hub bob")?];
    let url = source.anvil.url.clone();
    let admin = wallet(&url, &accounts.admin)?;
    let first = U256::from(FIRST_DEPOSIT) * U256::from(10).pow(U256::from(18));
    for signer in wallets.iter().chain([&operator]) {
        let coins = U256::from(10).pow(U256::from(22));
        source.anvil.set_balance(signer.address(), coins).await?;
        let to = signer.address();
        let amount = first * U256::from(1_000);
        call(&admin, source.token, ITestToken::mintCall { to, amount }).await?;
    }
    let code = with_args(
        &test_contract("CommitChain", "CommitChain")?,
        &(U256::from(options.blocks_per_eon), operator.address()),
    );
    let contract = create(&admin, code, "CommitChain").await?;
    let genesis = ICommitChain::new(contract, &source.anvil.provider)
        .genesis()
        .call()
        .await?;
    let hub = Hub {
        chain: source.anvil.chain,
        contract,
        genesis: genesis.try_into().context("the hub's genesis is no block number")?,
        blocks_per_eon: options.blocks_per_eon,
        operator,
        wallets,
        tokens: [contract, source.token],
        url,
        provider: source.anvil.provider.clone(),
        transfers: Arc::default(),
    };
    let operator = hub.as_operator()?;
    call(
        &operator,
        contract,
        ICommitChain::registerERC20Call { token: source.token },
    )
    .await?;
    hub.submit(&operator, 1, hub.balances(1).await?.checkpoint.root())
        .await?;
    for signer in &hub.wallets {
        let provider = wallet(&hub.url, signer)?;
        let approval = ITestToken::approveCall {
            spender: contract,
            amount: U256::MAX,
        };
        call(&provider, source.token, approval).await?;
        hub.deposit(&operator, 1, signer.address(), first).await?;
    }
    hub.deposit(&operator, 0, hub.wallets[1].address(), first).await?;
    hub.add_to(plan, target.anvil.chain, options.quorum, block_time)?;
    Ok(hub)
}

impl Hub {
    fn add_to(&self, plan: &mut Plan, target: u64, quorum: u8, block_time: u64) -> Result<()> {
        let there = plan
            .chains
            .get_mut(&target.to_string())
            .context("the target is not in the plan")?;
        let hub = HubPlan {
            chain: self.chain,
            contract: self.contract,
            operator: (quorum > 1).then(|| self.operator.address()),
            quorum,
            gap_max: 5,
            eon_seconds: u32::try_from(self.blocks_per_eon.saturating_mul(block_time.max(1)))?,
            first_eon: 1,
            tokens: vec![HubTokenPlan {
                address: self.tokens[1],
                trail: 1,
            }],
        };
        there.registry = Some(RegistryPlan {
            resolve_delay: RESOLVE_DELAY,
            hubs: [(NAME.to_owned(), hub)].into(),
        });
        Ok(())
    }

    pub fn file(&self) -> HubFile {
        HubFile {
            name: NAME.to_owned(),
            chain_id: self.chain,
            contract: self.contract,
            genesis: self.genesis,
            blocks_per_eon: self.blocks_per_eon,
            operator: self.operator.address(),
            tokens: self.tokens.to_vec(),
            wallets: self.wallets.iter().map(PrivateKeySigner::address).collect(),
            operator_key: self.operator.to_bytes(),
        }
    }

    fn as_operator(&self) -> Result<DynProvider> {
        wallet(&self.url, &self.operator)
    }

    fn transfers(&self) -> MutexGuard<'_, Vec<OffChain>> {
        self.transfers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Eon of a block, and its place in it.
    pub fn eon_of(&self, block: u64) -> (u64, u64) {
        let age = block.saturating_sub(self.genesis);
        (age / self.blocks_per_eon + 1, age % self.blocks_per_eon)
    }

    /// Deposits for a wallet; a token is drawn from it.
    async fn deposit(&self, from: &DynProvider, token: usize, beneficiary: Address, amount: U256) -> Result<()> {
        let deposit = ICommitChain::depositCall {
            token: self.tokens[token],
            beneficiary,
            amount,
        };
        let mut request = TransactionRequest::default()
            .with_to(self.contract)
            .with_input(deposit.abi_encode());
        if token == 0 {
            request.set_value(amount);
        }
        send(from, request, ICommitChain::depositCall::SIGNATURE)
            .await
            .map(drop)
    }

    async fn submit(&self, operator: &DynProvider, eon: u64, root: B256) -> Result<()> {
        let slot = u8::try_from((eon - 1) % 5)?;
        let contract = ICommitChain::new(self.contract, &self.provider);
        let accumulator = contract.getParentChainAccumulatorAtSlot(slot).call().await?;
        let submission = ICommitChain::submitCheckpointCall {
            accumulator,
            merkleRoot: root,
        };
        call(operator, self.contract, submission).await
    }

    /// What the checkpoint of an eon commits to: the balances at the end of the one before.
    pub async fn balances(&self, eon: u64) -> Result<Balances> {
        let mut amounts = vec![vec![U256::ZERO; self.wallets.len()]; self.tokens.len()];
        if eon > 1 {
            let end = self.genesis + (eon - 1) * self.blocks_per_eon - 1;
            self.add_operations(end, &mut amounts).await?;
        }
        let transfers: Vec<OffChain> = self.transfers().iter().filter(|one| one.eon < eon).copied().collect();
        for one in &transfers {
            let of_token = &mut amounts[one.token];
            of_token[one.from] = of_token[one.from]
                .checked_sub(one.amount)
                .context("a wallet overspent")?;
            of_token[one.to] += one.amount;
        }
        let mut allotments = Vec::new();
        let mut tokens = Vec::new();
        for (token, amounts) in amounts.iter().enumerate() {
            let mut accounts = Vec::new();
            for (trail, amount) in amounts.iter().enumerate() {
                let account = self.account(&transfers, eon, token, trail)?;
                accounts.push(Allotment {
                    account,
                    amount: *amount,
                });
            }
            let mut tree = AccountTreeBuilder::new(self.contract, self.tokens[token], accounts.len());
            tree.extend(&accounts)?;
            tokens.push(TokenCommitment {
                token: self.tokens[token],
                accounts: tree.finish()?,
            });
            allotments.push(accounts);
        }
        let checkpoint = Checkpoint::new(self.contract, tokens)?;
        Ok(Balances { checkpoint, allotments })
    }

    /// Deposits and withdrawal requests up to a block.
    async fn add_operations(&self, end: u64, amounts: &mut [Vec<U256>]) -> Result<()> {
        let filter = Filter::new()
            .address(self.contract)
            .from_block(self.genesis)
            .to_block(end)
            .event_signature(vec![
                ICommitChain::Deposit::SIGNATURE_HASH,
                ICommitChain::WithdrawalRequest::SIGNATURE_HASH,
            ]);
        for log in self.provider.get_logs(&filter).await? {
            let (token, who, deposited, requested) = match log.topic0() {
                Some(&ICommitChain::Deposit::SIGNATURE_HASH) => {
                    let event = log.log_decode::<ICommitChain::Deposit>()?.inner.data;
                    (event.token, event.recipient, event.amount, U256::ZERO)
                }
                _ => {
                    let event = log.log_decode::<ICommitChain::WithdrawalRequest>()?.inner.data;
                    (event.token, event.requestor, U256::ZERO, event.amount)
                }
            };
            let token = self.tokens.iter().position(|known| *known == token);
            let wallet = self.wallets.iter().position(|known| known.address() == who);
            let (Some(token), Some(wallet)) = (token, wallet) else {
                anyhow::bail!("the devnet's hub has no wallet {who}");
            };
            let balance = &mut amounts[token][wallet];
            *balance = (*balance + deposited)
                .checked_sub(requested)
                .context("a wallet withdrew more than it has")?;
        }
        Ok(())
    }

    /// What a wallet signed and received in the eon before: all zero when nothing.
    fn account(&self, transfers: &[OffChain], eon: u64, token: usize, trail: usize) -> Result<Account> {
        let mut account = Account {
            wallet: self.wallets[trail].address(),
            ..Account::default()
        };
        let before = transfers.iter().filter(|one| one.eon + 1 == eon && one.token == token);
        for one in before {
            let transfer = |counterparty: usize| Transfer {
                counterparty: self.wallets[counterparty].address(),
                amount: one.amount,
                recipient_trail: one.to as u64,
                nonce: U256::from(one.eon),
            };
            if one.from == trail {
                account.active_state_checksum = ActiveState {
                    holder: Holder {
                        contract: self.contract,
                        token: self.tokens[token],
                        wallet: account.wallet,
                    },
                    trail: trail as u64,
                    eon: Eon(one.eon),
                    tx_set_root: HashTree::new(vec![transfer(one.to).checksum()])?.root(),
                    spent: one.amount,
                    gained: U256::ZERO,
                }
                .checksum();
            }
            if one.to == trail {
                let checksum = transfer(one.from).passive_checksum(Some(U256::ZERO));
                account.passive = Passive {
                    checksum: passive_tree(&[(checksum, one.amount)])?.root(),
                    amount: one.amount,
                    marker: U256::ZERO,
                };
            }
        }
        Ok(account)
    }

    /// What carries a checkpoint of this root from one chain to the other.
    pub fn message(&self, [source, target]: [&Chain; 2], eon: u64, root: B256) -> WireMessage {
        let header = Header {
            kind: Kind::Checkpoint,
            source: ChainId(source.anvil.chain),
            target: ChainId(target.anvil.chain),
            outbox: source.outbox,
            inbox: target.inbox,
            sequence: eon,
            root,
            count: 0,
            fee_recipient: Address::ZERO,
        };
        let hub = Some(self.contract);
        WireMessage { header, hub }
    }

    /// A wallet's allotment of a token with its proof, as the registry takes it. Trails, not addresses: see `tokens` and `wallets`.
    pub async fn allotment(&self, eon: u64, token: usize, wallet: usize) -> Result<ICheckpointRegistry::Allotment> {
        let balances = self.balances(eon).await?;
        let proof = balances.checkpoint.proof(token as u64, wallet as u64)?;
        let account = balances.allotments[token][wallet].account;
        Ok(ICheckpointRegistry::Allotment {
            token: self.tokens[token],
            wallet: account.wallet,
            trail: proof.trail,
            tokenTrail: proof.token_trail,
            left: proof.interval.left,
            right: proof.interval.right,
            activeStateChecksum: account.active_state_checksum,
            passiveRoot: account.passive.checksum,
            passiveAmount: account.passive.amount,
            passiveMarker: account.passive.marker,
            allotmentChain: proof.allotment_chain,
            values: proof.values,
            membershipChain: proof.membership_chain,
        })
    }
}
