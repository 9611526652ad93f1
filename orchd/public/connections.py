"""How many connections each address may have at `public.listen`: few could else take the places of all others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from orchd.public.peers import Peers
from orchd.public.rates import address_key


class AddressLimit:
    """As `relay.listener.ConnectionLimit`.

    Trusted proxies are not bounded, since all callers come from their addresses, and neither is what has no address.

    Args:
        most: connections of one address, or of one /64 of IPv6.
        refused: counts one that is one too many.
    """

    def __init__(self, most: int, peers: Peers, refused: Callable[[], None]) -> None:
        self._most = most
        self._peers = peers
        self._refused = refused
        self._keys: dict[object, str] = {}
        self._counts: Counter[str] = Counter()

    def enter(self, connection: object, peer: str) -> bool:
        """As `ConnectionLimit`."""
        if connection in self._keys or (address := self._peers.caller(peer)) is None:
            return True
        key = address_key(address)
        if self._counts[key] >= self._most:
            self._refused()
            return False
        self._counts[key] += 1
        self._keys[connection] = key
        return True

    def leave(self, connection: object) -> None:
        """As `ConnectionLimit`."""
        if (key := self._keys.pop(connection, None)) is None:
            return
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
