-- Sessions that were paid on, as Live Runner's payers know them: what their challenge has promised. Each has an account.
CREATE TABLE ledger_manifests (
  manifest   TEXT PRIMARY KEY,  -- its account's `work`
  scheme     TEXT NOT NULL,
  payer      BLOB NOT NULL,
  runner     TEXT NOT NULL,     -- the model, as paths name it
  pipeline   TEXT NOT NULL,
  model_id   TEXT NOT NULL,
  price      TEXT NOT NULL,     -- wei per second, or per session
  fixed      INTEGER NOT NULL,  -- 1 = the price is per session
  persistent INTEGER NOT NULL,  -- 1 = a session; 0 = one job
  issued_at  INTEGER NOT NULL,  -- Unix time of the challenge, seconds
  charged    INTEGER NOT NULL   -- 1 = its fixed price was charged
) WITHOUT ROWID;
