//! What happens at a hub's contract, on the hub's ledger: final deposits and requests to withdraw are booked once on the wallets that are admitted,
//! and told to watchers together with the checkpoints, in an order of their own.

use super::bulk::Insert;
use super::codec::{address, b256, int, name, u256, u256_bytes, uint};
use super::hub_ledger::{HubToken, LedgerHead, all};
use super::hub_reversal::debts;
use super::hub_transfer::Accounts;
use super::{CheckpointStanding, HubId, HubOperationKind, Store, StoreError, Txn};
use alloy::primitives::{Address, B256, U256};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What watchers of a hub are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HubEventKind {
    CheckpointCreated,
    ConfirmedDeposit,
    RequestedWithdrawal,
    ConfirmedWithdrawal,
    TransferConfirmation,
}

impl HubEventKind {
    pub const ALL: [Self; 5] = [
        Self::CheckpointCreated,
        Self::ConfirmedDeposit,
        Self::RequestedWithdrawal,
        Self::ConfirmedWithdrawal,
        Self::TransferConfirmation,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::CheckpointCreated => "CHECKPOINT_CREATED",
            Self::ConfirmedDeposit => "CONFIRMED_DEPOSIT",
            Self::RequestedWithdrawal => "REQUESTED_WITHDRAWAL",
            Self::ConfirmedWithdrawal => "CONFIRMED_WITHDRAWAL",
            Self::TransferConfirmation => "TRANSFER_CONFIRMATION",
        }
    }

    fn of(kind: HubOperationKind) -> Self {
        match kind {
            HubOperationKind::Deposit => Self::ConfirmedDeposit,
            HubOperationKind::WithdrawalRequest => Self::RequestedWithdrawal,
            HubOperationKind::WithdrawalConfirmation => Self::ConfirmedWithdrawal,
        }
    }
}

impl std::str::FromStr for HubEventKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no event of a hub"))
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubEvent {
    pub seq: i64,
    pub kind: HubEventKind,
    pub at_ms: i64,
    pub eon: u64,
    pub token: Option<Address>,
    pub wallet: Option<Address>,
    pub recipient: Option<Address>,
    pub amount: Option<U256>,
    /// Root of a checkpoint, transaction of an operation, id of a transfer.
    pub reference: String,
}

/// Which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubEventFilter {
    pub token: Option<Address>,
    /// Also as the recipient of a transfer.
    pub wallet: Option<Address>,
    /// Empty = all.
    pub kinds: Vec<HubEventKind>,
}

/// A final operation at the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerOperation {
    pub id: i64,
    pub kind: HubOperationKind,
    pub token: Address,
    pub wallet: Address,
    pub amount: U256,
    pub eon: u64,
    /// Unix seconds.
    pub timestamp: u64,
    /// Block and log index.
    pub place: (i64, i64),
    pub tx_hash: B256,
}

const OPERATION: &str =
    "o.id, o.kind, o.token, o.wallet, o.amount, o.eon, o.block_timestamp, o.block_number, o.log_index, o.tx_hash";

fn operation(row: &QueryResult) -> Result<LedgerOperation, StoreError> {
    let bytes = |column: &str| row.try_get::<Vec<u8>>("", column);
    Ok(LedgerOperation {
        id: row.try_get("", "id")?,
        kind: name("hub_operation.kind", &row.try_get::<String>("", "kind")?)?,
        token: address("hub_operation.token", &bytes("token")?)?,
        wallet: address("hub_operation.wallet", &bytes("wallet")?)?,
        amount: u256("hub_operation.amount", &bytes("amount")?)?,
        eon: uint("hub_operation.eon", row.try_get("", "eon")?)?,
        timestamp: uint("hub_operation.block_timestamp", row.try_get("", "block_timestamp")?)?,
        place: (row.try_get("", "block_number")?, row.try_get("", "log_index")?),
        tx_hash: b256("hub_operation.tx_hash", &bytes("tx_hash")?)?,
    })
}

