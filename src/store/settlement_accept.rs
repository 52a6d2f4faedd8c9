//! Accepting settlements: many in one transaction, each judged alone. One conflict never fails the others, and nothing is left behind
//! of a settlement that is refused.

use super::account::LockedAccounts;
use super::codec::{b256, int, u256_bytes};
use super::entity::{settlement, settlement_receipt};
use super::settlement::{AuthKind, CoveredReceipt, GroupMember, Settlement};
use super::{NewEvent, StoreError, Txn};
use crate::ledger::{AccountKey, Asset, Obligation, Posting};
use crate::settlement::states::SettlementState;
use crate::settlement::terms::Terms;
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::{Address, B256, Bytes, U256};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, TryInsertResult};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Rows of one INSERT: 40 columns a row, and SQLite binds at most 32,766 values.
const ROWS_PER_INSERT: usize = 500;

/// A verified settlement that asks to be accepted.
#[derive(Debug, Clone)]
pub struct NewSettlement {
    pub id: SettlementId,
    pub coordinator_id: String,
    pub trace_id: String,
    pub target: ChainId,
    pub inbox: Address,
    pub terms: Terms,
    pub auth: Bytes,
    pub auth_kind: AuthKind,
    pub revocable: bool,
    pub group: Option<GroupMember>,
    pub tier: u8,
    pub fee_recipient: Address,
    /// In the order of the tree, no hash and no job twice.
    pub receipts: Vec<CoveredReceipt>,
    /// Part of the payer's available balance it has announced to withdraw, or withdrawn in a block that is not final yet.
    pub leaving: U256,
}

impl NewSettlement {
    fn asset(&self) -> Asset {
        Asset {
            chain: self.target,
            token: self.terms.token,
        }
    }

    fn available(&self) -> AccountKey {
        AccountKey::available(self.asset(), self.terms.payer)
    }

    fn reserved(&self) -> AccountKey {
        AccountKey::reserved(self.asset(), self.terms.payer)
    }
}

/// What became of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    /// Stored and reserved by this transaction.
    Accepted(Settlement),
    /// Accepted before, by whatever it says of itself.
    Existing(Settlement),
    /// Another settlement uses (target, inbox, payer, nonce).
    NonceTaken {
        by: SettlementId,
    },
    /// Another settlement of the coordinator holds, or has paid, the receipt.
    ReceiptHeld {
        receipt: B256,
        by: SettlementId,
    },
    /// The job was settled, or tried to be, with another receipt.
    JobHeld {
        job_id: String,
        by: SettlementId,
    },
    Insufficient {
        available: U256,
        needed: U256,
    },
}

/// What earlier settlements say about the receipts and jobs of a batch.
#[derive(Debug, Default)]
struct Earlier {
    /// (coordinator, job) → (receipt hash, settlement) pairs, newest last.
    jobs: HashMap<(String, String), Vec<(B256, SettlementId)>>,
    /// (coordinator, receipt hash) → the newest settlement that covered it and does not hold it any more.
    released: HashMap<(String, B256), (i64, SettlementId)>,
    /// (coordinator, receipt hash) → who holds it.
    held: HashMap<(String, B256), SettlementId>,
}

impl Txn {
    /// Accepts what can be accepted and says of each what became of it, in the order given.
    pub async fn accept_settlements(&mut self, news: &[NewSettlement]) -> Result<Vec<Accept>, StoreError> {
        let mut answers: Vec<Option<Accept>> = vec![None; news.len()];
        let mut open: Vec<usize> = (0..news.len()).collect();
        // A round settles at least the first of what is open. More than one round is needed only when one of the batch lost to
        // another of the batch that was then refused itself.
        while !open.is_empty() {
            let decided = self.accept_round(news, &open).await?;
            if decided.is_empty() {
                return Err(StoreError::Conflict {
                    what: "accepting settlements".into(),
                });
            }
            for (index, answer) in decided {
                answers[index] = Some(answer);
            }
            open.retain(|index| answers[*index].is_none());
        }
        Ok(answers.into_iter().flatten().collect())
    }

