"""Moves a job's bytes, over `orchd.http1`; decides nothing about jobs.

listen (who connects) -> caller (one connection, its requests in order) -> `orchd.jobs` decides -> transfer (the bytes,
both ways; splice: in the kernel) -> runner (connections to runners). `ports` is what `orchd.jobs` knows of all this.
"""
