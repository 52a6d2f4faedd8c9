//! Takes the contents of a checkpoint of somebody else's hub, in pieces. They are kept when they give the root the chain has, and only then.

use super::build::{Built, hash};
use super::{Ledger, LedgerError};
use crate::hub::model::account::Allotment;
use crate::hub::model::checkpoint::token_tree;
use crate::hub::model::{Eon, SpineBuilder};
use crate::store::{Hub, HubRoot, RootOrigin};
use alloy::primitives::{Address, B256, U256};

/// An import under way. Dropped unfinished it leaves rows that nobody sees and the ledger's stage takes away.
#[derive(Debug)]
pub struct Import {
    ledger: Ledger,
    hub: Hub,
    eon: Eon,
    on_chain: B256,
    /// Row of the chain's checkpoint.
    checkpoint: i64,
    /// Contents are known already: what comes is not looked at.
    known: Option<HubRoot>,
    staged: i64,
    done: Vec<(Address, B256, U256)>,
    open: Option<OpenToken>,
    accounts: u64,
}

#[derive(Debug)]
struct OpenToken {
    token: Address,
    commitment: i64,
    tree: SpineBuilder,
    next: u64,
    end: U256,
}

impl Ledger {
    /// Begins to import the contents of an eon, whose checkpoint must be on the chain.
    pub async fn import(&self, hub: &Hub, eon: Eon) -> Result<Import, LedgerError> {
        let checkpoint = self.store.find_checkpoint(hub.id, eon).await?;
        let checkpoint = checkpoint.ok_or(LedgerError::NoCheckpoint { eon })?;
        let on_chain = checkpoint.root;
        let mut known = self.store.find_hub_root(hub.id, Some(eon.0)).await?;
        let mut txn = self.begin().await?;
        if let Some(other) = known.take_if(|known| known.root != on_chain) {
            // Built here, but the hub submitted another: the chain is right about what the hub committed to.
            txn.withdraw_hub_root(other.id).await?;
        }
        let staged = match known {
            Some(_) => 0,
            None => txn.stage_hub_root(hub.id, eon.0, RootOrigin::Imported).await?,
        };
        txn.commit().await?;
        Ok(Import {
            ledger: self.clone(),
            hub: hub.clone(),
            eon,
            on_chain,
            checkpoint: checkpoint.id,
            known,
            staged,
            done: Vec::new(),
            open: None,
            accounts: 0,
        })
    }
}

impl Import {
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    fn bad(&self, reason: impl Into<String>) -> LedgerError {
        LedgerError::BadImport {
            eon: self.eon,
            reason: reason.into(),
        }
    }

    /// The next accounts, of this token or of the one before.
    pub async fn push(&mut self, token: Option<Address>, accounts: Vec<Allotment>) -> Result<(), LedgerError> {
        if self.known.is_some() {
            return Ok(());
        }
        if let Some(token) = token.filter(|token| self.open.as_ref().is_none_or(|open| open.token != *token)) {
            self.close_token().await?;
            self.open_token(token).await?;
        }
        let Some(mut open) = self.open.take() else {
            return Err(self.bad("accounts without a token"));
        };
        let sum = accounts
            .iter()
            .try_fold(open.end, |sum, allotment| sum.checked_add(allotment.amount));
        if sum.is_none() {
            return Err(self.bad("the amounts of a token do not fit 256 bits"));
        }
        let mut txn = self.ledger.begin().await?;
        let ids = (self.staged, open.commitment);
        open.end = txn.stage_hub_allotments(ids, (open.next, open.end), &accounts).await?;
        txn.commit().await?;
        open.next = open.next.saturating_add(accounts.len() as u64);
        open.tree = hash(open.tree, accounts).await?;
        self.open = Some(open);
        Ok(())
    }

    async fn open_token(&mut self, token: Address) -> Result<(), LedgerError> {
        if self.done.is_empty() && token != self.hub.contract {
            return Err(self.bad("the first token is the contract itself"));
        }
        if self.done.iter().any(|(done, ..)| *done == token) {
            return Err(self.bad(format!("token {token} comes twice")));
        }
        let mut txn = self.ledger.begin().await?;
        let commitment = txn
            .stage_hub_commitment(self.staged, token, self.done.len() as u64)
            .await?;
        txn.commit().await?;
        self.open = Some(OpenToken {
            token,
            commitment,
            tree: SpineBuilder::new(self.hub.contract, token),
            next: 0,
            end: U256::ZERO,
        });
        Ok(())
    }

    async fn close_token(&mut self) -> Result<(), LedgerError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let spine = open.tree.finish()?;
        let leaf = (spine.root(), spine.upper_bound());
        let mut txn = self.ledger.begin().await?;
        txn.finish_hub_commitment(open.commitment, leaf, open.next, spine.to_bytes())
            .await?;
        txn.commit().await?;
        self.accounts = self.accounts.saturating_add(open.next);
        self.done.push((open.token, leaf.0, leaf.1));
        Ok(())
    }

    /// Compares with the chain: keeps everything, or nothing.
    pub async fn finish(mut self) -> Result<Built, LedgerError> {
        if let Some(root) = self.known.take() {
            return self.ledger.built(root, true).await;
        }
        let finished = self.try_finish().await;
        if finished.is_err() {
            self.abandon().await;
        }
        finished
    }

    async fn try_finish(&mut self) -> Result<Built, LedgerError> {
        self.close_token().await?;
        let given = token_tree(self.hub.contract, &self.done)?.root();
        if given != self.on_chain {
            return Err(LedgerError::OtherRoot {
                eon: self.eon,
                given,
                on_chain: self.on_chain,
            });
        }
        let mut txn = self.ledger.begin().await?;
        txn.complete_hub_root(self.staged, given, self.accounts).await?;
        for (token, _, upper_bound) in &self.done {
            txn.put_hub_bound(self.checkpoint, *token, *upper_bound).await?;
        }
        txn.commit().await?;
        let root = self.ledger.store.find_hub_root(self.hub.id, Some(self.eon.0)).await?;
        let root = root.ok_or(LedgerError::NoContents { eon: Some(self.eon) })?;
        self.ledger.built(root, false).await
    }

    /// Takes away what came so far.
    pub async fn abandon(&self) {
        if self.staged == 0 {
            return;
        }
        if let Err(error) = self.ledger.store.delete_hub_root(self.staged).await {
            tracing::warn!(%error, eon = self.eon.0, "what was imported in vain stays until the ledger is followed again");
        }
    }
}
