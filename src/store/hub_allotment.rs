//! What wallets are allotted in a checkpoint: contents that were built here or imported. They come in pieces, each in a transaction of its own,
//! under a root that is `staged` and seen by nobody; when everything is there and found right it becomes `complete` at once.

use super::bulk::Insert;
use super::codec::{address, b256, int, name, u256, u256_bytes, uint};
use super::hub_ledger::{WALLET, all, one, run};
use super::hub_transfer::{WALLET_EON, WalletEon};
use super::txn::expect_one;
use super::{HubId, HubWallet, NewEvent, Store, StoreError, Txn};
use crate::hub::model::{Account, Allotment, Eon, Passive};
use alloy::primitives::{Address, B256, U256};
use sea_orm::{QueryResult, Value};

/// Where contents come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootOrigin {
    /// From the ledger kept here.
    Built,
    /// From somebody else's hub; they give the root the chain has.
    Imported,
}

impl RootOrigin {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Imported => "imported",
        }
    }
}

impl std::str::FromStr for RootOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Built, Self::Imported]
            .into_iter()
            .find(|origin| origin.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is neither built nor imported"))
    }
}

/// Contents of a checkpoint, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRoot {
    pub id: i64,
    pub hub: HubId,
    pub eon: u64,
    pub origin: RootOrigin,
    pub root: B256,
    pub accounts: u64,
    pub created_at: i64,
}

/// A token in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommitment {
    pub id: i64,
    pub token: Address,
    pub token_trail: u64,
    pub account_root: B256,
    pub upper_bound: U256,
    pub accounts: u64,
    /// `Spine::to_bytes`.
    pub spine: Vec<u8>,
}

/// What a wallet is allotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAllotment {
    pub trail: u64,
    pub left: U256,
    pub right: U256,
    pub account: Account,
}

impl StoredAllotment {
    pub fn allotment(&self) -> Allotment {
        Allotment {
            account: self.account,
            amount: self.right.saturating_sub(self.left),
        }
    }
}

/// A wallet of a token, and what it did from an eon on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletHistory {
    pub wallet: HubWallet,
    /// Eon and what was done in it.
    pub eons: Vec<(u64, WalletEon)>,
}

const ALLOTMENTS: Insert = Insert {
    table: "hub_allotment",
    columns: &[
        "commitment_id",
        "trail",
        "wallet",
        "left_bound",
        "right_bound",
        "active_state",
        "passive_checksum",
        "passive_amount",
        "passive_marker",
    ],
    constants: &[],
    tail: "",
};

/// Rows of a piece that is deleted at once.
const DELETE_ROWS: u64 = 20_000;
/// Staged contents nobody has added to for so long are given up.
const ABANDONED_MS: i64 = 10 * 60 * 1_000;

const ROOT: &str = "id, hub_id, eon, origin, root, accounts, created_at";
const COMMITMENT: &str = "id, token, token_trail, account_root, upper_bound, accounts, spine";
const ALLOTMENT: &str =
    "trail, wallet, left_bound, right_bound, active_state, passive_checksum, passive_amount, passive_marker";

fn root(row: &QueryResult) -> Result<HubRoot, StoreError> {
    Ok(HubRoot {
        id: row.try_get("", "id")?,
        hub: HubId(row.try_get("", "hub_id")?),
        eon: uint("hub_root.eon", row.try_get("", "eon")?)?,
        origin: name("hub_root.origin", &row.try_get::<String>("", "origin")?)?,
        root: b256("hub_root.root", &row.try_get::<Vec<u8>>("", "root")?)?,
        accounts: uint("hub_root.accounts", row.try_get("", "accounts")?)?,
        created_at: row.try_get("", "created_at")?,
    })
}

fn commitment(row: &QueryResult) -> Result<StoredCommitment, StoreError> {
    let bytes = |column: &str| row.try_get::<Vec<u8>>("", column);
    Ok(StoredCommitment {
        id: row.try_get("", "id")?,
        token: address("hub_token_commitment.token", &bytes("token")?)?,
        token_trail: uint("hub_token_commitment.token_trail", row.try_get("", "token_trail")?)?,
        account_root: b256("hub_token_commitment.account_root", &bytes("account_root")?)?,
        upper_bound: u256("hub_token_commitment.upper_bound", &bytes("upper_bound")?)?,
        accounts: uint("hub_token_commitment.accounts", row.try_get("", "accounts")?)?,
        spine: bytes("spine")?,
    })
}

