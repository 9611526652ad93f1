"""Whose request it is, where proxies stand in front. Pure.

A proxy adds the address from which it was called to the end of `X-Forwarded-For`; what stands before that is the word
of others. So the list is read from its end: each address of a trusted proxy vouches for the one before it, and the
first that is no trusted proxy's is the caller's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from orchd.http1.names import LOWER
from orchd.http1.rules import RequestHead

MOST_PROXIES = 32
"""How many addresses are read of the list: nobody has more proxies, and to read a whole head of them takes long."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Peers:
    """Finds whose request it is.

    Args:
        trusted: addresses and networks of proxies.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = tuple(map(ipaddress.ip_network, trusted))

    def peer_of(self, peer: str, head: RequestHead) -> str:
        """Return the caller's address.

        Args:
            peer: of the connection.
        """
        address = _address(peer)
        if address is None:
            return peer
        if self._trusted and self._trusts(address):
            for said in _forwarded(head):
                if (before := _address(said)) is None:
                    break  # Not an address: nobody has vouched for more than what came so far.
                address = before
                if not self._trusts(address):
                    break
        return str(address)

    def caller(self, peer: str) -> str | None:
        """Return the address of a connection's caller; None = it is a trusted proxy, or has no address.

        Args:
            peer: of the connection.
        """
        address = _address(peer)
        return None if address is None or self._trusts(address) else str(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _forwarded(head: RequestHead) -> list[str]:
    """Return what the header says, the last first."""
    values = [value for name, value in head.headers if LOWER[name] == b"x-forwarded-for"]
    found: list[str] = []
    for value in reversed(values):
        words = value.rsplit(b",", MOST_PROXIES)
        found += [word.decode("latin-1").strip(" \t") for word in reversed(words)]
        if len(found) > MOST_PROXIES:
            break
    return found[:MOST_PROXIES]


def _address(text: str) -> Address | None:
    """Return the address; of IPv4 in IPv6's clothes that of IPv4. Some proxies add the port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
