//! Ledger, logs and contracts compared at one finalized block. A difference becomes a drift, its absence closes it; nothing is adjusted.

use super::error::ReconcilerError;
use super::service::Reconciler;
use crate::ledger::{AccountKey, AccountKind, Asset, Balance};
use crate::settlement::ChainId;
use crate::store::{Cursor, Drift, DriftAbout, DriftClass, TallyKey, Txn};
use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use relayer_adapter_api::ChainView;
use relayer_adapter_api::abi::{ISettlementInbox, ISettlementOutbox, ISettlementVault};

/// One thing looked at from two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub class: DriftClass,
    pub subject: String,
    /// What the contract says.
    pub expected: String,
    /// What we have.
    pub actual: String,
    /// The token it is about.
    pub token: Option<Address>,
}

impl Check {
    pub fn agrees(&self) -> bool {
        self.expected == self.actual
    }
}

/// Logs we have against the contract's own count: fewer is a log we missed, more is one counted twice.
pub fn check_count(subject: &str, contract: u128, logs: u64) -> [Check; 2] {
    let check = |class, agrees: bool| Check {
        class,
        subject: subject.to_owned(),
        expected: contract.to_string(),
        actual: if agrees { contract.to_string() } else { logs.to_string() },
        token: None,
    };
    let logs_wide = u128::from(logs);
    [
        check(DriftClass::Missing, logs_wide >= contract),
        check(DriftClass::Duplicate, logs_wide <= contract),
    ]
}

/// What the vault itself knows of. The others, one for every payee ever paid among them, are not on its books.
const VAULT_ACCOUNTS: &[AccountKind] = &[AccountKind::Available, AccountKind::Reserved, AccountKind::Unclaimed];

/// Cumulative sums of the vault for one token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub deposited: u128,
    pub withdrawn: u128,
    pub debited: u128,
    pub credited: u128,
    pub claimed: u128,
}

/// The vault's balances and debts of a token against the accounts.
pub fn check_token(asset: Asset, totals: Totals, accounts: &[(AccountKey, Balance)]) -> Vec<Check> {
    let mut balances = Balance::default();
    let mut unclaimed = Balance::default();
    let mut overdrawn = Vec::new();
    for (key, balance) in accounts.iter().filter(|(key, _)| key.asset() == asset) {
        let sum = match key.kind() {
            AccountKind::Available | AccountKind::Reserved => &mut balances,
            AccountKind::Unclaimed => &mut unclaimed,
            _ => continue,
        };
        sum.debits = sum.debits.saturating_add(balance.debits);
        sum.credits = sum.credits.saturating_add(balance.credits);
        // Available money can be short through what strangers did; the others never.
        if key.kind() != AccountKind::Available {
            overdrawn.push(Check {
                class: DriftClass::Amount,
                subject: format!("account {key}"),
                expected: "0 short".into(),
                actual: format!("{} short", balance.shortfall()),
                token: Some(asset.token),
            });
        }
    }
    // An account in order needs no line of its own.
    overdrawn.retain(|check| !check.agrees());
    let mut checks = vec![
        Check {
            class: DriftClass::Amount,
            subject: format!("vault balances of {:#x}", asset.token),
            expected: difference(totals.deposited, &[totals.withdrawn, totals.debited]),
            actual: signed(&balances),
            token: Some(asset.token),
        },
        Check {
            class: DriftClass::Amount,
            subject: format!("vault credits of {:#x}", asset.token),
            expected: difference(totals.credited, &[totals.claimed]),
            actual: signed(&unclaimed),
            token: Some(asset.token),
        },
    ];
    checks.extend(overdrawn);
    checks
}

fn signed(balance: &Balance) -> String {
    if balance.shortfall().is_zero() {
        balance.amount().to_string()
    } else {
        format!("-{}", balance.shortfall())
    }
}

fn difference(from: u128, less: &[u128]) -> String {
    let less = less
        .iter()
        .fold(U256::ZERO, |sum, part| sum.saturating_add(U256::from(*part)));
    signed(&Balance {
        debits: less,
        credits: U256::from(from),
    })
}

impl Reconciler {
    /// Compares at the finalized block of the cursor, once the ledger has booked everything up to it. Does nothing while it has not, or
    /// when the chain moved on while it looked: the next sweep will do.
    pub(super) async fn sweep(&self, now_ms: i64) -> Result<bool, ReconcilerError> {
        let chain = self.params.chain_id;
        let Some(before) = self.settled_cursor().await? else {
            return Ok(false);
        };
        let view = self.chain.view(before.finalized);
        let (mut checks, tallies) = self.count_checks(view.as_ref(), before.finalized.number).await?;
        if let Some(target) = self.params.target {
            for token in self.store.list_tokens(chain).await? {
                let asset = Asset { chain, token };
                let totals = self.totals(view.as_ref(), target.vault, token).await?;
                let accounts = self.store.list_accounts_of(VAULT_ACCOUNTS, Some(asset)).await?;
                checks.extend(check_token(asset, totals, &accounts));
            }
        }
        let after = self.settled_cursor().await?;
        if after.map(|cursor| cursor.finalized) != Some(before.finalized) {
            return Ok(false);
        }
        let mut txn = self.store.begin(now_ms).await?;
        self.record(&mut txn, &checks, before.finalized.number).await?;
        for (key, counted) in &tallies {
            txn.advance_tally(key, before.finalized.number, *counted).await?;
        }
        txn.commit().await?;
        Ok(true)
    }

