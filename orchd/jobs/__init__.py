"""Decides about a gateway's job from top to bottom: `handle` and `run`, with `plan`, `heads`, `body` and `accounts`.

`orchd.doors` says what a request is for and how answers look; `orchd.hooks` asks who else has a say.

`orchd.relay` moves the bytes; of it, the files here know `relay.ports` and its pure files. Only `server` knows both
sides and brings them together. docs/explanation/data-plane.md tells why it is so.
"""