fn allotment(row: &QueryResult) -> Result<StoredAllotment, StoreError> {
    let bytes = |column: &str| row.try_get::<Vec<u8>>("", column);
    let word = |column: &'static str| match row.try_get::<Option<Vec<u8>>>("", column)? {
        Some(bytes) => b256(column, &bytes),
        None => Ok(B256::ZERO),
    };
    Ok(StoredAllotment {
        trail: uint("hub_allotment.trail", row.try_get("", "trail")?)?,
        left: u256("hub_allotment.left_bound", &bytes("left_bound")?)?,
        right: u256("hub_allotment.right_bound", &bytes("right_bound")?)?,
        account: Account {
            wallet: address("hub_allotment.wallet", &bytes("wallet")?)?,
            active_state_checksum: word("active_state")?,
            passive: Passive {
                checksum: word("passive_checksum")?,
                amount: word("passive_amount")?.into(),
                marker: word("passive_marker")?.into(),
            },
        },
    })
}

/// Zero is not stored.
fn sparse(word: B256) -> Value {
    (!word.is_zero()).then(|| word.to_vec()).into()
}

impl Store {
    /// Contents of a checkpoint; of the newest that has some when no eon is named.
    pub async fn find_hub_root(&self, hub: HubId, eon: Option<u64>) -> Result<Option<HubRoot>, StoreError> {
        let mut values: Vec<Value> = vec![hub.0.into()];
        let mut condition = "hub_id = $1 AND state = 'complete'".to_owned();
        if let Some(eon) = eon {
            values.push(int("hub_root.eon", eon)?.into());
            condition.push_str(" AND eon = $2");
        }
        let sql = format!("SELECT {ROOT} FROM hub_root WHERE {condition} ORDER BY eon DESC LIMIT 1");
        let row = one(&self.db, &sql, values).await?;
        row.map(|row| root(&row)).transpose()
    }

    /// Newest eon whose checkpoint was built from the ledger here; 0 = none.
    pub async fn newest_built_eon(&self, hub: HubId) -> Result<u64, StoreError> {
        let sql = "SELECT COALESCE(MAX(eon), 0) AS n FROM hub_root WHERE hub_id = $1 AND state = 'complete' AND origin = 'built'";
        let row = one(&self.db, sql, vec![hub.0.into()]).await?;
        uint("hub_root.eon", row.map_or(Ok(0), |row| row.try_get("", "n"))?)
    }

    /// Tokens of complete contents in the order of their trails.
    pub async fn list_hub_commitments(&self, root: i64) -> Result<Vec<StoredCommitment>, StoreError> {
        let sql = format!("SELECT {COMMITMENT} FROM hub_token_commitment WHERE root_id = $1 ORDER BY token_trail");
        let rows = all(&self.db, &sql, vec![root.into()]).await?;
        rows.iter().map(commitment).collect()
    }

    /// The first account of a wallet; an operator's may be there twice. The sign keeps SQLite from walking through the places for their order.
    pub async fn find_hub_allotment(
        &self,
        commitment: i64,
        wallet: Address,
    ) -> Result<Option<StoredAllotment>, StoreError> {
        let sql = format!(
            "SELECT {ALLOTMENT} FROM hub_allotment WHERE commitment_id = $1 AND wallet = $2 ORDER BY +trail LIMIT 1"
        );
        let row = one(&self.db, &sql, vec![commitment.into(), wallet.to_vec().into()]).await?;
        row.map(|row| allotment(&row)).transpose()
    }

    /// Accounts of a commitment by their trails, ascending.
    pub async fn list_hub_allotments(
        &self,
        commitment: i64,
        trails: std::ops::Range<u64>,
    ) -> Result<Vec<StoredAllotment>, StoreError> {
        let sql = format!(
            "SELECT {ALLOTMENT} FROM hub_allotment WHERE commitment_id = $1 AND trail >= $2 AND trail < $3 ORDER BY trail"
        );
        let values = vec![
            commitment.into(),
            int("hub_allotment.trail", trails.start)?.into(),
            int("hub_allotment.trail", trails.end)?.into(),
        ];
        let rows = all(&self.db, &sql, values).await?;
        rows.iter().map(allotment).collect()
    }