    async fn accept_round(
        &mut self,
        news: &[NewSettlement],
        open: &[usize],
    ) -> Result<Vec<(usize, Accept)>, StoreError> {
        let keys: BTreeSet<AccountKey> = open
            .iter()
            .flat_map(|index| [news[*index].available(), news[*index].reserved()])
            .collect();
        let mut accounts = self.lock_accounts(&keys).await?;
        let earlier = self.load_earlier(open.iter().map(|index| &news[*index])).await?;
        let mut decided = Vec::new();
        let mut candidates = Vec::new();
        let mut known = HashMap::new();
        for settlement in self.find_same(open.iter().map(|index| &news[*index])).await? {
            known.insert(settlement.id, settlement);
        }
        for index in open.iter().copied() {
            let new = &news[index];
            if let Some(existing) = known.get(&new.id) {
                decided.push((index, Accept::Existing(existing.clone())));
            } else if let Some(conflict) = earlier.conflict(new) {
                decided.push((index, conflict));
            } else {
                candidates.push(index);
            }
        }
        let inserted = self.insert_settlements(news, &candidates, &earlier).await?;
        let holding = self.insert_receipts(news, &inserted).await?;
        let (accepted, short) = cover(news, &holding, &accounts);
        let refused: Vec<usize> = inserted
            .iter()
            .copied()
            .filter(|index| !accepted.contains(index))
            .collect();
        self.delete_settlements(refused.iter().map(|index| news[*index].id))
            .await?;
        decided.extend(short);
        decided.extend(self.reserve(news, &accepted, &mut accounts).await?);
        let done: HashSet<usize> = decided.iter().map(|(index, _)| *index).collect();
        for index in candidates.into_iter().filter(|index| !done.contains(index)) {
            if let Some(answer) = self.explain_conflict(&news[index]).await? {
                decided.push((index, answer));
            }
        }
        Ok(decided)
    }

    async fn find_same(&self, news: impl Iterator<Item = &NewSettlement>) -> Result<Vec<Settlement>, StoreError> {
        let ids: Vec<SettlementId> = news.map(|new| new.id).collect();
        self.find_settlements(&ids).await
    }

    /// Earlier uses of the batch's receipts and jobs, ended ones included.
    async fn load_earlier(&self, news: impl Iterator<Item = &NewSettlement>) -> Result<Earlier, StoreError> {
        use settlement_receipt::Column;
        let mut by_coordinator: BTreeMap<&str, Vec<&CoveredReceipt>> = BTreeMap::new();
        for new in news {
            by_coordinator
                .entry(&new.coordinator_id)
                .or_default()
                .extend(&new.receipts);
        }
        let mut earlier = Earlier::default();
        for (coordinator, receipts) in by_coordinator {
            for chunk in receipts.chunks(1_000) {
                let jobs = chunk.iter().map(|receipt| receipt.job_id.clone());
                let hashes = chunk.iter().map(|receipt| receipt.hash.to_vec());
                let either = Condition::any()
                    .add(Column::JobId.is_in(jobs))
                    .add(Column::ReceiptHash.is_in(hashes));
                let rows = settlement_receipt::Entity::find()
                    .filter(Column::CoordinatorId.eq(coordinator))
                    .filter(either)
                    .order_by_asc(Column::Id)
                    .all(&self.tx)
                    .await?;
                for row in rows {
                    earlier.add(row)?;
                }
            }
        }
        Ok(earlier)
    }

    async fn insert_settlements(
        &self,
        news: &[NewSettlement],
        candidates: &[usize],
        earlier: &Earlier,
    ) -> Result<Vec<usize>, StoreError> {
        let mut first: HashMap<SettlementId, usize> = HashMap::new();
        for index in candidates {
            first.entry(news[*index].id).or_insert(*index);
        }
        let mut inserted = Vec::new();
        for chunk in candidates.chunks(ROWS_PER_INSERT) {
            let mut rows = Vec::with_capacity(chunk.len());
            for index in chunk.iter().filter(|index| first.get(&news[**index].id) == Some(index)) {
                rows.push(row_of(&news[*index], self.now_ms, earlier)?);
            }
            let result = settlement::Entity::insert_many(rows)
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .try_insert()
                .exec_with_returning_many(&self.tx)
                .await?;
            if let TryInsertResult::Inserted(models) = result {
                for model in models {
                    let id = SettlementId(b256("settlement.settlement_id", &model.settlement_id)?);
                    inserted.extend(first.get(&id));
                }
            }
        }
        inserted.sort_unstable();
        Ok(inserted)
    }

