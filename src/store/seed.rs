//! Test and bench data: fills a database with settled and open settlements, as many as a machine can hold, with the rows a real run would have
//! left. The database makes the rows itself, so that a million of them take minutes and not hours. Not used by the product.
//!
//! What is made is consistent (books balance, states fit, `seq` is gap-free) but signed by nobody: authorizations are zeros and ids are
//! counters in disguise, so nothing open may be sent to a chain.

use super::account::LockedAccount;
use super::codec::int;
use super::{Store, StoreError, Txn};
use crate::ledger::{AccountKey, Asset, Balance};
use crate::settlement::ChainId;
use alloy::primitives::{Address, B256, U256};
use sea_orm::{ConnectionTrait, DbBackend};
use std::collections::BTreeMap;

/// What to fill in. Call again with another `first` (and payer, if you like) to add more.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Number of the first settlement; numbers name ids, nonces, jobs and receipts and may not be used twice.
    pub first: u64,
    /// Settlements that were paid long ago, with messages, dispatches, executions, transactions, logs and postings.
    pub settled: u64,
    /// Accepted settlements after those, with their reservations.
    pub open: u64,
    /// Open ones are not batched before this, Unix ms.
    pub batch_after: i64,
    pub coordinator_id: String,
    pub source: ChainId,
    pub target: ChainId,
    pub outbox: Address,
    pub inbox: Address,
    pub token: Address,
    pub payer: Address,
    pub payee: Address,
    pub signer: Address,
    pub bridge: String,
    pub amount: u64,
    pub fee: u64,
    /// Settlements of one message.
    pub per_message: u64,
    /// When the first settlement was accepted, Unix ms; each is a millisecond younger than the one before.
    pub accepted_at: i64,
    /// Deadline of the settled ones and of the open ones, Unix seconds.
    pub deadlines: (u64, u64),
    /// Also the history of every settlement, in the event table: the largest part of a real database.
    pub events: bool,
}

impl Seed {
    pub fn new(settled: u64, open: u64) -> Self {
        Self {
            first: 1,
            settled,
            open,
            batch_after: 0,
            coordinator_id: "coordinator".into(),
            source: ChainId(31_337),
            target: ChainId(31_338),
            outbox: Address::repeat_byte(0x0b),
            inbox: Address::repeat_byte(0x1b),
            token: Address::repeat_byte(0x70),
            payer: Address::repeat_byte(0xaa),
            payee: Address::repeat_byte(0xbb),
            signer: Address::repeat_byte(0x51),
            bridge: "layerzero".into(),
            amount: 100,
            fee: 1,
            per_message: 128,
            accepted_at: 1_000_000,
            deadlines: (2_000_000, 4_000_000_000),
            events: true,
        }
    }
}

/// Settlements of one transaction.
const CHUNK: u64 = 16_384;

/// Row numbers of accounts the postings name.
struct Accounts {
    available: i64,
    reserved: i64,
    payee: i64,
    income: i64,
}

/// Numbers `from..=to` of settlements or messages, and how to write them down in this database.
struct Rows<'a> {
    seed: &'a Seed,
    backend: DbBackend,
    from: u64,
    to: u64,
}

impl Store {
    /// Fills in; `progress` hears the number of settlements made so far. Needs a deposit for nobody: the payer's is booked here.
    pub async fn fill(&self, seed: &Seed, mut progress: impl FnMut(u64)) -> Result<(), StoreError> {
        let end = seed.first.saturating_add(seed.settled);
        let mut from = seed.first;
        // Whole messages per chunk, so that every message finds all of its members.
        let step = (CHUNK / seed.per_message.max(1))
            .max(1)
            .saturating_mul(seed.per_message.max(1));
        while from < end {
            let to = end.min(from.saturating_add(step));
            self.fill_chunk(seed, from, to, true).await?;
            from = to;
            progress(from.saturating_sub(seed.first));
        }
        let end = end.saturating_add(seed.open);
        while from < end {
            let to = end.min(from.saturating_add(CHUNK));
            self.fill_chunk(seed, from, to, false).await?;
            from = to;
            progress(from.saturating_sub(seed.first));
        }
        Ok(())
    }

