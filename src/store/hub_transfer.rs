//! Transfers between the wallets of a hub. The ledger's row is locked, so what is read here stays true until the commit; that nobody spends more
//! than came in is a constraint of the database besides.

use super::bulk::{Insert, Update, padded};
use super::codec::{address, b256, int, u256, u256_bytes, uint};
use super::hub_ledger::{HubToken, HubWallet, LedgerHead, Wallets, all, one, places};
use super::{HubId, NewEvent, Store, StoreError, Txn};
use crate::hub::model::eon::Eon;
use crate::hub::model::state::{ActiveState, Holder, check_signer};
use crate::hub::model::transfer::Transfer;
use crate::hub::model::tree::HashTree;
use alloy::primitives::{Address, B256, U256};
use sea_orm::{QueryResult, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What a sender signed with a transfer: everything it did actively in the eon, this transfer included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedState {
    pub set_root: B256,
    pub spent: U256,
    pub gained: U256,
    /// Hex r, s, v.
    pub signature: String,
}

/// A transfer that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTransfer {
    /// Unique in the hub: recorded again it moves nothing.
    pub tx_id: String,
    pub token: Address,
    pub sender: Address,
    pub recipient: Address,
    pub amount: U256,
    pub nonce: U256,
    pub signed: Option<SignedState>,
}

impl NewTransfer {
    /// Moves the same, whatever was signed with it.
    fn is_same(&self, other: &Self) -> bool {
        let moves = |one: &Self| (one.token, one.sender, one.recipient, one.amount, one.nonce);
        self.tx_id == other.tx_id && moves(self) == moves(other)
    }
}

/// Why a transfer is not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefusal {
    #[error("the hub has no token {0}")]
    Token(Address),
    #[error("wallet {0} is not admitted")]
    NotAdmitted(Address),
    #[error("a transfer moves something from one wallet to another")]
    Nothing,
    #[error("{wallet} has {available}, not {needed}")]
    Short {
        wallet: Address,
        available: U256,
        needed: U256,
    },
    #[error("id {0} is another transfer's")]
    IdTaken(String),
    #[error("nonce {0} of this sender is another transfer's in this eon")]
    NonceTaken(U256),
    #[error("the sender's active state is not of this transfer: {0}")]
    Signed(String),
}

/// What became of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferAnswer {
    Recorded,
    /// Recorded before.
    Known,
    Refused(TransferRefusal),
}

/// A recorded transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubTransfer {
    pub id: i64,
    pub tx_id: String,
    pub token: Address,
    pub token_trail: u64,
    pub eon: u64,
    pub sender: Address,
    pub sender_trail: u64,
    pub recipient: Address,
    pub recipient_trail: u64,
    pub amount: U256,
    pub nonce: U256,
    pub position: U256,
    pub at_ms: i64,
}

/// Which transfers are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferFilter {
    pub hub: HubId,
    pub id: Option<i64>,
    pub tx_id: Option<String>,
    pub eon: Option<u64>,
    pub nonce: Option<U256>,
    pub token: Option<Address>,
    /// Sender or recipient.
    pub wallet: Option<Address>,
}

/// What an account did in an eon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalletEon {
    pub received: U256,
    pub sent: U256,
    pub deposited: U256,
    pub withdrawn: U256,
    /// Position of the last transfer it sent on its recipient's line.
    pub marker: U256,
    /// Checksum of the last state it signed.
    pub active_state: Option<B256>,
}

impl WalletEon {
    pub(super) fn decode(row: &QueryResult) -> Result<Self, StoreError> {
        let number = |column: &'static str| u256(column, &row.try_get::<Vec<u8>>("", column)?);
        let active: Option<Vec<u8>> = row.try_get("", "active_state")?;
        Ok(Self {
            received: number("received")?,
            sent: number("sent")?,
            deposited: number("deposited")?,
            withdrawn: number("withdrawn")?,
            marker: number("marker")?,
            active_state: active.map(|bytes| b256("active_state", &bytes)).transpose()?,
        })
    }
}

