//! Which worker may take nonces of a signer. The token `(epoch, counter)` is stored on every nonce row; older tokens are refused.

use super::entity::signer_lease;
use super::txn::expect_one;
use super::{Store, StoreError, Txn, codec};
use alloy::primitives::Address;
use relayer_adapter_api::ChainId;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter};

/// Orders holders of one signer. `epoch` is raised by recovery, `counter` by every change of holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken {
    pub epoch: i64,
    pub counter: i64,
}

/// A held lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignerLease {
    pub chain: ChainId,
    pub signer: Address,
    pub token: LeaseToken,
    /// By the lease clock.
    pub until_ms: i64,
}

impl Store {
    /// Takes or renews the lease of a signer. None while somebody else holds it. Do not call inside a [`Txn`].
    pub async fn acquire_signer_lease(
        &self,
        chain: ChainId,
        signer: Address,
        owner: &str,
        lease_ms: i64,
    ) -> Result<Option<SignerLease>, StoreError> {
        let now = self.lease_now_ms().await?;
        let until_ms = now.saturating_add(lease_ms);
        let key = (codec::int("signer_lease.chain", chain.0)?, signer.to_vec());
        let first = signer_lease::ActiveModel {
            chain: Set(key.0),
            signer: Set(key.1.clone()),
            owner: Set(None),
            until_ms: Set(0),
            epoch: Set(0),
            counter: Set(0),
        };
        let subject = Condition::all()
            .add(signer_lease::Column::Chain.eq(key.0))
            .add(signer_lease::Column::Signer.eq(key.1.clone()));
        // The holder's own renewal keeps the token, so what it signed a moment ago stays valid.
        let renewed = signer_lease::Entity::update_many()
            .col_expr(signer_lease::Column::UntilMs, Expr::value(until_ms))
            .filter(subject.clone())
            .filter(signer_lease::Column::Owner.eq(owner))
            .filter(signer_lease::Column::UntilMs.gte(now))
            .exec(&self.db)
            .await?;
        if renewed.rows_affected == 0 {
            signer_lease::Entity::insert(first)
                .on_conflict_do_nothing_on([signer_lease::Column::Chain, signer_lease::Column::Signer])
                .exec_without_returning(&self.db)
                .await?;
            let taken = signer_lease::Entity::update_many()
                .col_expr(signer_lease::Column::Owner, Expr::value(owner))
                .col_expr(signer_lease::Column::UntilMs, Expr::value(until_ms))
                .col_expr(
                    signer_lease::Column::Counter,
                    Expr::col(signer_lease::Column::Counter).add(1),
                )
                .filter(subject)
                .filter(signer_lease::Column::UntilMs.lt(now))
                .exec(&self.db)
                .await?;
            if taken.rows_affected == 0 {
                return Ok(None);
            }
        }
        let row = signer_lease::Entity::find_by_id(key).one(&self.db).await?;
        Ok(row
            .filter(|row| row.owner.as_deref() == Some(owner))
            .map(|row| SignerLease {
                chain,
                signer,
                token: LeaseToken {
                    epoch: row.epoch,
                    counter: row.counter,
                },
                until_ms: row.until_ms,
            }))
    }

    /// Gives a lease back before its time (a clean stop).
    pub async fn release_signer_lease(&self, lease: &SignerLease) -> Result<(), StoreError> {
        signer_lease::Entity::update_many()
            .col_expr(signer_lease::Column::UntilMs, Expr::value(0))
            .filter(signer_lease::Column::Chain.eq(codec::int("signer_lease.chain", lease.chain.0)?))
            .filter(signer_lease::Column::Signer.eq(lease.signer.to_vec()))
            .filter(signer_lease::Column::Epoch.eq(lease.token.epoch))
            .filter(signer_lease::Column::Counter.eq(lease.token.counter))
            .exec(&self.db)
            .await?;
        Ok(())
    }
}

pub(super) fn nonce_base(chain: ChainId, signer: Address) -> String {
    format!("nonce_base:{chain}:{signer:#x}")
}

impl Txn {
    /// Locks the lease row and fails with `Conflict` unless `token` is still the current one.
    pub async fn check_signer_lease(
        &self,
        chain: ChainId,
        signer: Address,
        token: LeaseToken,
    ) -> Result<(), StoreError> {
        // An update that changes nothing: it takes the row lock on every backend.
        let result = signer_lease::Entity::update_many()
            .col_expr(signer_lease::Column::Counter, Expr::value(token.counter))
            .filter(signer_lease::Column::Chain.eq(codec::int("signer_lease.chain", chain.0)?))
            .filter(signer_lease::Column::Signer.eq(signer.to_vec()))
            .filter(signer_lease::Column::Epoch.eq(token.epoch))
            .filter(signer_lease::Column::Counter.eq(token.counter))
            .exec(&self.tx)
            .await?;
        expect_one(
            result.rows_affected,
            format!("lease of signer {signer} on chain {chain}"),
        )
    }

    /// First nonce that is this database's business: what came before it was sent by an earlier life of the key.
    pub async fn nonce_base(&self, chain: ChainId, signer: Address) -> Result<u64, StoreError> {
        let value = self.reserve_counter(&nonce_base(chain, signer), 0).await?;
        // reserve_counter answers the first of n reserved values, so with n = 0 the value plus one.
        codec::uint("counter.value", value.saturating_sub(1))
    }

    /// Accepts what the chain says about a signer as the starting point: on its very first use, and by recovery.
    pub async fn adopt_nonces(&self, chain: ChainId, signer: Address, count: u64) -> Result<(), StoreError> {
        let current = self.nonce_base(chain, signer).await?;
        let raise = codec::int("counter.value", count.saturating_sub(current))?;
        self.reserve_counter(&nonce_base(chain, signer), raise).await?;
        Ok(())
    }

    /// Recovery: whoever holds a token of the old epoch can store nothing any more.
    pub async fn raise_signer_epoch(&self, chain: ChainId, signer: Address) -> Result<(), StoreError> {
        signer_lease::Entity::update_many()
            .col_expr(
                signer_lease::Column::Epoch,
                Expr::col(signer_lease::Column::Epoch).add(1),
            )
            .col_expr(signer_lease::Column::UntilMs, Expr::value(0))
            .filter(signer_lease::Column::Chain.eq(codec::int("signer_lease.chain", chain.0)?))
            .filter(signer_lease::Column::Signer.eq(signer.to_vec()))
            .exec(&self.tx)
            .await?;
        Ok(())
    }
}
