//! What nodes say, recorded. The only place that matches the text of an error; everything else uses what it answers.

/// How a node answered a broadcast that it did not simply take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolAnswer {
    AlreadyKnown,
    NonceTooLow,
    Underpriced,
    FundsShort,
    Refused,
}

/// Why a read was answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAnswer {
    /// The call ran and reverted.
    Reverted,
    /// The pinned block is not on this node's canonical chain.
    UnknownBlock,
    /// Anything else: a failure of the endpoint.
    Failure,
}

/// In this order: "replacement transaction underpriced" before "underpriced" would not matter, but "already known" may come with a nonce.
const POOL: &[(&str, PoolAnswer)] = &[
    // geth txpool.ErrAlreadyKnown; Nethermind "AlreadyKnown"
    ("already known", PoolAnswer::AlreadyKnown),
    ("alreadyknown", PoolAnswer::AlreadyKnown),
    // anvil 1.7 PoolError::AlreadyImported; Erigon, Besu "Known transaction"
    ("already imported", PoolAnswer::AlreadyKnown),
    ("known transaction", PoolAnswer::AlreadyKnown),
    // geth core.ErrNonceTooLow "nonce too low: next nonce 5, tx nonce 4"; anvil "nonce too low"; Besu; Nethermind "OldNonce"
    ("nonce too low", PoolAnswer::NonceTooLow),
    ("oldnonce", PoolAnswer::NonceTooLow),
    // geth txpool.ErrReplaceUnderpriced, ErrUnderpriced; anvil "replacement transaction underpriced"
    ("underpriced", PoolAnswer::Underpriced),
    // geth core.ErrFeeCapTooLow "max fee per gas less than block base fee"; anvil the same
    ("max fee per gas less than block base fee", PoolAnswer::Underpriced),
    // Nethermind "FeeTooLow", "FeeTooLowToCompete"
    ("feetoolow", PoolAnswer::Underpriced),
    // geth core.ErrInsufficientFunds; anvil "Insufficient funds for gas * price + value"
    ("insufficient funds", PoolAnswer::FundsShort),
];

const UNKNOWN_BLOCK: &[&str] = &[
    // anvil 1.7: eth_getLogs {blockHash} and pinned state
    "unknown block",
    "resource not found",
    // geth: BlockNumberOrHash of an unknown or side-chain hash
    "header for hash not found",
    "hash is not currently canonical",
    "header not found",
    // Erigon, Nethermind, Besu, reth
    "block not found",
    "block with such hash not found",
    "cannot find block",
    "unknown block hash",
];

/// Classifies the message of an error answer to `eth_sendRawTransaction`.
pub fn pool_answer(message: &str) -> PoolAnswer {
    let message = message.to_ascii_lowercase();
    POOL.iter()
        .find(|(text, _)| message.contains(text))
        .map_or(PoolAnswer::Refused, |(_, answer)| *answer)
}

/// Classifies an error answer to a read. Code 3 is the Ethereum JSON-RPC specification's for a reverted call.
pub fn read_answer(code: i64, message: &str) -> ReadAnswer {
    let message = message.to_ascii_lowercase();
    if code == 3 || message.contains("execution reverted") || message.starts_with("reverted") {
        return ReadAnswer::Reverted;
    }
    if UNKNOWN_BLOCK.iter().any(|text| message.contains(text)) {
        return ReadAnswer::UnknownBlock;
    }
    ReadAnswer::Failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_answers_to_a_broadcast_are_classified() {
        for (text, expected) in [
            ("already known", PoolAnswer::AlreadyKnown),
            ("transaction already imported", PoolAnswer::AlreadyKnown),
            ("nonce too low: next nonce 5, tx nonce 4", PoolAnswer::NonceTooLow),
            ("nonce too low", PoolAnswer::NonceTooLow),
            ("replacement transaction underpriced", PoolAnswer::Underpriced),
            (
                "transaction underpriced: gas tip cap 0, minimum needed 1000000",
                PoolAnswer::Underpriced,
            ),
            (
                "max fee per gas less than block base fee: address 0xf39F, maxFeePerGas: 1, baseFee: 875000000",
                PoolAnswer::Underpriced,
            ),
            (
                "insufficient funds for gas * price + value: balance 0, tx cost 21000, overshot 21000",
                PoolAnswer::FundsShort,
            ),
            ("Insufficient funds for gas * price + value", PoolAnswer::FundsShort),
            ("intrinsic gas too low", PoolAnswer::Refused),
            ("txpool is full", PoolAnswer::Refused),
        ] {
            assert_eq!(pool_answer(text), expected, "{text}");
        }
    }

    #[test]
    fn recorded_answers_to_a_read_are_classified() {
        for (code, text, expected) in [
            (3, "execution reverted: custom error 0xdeadbeef", ReadAnswer::Reverted),
            (-32000, "execution reverted", ReadAnswer::Reverted),
            (-32001, "Resource not found", ReadAnswer::UnknownBlock),
            (-32000, "unknown block", ReadAnswer::UnknownBlock),
            (-32000, "hash is not currently canonical", ReadAnswer::UnknownBlock),
            (-32005, "limit exceeded", ReadAnswer::Failure),
            (-32603, "Internal error", ReadAnswer::Failure),
        ] {
            assert_eq!(read_answer(code, text), expected, "{text}");
        }
    }
}
