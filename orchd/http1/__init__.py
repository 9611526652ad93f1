"""HTTP/1 as bytes and values, without sockets: what a head means, where a body ends, how both are written.

parser (bytes -> messages; heads: by llhttp) -> rules (is it allowed, where does it end) ... render (values -> bytes). A
reader can check the framing from here without knowing asyncio; `orchd.relay` moves the bytes.
"""
