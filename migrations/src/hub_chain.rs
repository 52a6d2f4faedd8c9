//! Hubs as their contracts show them on chain: clock, checkpoints, deposits and withdrawals, challenges. Written by the observer of a hub's
//! chain together with its cursor. Conventions as in [`super::schema`].

/// `CREATE TABLE` and `CREATE INDEX` statements in order.
pub const STATEMENTS: &[&str] = &[
    // A hub's contract. `read_to`: its logs are stored up to this block; `base_*`: the accumulator's slots as the contract confirmed them.
    "CREATE TABLE hub (
  id {pk},
  name TEXT NOT NULL,
  chain BIGINT NOT NULL,
  contract {bytes} NOT NULL,
  genesis BIGINT NOT NULL CHECK (genesis >= 0),
  blocks_per_eon BIGINT NOT NULL CHECK (blocks_per_eon > 0),
  start_block BIGINT NOT NULL CHECK (start_block >= 0),
  read_to BIGINT NOT NULL,
  last_eon BIGINT NOT NULL CHECK (last_eon >= 0),
  halted TEXT CHECK (halted IN ('missed_checkpoint', 'live_challenge')),
  halted_eon BIGINT,
  halted_at BIGINT,
  halt_final BOOLEAN NOT NULL,
  base_block BIGINT NOT NULL,
  base_slots {bytes} NOT NULL,
  checked_block BIGINT,
  created_at BIGINT NOT NULL,
  UNIQUE (name),
  UNIQUE (chain, contract),
  CHECK ((halted IS NULL) = (halted_at IS NULL)),
  CHECK ((halted IS NULL) = (halted_eon IS NULL))
)",
    // One CheckpointSubmission. `basis` is the accumulator of the eon before, as followed; `refused` why nobody may rely on it.
    "CREATE TABLE hub_checkpoint (
  id {pk},
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  eon BIGINT NOT NULL CHECK (eon > 0),
  root {bytes} NOT NULL,
  basis {bytes},
  refused TEXT,
  standing TEXT NOT NULL CHECK (standing IN ('seen', 'provisional', 'final', 'orphaned')),
  block_number BIGINT NOT NULL,
  block_hash {bytes} NOT NULL,
  block_timestamp BIGINT NOT NULL,
  log_index BIGINT NOT NULL,
  tx_hash {bytes} NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (hub_id, block_hash, log_index)
)",
    "CREATE UNIQUE INDEX hub_checkpoint_eon ON hub_checkpoint (hub_id, eon) WHERE standing <> 'orphaned'",
    "CREATE INDEX hub_checkpoint_block ON hub_checkpoint (hub_id, block_number)",
    // A deposit, a request to withdraw, or its confirmation.
    "CREATE TABLE hub_operation (
  id {pk},
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  kind TEXT NOT NULL CHECK (kind IN ('deposit', 'withdrawal_request', 'withdrawal_confirmation')),
  token {bytes} NOT NULL,
  wallet {bytes} NOT NULL,
  amount {bytes} NOT NULL,
  eon BIGINT NOT NULL CHECK (eon > 0),
  standing TEXT NOT NULL CHECK (standing IN ('seen', 'final', 'orphaned')),
  block_number BIGINT NOT NULL,
  block_hash {bytes} NOT NULL,
  block_timestamp BIGINT NOT NULL,
  log_index BIGINT NOT NULL,
  tx_hash {bytes} NOT NULL,
  created_at BIGINT NOT NULL,
  UNIQUE (hub_id, block_hash, log_index)
)",
    "CREATE INDEX hub_operation_block ON hub_operation (hub_id, block_number, log_index)",
    "CREATE INDEX hub_operation_eon ON hub_operation (hub_id, eon, token, wallet)",
    "CREATE INDEX hub_operation_wallet ON hub_operation (hub_id, wallet, token, id)",
    "CREATE INDEX hub_operation_seen ON hub_operation (hub_id, block_number) WHERE standing = 'seen'",
    // A challenge that was issued, or answered; an answer carries the wallet's whole proof as JSON.
    "CREATE TABLE hub_challenge (
  id {pk},
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  kind TEXT NOT NULL CHECK (kind IN ('issued', 'answered')),
  token {bytes} NOT NULL,
  wallet {bytes} NOT NULL,
  sender {bytes},
  eon BIGINT NOT NULL CHECK (eon >= 0),
  proof TEXT,
  standing TEXT NOT NULL CHECK (standing IN ('seen', 'final', 'orphaned')),
  block_number BIGINT NOT NULL,
  block_hash {bytes} NOT NULL,
  block_timestamp BIGINT NOT NULL,
  log_index BIGINT NOT NULL,
  tx_hash {bytes} NOT NULL,
  created_at BIGINT NOT NULL,
  UNIQUE (hub_id, block_hash, log_index)
)",
    "CREATE INDEX hub_challenge_block ON hub_challenge (hub_id, block_number, log_index)",
    "CREATE INDEX hub_challenge_eon ON hub_challenge (hub_id, eon)",
    // Position of a token at a hub, as the contract registered it.
    "CREATE TABLE hub_trail (
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  token {bytes} NOT NULL,
  trail BIGINT NOT NULL CHECK (trail >= 0),
  PRIMARY KEY (hub_id, token)
)",
    // What a checkpoint promises of a token in all, learned from a proof against it, and what backed it.
    "CREATE TABLE hub_bound (
  hub_checkpoint_id BIGINT NOT NULL REFERENCES hub_checkpoint (id),
  token {bytes} NOT NULL,
  upper_bound {bytes} NOT NULL,
  backing {bytes},
  solvent BOOLEAN,
  checked_block BIGINT,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (hub_checkpoint_id, token)
)",
];

/// Tables in reverse order of creation.
pub const TABLES: &[&str] = &[
    "hub_bound",
    "hub_trail",
    "hub_challenge",
    "hub_operation",
    "hub_checkpoint",
    "hub",
];
