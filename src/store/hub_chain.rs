//! What a hub's contract says, stored in the transaction that moves its chain's cursor: so the hub's rows always stand as that cursor does.

use super::bulk::Insert;
use super::codec::{int, u256_bytes};
use super::hub::{CheckpointStanding, HubId};
use super::txn::expect_one;
use super::{Drift, DriftClass, NewEvent, StoreError, Txn};
use crate::hub::model::Eon;
use crate::names::names;
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::{BlockRef, ChainId};
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};

names! {
    /// What moved between a wallet and a hub's contract.
    HubOperationKind, "kind of hub operation" {
        Deposit = "deposit",
        WithdrawalRequest = "withdrawal_request",
        /// The sum of all requests that were due; 0 when none was.
        WithdrawalConfirmation = "withdrawal_confirmation",
    }
}

/// What one log of a hub's contract says.
#[derive(Debug, Clone, PartialEq)]
pub enum HubFact {
    Checkpoint {
        eon: Eon,
        root: B256,
    },
    Operation {
        kind: HubOperationKind,
        token: Address,
        wallet: Address,
        amount: U256,
    },
    ChallengeIssued {
        token: Address,
        wallet: Address,
        sender: Address,
    },
    ChallengeAnswered {
        token: Address,
        wallet: Address,
        /// Of the state that answers.
        eon: Eon,
        /// Every field of the answer.
        proof: serde_json::Value,
    },
}

/// A log of a hub's contract with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct NewHubLog {
    pub hub: HubId,
    /// Of its block.
    pub eon: Eon,
    pub block: BlockRef,
    pub log_index: u64,
    pub tx_hash: B256,
    pub fact: HubFact,
}

/// A hub to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHub {
    pub name: String,
    pub chain: ChainId,
    pub contract: Address,
    pub genesis: u64,
    pub blocks_per_eon: u64,
    pub start_block: u64,
}

const OPERATIONS: Insert = Insert {
    table: "hub_operation",
    columns: &[
        "hub_id",
        "kind",
        "token",
        "wallet",
        "amount",
        "eon",
        "block_number",
        "block_hash",
        "block_timestamp",
        "log_index",
        "tx_hash",
        "created_at",
    ],
    constants: &[("standing", "'seen'")],
    tail: "ON CONFLICT (hub_id, block_hash, log_index) DO UPDATE SET standing = 'seen' WHERE hub_operation.standing = 'orphaned'",
};

const CHALLENGES: Insert = Insert {
    table: "hub_challenge",
    columns: &[
        "hub_id",
        "kind",
        "token",
        "wallet",
        "sender",
        "eon",
        "proof",
        "block_number",
        "block_hash",
        "block_timestamp",
        "log_index",
        "tx_hash",
        "created_at",
    ],
    constants: &[("standing", "'seen'")],
    tail: "ON CONFLICT (hub_id, block_hash, log_index) DO UPDATE SET standing = 'seen' WHERE hub_challenge.standing = 'orphaned'",
};

/// A row of a checkpoint only when it is new, or came back with its block.
const PUT_CHECKPOINT: &str = "INSERT INTO hub_checkpoint (hub_id, eon, root, standing, block_number, block_hash, block_timestamp, log_index, \
    tx_hash, created_at, updated_at) VALUES ($1, $2, $3, 'seen', $4, $5, $6, $7, $8, $9, $9) \
    ON CONFLICT (hub_id, block_hash, log_index) DO UPDATE SET standing = 'seen', refused = NULL, updated_at = excluded.updated_at \
    WHERE hub_checkpoint.standing = 'orphaned' RETURNING id";

/// The next one stands in a final block.
pub(super) const LATER: &str = "EXISTS (SELECT 1 FROM hub_checkpoint later WHERE later.hub_id = hub_checkpoint.hub_id \
    AND later.eon > hub_checkpoint.eon AND later.standing IN ('provisional', 'final'))";

const OF_CHAIN: &str = "hub_id IN (SELECT hub.id FROM hub WHERE hub.chain = $1)";

impl NewHubLog {
    fn place(&self, now_ms: i64) -> Result<[Value; 6], StoreError> {
        Ok([
            int("block_number", self.block.number)?.into(),
            self.block.hash.to_vec().into(),
            int("block_timestamp", self.block.timestamp)?.into(),
            int("log_index", self.log_index)?.into(),
            self.tx_hash.to_vec().into(),
            now_ms.into(),
        ])
    }

