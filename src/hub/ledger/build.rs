//! Builds a checkpoint from the ledger: what wallets had at the end of the eon before, in the order of their trails.
//!
//! Closing comes first, in one transaction: final operations are booked, the eon takes no more transfers, and what belongs to no wallet is summed
//! up. From then on every wallet's balance at that time is a fixed number, however long the building takes and whatever is recorded meanwhile.
//!
//! Of an eon whose checkpoint the chain has already, building is a comparison: what gives another root is dropped and closes nothing, so that what
//! a restored copy lost can still be recorded.

use super::{Ledger, LedgerError, check_keeper};
use crate::hub::model::account::{Account, Allotment, Passive};
use crate::hub::model::checkpoint::token_tree;
use crate::hub::model::eon::EONS_KEPT;
use crate::hub::model::transfer::passive_tree;
use crate::hub::model::{Accumulator, CHUNK, Eon, Operation, ParentOperation, SpineBuilder};
use crate::store::{
    Hub, HubOperationKind, HubPlace, HubRoot, HubToken, RootOrigin, StoreError, StoredCommitment, TokenBacking,
    WalletHistory,
};
use alloy::primitives::{Address, B256, U256};
use std::collections::{BTreeMap, HashMap};

/// Wallets read, hashed and stored at once.
const PAGE: u64 = 8 * CHUNK as u64;
/// Operations booked in one transaction.
const FOLLOW: u64 = 2_000;

/// Is told how many accounts are done, and of how many.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// A checkpoint that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub root: HubRoot,
    pub commitments: Vec<StoredCommitment>,
    /// Built before.
    pub duplicate: bool,
}

/// What is built.
struct Plan {
    eon: Eon,
    staged: i64,
    tokens: Vec<HubToken>,
    backing: BTreeMap<Address, TokenBacking>,
    leftover_to: Option<Address>,
    accounts: u64,
    /// Root of the chain's checkpoint of this eon.
    on_chain: Option<B256>,
    /// The newest transfer, while the eons before take more.
    newest: Option<i64>,
    /// Contents that were imported and give the root the chain has.
    imported: Option<HubRoot>,
}

impl Ledger {
    /// Builds the checkpoint of an eon (0 = the newest that can be). Answers again what was built; with `rebuild` makes it anew unless the chain
    /// has it. When the chain has another one of that eon, compares.
    pub async fn build(
        &self,
        hub: &Hub,
        coordinator: &str,
        eon: Eon,
        (leftover_to, rebuild): (Option<Address>, bool),
        progress: Progress<'_>,
    ) -> Result<Built, LedgerError> {
        let head = self.store.find_hub_ledger(hub.id).await?;
        match &head {
            Some(head) => check_keeper(hub, head, coordinator)?,
            None => {
                return Err(LedgerError::NotKept {
                    hub: hub.name.clone(),
                    by: None,
                });
            }
        }
        let eon = self.buildable(hub, eon).await?;
        let checkpoint = self.store.find_checkpoint(hub.id, eon).await?;
        let on_chain = checkpoint.map(|checkpoint| checkpoint.root);
        let known = self.store.find_hub_root(hub.id, Some(eon.0)).await?;
        let mut imported = None;
        match known {
            Some(root) if on_chain == Some(root.root) => match root.origin {
                RootOrigin::Imported => imported = Some(root),
                RootOrigin::Built if rebuild => {
                    let root = root.root;
                    return Err(LedgerError::OnChain { eon, root });
                }
                RootOrigin::Built => return self.built(root, true).await,
            },
            Some(root) if on_chain.is_none() && !rebuild => return self.built(root, true).await,
            Some(root) => self.withdraw(&root).await?,
            None => {}
        }
        let plan = self.close(hub, eon, leftover_to, (on_chain, imported)).await?;
        let made = self.fill(hub, &plan, progress).await;
        if (made.is_err() || plan.imported.is_some())
            && let Err(error) = self.store.delete_hub_root(plan.staged).await
        {
            tracing::warn!(%error, eon = eon.0, "what was built in vain stays until the ledger is followed again");
        }
        made?;
        if plan.on_chain.is_some() {
            self.tell_bounds(hub, eon, self.now_ms()).await?;
            self.compare(hub, self.now_ms()).await?;
        }
        let root = self.store.find_hub_root(hub.id, Some(eon.0)).await?;
        self.built(root.ok_or(LedgerError::NoContents { eon: Some(eon) })?, false)
            .await
    }

