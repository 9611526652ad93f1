"""What a proxy of a session leads to. Pure.

A proxy's URL is a way into the session for those who were told it. It leads to the session's own runner, as `/app`
does, or to a URL that the runner has named, if the operator has granted its address (`grants`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orchd.domain.ids import Address
from orchd.domain.random_names import random_name

MOST_TARGET_LENGTH = 2048
_URL = re.compile(r"[!-\[\]-~]+")
"""Visible ASCII, of which nothing can be added to a head; no backslash, which some servers take for a slash."""
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ProxyTarget:
    """Where a proxy leads that does not lead to the session's runner.

    Attributes:
        address: with the path, below which each call goes.
        query: comes before that of each call; empty = there is none.
    """

    address: Address
    query: str = ""

    def below(self, rest: str, query: str) -> str:
        """Return path and query there of a call, without the path of `address`.

        Args:
            rest: what follows the proxy's id, without the slash between them.
            query: of the call; empty = it has none.
        """
        queries = "&".join(filter(None, (self.query, query)))
        return f"/{rest}" + (f"?{queries}" if queries else "")


@dataclass(frozen=True, slots=True)
class SessionProxy:
    """A proxy of a session.

    Attributes:
        id: in its URL; who knows it can use it, so it is not shown.
        session: id of the session.
        target: None = the session's own runner.
    """

    id: str = field(repr=False)
    session: str
    target: ProxyTarget | None = None


def new_proxy_id() -> str:
    """Return an id of 130 random bits, as long as a node's."""
    return random_name(26)


def read_target(url: str) -> ProxyTarget:
    """Return where a URL leads. Its user info is left out, as at a node: no credential is made of it.

    Raises:
        ValueError: it is not an absolute HTTP or HTTPS URL, or too long, or has a fragment.
    """
    if len(url) > MOST_TARGET_LENGTH or not _URL.fullmatch(url):
        raise ValueError("cannot use the URL: it is too long, or not visible ASCII")
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if parts.scheme not in _PORTS or not host or not _HOST.fullmatch(host) or port == 0 or "#" in url:
        raise ValueError("cannot use the URL: it must be http or https, with a host and without a fragment")
    address = Address(host, port or _PORTS[parts.scheme], parts.scheme, parts.path.rstrip("/"))
    return ProxyTarget(address, parts.query)
