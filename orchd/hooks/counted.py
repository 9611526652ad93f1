"""For whom a job counts, where something is counted by payer. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

NETWORK_BITS = 64
"""Of an IPv6 address: who has one has all of its /64."""


@lru_cache(4096)
def payer_of(payer: str, peer: str) -> str:
    """Return the payer that a hook has named, else the address that the job comes from."""
    if payer:
        return f"payer {payer}"
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return f"address {peer}"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return f"address {ipaddress.ip_network((address, NETWORK_BITS), strict=False)}"
    return f"address {getattr(address, 'ipv4_mapped', None) or address}"
