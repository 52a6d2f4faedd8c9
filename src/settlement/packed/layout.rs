//! Structure of a packed execution and its codec, field by field as docs/wire.md section 4 has it.

use crate::settlement::terms::{AUTH_BYTES_MAX, Terms, TermsError, TermsFields};
use alloy::primitives::{Address, B256, Bytes, U256};
use relayer_adapter_api::message::{HEADER_LEN, Header, HeaderError};
use relayer_adapter_api::tree::LEAVES_MAX;

/// Why bytes are not a packed execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("the bytes end inside {0}")]
    Short(&'static str),
    #[error("{0} bytes follow the last section")]
    Trailing(usize),
    #[error("section mode {0} is unknown")]
    Mode(u8),
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
    #[error("message: {0}")]
    Header(#[from] HeaderError),
}

/// A contiguous range of leaves of one message, grouped so that what repeats is written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub header: Header,
    /// First leaf of the range; its length is the number of items.
    pub first: usize,
    pub proof: Vec<B256>,
    pub sections: Vec<Section>,
}

/// Items of one token, payer and nonce word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub token: Address,
    pub payer: Address,
    /// `nonce >> 8`, below 2^247.
    pub nonce_word: U256,
    pub mode: Mode,
    pub runs: Vec<Run>,
}

/// Who carries the authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Mode 0: each item.
    Each,
    /// Mode 1: the section, over a group its items are a range of.
    Group(GroupRange),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRange {
    /// Members of the whole group.
    pub count: usize,
    /// Index in the group of the section's first item.
    pub first: usize,
    pub proof: Vec<B256>,
    pub auth: Bytes,
}

/// Items of one payee: one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub payee: Address,
    pub items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub nonce_byte: u8,
    pub amount: U256,
    pub fee: U256,
    pub deadline: u64,
    pub job_id: B256,
    pub receipt_hash: B256,
    pub proof_hash: B256,
    /// Present in mode 0 only.
    pub auth: Option<Bytes>,
}

/// Fixed part of a packed execution without its proof: message, first, n.
pub(super) const PREFIX_BYTES: usize = HEADER_LEN + 4 + 2;
/// Fixed part of a section: mode, token, payer, nonce word, runs.
pub(super) const SECTION_BYTES: usize = 1 + 20 + 20 + 31 + 2;
/// Fixed part of a group: count and first.
pub(super) const GROUP_BYTES: usize = 4 + 4;
/// Fixed part of a run: payee, items.
pub(super) const RUN_BYTES: usize = 20 + 2;
/// An item without its authorization.
pub(super) const ITEM_BYTES: usize = 1 + 12 + 12 + 5 + 32 * 3;
/// Length prefix of an authorization.
pub(super) const AUTH_PREFIX_BYTES: usize = 2;

impl Packed {
    /// Number of leaves executed.
    pub fn count(&self) -> usize {
        self.sections.iter().map(Section::count).sum()
    }

    /// The terms of every item, in leaf order.
    pub fn terms(&self) -> Result<Vec<Terms>, TermsError> {
        let mut all = Vec::with_capacity(self.count());
        for section in &self.sections {
            for run in &section.runs {
                for item in &run.items {
                    all.push(Terms::new(TermsFields {
                        job_id: item.job_id,
                        receipt_hash: item.receipt_hash,
                        proof_hash: item.proof_hash,
                        source_chain: self.header.source,
                        payer: section.payer,
                        payee: run.payee,
                        token: section.token,
                        amount: item.amount,
                        fee: item.fee,
                        nonce: section.nonce_word.wrapping_shl(8) | U256::from(item.nonce_byte),
                        deadline: item.deadline,
                    })?);
                }
            }
        }
        Ok(all)
    }

    /// The bytes. Counts fit their widths because a message has at most 1,024 leaves and a proof at most 20 siblings.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode().to_vec();
        put_u32(&mut out, self.first);
        put_u16(&mut out, self.count());
        put_proof(&mut out, &self.proof);
        for section in &self.sections {
            section.encode(&mut out);
        }
        out
    }

    /// Reads bytes back, refusing any that the layout does not describe. It does not check proofs or signatures.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut input = Reader(bytes);
        let header = Header::decode(input.take(HEADER_LEN, "message")?)?;
        let first = input.u32("first leaf")?;
        let count = input.u16("leaf count")?;
        let end = first.saturating_add(count);
        if count == 0 || end > header.count as usize {
            return Err(LayoutError::Bounds("leaf range"));
        }
        let proof = input.proof("range proof")?;
        let mut sections = Vec::new();
        let mut left = count;
        while left > 0 {
            let section = Section::decode(&mut input, left)?;
            left = left.saturating_sub(section.count());
            sections.push(section);
        }
        if !input.0.is_empty() {
            return Err(LayoutError::Trailing(input.0.len()));
        }
        Ok(Self {
            header,
            first,
            proof,
            sections,
        })
    }
}

