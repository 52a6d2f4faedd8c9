//! Refusals: a stable code, a message, and what gRPC and HTTP call them.

use crate::error::{Coded, ErrorCode};
use relayer_adapter_api::Class;
use std::collections::BTreeMap;
use std::time::Duration;

/// `ErrorInfo.domain` of every refusal.
pub const DOMAIN: &str = "relayer";

/// What kind of refusal; gRPC's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    DeadlineExceeded,
    Internal,
}

impl Kind {
    pub fn grpc(self) -> tonic::Code {
        match self {
            Self::InvalidArgument => tonic::Code::InvalidArgument,
            Self::Unauthenticated => tonic::Code::Unauthenticated,
            Self::PermissionDenied => tonic::Code::PermissionDenied,
            Self::NotFound => tonic::Code::NotFound,
            Self::AlreadyExists => tonic::Code::AlreadyExists,
            Self::FailedPrecondition => tonic::Code::FailedPrecondition,
            Self::OutOfRange => tonic::Code::OutOfRange,
            Self::ResourceExhausted => tonic::Code::ResourceExhausted,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::DeadlineExceeded => tonic::Code::DeadlineExceeded,
            Self::Internal => tonic::Code::Internal,
        }
    }

    pub fn http(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists => 409,
            Self::FailedPrecondition => 422,
            Self::OutOfRange => 410,
            Self::ResourceExhausted => 429,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
            Self::Internal => 500,
        }
    }
}

/// A refusal on its way to a client. Boxed, so that results stay small.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {}", .0.code.code, .0.message)]
pub struct ApiError(Box<Parts>);

/// What a refusal says.
#[derive(Debug, Clone)]
pub struct Parts {
    pub kind: Kind,
    pub code: ErrorCode,
    pub message: String,
    /// Machine-readable particulars, e.g. `conflict` = the other settlement's id.
    pub metadata: BTreeMap<&'static str, String>,
    pub retry_after: Option<Duration>,
}

impl std::ops::Deref for ApiError {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::ops::DerefMut for ApiError {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl ApiError {
    pub fn new(kind: Kind, code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            code,
            message: message.into(),
            metadata: BTreeMap::new(),
            retry_after: None,
        }))
    }

    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.insert(key, value.into());
        self
    }

    /// A field that cannot be read.
    pub fn field(field: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::new(Kind::InvalidArgument, FIELD, format!("{field}: {reason}")).with("field", field)
    }

    pub fn not_found(id: impl std::fmt::Display) -> Self {
        Self::new(Kind::NotFound, NOT_FOUND, format!("no settlement {id} of yours"))
    }

    /// The kind its class implies; modules whose errors need a finer one convert themselves.
    pub fn of(error: &dyn Coded) -> Self {
        let kind = match error.class() {
            Class::Retry { .. } | Class::NotYet => Kind::Unavailable,
            Class::Reject => Kind::FailedPrecondition,
            Class::Bug => Kind::Internal,
        };
        Self::as_kind(kind, error)
    }

    /// The error as a refusal of this kind. What went wrong inside us is logged here and not told.
    pub fn as_kind(kind: Kind, error: &dyn Coded) -> Self {
        let code = error.code();
        if kind == Kind::Internal {
            tracing::error!(code = code.code, error = %error, "request failed");
        }
        let message = match kind {
            Kind::Internal => "internal error; the relayer's log has the details".to_owned(),
            _ => error.to_string(),
        };
        let mut refusal = Self::new(kind, code, message);
        if let Class::Retry { after } = error.class() {
            refusal.retry_after = Some(after);
        }
        refusal
    }
}

impl From<Box<dyn Coded>> for ApiError {
    fn from(error: Box<dyn Coded>) -> Self {
        Self::of(&*error)
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $relayer:literal, $you:literal;)*) => {
        $(pub const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: $relayer, you: $you,
        };)*
        /// Codes of this module, for docs/errors.md.
        pub const CODES: &[ErrorCode] = &[$($name),*];
    };
}

