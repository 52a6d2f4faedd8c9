//! CCIP 2.0: the packed message. Its keccak256 is the message id, so what decodes is what was sent.

use crate::abi::v2_0::{MessageV1, TokenTransfer};
use alloy::primitives::{Address, B256, Bytes, FixedBytes, U256, keccak256};

/// The only layout there is, of the message and of its token transfer.
const LAYOUT: u8 = 1;

/// Why bytes are not a packed message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    #[error("ends within {0}")]
    Short(&'static str),
    #[error("layout {0} of {1} is unknown")]
    Layout(u8, &'static str),
    #[error("{0} bytes follow the {1}")]
    Trailing(usize, &'static str),
    #[error("{0} is not an address")]
    Address(&'static str),
}

/// A packed message with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedMessage {
    pub(crate) encoded: Bytes,
    pub(crate) message: MessageV1,
}

/// Reads big-endian fields off the front.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], PackedError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(PackedError::Short(what))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], PackedError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(PackedError::Short(what))?;
        self.rest = rest;
        Ok(*head)
    }

    fn short(&mut self, what: &'static str) -> Result<Bytes, PackedError> {
        let [length] = self.array(what)?;
        Ok(Bytes::copy_from_slice(self.take(usize::from(length), what)?))
    }

    fn long(&mut self, what: &'static str) -> Result<Bytes, PackedError> {
        let length = u16::from_be_bytes(self.array(what)?);
        Ok(Bytes::copy_from_slice(self.take(usize::from(length), what)?))
    }

    fn layout(&mut self, what: &'static str) -> Result<(), PackedError> {
        match self.array(what)? {
            [LAYOUT] => Ok(()),
            [other] => Err(PackedError::Layout(other, what)),
        }
    }

    fn end(&self, what: &'static str) -> Result<(), PackedError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(PackedError::Trailing(more, what)),
        }
    }
}

fn token_transfer(bytes: &[u8]) -> Result<TokenTransfer, PackedError> {
    let what = "token transfer";
    let mut reader = Reader { rest: bytes };
    reader.layout(what)?;
    let transfer = TokenTransfer {
        amount: U256::from_be_bytes(reader.array::<32>(what)?),
        sourcePoolAddress: reader.short(what)?,
        sourceTokenAddress: reader.short(what)?,
        destTokenAddress: reader.short(what)?,
        tokenReceiver: reader.short(what)?,
        extraData: reader.long(what)?,
    };
    reader.end(what)?;
    Ok(transfer)
}

impl PackedMessage {
    pub fn decode(encoded: &[u8]) -> Result<Self, PackedError> {
        let mut reader = Reader { rest: encoded };
        reader.layout("message")?;
        let what = "fixed fields";
        let mut message = MessageV1 {
            sourceChainSelector: u64::from_be_bytes(reader.array(what)?),
            destChainSelector: u64::from_be_bytes(reader.array(what)?),
            messageNumber: u64::from_be_bytes(reader.array(what)?),
            executionGasLimit: u32::from_be_bytes(reader.array(what)?),
            ccipReceiveGasLimit: u32::from_be_bytes(reader.array(what)?),
            finality: FixedBytes(reader.array(what)?),
            ccvAndExecutorHash: FixedBytes(reader.array(what)?),
            onRampAddress: reader.short("on-ramp")?,
            offRampAddress: reader.short("off-ramp")?,
            sender: reader.short("sender")?,
            receiver: reader.short("receiver")?,
            destBlob: reader.long("destination blob")?,
            tokenTransfer: Vec::new(),
            data: Bytes::new(),
        };
        let transfer = reader.long("token transfer")?;
        if !transfer.is_empty() {
            message.tokenTransfer.push(token_transfer(&transfer)?);
        }
        message.data = reader.long("data")?;
        reader.end("message")?;
        Ok(Self {
            encoded: Bytes::copy_from_slice(encoded),
            message,
        })
    }

    pub fn id(&self) -> B256 {
        keccak256(&self.encoded)
    }

    /// The bytes that were sent.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    pub(crate) fn on_ramp(&self) -> Result<Address, PackedError> {
        padded(&self.message.onRampAddress, "the on-ramp")
    }

    pub(crate) fn off_ramp(&self) -> Result<Address, PackedError> {
        Address::try_from(self.message.offRampAddress.as_ref()).map_err(|_| PackedError::Address("the off-ramp"))
    }

    pub(crate) fn sender(&self) -> Result<Address, PackedError> {
        padded(&self.message.sender, "the sender")
    }

    pub(crate) fn receiver(&self) -> Result<Address, PackedError> {
        Address::try_from(self.message.receiver.as_ref()).map_err(|_| PackedError::Address("the receiver"))
    }
}

/// Source-chain addresses are left-padded to a word.
fn padded(bytes: &[u8], what: &'static str) -> Result<Address, PackedError> {
    let word = B256::try_from(bytes).map_err(|_| PackedError::Address(what))?;
    if word[..12].iter().any(|byte| *byte != 0) {
        return Err(PackedError::Address(what));
    }
    Ok(Address::from_word(word))
}
