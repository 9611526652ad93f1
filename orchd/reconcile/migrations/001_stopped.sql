-- Models that an operator has stopped, until somebody starts them again. The models file may name them or not.
CREATE TABLE stopped (
    pipeline TEXT NOT NULL,
    model_id TEXT NOT NULL,
    stopped_by TEXT NOT NULL, -- in words
    stopped_at REAL NOT NULL, -- Unix time, seconds
    PRIMARY KEY (pipeline, model_id)
) WITHOUT ROWID, STRICT;
