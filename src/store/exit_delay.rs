//! What a vault said about its exit delay. It is immutable on chain, so one answer serves every later start, also one without a chain.

use super::entity::counter;
use super::{Store, StoreError, codec};
use alloy::primitives::Address;
use relayer_adapter_api::ChainId;
use sea_orm::{ActiveValue::Set, EntityTrait};

fn row_name(chain: ChainId, vault: Address) -> String {
    format!("exit_delay:{chain}:{vault:#x}")
}

impl Store {
    /// Seconds, when the vault was ever asked.
    pub async fn find_exit_delay(&self, chain: ChainId, vault: Address) -> Result<Option<u64>, StoreError> {
        let row = counter::Entity::find_by_id(row_name(chain, vault))
            .one(&self.db)
            .await?;
        row.map(|row| codec::uint("counter.value", row.value)).transpose()
    }

    /// Remembers an answer. A second one changes nothing. A delay beyond the column's range is as good as for ever.
    pub async fn put_exit_delay(&self, chain: ChainId, vault: Address, seconds: u64) -> Result<(), StoreError> {
        let row = counter::ActiveModel {
            name: Set(row_name(chain, vault)),
            value: Set(i64::try_from(seconds).unwrap_or(i64::MAX)),
        };
        counter::Entity::insert(row)
            .on_conflict_do_nothing_on([counter::Column::Name])
            .exec_without_returning(&self.db)
            .await?;
        Ok(())
    }
}
