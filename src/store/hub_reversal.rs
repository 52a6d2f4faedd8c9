//! Bookings taken back: of operations that a broken finality or a repair has orphaned. What a vanished deposit brought is taken from its wallet as
//! far as the wallet still has it; the rest is owed (`hub_booking.short`): the wallet can spend nothing of it, its next deposits pay it, and no
//! checkpoint allots it.

use super::codec::{address, int, u256, u256_bytes, uint};
use super::hub_ledger::{HubWallet, LedgerHead, all, run};
use super::hub_transfer::{WALLET_EON, WalletEon};
use super::{HubId, HubOperationKind, NewEvent, StoreError, Txn, codec};
use alloy::primitives::{Address, U256};
use sea_orm::{ConnectionTrait, QueryResult};
use std::collections::{BTreeMap, BTreeSet};

/// What a wallet owes of a deposit that is gone.
pub(super) struct Debt {
    operation: i64,
    account: Account,
    pub token: Address,
    pub wallet: Address,
    /// In which the deposit was booked.
    pub eon: u64,
    pub rest: U256,
}

/// An account's row, and its key among the accounts of a transaction.
struct Account {
    id: i64,
    key: (i64, Address),
}

impl Account {
    fn decode(row: &QueryResult) -> Result<Self, StoreError> {
        let wallet = address("hub_wallet.wallet", &row.try_get::<Vec<u8>>("", "wallet")?)?;
        Ok(Self {
            id: row.try_get("", "wallet_id")?,
            key: (row.try_get("", "token_id")?, wallet),
        })
    }
}

/// All debts at a hub; there hardly ever is one.
pub(super) async fn debts(db: &impl ConnectionTrait, hub: HubId) -> Result<Vec<Debt>, StoreError> {
    let sql = "SELECT b.operation_id, b.wallet_id, b.eon, b.short, w.token_id, w.wallet, o.token FROM hub_booking b \
               JOIN hub_operation o ON o.id = b.operation_id JOIN hub_wallet w ON w.id = b.wallet_id \
               WHERE b.short IS NOT NULL AND o.hub_id = $1 AND o.kind = 'deposit' AND o.standing = 'orphaned' ORDER BY b.operation_id";
    let rows = all(db, sql, vec![hub.0.into()]).await?;
    let debt = |row: &QueryResult| -> Result<Debt, StoreError> {
        let account = Account::decode(row)?;
        Ok(Debt {
            operation: row.try_get("", "operation_id")?,
            token: address("hub_operation.token", &row.try_get::<Vec<u8>>("", "token")?)?,
            wallet: account.key.1,
            account,
            eon: uint("hub_booking.eon", row.try_get("", "eon")?)?,
            rest: u256("hub_booking.short", &row.try_get::<Vec<u8>>("", "short")?)?,
        })
    };
    rows.iter().map(debt).collect()
}

/// What an account had at least from the end of each eon on, oldest first: all that can be taken there without making it have had less than nothing
/// at the end of any eon. `did`: this eon and later.
fn spare(wallet: &HubWallet, from: u64, did: &[(u64, WalletEon)]) -> Vec<(u64, U256)> {
    let mut end = wallet.balance();
    let mut least = end;
    let mut spare = Vec::with_capacity(did.len().saturating_add(1));
    for (eon, did) in did.iter().rev() {
        least = least.min(end);
        spare.push((*eon, least));
        let (came, went) = (
            did.received.saturating_add(did.deposited),
            did.sent.saturating_add(did.withdrawn),
        );
        end = end.saturating_add(went).saturating_sub(came);
    }
    if spare.last().is_none_or(|(eon, _)| *eon != from) {
        spare.push((from, least.min(end)));
    }
    spare.reverse();
    spare
}

impl Txn {
    /// Ledgers of these hubs look again at everything after a block.
    pub(super) async fn turn_hub_ledgers_back(&self, which: &str, id: i64, to: i64) -> Result<(), StoreError> {
        // Written in any case: whoever follows just now is waited for.
        let sql = format!(
            "UPDATE hub_ledger SET told_block = CASE WHEN told_block > $2 THEN $2 ELSE told_block END, \
             told_log = CASE WHEN told_block > $2 THEN $3 ELSE told_log END WHERE {which}"
        );
        self.run(sql, [id.into(), to.into(), i64::MAX.into()]).await?;
        Ok(())
    }

    pub(super) async fn forget_booking(&self, operation: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM hub_booking WHERE operation_id = $1";
        run(&self.tx, sql, vec![operation.into()]).await?;
        Ok(())
    }