const BOOKINGS: Insert = Insert {
    table: "hub_booking",
    columns: &["operation_id", "wallet_id", "eon", "amount", "short", "at_ms"],
    constants: &[],
    tail: "",
};

const EVENTS: Insert = Insert {
    table: "hub_event",
    columns: &[
        "hub_id",
        "seq",
        "kind",
        "eon",
        "token",
        "wallet",
        "amount",
        "reference",
        "operation_id",
        "at_ms",
    ],
    constants: &[],
    tail: "",
};

/// What the chain's operations up to an eon come to for one token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenBacking {
    pub deposited: U256,
    pub withdrawn: U256,
    /// The parts of them that are on no wallet.
    pub unbooked_deposited: U256,
    pub unbooked_withdrawn: U256,
    /// Withdrawn beyond what wallets had.
    pub short: U256,
}

impl TokenBacking {
    /// What the contract holds for balances: None when more was withdrawn than deposited.
    pub fn amount(&self) -> Option<U256> {
        self.deposited.checked_sub(self.withdrawn)
    }

    /// What belongs to no wallet. None when wallets that are not admitted, or that had less, withdrew more than there is.
    pub fn leftover(&self) -> Option<U256> {
        let gone = self.unbooked_withdrawn.checked_add(self.short)?;
        self.unbooked_deposited.checked_sub(gone)
    }
}

/// A final operation, and what became of it on the ledger.
struct Found {
    operation: LedgerOperation,
    is_told: bool,
    is_booked: bool,
    /// Of a deposit that was taken back: what could not be.
    owed: Option<U256>,
}

impl Found {
    fn decode(row: &QueryResult) -> Result<Self, StoreError> {
        let operation = operation(row)?;
        let short: Option<Vec<u8>> = row.try_get("", "short")?;
        let short = short.map(|bytes| u256("hub_booking.short", &bytes)).transpose()?;
        Ok(Self {
            is_told: row.try_get::<Option<i64>>("", "told")?.is_some(),
            is_booked: row.try_get::<Option<i64>>("", "booked")?.is_some(),
            owed: short.filter(|_| operation.kind == HubOperationKind::Deposit),
            operation,
        })
    }

    fn event(&self, seq: i64, head: &LedgerHead, now_ms: i64) -> Result<Vec<Value>, StoreError> {
        let new = &self.operation;
        Ok(vec![
            head.hub.0.into(),
            seq.into(),
            HubEventKind::of(new.kind).as_str().into(),
            int("hub_event.eon", new.eon)?.into(),
            Some(new.token.to_vec()).into(),
            Some(new.wallet.to_vec()).into(),
            Some(u256_bytes(new.amount)).into(),
            new.tx_hash.to_vec().into(),
            Some(new.id).into(),
            now_ms.into(),
        ])
    }
}

impl Txn {
    /// Tells watchers of a hub what has become final, and books it on the wallets that are admitted; takes bookings of what was orphaned back.
    /// Looks at `limit` operations at most; returns at how many things it looked.
    pub async fn follow_hub(&mut self, head: &mut LedgerHead, limit: u64) -> Result<u64, StoreError> {
        // What was put back into its place by a repair is looked at again together with what follows it.
        let sql = format!(
            "SELECT {OPERATION}, e.seq AS told, b.operation_id AS booked, b.short AS short FROM hub_operation o \
             LEFT JOIN hub_event e ON e.operation_id = o.id LEFT JOIN hub_booking b ON b.operation_id = o.id \
             WHERE o.hub_id = $1 AND o.standing = 'final' AND o.block_number >= $2 \
             AND (o.block_number > $2 OR o.log_index > $3) ORDER BY o.block_number, o.log_index LIMIT {limit}"
        );
        let values = vec![head.hub.0.into(), head.told.0.into(), head.told.1.into()];
        let rows = all(&self.tx, &sql, values).await?;
        let page: Vec<Found> = rows.iter().map(Found::decode).collect::<Result<_, _>>()?;
        let last = page.last().filter(|_| page.len() as u64 >= limit);
        let to = last.map_or(i64::MAX, |last| last.operation.place.0);
        let taken_back = self.unbook_orphaned(head, to, limit).await?;
        if taken_back >= limit {
            return Ok(taken_back);
        }
        let mut told: Vec<Vec<Value>> = Vec::new();
        for found in &page {
            head.told = found.operation.place;
            if !found.is_told {
                let seq = head.take_seq();
                told.push(found.event(seq, head, self.now_ms)?);
            }
        }
        let count = (page.len() as u64).saturating_add(taken_back);
        let unbooked = page
            .into_iter()
            .filter(|found| !found.is_booked || found.owed.is_some());
        self.book_operations(head, &unbooked.collect::<Vec<_>>()).await?;
        let checkpoints = self.tell_checkpoints(head, &mut told).await?;
        let count = count.saturating_add(checkpoints);
        EVENTS.run(&self.tx, told).await?;
        if count > 0 {
            self.record(super::NewEvent {
                aggregate: "hub",
                aggregate_id: head.hub.to_string(),
                event: "ledger_followed".into(),
                cause: format!("{count} final operations and checkpoints"),
                ..super::NewEvent::default()
            });
        }
        Ok(count)
    }

