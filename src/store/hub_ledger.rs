//! The ledger of a hub: who keeps it, its tokens and its wallets. Whoever writes to it locks its row first, so that the writers of one hub take
//! turns; what they tell watchers is numbered in the order they commit.

use super::bulk::{Insert, padded};
use super::codec::{address, int, u256, u256_bytes, uint};
use super::txn::expect_one;
use super::{HubId, NewEvent, Store, StoreError, Txn};
use alloy::primitives::{Address, U256};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value};
use std::collections::BTreeMap;

/// The ledger's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerHead {
    pub hub: HubId,
    /// Coordinator that keeps it; None while nobody does.
    pub coordinator: Option<String>,
    /// Newest eon whose checkpoint was begun: earlier eons take no more transfers.
    pub closed_eon: u64,
    /// Of the last event.
    pub seq: i64,
    /// Newest checkpoint watchers were told of.
    pub told_eon: u64,
    /// Operations on chain up to this (block, log index) were told and booked; -1 = none.
    pub told: (i64, i64),
}

impl LedgerHead {
    /// The place of the next event. The head must be saved before the commit.
    pub(super) fn take_seq(&mut self) -> i64 {
        self.seq = self.seq.saturating_add(1);
        self.seq
    }

    fn decode(row: &QueryResult) -> Result<Self, StoreError> {
        Ok(Self {
            hub: HubId(row.try_get("", "hub_id")?),
            coordinator: row.try_get("", "coordinator_id")?,
            closed_eon: uint("hub_ledger.closed_eon", row.try_get("", "closed_eon")?)?,
            seq: row.try_get("", "seq")?,
            told_eon: uint("hub_ledger.told_eon", row.try_get("", "told_eon")?)?,
            told: (row.try_get("", "told_block")?, row.try_get("", "told_log")?),
        })
    }
}

const HEAD: &str = "hub_id, coordinator_id, closed_eon, seq, told_eon, told_block, told_log";

/// A token of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubToken {
    pub id: i64,
    pub token: Address,
    pub trail: u64,
    pub name: String,
    pub short_name: String,
    /// Admitted; the next one gets this trail.
    pub wallets: u64,
}

impl HubToken {
    fn decode(row: &QueryResult) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.try_get("", "id")?,
            token: address("hub_token.token", &row.try_get::<Vec<u8>>("", "token")?)?,
            trail: uint("hub_token.trail", row.try_get("", "trail")?)?,
            name: row.try_get("", "name")?,
            short_name: row.try_get("", "short_name")?,
            wallets: uint("hub_token.wallets", row.try_get("", "wallets")?)?,
        })
    }
}

/// A wallet that is to be admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewHubWallet {
    pub wallet: Address,
    /// What the wallet and the operator signed for it, hex; not interpreted.
    pub authorization: String,
    pub operator_authorization: String,
}

/// An account of a wallet in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubWallet {
    pub id: i64,
    pub token_id: i64,
    pub wallet: Address,
    pub trail: u64,
    pub admitted_eon: u64,
    pub authorization: String,
    pub operator_authorization: String,
    pub gained: U256,
    pub spent: U256,
}

impl HubWallet {
    /// What the ledger says it has, without what it asked to withdraw since.
    pub fn balance(&self) -> U256 {
        self.gained.saturating_sub(self.spent)
    }

    pub(super) fn decode(row: &QueryResult) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.try_get("", "id")?,
            token_id: row.try_get("", "token_id")?,
            wallet: address("hub_wallet.wallet", &row.try_get::<Vec<u8>>("", "wallet")?)?,
            trail: uint("hub_wallet.trail", row.try_get("", "trail")?)?,
            admitted_eon: uint("hub_wallet.admitted_eon", row.try_get("", "admitted_eon")?)?,
            authorization: row.try_get("", "sign_up")?,
            operator_authorization: row.try_get("", "operator_sign_up")?,
            gained: u256("hub_wallet.gained", &row.try_get::<Vec<u8>>("", "gained")?)?,
            spent: u256("hub_wallet.spent", &row.try_get::<Vec<u8>>("", "spent")?)?,
        })
    }
}

pub(super) const WALLET: &str = "id, token_id, wallet, trail, admitted_eon, sign_up, operator_sign_up, gained, spent";