    /// What the operator gives `submitCheckpoint` first: the accumulator of the eon before, as the contract had it when it was compared last and
    /// the operations since give it. None when it is not known.
    pub async fn accumulator(&self, hub: &Hub, eon: Eon) -> Result<Option<B256>, LedgerError> {
        let (Some(before), Some((base, slots))) = (eon.previous().filter(|eon| eon.0 > 0), hub.base) else {
            return Ok(None);
        };
        let clock = hub.clock()?;
        let end = clock.last_block(before)?;
        let taken_over = before
            .checked_add(EONS_KEPT as u64)
            .map(|later| clock.first_block(later));
        if taken_over.transpose()?.is_some_and(|block| block <= base) {
            return Ok(None);
        }
        let mut accumulator = Accumulator::from_slots(slots);
        let mut after = HubPlace::end_of(base);
        loop {
            let page = self.store.list_final_hub_operations(hub.id, after, end, PAGE).await?;
            for operation in &page {
                after = HubPlace {
                    block: operation.block.number,
                    log_index: operation.log_index,
                };
                let kind = match operation.kind {
                    HubOperationKind::Deposit => Operation::Deposit,
                    HubOperationKind::WithdrawalRequest => Operation::Withdrawal,
                    HubOperationKind::WithdrawalConfirmation => continue,
                };
                accumulator.append(&ParentOperation {
                    eon: operation.eon,
                    token: operation.token,
                    participant: operation.wallet,
                    operation: kind,
                    value: operation.amount,
                });
            }
            if (page.len() as u64) < PAGE {
                return Ok(Some(accumulator.at(before)));
            }
        }
    }

    pub(super) async fn built(&self, root: HubRoot, duplicate: bool) -> Result<Built, LedgerError> {
        Ok(Built {
            commitments: self.store.list_hub_commitments(root.id).await?,
            root,
            duplicate,
        })
    }

    /// The eon whose checkpoint is to be built, if the one before is over for good.
    async fn buildable(&self, hub: &Hub, eon: Eon) -> Result<Eon, LedgerError> {
        if !hub.is_followed_from_genesis() {
            let reason = format!("hub {} is followed from block {} only", hub.name, hub.start_block);
            return Err(LedgerError::Incomplete { eon, reason });
        }
        let open = |reason: String| LedgerError::EonOpen { eon, reason };
        let time = self.time(hub).await?;
        let time = time.ok_or_else(|| open("its chain was not read yet".into()))?;
        let next = time.confirmed_block.saturating_add(1);
        if next < hub.genesis {
            return Err(open("its contract is not final yet".into()));
        }
        // When the next block begins an eon, the one before is over.
        let newest = hub.clock()?.eon(next)?;
        if eon.0 == 0 {
            return Ok(newest);
        }
        if eon > newest {
            let last = hub.clock()?.last_block(Eon(eon.0.saturating_sub(1)))?;
            let final_ = time.confirmed_block;
            return Err(open(format!(
                "the eon before ends with block {last}, final is {final_}"
            )));
        }
        Ok(eon)
    }

    /// Takes away what was built before and the chain does not have.
    async fn withdraw(&self, root: &HubRoot) -> Result<(), LedgerError> {
        let mut txn = self.begin().await?;
        txn.withdraw_hub_root(root.id).await?;
        txn.commit().await?;
        Ok(self.store.delete_hub_root(root.id).await?)
    }