    async fn tell_checkpoints(&self, head: &mut LedgerHead, told: &mut Vec<Vec<Value>>) -> Result<u64, StoreError> {
        let checkpoints = "SELECT eon, root FROM hub_checkpoint WHERE hub_id = $1 AND eon > $2 AND standing IN ($3, $4) ORDER BY eon LIMIT 100";
        let values = vec![
            head.hub.0.into(),
            int("hub_checkpoint.eon", head.told_eon)?.into(),
            CheckpointStanding::Provisional.as_str().into(),
            CheckpointStanding::Final.as_str().into(),
        ];
        let rows = all(&self.tx, checkpoints, values).await?;
        for row in &rows {
            let eon: i64 = row.try_get("", "eon")?;
            head.told_eon = uint("hub_checkpoint.eon", eon)?;
            told.push(vec![
                head.hub.0.into(),
                head.take_seq().into(),
                HubEventKind::CheckpointCreated.as_str().into(),
                eon.into(),
                None::<Vec<u8>>.into(),
                None::<Vec<u8>>.into(),
                None::<Vec<u8>>.into(),
                row.try_get::<Vec<u8>>("", "root")?.into(),
                None::<i64>.into(),
                self.now_ms.into(),
            ]);
        }
        Ok(rows.len() as u64)
    }

    /// Books what was told of these wallets before they were admitted.
    pub async fn book_hub_operations_of(
        &mut self,
        head: &LedgerHead,
        token: Address,
        wallets: &[Address],
    ) -> Result<(), StoreError> {
        let mut early = Vec::new();
        for wallet in wallets {
            let sql = format!(
                "SELECT {OPERATION} FROM hub_operation o LEFT JOIN hub_booking b ON b.operation_id = o.id \
                 WHERE o.hub_id = $1 AND o.wallet = $2 AND o.token = $3 AND o.standing = 'final' AND b.operation_id IS NULL \
                 AND (o.block_number < $4 OR (o.block_number = $4 AND o.log_index <= $5)) ORDER BY o.block_number, o.log_index"
            );
            let values = vec![
                head.hub.0.into(),
                wallet.to_vec().into(),
                token.to_vec().into(),
                head.told.0.into(),
                head.told.1.into(),
            ];
            for row in all(&self.tx, &sql, values).await? {
                early.push(Found {
                    operation: operation(&row)?,
                    is_told: true,
                    is_booked: false,
                    owed: None,
                });
            }
        }
        self.book_operations(head, &early).await
    }

