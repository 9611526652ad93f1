"""The daemon's own settings: flags, environment (`ORCHD_...`), file, default, in this order of precedence.

Each part describes its section in its own `settings.py`, built on `section`. `tree` joins the sections to `Settings`,
`load` fills them in and explains what can't be used, `advice` warns of values that are likely to be mistakes. The rest
of orchd receives its section, frozen, and never reads the environment. `config/orchd.toml` shows each setting with its
default; a test keeps the two the same.
"""