    /// Books everything final and closes the eons before this one, unless the chain has its checkpoint: then only the right root closes them.
    async fn close(
        &self,
        hub: &Hub,
        eon: Eon,
        leftover_to: Option<Address>,
        (on_chain, imported): (Option<B256>, Option<HubRoot>),
    ) -> Result<Plan, LedgerError> {
        loop {
            let mut txn = self.begin().await?;
            let mut head = txn.lock_hub_ledger(hub.id).await?;
            let told = txn.follow_hub(&mut head, FOLLOW).await?;
            if told >= FOLLOW {
                txn.save_hub_ledger(&head).await?;
                txn.commit().await?;
                continue;
            }
            if let Some((foreign, root)) = txn.find_foreign_checkpoint(hub.id).await?
                && foreign < eon
            {
                return Err(LedgerError::Foreign { eon: foreign, root });
            }
            let tokens = txn.hub_tokens(hub.id).await?;
            let mut newest = None;
            if on_chain.is_none() {
                head.closed_eon = head.closed_eon.max(eon.0);
            } else if head.closed_eon < eon.0 {
                newest = Some(txn.newest_hub_transfer(hub.id).await?);
            }
            let backing = txn.hub_backing(hub.id, eon.0).await?;
            let staged = txn.stage_hub_root(hub.id, eon.0, RootOrigin::Built).await?;
            txn.save_hub_ledger(&head).await?;
            let plan = Plan {
                accounts: tokens.iter().map(|token| token.wallets).sum(),
                eon,
                staged,
                tokens,
                backing,
                leftover_to,
                on_chain,
                newest,
                imported,
            };
            // Checked before anything is closed.
            plan.check()?;
            txn.commit().await?;
            return Ok(plan);
        }
    }

    async fn fill(&self, hub: &Hub, plan: &Plan, progress: Progress<'_>) -> Result<(), LedgerError> {
        let mut done = 0_u64;
        let mut leaves = Vec::with_capacity(plan.tokens.len());
        for token in &plan.tokens {
            leaves.push(self.fill_token(hub, plan, token, &mut done, progress).await?);
        }
        let root = token_tree(hub.contract, &leaves)?.root();
        if let Some(on_chain) = plan.on_chain.filter(|on_chain| *on_chain != root) {
            return Err(LedgerError::Diverged {
                eon: plan.eon,
                given: root,
                on_chain,
            });
        }
        let mut txn = self.begin().await?;
        let mut head = txn.lock_hub_ledger(hub.id).await?;
        if let Some(newest) = plan.newest
            && txn.newest_hub_transfer(hub.id).await? != newest
        {
            let what = "the ledger: transfers were recorded while it was compared; build again".to_owned();
            return Err(StoreError::Conflict { what }.into());
        }
        head.closed_eon = head.closed_eon.max(plan.eon.0);
        txn.save_hub_ledger(&head).await?;
        match &plan.imported {
            Some(imported) => txn.adopt_hub_root(imported.id).await?,
            None => txn.complete_hub_root(plan.staged, root, done).await?,
        }
        txn.commit().await?;
        Ok(())
    }

    async fn fill_token(
        &self,
        hub: &Hub,
        plan: &Plan,
        token: &HubToken,
        done: &mut u64,
        progress: Progress<'_>,
    ) -> Result<(Address, B256, U256), LedgerError> {
        let passive = self.passive_roots(token.id, plan.eon).await?;
        let mut txn = self.begin().await?;
        let commitment = txn.stage_hub_commitment(plan.staged, token.token, token.trail).await?;
        txn.commit().await?;
        let mut tree = SpineBuilder::new(hub.contract, token.token);
        let mut end = U256::ZERO;
        let mut next = 0_u64;
        loop {
            let until = next.saturating_add(PAGE).min(token.wallets);
            let from = plan.eon.0.saturating_sub(1);
            let histories = self.store.list_hub_histories(token.id, next..until, from).await?;
            let mut page: Vec<Allotment> = Vec::with_capacity(histories.len());
            for history in &histories {
                page.push(allotment(history, plan.eon, &passive)?);
            }
            if until == token.wallets {
                page.extend(plan.leftover(token.token));
            }
            let mut txn = self.begin().await?;
            let ids = (plan.staged, commitment);
            end = txn.stage_hub_allotments(ids, (next, end), &page).await?;
            txn.commit().await?;
            *done = done.saturating_add(page.len() as u64);
            tree = hash(tree, page).await?;
            progress(*done, plan.accounts.max(*done));
            next = until;
            if until == token.wallets {
                break;
            }
        }
        let spine = tree.finish()?;
        plan.check_bound(token.token, spine.upper_bound())?;
        let leaf = (spine.root(), spine.upper_bound());
        let mut txn = self.begin().await?;
        txn.finish_hub_commitment(commitment, leaf, spine.count() as u64, spine.to_bytes())
            .await?;
        txn.commit().await?;
        Ok((token.token, leaf.0, leaf.1))
    }

