//! Why a settlement was not accepted. Nothing is stored of one that was refused.

use super::allotment::AllotmentError;
use crate::error::{Coded, ErrorCode};
use crate::settlement::auth::{self, Classification};
use crate::settlement::receipt::{AmountError, NettingError, ReceiptError};
use crate::settlement::terms::TermsError;
use crate::settlement::{ChainId, SettlementId};
use crate::store::StoreError;
use alloy::primitives::{Address, B256, U256};
use relayer_adapter_api::tree::LEAVES_MAX;
use relayer_adapter_api::{Class, ViewError};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, thiserror::Error)]
pub enum IntakeError {
    #[error("{queued} requests are under way, no more are taken now")]
    Busy { queued: usize },
    #[error("the relayer is stopping")]
    Stopping,
    #[error("coordinator {0:?} is not configured")]
    UnknownCoordinator(String),
    #[error("receipt codec {0:?} is not known")]
    Codec(String),
    #[error("policy {0:?} is not preferred, cheapest, fastest or safest")]
    Policy(String),
    #[error("trace id is longer than 64 bytes or holds a NUL")]
    TraceId,
    #[error("{count} receipts, a settlement covers 1 to {max}")]
    ReceiptCount { count: usize, max: usize },
    #[error("receipt {index} has {bytes} bytes, at most {max}")]
    ReceiptTooLarge { index: usize, bytes: usize, max: usize },
    #[error("proof has {bytes} bytes, at most {max}")]
    ProofTooLarge { bytes: usize, max: usize },
    #[error("receipt {index}: {error}")]
    ReceiptMalformed { index: usize, error: ReceiptError },
    #[error("receipt {index}: {error}")]
    ReceiptKey { index: usize, error: ReceiptError },
    #[error("receipt {index}: {error}")]
    ReceiptSignature { index: usize, error: ReceiptError },
    #[error("receipt {index}: {error}")]
    ReceiptStatus { index: usize, error: ReceiptError },
    #[error("receipts of providers {one:?} and {other:?} cannot share a settlement")]
    Providers { one: String, other: String },
    #[error(transparent)]
    Netting(NettingError),
    #[error("{field} of the terms is {wanted}, what was submitted gives {derived}")]
    Mismatch {
        field: &'static str,
        wanted: B256,
        derived: B256,
    },
    #[error("terms: {0}")]
    Terms(TermsError),
    #[error("chain {0} is not a target of this relayer")]
    WrongChain(ChainId),
    #[error("inbox {inbox} is not the configured one, {expected}")]
    WrongInbox { inbox: Address, expected: Address },
    #[error("no lane from chain {source_chain} to chain {target}")]
    Lane { source_chain: ChainId, target: ChainId },
    #[error("payee {0} is a contract of the relayer, the token or nobody; it could never use the money")]
    PayeeRefused(Address),
    #[error("payer {0} does not belong to the coordinator")]
    PayerNotAllowed(Address),
    #[error("terms carry a fee, and the coordinator has no fee recipient")]
    FeeRefused,
    #[error("authorization: {0}")]
    Auth(auth::Refusal),
    #[error("the authorization is not the payer's ({payer}): {}", signer_text(.signer))]
    WrongSigner { payer: Address, signer: Classification },
    #[error("signer {signer} of payer {payer} is being removed, or was")]
    SignerLeaving { payer: Address, signer: Address },
    #[error("payer {0} is a contract, which this coordinator may not use")]
    ContractPayer(Address),
    #[error("contract {0} refuses the signature")]
    ContractRefused(Address),
    #[error("token {0} is not listed in the vault")]
    TokenNotListed(Address),
    #[error("the vault refuses payments of {amount} in token {token}")]
    AmountRefused { token: Address, amount: U256 },
    #[error("{0}")]
    AmountRule(AmountError),
    #[error("{0}")]
    AmountInexact(AmountError),
    #[error("{0}")]
    NoPrice(AmountError),
    #[error("this amount needs {needed} bridge families, {available} connect the chains")]
    Families { needed: u8, available: u8 },
    #[error("deadline {deadline} is too near, the earliest is {earliest}")]
    DeadlineTooNear { deadline: u64, earliest: u64 },
    #[error("deadline {deadline} is too far, the latest is {latest}")]
    DeadlineTooFar { deadline: u64, latest: u64 },
    #[error("the payer has {available} available, amount and fee are {needed}")]
    Insufficient { available: U256, needed: U256 },
    #[error("the payer has announced to burn nonce {0}")]
    NonceLeaving(U256),
    #[error("nonce {0} is used on the target chain")]
    NonceUsed(U256),
    #[error("the nonce belongs to settlement {by}")]
    NonceTaken { by: SettlementId },
    #[error("receipt {receipt} belongs to settlement {by}")]
    ReceiptHeld { receipt: B256, by: SettlementId },
    #[error("job {job_id:?} was submitted with another receipt in settlement {by}")]
    JobHeld { job_id: String, by: SettlementId },
    #[error("{count} settlements, a group holds 1 to {LEAVES_MAX}")]
    GroupSize { count: usize },
    #[error("the {field} of item {index} is not the first item's; a group has one of each")]
    GroupMixed { index: usize, field: &'static str },
    #[error("items are not ascending by nonce word, payee, nonce")]
    GroupOrder,
    #[error("the id of item {index} cannot be told: {error}")]
    GroupItem { index: usize, error: Box<IntakeError> },
    #[error(transparent)]
    Allotment(#[from] AllotmentError),
    #[error("target not ready: chain {0} has not been read yet")]
    TargetNotReady(ChainId),
    #[error("reading chain {chain}: {source}")]
    View { chain: ChainId, source: ViewError },
    #[error("{}", store_text(.0))]
    Store(Arc<StoreError>),
}

impl From<StoreError> for IntakeError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// What a failure of the database means for the settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// No room: the transaction was undone.
    NoRoom,
    /// The commit was not confirmed.
    Unknown,
    /// The database refused what we asked.
    Refused,
}

impl Stored {
    fn after(error: &StoreError) -> Self {
        match error.class() {
            _ if error.is_full() => Self::NoRoom,
            Class::Retry { .. } | Class::NotYet => Self::Unknown,
            Class::Reject | Class::Bug => Self::Refused,
        }
    }
}

/// The client reads what to do; the log has the database's own words.
fn store_text(error: &StoreError) -> String {
    match Stored::after(error) {
        Stored::NoRoom => "the database has no room; nothing was stored, resubmit later".into(),
        Stored::Unknown => "outcome unknown, resubmit: the database did not confirm the commit; if it was stored, the same request gets its original answer".into(),
        Stored::Refused => format!("storing: {error}"),
    }
}

fn signer_text(signer: &Classification) -> String {
    match signer {
        Classification::RecoveredTo(address) => format!("{address} signed"),
        _ => "it is no signature, and the payer is no contract".into(),
    }
}

/// What kind of answer a refusal is; the faces translate it into their own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request itself is wrong, whatever the state of the world.
    Invalid,
    /// The coordinator may not do that.
    Denied,
    /// The world is not as the request needs it; it may be later.
    Precondition,
    /// Something else has taken the place.
    Exists,
    /// Too much at once; the same request is fine later.
    Busy,
    /// Something is down; the same request is fine later.
    Unavailable,
}