    /// Numbers `from..to`, all settled or all open.
    async fn fill_chunk(&self, seed: &Seed, from: u64, to: u64, settled: bool) -> Result<(), StoreError> {
        let txn = self.begin(seed.accepted_at).await?;
        let rows = Rows {
            seed,
            backend: txn.tx.get_database_backend(),
            from,
            to: to.saturating_sub(1),
        };
        let accounts = txn.book(seed, to.saturating_sub(from), settled).await?;
        let mut statements = vec![rows.settlements(settled), rows.receipts()];
        statements.extend(rows.postings(&accounts, settled));
        if settled {
            let first_message = txn.reserve_counter("seed_message", rows.messages() as i64).await?;
            statements.extend(rows.carriage(first_message));
        }
        if seed.events {
            let names: &[(&str, &str, &str)] = if settled { SETTLED_EVENTS } else { &SETTLED_EVENTS[..1] };
            let count = to.saturating_sub(from).saturating_mul(names.len() as u64);
            let first_seq = txn.reserve_counter("event_seq", count as i64).await?;
            statements.extend(rows.events(names, first_seq));
        }
        for statement in statements {
            txn.tx.execute_unprepared(&statement).await?;
        }
        txn.commit().await?;
        Ok(())
    }
}

impl Txn {
    /// Totals of the accounts as the postings of `count` settlements and the deposit they need leave them.
    async fn book(&self, seed: &Seed, count: u64, settled: bool) -> Result<Accounts, StoreError> {
        let asset = Asset {
            chain: seed.target,
            token: seed.token,
        };
        let external = AccountKey::external(asset);
        let available = AccountKey::available(asset, seed.payer);
        let reserved = AccountKey::reserved(asset, seed.payer);
        let (payee, income) = (AccountKey::payee(asset, seed.payee), AccountKey::fees_income(asset));
        let keys = [external, available, reserved, payee, income].into_iter().collect();
        let mut locked = self.lock_accounts(&keys).await?;
        let all = |each: u64| U256::from(each).saturating_mul(U256::from(count));
        let (amounts, fees) = (all(seed.amount), all(seed.fee));
        let total = amounts.saturating_add(fees);
        let mut moves = vec![(external, available, total), (available, reserved, total)];
        if settled {
            moves.extend([(reserved, payee, amounts), (reserved, income, fees)]);
        }
        let mut totals: BTreeMap<AccountKey, Balance> =
            locked.iter().map(|(key, account)| (*key, account.balance)).collect();
        for (debit, credit, amount) in moves {
            let debited = totals.entry(debit).or_default();
            debited.debits = debited.debits.saturating_add(amount);
            let credited = totals.entry(credit).or_default();
            credited.credits = credited.credits.saturating_add(amount);
        }
        self.write_accounts(&mut locked, totals).await?;
        let row = |key: &AccountKey| locked.get(key).map_or(0, |account: &LockedAccount| account.row);
        let deposit = format!(
            "INSERT INTO posting (debit_account, credit_account, amount, cause_kind, cause_ref, at_ms) \
             SELECT {}, {}, {}, 'deposit', 'seed:' || (COALESCE(MAX(id), 0) + 1), {} FROM posting",
            row(&external),
            row(&available),
            literal(self.tx.get_database_backend(), &total.to_be_bytes::<32>()),
            seed.accepted_at,
        );
        self.tx.execute_unprepared(&deposit).await?;
        Ok(Accounts {
            available: row(&available),
            reserved: row(&reserved),
            payee: row(&payee),
            income: row(&income),
        })
    }
}