pub(super) const WALLET_EON: &str = "received, sent, deposited, withdrawn, marker, active_state";

const TRANSFERS: Insert = Insert {
    table: "hub_transfer",
    columns: &[
        "hub_id",
        "token_id",
        "tx_id",
        "eon",
        "sender",
        "recipient",
        "amount",
        "nonce",
        "position",
        "signed_set",
        "signed_spent",
        "signed_gained",
        "signature",
        "seq",
        "at_ms",
    ],
    constants: &[],
    tail: "",
};

const EONS: Insert = Insert {
    table: "hub_wallet_eon",
    columns: &[
        "wallet_id",
        "eon",
        "received",
        "sent",
        "deposited",
        "withdrawn",
        "marker",
        "active_state",
    ],
    constants: &[],
    tail: "ON CONFLICT (wallet_id, eon) DO UPDATE SET received = excluded.received, sent = excluded.sent, \
           deposited = excluded.deposited, withdrawn = excluded.withdrawn, marker = excluded.marker, active_state = excluded.active_state",
};

const TOTALS: Update = Update {
    columns: "id, gained, spent",
    update: "UPDATE hub_wallet SET gained = v.gained, spent = v.spent FROM v WHERE hub_wallet.id = v.id",
};

/// Accounts as a transaction changes them.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub wallets: Wallets,
    /// By account row and eon.
    pub eons: BTreeMap<(i64, u64), WalletEon>,
    changed: BTreeSet<(i64, Address)>,
    changed_eons: BTreeSet<(i64, u64)>,
}

impl Accounts {
    /// The account and what it did in the eon, both marked as changed.
    pub fn touch(&mut self, key: (i64, Address), eon: u64) -> Option<(&mut HubWallet, &mut WalletEon)> {
        let wallet = self.wallets.get_mut(&key)?;
        let at = (wallet.id, eon);
        self.changed.insert(key);
        self.changed_eons.insert(at);
        Some((wallet, self.eons.entry(at).or_default()))
    }

    pub async fn save(self, txn: &Txn) -> Result<(), StoreError> {
        let mut rows: Vec<Vec<Value>> = Vec::new();
        for wallet in self.changed.iter().filter_map(|key| self.wallets.get(key)) {
            rows.push(vec![
                wallet.id.into(),
                u256_bytes(wallet.gained).into(),
                u256_bytes(wallet.spent).into(),
            ]);
        }
        TOTALS.run(&txn.tx, rows).await?;
        let mut rows: Vec<Vec<Value>> = Vec::new();
        for (wallet, eon) in &self.changed_eons {
            let Some(did) = self.eons.get(&(*wallet, *eon)) else {
                continue;
            };
            rows.push(vec![
                (*wallet).into(),
                int("hub_wallet_eon.eon", *eon)?.into(),
                u256_bytes(did.received).into(),
                u256_bytes(did.sent).into(),
                u256_bytes(did.deposited).into(),
                u256_bytes(did.withdrawn).into(),
                u256_bytes(did.marker).into(),
                did.active_state.map(|hash| hash.to_vec()).into(),
            ]);
        }
        EONS.run(&txn.tx, rows).await?;
        Ok(())
    }
}

impl Txn {
    /// Accounts with what they did in an eon.
    pub(super) async fn hub_accounts(
        &self,
        wanted: &BTreeMap<i64, Vec<Address>>,
        eons: &BTreeSet<u64>,
    ) -> Result<Accounts, StoreError> {
        let wallets = self.hub_wallets(wanted).await?;
        let ids: Vec<i64> = wallets.values().map(|wallet| wallet.id).collect();
        let mut found = BTreeMap::new();
        for eon in eons {
            for chunk in ids.chunks(256) {
                let list = padded(chunk.to_vec());
                let sql = format!(
                    "SELECT wallet_id, {WALLET_EON} FROM hub_wallet_eon WHERE eon = $1 AND wallet_id IN ({})",
                    places(2, list.len())
                );
                let mut values: Vec<Value> = vec![int("hub_wallet_eon.eon", *eon)?.into()];
                values.extend(list.into_iter().map(Value::from));
                for row in all(&self.tx, &sql, values).await? {
                    found.insert((row.try_get("", "wallet_id")?, *eon), WalletEon::decode(&row)?);
                }
            }
        }
        Ok(Accounts {
            wallets,
            eons: found,
            ..Accounts::default()
        })
    }

