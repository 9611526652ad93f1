"""Bodies that are not JSON to everybody: what reads an answer of the node must refuse them."""

from __future__ import annotations

NOT_JSON = (
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'["\\ud800"]',
    b'["\\uDFFF\\uD800"]',
    b"[NaN]",
    b"[Infinity]",
    b"9" * 5000,
    b"\xff",
    b"",
)
