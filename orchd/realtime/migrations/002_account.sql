-- Who pays for the session, as JSON (orchd/hooks/account.py); NULL = nobody is charged for it.
ALTER TABLE streams ADD COLUMN account TEXT;
