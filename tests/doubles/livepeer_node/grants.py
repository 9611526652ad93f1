"""PURE. Which private destinations the node may dial, as its settings grant them. Source: livepeer-node.md 2.2.

Compared is the spelling of host and port, not the address. The form is that of the program that was recorded: no port
means 443. Since 1.0.1 only IP literals are taken, and no port means any.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_GRANT = re.compile(r"(?:(https?)://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d+))?")
_FORM = "expected host[:port] or HTTP(S) URL without credentials, path, query or fragment"
_PORTS = "expected a port between 1 and 65535"


class BadGrant(Exception):
    """A grant that ends the start; the text is the program's."""


class Grants:
    """Raises BadGrant."""

    def __init__(self, grants: Iterable[str] = ()) -> None:
        self._granted = {_parsed(text) for text in grants}

    def allow(self, host: str, port: int, addresses: Iterable[str]) -> bool:
        """Whether to dial; `addresses` is what the host resolves to."""
        if (_plain(host), port) in self._granted:
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


def _plain(host: str) -> str:
    return host.lower().strip("[]")


def _public(address: str) -> bool:
    """Loopback, private, link-local, shared, test and reserved addresses are not public."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_global
    return found.is_global and not found.is_multicast
