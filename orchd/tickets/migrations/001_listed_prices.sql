-- Prices that directories may still carry: those that are listed, and those that were.
CREATE TABLE listed_prices (
  pipeline TEXT NOT NULL,
  model_id TEXT NOT NULL,
  wei      INTEGER NOT NULL,
  fixed    INTEGER NOT NULL, -- 1 = per session, 0 = per second
  until    REAL,             -- Unix time, seconds, since which it is not listed any more; NULL = it is listed
  PRIMARY KEY (pipeline, model_id, wei, fixed)
) WITHOUT ROWID;
