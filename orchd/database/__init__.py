"""EDGE. SQLite under everything that orchd keeps: one writer thread, transactions that parts can share.

`database.py` is what parts use, `sql.py` what their queries are given. The rest is how it works: `commit.py` (group
commit), `file.py` (opening, backups, writing again), `schema.py` (which migrations a file has), `migrations.py`.
"""
