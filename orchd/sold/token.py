"""What a container proves with that it may speak for its session. Pure.

It is made of the session's id and a secret that is kept: so nothing has to be kept for a session, and it is the same
after a restart.
"""

from __future__ import annotations

import hashlib
import hmac

from orchd.domain.model import Secret

SECRET_BYTES = 32


def session_token(secret: bytes, session: str) -> Secret:
    """Return the token of a session: 64 hex digits.

    Args:
        session: its id.
    """
    return Secret(hmac.new(secret, b"session token\0" + session.encode(), hashlib.sha256).hexdigest())


def is_token(shown: bytes, token: Secret) -> bool:
    """Return whether this token was shown; takes the same time whatever was."""
    return hmac.compare_digest(shown, token.value.encode())