/// (event, from, to) of a settlement that went straight through.
const SETTLED_EVENTS: &[(&str, &str, &str)] = &[
    ("accept", "", "accepted"),
    ("seal", "accepted", "batched"),
    ("dispatch", "batched", "dispatched"),
    ("deliver", "dispatched", "delivered"),
    ("pay", "delivered", "settled"),
];

fn literal(backend: DbBackend, bytes: &[u8]) -> String {
    let hex = alloy::hex::encode(bytes);
    match backend {
        DbBackend::Postgres => format!("decode('{hex}', 'hex')"),
        _ => format!("x'{hex}'"),
    }
}

impl Rows<'_> {
    fn series(from: u64, to: u64) -> String {
        format!("WITH RECURSIVE s(i) AS (SELECT CAST({from} AS BIGINT) UNION ALL SELECT i + 1 FROM s WHERE i < {to}) ")
    }

    fn literal(&self, bytes: &[u8]) -> String {
        literal(self.backend, bytes)
    }

    /// Hex digits of a number.
    fn hex(&self, number: &str, width: usize) -> String {
        match self.backend {
            DbBackend::Postgres => format!("lpad(to_hex({number}), {width}, '0')"),
            _ => format!("printf('%0{width}x', {number})"),
        }
    }

    fn bytes(&self, hex: &str) -> String {
        match self.backend {
            DbBackend::Postgres => format!("decode({hex}, 'hex')"),
            _ => format!("unhex({hex})"),
        }
    }

    /// 64 hex digits that differ for every (tag, number) and are scattered as hashes are: a multiplicative hash below 2^32 comes first.
    fn hash_hex(&self, tag: u8, number: &str) -> String {
        let scattered = self.hex(&format!("({number} * 2654435761) % 4294967296"), 8);
        format!("({scattered} || '{tag:02x}' || {})", self.hex(number, 54))
    }

    fn hash(&self, tag: u8, number: &str) -> String {
        self.bytes(&self.hash_hex(tag, number))
    }

    fn word(&self, number: &str) -> String {
        self.bytes(&self.hex(number, 64))
    }

    fn text(value: &str) -> String {
        format!("'{}'", value.replace('\'', "''"))
    }

    fn messages(&self) -> u64 {
        let count = self.to.saturating_sub(self.from).saturating_add(1);
        count.div_ceil(self.seed.per_message.max(1))
    }

    fn settlements(&self, settled: bool) -> String {
        let seed = self.seed;
        let at = format!("{} + i - {}", seed.accepted_at, seed.first);
        let (deadline, state, batched, ended) = if settled {
            (seed.deadlines.0, "settled", 1, at.clone())
        } else {
            (seed.deadlines.1, "accepted", 0, "NULL".to_owned())
        };
        let proof = if settled {
            format!(
                "1 + i / 128, {}, {}",
                self.hash(BLOCK, "(i / 128)"),
                self.hash(EXECUTION_TX, "(i / 128)")
            )
        } else {
            "NULL, NULL, NULL".to_owned()
        };
        format!(
            "{series}INSERT INTO settlement (settlement_id, coordinator_id, trace_id, source_chain, target_chain, inbox, job_hash, \
             receipt_hash, proof_hash, payer, payee, token, amount, fee, nonce, deadline, auth, auth_kind, revocable, tier, \
             fee_recipient, state, batch_after, batched_times, accepted_at, updated_at, ended_at, evidence_chain_block, \
             evidence_block_hash, evidence_tx, version, lease_until, lease_token) \
             SELECT {id}, {coordinator}, 'trace-' || i, {source}, {target}, {inbox}, {job}, {receipt}, {zero}, {payer}, {payee}, \
             {token}, {amount}, {fee}, {nonce}, {deadline}, {auth}, 'ecdsa', FALSE, 1, {recipient}, '{state}', {batch_after}, \
             {batched}, {at}, {at}, {ended}, {proof}, 0, 0, 0 FROM s",
            series = Self::series(self.from, self.to),
            id = self.hash(SETTLEMENT, "i"),
            coordinator = Self::text(&seed.coordinator_id),
            source = seed.source.0,
            target = seed.target.0,
            inbox = self.literal(seed.inbox.as_slice()),
            job = self.hash(JOB, "i"),
            receipt = self.hash(RECEIPT, "i"),
            zero = self.literal(B256::ZERO.as_slice()),
            payer = self.literal(seed.payer.as_slice()),
            payee = self.literal(seed.payee.as_slice()),
            token = self.literal(seed.token.as_slice()),
            amount = self.literal(&U256::from(seed.amount).to_be_bytes::<32>()),
            fee = self.literal(&U256::from(seed.fee).to_be_bytes::<32>()),
            nonce = self.word("i"),
            auth = self.literal(&[0; 65]),
            recipient = self.literal(Address::repeat_byte(0xfe).as_slice()),
            batch_after = seed.batch_after,
        )
    }

    fn receipts(&self) -> String {
        format!(
            "{}INSERT INTO settlement_receipt (settlement_id, position, coordinator_id, receipt_hash, receipt_id, job_id, provider, \
             price, holds) SELECT {}, 0, {}, {}, 'receipt-' || i, 'job-' || i, 'provider', '4.2', TRUE FROM s",
            Self::series(self.from, self.to),
            self.hash(SETTLEMENT, "i"),
            Self::text(&self.seed.coordinator_id),
            self.hash(RECEIPT, "i"),
        )
    }

    fn postings(&self, accounts: &Accounts, settled: bool) -> Vec<String> {
        let seed = self.seed;
        let id = self.hash_hex(SETTLEMENT, "i");
        let accepted = format!("'accepted:0x' || {id}");
        let paid = format!(
            "'event:{}:0x' || {} || ':' || (i * 2)",
            seed.target.0,
            self.hash_hex(BLOCK, "(i / 128)")
        );
        let total = seed.amount.saturating_add(seed.fee);
        let mut moves = vec![(accounts.available, accounts.reserved, total, "accept", &accepted)];
        if settled {
            moves.push((accounts.reserved, accounts.payee, seed.amount, "payment", &paid));
            moves.push((accounts.reserved, accounts.income, seed.fee, "fee", &paid));
        }
        moves
            .into_iter()
            .filter(|(_, _, amount, ..)| *amount > 0)
            .map(|(debit, credit, amount, kind, cause)| {
                format!(
                    "{}INSERT INTO posting (debit_account, credit_account, amount, cause_kind, cause_ref, settlement_id, at_ms) \
                     SELECT {debit}, {credit}, {}, '{kind}', {cause}, {}, {} + i - {} FROM s",
                    Self::series(self.from, self.to),
                    self.literal(&U256::from(amount).to_be_bytes::<32>()),
                    self.bytes(&id),
                    seed.accepted_at,
                    seed.first,
                )
            })
            .collect()
    }

    /// Messages of the settled, numbered from `first` on, and everything that carried them.
    fn carriage(&self, first: i64) -> Vec<String> {
        let count = self.messages();
        let last = first.saturating_add_unsigned(count).saturating_sub(1);
        let series = Self::series(first.unsigned_abs(), last.unsigned_abs());
        let seed = self.seed;
        let (source, target, per) = (seed.source.0, seed.target.0, seed.per_message.max(1));
        let at = seed.accepted_at;
        let zero = self.literal(&[0; 32]);
        let mut statements = vec![
            self.message_rows(first),
            format!(
                "{}INSERT INTO message_settlement (message_id, leaf, settlement_id, resolved) \
                 SELECT {}, (i - {from}) % {per}, {}, TRUE FROM s",
                Self::series(self.from, self.to),
                self.hash(MESSAGE, &format!("({first} + (i - {from}) / {per})", from = self.from)),
                self.hash(SETTLEMENT, "i"),
                from = self.from,
            ),
        ];
        for (chain, kind, tag) in [(source, "dispatch", DISPATCH_TX), (target, "execution", EXECUTION_TX)] {
            statements.push(format!(
                "{series}INSERT INTO tx (chain, signer, nonce, intent_kind, intent_id, to_address, value, data, gas_limit, state, \
                 succeeded, first_sent_at, included_hash, included_block, included_block_hash, gas_used, gas_price, signer_epoch, \
                 signer_counter, next_at, created_at, updated_at, version) SELECT {chain}, {signer}, i, '{kind}', 'seed-' || i, \
                 {signer}, {zero}, {data}, 500000, 'finalized', TRUE, {at}, {hash}, i, {block}, 400000, {zero}, 0, 0, {posted}, {at}, \
                 {at}, 3 FROM s",
                signer = self.literal(seed.signer.as_slice()),
                data = self.literal(&[7; 512]),
                hash = self.hash(tag, "i"),
                block = self.hash(BLOCK, "i"),
                posted = i64::MAX,
            ));
            statements.push(format!(
                "INSERT INTO attempt (tx_id, hash, raw, max_fee, max_priority_fee, created_at, sent_at) SELECT id, included_hash, \
                 {raw}, {zero}, {zero}, {at}, {at} FROM tx WHERE chain = {chain} AND intent_kind = '{kind}' \
                 AND nonce BETWEEN {first} AND {last} AND signer = {signer}",
                raw = self.literal(&[7; 640]),
                signer = self.literal(seed.signer.as_slice()),
            ));
        }
        let number = |column: &str| format!("CAST(substr({column}, 6) AS BIGINT)");
        let own = format!(
            "nonce BETWEEN {first} AND {last} AND signer = {}",
            self.literal(seed.signer.as_slice())
        );
        statements.push(format!(
            "INSERT INTO dispatch (message_id, bridge, source_chain, target_chain, source_state, target_state, decision, fee_quoted, \
             fee_cap, gas_limit, quoted_at, tx_id, bridge_ref, evidence, next_at, attempts, planned_at, included_at, finalized_at, \
             received_at, version, lease_until, lease_token) SELECT {message}, {bridge}, {source}, {target}, 'finalized', 'received', \
             '{{}}', {zero}, {zero}, 200000, {at}, tx.id, {reference}, {zero}, {at}, 0, {at}, {at}, {at}, {at}, 5, 0, 0 FROM tx \
             WHERE chain = {source} AND intent_kind = 'dispatch' AND {own}",
            message = self.hash(MESSAGE, &number("intent_id")),
            bridge = Self::text(&seed.bridge),
            reference = self.hash(REFERENCE, &number("intent_id")),
        ));
        statements.push(format!(
            "INSERT INTO execution (message_id, target_chain, first_leaf, leaves, state, tx_id, gas_used, paid, next_at, attempts, \
             created_at, version, lease_until, lease_token) SELECT {message}, {target}, 0, {per}, 'finalized', tx.id, 400000, {per}, \
             {at}, 0, {at}, 4, 0, 0 FROM tx WHERE chain = {target} AND intent_kind = 'execution' AND {own}",
            message = self.hash(MESSAGE, &number("intent_id")),
        ));
        // The intents were the numbers of the messages until the rows they name existed.
        for (kind, attempt) in [("dispatch", " || ':0'"), ("execution", "")] {
            statements.push(format!(
                "UPDATE tx SET intent_id = CAST((SELECT r.id FROM {kind} r WHERE r.message_id = {message}) AS TEXT){attempt} \
                 WHERE intent_kind = '{kind}' AND intent_id LIKE 'seed-%' AND {own}",
                message = self.hash(MESSAGE, &number("tx.intent_id")),
            ));
        }
        statements.extend(self.logs(&series, first));
        statements
    }

    /// Messages with the roots of their leaves; their ids are made up all the same.
    fn message_rows(&self, first: i64) -> String {
        let (at, per) = (self.seed.accepted_at, self.seed.per_message.max(1));
        let mut rows = Vec::new();
        for (number, place) in (first..).zip(0..self.messages()) {
            let from = self.from.saturating_add(place.saturating_mul(per));
            let to = from.saturating_add(per.saturating_sub(1)).min(self.to);
            let ids: Vec<B256> = (from..=to)
                .filter_map(|i| settlement_id(i).ok())
                .map(|id| id.0)
                .collect();
            let header = self.header(number.unsigned_abs(), &ids);
            rows.push(format!(
                "({message}, 1, {batch}, {bytes}, {source}, {target}, 1, {sequence}, {root}, {leaves}, 'executed', {number}, {at}, {at}, {at}, 3, 0, 0)",
                message = self.hash(MESSAGE, &number.to_string()),
                batch = self.literal(&[]),
                bytes = self.literal(&header.encode()),
                source = self.seed.source.0,
                target = self.seed.target.0,
                sequence = header.sequence,
                root = self.literal(header.root.as_slice()),
                leaves = ids.len(),
            ));
        }
        format!(
            "INSERT INTO message (message_id, kind, hub, header, source_chain, target_chain, tier, sequence, root, leaves, state, received_block, \
             next_at, created_at, updated_at, version, lease_until, lease_token) VALUES {}",
            rows.join(", ")
        )
    }

    fn header(&self, number: u64, ids: &[B256]) -> relayer_adapter_api::Header {
        use relayer_adapter_api::{Header, Kind, tree};
        Header {
            kind: Kind::SettlementBatch,
            source: self.seed.source,
            target: self.seed.target,
            outbox: self.seed.outbox,
            inbox: self.seed.inbox,
            sequence: number.saturating_add(1_000_000_000),
            root: tree::root(ids).unwrap_or_default(),
            count: u32::try_from(ids.len()).unwrap_or(1),
            fee_recipient: Address::repeat_byte(0xfe),
        }
    }

    /// What the executions say they paid: one run for each block, to the one payee there is.
    fn runs_paid(&self, columns: &str, first_message: i64) -> String {
        let seed = self.seed;
        let per = seed.per_message.max(1);
        let detail = format!(
            "'{{\"token\":\"{token}\",\"payer\":\"{payer}\",\"runs\":[{{\"payee\":\"{payee}\",\"count\":\"' || COUNT(*) || \
             '\",\"amount\":\"' || (COUNT(*) * {amount}) || '\",\"fee\":\"' || (COUNT(*) * {fee}) || '\"}}]}}'",
            token = seed.token,
            payer = seed.payer,
            payee = seed.payee,
            amount = seed.amount,
            fee = seed.fee,
        );
        format!(
            "{}{columns} SELECT {}, {}, MAX(i) * 2 + 1, 1 + i / 128, 1000 + i / 128, {}, {}, 'runs_paid', {}, {}, {}, {detail}, \
             'final', TRUE, TRUE FROM s GROUP BY i / 128",
            Self::series(self.from, self.to),
            seed.target.0,
            self.hash(BLOCK, "(i / 128)"),
            self.hash(EXECUTION_TX, "(i / 128)"),
            self.literal(seed.inbox.as_slice()),
            self.hash(
                MESSAGE,
                &format!("({first_message} + (MAX(i) - {from}) / {per})", from = self.from)
            ),
            self.literal(seed.payer.into_word().as_slice()),
            self.word(&format!("(COUNT(*) * {})", seed.amount)),
        )
    }

    /// What the chains said: one payment per settlement, one departure and one arrival per message.
    fn logs(&self, messages: &str, first_message: i64) -> Vec<String> {
        let seed = self.seed;
        let columns = "INSERT INTO chain_log (chain, block_hash, log_index, block_number, block_timestamp, tx_hash, address, kind, \
                       key, key2, amount, detail, status, applied_seen, applied_final)";
        let paid = format!(
            "{}{columns} SELECT {}, {}, i * 2, 1 + i / 128, 1000 + i / 128, {}, {}, 'settlement_paid', {}, {}, {}, '{{}}', 'final', \
             TRUE, TRUE FROM s",
            Self::series(self.from, self.to),
            seed.target.0,
            self.hash(BLOCK, "(i / 128)"),
            self.hash(EXECUTION_TX, "(i / 128)"),
            self.literal(seed.inbox.as_slice()),
            self.hash(SETTLEMENT, "i"),
            self.literal(seed.payer.into_word().as_slice()),
            self.word("i"),
        );
        let crossing = |chain: u64, kind: &str, tag: u8, address: Address| {
            format!(
                "{messages}{columns} SELECT {chain}, {}, 1000000000000 + i, 1 + i, 1000 + i, {}, {}, '{kind}', {}, {}, {}, '{{}}', \
                 'final', TRUE, TRUE FROM s",
                self.hash(BLOCK, "i"),
                self.hash(tag, "i"),
                self.literal(address.as_slice()),
                self.hash(MESSAGE, "i"),
                self.literal(&[0; 32]),
                self.literal(&[0; 32]),
            )
        };
        vec![
            paid,
            self.runs_paid(columns, first_message),
            crossing(seed.source.0, "message_dispatched", DISPATCH_TX, seed.outbox),
            crossing(seed.target.0, "message_received", EXECUTION_TX, seed.inbox),
        ]
    }

    /// History of every settlement, step by step, with consecutive `seq` from `first` on.
    fn events(&self, names: &[(&str, &str, &str)], first: i64) -> Vec<String> {
        let count = self.to.saturating_sub(self.from).saturating_add(1);
        let mut statements = Vec::new();
        for (step, (event, from, to)) in (0u64..).zip(names) {
            let offset = step.saturating_mul(count);
            let state = |name: &str| {
                if name.is_empty() {
                    "NULL".to_owned()
                } else {
                    Self::text(name)
                }
            };
            statements.push(format!(
                "{}INSERT INTO event (seq, at_ms, aggregate, aggregate_id, event, from_state, to_state, cause, settlement_id, \
                 coordinator_id, trace_id) SELECT {first} + {offset} + i - {}, {} + i - {}, 'settlement', '0x' || {}, '{event}', {}, \
                 {}, 'seed', {}, {}, 'trace-' || i FROM s",
                Self::series(self.from, self.to),
                self.from,
                self.seed.accepted_at,
                self.seed.first,
                self.hash_hex(SETTLEMENT, "i"),
                state(from),
                state(to),
                self.hash(SETTLEMENT, "i"),
                Self::text(&self.seed.coordinator_id),
            ));
        }
        statements
    }
}

/// Tags that keep hashes of different things apart.
const SETTLEMENT: u8 = 1;
const JOB: u8 = 2;
const RECEIPT: u8 = 3;
const MESSAGE: u8 = 4;
const BLOCK: u8 = 6;
const DISPATCH_TX: u8 = 7;
const EXECUTION_TX: u8 = 8;
const REFERENCE: u8 = 9;

/// Id of the settlement of this number.
pub fn settlement_id(number: u64) -> Result<crate::settlement::SettlementId, StoreError> {
    let scattered = u64::try_from((u128::from(number) * 2_654_435_761) % (1 << 32)).unwrap_or_default();
    let number = int("seed number", number)?;
    let mut bytes = [0u8; 32];
    bytes[..4].copy_from_slice(&scattered.to_be_bytes()[4..]);
    bytes[4] = SETTLEMENT;
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    Ok(crate::settlement::SettlementId(B256::from(bytes)))
}

#[cfg(test)]
mod tests;
