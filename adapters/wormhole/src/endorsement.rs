//! Whose signatures count. A VAA is taken apart into its body and the addresses that signed it, and put together for a guardian set.

use crate::vaa::{Body, Signature, Vaa};
use alloy::primitives::{Address, B256};
use std::collections::{BTreeMap, BTreeSet};

/// Signatures that make a VAA valid: more than two thirds.
pub fn quorum(guardians: usize) -> usize {
    guardians * 2 / 3 + 1
}

/// The guardians of one chain under one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardianSet {
    pub index: u32,
    pub keys: Vec<Address>,
    /// Unix seconds after which the set counts no more; 0 for the current one.
    pub expires: u32,
}

impl GuardianSet {
    pub fn is_valid_at(&self, now: u64) -> bool {
        !self.keys.is_empty() && (self.expires == 0 || u64::from(self.expires) >= now)
    }
}

/// A body and everybody found to have signed it. Signatures of strangers cost nothing and count for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsed {
    pub body: Body,
    pub digest: B256,
    signers: BTreeMap<Address, Signature>,
    /// Guardian sets the VAAs named in their unsigned headers: where to look for the signers.
    pub named_sets: BTreeSet<u32>,
}

impl Endorsed {
    pub fn new(body: Body) -> Self {
        Self {
            digest: body.digest(),
            body,
            signers: BTreeMap::new(),
            named_sets: BTreeSet::new(),
        }
    }

    /// Adds the signatures of a VAA with the same body; the first signature of a signer stays.
    pub fn add(&mut self, vaa: &Vaa) {
        debug_assert_eq!(vaa.body, self.body, "signatures of another body");
        self.named_sets.insert(vaa.guardian_set);
        for signature in &vaa.signatures {
            if let Some(signer) = signature.signer(&self.digest) {
                self.signers.entry(signer).or_insert(*signature);
            }
        }
    }

    /// Takes over what another look at the same body found.
    pub fn merge(&mut self, other: &Self) {
        if other.digest == self.digest {
            self.named_sets.extend(&other.named_sets);
            for (signer, signature) in &other.signers {
                self.signers.entry(*signer).or_insert(*signature);
            }
        }
    }

    /// How many members of the set signed.
    pub fn signed_by(&self, set: &GuardianSet) -> usize {
        set.keys.iter().filter(|key| self.signers.contains_key(*key)).count()
    }

    /// The VAA for a set with exactly its quorum of signatures: each one more costs the submitter 6,000 gas and proves nothing. None when
    /// too few members signed.
    pub fn assemble(&self, set: &GuardianSet) -> Option<Vaa> {
        if set.keys.is_empty() {
            return None;
        }
        let needed = quorum(set.keys.len());
        let mut signatures = Vec::with_capacity(needed);
        for (index, key) in set.keys.iter().enumerate() {
            let (Some(signature), Ok(guardian)) = (self.signers.get(key), u8::try_from(index)) else {
                continue;
            };
            signatures.push(Signature { guardian, ..*signature });
            if signatures.len() == needed {
                return Some(Vaa {
                    guardian_set: set.index,
                    signatures,
                    body: self.body.clone(),
                });
            }
        }
        None
    }
}

/// VAAs sorted by what they say.
pub(crate) fn group(vaas: impl IntoIterator<Item = Vaa>) -> Vec<Endorsed> {
    let mut groups: BTreeMap<B256, Endorsed> = BTreeMap::new();
    for vaa in vaas {
        let group = groups
            .entry(vaa.body.digest())
            .or_insert_with(|| Endorsed::new(vaa.body.clone()));
        group.add(&vaa);
    }
    groups.into_values().collect()
}