    /// Root of what each account received in the eon before, by account row.
    async fn passive_roots(&self, token: i64, eon: Eon) -> Result<HashMap<i64, B256>, LedgerError> {
        let eon = eon.0.saturating_sub(1);
        let mut roots = HashMap::new();
        let mut of: Option<i64> = None;
        let mut set: Vec<(B256, U256)> = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.page_received(token, eon, after, PAGE).await?;
            let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for (account, transfer) in page {
                after = Some((account, transfer.position));
                if let Some(previous) = of.filter(|previous| *previous != account) {
                    roots.insert(previous, passive_tree(&std::mem::take(&mut set))?.root());
                }
                of = Some(account);
                set.push((transfer.received_checksum(), transfer.amount));
            }
            if last {
                break;
            }
        }
        if let Some(account) = of {
            roots.insert(account, passive_tree(&set)?.root());
        }
        Ok(roots)
    }
}

/// Hashing does not hold up the other tasks of this thread.
pub(super) async fn hash(mut tree: SpineBuilder, page: Vec<Allotment>) -> Result<SpineBuilder, LedgerError> {
    let hashed = tokio::task::spawn_blocking(move || tree.extend(&page).map(|()| tree)).await;
    Ok(hashed.map_err(|error| LedgerError::Task(error.to_string()))??)
}

/// What a wallet had when the eon began, and what it did in the one before.
fn allotment(history: &WalletHistory, eon: Eon, passive: &HashMap<i64, B256>) -> Result<Allotment, LedgerError> {
    let wallet = &history.wallet;
    let (mut gained, mut spent) = (Some(wallet.gained), Some(wallet.spent));
    let mut account = Account {
        wallet: wallet.wallet,
        ..Account::default()
    };
    for (when, did) in &history.eons {
        if *when >= eon.0 {
            let came = did.received.checked_add(did.deposited);
            let went = did.sent.checked_add(did.withdrawn);
            gained = gained.zip(came).and_then(|(sum, came)| sum.checked_sub(came));
            spent = spent.zip(went).and_then(|(sum, went)| sum.checked_sub(went));
        } else {
            account.active_state_checksum = did.active_state.unwrap_or_default();
            account.passive = Passive {
                checksum: passive.get(&wallet.id).copied().unwrap_or_default(),
                amount: did.received,
                marker: did.marker,
            };
        }
    }
    let amount = gained.zip(spent).and_then(|(gained, spent)| gained.checked_sub(spent));
    let altered = || LedgerError::Altered {
        eon,
        reason: format!(
            "account {} of wallet {} had less than nothing",
            wallet.id, wallet.wallet
        ),
    };
    Ok(Allotment {
        account,
        amount: amount.ok_or_else(altered)?,
    })
}

impl Plan {
    fn of(&self, token: Address) -> TokenBacking {
        self.backing.get(&token).copied().unwrap_or_default()
    }

    fn over(&self, token: Address, allotted: U256) -> LedgerError {
        LedgerError::OverAllotted {
            eon: self.eon,
            token,
            allotted,
            backing: self.of(token).amount().unwrap_or_default(),
        }
    }

    /// What speaks against building at all.
    fn check(&self) -> Result<(), LedgerError> {
        let incomplete = |reason: String| LedgerError::Incomplete { eon: self.eon, reason };
        for token in self.backing.keys() {
            if !self.tokens.iter().any(|known| known.token == *token) {
                return Err(incomplete(format!("token {token} was deposited and is not registered")));
            }
            match self.of(*token).leftover() {
                None => return Err(self.over(*token, self.of(*token).deposited)),
                Some(rest) if !rest.is_zero() && self.leftover_to.is_none() => {
                    let reason =
                        format!("{rest} of token {token} belong to no admitted wallet: name an account for them");
                    return Err(incomplete(reason));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The account of what belongs to nobody.
    fn leftover(&self, token: Address) -> Option<Allotment> {
        let amount = self.of(token).leftover().filter(|rest| !rest.is_zero())?;
        let wallet = self.leftover_to?;
        Some(Allotment {
            account: Account {
                wallet,
                ..Account::default()
            },
            amount,
        })
    }

    /// The contract's own condition, from what was seen of it: never allot more than it holds.
    fn check_bound(&self, token: Address, upper_bound: U256) -> Result<(), LedgerError> {
        match self.of(token).amount() {
            Some(backing) if upper_bound <= backing => Ok(()),
            _ => Err(self.over(token, upper_bound)),
        }
    }
}
