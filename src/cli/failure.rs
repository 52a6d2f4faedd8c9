//! How a command can end badly.

use crate::api::client::ClientError;
use crate::error::{Coded, ErrorCode};
use relayer_adapter_api::Class;

/// Exit codes; the help lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    Unavailable = 3,
    NotFound = 4,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error as a person or a script gets it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub exit: Exit,
    pub code: String,
    pub message: String,
    pub hint: String,
    pub metadata: Vec<(String, String)>,
}

impl Failure {
    pub fn new(exit: Exit, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.code.to_owned(),
            message: message.into(),
            hint: code.you.to_owned(),
            metadata: Vec::new(),
        }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, USAGE, message)
    }

    /// A file of the command line that cannot be read or written.
    pub fn file(path: &std::path::Path, error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Usage, FILE, format!("{}: {error}", path.display()))
    }

    pub fn of(error: &dyn Coded) -> Self {
        let exit = match error.class() {
            Class::Retry { .. } | Class::NotYet => Exit::Unavailable,
            Class::Reject | Class::Bug => Exit::Failed,
        };
        Self::new(exit, error.code(), error.to_string())
    }
}

impl From<Box<dyn Coded>> for Failure {
    fn from(error: Box<dyn Coded>) -> Self {
        Self::of(&*error)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::of(&error)
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Unreachable { .. } => Self::new(Exit::Unavailable, UNREACHABLE, message),
            ClientError::Token => Self::usage(message),
            ClientError::Refused {
                code,
                not_found,
                unavailable,
                metadata,
                ..
            } => {
                let known = code.as_deref().and_then(crate::error::find);
                let exit = match (not_found, unavailable) {
                    (true, _) => Exit::NotFound,
                    (_, true) => Exit::Unavailable,
                    _ => Exit::Failed,
                };
                Self {
                    exit,
                    code: code.unwrap_or_else(|| ANSWER.code.to_owned()),
                    message,
                    hint: known.unwrap_or(ANSWER).you.to_owned(),
                    metadata,
                }
            }
        }
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $meaning:literal, $relayer:literal, $you:literal;)*) => {
        $(pub const $name: ErrorCode = ErrorCode {
            code: $code, title: $title, meaning: $meaning, relayer: $relayer, you: $you,
        };)*
        /// Codes of the command line, for docs/errors.md.
        pub const CODES: &[ErrorCode] = &[$($name),*];
    };
}

codes! {
    USAGE = "RLY-CLI-001", "Wrong usage",
        "The arguments do not fit together.",
        "Nothing was done.",
        "`relayer <command> --help` shows what the command takes.";
    FILE = "RLY-CLI-002", "A file cannot be read",
        "A file named on the command line is missing or is not what the command expects.",
        "Nothing was done.",
        "Check the path and the content.";
    UNREACHABLE = "RLY-CLI-003", "The relayer is not reachable",
        "Nothing answers at the address given by --server.",
        "Nothing; it may not be running.",
        "Start it with `relayer serve`, or name its gRPC address with --server.";
    ANSWER = "RLY-CLI-004", "Answer without a code",
        "The answer did not come from a relayer's handler: a proxy, another service, or a version without this method.",
        "Unknown.",
        "Check --server and what lies between.";
    BUNDLE = "RLY-CLI-005", "Bundle does not hold",
        "The bundle's parts contradict each other or the chain: its terms do not give its id, its leaf is not under the message's root, or it is for another chain.",
        "Nothing was sent.",
        "Fetch the bundle again with `relayer status --bundle`.";
    CHAIN = "RLY-CLI-006", "The chain cannot be reached or refused",
        "The endpoint given by --rpc did not answer, or the node refused the transaction.",
        "Nothing was sent, or what was sent is not known to be included.",
        "Check --rpc, and that the account holds native coin for gas. Executing again is safe: a nonce is paid at most once.";
    SKIPPED = "RLY-CLI-007", "The inbox did not pay",
        "The target contract left the settlement as it was; the message gives its reason.",
        "Nothing was lost: the settlement can be executed again.",
        "QuorumShort: wait for the message to arrive. PayerShort: the payer must deposit. NonceUsed: it was paid or burned already. Expired: the deadline has passed.";
    CHECKS = "RLY-CLI-008", "Checks failed",
        "`relayer doctor` or `relayer config check` found something that keeps settlements from being paid.",
        "Nothing was changed.",
        "Do what the failed lines say and run it again.";
    DATABASE = "RLY-CLI-009", "The database cannot be used",
        "The database cannot be opened, is not durable, or has another schema than this program.",
        "Does not start.",
        "Check store.url; `relayer migrate` brings the schema up to date.";
    TOP_UP = "RLY-CLI-010", "Top-up not possible",
        "The bridge, the token or the vault would refuse the top-up now; the message says which and why.",
        "Nothing was sent.",
        "TokenRateLimitReached: wait as long as it says, or send less. TokenMaxCapacityExceeded: send less at once. Allowance: approve, or pass --approve.";
    TOP_UP_LATE = "RLY-CLI-011", "Top-up under way",
        "The tokens have left the source chain and are not in the vault yet.",
        "Nothing is lost: CCIP holds the message, and what the other side refuses for now (e.g. a rate limit) can be executed again by anyone.",
        "Run `relayer vault fund` again with --sent and the hash of the transaction: it waits on, and executes the message itself when that helps.";
}
