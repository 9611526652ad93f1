"""Which addresses a proxy may dial. Pure.

A container names the target, and a client calls it: so nothing is dialled but what the operator has granted, however
it is spelled, and whatever a name server says. Asked at each dial, about the very address that is dialled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from orchd.settings.addresses import DialGrant, read_grant

IP = IPv4Address | IPv6Address

METADATA = frozenset(map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
"""Where clouds hand out their machines' credentials."""
_NAT64 = IPv6Network("64:ff9b::/96")


class Grants:
    """What the setting `public.proxy_grants` allows.

    A network grants no address that leads to a machine itself, to its neighbours on the wire, to all of them, or to a
    cloud's metadata: such an address is granted by its own name alone. And a port at which orchd itself listens is
    granted by address and port together alone: an admin page asks nobody for a password.

    Args:
        granted: as the setting has them.
        own_ports: at which orchd listens.
    """

    def __init__(self, granted: Sequence[str], own_ports: Collection[int] = ()) -> None:
        self._grants = tuple(map(read_grant, granted))
        self._own_ports = frozenset(own_ports)

    def allows(self, address: str, port: int) -> bool:
        """Return whether a proxy may dial this IP address."""
        ip = _plain(ip_address(address.partition("%")[0]))
        special = any(map(_is_special, _forms(ip)))
        return any(self._covers(grant, ip, port, special=special) for grant in self._grants)

    def _covers(self, grant: DialGrant, ip: IP, port: int, *, special: bool) -> bool:
        if ip not in grant.network or grant.port not in (None, port):
            return False
        alone = grant.network.num_addresses == 1
        if port in self._own_ports:
            return alone and grant.port is not None
        return alone or not special


def _plain(ip: IP) -> IP:
    """Return IPv4 in IPv6's clothes as what it is: the kernel dials that."""
    return getattr(ip, "ipv4_mapped", None) or ip


def _forms(ip: IP) -> tuple[IP, ...]:
    """Return the address, and the IPv4 address that a translator on the way may make of it."""
    if not isinstance(ip, IPv6Address):
        return (ip,)
    inner = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.sixtofour
    return (ip,) if inner is None else (ip, inner)


def _is_special(ip: IP) -> bool:
    alone = ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast or ip.is_reserved
    return alone or ip in METADATA