impl IntakeError {
    /// The settlement that is in the way.
    pub fn conflict(&self) -> Option<SettlementId> {
        match self {
            Self::NonceTaken { by } | Self::ReceiptHeld { by, .. } | Self::JobHeld { by, .. } => Some(*by),
            _ => None,
        }
    }

    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Busy { .. } => Refusal::Busy,
            Self::Allotment(AllotmentError::NotRead(_)) => Refusal::Unavailable,
            Self::Allotment(
                AllotmentError::Halted { .. }
                | AllotmentError::NotFinal { .. }
                | AllotmentError::TooOld { .. }
                | AllotmentError::TooSmall { .. }
                | AllotmentError::Refused { .. },
            ) => Refusal::Precondition,
            Self::Stopping | Self::TargetNotReady(_) | Self::View { .. } | Self::Store(_) => Refusal::Unavailable,
            Self::UnknownCoordinator(_) | Self::PayerNotAllowed(_) | Self::ContractPayer(_) => Refusal::Denied,
            Self::NonceTaken { .. } | Self::ReceiptHeld { .. } | Self::JobHeld { .. } => Refusal::Exists,
            Self::Lane { .. }
            | Self::FeeRefused
            | Self::SignerLeaving { .. }
            | Self::ContractRefused(_)
            | Self::TokenNotListed(_)
            | Self::AmountRefused { .. }
            | Self::Families { .. }
            | Self::DeadlineTooNear { .. }
            | Self::DeadlineTooFar { .. }
            | Self::Insufficient { .. }
            | Self::NonceLeaving(_)
            | Self::NonceUsed(_) => Refusal::Precondition,
            _ => Refusal::Invalid,
        }
    }

    fn page(&self) -> ErrorCode {
        match self {
            Self::Busy { .. } => BUSY,
            Self::Stopping => STOPPING,
            Self::UnknownCoordinator(_) => UNKNOWN_COORDINATOR,
            Self::Codec(_) => CODEC,
            Self::TraceId => TRACE_ID,
            Self::Policy(_) => POLICY,
            Self::ReceiptCount { .. } => RECEIPT_COUNT,
            Self::ReceiptTooLarge { .. } => RECEIPT_TOO_LARGE,
            Self::ProofTooLarge { .. } => PROOF_TOO_LARGE,
            Self::ReceiptMalformed { .. } => RECEIPT_MALFORMED,
            Self::ReceiptKey { .. } => RECEIPT_KEY,
            Self::ReceiptSignature { .. } => RECEIPT_SIGNATURE,
            Self::ReceiptStatus { .. } => RECEIPT_STATUS,
            Self::Providers { .. } | Self::Netting(_) => NETTING,
            Self::Mismatch { .. } => MISMATCH,
            Self::Terms(TermsError::Zero("amount")) => AMOUNT_ZERO,
            Self::Terms(_) => TERMS,
            Self::WrongChain(_) => WRONG_CHAIN,
            Self::WrongInbox { .. } => WRONG_INBOX,
            Self::Lane { .. } => LANE,
            Self::PayeeRefused(_) => PAYEE_REFUSED,
            Self::PayerNotAllowed(_) => PAYER_NOT_ALLOWED,
            Self::FeeRefused => FEE_REFUSED,
            Self::Auth(auth::Refusal::HighS) => HIGH_S,
            Self::Auth(auth::Refusal::TooLong(_)) => AUTH_TOO_LONG,
            Self::WrongSigner { .. } => WRONG_SIGNER,
            Self::SignerLeaving { .. } => SIGNER_LEAVING,
            Self::ContractPayer(_) => CONTRACT_PAYER,
            Self::ContractRefused(_) => CONTRACT_REFUSED,
            _ => self.chain_page(),
        }
    }

    /// The second half of [`Self::page`]: what depends on the state of the world.
    fn chain_page(&self) -> ErrorCode {
        match self {
            Self::Allotment(error) => error.code(),
            Self::TokenNotListed(_) => TOKEN_NOT_LISTED,
            Self::AmountRefused { .. } => AMOUNT_REFUSED,
            Self::AmountRule(_) => AMOUNT_RULE,
            Self::AmountInexact(_) => AMOUNT_INEXACT,
            Self::NoPrice(_) => NO_PRICE,
            Self::Families { .. } => FAMILIES,
            Self::DeadlineTooNear { .. } => DEADLINE_TOO_NEAR,
            Self::DeadlineTooFar { .. } => DEADLINE_TOO_FAR,
            Self::Insufficient { .. } => INSUFFICIENT,
            Self::NonceLeaving(_) => NONCE_LEAVING,
            Self::NonceUsed(_) => NONCE_USED,
            Self::NonceTaken { .. } => NONCE_TAKEN,
            Self::ReceiptHeld { .. } => RECEIPT_HELD,
            Self::JobHeld { .. } => JOB_HELD,
            Self::GroupSize { .. } => GROUP_SIZE,
            Self::GroupMixed { .. } => GROUP_MIXED,
            Self::GroupOrder => GROUP_ORDER,
            Self::GroupItem { .. } => GROUP_ITEM,
            Self::TargetNotReady(_) => TARGET_NOT_READY,
            Self::View { .. } => TARGET_UNAVAILABLE,
            Self::Store(error) if Stored::after(error) == Stored::NoRoom => NO_ROOM,
            Self::Store(error) if Stored::after(error) == Stored::Unknown => UNKNOWN,
            _ => STORE,
        }
    }
}