const WALLETS: Insert = Insert {
    table: "hub_wallet",
    columns: &[
        "token_id",
        "wallet",
        "trail",
        "admitted_eon",
        "sign_up",
        "operator_sign_up",
        "gained",
        "spent",
        "created_at",
    ],
    constants: &[],
    tail: "",
};

/// Wallets by token row and address.
pub(super) type Wallets = BTreeMap<(i64, Address), HubWallet>;

pub(super) async fn all(db: &impl ConnectionTrait, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    db.query_all_raw(statement).await
}

pub(super) async fn one(
    db: &impl ConnectionTrait,
    sql: &str,
    values: Vec<Value>,
) -> Result<Option<QueryResult>, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    db.query_one_raw(statement).await
}

pub(super) async fn run(db: &impl ConnectionTrait, sql: &str, values: Vec<Value>) -> Result<u64, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    Ok(db.execute_raw(statement).await?.rows_affected())
}

/// `$n, $n+1, …` for a list in parentheses.
pub(super) fn places(from: usize, count: usize) -> String {
    let names: Vec<String> = (from..from.saturating_add(count)).map(|n| format!("${n}")).collect();
    names.join(", ")
}

/// Wallets of a token, of those that are admitted.
async fn wallets_of(db: &impl ConnectionTrait, token: i64, wallets: &[Address]) -> Result<Vec<HubWallet>, StoreError> {
    let mut found = Vec::new();
    for chunk in wallets.chunks(256) {
        let list = padded(chunk.to_vec());
        let sql = format!(
            "SELECT {WALLET} FROM hub_wallet WHERE token_id = $1 AND wallet IN ({})",
            places(2, list.len())
        );
        let mut values: Vec<Value> = vec![token.into()];
        values.extend(list.iter().map(|wallet| wallet.to_vec().into()));
        for row in all(db, &sql, values).await? {
            found.push(HubWallet::decode(&row)?);
        }
    }
    Ok(found)
}

impl Store {
    /// None while nothing was ever written about this hub's ledger.
    pub async fn find_hub_ledger(&self, hub: HubId) -> Result<Option<LedgerHead>, StoreError> {
        let sql = format!("SELECT {HEAD} FROM hub_ledger WHERE hub_id = $1");
        let row = one(&self.db, &sql, vec![hub.0.into()]).await?;
        row.map(|row| LedgerHead::decode(&row)).transpose()
    }

    /// In the order of their trails.
    pub async fn list_ledger_tokens(&self, hub: HubId) -> Result<Vec<HubToken>, StoreError> {
        tokens(&self.db, hub).await
    }

    pub async fn find_hub_wallet(&self, token: i64, wallet: Address) -> Result<Option<HubWallet>, StoreError> {
        Ok(wallets_of(&self.db, token, &[wallet]).await?.pop())
    }
}

pub(super) async fn tokens(db: &impl ConnectionTrait, hub: HubId) -> Result<Vec<HubToken>, StoreError> {
    let sql = "SELECT id, token, trail, name, short_name, wallets FROM hub_token WHERE hub_id = $1 ORDER BY trail";
    let rows = all(db, sql, vec![hub.0.into()]).await?;
    rows.iter().map(HubToken::decode).collect()
}

impl Txn {
    /// Locks the ledger of a hub for the rest of the transaction; makes its row when there is none.
    pub async fn lock_hub_ledger(&mut self, hub: HubId) -> Result<LedgerHead, StoreError> {
        let make = "INSERT INTO hub_ledger (hub_id, coordinator_id, closed_eon, seq, told_eon, told_block, told_log, created_at) \
                    VALUES ($1, NULL, 0, 0, 0, -1, -1, $2) ON CONFLICT (hub_id) DO NOTHING";
        run(&self.tx, make, vec![hub.0.into(), self.now_ms.into()]).await?;
        let lock = format!("UPDATE hub_ledger SET seq = seq + 0 WHERE hub_id = $1 RETURNING {HEAD}");
        let row = one(&self.tx, &lock, vec![hub.0.into()]).await?;
        let row = row.ok_or_else(|| StoreError::Missing {
            what: format!("ledger of hub {hub}"),
        })?;
        LedgerHead::decode(&row)
    }

