-- Which steps of a hook's own tables have been carried out. Hooks come and go with the settings, so they are counted here
-- and not with the parts of orchd.
CREATE TABLE hook_migrations (
    hook TEXT NOT NULL,
    step INTEGER NOT NULL,
    made_at REAL NOT NULL,
    PRIMARY KEY (hook, step)
) STRICT;