    /// Books operations of admitted wallets, each in its eon or, when that is closed, in the first that is not.
    async fn book_operations(&mut self, head: &LedgerHead, operations: &[Found]) -> Result<(), StoreError> {
        let tokens: BTreeMap<Address, HubToken> = self
            .hub_tokens(head.hub)
            .await?
            .into_iter()
            .map(|token| (token.token, token))
            .collect();
        let moving = |new: &&Found| new.operation.kind != HubOperationKind::WithdrawalConfirmation;
        let mut wanted: BTreeMap<i64, Vec<Address>> = BTreeMap::new();
        let mut eons = BTreeSet::new();
        for Found { operation: new, .. } in operations.iter().filter(moving) {
            if let Some(token) = tokens.get(&new.token) {
                wanted.entry(token.id).or_default().push(new.wallet);
                eons.insert(new.eon.max(head.closed_eon));
            }
        }
        let mut accounts: Accounts = self.hub_accounts(&wanted, &eons).await?;
        let mut rows: Vec<Vec<Value>> = Vec::new();
        let mut depositors = BTreeSet::new();
        for Found {
            operation: new, owed, ..
        } in operations.iter().filter(moving)
        {
            let Some(token) = tokens.get(&new.token) else { continue };
            let eon = new.eon.max(head.closed_eon);
            let Some((wallet, did)) = accounts.touch((token.id, new.wallet), eon) else {
                continue;
            };
            let overflow = || StoreError::Corrupt {
                column: "hub_operation.amount",
                reason: format!("{} more does not fit a balance", new.amount),
            };
            let mut short = None;
            if new.kind == HubOperationKind::Deposit {
                // Of one that was taken back only in part, the other part is there still.
                let amount = new.amount.saturating_sub(owed.unwrap_or_default());
                wallet.gained = wallet.gained.checked_add(amount).ok_or_else(overflow)?;
                did.deposited = did.deposited.checked_add(amount).ok_or_else(overflow)?;
                depositors.insert(wallet.id);
                if owed.is_some() {
                    self.forget_booking(new.id).await?;
                }
            } else {
                // What the contract let go is gone, whatever the ledger thinks; the rest shows as short, and no checkpoint is built over it
                // unless somebody's leftover covers it.
                let taken = new.amount.min(wallet.balance());
                wallet.spent = wallet.spent.checked_add(taken).ok_or_else(overflow)?;
                did.withdrawn = did.withdrawn.checked_add(taken).ok_or_else(overflow)?;
                short = new.amount.checked_sub(taken).filter(|rest| !rest.is_zero());
            }
            rows.push(vec![
                new.id.into(),
                wallet.id.into(),
                int("hub_booking.eon", eon)?.into(),
                u256_bytes(new.amount).into(),
                short.map(u256_bytes).into(),
                self.now_ms.into(),
            ]);
        }
        BOOKINGS.run(&self.tx, rows).await?;
        accounts.save(self).await?;
        self.settle_debts(head, &depositors).await
    }

    /// Asked to be withdrawn and not on the ledger yet, final or not: whoever asks for money back cannot spend it any more. And what is to be taken
    /// back because its deposit is gone.
    pub(super) async fn unbooked_withdrawals(
        &self,
        head: &LedgerHead,
    ) -> Result<BTreeMap<(Address, Address), U256>, StoreError> {
        unbooked_withdrawals(&self.tx, head).await
    }

