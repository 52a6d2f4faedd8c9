//! What hubs do off chain: tokens, wallets and transfers of a coordinator's own hub, and what wallets are allotted per eon, of any hub. The money
//! rules are constraints: nobody spends more than came in, allotments do not end before they begin. Conventions as in [`super::schema`]; amounts
//! have one length, so that the database compares them as numbers.

/// `CREATE TABLE` and `CREATE INDEX` statements in order.
pub const STATEMENTS: &[&str] = &[
    // Who keeps the ledger of a hub. Its row is locked by whoever writes to the ledger: `seq` orders what watchers are told, eons before
    // `closed_eon` take no more transfers, final operations on chain are told and booked up to `told_block`, `told_log`.
    "CREATE TABLE hub_ledger (
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  coordinator_id TEXT,
  closed_eon BIGINT NOT NULL CHECK (closed_eon >= 0),
  seq BIGINT NOT NULL CHECK (seq >= 0),
  told_eon BIGINT NOT NULL,
  told_block BIGINT NOT NULL,
  told_log BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (hub_id)
)",
    "CREATE TABLE hub_token (
  id {pk},
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  token {bytes} NOT NULL CHECK (length(token) = 20),
  trail BIGINT NOT NULL CHECK (trail >= 0),
  name TEXT NOT NULL,
  short_name TEXT NOT NULL,
  wallets BIGINT NOT NULL CHECK (wallets >= 0),
  created_at BIGINT NOT NULL,
  UNIQUE (hub_id, token),
  UNIQUE (hub_id, trail)
)",
    // An account; what it may spend is gained - spent.
    "CREATE TABLE hub_wallet (
  id {pk},
  token_id BIGINT NOT NULL REFERENCES hub_token (id),
  wallet {bytes} NOT NULL CHECK (length(wallet) = 20),
  trail BIGINT NOT NULL CHECK (trail >= 0),
  admitted_eon BIGINT NOT NULL CHECK (admitted_eon > 0),
  sign_up TEXT NOT NULL,
  operator_sign_up TEXT NOT NULL,
  gained {bytes} NOT NULL CHECK (length(gained) = 32),
  spent {bytes} NOT NULL CHECK (length(spent) = 32),
  created_at BIGINT NOT NULL,
  UNIQUE (token_id, wallet),
  UNIQUE (token_id, trail),
  CHECK (spent <= gained)
)",
    // What an account did in an eon: transfers received and sent, deposited and withdrawn, where its last transfer lay on its recipient's line.
    "CREATE TABLE hub_wallet_eon (
  wallet_id BIGINT NOT NULL REFERENCES hub_wallet (id),
  eon BIGINT NOT NULL CHECK (eon > 0),
  received {bytes} NOT NULL CHECK (length(received) = 32),
  sent {bytes} NOT NULL CHECK (length(sent) = 32),
  deposited {bytes} NOT NULL CHECK (length(deposited) = 32),
  withdrawn {bytes} NOT NULL CHECK (length(withdrawn) = 32),
  marker {bytes} NOT NULL CHECK (length(marker) = 32),
  active_state {bytes} CHECK (length(active_state) = 32),
  PRIMARY KEY (wallet_id, eon)
)",
    "CREATE INDEX hub_wallet_eon_eon ON hub_wallet_eon (eon, wallet_id)",
    // A transfer between two wallets of one token. `position`: where it begins on the recipient's line of the eon.
    "CREATE TABLE hub_transfer (
  id {pk},
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  token_id BIGINT NOT NULL REFERENCES hub_token (id),
  tx_id TEXT NOT NULL,
  eon BIGINT NOT NULL CHECK (eon > 0),
  sender BIGINT NOT NULL REFERENCES hub_wallet (id),
  recipient BIGINT NOT NULL REFERENCES hub_wallet (id),
  amount {bytes} NOT NULL CHECK (length(amount) = 32),
  nonce {bytes} NOT NULL CHECK (length(nonce) = 32),
  position {bytes} NOT NULL CHECK (length(position) = 32),
  signed_set {bytes},
  signed_spent {bytes},
  signed_gained {bytes},
  signature TEXT,
  seq BIGINT NOT NULL,
  at_ms BIGINT NOT NULL,
  UNIQUE (hub_id, tx_id),
  UNIQUE (hub_id, seq),
  UNIQUE (recipient, eon, position),
  UNIQUE (sender, eon, nonce),
  CHECK (sender <> recipient)
)",
    "CREATE INDEX hub_transfer_hub ON hub_transfer (hub_id, id)",
    "CREATE INDEX hub_transfer_eon ON hub_transfer (token_id, eon, recipient, position)",
    "CREATE INDEX hub_transfer_sender ON hub_transfer (sender, id)",
    "CREATE INDEX hub_transfer_recipient ON hub_transfer (recipient, id)",
    // What of an operation on chain is on the ledger. `eon`: in which it counts, later than its own when the wallet was admitted later;
    // `short`: withdrawn beyond what the wallet had.
    "CREATE TABLE hub_booking (
  operation_id BIGINT NOT NULL REFERENCES hub_operation (id),
  wallet_id BIGINT NOT NULL REFERENCES hub_wallet (id),
  eon BIGINT NOT NULL CHECK (eon > 0),
  amount {bytes} NOT NULL CHECK (length(amount) = 32),
  short {bytes} CHECK (length(short) = 32),
  at_ms BIGINT NOT NULL,
  PRIMARY KEY (operation_id)
)",
    "CREATE INDEX hub_booking_short ON hub_booking (wallet_id) WHERE short IS NOT NULL",
    // Contents of one checkpoint; `staged` while they come in, when nobody may see them.
    "CREATE TABLE hub_root (
  id {pk},
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  eon BIGINT NOT NULL CHECK (eon > 0),
  origin TEXT NOT NULL CHECK (origin IN ('built', 'imported')),
  state TEXT NOT NULL CHECK (state IN ('staged', 'complete')),
  root {bytes} CHECK (length(root) = 32),
  accounts BIGINT NOT NULL CHECK (accounts >= 0),
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  CHECK ((state = 'complete') = (root IS NOT NULL))
)",
    "CREATE UNIQUE INDEX hub_root_eon ON hub_root (hub_id, eon) WHERE state = 'complete'",
    "CREATE INDEX hub_root_staged ON hub_root (hub_id, eon) WHERE state = 'staged'",
    // A token in a checkpoint. `spine`: roots of its pieces of 1,024 accounts, from which and from one piece every proof is made.
    "CREATE TABLE hub_token_commitment (
  id {pk},
  root_id BIGINT NOT NULL REFERENCES hub_root (id) ON DELETE CASCADE,
  token {bytes} NOT NULL CHECK (length(token) = 20),
  token_trail BIGINT NOT NULL CHECK (token_trail >= 0),
  account_root {bytes} CHECK (length(account_root) = 32),
  upper_bound {bytes} CHECK (length(upper_bound) = 32),
  accounts BIGINT NOT NULL CHECK (accounts >= 0),
  spine {bytes},
  UNIQUE (root_id, token),
  UNIQUE (root_id, token_trail),
  CHECK ((account_root IS NULL) = (spine IS NULL))
)",
    // What a wallet is allotted, and what goes with it; NULL stands for zero.
    "CREATE TABLE hub_allotment (
  commitment_id BIGINT NOT NULL REFERENCES hub_token_commitment (id) ON DELETE CASCADE,
  trail BIGINT NOT NULL CHECK (trail >= 0),
  wallet {bytes} NOT NULL CHECK (length(wallet) = 20),
  left_bound {bytes} NOT NULL CHECK (length(left_bound) = 32),
  right_bound {bytes} NOT NULL CHECK (length(right_bound) = 32),
  active_state {bytes} CHECK (length(active_state) = 32),
  passive_checksum {bytes} CHECK (length(passive_checksum) = 32),
  passive_amount {bytes} CHECK (length(passive_amount) = 32),
  passive_marker {bytes} CHECK (length(passive_marker) = 32),
  PRIMARY KEY (commitment_id, trail),
  CHECK (left_bound <= right_bound)
)",
    "CREATE INDEX hub_allotment_wallet ON hub_allotment (commitment_id, wallet)",
    // What watchers of a hub are told, beside transfers, which have a place in the same order.
    "CREATE TABLE hub_event (
  hub_id BIGINT NOT NULL REFERENCES hub (id),
  seq BIGINT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('CHECKPOINT_CREATED', 'CONFIRMED_DEPOSIT', 'REQUESTED_WITHDRAWAL', 'CONFIRMED_WITHDRAWAL')),
  eon BIGINT NOT NULL,
  token {bytes},
  wallet {bytes},
  amount {bytes},
  reference {bytes} NOT NULL,
  operation_id BIGINT REFERENCES hub_operation (id),
  at_ms BIGINT NOT NULL,
  PRIMARY KEY (hub_id, seq)
)",
    "CREATE UNIQUE INDEX hub_event_operation ON hub_event (operation_id) WHERE operation_id IS NOT NULL",
];

/// Tables in reverse order of creation.
pub const TABLES: &[&str] = &[
    "hub_event",
    "hub_allotment",
    "hub_token_commitment",
    "hub_root",
    "hub_booking",
    "hub_transfer",
    "hub_wallet_eon",
    "hub_wallet",
    "hub_token",
    "hub_ledger",
];