impl Coded for IntakeError {
    fn code(&self) -> ErrorCode {
        self.page()
    }

    fn class(&self) -> Class {
        match self {
            Self::Busy { .. } => Class::Retry {
                after: Duration::from_millis(200),
            },
            Self::Stopping => Class::Retry {
                after: Duration::from_secs(5),
            },
            Self::Allotment(error) => error.class(),
            Self::TargetNotReady(_) => Class::NotYet,
            Self::View { source, .. } => source.class(),
            Self::Store(error) => error.class(),
            _ => Class::Reject,
        }
    }
}

/// The one refusal that may not be one.
const UNKNOWN: ErrorCode = ErrorCode {
    code: "RLY-INTAKE-051",
    title: "Outcome unknown, resubmit",
    meaning: "The database did not confirm the commit: it was lost, restarted or did not answer in time. The settlement may or may not have been stored.",
    relayer: "Goes on by itself when the database answers again. What was stored is settled as usual.",
    you: "Send the same request again until it is answered: if it was stored, the answer is the original one.",
};

const POLICY: ErrorCode = ErrorCode {
    code: "RLY-INTAKE-052",
    title: "Unknown policy",
    meaning: "The policy is none of preferred, cheapest, fastest and safest.",
    relayer: "Refuses the settlement; nothing is stored.",
    you: "Use one of these, or leave it empty for the one the relayer is configured with.",
};

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $you:literal;)+) => {
        $(const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: "Refuses the settlement; nothing is stored.", you: $you,
        };)+

        /// Every code of this module, for docs/errors.md.
        pub const CODES: &[ErrorCode] = &[$($name),+, UNKNOWN, POLICY];
    };
}