    async fn settled_cursor(&self) -> Result<Option<Cursor>, ReconcilerError> {
        let cursor = self.store.get_cursor(self.params.chain_id).await?;
        if self.store.is_fully_applied(self.params.chain_id).await? {
            Ok(cursor)
        } else {
            Ok(None)
        }
    }

    /// Counters against logs, and what was counted, for the next sweep to go on from.
    async fn count_checks(
        &self,
        view: &dyn ChainView,
        number: u64,
    ) -> Result<(Vec<Check>, Vec<(TallyKey, u64)>), ReconcilerError> {
        let attempted = "reading counters";
        let mut checks = Vec::new();
        let mut tallies = Vec::new();
        if let Some(target) = self.params.target {
            let call = ISettlementInbox::countersCall {};
            let answer = self.call(view, target.inbox, &call, attempted).await?;
            let counters = ISettlementInbox::countersCall::abi_decode_returns(&answer)
                .map_err(|error| self.undecodable(attempted, &error))?;
            let received = self
                .count(target.inbox, "message_received", number, &mut tallies)
                .await?;
            let paid = self
                .count(target.inbox, "settlement_paid", number, &mut tallies)
                .await?;
            checks.extend(check_count("messages received", counters.received, received));
            checks.extend(check_count("settlements paid", counters.paid, paid));
        }
        if let Some(outbox) = self.params.outbox {
            let call = ISettlementOutbox::countersCall {};
            let answer = self.call(view, outbox, &call, attempted).await?;
            let counters = ISettlementOutbox::countersCall::abi_decode_returns(&answer)
                .map_err(|error| self.undecodable(attempted, &error))?;
            let dispatched = self.count(outbox, "message_dispatched", number, &mut tallies).await?;
            checks.extend(check_count("messages dispatched", counters.dispatches, dispatched));
        }
        Ok((checks, tallies))
    }

    async fn count(
        &self,
        address: Address,
        kind: &str,
        number: u64,
        tallies: &mut Vec<(TallyKey, u64)>,
    ) -> Result<u64, ReconcilerError> {
        let key = TallyKey {
            chain: self.params.chain_id,
            address,
            kind: kind.to_owned(),
        };
        let counted = self.store.count_final_logs(&key, number).await?;
        tallies.push((key, counted));
        Ok(counted)
    }

    async fn totals(&self, view: &dyn ChainView, vault: Address, token: Address) -> Result<Totals, ReconcilerError> {
        let attempted = "reading the vault's totals";
        let call = ISettlementVault::totalsCall { token };
        let answer = self.call(view, vault, &call, attempted).await?;
        let totals = ISettlementVault::totalsCall::abi_decode_returns(&answer)
            .map_err(|error| self.undecodable(attempted, &error))?;
        Ok(Totals {
            deposited: totals.deposited,
            withdrawn: totals.withdrawn,
            debited: totals.debited,
            credited: totals.credited,
            claimed: totals.claimed,
        })
    }

    /// Opens, brings up to date and closes records. When everything agrees, a broken finality has been dealt with too.
    async fn record(&self, txn: &mut Txn, checks: &[Check], number: u64) -> Result<(), ReconcilerError> {
        let chain: ChainId = self.params.chain_id;
        let resolution = format!("agrees at block {number}");
        let open = txn.list_open_drift_subjects(chain).await?;
        for check in checks.iter().filter(|check| !check.agrees()) {
            let found = Drift {
                class: check.class,
                chain,
                subject: check.subject.clone(),
                expected: check.expected.clone(),
                actual: check.actual.clone(),
            };
            let about = DriftAbout {
                token: check.token,
                settlement: None,
                block: None,
            };
            if txn.report_drift_about(&found, about).await? {
                tracing::error!(%chain, class = %found.class, subject = %found.subject, expected = %found.expected, actual = %found.actual, "drift");
            }
        }
        let all_agree = checks.iter().all(Check::agrees);
        for (class, subject) in open {
            let same = |check: &&Check| check.class == class && check.subject == subject;
            let gone = match checks.iter().find(same) {
                Some(check) => check.agrees(),
                // Accounts in order, logs booked at last, blocks whose loss was reversed.
                None => all_agree && is_transient(class, &subject) && self.is_booked(&subject).await?,
            };
            if gone {
                txn.resolve_drift(class, chain, &subject, &resolution).await?;
            }
        }
        Ok(())
    }
}

impl Reconciler {
    /// Whether the log a drift names is on the books; nothing is said of other subjects.
    async fn is_booked(&self, subject: &str) -> Result<bool, ReconcilerError> {
        let Some(reference) = subject.strip_prefix("log ") else {
            return Ok(true);
        };
        let log = self.store.find_log_by_reference(reference).await?;
        Ok(log.is_some_and(|log| log.applied_final))
    }
}

/// Records that no check of a sweep repeats, and that its agreement closes. What an event itself got wrong stays open for an operator.
fn is_transient(class: DriftClass, subject: &str) -> bool {
    let finality = class == DriftClass::Stale && subject.starts_with("finality of block ");
    finality || subject.starts_with("account ") || subject.starts_with("log ")
}
