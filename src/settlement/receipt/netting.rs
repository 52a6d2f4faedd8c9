//! One settlement over many receipts: the hashes its terms must carry; docs/wire.md section 1.

use super::Receipt;
use alloy::primitives::{B256, keccak256};
use relayer_adapter_api::tree::{self, TreeError};

/// Why receipts cannot share a settlement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NettingError {
    #[error("receipt {0} is given twice")]
    Duplicate(B256),
    #[error("job {0} has two different receipts")]
    SameJob(String),
    #[error("netting receipts: {0}")]
    Tree(#[from] TreeError),
}

/// What the terms over these receipts must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netted {
    pub receipt_hash: B256,
    pub job_id: B256,
    /// Indices of the receipts given, ascending by receipt hash: the order of both trees.
    pub order: Vec<usize>,
}

/// One receipt stands for itself; several give the roots over their hashes (ascending, no duplicates) and over
/// keccak256 of their job ids in the same order.
pub fn net<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> Result<Netted, NettingError> {
    let mut sorted: Vec<(usize, &Receipt)> = receipts.into_iter().enumerate().collect();
    sorted.sort_by_key(|(_, receipt)| receipt.hash());
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].1.hash() == pair[1].1.hash()) {
        return Err(NettingError::Duplicate(pair[0].1.hash()));
    }
    let mut jobs: Vec<&str> = sorted.iter().map(|(_, receipt)| receipt.job_id.as_str()).collect();
    jobs.sort_unstable();
    if let Some(pair) = jobs.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(NettingError::SameJob(pair[0].to_owned()));
    }
    let hashes: Vec<B256> = sorted.iter().map(|(_, receipt)| receipt.hash()).collect();
    let job_ids: Vec<B256> = sorted
        .iter()
        .map(|(_, receipt)| keccak256(receipt.job_id.as_bytes()))
        .collect();
    let (receipt_hash, job_id) = roots(&hashes, &job_ids)?;
    Ok(Netted {
        receipt_hash,
        job_id,
        order: sorted.iter().map(|(index, _)| *index).collect(),
    })
}

/// `(receiptHash, jobId)` over hashes ascending and keccak256 of the job ids in the same order; one stands for itself.
pub fn roots(hashes: &[B256], job_ids: &[B256]) -> Result<(B256, B256), TreeError> {
    match (hashes, job_ids) {
        ([hash], [job_id]) => Ok((*hash, *job_id)),
        _ => Ok((tree::root(hashes)?, tree::root(job_ids)?)),
    }
}