    /// What the final operations of eons before this one come to, by token.
    pub async fn hub_backing(
        &mut self,
        hub: HubId,
        before: u64,
    ) -> Result<BTreeMap<Address, TokenBacking>, StoreError> {
        const PAGE: usize = 10_000;
        let sql = format!(
            "SELECT {OPERATION}, b.operation_id AS booked, b.short AS short FROM hub_operation o \
             LEFT JOIN hub_booking b ON b.operation_id = o.id \
             WHERE o.hub_id = $1 AND o.eon < $2 AND o.standing = 'final' AND o.kind <> 'withdrawal_confirmation' AND o.id > $3 \
             ORDER BY o.id LIMIT {PAGE}"
        );
        let mut sums: BTreeMap<Address, TokenBacking> = BTreeMap::new();
        let mut after = 0_i64;
        loop {
            let values = vec![hub.0.into(), int("hub_operation.eon", before)?.into(), after.into()];
            let rows = all(&self.tx, &sql, values).await?;
            for row in &rows {
                let new = operation(row)?;
                let booked: Option<i64> = row.try_get("", "booked")?;
                let short: Option<Vec<u8>> = row.try_get("", "short")?;
                let short = short.map_or(Ok(U256::ZERO), |bytes| u256("hub_booking.short", &bytes))?;
                let sum = sums.entry(new.token).or_default();
                let deposit = new.kind == HubOperationKind::Deposit;
                let (all, unbooked) = match deposit {
                    true => (&mut sum.deposited, &mut sum.unbooked_deposited),
                    false => (&mut sum.withdrawn, &mut sum.unbooked_withdrawn),
                };
                *all = all.saturating_add(new.amount);
                if booked.is_none() {
                    *unbooked = unbooked.saturating_add(new.amount);
                }
                sum.short = sum.short.saturating_add(short);
                after = new.id;
            }
            if rows.len() < PAGE {
                break;
            }
        }
        for debt in debts(&self.tx, hub).await?.into_iter().filter(|debt| debt.eon < before) {
            let sum = sums.entry(debt.token).or_default();
            sum.short = sum.short.saturating_add(debt.rest);
        }
        Ok(sums)
    }
}

async fn unbooked_withdrawals(
    db: &impl ConnectionTrait,
    head: &LedgerHead,
) -> Result<BTreeMap<(Address, Address), U256>, StoreError> {
    // Up to `told` everything that moves an admitted wallet is booked, and nothing that was orphaned is: whatever changes an operation there moves
    // `told` back in the same transaction.
    let sql = format!(
        "SELECT {OPERATION} FROM hub_operation o LEFT JOIN hub_booking b ON b.operation_id = o.id \
         WHERE o.hub_id = $1 AND o.block_number >= $2 AND (\
         (o.kind = 'withdrawal_request' AND o.standing <> 'orphaned' AND b.operation_id IS NULL) OR \
         (o.kind = 'deposit' AND o.standing = 'orphaned' AND b.operation_id IS NOT NULL AND b.short IS NULL))"
    );
    let mut leaving: BTreeMap<(Address, Address), U256> = BTreeMap::new();
    for row in all(db, &sql, vec![head.hub.0.into(), head.told.0.into()]).await? {
        let new = operation(&row)?;
        let sum = leaving.entry((new.token, new.wallet)).or_default();
        *sum = sum.saturating_add(new.amount);
    }
    for debt in debts(db, head.hub).await? {
        let sum = leaving.entry((debt.token, debt.wallet)).or_default();
        *sum = sum.saturating_add(debt.rest);
    }
    Ok(leaving)
}

impl Store {
    /// Whether [`Txn::follow_hub`] has something to do.
    pub async fn is_hub_ledger_behind(&self, hub: HubId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM hub h LEFT JOIN hub_ledger l ON l.hub_id = h.id WHERE h.id = $1 AND (\
                   EXISTS (SELECT 1 FROM hub_operation o WHERE o.hub_id = h.id AND o.standing = 'final' \
                   AND o.block_number >= COALESCE(l.told_block, -1) \
                   AND (o.block_number > COALESCE(l.told_block, -1) OR o.log_index > COALESCE(l.told_log, -1))) \
                   OR EXISTS (SELECT 1 FROM hub_checkpoint c WHERE c.hub_id = h.id AND c.eon > COALESCE(l.told_eon, 0) \
                   AND c.standing IN ('provisional', 'final')) \
                   OR EXISTS (SELECT 1 FROM hub_operation o JOIN hub_booking b ON b.operation_id = o.id WHERE o.hub_id = h.id \
                   AND o.standing = 'orphaned' AND o.block_number >= COALESCE(l.told_block, -1) \
                   AND (o.kind <> 'deposit' OR b.short IS NULL)))";
        Ok(!all(&self.db, sql, vec![hub.0.into()]).await?.is_empty())
    }

    /// What a wallet asked to withdraw and is not on the ledger yet.
    pub async fn hub_leaving(&self, head: &LedgerHead, token: Address, wallet: Address) -> Result<U256, StoreError> {
        let leaving = unbooked_withdrawals(&self.db, head).await?;
        Ok(leaving.get(&(token, wallet)).copied().unwrap_or_default())
    }

