-- 1 = its container was asked to start it; 0 = there is only the session that a client has reserved at orchd.
ALTER TABLE streams ADD COLUMN started INTEGER NOT NULL DEFAULT 1;
