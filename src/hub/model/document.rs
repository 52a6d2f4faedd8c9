//! A checkpoint as JSON: what `relayer hub verify` reads. Amounts are decimal strings, never JSON numbers, which other programs round.

use super::account::{Account, AccountTreeBuilder, Allotment, Passive, TokenPrefix};
use super::checkpoint::{Checkpoint, TokenCommitment};
use super::interval::Interval;
use super::preimage;
use super::proof::AllotmentProof;
use super::tree::TreeError;
use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest input, some 400,000 accounts: it is held in memory twice, as text and parsed.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 30;
/// Decimal digits of 2^256 - 1.
const DIGITS_MAX: usize = 78;

/// Why an input cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("reading the checkpoint: more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("reading the checkpoint: {0}")]
    Json(#[from] serde_json::Error),
    #[error("reading the checkpoint: the list of checkpoints is empty")]
    Empty,
}

/// An amount as a decimal string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decimal(pub U256);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Decimal;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an amount below 2^256 as a string of decimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
                let plain = (1..=DIGITS_MAX).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_digit())
                    && (text == "0" || !text.starts_with('0'));
                let value = plain.then(|| U256::from_str_radix(text, 10).ok()).flatten();
                let invalid = || E::invalid_value(de::Unexpected::Str(text), &self);
                value.map(Decimal).ok_or_else(invalid)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// One checkpoint with everything it commits to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub contract: Address,
    pub checkpoint_merkle_root: B256,
    /// In the order of their trails.
    pub tokens: Vec<TokenDocument>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenDocument {
    pub token: Address,
    pub token_trail: u64,
    pub account_tree_root: B256,
    pub upper_bound: Decimal,
    pub token_leaf: B256,
    pub membership_chain: Vec<B256>,
    /// In the order of their trails.
    pub accounts: Vec<AccountDocument>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountDocument {
    pub wallet: Address,
    pub trail: u64,
    pub left: Decimal,
    pub right: Decimal,
    pub active_state_checksum: B256,
    pub passive_checksum: B256,
    pub passive_amount: Decimal,
    pub passive_marker: Decimal,
    pub content_hash: B256,
    pub leaf_hash: B256,
    pub allotment_chain: Vec<B256>,
    pub values: Vec<Decimal>,
}

impl AccountDocument {
    pub fn account(&self) -> Account {
        Account {
            wallet: self.wallet,
            active_state_checksum: self.active_state_checksum,
            passive: Passive {
                checksum: self.passive_checksum,
                amount: self.passive_amount.0,
                marker: self.passive_marker.0,
            },
        }
    }

    pub fn interval(&self) -> Interval {
        Interval {
            left: self.left.0,
            right: self.right.0,
        }
    }

    /// What the account tree is built from, unless the interval ends before it begins.
    pub fn allotment(&self) -> Option<Allotment> {
        Some(Allotment {
            account: self.account(),
            amount: self.interval().amount()?,
        })
    }

    /// The proof of this account under its token.
    pub fn proof(&self, token: &TokenDocument) -> AllotmentProof {
        AllotmentProof {
            interval: self.interval(),
            trail: self.trail,
            allotment_chain: self.allotment_chain.clone(),
            values: self.values.iter().map(|value| value.0).collect(),
            token_trail: token.token_trail,
            membership_chain: token.membership_chain.clone(),
        }
    }
}

impl Document {
    /// States everything about the checkpoint of these tokens and their allotments, all in the order of their trails.
    pub fn of(contract: Address, tokens: &[(Address, Vec<Allotment>)]) -> Result<Self, TreeError> {
        let mut commitments = Vec::with_capacity(tokens.len());
        for (token, allotments) in tokens {
            let mut tree = AccountTreeBuilder::new(contract, *token, allotments.len());
            tree.extend(allotments)?;
            commitments.push(TokenCommitment {
                token: *token,
                accounts: tree.finish()?,
            });
        }
        let checkpoint = Checkpoint::new(contract, commitments)?;
        let tokens = tokens.iter().zip(0..);
        Ok(Self {
            contract,
            checkpoint_merkle_root: checkpoint.root(),
            tokens: tokens
                .zip(checkpoint.tokens())
                .map(|(((_, allotments), trail), token)| TokenDocument::of(&checkpoint, token, trail, allotments))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl TokenDocument {
    fn of(
        checkpoint: &Checkpoint,
        token: &TokenCommitment,
        token_trail: u64,
        allotments: &[Allotment],
    ) -> Result<Self, TreeError> {
        let prefix = TokenPrefix::new(checkpoint.contract(), token.token);
        let account = |(allotment, trail): (&Allotment, u64)| {
            let account = allotment.account;
            let proof = checkpoint.proof(token_trail, trail)?;
            let content = prefix.content(&account);
            Ok(AccountDocument {
                wallet: account.wallet,
                trail,
                left: Decimal(proof.interval.left),
                right: Decimal(proof.interval.right),
                active_state_checksum: account.active_state_checksum,
                passive_checksum: account.passive.checksum,
                passive_amount: Decimal(account.passive.amount),
                passive_marker: Decimal(account.passive.marker),
                content_hash: content,
                leaf_hash: preimage::interval_leaf(proof.interval, content),
                allotment_chain: proof.allotment_chain,
                values: proof.values.into_iter().map(Decimal).collect(),
            })
        };
        let (root, upper_bound) = (token.accounts.root(), token.accounts.upper_bound());
        Ok(Self {
            token: token.token,
            token_trail,
            account_tree_root: root,
            upper_bound: Decimal(upper_bound),
            token_leaf: preimage::token_leaf(root, upper_bound),
            membership_chain: checkpoint.membership_chain(token_trail)?,
            accounts: allotments.iter().zip(0..).map(account).collect::<Result<_, _>>()?,
        })
    }
}

/// One checkpoint, or an object whose `checkpoints` lists several.
pub fn parse(text: &[u8]) -> Result<Vec<Document>, DocumentError> {
    #[derive(Deserialize)]
    struct Probe {
        checkpoints: Option<de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct List {
        checkpoints: Vec<Document>,
    }
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge);
    }
    let probe: Probe = serde_json::from_slice(text)?;
    if probe.checkpoints.is_none() {
        return Ok(vec![serde_json::from_slice(text)?]);
    }
    let list: List = serde_json::from_slice(text)?;
    if list.checkpoints.is_empty() {
        return Err(DocumentError::Empty);
    }
    Ok(list.checkpoints)
}
