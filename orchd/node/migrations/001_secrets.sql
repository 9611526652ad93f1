-- What orchd and the node beside it must go on agreeing on: random keys, heartbeat secrets and the like, by name.
CREATE TABLE secrets (
  name  TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
