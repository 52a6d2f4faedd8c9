//! What a look at the wiring found: for `doctor`, never for the path.

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// Works, with a risk somebody should accept knowingly.
    Warn,
    /// Keeps settlements from being paid, or from being safe.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, e.g. `peer of chain 10`.
    pub what: String,
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; empty when nothing is.
    pub todo: String,
}

impl Finding {
    pub fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            level: Level::Ok,
            found: found.into(),
            todo: String::new(),
        }
    }

    pub fn warn(what: impl Into<String>, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            level: Level::Warn,
            found: found.into(),
            todo: todo.into(),
        }
    }

    pub fn fail(what: impl Into<String>, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            level: Level::Fail,
            found: found.into(),
            todo: todo.into(),
        }
    }

    /// Ok with what was found, or a failure.
    pub fn check(holds: bool, what: impl Into<String>, found: impl Into<String>, todo: impl Into<String>) -> Self {
        if holds {
            Self::ok(what, found)
        } else {
            Self::fail(what, found, todo)
        }
    }
}
