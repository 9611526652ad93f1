"""Decides about a gateway's job from top to bottom: handle, run, with request, body and hooks.

`orchd.relay` moves the bytes; of it, the files here know `relay.ports` and its pure files. Only `server` knows both
sides and brings them together. docs/explanation/data-plane.md tells why it is so.
"""
