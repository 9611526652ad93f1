-- What containers have made for their sessions. Both tables go with their session.
CREATE TABLE session_channels (
  session      TEXT NOT NULL,
  name         TEXT NOT NULL, -- as the session calls it
  channel_name TEXT NOT NULL, -- in URLs
  mime_type    TEXT NOT NULL,
  PRIMARY KEY (session, name)
) WITHOUT ROWID;
CREATE TABLE session_proxies (
  session  TEXT NOT NULL,
  proxy_id TEXT NOT NULL, -- in URLs
  target   TEXT,          -- a URL; NULL = the session's own runner
  PRIMARY KEY (session, proxy_id)
) WITHOUT ROWID;
