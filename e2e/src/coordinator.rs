//! A coordinator and its payer, as the demo and the tests play them: jobs, signed receipts, signed terms, submit requests.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use relayer::adapter::{ChainId, SettlementId};
use relayer::settlement::packed::leaf_order;
use relayer::settlement::terms::{Domain, Terms, TermsFields, group_root};
use relayer_proto::v1;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};

/// A finished job, as its receipt tells it.
#[derive(Debug, Clone)]
pub struct Job {
    pub job_id: String,
    /// Raw signed JSON.
    pub receipt: Vec<u8>,
    /// sha256 of the canonical bytes.
    pub receipt_hash: B256,
}

/// Signed terms with their id.
#[derive(Debug, Clone)]
pub struct Signed {
    pub terms: Terms,
    pub auth: Bytes,
    pub id: SettlementId,
    pub request: v1::SubmitRequest,
}

/// Settlements under one signature.
#[derive(Debug, Clone)]
pub struct SignedGroup {
    /// In the order they were signed. Each also carries a signature of its own, for submitting it alone.
    pub members: Vec<Signed>,
    pub root: B256,
    pub request: v1::SubmitGroupRequest,
}

impl SignedGroup {
    pub fn ids(&self) -> Vec<SettlementId> {
        self.members.iter().map(|member| member.id).collect()
    }
}

/// Issues receipts with one Ed25519 key and terms with one payer key, for one direction between two chains.
#[derive(Debug)]
pub struct Coordinator {
    pub name: String,
    pub receipt_key: SigningKey,
    pub payer: PrivateKeySigner,
    pub source: ChainId,
    pub target: ChainId,
    pub inbox: Address,
    pub token: Address,
    /// Base units of one whole token: 10^decimals.
    pub unit: U256,
    next_job: AtomicU64,
    next_nonce: AtomicU64,
}

impl Coordinator {
    #[expect(clippy::too_many_arguments, reason = "a test fixture names everything once")]
    pub fn new(
        name: &str,
        receipt_key: SigningKey,
        payer: PrivateKeySigner,
        source: ChainId,
        target: ChainId,
        inbox: Address,
        token: Address,
        unit: U256,
    ) -> Self {
        let next_nonce = AtomicU64::new(1 << 32);
        Self {
            name: name.to_owned(),
            receipt_key,
            payer,
            source,
            target,
            inbox,
            token,
            unit,
            next_job: AtomicU64::new(1),
            next_nonce,
        }
    }

    /// Starts nonces at `first`: two coordinators of one payer must not meet.
    pub fn with_first_nonce(self, first: u64) -> Self {
        self.next_nonce.store(first, Ordering::Relaxed);
        self
    }

    pub fn receipt_public_key_hex(&self) -> String {
        hex::encode(self.receipt_key.verifying_key().as_bytes())
    }

    /// A receipt over a price in quarters of a token, signed as AITBC's coordinator signs: Ed25519 over the canonical bytes,
    /// with the status fields it adds after signing.
    pub fn job(&self, provider: &str, quarters: u64) -> Job {
        let n = self.next_job.fetch_add(1, Ordering::Relaxed);
        let tag = keccak256(format!("{}/{n}", self.name));
        let job_id = hex::encode(&tag[..16]);
        let price = match quarters % 4 {
            0 => format!("{}.0", quarters / 4),
            1 => format!("{}.25", quarters / 4),
            2 => format!("{}.5", quarters / 4),
            _ => format!("{}.75", quarters / 4),
        };
        let canonical = format!(
            "{{\"client\":\"client-{n}\",\"completed_at\":1760000002,\"job_id\":\"{job_id}\",\"price\":{price},\"provider\":\"{provider}\",\
             \"receipt_id\":\"{}\",\"started_at\":1760000000,\"status\":\"COMPLETED\",\"unit_type\":\"gpu_seconds\",\"units\":{price},\
             \"version\":\"1.0\"}}",
            hex::encode(&tag[16..]),
        );
        let signature = URL_SAFE_NO_PAD.encode(self.receipt_key.sign(canonical.as_bytes()).to_bytes());
        let key_id = URL_SAFE_NO_PAD.encode(self.receipt_key.verifying_key().as_bytes());
        let receipt = format!(
            "{},\"signature\":{{\"alg\":\"Ed25519\",\"key_id\":\"{key_id}\",\"sig\":\"{signature}\"}},\"tee_status\":\"none\",\"zk_status\":\"skipped\"}}",
            &canonical[..canonical.len() - 1],
        );
        Job {
            job_id,
            receipt: receipt.into_bytes(),
            receipt_hash: B256::from_slice(&Sha256::digest(canonical)),
        }
    }