    /// Operations of a wallet at the contract in an eon, oldest first, whatever their standing except orphaned.
    pub async fn list_ledger_operations(
        &self,
        hub: HubId,
        (token, wallet): (Address, Address),
        eon: u64,
        limit: u64,
    ) -> Result<Vec<LedgerOperation>, StoreError> {
        let sql = format!(
            "SELECT {OPERATION} FROM hub_operation o WHERE o.hub_id = $1 AND o.eon = $2 AND o.token = $3 AND o.wallet = $4 \
             AND o.standing <> 'orphaned' ORDER BY o.block_number, o.log_index LIMIT {limit}"
        );
        let values = vec![
            hub.0.into(),
            int("hub_operation.eon", eon)?.into(),
            token.to_vec().into(),
            wallet.to_vec().into(),
        ];
        let rows = all(&self.db, &sql, values).await?;
        rows.iter().map(operation).collect()
    }

    /// Events of a hub after one, in their order. What the filter holds back moves the cursor: the second value is where to go on.
    pub async fn list_hub_events(
        &self,
        hub: HubId,
        after: i64,
        filter: &HubEventFilter,
        limit: u64,
    ) -> Result<(Vec<HubEvent>, i64), StoreError> {
        // One statement, and so one view: what commits later has a higher number.
        let sql = format!(
            "SELECT seq, kind, at_ms, eon, token, wallet, NULL AS recipient, amount, reference, NULL AS tx_id FROM hub_event \
             WHERE hub_id = $1 AND seq > $2 AND seq <= $2 + {limit} \
             UNION ALL SELECT x.seq, 'TRANSFER_CONFIRMATION', x.at_ms, x.eon, t.token, s.wallet, r.wallet, x.amount, NULL, x.tx_id \
             FROM hub_transfer x JOIN hub_token t ON t.id = x.token_id JOIN hub_wallet s ON s.id = x.sender \
             JOIN hub_wallet r ON r.id = x.recipient WHERE x.hub_id = $1 AND x.seq > $2 AND x.seq <= $2 + {limit} \
             ORDER BY seq LIMIT {limit}"
        );
        let rows = all(&self.db, &sql, vec![hub.0.into(), after.into()]).await?;
        let mut next = after;
        let mut events = Vec::new();
        for row in &rows {
            let event = event(row)?;
            next = event.seq;
            if filter.takes(&event) {
                events.push(event);
            }
        }
        Ok((events, next))
    }
}

impl HubEventFilter {
    fn takes(&self, event: &HubEvent) -> bool {
        let of_wallet = |wallet: Address| event.wallet == Some(wallet) || event.recipient == Some(wallet);
        // A checkpoint is everybody's.
        let common = event.token.is_none();
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (common || self.token.is_none_or(|token| event.token == Some(token)))
            && (common || self.wallet.is_none_or(of_wallet))
    }
}

fn event(row: &QueryResult) -> Result<HubEvent, StoreError> {
    let bytes = |column: &str| row.try_get::<Option<Vec<u8>>>("", column);
    let account = |column: &'static str| match bytes(column)? {
        Some(bytes) => address(column, &bytes).map(Some),
        None => Ok(None),
    };
    let tx_id: Option<String> = row.try_get("", "tx_id")?;
    let reference = bytes("reference")?.map(|bytes| format!("0x{}", hex::encode(bytes)));
    Ok(HubEvent {
        seq: row.try_get("", "seq")?,
        kind: name("hub_event.kind", &row.try_get::<String>("", "kind")?)?,
        at_ms: row.try_get("", "at_ms")?,
        eon: uint("hub_event.eon", row.try_get("", "eon")?)?,
        token: account("token")?,
        wallet: account("wallet")?,
        recipient: account("recipient")?,
        amount: bytes("amount")?
            .map(|bytes| u256("hub_event.amount", &bytes))
            .transpose()?,
        reference: tx_id.or(reference).unwrap_or_default(),
    })
}