impl Section {
    fn count(&self) -> usize {
        self.runs.iter().map(|run| run.items.len()).sum()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.mode {
            Mode::Each => 0,
            Mode::Group(_) => 1,
        });
        out.extend_from_slice(self.token.as_slice());
        out.extend_from_slice(self.payer.as_slice());
        put_low(out, self.nonce_word, 31);
        if let Mode::Group(group) = &self.mode {
            put_u32(out, group.count);
            put_u32(out, group.first);
            put_proof(out, &group.proof);
            put_auth(out, &group.auth);
        }
        put_u16(out, self.runs.len());
        for run in &self.runs {
            out.extend_from_slice(run.payee.as_slice());
            put_u16(out, run.items.len());
            for item in &run.items {
                item.encode(out);
            }
        }
    }

    /// Reads one section of at most `left` items.
    fn decode(input: &mut Reader<'_>, left: usize) -> Result<Self, LayoutError> {
        let mode = input.take(1, "section mode")?[0];
        let token = input.address("token")?;
        let payer = input.address("payer")?;
        let nonce_word = input.uint(31, "nonce word")?;
        if nonce_word.bit_len() > 247 {
            return Err(LayoutError::Bounds("nonce word"));
        }
        let mode = match mode {
            0 => Mode::Each,
            1 => Mode::Group(GroupRange::decode(input)?),
            unknown => return Err(LayoutError::Mode(unknown)),
        };
        let run_count = input.u16("run count")?;
        if run_count == 0 {
            return Err(LayoutError::Bounds("run count"));
        }
        let mut left = left;
        let mut runs = Vec::new();
        for _ in 0..run_count {
            let payee = input.address("payee")?;
            let item_count = input.u16("item count")?;
            if item_count == 0 || item_count > left {
                return Err(LayoutError::Bounds("item count"));
            }
            left = left.saturating_sub(item_count);
            let items = (0..item_count)
                .map(|_| Item::decode(input, mode == Mode::Each))
                .collect::<Result<_, _>>()?;
            runs.push(Run { payee, items });
        }
        let section = Self {
            token,
            payer,
            nonce_word,
            mode,
            runs,
        };
        if let Mode::Group(group) = &section.mode
            && group.first.saturating_add(section.count()) > group.count
        {
            return Err(LayoutError::Bounds("group range"));
        }
        Ok(section)
    }
}

impl GroupRange {
    fn decode(input: &mut Reader<'_>) -> Result<Self, LayoutError> {
        let count = input.u32("group count")?;
        if count == 0 || count > LEAVES_MAX {
            return Err(LayoutError::Bounds("group count"));
        }
        Ok(Self {
            count,
            first: input.u32("group first")?,
            proof: input.proof("group proof")?,
            auth: input.auth("group authorization")?,
        })
    }
}

impl Item {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.nonce_byte);
        put_low(out, self.amount, 12);
        put_low(out, self.fee, 12);
        put_low(out, U256::from(self.deadline), 5);
        out.extend_from_slice(self.job_id.as_slice());
        out.extend_from_slice(self.receipt_hash.as_slice());
        out.extend_from_slice(self.proof_hash.as_slice());
        if let Some(auth) = &self.auth {
            put_auth(out, auth);
        }
    }

    fn decode(input: &mut Reader<'_>, own_auth: bool) -> Result<Self, LayoutError> {
        Ok(Self {
            nonce_byte: input.take(1, "nonce byte")?[0],
            amount: input.uint(12, "amount")?,
            fee: input.uint(12, "fee")?,
            deadline: input.uint(5, "deadline")?.saturating_to(),
            job_id: input.word("job id")?,
            receipt_hash: input.word("receipt hash")?,
            proof_hash: input.word("proof hash")?,
            auth: if own_auth {
                Some(input.auth("authorization")?)
            } else {
                None
            },
        })
    }
}

/// The low `width` bytes of a value whose bounds keep it within them.
fn put_low(out: &mut Vec<u8>, value: U256, width: usize) {
    let word: [u8; 32] = value.to_be_bytes();
    out.extend_from_slice(&word[32usize.saturating_sub(width)..]);
}

fn put_u32(out: &mut Vec<u8>, value: usize) {
    put_low(out, U256::from(value), 4);
}

fn put_u16(out: &mut Vec<u8>, value: usize) {
    put_low(out, U256::from(value), 2);
}

fn put_proof(out: &mut Vec<u8>, proof: &[B256]) {
    put_low(out, U256::from(proof.len()), 1);
    for sibling in proof {
        out.extend_from_slice(sibling.as_slice());
    }
}

fn put_auth(out: &mut Vec<u8>, auth: &[u8]) {
    put_u16(out, auth.len());
    out.extend_from_slice(auth);
}

/// The bytes not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], LayoutError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(LayoutError::Short(what))?;
        self.0 = rest;
        Ok(head)
    }

    fn uint(&mut self, width: usize, what: &'static str) -> Result<U256, LayoutError> {
        Ok(U256::from_be_slice(self.take(width, what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<usize, LayoutError> {
        Ok(self.uint(4, what)?.saturating_to())
    }

    fn u16(&mut self, what: &'static str) -> Result<usize, LayoutError> {
        Ok(self.uint(2, what)?.saturating_to())
    }

    fn word(&mut self, what: &'static str) -> Result<B256, LayoutError> {
        Ok(B256::from_slice(self.take(32, what)?))
    }

    fn address(&mut self, what: &'static str) -> Result<Address, LayoutError> {
        Ok(Address::from_slice(self.take(20, what)?))
    }

    fn proof(&mut self, what: &'static str) -> Result<Vec<B256>, LayoutError> {
        let siblings = self.take(1, what)?[0];
        (0..siblings).map(|_| self.word(what)).collect()
    }

    fn auth(&mut self, what: &'static str) -> Result<Bytes, LayoutError> {
        let len = self.u16(what)?;
        if len > AUTH_BYTES_MAX {
            return Err(LayoutError::Bounds(what));
        }
        Ok(Bytes::copy_from_slice(self.take(len, what)?))
    }
}
