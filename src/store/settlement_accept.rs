//! Accepting settlements: many in one transaction, each judged alone. One conflict never fails the others, and nothing is left behind
//! of a settlement that is refused.

use super::account::LockedAccounts;
use super::bulk::{Insert, Tables, padded};
use super::codec::{b256, int, u256_bytes};
use super::entity::{settlement, settlement_receipt};
use super::settlement::{AuthKind, CoveredReceipt, GroupMember, Reliance, Settlement};
use super::settlement_cover::{Batch, cover};
use super::settlement_recall::{self as recall, Recalled};
use super::{NewEvent, StoreError, Txn};
use crate::ledger::{AccountKey, Asset, Obligation, Posting};
use crate::settlement::policy::RoutePolicy;
use crate::settlement::states::SettlementState;
use crate::settlement::terms::Terms;
use crate::settlement::{ChainId, SettlementId};
use alloy::primitives::{Address, B256, Bytes, U256};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A new row: what is the same for all of them stands in the statement.
const SETTLEMENTS: Insert = Insert {
    table: "settlement",
    columns: &[
        "settlement_id",
        "coordinator_id",
        "trace_id",
        "source_chain",
        "target_chain",
        "inbox",
        "job_hash",
        "receipt_hash",
        "proof_hash",
        "payer",
        "payee",
        "token",
        "amount",
        "fee",
        "nonce",
        "deadline",
        "auth",
        "auth_kind",
        "revocable",
        "group_root",
        "group_index",
        "tier",
        "fee_recipient",
        "policy",
        "hub_id",
        "hub_checkpoint_id",
        "supersedes",
        "batch_after",
        "accepted_at",
        "updated_at",
    ],
    constants: &[
        ("state", "'accepted'"),
        ("batched_times", "0"),
        ("version", "0"),
        ("lease_until", "0"),
        ("lease_token", "0"),
    ],
    tail: "ON CONFLICT DO NOTHING",
};

const RECEIPTS: Insert = Insert {
    table: "settlement_receipt",
    columns: &[
        "settlement_id",
        "position",
        "coordinator_id",
        "receipt_hash",
        "receipt_id",
        "job_id",
        "provider",
        "price",
    ],
    constants: &[("holds", "TRUE")],
    tail: "ON CONFLICT DO NOTHING",
};

/// Values of one IN list.
const IN_LIST: usize = 1_024;

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
    /// None = as configured when it is routed.
    pub policy: Option<RoutePolicy>,
    /// In the order of the tree, no hash and no job twice.
    pub receipts: Vec<CoveredReceipt>,
    /// Part of the payer's available balance it has announced to withdraw, or withdrawn in a block that is not final yet.
    pub leaving: U256,
    /// The hub's checkpoint that shows that the payer can pay.
    pub relies_on: Option<Reliance>,
}

impl NewSettlement {
    fn asset(&self) -> Asset {
        Asset {
            chain: self.target,
            token: self.terms.token,
        }
    }

    pub(super) fn available(&self) -> AccountKey {
        AccountKey::available(self.asset(), self.terms.payer)
    }

    fn reserved(&self) -> AccountKey {
        AccountKey::reserved(self.asset(), self.terms.payer)
    }
}

