-- Wei are text: whole ones as "123", fractions as "numerator/denominator". Addresses and hashes are blobs.

-- One row.
CREATE TABLE ledger_state (
  id           INTEGER PRIMARY KEY CHECK (id = 1),
  ledger       BLOB NOT NULL,     -- 16 random bytes: tells this ledger from any other
  chain        INTEGER NOT NULL,  -- id of the chain that the payments are for; 0 = none
  commits      INTEGER NOT NULL,  -- counts the transactions that book; the marker beside the file has seen as many
  l1_block     INTEGER NOT NULL,  -- the highest ever seen: terms that have expired there are never taken again
  day          INTEGER NOT NULL,  -- UTC day (Unix time / 86400) of `earned_today`
  earned_today TEXT NOT NULL      -- wei, expected, of the payments booked on that day
);

-- Secrets of which terms and auth tokens are made.
CREATE TABLE ledger_keys (
  kind        TEXT NOT NULL,      -- terms or auth
  id          INTEGER NOT NULL,   -- 1 to 2**32 - 1, random
  secret      BLOB NOT NULL,      -- 32 bytes; sealed, 60: nonce, ciphertext, tag (AES-GCM)
  sealed      INTEGER NOT NULL,   -- 1 = encrypted with tickets.key_file
  made_at     REAL NOT NULL,      -- Unix time, seconds
  replaced_at REAL,               -- NULL = new terms and tokens are made with it
  PRIMARY KEY (kind, id)
) WITHOUT ROWID;

-- Terms on which tickets were taken, until they expire.
CREATE TABLE ledger_terms (
  commitment       BLOB PRIMARY KEY,  -- recipient_rand_hash
  expiration_block INTEGER NOT NULL,  -- L1
  nonces           BLOB NOT NULL,     -- a bitmap of those below 600, then the others, 4 bytes each
  published        INTEGER NOT NULL   -- 1 = the random number may be known
) WITHOUT ROWID;

CREATE TABLE ledger_accounts (
  id         INTEGER PRIMARY KEY,
  scheme     TEXT NOT NULL,
  payer      BLOB NOT NULL,
  work       TEXT NOT NULL,   -- capability or manifest
  balance    TEXT NOT NULL,   -- wei; below zero it is a debt
  checkpoint TEXT NOT NULL,   -- wei: the sum of the rows that were folded; with those that are left it is the balance
  changed_at REAL NOT NULL,   -- Unix time, seconds
  UNIQUE (scheme, payer, work)
);

CREATE TABLE ledger_journal (
  id       INTEGER PRIMARY KEY,
  account  INTEGER NOT NULL,
  kind     TEXT NOT NULL,     -- credit, charge, given_back, forfeited
  began_at REAL NOT NULL,     -- Unix time, seconds
  at       REAL NOT NULL,     -- of its last change: a running session has one row for each hour
  wei      TEXT NOT NULL,     -- what it adds to the balance; a charge is negative
  tickets  INTEGER NOT NULL,  -- of a credit
  units    INTEGER NOT NULL,  -- of a charge
  price    TEXT NOT NULL,     -- wei per unit
  session  TEXT NOT NULL,     -- id of the session's account; empty = of no session
  pipeline TEXT NOT NULL,
  model_id TEXT NOT NULL,
  state    TEXT NOT NULL      -- done; open = its session runs; died = orchd ended before the session did
);
CREATE INDEX ledger_journal_account ON ledger_journal (account, began_at);
CREATE INDEX ledger_journal_open ON ledger_journal (session) WHERE state = 'open';

-- Winning tickets, never deleted: with their terms, all that a redemption needs.
CREATE TABLE ledger_winners (
  hash             BLOB PRIMARY KEY,  -- of the ticket
  scheme           TEXT NOT NULL,
  payer            BLOB NOT NULL,     -- the sender
  work             TEXT NOT NULL,
  pipeline         TEXT NOT NULL,
  model_id         TEXT NOT NULL,
  recipient        BLOB NOT NULL,
  face_value       TEXT NOT NULL,     -- wei
  win_prob         TEXT NOT NULL,     -- of 2**256 - 1
  commitment       BLOB NOT NULL,
  nonce            INTEGER NOT NULL,
  sig              BLOB NOT NULL,
  rand             BLOB NOT NULL,     -- 32 bytes; secret until the terms have expired
  creation_round   INTEGER NOT NULL,
  round_hash       BLOB NOT NULL,
  expiration_block INTEGER NOT NULL,  -- L1
  won_at           REAL NOT NULL,     -- Unix time, seconds
  state            TEXT NOT NULL,     -- won, exported, redeemed, expired
  state_at         REAL NOT NULL,
  owed             INTEGER NOT NULL   -- 1 = it may still be paid
) WITHOUT ROWID;
CREATE INDEX ledger_winners_owed ON ledger_winners (payer) WHERE owed = 1;
CREATE INDEX ledger_winners_won_at ON ledger_winners (won_at);

-- Sums over all tickets that were ever taken. Integers as text.
CREATE TABLE ledger_sums (
  pipeline         TEXT NOT NULL,
  model_id         TEXT NOT NULL,
  payer            BLOB NOT NULL,
  tickets          INTEGER NOT NULL,
  expected         TEXT NOT NULL,     -- face_value * win_prob, in 1 / (2**256 - 1) wei
  win_probs        TEXT NOT NULL,     -- in 1 / (2**256 - 1)
  win_prob_squares TEXT NOT NULL,     -- in 1 / (2**256 - 1)**2
  won              INTEGER NOT NULL,
  won_wei          TEXT NOT NULL,
  redeemed         INTEGER NOT NULL,
  redeemed_wei     TEXT NOT NULL,
  expired          INTEGER NOT NULL,
  expired_wei      TEXT NOT NULL,
  PRIMARY KEY (pipeline, model_id, payer)
) WITHOUT ROWID;
