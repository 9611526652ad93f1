-- Definitions of models. `current` marks the last good one of each key; the others are older generations whose
-- runners may still be there.
CREATE TABLE models (
  pipeline   TEXT NOT NULL,
  model_id   TEXT NOT NULL,
  generation TEXT NOT NULL,
  definition TEXT NOT NULL,
  current    INTEGER NOT NULL CHECK (current IN (0, 1)),
  saved_at   REAL NOT NULL, -- Unix time, seconds
  PRIMARY KEY (pipeline, model_id, generation)
) WITHOUT ROWID;

CREATE UNIQUE INDEX models_current ON models (pipeline, model_id) WHERE current = 1;