codes! {
    FIELD = "RLY-API-001", "A field cannot be read",
        "A field of the request is missing, has the wrong length or is not in the documented format.",
        "Refuses; nothing was stored.",
        "Correct the field the message names; proto/relayer/v1/settlement.proto documents every format.";
    TOKEN = "RLY-API-002", "Not authenticated",
        "The coordinator needs a bearer token and the request has none, or an unknown one.",
        "Refuses; nothing was stored.",
        "Send `authorization: Bearer <token>` with the token configured for the coordinator.";
    COORDINATOR = "RLY-API-003", "Not your coordinator",
        "The request names another coordinator than the bearer token belongs to, or one that is not configured.",
        "Refuses; nothing was stored.",
        "Leave the field empty or name the token's own coordinator; an operator adds coordinators in the configuration.";
    NOT_FOUND = "RLY-API-004", "No such settlement",
        "There is no settlement of this id among those you may see.",
        "Nothing.",
        "Check the id (the EIP-712 digest of the terms) and the coordinator. A submission that was never answered may not have been stored: submit it again.";
    TOO_LARGE = "RLY-API-005", "Request too large",
        "The request is larger than api.body_bytes_max.",
        "Refuses; nothing was stored.",
        "Submit fewer or smaller receipts, or ask the operator to raise the bound.";
    BUSY = "RLY-API-006", "Too many requests in flight",
        "More requests are under way than api.requests_max.",
        "Refuses; nothing was stored.",
        "Try again after the given time with fewer requests at once.";
    TIMEOUT = "RLY-API-007", "Took too long",
        "The request was not answered within api.request_timeout_ms.",
        "May still finish it: a submission may or may not have been accepted.",
        "Submit the same settlement again: the answer is the original one if it was accepted.";
    LISTEN = "RLY-API-008", "Cannot listen",
        "A listening address is taken, not allowed, or failed while serving.",
        "Does not start, or stops.",
        "Free the port or change api.grpc_listen / api.rest_listen.";
    BODY = "RLY-API-009", "Body cannot be read",
        "The REST body is not the JSON object the route expects.",
        "Refuses; nothing was stored.",
        "Correct the JSON; README.md has an example.";
    ROUTE = "RLY-API-010", "No such route",
        "The REST listener has no such path.",
        "Nothing.",
        "Use one of the documented routes; gRPC is on its own port.";
    DATABASE = "RLY-API-011", "The database did not answer",
        "A read or a write failed under the request.",
        "Refuses; a submission that was not acknowledged may or may not be stored.",
        "Try again: submitting the same settlement again is safe. An operator checks the database.";
    LANE = "RLY-API-012", "No lane",
        "No enabled bridge carries messages between these two chains.",
        "Refuses; nothing was stored.",
        "Name chains that are configured with contracts and a bridge; an operator adds lanes in the configuration.";
    CURSOR_OLD = "RLY-API-013", "Cursor older than what is kept",
        "Changes right after the cursor have been pruned (`relayer prune`), so a watch cannot continue there without a gap.",
        "Refuses, or ends the stream; nothing is skipped silently. The metadata names the oldest cursor there is.",
        "Read the present state with List or Get, then watch from_now, or after the oldest cursor. Ask the operator for a longer retention if it happens again.";
    CURSOR_FUTURE = "RLY-API-014", "Cursor ahead of the newest change",
        "No change of that number has happened here: the database was restored from a backup, or the cursor belongs to another relayer.",
        "Refuses; the metadata names the newest change.",
        "Read the present state with List or Get, then watch from_now. An operator checks which database the relayer runs on.";
    STALLED = "RLY-API-015", "Stream not read",
        "The client took nothing from its stream for longer than api.stream_stall_ms or api.watch_stall_ms.",
        "Ends the stream. Other streams were not affected; memory per stream is bounded.",
        "Read faster or open fewer streams. Submit items without an answer again; continue a watch from the last after_seq received.";
    STOPPING = "RLY-API-016", "The relayer stops",
        "A stream was open when the relayer was told to stop.",
        "Ends the stream after it has answered what it had taken, or sent what it had to send.",
        "Connect again. Submit items without an answer again; continue a watch from the last after_seq received.";
    NO_FEED = "RLY-API-017", "No changes to watch here",
        "This listener serves no event feed.",
        "Refuses.",
        "Watch at a relayer whose configuration has one; report it if this one should.";
    UNREADABLE = "RLY-API-018", "Changes cannot be read",
        "A watch was open while the database did not answer for ten seconds; heartbeats would have claimed that nothing happens.",
        "Ends the stream; nothing is skipped. It goes on trying to read.",
        "Connect again, with pauses, and continue from the last after_seq received. An operator checks the database.";
    NO_HUBS = "RLY-API-020", "No hubs here",
        "This listener answers nothing about hubs.",
        "Refuses.",
        "Ask a relayer whose configuration has hubs ([hubs.<name>]).";
    NO_TRANSFER = "RLY-API-021", "No such transfer",
        "The hub's ledger has no transfer of this id.",
        "Nothing.",
        "Check the id and the hub. A transfer that was never answered may not be recorded: record it again.";
    DRY_RUN = "RLY-API-019", "Dry run",
        "The process was started with --dry-run: it shows what it would do and takes nothing on.",
        "Refuses; nothing was stored.",
        "Use a relayer that runs without --dry-run; reading and quoting work here.";
}