    /// Takes back what was booked of operations that are orphaned now, from what was told last up to a block. Returns how many.
    pub(super) async fn unbook_orphaned(&mut self, head: &LedgerHead, to: i64, limit: u64) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT b.operation_id, b.wallet_id, b.eon, b.amount, b.short, o.kind, w.token_id, w.wallet FROM hub_operation o \
             JOIN hub_booking b ON b.operation_id = o.id JOIN hub_wallet w ON w.id = b.wallet_id \
             WHERE o.hub_id = $1 AND o.block_number >= $2 AND o.block_number <= $3 AND o.standing = 'orphaned' \
             AND (o.kind <> 'deposit' OR b.short IS NULL) ORDER BY o.id LIMIT {limit}"
        );
        let rows = all(&self.tx, &sql, vec![head.hub.0.into(), head.told.0.into(), to.into()]).await?;
        for row in &rows {
            let operation: i64 = row.try_get("", "operation_id")?;
            let account = Account::decode(row)?;
            let eon = uint("hub_booking.eon", row.try_get("", "eon")?)?.max(head.closed_eon);
            let amount = u256("hub_booking.amount", &row.try_get::<Vec<u8>>("", "amount")?)?;
            let short: Option<Vec<u8>> = row.try_get("", "short")?;
            let short = short.map_or(Ok(U256::ZERO), |bytes| u256("hub_booking.short", &bytes))?;
            let kind: HubOperationKind = codec::name("hub_operation.kind", &row.try_get::<String>("", "kind")?)?;
            let mut rest = U256::ZERO;
            if kind == HubOperationKind::Deposit {
                rest = self.take_from(&account, eon, amount).await?;
            } else {
                self.give_to(&account, eon, amount.saturating_sub(short)).await?;
            }
            self.set_debt(operation, rest).await?;
            self.record(NewEvent {
                aggregate: "hub",
                aggregate_id: head.hub.to_string(),
                event: "booking_taken_back".into(),
                to_state: Some(format!("{rest} owed")),
                cause: format!("{kind} of {amount} by {} was orphaned", account.key.1),
                ..NewEvent::default()
            });
        }
        Ok(rows.len() as u64)
    }

    /// Wallets that deposited pay what they owe.
    pub(super) async fn settle_debts(&self, head: &LedgerHead, wallets: &BTreeSet<i64>) -> Result<(), StoreError> {
        if wallets.is_empty() {
            return Ok(());
        }
        for debt in debts(&self.tx, head.hub).await? {
            if wallets.contains(&debt.account.id) {
                let eon = debt.eon.max(head.closed_eon);
                let rest = self.take_from(&debt.account, eon, debt.rest).await?;
                self.set_debt(debt.operation, rest).await?;
            }
        }
        Ok(())
    }

    async fn set_debt(&self, operation: i64, rest: U256) -> Result<(), StoreError> {
        if rest.is_zero() {
            return self.forget_booking(operation).await;
        }
        let sql = "UPDATE hub_booking SET short = $2 WHERE operation_id = $1";
        run(&self.tx, sql, vec![operation.into(), u256_bytes(rest).into()]).await?;
        Ok(())
    }

    /// Takes an amount from an account, in this eon or as soon after as it is there. Returns what is not there.
    async fn take_from(&self, account: &Account, from: u64, amount: U256) -> Result<U256, StoreError> {
        let sql =
            format!("SELECT eon, {WALLET_EON} FROM hub_wallet_eon WHERE wallet_id = $1 AND eon >= $2 ORDER BY eon");
        let values = vec![account.id.into(), int("hub_wallet_eon.eon", from)?.into()];
        let mut did: Vec<(u64, WalletEon)> = Vec::new();
        for row in all(&self.tx, &sql, values).await? {
            did.push((
                uint("hub_wallet_eon.eon", row.try_get("", "eon")?)?,
                WalletEon::decode(&row)?,
            ));
        }
        let wanted = BTreeMap::from([(account.key.0, vec![account.key.1])]);
        let mut accounts = self.hub_accounts(&wanted, &BTreeSet::new()).await?;
        let Some(wallet) = accounts.wallets.get(&account.key) else {
            return Ok(amount);
        };
        let spare = spare(wallet, from, &did);
        accounts
            .eons
            .extend(did.into_iter().map(|(eon, did)| ((account.id, eon), did)));
        let mut taken = U256::ZERO;
        for (eon, least) in spare {
            let now = amount.saturating_sub(taken).min(least.saturating_sub(taken));
            if now.is_zero() {
                continue;
            }
            let Some((wallet, did)) = accounts.touch(account.key, eon) else {
                continue;
            };
            wallet.spent = wallet.spent.checked_add(now).ok_or_else(overflow)?;
            did.withdrawn = did.withdrawn.checked_add(now).ok_or_else(overflow)?;
            taken = taken.saturating_add(now);
        }
        accounts.save(self).await?;
        Ok(amount.saturating_sub(taken))
    }

    async fn give_to(&self, account: &Account, eon: u64, amount: U256) -> Result<(), StoreError> {
        let wanted = BTreeMap::from([(account.key.0, vec![account.key.1])]);
        let mut accounts = self.hub_accounts(&wanted, &BTreeSet::from([eon])).await?;
        if let Some((wallet, did)) = accounts.touch(account.key, eon) {
            wallet.gained = wallet.gained.checked_add(amount).ok_or_else(overflow)?;
            did.deposited = did.deposited.checked_add(amount).ok_or_else(overflow)?;
        }
        accounts.save(self).await
    }
}

fn overflow() -> StoreError {
    StoreError::Corrupt {
        column: "hub_wallet.gained",
        reason: "what is taken back does not fit".into(),
    }
}