    /// Wallets of a token by their trails, with what they did in this eon and later. One statement, and so one view of each wallet.
    pub async fn list_hub_histories(
        &self,
        token: i64,
        trails: std::ops::Range<u64>,
        eon: u64,
    ) -> Result<Vec<WalletHistory>, StoreError> {
        let wallet: Vec<String> = WALLET.split(", ").map(|column| format!("w.{column}")).collect();
        let did: Vec<String> = WALLET_EON.split(", ").map(|column| format!("e.{column}")).collect();
        let sql = format!(
            "SELECT {}, e.eon AS did_in, {} FROM hub_wallet w LEFT JOIN hub_wallet_eon e ON e.wallet_id = w.id AND e.eon >= $4 \
             WHERE w.token_id = $1 AND w.trail >= $2 AND w.trail < $3 ORDER BY w.trail, e.eon",
            wallet.join(", "),
            did.join(", ")
        );
        let values = vec![
            token.into(),
            int("hub_wallet.trail", trails.start)?.into(),
            int("hub_wallet.trail", trails.end)?.into(),
            int("hub_wallet_eon.eon", eon)?.into(),
        ];
        let mut found: Vec<WalletHistory> = Vec::new();
        for row in all(&self.db, &sql, values).await? {
            let wallet = HubWallet::decode(&row)?;
            let eon: Option<i64> = row.try_get("", "did_in")?;
            if found.last().is_none_or(|last| last.wallet.id != wallet.id) {
                found.push(WalletHistory {
                    wallet,
                    eons: Vec::new(),
                });
            }
            if let (Some(eon), Some(last)) = (eon, found.last_mut()) {
                let eon = uint("hub_wallet_eon.eon", eon)?;
                last.eons.push((eon, WalletEon::decode(&row)?));
            }
        }
        Ok(found)
    }

    /// Takes contents away, in pieces, so that nobody waits long.
    pub async fn delete_hub_root(&self, root: i64) -> Result<(), StoreError> {
        let commitments = "SELECT id, accounts FROM hub_token_commitment WHERE root_id = $1";
        for row in all(&self.db, commitments, vec![root.into()]).await? {
            let id: i64 = row.try_get("", "id")?;
            loop {
                let sql = format!(
                    "DELETE FROM hub_allotment WHERE commitment_id = $1 AND trail < {DELETE_ROWS} + \
                     (SELECT MIN(trail) FROM hub_allotment WHERE commitment_id = $1)"
                );
                if run(&self.db, &sql, vec![id.into()]).await? == 0 {
                    break;
                }
            }
        }
        run(
            &self.db,
            "DELETE FROM hub_token_commitment WHERE root_id = $1",
            vec![root.into()],
        )
        .await?;
        run(&self.db, "DELETE FROM hub_root WHERE id = $1", vec![root.into()]).await?;
        Ok(())
    }

    /// Staged contents that nobody has added to for long: whoever made them is gone.
    pub async fn list_abandoned_hub_roots(&self, hub: HubId, now_ms: i64) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT id FROM hub_root WHERE hub_id = $1 AND state = 'staged' AND updated_at < $2";
        let values = vec![hub.0.into(), now_ms.saturating_sub(ABANDONED_MS).into()];
        let rows = all(&self.db, sql, values).await?;
        rows.iter().map(|row| Ok(row.try_get("", "id")?)).collect()
    }
}

impl Txn {
    /// The newest checkpoint on the chain of a hub whose ledger is kept here, when it was not built from that ledger.
    pub async fn find_foreign_checkpoint(&self, hub: HubId) -> Result<Option<(Eon, B256)>, StoreError> {
        let sql = "SELECT c.eon, c.root, EXISTS (SELECT 1 FROM hub_root r WHERE r.hub_id = c.hub_id AND r.eon = c.eon \
                   AND r.state = 'complete' AND r.origin = 'built' AND r.root = c.root) AS own \
                   FROM hub_checkpoint c WHERE c.hub_id = $1 AND c.standing <> 'orphaned' \
                   AND EXISTS (SELECT 1 FROM hub_token t WHERE t.hub_id = c.hub_id AND t.wallets > 0) \
                   ORDER BY c.eon DESC LIMIT 1";
        let Some(row) = one(&self.tx, sql, vec![hub.0.into()]).await? else {
            return Ok(None);
        };
        if row.try_get("", "own")? {
            return Ok(None);
        }
        let eon = uint("hub_checkpoint.eon", row.try_get("", "eon")?)?;
        let root: Vec<u8> = row.try_get("", "root")?;
        Ok(Some((Eon(eon), b256("hub_checkpoint.root", &root)?)))
    }

    /// Contents that were imported are what the ledger gives.
    pub async fn adopt_hub_root(&mut self, imported: i64) -> Result<(), StoreError> {
        let sql = "UPDATE hub_root SET origin = 'built', updated_at = $2 WHERE id = $1 AND state = 'complete'";
        let written = run(&self.tx, sql, vec![imported.into(), self.now_ms.into()]).await?;
        expect_one(written, "contents of a checkpoint")
    }

    /// Begins contents that nobody sees yet.
    pub async fn stage_hub_root(&mut self, hub: HubId, eon: u64, origin: RootOrigin) -> Result<i64, StoreError> {
        let sql = "INSERT INTO hub_root (hub_id, eon, origin, state, root, accounts, created_at, updated_at) \
                   VALUES ($1, $2, $3, 'staged', NULL, 0, $4, $4) RETURNING id";
        let values = vec![
            hub.0.into(),
            int("hub_root.eon", eon)?.into(),
            origin.as_str().into(),
            self.now_ms.into(),
        ];
        self.new_row(sql, values).await
    }

