-- Accounts of sessions that run, where a hook asks to settle those that died with orchd: as JSON (orchd/hooks/account.py),
-- with the seconds that were used when they were last written down.
CREATE TABLE open_accounts (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    used_s REAL NOT NULL
) STRICT;
