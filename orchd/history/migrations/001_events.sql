-- What orchd did and why, oldest first. An id is given to each event when it happens, so none has two of them.
CREATE TABLE history_events (
  id         INTEGER PRIMARY KEY,
  at         REAL NOT NULL, -- Unix time, seconds
  kind       TEXT NOT NULL,
  pipeline   TEXT NOT NULL, -- empty, and so is model_id = about no model
  model_id   TEXT NOT NULL,
  replica    INTEGER, -- NULL = about no single runner, and generation is empty
  generation TEXT NOT NULL,
  by         TEXT NOT NULL, -- empty = nobody's order
  why        TEXT NOT NULL,
  evidence   TEXT NOT NULL
);
CREATE INDEX history_events_of_model ON history_events (pipeline, model_id, id);

-- The last known state of every runner.
CREATE TABLE history_runners (
  pipeline   TEXT NOT NULL,
  model_id   TEXT NOT NULL,
  replica    INTEGER NOT NULL,
  generation TEXT NOT NULL,
  state      TEXT NOT NULL,
  since      REAL NOT NULL, -- Unix time, seconds
  why        TEXT NOT NULL,
  PRIMARY KEY (pipeline, model_id, replica, generation)
) WITHOUT ROWID;

-- The daemon that runs, or ran last: one row.
CREATE TABLE history_daemon (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  version    TEXT NOT NULL,
  instance   TEXT NOT NULL,
  started_at REAL NOT NULL, -- Unix time, seconds
  alive_at   REAL NOT NULL, -- Unix time, seconds; at most a minute old while it runs
  ended_at   REAL -- NULL = it runs, or did not end cleanly
);