    /// Records transfers in this order, each taken or refused by itself. The head is locked, and `eon` is not closed.
    pub async fn record_hub_transfers(
        &mut self,
        head: &mut LedgerHead,
        contract: Address,
        eon: u64,
        transfers: &[NewTransfer],
    ) -> Result<Vec<TransferAnswer>, StoreError> {
        let tokens: BTreeMap<Address, HubToken> = self
            .hub_tokens(head.hub)
            .await?
            .into_iter()
            .map(|token| (token.token, token))
            .collect();
        let mut wanted: BTreeMap<i64, BTreeSet<Address>> = BTreeMap::new();
        for new in transfers {
            if let Some(token) = tokens.get(&new.token) {
                wanted.entry(token.id).or_default().extend([new.sender, new.recipient]);
            }
        }
        let wanted = wanted
            .into_iter()
            .map(|(token, wallets)| (token, wallets.into_iter().collect()))
            .collect();
        let accounts = self.hub_accounts(&wanted, &BTreeSet::from([eon])).await?;
        let mut recording = Recording {
            contract,
            eon,
            known: self.known_transfers(head.hub, transfers).await?,
            nonces: self.used_nonces(eon, &accounts, transfers).await?,
            leaving: self.unbooked_withdrawals(head).await?,
            sets: self.signed_sets(eon, &tokens, &accounts, transfers).await?,
            tokens,
            accounts,
            rows: Vec::new(),
        };
        let mut answers = Vec::with_capacity(transfers.len());
        for new in transfers {
            let answer = recording.judge(new);
            if answer == TransferAnswer::Recorded {
                recording.push(head, new, self.now_ms)?;
            }
            answers.push(answer);
        }
        let recorded = recording.rows.len();
        TRANSFERS.run(&self.tx, recording.rows).await?;
        recording.accounts.save(self).await?;
        if recorded > 0 {
            self.record(NewEvent {
                aggregate: "hub",
                aggregate_id: head.hub.to_string(),
                event: "record_transfers".into(),
                cause: format!("{recorded} of eon {eon}"),
                coordinator_id: head.coordinator.clone(),
                ..NewEvent::default()
            });
        }
        Ok(answers)
    }

    /// The answer when every one of these transfers was recorded before.
    pub async fn known_hub_transfers(
        &mut self,
        hub: HubId,
        transfers: &[NewTransfer],
    ) -> Result<Option<Vec<TransferAnswer>>, StoreError> {
        let known = self.known_transfers(hub, transfers).await?;
        let same = |new: &NewTransfer| known.get(&new.tx_id).is_some_and(|known| new.is_same(known));
        let all = transfers.iter().all(same);
        Ok(all.then(|| vec![TransferAnswer::Known; transfers.len()]))
    }

    async fn known_transfers(
        &self,
        hub: HubId,
        new: &[NewTransfer],
    ) -> Result<BTreeMap<String, NewTransfer>, StoreError> {
        let mut known = BTreeMap::new();
        for chunk in new.chunks(256) {
            let ids = padded(chunk.iter().map(|new| new.tx_id.clone()).collect());
            let sql = format!("{SELECT} WHERE x.hub_id = $1 AND x.tx_id IN ({})", places(2, ids.len()));
            let mut values: Vec<Value> = vec![hub.0.into()];
            values.extend(ids.into_iter().map(Value::from));
            for row in all(&self.tx, &sql, values).await? {
                let found = decode(&row)?;
                let found = NewTransfer {
                    tx_id: found.tx_id,
                    token: found.token,
                    sender: found.sender,
                    recipient: found.recipient,
                    amount: found.amount,
                    nonce: found.nonce,
                    signed: None,
                };
                known.insert(found.tx_id.clone(), found);
            }
        }
        Ok(known)
    }

