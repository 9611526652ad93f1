-- Realtime sessions that run. A container goes on while orchd restarts, and so does its stream.
CREATE TABLE streams (
  pipeline   TEXT NOT NULL,
  model_id   TEXT NOT NULL,
  stream_id  TEXT NOT NULL,
  origin     TEXT NOT NULL,
  replica    INTEGER NOT NULL,
  generation TEXT NOT NULL,
  began_at   REAL NOT NULL, -- Unix time, seconds
  PRIMARY KEY (pipeline, model_id, stream_id)
) WITHOUT ROWID;
