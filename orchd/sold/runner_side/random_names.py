"""Names in URLs that nobody can guess: who knows one may use what it names."""

from __future__ import annotations

import secrets

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def random_name(length: int) -> str:
    """Return that many characters of base32, 5 random bits each."""
    return "".join(secrets.choice(_BASE32) for _ in range(length))
