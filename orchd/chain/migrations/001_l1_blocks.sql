-- The highest L1 block that was ever seen of each chain, and when (Unix time, seconds): what has expired stays expired.
CREATE TABLE l1_blocks (
  chain_id INTEGER NOT NULL PRIMARY KEY,
  l1_block INTEGER NOT NULL,
  seen_at  REAL NOT NULL
);
