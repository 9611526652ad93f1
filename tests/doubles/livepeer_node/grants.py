"""PURE. Which private destinations the node may dial, as its settings grant them. Source: livepeer-node.md 2.2.

Compared is the spelling of host and port, not the address. In the program that was recorded (just before 1.0.1) a host
may be a name, and no port means 443. From 1.0.1 on, as its package pages say, the host is an IP literal, and no port
means any; how that refuses a name is not known, and here it is in words of ours.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_GRANT = re.compile(r"(?:(https?)://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d+))?")
_FORM = "expected host[:port] or HTTP(S) URL without credentials, path, query or fragment"
_PORTS = "expected a port between 1 and 65535"
_LITERAL_FORM = "expected an IP address with an optional port"
_ANY_PORT = 0


class BadGrant(Exception):
    """A grant that ends the start; the text is the program's."""


class Grants:
    """Raises BadGrant."""

    def __init__(self, grants: Iterable[str] = (), *, literals: bool = False) -> None:
        """`literals`: in the form of 1.0.1 and later."""
        self._granted = {_literal(text) if literals else _parsed(text) for text in grants}

    def allow(self, host: str, port: int, addresses: Iterable[str]) -> bool:
        """Whether to dial; `addresses` is what the host resolves to."""
        if not self._granted.isdisjoint({(_plain(host), port), (_plain(host), _ANY_PORT)}):
            return True
        return all(_public(address) for address in addresses)


def _parsed(text: str) -> tuple[str, int]:
    match = _GRANT.fullmatch(text)
    if match is None:
        raise BadGrant(_FORM)
    scheme, host, port = match.groups()
    number = int(port) if port is not None else 80 if scheme == "http" else 443
    if not 0 < number < 65536:
        raise BadGrant(_PORTS)
    return _plain(host), number


def _literal(text: str) -> tuple[str, int]:
    """Brackets are needed where an IPv6 address has a port."""
    match = re.fullmatch(r"(\[[^]]*\]|[^:]*):(\d+)", text)
    host, port = match.groups() if match is not None else (text, None)
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise BadGrant(_LITERAL_FORM) from None
    if port is None:
        return _plain(host), _ANY_PORT
    if not 0 < int(port) < 65536:
        raise BadGrant(_PORTS)
    return _plain(host), int(port)


def _plain(host: str) -> str:
    return host.lower().strip("[]")


def _public(address: str) -> bool:
    """Loopback, private, link-local, shared, test and reserved addresses are not public."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_global
    return found.is_global and not found.is_multicast
