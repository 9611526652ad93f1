"""Go's `url.Parse`, as far as a worker's URL needs it: what is escaped again, and what is refused.

Source: Go's net/url; byoc.md 5.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

_UNESCAPED = "$&+,/:;=@-._~"  # quote() leaves letters, digits and -._~ alone as well
_VALID = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@\[\]/]|%[0-9A-Fa-f]{2})*")


class BadUrl(Exception):
    """Go can't parse or won't call it; the text is Go's."""


@dataclass(frozen=True)
class Target:
    scheme: str
    host: str
    port: int
    authority: str
    """As in the Host header."""
    request_uri: str


def escaped_path(path: str) -> str:
    """`URL.EscapedPath` of a path as it stood in the URL: kept if it is a valid encoding, else escaped by Go."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", path):
        bad = re.search(r"%(?![0-9A-Fa-f]{2}).{0,2}", path, re.DOTALL)
        raise BadUrl(f'invalid URL escape "{bad.group() if bad else ""}"')
    return path if _VALID.fullmatch(path) else quote(unquote_to_bytes(path), safe=_UNESCAPED)


def parse(url: str) -> Target:
    """Return whom to call and with which request target. A query is passed on as it stands, spaces included.

    Raises:
        BadUrl: not something that Go's client calls.
    """
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise BadUrl("net/url: invalid control character in URL")
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        raise BadUrl(f'unsupported protocol scheme "{scheme if mark else ""}"')
    rest = rest.partition("#")[0]
    before_query, question, query = rest.partition("?")
    authority, slash, path = before_query.partition("/")
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, ""
    if not host:
        raise BadUrl("http: no Host in request URL")
    if port and not port.isdigit():
        raise BadUrl(f'invalid port ":{port}" after host')
    number = int(port) if port else {"http": 80, "https": 443}[scheme.lower()]
    uri = (escaped_path(slash + path) or "/") + (question + query)
    return Target(scheme.lower(), host.strip("[]"), number, authority, uri)
