"""A stand-in for go-livepeer 0.9 as a BYOC gateway: it asks for tokens, buys tickets, retries and streams.

`Gateway` is what tests use; see `../README.md`.
"""