    async fn used_nonces(
        &self,
        eon: u64,
        accounts: &Accounts,
        new: &[NewTransfer],
    ) -> Result<BTreeSet<(i64, U256)>, StoreError> {
        let mut by_address: BTreeMap<Address, Vec<i64>> = BTreeMap::new();
        for wallet in accounts.wallets.values() {
            by_address.entry(wallet.wallet).or_default().push(wallet.id);
        }
        let mut used = BTreeSet::new();
        // Of the senders and nonces of a few transfers at a time: some pairs more than are asked for, however much a sender has sent.
        for chunk in new.chunks(128) {
            let accounts = chunk.iter().filter_map(|new| by_address.get(&new.sender));
            let senders: BTreeSet<i64> = accounts.flatten().copied().collect();
            if senders.is_empty() {
                continue;
            }
            let senders = padded(senders.into_iter().collect::<Vec<_>>());
            let nonces = padded(chunk.iter().map(|new| u256_bytes(new.nonce)).collect::<Vec<_>>());
            let sql = format!(
                "SELECT sender, nonce FROM hub_transfer WHERE eon = $1 AND sender IN ({}) AND nonce IN ({})",
                places(2, senders.len()),
                places(senders.len().saturating_add(2), nonces.len())
            );
            let mut values: Vec<Value> = vec![int("hub_transfer.eon", eon)?.into()];
            values.extend(senders.into_iter().map(Value::from));
            values.extend(nonces.into_iter().map(Value::from));
            for row in all(&self.tx, &sql, values).await? {
                let nonce = u256("hub_transfer.nonce", &row.try_get::<Vec<u8>>("", "nonce")?)?;
                used.insert((row.try_get("", "sender")?, nonce));
            }
        }
        Ok(used)
    }

    /// The transfers each sender that signs has sent in the eon, as they stand in its set.
    async fn signed_sets(
        &self,
        eon: u64,
        tokens: &BTreeMap<Address, HubToken>,
        accounts: &Accounts,
        new: &[NewTransfer],
    ) -> Result<BTreeMap<i64, Vec<B256>>, StoreError> {
        let mut sets = BTreeMap::new();
        for signing in new.iter().filter(|new| new.signed.is_some()) {
            let token = tokens.get(&signing.token).map(|token| token.id).unwrap_or_default();
            let Some(sender) = accounts.wallets.get(&(token, signing.sender)) else {
                continue;
            };
            if sets.contains_key(&sender.id) {
                continue;
            }
            let sql = format!("{SELECT} WHERE x.sender = $1 AND x.eon = $2 ORDER BY x.id");
            let values = vec![sender.id.into(), int("hub_transfer.eon", eon)?.into()];
            let mut set = Vec::new();
            for row in all(&self.tx, &sql, values).await? {
                set.push(decode(&row)?.sent_checksum());
            }
            sets.insert(sender.id, set);
        }
        Ok(sets)
    }
}

/// Transfers on their way into the ledger.
struct Recording {
    contract: Address,
    eon: u64,
    tokens: BTreeMap<Address, HubToken>,
    accounts: Accounts,
    known: BTreeMap<String, NewTransfer>,
    nonces: BTreeSet<(i64, U256)>,
    /// Asked to be withdrawn and not booked yet, by token and wallet.
    leaving: BTreeMap<(Address, Address), U256>,
    sets: BTreeMap<i64, Vec<B256>>,
    rows: Vec<Vec<Value>>,
}

impl Recording {
    fn judge(&self, new: &NewTransfer) -> TransferAnswer {
        if let Some(known) = self.known.get(&new.tx_id) {
            return match new.is_same(known) {
                true => TransferAnswer::Known,
                false => TransferAnswer::Refused(TransferRefusal::IdTaken(new.tx_id.clone())),
            };
        }
        match self.check(new) {
            Ok(()) => TransferAnswer::Recorded,
            Err(refusal) => TransferAnswer::Refused(refusal),
        }
    }