    /// Begins a token of staged contents.
    pub async fn stage_hub_commitment(&mut self, root: i64, token: Address, trail: u64) -> Result<i64, StoreError> {
        let sql = "INSERT INTO hub_token_commitment (root_id, token, token_trail, accounts) VALUES ($1, $2, $3, 0) RETURNING id";
        let trail = int("hub_token_commitment.token_trail", trail)?;
        self.new_row(sql, vec![root.into(), token.to_vec().into(), trail.into()])
            .await
    }

    async fn new_row(&self, sql: &str, values: Vec<Value>) -> Result<i64, StoreError> {
        let row = one(&self.tx, sql, values).await?;
        let row = row.ok_or_else(|| StoreError::Missing {
            what: "contents of a checkpoint".into(),
        })?;
        Ok(row.try_get("", "id")?)
    }

    /// Adds accounts to staged contents; the first begins at trail and bound. Returns where the last ends.
    pub async fn stage_hub_allotments(
        &mut self,
        (root, commitment): (i64, i64),
        (trail, left): (u64, U256),
        allotments: &[Allotment],
    ) -> Result<U256, StoreError> {
        let mut rows: Vec<Vec<Value>> = Vec::with_capacity(allotments.len());
        let mut left = left;
        for (trail, Allotment { account, amount }) in (trail..).zip(allotments) {
            let right = left.checked_add(*amount).ok_or_else(|| StoreError::Corrupt {
                column: "hub_allotment.right_bound",
                reason: "the amounts do not fit 256 bits".into(),
            })?;
            rows.push(vec![
                commitment.into(),
                int("hub_allotment.trail", trail)?.into(),
                account.wallet.to_vec().into(),
                u256_bytes(left).into(),
                u256_bytes(right).into(),
                sparse(account.active_state_checksum),
                sparse(account.passive.checksum),
                sparse(account.passive.amount.into()),
                sparse(account.passive.marker.into()),
            ]);
            left = right;
        }
        ALLOTMENTS.run(&self.tx, rows).await?;
        let touch = "UPDATE hub_root SET updated_at = $2 WHERE id = $1 AND state = 'staged'";
        let written = run(&self.tx, touch, vec![root.into(), self.now_ms.into()]).await?;
        expect_one(written, "staged contents of a checkpoint")?;
        Ok(left)
    }

    /// Everything of a staged token is there.
    pub async fn finish_hub_commitment(
        &mut self,
        commitment: i64,
        (account_root, upper_bound): (B256, U256),
        accounts: u64,
        spine: Vec<u8>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE hub_token_commitment SET account_root = $2, upper_bound = $3, accounts = $4, spine = $5 WHERE id = $1";
        let values = vec![
            commitment.into(),
            account_root.to_vec().into(),
            u256_bytes(upper_bound).into(),
            int("hub_token_commitment.accounts", accounts)?.into(),
            spine.into(),
        ];
        expect_one(run(&self.tx, sql, values).await?, "staged token of a checkpoint")
    }

    /// Shows staged contents to everybody. `Conflict` when somebody else completed those of the eon first.
    pub async fn complete_hub_root(&mut self, staged: i64, root: B256, accounts: u64) -> Result<(), StoreError> {
        let sql = "UPDATE hub_root SET state = 'complete', root = $2, accounts = $3, updated_at = $4 WHERE id = $1 AND state = 'staged'";
        let values = vec![
            staged.into(),
            root.to_vec().into(),
            int("hub_root.accounts", accounts)?.into(),
            self.now_ms.into(),
        ];
        let written = run(&self.tx, sql, values)
            .await
            .map_err(|error| StoreError::or_race(error, "contents of this checkpoint"))?;
        expect_one(written, "staged contents of a checkpoint")?;
        self.record(NewEvent {
            aggregate: "hub",
            aggregate_id: staged.to_string(),
            event: "contents_known".into(),
            cause: format!("root {root}"),
            ..NewEvent::default()
        });
        Ok(())
    }

    /// Hides complete contents again; they are then deleted as abandoned ones are.
    pub async fn withdraw_hub_root(&mut self, root: i64) -> Result<(), StoreError> {
        let sql = "UPDATE hub_root SET state = 'staged', root = NULL WHERE id = $1 AND state = 'complete'";
        expect_one(run(&self.tx, sql, vec![root.into()]).await?, "contents of a checkpoint")
    }
}
