//! CCIP 1.6: message ids, leaf hashes and the tree over a committed interval, as the protocol's contracts compute them.

use crate::abi::v1_6::{ArrivingMessage, ArrivingToken, SentMessage};
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;

/// Tags of `extraArgs`; 1.6 emits the second, whatever was asked.
const EXTRA_ARGS_V1: [u8; 4] = [0x97, 0xa6, 0x57, 0xc9];
const EXTRA_ARGS_V2: [u8; 4] = [0x18, 0x1d, 0xcf, 0x10];
/// An odd layer of the tree is filled up with this.
const PADDING: B256 = B256::repeat_byte(0xff);

/// Why an emitted message cannot be executed by us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("{0} is not a left-padded address")]
    Address(&'static str),
    #[error("the extra arguments carry no gas limit we know")]
    ExtraArgs,
    #[error("the destination gas of a token is not a number of 32 bits")]
    TokenGas,
}

/// The id the on-ramp gives a message; binds the on-ramp and everything emitted but the value of the fee.
pub fn message_id(sent: &SentMessage, on_ramp: Address) -> B256 {
    let header = &sent.header;
    let metadata = keccak256(
        (
            keccak256("EVM2AnyMessageHashV1"),
            header.sourceChainSelector,
            header.destChainSelector,
            on_ramp,
        )
            .abi_encode_params(),
    );
    let fixed = keccak256(
        (
            sent.sender,
            header.sequenceNumber,
            header.nonce,
            sent.feeToken,
            sent.feeTokenAmount,
        )
            .abi_encode_params(),
    );
    keccak256(
        (
            B256::ZERO,
            metadata,
            fixed,
            keccak256(&sent.receiver),
            keccak256(&sent.data),
            keccak256(sent.tokenAmounts.abi_encode()),
            keccak256(&sent.extraArgs),
        )
            .abi_encode_params(),
    )
}

fn address(bytes: &[u8], what: &'static str) -> Result<Address, ShapeError> {
    let word = B256::try_from(bytes).map_err(|_| ShapeError::Address(what))?;
    if word[..12].iter().any(|byte| *byte != 0) {
        return Err(ShapeError::Address(what));
    }
    Ok(Address::from_word(word))
}

/// Gas of the receive callback that was paid for.
pub fn gas_limit(extra_args: &[u8]) -> Result<U256, ShapeError> {
    let tag = extra_args.first_chunk::<4>();
    match (tag, extra_args.get(4..36)) {
        (Some(&EXTRA_ARGS_V1 | &EXTRA_ARGS_V2), Some(gas)) => Ok(U256::from_be_slice(gas)),
        _ => Err(ShapeError::ExtraArgs),
    }
}

/// The message as the off-ramp takes it.
pub fn arriving(sent: &SentMessage) -> Result<ArrivingMessage, ShapeError> {
    let mut tokens = Vec::with_capacity(sent.tokenAmounts.len());
    for token in &sent.tokenAmounts {
        let gas = U256::try_from_be_slice(&token.destExecData).ok_or(ShapeError::TokenGas)?;
        tokens.push(ArrivingToken {
            sourcePoolAddress: token.sourcePoolAddress.abi_encode().into(),
            destTokenAddress: address(&token.destTokenAddress, "a destination token")?,
            destGasAmount: u32::try_from(gas).map_err(|_| ShapeError::TokenGas)?,
            extraData: token.extraData.clone(),
            amount: token.amount,
        });
    }
    Ok(ArrivingMessage {
        header: sent.header.clone(),
        sender: sent.sender.abi_encode().into(),
        data: sent.data.clone(),
        receiver: address(&sent.receiver, "the receiver")?,
        gasLimit: gas_limit(&sent.extraArgs)?,
        tokenAmounts: tokens,
    })
}

/// What the message is in the committed tree; not its id.
pub fn leaf(message: &ArrivingMessage, on_ramp: Address) -> B256 {
    let header = &message.header;
    let metadata = keccak256(
        (
            keccak256("Any2EVMMessageHashV1"),
            header.sourceChainSelector,
            header.destChainSelector,
            keccak256(on_ramp.abi_encode()),
        )
            .abi_encode_params(),
    );
    let fixed = keccak256(
        (
            header.messageId,
            message.receiver,
            header.sequenceNumber,
            message.gasLimit,
            header.nonce,
        )
            .abi_encode_params(),
    );
    keccak256(
        (
            B256::ZERO,
            metadata,
            fixed,
            keccak256(&message.sender),
            keccak256(&message.data),
            keccak256(message.tokenAmounts.abi_encode()),
        )
            .abi_encode_params(),
    )
}

fn node(a: B256, b: B256) -> B256 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    keccak256((U256::ONE, low, high).abi_encode_params())
}

/// Root over `leaves` and the siblings that prove leaf `index`; None when there is no such leaf. Proof flags of one leaf are all 0.
pub fn prove(leaves: &[B256], index: usize) -> Option<(B256, Vec<B256>)> {
    if index >= leaves.len() {
        return None;
    }
    let (mut layer, mut index, mut proof) = (leaves.to_vec(), index, Vec::new());
    while layer.len() > 1 {
        if !layer.len().is_multiple_of(2) {
            layer.push(PADDING);
        }
        proof.push(*layer.get(index ^ 1)?);
        layer = layer.chunks_exact(2).map(|pair| node(pair[0], pair[1])).collect();
        index /= 2;
    }
    Some((*layer.first()?, proof))
}
