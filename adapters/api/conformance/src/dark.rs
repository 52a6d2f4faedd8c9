//! A chain whose endpoints do not answer.

use alloy::primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use relayer_adapter_api::{BlockRef, ChainId, ChainView, LogFilter, LogRecord, TxReceipt, ViewError};

/// Knows its block and answers nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Dark {
    pub chain: ChainId,
    pub block: BlockRef,
}

impl Dark {
    /// The chain of another view, gone dark.
    pub fn of(view: &dyn ChainView) -> Self {
        Self {
            chain: view.chain(),
            block: view.block(),
        }
    }

    fn gone<T>(&self) -> Result<T, ViewError> {
        Err(ViewError::Unavailable {
            chain: self.chain.0,
            reason: "nobody answers".into(),
        })
    }
}

#[async_trait]
impl ChainView for Dark {
    fn chain(&self) -> ChainId {
        self.chain
    }

    fn block(&self) -> BlockRef {
        self.block
    }

    async fn call(&self, _: Option<Address>, _: Address, _: Bytes, _: U256) -> Result<Bytes, ViewError> {
        self.gone()
    }

    async fn logs(&self, _: &LogFilter) -> Result<Vec<LogRecord>, ViewError> {
        self.gone()
    }

    async fn receipt(&self, _: B256) -> Result<Option<TxReceipt>, ViewError> {
        self.gone()
    }
}