/// What became of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    /// Stored and reserved by this transaction. Its `row` is 0: the number is the database's and is not read back.
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
        // After the locks: whoever accepts the same settlement holds the same accounts, so what is unknown now stays so.
        let (released, known, recalled) = if self.meets_earlier(open.iter().map(|index| &news[*index])).await? {
            (
                self.load_earlier(open.iter().map(|index| &news[*index]), false).await?,
                self.find_by_id(open.iter().map(|index| &news[*index])).await?,
                self.recall(open.iter().map(|index| &news[*index])).await?,
            )
        } else {
            (Earlier::default(), HashMap::new(), Recalled::default())
        };
        let mut decided = Vec::new();
        let mut candidates = Vec::new();
        let mut batch = Batch::default();
        for index in open.iter().copied() {
            let new = &news[index];
            if let Some(existing) = known.get(&new.id) {
                decided.push((index, Accept::Existing(existing.clone())));
            } else if let Some(conflict) = released.conflict(new) {
                decided.push((index, conflict));
            } else if batch.admits(new) {
                candidates.push(index);
            }
        }
        let inserted = self.insert_settlements(news, &candidates, &released).await?;
        let holding = self.insert_receipts(news, &inserted).await?;
        let (accepted, short) = cover(news, &holding, &accounts, &recalled);
        let refused: Vec<usize> = inserted
            .iter()
            .copied()
            .filter(|index| !accepted.contains(index))
            .collect();
        self.delete_settlements(refused.iter().map(|index| news[*index].id))
            .await?;
        decided.extend(short);
        let mut answers = self
            .reserve(news, &accepted, &released, &recalled, &mut accounts)
            .await?;
        self.take_up(&recalled, &mut answers).await?;
        decided.extend(answers);
        let done: HashSet<usize> = decided.iter().map(|(index, _)| *index).collect();
        let lost: Vec<usize> = open.iter().copied().filter(|index| !done.contains(index)).collect();
        decided.extend(self.explain_conflicts(news, &lost).await?);
        Ok(decided)
    }

    /// Whether any of them is known, here or on a chain, or covers a receipt or a job that another covered and let go. Mostly none does, and
    /// one statement says so.
    async fn meets_earlier(&self, news: impl Iterator<Item = &NewSettlement>) -> Result<bool, StoreError> {
        let (mut ids, mut receipts) = (Vec::new(), Vec::new());
        let mut targets = BTreeSet::new();
        for new in news {
            targets.insert(int("settlement.target_chain", new.target.0)?);
            ids.push(vec![new.id.0.to_vec().into()]);
            for receipt in &new.receipts {
                let coordinator = new.coordinator_id.clone();
                receipts.push(vec![
                    coordinator.into(),
                    receipt.job_id.clone().into(),
                    receipt.hash.to_vec().into(),
                ]);
            }
        }
        let chunks = ids.len().max(receipts.len()).div_ceil(IN_LIST);
        let (mut ids, mut receipts) = (ids.chunks(IN_LIST), receipts.chunks(IN_LIST));
        for _ in 0..chunks {
            let mut tables = Tables::new(self.tx.get_database_backend());
            let mut met = Vec::new();
            if let Some(ids) = ids.next() {
                tables = tables.with("ids", "id", ids.to_vec());
                met.push(
                    "EXISTS (SELECT 1 FROM ids v CROSS JOIN settlement s WHERE s.settlement_id = v.id)".to_owned(),
                );
                met.extend(recall::met(&targets));
            }
            if let Some(receipts) = receipts.next() {
                tables = tables.with("receipts", "coordinator, job, hash", receipts.to_vec());
                met.extend(["job_id = v.job", "receipt_hash = v.hash"].map(|same| {
                    format!(
                        "EXISTS (SELECT 1 FROM receipts v CROSS JOIN settlement_receipt r \
                         WHERE r.coordinator_id = v.coordinator AND r.{same} AND NOT r.holds)"
                    )
                }));
            }
            let statement = tables.statement(&format!("SELECT 1 AS met WHERE {}", met.join(" OR ")));
            if self.tx.query_one_raw(statement).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn find_by_id(
        &self,
        news: impl Iterator<Item = &NewSettlement>,
    ) -> Result<HashMap<SettlementId, Settlement>, StoreError> {
        let ids: Vec<SettlementId> = news.map(|new| new.id).collect();
        let found = self.find_settlements(&ids).await?;
        Ok(found
            .into_iter()
            .map(|settlement| (settlement.id, settlement))
            .collect())
    }

    /// Earlier uses of the batch's receipts and jobs that do not hold any more, and those that hold when asked for. The latter refuse an
    /// insert by themselves, so the way of those without conflict does not ask.
    async fn load_earlier(
        &self,
        news: impl Iterator<Item = &NewSettlement>,
        holding: bool,
    ) -> Result<Earlier, StoreError> {
        use settlement_receipt::Column;
        let mut by_coordinator: BTreeMap<&str, Vec<&CoveredReceipt>> = BTreeMap::new();
        for new in news {
            by_coordinator
                .entry(&new.coordinator_id)
                .or_default()
                .extend(&new.receipts);
        }
        let mut rows = BTreeMap::new();
        // Literals, so that the partial indexes serve.
        let standings: &[&str] = if holding {
            &["NOT holds", "holds"]
        } else {
            &["NOT holds"]
        };
        for (coordinator, receipts) in by_coordinator {
            for chunk in receipts.chunks(IN_LIST) {
                let jobs = padded(chunk.iter().map(|receipt| receipt.job_id.clone()).collect());
                let hashes = padded(chunk.iter().map(|receipt| receipt.hash.to_vec()).collect());
                for either in [Column::JobId.is_in(jobs), Column::ReceiptHash.is_in(hashes)] {
                    for standing in standings {
                        let found = settlement_receipt::Entity::find()
                            .filter(Column::CoordinatorId.eq(coordinator))
                            .filter(Expr::cust(*standing))
                            .filter(either.clone())
                            .all(&self.tx)
                            .await?;
                        rows.extend(found.into_iter().map(|row| (row.id, row)));
                    }
                }
            }
        }
        let mut earlier = Earlier::default();
        for row in rows.into_values() {
            earlier.add(row)?;
        }
        Ok(earlier)
    }

    /// Inserts in the order of the keys and returns, in the order of the batch, what was inserted.
    async fn insert_settlements(
        &self,
        news: &[NewSettlement],
        candidates: &[usize],
        earlier: &Earlier,
    ) -> Result<Vec<usize>, StoreError> {
        let mut sorted = candidates.to_vec();
        sorted.sort_unstable_by_key(|index| news[*index].id);
        let rows = sorted.iter().map(|index| row_of(&news[*index], self.now_ms, earlier));
        let written = SETTLEMENTS.run(&self.tx, rows.collect::<Result<_, _>>()?).await?;
        if written == candidates.len() as u64 {
            return Ok(candidates.to_vec());
        }
        // Some lost to a nonce that is taken. None of the ids was known before, so those that are there now are ours.
        let mut ours: HashSet<Vec<u8>> = HashSet::new();
        for chunk in candidates.chunks(IN_LIST) {
            let ids = chunk.iter().map(|index| news[*index].id.0.to_vec());
            let found: Vec<Vec<u8>> = settlement::Entity::find()
                .select_only()
                .column(settlement::Column::SettlementId)
                .filter(settlement::Column::SettlementId.is_in(ids))
                .into_tuple()
                .all(&self.tx)
                .await?;
            ours.extend(found);
        }
        let is_ours = |index: &usize| ours.contains(news[*index].id.0.as_slice());
        Ok(candidates.iter().copied().filter(is_ours).collect())
    }

    /// Inserts the receipts of what was inserted; returns those of which every receipt is now held.
    async fn insert_receipts(&self, news: &[NewSettlement], inserted: &[usize]) -> Result<Vec<usize>, StoreError> {
        let mut rows: Vec<Vec<Value>> = Vec::with_capacity(inserted.len());
        let mut sorted: Vec<(B256, usize, usize)> = Vec::with_capacity(inserted.len());
        for index in inserted {
            let receipts = news[*index].receipts.iter().enumerate();
            sorted.extend(receipts.map(|(position, receipt)| (receipt.hash, *index, position)));
        }
        // Two writers with the same receipts wait for each other in one order.
        sorted.sort_unstable();
        for (_, index, position) in &sorted {
            let (new, receipt) = (&news[*index], &news[*index].receipts[*position]);
            rows.push(vec![
                new.id.0.to_vec().into(),
                small("settlement_receipt.position", *position)?.into(),
                new.coordinator_id.clone().into(),
                receipt.hash.to_vec().into(),
                receipt.receipt_id.clone().into(),
                receipt.job_id.clone().into(),
                receipt.provider.clone().into(),
                receipt.price.clone().into(),
            ]);
        }
        let written = RECEIPTS.run(&self.tx, rows).await?;
        if written == sorted.len() as u64 {
            return Ok(inserted.to_vec());
        }
        let mut held: HashMap<Vec<u8>, usize> = HashMap::new();
        for chunk in inserted.chunks(IN_LIST) {
            let ids = chunk.iter().map(|index| news[*index].id.0.to_vec());
            let found: Vec<Vec<u8>> = settlement_receipt::Entity::find()
                .select_only()
                .column(settlement_receipt::Column::SettlementId)
                .filter(settlement_receipt::Column::SettlementId.is_in(ids))
                .into_tuple()
                .all(&self.tx)
                .await?;
            for id in found {
                let count = held.entry(id).or_default();
                *count = count.saturating_add(1);
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
        for chunk in ids.chunks(IN_LIST) {
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

    /// Posts the reservations, records the events, and says what is stored.
    async fn reserve(
        &mut self,
        news: &[NewSettlement],
        accepted: &BTreeSet<usize>,
        earlier: &Earlier,
        recalled: &Recalled,
        accounts: &mut LockedAccounts,
    ) -> Result<Vec<(usize, Accept)>, StoreError> {
        let postings: Vec<Posting> = accepted
            .iter()
            // What was paid has left the payer's balance already.
            .filter(|index| !recalled.is_paid(news[**index].id))
            .flat_map(|index| {
                let new = &news[*index];
                Obligation::new(new.id, new.target, &new.terms).accept()
            })
            .collect();
        self.post_new(accounts, &postings).await?;
        let mut answers = Vec::with_capacity(accepted.len());
        for index in accepted {
            let new = &news[*index];
            self.record(NewEvent {
                aggregate: "settlement",
                aggregate_id: new.id.to_string(),
                event: "accept".into(),
                from_state: None,
                to_state: Some(SettlementState::Accepted.to_string()),
                cause: "intake".into(),
                detail: None,
                settlement_id: Some(new.id.0),
                coordinator_id: Some(new.coordinator_id.clone()),
                trace_id: Some(new.trace_id.clone()),
            });
            let stored = stored(new, self.now_ms, earlier.supersedes(new));
            answers.push((*index, Accept::Accepted(stored)));
        }
        Ok(answers)
    }

    /// Why settlements were not inserted, from rows that are here to stay; those that lost to one that was itself refused are absent.
    async fn explain_conflicts(
        &self,
        news: &[NewSettlement],
        lost: &[usize],
    ) -> Result<Vec<(usize, Accept)>, StoreError> {
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.find_by_id(lost.iter().map(|index| &news[*index])).await?;
        let earlier = self.load_earlier(lost.iter().map(|index| &news[*index]), true).await?;
        let mut answers = Vec::new();
        for index in lost {
            let new = &news[*index];
            if let Some(existing) = known.get(&new.id) {
                answers.push((*index, Accept::Existing(existing.clone())));
                continue;
            }
            let by_nonce = self
                .settlement_by_nonce(new.target, new.inbox, new.terms.payer, new.terms.nonce)
                .await?;
            let answer = match by_nonce {
                Some(other) => Some(Accept::NonceTaken { by: other.id }),
                None => earlier.conflict(new),
            };
            answers.extend(answer.map(|answer| (*index, answer)));
        }
        Ok(answers)
    }
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

fn small(column: &'static str, value: usize) -> Result<i32, StoreError> {
    i32::try_from(value).map_err(|error| StoreError::Corrupt {
        column,
        reason: error.to_string(),
    })
}

/// Values in the order of [`SETTLEMENTS`].
fn row_of(new: &NewSettlement, now_ms: i64, earlier: &Earlier) -> Result<Vec<Value>, StoreError> {
    let terms = &new.terms;
    let index = new.group.map(|group| small("settlement.group_index", group.index));
    Ok(vec![
        new.id.0.to_vec().into(),
        new.coordinator_id.clone().into(),
        new.trace_id.clone().into(),
        int("settlement.source_chain", terms.source_chain.0)?.into(),
        int("settlement.target_chain", new.target.0)?.into(),
        new.inbox.to_vec().into(),
        terms.job_id.to_vec().into(),
        terms.receipt_hash.to_vec().into(),
        terms.proof_hash.to_vec().into(),
        terms.payer.to_vec().into(),
        terms.payee.to_vec().into(),
        terms.token.to_vec().into(),
        u256_bytes(terms.amount).into(),
        u256_bytes(terms.fee).into(),
        u256_bytes(terms.nonce).into(),
        int("settlement.deadline", terms.deadline)?.into(),
        new.auth.to_vec().into(),
        new.auth_kind.as_str().to_owned().into(),
        new.revocable.into(),
        new.group.map(|group| group.root.to_vec()).into(),
        index.transpose()?.into(),
        i32::from(new.tier).into(),
        new.fee_recipient.to_vec().into(),
        new.policy.map(|policy| policy.name().to_owned()).into(),
        new.relies_on.map(|relies_on| relies_on.hub.0).into(),
        new.relies_on.map(|relies_on| relies_on.checkpoint).into(),
        earlier.supersedes(new).map(|id| id.0.to_vec()).into(),
        now_ms.into(),
        now_ms.into(),
        now_ms.into(),
    ])
}

/// What the inserted row says.
fn stored(new: &NewSettlement, now_ms: i64, supersedes: Option<SettlementId>) -> Settlement {
    Settlement {
        row: 0,
        id: new.id,
        coordinator_id: new.coordinator_id.clone(),
        trace_id: new.trace_id.clone(),
        target: new.target,
        inbox: new.inbox,
        terms: new.terms,
        auth: new.auth.clone(),
        auth_kind: new.auth_kind,
        revocable: new.revocable,
        group: new.group,
        tier: new.tier,
        fee_recipient: new.fee_recipient,
        policy: new.policy,
        relies_on: new.relies_on,
        state: SettlementState::Accepted,
        skip_reason: None,
        cancel_requested_at: None,
        supersedes,
        batch_after: now_ms,
        batched_times: 0,
        accepted_at: now_ms,
        updated_at: now_ms,
        ended_at: None,
        evidence: None,
        credited: false,
        version: 0,
    }
}
