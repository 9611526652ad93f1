"""Names in URLs that nobody can guess: who knows one may use what it names."""

from __future__ import annotations

import secrets

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def random_name(length: int) -> str:
    """Return that many characters of base32, 5 random bits each."""
    return "".join(_BASE32[byte & 31] for byte in secrets.token_bytes(length))


def new_session_id() -> str:
    """Return an id that nobody guesses, and no other session has, as Livepeer Node's clients know them."""
    return f"session_{random_name(16)}"