    /// Writes a locked head back.
    pub async fn save_hub_ledger(&mut self, head: &LedgerHead) -> Result<(), StoreError> {
        let sql = "UPDATE hub_ledger SET coordinator_id = $2, closed_eon = $3, seq = $4, told_eon = $5, told_block = $6, told_log = $7 \
                   WHERE hub_id = $1";
        let values = vec![
            head.hub.0.into(),
            head.coordinator.clone().into(),
            int("hub_ledger.closed_eon", head.closed_eon)?.into(),
            head.seq.into(),
            int("hub_ledger.told_eon", head.told_eon)?.into(),
            head.told.0.into(),
            head.told.1.into(),
        ];
        expect_one(run(&self.tx, sql, values).await?, "ledger of a hub")
    }

    /// Tokens of a hub, as this transaction sees them.
    pub async fn hub_tokens(&mut self, hub: HubId) -> Result<Vec<HubToken>, StoreError> {
        tokens(&self.tx, hub).await
    }

    /// Adds a token. The caller has seen that neither token nor trail are taken.
    pub async fn add_hub_token(
        &mut self,
        hub: HubId,
        token: Address,
        trail: u64,
        (name, short_name): (&str, &str),
    ) -> Result<HubToken, StoreError> {
        let sql = "INSERT INTO hub_token (hub_id, token, trail, name, short_name, wallets, created_at) \
                   VALUES ($1, $2, $3, $4, $5, 0, $6) RETURNING id, token, trail, name, short_name, wallets";
        let values = vec![
            hub.0.into(),
            token.to_vec().into(),
            int("hub_token.trail", trail)?.into(),
            name.into(),
            short_name.into(),
            self.now_ms.into(),
        ];
        let row = one(&self.tx, sql, values)
            .await
            .map_err(|error| StoreError::or_race(error, "a token of a hub"))?;
        let row = row.ok_or_else(|| StoreError::Missing {
            what: format!("token {token}"),
        })?;
        self.record(NewEvent {
            aggregate: "hub",
            aggregate_id: hub.to_string(),
            event: "register_token".into(),
            cause: format!("token {token} trail {trail}"),
            ..NewEvent::default()
        });
        HubToken::decode(&row)
    }

    /// Admits wallets of a token in this order; those that are admitted already keep what they have. Returns the new ones. What they deposited
    /// before is booked by [`Txn::book_hub_operations_of`].
    pub async fn admit_hub_wallets(
        &mut self,
        token: &mut HubToken,
        eon: u64,
        wallets: &[NewHubWallet],
    ) -> Result<Vec<HubWallet>, StoreError> {
        let addresses: Vec<Address> = wallets.iter().map(|new| new.wallet).collect();
        let known = wallets_of(&self.tx, token.id, &addresses).await?;
        let mut seen: std::collections::BTreeSet<Address> = known.iter().map(|wallet| wallet.wallet).collect();
        let mut rows: Vec<Vec<Value>> = Vec::new();
        let mut fresh = Vec::new();
        for new in wallets.iter().filter(|new| seen.insert(new.wallet)) {
            rows.push(vec![
                token.id.into(),
                new.wallet.to_vec().into(),
                int("hub_wallet.trail", token.wallets)?.into(),
                int("hub_wallet.admitted_eon", eon)?.into(),
                new.authorization.clone().into(),
                new.operator_authorization.clone().into(),
                u256_bytes(U256::ZERO).into(),
                u256_bytes(U256::ZERO).into(),
                self.now_ms.into(),
            ]);
            fresh.push(new.wallet);
            token.wallets = token.wallets.saturating_add(1);
        }
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        WALLETS.run(&self.tx, rows).await?;
        let values = vec![token.id.into(), int("hub_token.wallets", token.wallets)?.into()];
        let written = run(&self.tx, "UPDATE hub_token SET wallets = $2 WHERE id = $1", values).await?;
        expect_one(written, "token of a hub")?;
        wallets_of(&self.tx, token.id, &fresh).await
    }

    /// Wallets by token and address, of those that are admitted.
    pub(super) async fn hub_wallets(&self, wanted: &BTreeMap<i64, Vec<Address>>) -> Result<Wallets, StoreError> {
        let mut found = Wallets::new();
        for (token, wallets) in wanted {
            for wallet in wallets_of(&self.tx, *token, wallets).await? {
                found.insert((*token, wallet.wallet), wallet);
            }
        }
        Ok(found)
    }
}