    fn account(&self, new: &NewTransfer, wallet: Address) -> Result<&HubWallet, TransferRefusal> {
        let token = self.tokens.get(&new.token).ok_or(TransferRefusal::Token(new.token))?;
        let found = self.accounts.wallets.get(&(token.id, wallet));
        found.ok_or(TransferRefusal::NotAdmitted(wallet))
    }

    fn check(&self, new: &NewTransfer) -> Result<(), TransferRefusal> {
        let (sender, recipient) = (self.account(new, new.sender)?, self.account(new, new.recipient)?);
        if new.amount.is_zero() || new.sender == new.recipient {
            return Err(TransferRefusal::Nothing);
        }
        if self.nonces.contains(&(sender.id, new.nonce)) {
            return Err(TransferRefusal::NonceTaken(new.nonce));
        }
        let leaving = self.leaving.get(&(new.token, new.sender)).copied().unwrap_or_default();
        let available = sender.balance().saturating_sub(leaving);
        if available < new.amount || recipient.gained.checked_add(new.amount).is_none() {
            return Err(TransferRefusal::Short {
                wallet: new.sender,
                available,
                needed: new.amount,
            });
        }
        match &new.signed {
            Some(signed) => self.check_signed(new, sender, recipient, signed).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Checksum of the state, if it is the one that follows from what the sender did and the sender signed it.
    fn check_signed(
        &self,
        new: &NewTransfer,
        sender: &HubWallet,
        recipient: &HubWallet,
        signed: &SignedState,
    ) -> Result<B256, TransferRefusal> {
        let wrong = |what: String| TransferRefusal::Signed(what);
        let did = self
            .accounts
            .eons
            .get(&(sender.id, self.eon))
            .copied()
            .unwrap_or_default();
        let spent = did.sent.saturating_add(new.amount);
        if signed.spent != spent || !signed.gained.is_zero() {
            return Err(wrong(format!("it has spent {spent} and gained 0 actively")));
        }
        let mut set = self.sets.get(&sender.id).cloned().unwrap_or_default();
        set.push(sent_checksum(new.recipient, new.amount, recipient.trail, new.nonce));
        let tree = HashTree::new(set).map_err(|error| wrong(error.to_string()))?;
        if tree.root() != signed.set_root {
            return Err(wrong(format!("the root over its transfers is {}", tree.root())));
        }
        let state = ActiveState {
            holder: Holder {
                contract: self.contract,
                token: new.token,
                wallet: new.sender,
            },
            trail: sender.trail,
            eon: Eon(self.eon),
            tx_set_root: signed.set_root,
            spent,
            gained: U256::ZERO,
        };
        let checksum = state.checksum();
        check_signer(checksum, &signed.signature, new.sender).map_err(|error| wrong(error.to_string()))?;
        Ok(checksum)
    }

    /// Moves what [`Recording::judge`] has found movable.
    fn push(&mut self, head: &mut LedgerHead, new: &NewTransfer, now_ms: i64) -> Result<(), StoreError> {
        let gone = || StoreError::Conflict {
            what: "a wallet of a hub".into(),
        };
        let token = self.tokens.get(&new.token).map(|token| token.id).ok_or_else(gone)?;
        let active = match (
            &new.signed,
            self.account(new, new.sender),
            self.account(new, new.recipient),
        ) {
            (Some(signed), Ok(from), Ok(to)) => self.check_signed(new, from, to, signed).ok(),
            _ => None,
        };
        let (recipient, did) = self.accounts.touch((token, new.recipient), self.eon).ok_or_else(gone)?;
        let (recipient_id, recipient_trail, position) = (recipient.id, recipient.trail, did.received);
        recipient.gained = recipient.gained.checked_add(new.amount).ok_or_else(gone)?;
        did.received = did.received.checked_add(new.amount).ok_or_else(gone)?;
        let (sender, did) = self.accounts.touch((token, new.sender), self.eon).ok_or_else(gone)?;
        let sender_id = sender.id;
        sender.spent = sender.spent.checked_add(new.amount).ok_or_else(gone)?;
        did.sent = did.sent.checked_add(new.amount).ok_or_else(gone)?;
        did.marker = position;
        did.active_state = active.or(did.active_state);
        self.nonces.insert((sender_id, new.nonce));
        if let Some(set) = self.sets.get_mut(&sender_id) {
            set.push(sent_checksum(new.recipient, new.amount, recipient_trail, new.nonce));
        }
        self.known.insert(
            new.tx_id.clone(),
            NewTransfer {
                signed: None,
                ..new.clone()
            },
        );
        let signed = new.signed.as_ref();
        self.rows.push(vec![
            head.hub.0.into(),
            token.into(),
            new.tx_id.clone().into(),
            int("hub_transfer.eon", self.eon)?.into(),
            sender_id.into(),
            recipient_id.into(),
            u256_bytes(new.amount).into(),
            u256_bytes(new.nonce).into(),
            u256_bytes(position).into(),
            signed.map(|signed| signed.set_root.to_vec()).into(),
            signed.map(|signed| u256_bytes(signed.spent)).into(),
            signed.map(|signed| u256_bytes(signed.gained)).into(),
            signed.map(|signed| signed.signature.clone()).into(),
            head.take_seq().into(),
            now_ms.into(),
        ]);
        Ok(())
    }
}

/// As the sender's set holds it: it does not know the position when it signs.
fn sent_checksum(recipient: Address, amount: U256, recipient_trail: u64, nonce: U256) -> B256 {
    let transfer = Transfer {
        counterparty: recipient,
        amount,
        recipient_trail,
        nonce,
    };
    transfer.passive_checksum(None)
}

impl HubTransfer {
    /// As the sender's set of the eon holds it.
    pub fn sent_checksum(&self) -> B256 {
        sent_checksum(self.recipient, self.amount, self.recipient_trail, self.nonce)
    }

    /// As the recipient's passive set of the eon holds it.
    pub fn received_checksum(&self) -> B256 {
        let transfer = Transfer {
            counterparty: self.sender,
            amount: self.amount,
            recipient_trail: self.recipient_trail,
            nonce: self.nonce,
        };
        transfer.passive_checksum(Some(self.position))
    }
}

const SELECT: &str = "SELECT x.id, x.tx_id, t.token, t.trail AS token_trail, x.eon, s.wallet AS sender, s.trail AS sender_trail, \
    r.wallet AS recipient, r.trail AS recipient_trail, x.amount, x.nonce, x.position, x.at_ms \
    FROM hub_transfer x JOIN hub_token t ON t.id = x.token_id JOIN hub_wallet s ON s.id = x.sender JOIN hub_wallet r ON r.id = x.recipient";

fn decode(row: &QueryResult) -> Result<HubTransfer, StoreError> {
    let bytes = |column: &str| row.try_get::<Vec<u8>>("", column);
    let trail = |column: &'static str| uint(column, row.try_get("", column)?);
    Ok(HubTransfer {
        id: row.try_get("", "id")?,
        tx_id: row.try_get("", "tx_id")?,
        token: address("hub_token.token", &bytes("token")?)?,
        token_trail: trail("token_trail")?,
        eon: trail("eon")?,
        sender: address("hub_wallet.wallet", &bytes("sender")?)?,
        sender_trail: trail("sender_trail")?,
        recipient: address("hub_wallet.wallet", &bytes("recipient")?)?,
        recipient_trail: trail("recipient_trail")?,
        amount: u256("hub_transfer.amount", &bytes("amount")?)?,
        nonce: u256("hub_transfer.nonce", &bytes("nonce")?)?,
        position: u256("hub_transfer.position", &bytes("position")?)?,
        at_ms: row.try_get("", "at_ms")?,
    })
}

impl TransferFilter {
    /// All of a hub.
    pub fn of(hub: HubId) -> Self {
        Self {
            hub,
            id: None,
            tx_id: None,
            eon: None,
            nonce: None,
            token: None,
            wallet: None,
        }
    }

    /// Condition and values.
    fn sql(&self) -> Result<(String, Vec<Value>), StoreError> {
        let mut sql = "x.hub_id = $1".to_owned();
        let mut values: Vec<Value> = vec![self.hub.0.into()];
        let mut with = |condition: &str, value: Value| {
            values.push(value);
            sql.push_str(&format!(
                " AND {}",
                condition.replace('?', &format!("${}", values.len()))
            ));
        };
        if let Some(id) = self.id {
            with("x.id = ?", id.into());
        }
        if let Some(tx_id) = &self.tx_id {
            with("x.tx_id = ?", tx_id.as_str().into());
        }
        if let Some(eon) = self.eon {
            with("x.eon = ?", int("hub_transfer.eon", eon)?.into());
        }
        if let Some(nonce) = self.nonce {
            with("x.nonce = ?", u256_bytes(nonce).into());
        }
        if let Some(token) = self.token {
            with("t.token = ?", token.to_vec().into());
        }
        if let Some(wallet) = self.wallet {
            // Accounts first, so that the indices over sender and recipient lead to the transfers.
            let accounts = "SELECT w.id FROM hub_wallet w JOIN hub_token o ON o.id = w.token_id WHERE o.hub_id = x.hub_id AND w.wallet = ?";
            let either = format!("(x.sender IN ({accounts}) OR x.recipient IN ({accounts}))");
            with(&either, wallet.to_vec().into());
        }
        Ok((sql, values))
    }
}

impl Store {
    /// Newest first, from below row `before` on.
    pub async fn list_hub_transfers(
        &self,
        filter: &TransferFilter,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<HubTransfer>, StoreError> {
        let (mut condition, mut values) = filter.sql()?;
        if let Some(before) = before {
            values.push(before.into());
            condition.push_str(&format!(" AND x.id < ${}", values.len()));
        }
        let sql = format!("{SELECT} WHERE {condition} ORDER BY x.id DESC LIMIT {limit}");
        let rows = all(&self.db, &sql, values).await?;
        rows.iter().map(decode).collect()
    }

    pub async fn count_hub_transfers(&self, filter: &TransferFilter) -> Result<u64, StoreError> {
        let (condition, values) = filter.sql()?;
        let sql =
            format!("SELECT COUNT(*) AS n FROM hub_transfer x JOIN hub_token t ON t.id = x.token_id WHERE {condition}");
        let row = one(&self.db, &sql, values).await?;
        uint("count", row.map_or(Ok(0), |row| row.try_get("", "n"))?)
    }

    /// Transfers of a token in an eon in the order of recipients and positions, after one; each with its recipient's row.
    pub async fn page_received(
        &self,
        token: i64,
        eon: u64,
        after: Option<(i64, U256)>,
        limit: u64,
    ) -> Result<Vec<(i64, HubTransfer)>, StoreError> {
        let mut values: Vec<Value> = vec![token.into(), int("hub_transfer.eon", eon)?.into()];
        let mut condition = "x.token_id = $1 AND x.eon = $2".to_owned();
        if let Some((recipient, position)) = after {
            values.extend([recipient.into(), u256_bytes(position).into()]);
            condition.push_str(" AND (x.recipient > $3 OR (x.recipient = $3 AND x.position > $4))");
        }
        let select = SELECT.replacen("SELECT ", "SELECT x.recipient AS account, ", 1);
        let sql = format!("{select} WHERE {condition} ORDER BY x.recipient, x.position LIMIT {limit}");
        let rows = all(&self.db, &sql, values).await?;
        rows.iter()
            .map(|row| Ok((row.try_get("", "account")?, decode(row)?)))
            .collect()
    }

    /// Everything an account received in an eon, in the order of positions.
    pub async fn list_received(&self, wallet: i64, eon: u64) -> Result<Vec<HubTransfer>, StoreError> {
        let sql = format!("{SELECT} WHERE x.recipient = $1 AND x.eon = $2 ORDER BY x.position");
        let values = vec![wallet.into(), int("hub_transfer.eon", eon)?.into()];
        let rows = all(&self.db, &sql, values).await?;
        rows.iter().map(decode).collect()
    }
}
