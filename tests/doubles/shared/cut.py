"""To cut a connection, whatever has become of it."""

from __future__ import annotations

import asyncio
import contextlib


def cut(transport: asyncio.WriteTransport) -> None:
    """Abort, also what is closed already: with TLS, Debian 12's Python (3.11.2) can't do that."""
    with contextlib.suppress(AttributeError):
        transport.abort()