    /// Name of this log in causes.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.block.hash, self.log_index)
    }
}

impl Txn {
    pub(super) async fn rows(
        &self,
        sql: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<QueryResult>, StoreError> {
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
        Ok(self.tx.query_all_raw(statement).await?)
    }

    pub(super) async fn run(
        &self,
        sql: impl Into<String>,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<u64, StoreError> {
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
        Ok(self.tx.execute_raw(statement).await?.rows_affected())
    }

    pub(super) fn record_hub(
        &mut self,
        subject: String,
        event: &str,
        states: (Option<String>, Option<String>),
        cause: &str,
    ) {
        self.record(NewEvent {
            aggregate: "hub",
            aggregate_id: subject,
            event: event.to_owned(),
            from_state: states.0,
            to_state: states.1,
            cause: cause.to_owned(),
            ..NewEvent::default()
        });
    }

    /// Begins to follow a hub; one that is followed already takes the name. A name that stood for another contract stands for this one now,
    /// the other gets its address for a name.
    pub async fn register_hub(&mut self, new: &NewHub) -> Result<HubId, StoreError> {
        let (chain, contract) = (int("hub.chain", new.chain.0)?, new.contract.to_vec());
        self.run(
            "UPDATE hub SET name = name || ' (' || $4 || ')' WHERE name = $1 AND NOT (chain = $2 AND contract = $3)",
            [
                new.name.as_str().into(),
                chain.into(),
                contract.clone().into(),
                format!("before {:#x}", new.contract).into(),
            ],
        )
        .await?;
        // What is known of the start: before the deployment all slots are zero; otherwise they are read from the contract.
        let from_genesis = new.start_block <= new.genesis;
        let first = new.start_block.max(new.genesis);
        let read_to = int("hub.read_to", first.saturating_sub(1))?;
        let base_block = if from_genesis { read_to } else { -1 };
        let rows = self
            .rows(
                "INSERT INTO hub (name, chain, contract, genesis, blocks_per_eon, start_block, read_to, last_eon, halt_final, base_block, \
                 base_slots, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, FALSE, $8, $9, $10) \
                 ON CONFLICT (chain, contract) DO UPDATE SET name = excluded.name RETURNING id",
                [
                    new.name.as_str().into(),
                    chain.into(),
                    contract.into(),
                    int("hub.genesis", new.genesis)?.into(),
                    int("hub.blocks_per_eon", new.blocks_per_eon)?.into(),
                    int("hub.start_block", new.start_block)?.into(),
                    read_to.into(),
                    base_block.into(),
                    vec![0_u8; 160].into(),
                    self.now_ms.into(),
                ],
            )
            .await?;
        let row = rows.first().ok_or_else(|| StoreError::Missing {
            what: format!("hub {}", new.name),
        })?;
        self.record_hub(new.name.clone(), "hub_registered", (None, None), "observer");
        Ok(HubId(row.try_get("", "id")?))
    }

    /// The logs of these hubs are stored up to `to` now. `Conflict` when one of them was not at `from`.
    pub async fn advance_hubs(&mut self, hubs: &[HubId], from: u64, to: u64) -> Result<(), StoreError> {
        for hub in hubs {
            let written = self
                .run(
                    "UPDATE hub SET read_to = $3 WHERE id = $1 AND read_to = $2",
                    [
                        hub.0.into(),
                        int("hub.read_to", from)?.into(),
                        int("hub.read_to", to)?.into(),
                    ],
                )
                .await?;
            expect_one(written, format!("hub {hub}"))?;
        }
        Ok(())
    }

    /// Stores logs as seen. A log that was orphaned and came back is seen again; any other repetition changes nothing. Returns how many rows
    /// are new or came back.
    pub async fn put_hub_logs(&mut self, logs: &[NewHubLog]) -> Result<u64, StoreError> {
        let (mut operations, mut challenges) = (Vec::new(), Vec::new());
        let mut written = 0_u64;
        for log in logs {
            let address = |address: &Address| -> Value { address.to_vec().into() };
            match &log.fact {
                HubFact::Checkpoint { eon, root } => written += u64::from(self.put_checkpoint(log, *eon, *root).await?),
                HubFact::Operation {
                    kind,
                    token,
                    wallet,
                    amount,
                } => {
                    let mut row = vec![
                        log.hub.0.into(),
                        kind.as_str().into(),
                        address(token),
                        address(wallet),
                        u256_bytes(*amount).into(),
                        int("hub_operation.eon", log.eon.0)?.into(),
                    ];
                    row.extend(log.place(self.now_ms)?);
                    operations.push(row);
                }
                HubFact::ChallengeIssued { token, wallet, sender } => {
                    let mut row = vec![
                        log.hub.0.into(),
                        "issued".into(),
                        address(token),
                        address(wallet),
                        Some(sender.to_vec()).into(),
                        int("hub_challenge.eon", log.eon.0)?.into(),
                        None::<String>.into(),
                    ];
                    row.extend(log.place(self.now_ms)?);
                    challenges.push(row);
                }
                HubFact::ChallengeAnswered {
                    token,
                    wallet,
                    eon,
                    proof,
                } => {
                    let mut row = vec![
                        log.hub.0.into(),
                        "answered".into(),
                        address(token),
                        address(wallet),
                        None::<Vec<u8>>.into(),
                        int("hub_challenge.eon", eon.0)?.into(),
                        Some(proof.to_string()).into(),
                    ];
                    row.extend(log.place(self.now_ms)?);
                    challenges.push(row);
                }
            }
        }
        for (insert, rows) in [(OPERATIONS, operations), (CHALLENGES, challenges)] {
            if !rows.is_empty() {
                written = written.saturating_add(insert.run(&self.tx, rows).await?);
            }
        }
        let mut hubs: Vec<HubId> = logs.iter().map(|log| log.hub).collect();
        hubs.sort_unstable();
        hubs.dedup();
        for hub in hubs {
            self.refresh_last_eon("id = $1", hub.0).await?;
        }
        Ok(written)
    }

    /// True when the checkpoint is new or came back. A contract that accepts a second one for an eon breaks its own rules: that one becomes a
    /// drift, so that a hub that misbehaves holds up nobody else on its chain.
    async fn put_checkpoint(&mut self, log: &NewHubLog, eon: Eon, root: B256) -> Result<bool, StoreError> {
        let eon_column = int("hub_checkpoint.eon", eon.0)?;
        let other = self
            .rows(
                "SELECT c.root AS root, h.chain AS chain, h.name AS name FROM hub_checkpoint c JOIN hub h ON h.id = c.hub_id \
                 WHERE c.hub_id = $1 AND c.eon = $2 AND c.standing <> 'orphaned' AND NOT (c.block_hash = $3 AND c.log_index = $4)",
                [
                    log.hub.0.into(),
                    eon_column.into(),
                    log.block.hash.to_vec().into(),
                    int("log_index", log.log_index)?.into(),
                ],
            )
            .await?;
        if let Some(other) = other.first() {
            let (first, chain): (Vec<u8>, i64) = (other.try_get("", "root")?, other.try_get("", "chain")?);
            let hub: String = other.try_get("", "name")?;
            self.report_drift(&Drift {
                class: DriftClass::Duplicate,
                chain: ChainId(super::codec::uint("hub.chain", chain)?),
                subject: format!("hub {hub} checkpoint {eon} at {}", log.reference()),
                expected: format!("0x{}", hex::encode(first)),
                actual: root.to_string(),
            })
            .await?;
            return Ok(false);
        }
        let mut values: Vec<Value> = vec![log.hub.0.into(), eon_column.into(), root.to_vec().into()];
        values.extend(log.place(self.now_ms)?);
        let written = self.rows(PUT_CHECKPOINT, values).await?;
        if written.is_empty() {
            return Ok(false);
        }
        let subject = self.checkpoint_subject(log.hub.0, eon.0).await?;
        let to = Some(CheckpointStanding::Seen.to_string());
        let cause = format!("log {}", log.reference());
        self.record_hub(subject, "checkpoint_seen", (None, to), &cause);
        Ok(true)
    }

    pub(super) async fn checkpoint_subject(&self, hub: i64, eon: u64) -> Result<String, StoreError> {
        Ok(format!("{}/{eon}", self.hub_name(hub).await?))
    }

    pub(super) async fn hub_name(&self, hub: i64) -> Result<String, StoreError> {
        let rows = self.rows("SELECT name FROM hub WHERE id = $1", [hub.into()]).await?;
        let name: Option<String> = rows.first().map(|row| row.try_get("", "name")).transpose()?;
        Ok(name.unwrap_or_else(|| hub.to_string()))
    }

    pub(super) async fn refresh_last_eon(&self, which: &str, value: i64) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE hub SET last_eon = COALESCE((SELECT MAX(c.eon) FROM hub_checkpoint c WHERE c.hub_id = hub.id \
             AND c.standing <> 'orphaned'), 0) WHERE {which}"
        );
        self.run(sql, [value.into()]).await?;
        Ok(())
    }