    /// `quarters / 4` tokens in base units.
    pub fn amount(&self, quarters: u64) -> U256 {
        self.unit * U256::from(quarters) / U256::from(4)
    }

    pub fn next_nonce(&self) -> u64 {
        self.next_nonce.fetch_add(1, Ordering::Relaxed)
    }

    /// Terms for one receipt, under the next nonce.
    pub fn terms(&self, job: &Job, payee: Address, amount: U256, deadline: u64) -> TermsFields {
        TermsFields {
            job_id: keccak256(job.job_id.as_bytes()),
            receipt_hash: job.receipt_hash,
            proof_hash: B256::ZERO,
            source_chain: self.source,
            payer: self.payer.address(),
            payee,
            token: self.token,
            amount,
            fee: U256::ZERO,
            nonce: U256::from(self.next_nonce()),
            deadline,
        }
    }

    /// Signs terms with the payer's key and makes the request a coordinator would send.
    pub fn sign(&self, job: &Job, fields: TermsFields) -> Result<Signed> {
        let terms = Terms::new(fields)?;
        let id = Domain::new(self.target, self.inbox).settlement_id(&terms);
        let auth = Bytes::from(self.payer.sign_hash_sync(&id.0)?.as_bytes().to_vec());
        let request = self.request(&[job], &terms, &auth);
        Ok(Signed {
            terms,
            auth,
            id,
            request,
        })
    }

    /// Signs many settlements at once, in the order the relayer asks for.
    pub fn group(&self, members: Vec<(Job, TermsFields)>) -> Result<SignedGroup> {
        let mut members = members
            .into_iter()
            .map(|(job, fields)| self.sign(&job, fields))
            .collect::<Result<Vec<_>>>()?;
        members.sort_by_key(|member| leaf_order(&member.terms, None));
        let ids: Vec<SettlementId> = members.iter().map(|member| member.id).collect();
        let root = group_root(&ids)?;
        let digest = Domain::new(self.target, self.inbox).group_digest(root, u32::try_from(ids.len())?);
        let auth = Bytes::from(self.payer.sign_hash_sync(&digest)?.as_bytes().to_vec());
        let items = members.iter().map(|member| v1::GroupItem {
            terms: member.request.terms.clone(),
            receipts: member.request.receipts.clone(),
            proof: Vec::new(),
            allotment: None,
        });
        let request = v1::SubmitGroupRequest {
            coordinator: self.name.clone(),
            items: items.collect(),
            auth: auth.to_string(),
            trace_id: String::new(),
            policy: String::new(),
        };
        Ok(SignedGroup { members, root, request })
    }

    /// One settlement of one job.
    pub fn settlement(&self, job: &Job, payee: Address, quarters: u64, deadline: u64) -> Result<Signed> {
        self.sign(job, self.terms(job, payee, self.amount(quarters), deadline))
    }

    pub fn request(&self, jobs: &[&Job], terms: &Terms, auth: &Bytes) -> v1::SubmitRequest {
        v1::SubmitRequest {
            coordinator: self.name.clone(),
            terms: Some(v1::Terms {
                job_id: terms.job_id.to_string(),
                receipt_hash: terms.receipt_hash.to_string(),
                proof_hash: terms.proof_hash.to_string(),
                source_chain: terms.source_chain.0,
                target_chain: self.target.0,
                inbox: self.inbox.to_string(),
                payer: terms.payer.to_string(),
                payee: terms.payee.to_string(),
                token: terms.token.to_string(),
                amount: terms.amount.to_string(),
                fee: terms.fee.to_string(),
                nonce: terms.nonce.to_string(),
                deadline: terms.deadline,
            }),
            auth: auth.to_string(),
            receipts: jobs.iter().map(|job| job.receipt.clone()).collect(),
            proof: Vec::new(),
            trace_id: String::new(),
            policy: String::new(),
            allotment: None,
        }
    }
}