    /// Inserts the receipts of what was inserted; returns those of which every receipt is now held.
    async fn insert_receipts(&self, news: &[NewSettlement], inserted: &[usize]) -> Result<Vec<usize>, StoreError> {
        let mut rows = Vec::new();
        for index in inserted {
            let new = &news[*index];
            for (position, receipt) in (0..).zip(&new.receipts) {
                rows.push(settlement_receipt::ActiveModel {
                    settlement_id: Set(new.id.0.to_vec()),
                    position: Set(position),
                    coordinator_id: Set(new.coordinator_id.clone()),
                    receipt_hash: Set(receipt.hash.to_vec()),
                    receipt_id: Set(receipt.receipt_id.clone()),
                    job_id: Set(receipt.job_id.clone()),
                    provider: Set(receipt.provider.clone()),
                    price: Set(receipt.price.clone()),
                    holds: Set(true),
                    ..Default::default()
                });
            }
        }
        // Two writers with the same receipts wait for each other in one order.
        rows.sort_by(|a, b| a.receipt_hash.as_ref().cmp(b.receipt_hash.as_ref()));
        let mut held: HashMap<Vec<u8>, usize> = HashMap::new();
        for chunk in rows.chunks(2_000) {
            let result = settlement_receipt::Entity::insert_many(chunk.to_vec())
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .try_insert()
                .exec_with_returning_many(&self.tx)
                .await?;
            if let TryInsertResult::Inserted(models) = result {
                for model in models {
                    let count = held.entry(model.settlement_id).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
        let all_held = |index: &usize| {
            let new = &news[*index];
            held.get(new.id.0.as_slice()).copied().unwrap_or_default() == new.receipts.len()
        };
        Ok(inserted.iter().copied().filter(all_held).collect())
    }

    /// Takes back rows this very transaction inserted.
    async fn delete_settlements(&self, ids: impl Iterator<Item = SettlementId>) -> Result<(), StoreError> {
        let ids: Vec<Vec<u8>> = ids.map(|id| id.0.to_vec()).collect();
        for chunk in ids.chunks(1_000) {
            settlement_receipt::Entity::delete_many()
                .filter(settlement_receipt::Column::SettlementId.is_in(chunk.to_vec()))
                .exec(&self.tx)
                .await?;
            settlement::Entity::delete_many()
                .filter(settlement::Column::SettlementId.is_in(chunk.to_vec()))
                .exec(&self.tx)
                .await?;
        }
        Ok(())
    }

    /// Posts the reservations, records the events, and reads back what was accepted.
    async fn reserve(
        &mut self,
        news: &[NewSettlement],
        accepted: &BTreeSet<usize>,
        accounts: &mut LockedAccounts,
    ) -> Result<Vec<(usize, Accept)>, StoreError> {
        let postings: Vec<Posting> = accepted
            .iter()
            .flat_map(|index| {
                let new = &news[*index];
                Obligation::new(new.id, new.target, &new.terms).accept()
            })
            .collect();
        self.post_locked(accounts, &postings).await?;
        let ids: HashMap<SettlementId, usize> = accepted.iter().map(|index| (news[*index].id, *index)).collect();
        let mut answers = Vec::with_capacity(accepted.len());
        for settlement in self.find_same(accepted.iter().map(|index| &news[*index])).await? {
            self.record(NewEvent {
                aggregate: "settlement",
                aggregate_id: settlement.id.to_string(),
                event: "accept".into(),
                from_state: None,
                to_state: Some(SettlementState::Accepted.to_string()),
                cause: "intake".into(),
                detail: None,
                settlement_id: Some(settlement.id.0),
                coordinator_id: Some(settlement.coordinator_id.clone()),
                trace_id: Some(settlement.trace_id.clone()),
            });
            if let Some(index) = ids.get(&settlement.id) {
                answers.push((*index, Accept::Accepted(settlement)));
            }
        }
        Ok(answers)
    }

    /// Why a settlement was not inserted, from rows that are here to stay; None when what it lost to was itself refused.
    async fn explain_conflict(&self, new: &NewSettlement) -> Result<Option<Accept>, StoreError> {
        if let Some(existing) = self.find_same(std::iter::once(new)).await?.pop() {
            return Ok(Some(Accept::Existing(existing)));
        }
        let by_nonce = self
            .settlement_by_nonce(new.target, new.inbox, new.terms.payer, new.terms.nonce)
            .await?;
        if let Some(other) = by_nonce {
            return Ok(Some(Accept::NonceTaken { by: other.id }));
        }
        Ok(self.load_earlier(std::iter::once(new)).await?.conflict(new))
    }
}

/// Decides in order which of the inserted ones the payers' balances cover, and answers the others.
fn cover(
    news: &[NewSettlement],
    holding: &[usize],
    accounts: &LockedAccounts,
) -> (BTreeSet<usize>, Vec<(usize, Accept)>) {
    let mut left: BTreeMap<AccountKey, U256> = BTreeMap::new();
    let mut accepted = BTreeSet::new();
    let mut short = Vec::new();
    for index in holding.iter().copied() {
        let new = &news[index];
        let key = new.available();
        let balance = left
            .entry(key)
            .or_insert_with(|| accounts.get(&key).map_or(U256::ZERO, |locked| locked.balance.amount()));
        let needed = new.terms.debit();
        let available = balance.saturating_sub(new.leaving);
        if available < needed {
            short.push((index, Accept::Insufficient { available, needed }));
        } else {
            *balance = balance.saturating_sub(needed);
            accepted.insert(index);
        }
    }
    (accepted, short)
}

impl Earlier {
    fn add(&mut self, row: settlement_receipt::Model) -> Result<(), StoreError> {
        let hash = b256("settlement_receipt.receipt_hash", &row.receipt_hash)?;
        let by = SettlementId(b256("settlement_receipt.settlement_id", &row.settlement_id)?);
        let job = (row.coordinator_id.clone(), row.job_id);
        self.jobs.entry(job).or_default().push((hash, by));
        if row.holds {
            self.held.insert((row.coordinator_id, hash), by);
        } else {
            self.released.insert((row.coordinator_id, hash), (row.id, by));
        }
        Ok(())
    }

    fn conflict(&self, new: &NewSettlement) -> Option<Accept> {
        let coordinator = || new.coordinator_id.clone();
        for receipt in &new.receipts {
            if let Some(by) = self.held.get(&(coordinator(), receipt.hash)) {
                return Some(Accept::ReceiptHeld {
                    receipt: receipt.hash,
                    by: *by,
                });
            }
            let uses = self.jobs.get(&(coordinator(), receipt.job_id.clone()));
            let other = uses.and_then(|uses| uses.iter().rev().find(|(hash, _)| *hash != receipt.hash));
            if let Some((_, by)) = other {
                return Some(Accept::JobHeld {
                    job_id: receipt.job_id.clone(),
                    by: *by,
                });
            }
        }
        None
    }

    /// The newest ended settlement any of these receipts was in.
    fn supersedes(&self, new: &NewSettlement) -> Option<SettlementId> {
        new.receipts
            .iter()
            .filter_map(|receipt| self.released.get(&(new.coordinator_id.clone(), receipt.hash)))
            .max_by_key(|(row, _)| *row)
            .map(|(_, id)| *id)
    }
}

fn row_of(new: &NewSettlement, now_ms: i64, earlier: &Earlier) -> Result<settlement::ActiveModel, StoreError> {
    let terms = &new.terms;
    let index = |group: &GroupMember| {
        i32::try_from(group.index).map_err(|error| StoreError::Corrupt {
            column: "settlement.group_index",
            reason: error.to_string(),
        })
    };
    Ok(settlement::ActiveModel {
        settlement_id: Set(new.id.0.to_vec()),
        coordinator_id: Set(new.coordinator_id.clone()),
        trace_id: Set(new.trace_id.clone()),
        source_chain: Set(int("settlement.source_chain", terms.source_chain.0)?),
        target_chain: Set(int("settlement.target_chain", new.target.0)?),
        inbox: Set(new.inbox.to_vec()),
        job_hash: Set(terms.job_id.to_vec()),
        receipt_hash: Set(terms.receipt_hash.to_vec()),
        proof_hash: Set(terms.proof_hash.to_vec()),
        payer: Set(terms.payer.to_vec()),
        payee: Set(terms.payee.to_vec()),
        token: Set(terms.token.to_vec()),
        amount: Set(u256_bytes(terms.amount)),
        fee: Set(u256_bytes(terms.fee)),
        nonce: Set(u256_bytes(terms.nonce)),
        deadline: Set(int("settlement.deadline", terms.deadline)?),
        auth: Set(new.auth.to_vec()),
        auth_kind: Set(new.auth_kind.as_str().to_owned()),
        revocable: Set(new.revocable),
        group_root: Set(new.group.map(|group| group.root.to_vec())),
        group_index: Set(new.group.as_ref().map(index).transpose()?),
        tier: Set(i32::from(new.tier)),
        fee_recipient: Set(new.fee_recipient.to_vec()),
        state: Set(SettlementState::Accepted.as_str().to_owned()),
        skip_reason: Set(None),
        cancel_requested_at: Set(None),
        supersedes: Set(earlier.supersedes(new).map(|id| id.0.to_vec())),
        batch_after: Set(now_ms),
        batched_times: Set(0),
        accepted_at: Set(now_ms),
        updated_at: Set(now_ms),
        ended_at: Set(None),
        evidence_chain_block: Set(None),
        evidence_block_hash: Set(None),
        evidence_tx: Set(None),
        credited: Set(None),
        version: Set(0),
        lease_owner: Set(None),
        lease_until: Set(0),
        lease_token: Set(0),
        ..Default::default()
    })
}