codes! {
    BUSY = "RLY-INTAKE-001", "Intake is full",
        "As many requests as are allowed are being verified or stored.",
        "Send the same request again a moment later; it is safe to repeat. Raise `intake.queue_max` if this lasts.";
    STOPPING = "RLY-INTAKE-002", "Relayer is stopping",
        "The process is on its way down; the request may or may not have been stored.",
        "Send the same request again when it is back; the same settlement gets its original answer.";
    UNKNOWN_COORDINATOR = "RLY-INTAKE-003", "Unknown coordinator",
        "No coordinator of that name is configured.",
        "Check the name, or add it to the configuration.";
    CODEC = "RLY-INTAKE-004", "Unknown receipt codec",
        "The receipts are said to be in a format this relayer does not read.",
        "Use `aitbc-receipt/1`, or leave the codec empty.";
    TRACE_ID = "RLY-INTAKE-005", "Bad trace id",
        "The trace id is longer than 64 bytes or holds a NUL.",
        "Shorten it, or leave it empty.";
    RECEIPT_COUNT = "RLY-INTAKE-006", "Too few or too many receipts",
        "A settlement covers at least one receipt and at most `intake.receipts_per_settlement_max`.",
        "Split the receipts over several settlements.";
    RECEIPT_TOO_LARGE = "RLY-INTAKE-007", "Receipt too large",
        "A receipt has more bytes than `intake.receipt_bytes_max`.",
        "Leave large results out of the receipt, or raise the bound.";
    PROOF_TOO_LARGE = "RLY-INTAKE-008", "Proof too large",
        "The proof has more bytes than `intake.proof_bytes_max`.",
        "Submit its hash only.";
    RECEIPT_MALFORMED = "RLY-INTAKE-009", "Malformed receipt",
        "A receipt is not JSON, lacks a field, or a field has the wrong type.",
        "Submit the receipt exactly as the coordinator signed it; `relayer receipt verify` reads it offline.";
    RECEIPT_KEY = "RLY-INTAKE-010", "Receipt without a pinned key",
        "A receipt is unsigned, or signed by a key that is not pinned for this coordinator.",
        "Pin the key in the coordinator's `receipt_keys`, if it is yours.";
    RECEIPT_SIGNATURE = "RLY-INTAKE-011", "Wrong receipt signature",
        "A signature or attestation by a pinned key does not verify over the canonical bytes.",
        "Submit the receipt unchanged; check that it was signed over the canonical form.";
    RECEIPT_STATUS = "RLY-INTAKE-012", "Receipt of an unfinished job",
        "The receipt has a status other than COMPLETED.",
        "Submit it when the job is done.";
    NETTING = "RLY-INTAKE-013", "Receipts cannot share a settlement",
        "A receipt or a job occurs twice, or the receipts are of different providers.",
        "Make one settlement per provider, with every receipt once.";
    MISMATCH = "RLY-INTAKE-014", "Terms do not match what was submitted",
        "receiptHash, jobId or proofHash of the terms is not what the receipts or the proof give.",
        "Derive them as docs/wire.md section 1 says, and sign those terms.";
    TERMS = "RLY-INTAKE-015", "Terms out of bounds",
        "A field of the terms is zero or does not fit its width on the wire.",
        "See docs/wire.md section 1 for the bounds.";
    AMOUNT_ZERO = "RLY-INTAKE-016", "Amount is zero",
        "A settlement of nothing is not executable.",
        "Sign terms with an amount.";
    WRONG_CHAIN = "RLY-INTAKE-017", "Wrong target chain",
        "The target chain is not one this relayer pays on.",
        "Check the chain id of the terms' domain.";
    WRONG_INBOX = "RLY-INTAKE-018", "Wrong inbox",
        "The terms were signed for another inbox contract than the configured one.",
        "Sign for the configured inbox.";
    LANE = "RLY-INTAKE-019", "Unsupported lane",
        "No enabled bridge connects the source chain to the target chain.",
        "Choose another pair of chains, or enable a bridge for this one.";
    PAYER_NOT_ALLOWED = "RLY-INTAKE-020", "Payer of somebody else",
        "The payer is not among those configured for the coordinator.",
        "Add the payer to the coordinator's `payers`.";
    FEE_REFUSED = "RLY-INTAKE-021", "No fee recipient",
        "The terms carry a fee, and nobody is configured to receive it.",
        "Set the coordinator's `fee_recipient`, or sign terms without a fee.";
    AUTH_TOO_LONG = "RLY-INTAKE-022", "Authorization too long",
        "An authorization has at most 1,024 bytes.",
        "Shorten the ERC-1271 data.";
    HIGH_S = "RLY-INTAKE-023", "High s",
        "The signature is the malleable twin of a valid one.",
        "Normalize s to the lower half of the order and flip v.";
    WRONG_SIGNER = "RLY-INTAKE-024", "Not the payer's signature",
        "The signature over the settlement id is of neither the payer nor a signer it registered, and the payer is no contract.",
        "Check chain, inbox and every field of the signed terms: any difference recovers another address.";
    SIGNER_LEAVING = "RLY-INTAKE-025", "Signer is being removed",
        "The payer has announced the removal of this signer, or removed it.",
        "Sign with the payer's key or another signer.";
    CONTRACT_PAYER = "RLY-INTAKE-026", "Contract payer not allowed",
        "A contract can take its word back at will, so it is accepted only where the configuration says so.",
        "Set `allow_contract_payers` for the coordinator, or pay from an account with a key.";
    CONTRACT_REFUSED = "RLY-INTAKE-027", "Contract payer says no",
        "The payer's `isValidSignature` does not accept the authorization at the newest block.",
        "Check the contract's owners and what they signed.";
    TOKEN_NOT_LISTED = "RLY-INTAKE-028", "Token not listed",
        "The vault does not accept the token (any more).",
        "Use a listed token.";
    AMOUNT_REFUSED = "RLY-INTAKE-029", "Amount refused by the vault",
        "The token's tiers refuse payments of this size.",
        "Split the payment.";
    AMOUNT_RULE = "RLY-INTAKE-030", "Amount does not fit the receipts",
        "The amount is not what the coordinator's amount rule allows against the receipts' price.",
        "Sign the amount the receipts give, or change the rule.";
    AMOUNT_INEXACT = "RLY-INTAKE-031", "Price not representable",
        "A receipt's price has more digits than the token has decimals.",
        "Round in the receipt, before it is signed.";
    NO_PRICE = "RLY-INTAKE-032", "Receipt without a price",
        "The amount rule compares with the receipt's price, and it has none.",
        "Sign receipts with a price, or set the rule to `free`.";
    FAMILIES = "RLY-INTAKE-033", "Too few bridge families",
        "An amount of this size must arrive over more families of bridges than connect the chains.",
        "Split the payment, or enable another family of bridges.";
    DEADLINE_TOO_NEAR = "RLY-INTAKE-034", "Deadline too near",
        "The terms would expire before a bridge can carry them.",
        "Sign a later deadline.";
    DEADLINE_TOO_FAR = "RLY-INTAKE-035", "Deadline too far",
        "The payer could leave the vault before the deadline.",
        "Sign a deadline within the vault's exit delay, less the margin.";
    INSUFFICIENT = "RLY-INTAKE-036", "Balance too small",
        "What the payer has in the vault, less what is reserved and what it announced to withdraw, does not cover amount and fee.",
        "Deposit, and wait until the deposit is final.";
    NONCE_LEAVING = "RLY-INTAKE-037", "Nonce is being burned",
        "The payer has announced to burn the nonce.",
        "Use another nonce.";
    NONCE_USED = "RLY-INTAKE-038", "Nonce used on chain",
        "The nonce was paid or burned on the target chain.",
        "Use another nonce.";
    NONCE_TAKEN = "RLY-INTAKE-039", "Nonce used by another settlement",
        "A settlement with other terms has this nonce of this payer. It is never free again.",
        "Look at the settlement named; use another nonce.";
    RECEIPT_HELD = "RLY-INTAKE-040", "Receipt in another settlement",
        "Another settlement holds the receipt, or has paid it.",
        "Look at the settlement named; a receipt is free again only when its settlement ended unpaid.";
    JOB_HELD = "RLY-INTAKE-041", "Job with another receipt",
        "The job was submitted before with a different receipt.",
        "Look at the settlement named; submit the receipt it was submitted with.";
    TARGET_NOT_READY = "RLY-INTAKE-042", "Target chain not read yet",
        "The relayer has not yet read the target chain's logs or its vault's exit delay, so it knows no balances and can judge no deadline; or this settlement's payment is not final yet.",
        "Send the same request again shortly; check the chain with `relayer doctor` if this lasts.";
    TARGET_UNAVAILABLE = "RLY-INTAKE-043", "Target chain cannot be read",
        "The payer's contract could not be asked.",
        "Send the same request again later; check the chain's endpoints.";
    STORE = "RLY-INTAKE-044", "Database failed",
        "The settlement could not be stored.",
        "Send the same request again; check the database if this lasts.";
    PAYEE_REFUSED = "RLY-INTAKE-045", "Payee cannot be paid",
        "The payee is the vault, the inbox, the token itself or the zero address: money sent there is lost.",
        "Name the provider's own address in the terms.";
    GROUP_SIZE = "RLY-INTAKE-046", "Group too small or too large",
        "A group holds 1 to 1,024 settlements.",
        "Split it into groups that fit, each with its own signature.";
    GROUP_MIXED = "RLY-INTAKE-047", "Group of more than one kind",
        "A group has one source chain, one target chain, one token and one payer.",
        "Make one group of each kind.";
    GROUP_ORDER = "RLY-INTAKE-048", "Group in another order",
        "The items are not strictly ascending by nonce word (nonce / 256), then payee, then nonce: in any other order they could not be paid together.",
        "Sort the settlements this way, sign the root over their ids in that order, and submit them in that order.";
    GROUP_ITEM = "RLY-INTAKE-049", "Item of a group without an id",
        "An item leaves a hash to be derived from receipts that cannot be read, so nobody can say what the payer signed. The message names the item.",
        "State job_id and receipt_hash in the terms of every item, or take the item out and sign again.";
    NO_ROOM = "RLY-INTAKE-050", "Database is full",
        "The database has no room left (disk or quota). The transaction was undone: nothing of the settlement was stored.",
        "An operator makes room; then send the same request again. Nothing needs to be restarted.";
}