    /// Changes the standing of a chain's checkpoints, each with an event.
    pub(super) async fn move_checkpoints(
        &mut self,
        chain: i64,
        (from, to): (CheckpointStanding, CheckpointStanding),
        condition: &str,
        number: u64,
        cause: &str,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE hub_checkpoint SET standing = '{to}', updated_at = $2 WHERE {OF_CHAIN} AND standing = '{from}' \
             AND $3 >= 0 AND {condition} RETURNING hub_id, eon"
        );
        let values = [chain.into(), self.now_ms.into(), int("block_number", number)?.into()];
        for row in self.rows(sql, values).await? {
            let (hub, eon): (i64, i64) = (row.try_get("", "hub_id")?, row.try_get("", "eon")?);
            let subject = self.checkpoint_subject(hub, eon.unsigned_abs()).await?;
            let states = (Some(from.to_string()), Some(to.to_string()));
            self.record_hub(subject, &format!("checkpoint_{to}"), states, cause);
        }
        Ok(())
    }

    /// What a chain's hubs said in blocks up to `number` is final.
    pub async fn finalize_hub_logs(&mut self, chain: ChainId, number: u64) -> Result<(), StoreError> {
        use CheckpointStanding::{Final, Provisional, Seen};
        let id = int("hub.chain", chain.0)?;
        for table in ["hub_operation", "hub_challenge"] {
            let sql = format!(
                "UPDATE {table} SET standing = 'final' WHERE {OF_CHAIN} AND standing = 'seen' AND block_number <= $2"
            );
            self.run(sql, [id.into(), int("block_number", number)?.into()]).await?;
        }
        let cause = format!("final block {number}");
        self.move_checkpoints(id, (Seen, Provisional), "block_number <= $3", number, &cause)
            .await?;
        self.move_checkpoints(id, (Provisional, Final), LATER, number, &cause)
            .await
    }

    /// A reorg took every block above `number`, and with it what the chain's hubs said there.
    pub async fn orphan_hub_logs_above(&mut self, chain: ChainId, number: u64) -> Result<(), StoreError> {
        use CheckpointStanding::{Final, Orphaned, Provisional, Seen};
        let (id, above) = (int("hub.chain", chain.0)?, int("block_number", number)?);
        for table in ["hub_operation", "hub_challenge"] {
            let sql = format!(
                "UPDATE {table} SET standing = 'orphaned' WHERE {OF_CHAIN} AND standing <> 'orphaned' AND block_number > $2"
            );
            self.run(sql, [id.into(), above.into()]).await?;
        }
        let cause = format!("reorg above block {number}");
        for from in [Seen, Provisional, Final] {
            self.move_checkpoints(id, (from, Orphaned), "block_number > $3", number, &cause)
                .await?;
        }
        self.move_checkpoints(id, (Final, Provisional), &format!("NOT {LATER}"), number, &cause)
            .await?;
        self.refresh_last_eon("chain = $1", id).await?;
        // Where finality broke, ledgers have booked and told what is gone.
        self.turn_hub_ledgers_back(OF_CHAIN, id, above).await?;
        let last = "(SELECT h.last_eon FROM hub h WHERE h.id = hub_ledger.hub_id)";
        let sql = format!("UPDATE hub_ledger SET told_eon = {last} WHERE {OF_CHAIN} AND told_eon > {last}");
        self.run(sql, [id.into()]).await?;
        self.run(
            "UPDATE hub SET read_to = $2 WHERE chain = $1 AND read_to > $2",
            [id.into(), above.into()],
        )
        .await?;
        // Where finality broke, what was confirmed there is open again.
        self.run(
            "UPDATE hub SET halt_final = FALSE, checked_block = NULL, base_slots = $3, \
             base_block = CASE WHEN start_block > genesis THEN -1 WHEN genesis > 0 THEN genesis - 1 ELSE 0 END \
             WHERE chain = $1 AND base_block > $2",
            [id.into(), above.into(), vec![0_u8; 160].into()],
        )
        .await?;
        Ok(())
    }
}
