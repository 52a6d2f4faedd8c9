//! What the three-way comparison has read, and what it could not read yet.

/// `CREATE TABLE` and `CREATE INDEX` statements in order.
pub const STATEMENTS: &[&str] = &[
    // Stretches of final blocks of a chain: compared with the ledger, or a gap that is tried again until it is filled. They never overlap.
    "CREATE TABLE reconcile_interval (
  chain BIGINT NOT NULL,
  first_block BIGINT NOT NULL,
  last_block BIGINT NOT NULL CHECK (last_block >= first_block),
  last_hash {bytes},
  last_timestamp BIGINT NOT NULL,
  standing TEXT NOT NULL CHECK (standing IN ('checked', 'gap')),
  counters TEXT,
  logs BIGINT NOT NULL,
  attempts INTEGER NOT NULL,
  next_at BIGINT NOT NULL,
  reason TEXT,
  since_at BIGINT NOT NULL,
  PRIMARY KEY (chain, first_block)
)",
    "CREATE INDEX drift_open ON drift (chain, id) WHERE resolved_at IS NULL",
    // What changed last comes first to those who follow.
    "CREATE INDEX drift_changed ON drift (changed_seq)",
];

/// Tables in reverse order of creation.
pub const TABLES: &[&str] = &["reconcile_interval"];
