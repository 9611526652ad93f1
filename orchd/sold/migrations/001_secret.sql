-- What the tokens of sessions are made with; one row. Containers go on over a restart, and so do their tokens.
CREATE TABLE sold_secret (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  secret BLOB NOT NULL -- 32 random bytes
);
