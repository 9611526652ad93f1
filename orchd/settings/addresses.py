"""Addresses to listen on, and those to be dialled, as settings have them. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on
"""Hosts that stand for all addresses of the machine."""


def split_listen(listen: str) -> tuple[str, int]:
    """Return host and port of `host:port`; an IPv6 host is given in brackets and returned without.

    Raises:
        ValueError: not of that form, or the port is above 65535. Port 0 is fine: the system picks one.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})", listen)
    if found is None or int(found[3]) > 65535:
        raise ValueError("it should be host:port, such as 127.0.0.1:8737 or [::1]:8737")
    return found[1] or found[2], int(found[3])


def port_of(listen: str) -> int | None:
    """Return the port of an address to listen on, also of a port alone (`:8739`); None for a socket of another kind."""
    try:
        return split_listen(f"*{listen}" if listen.startswith(":") else listen)[1]
    except ValueError:  # A unix socket, or systemd's.
        return None


class DialGrant(NamedTuple):
    """Addresses that may be dialled.

    Attributes:
        network: one address alone, or several.
        port: None = any.
    """

    network: IPv4Network | IPv6Network
    port: int | None = None


def read_grant(text: str) -> DialGrant:
    """Return what an IP address or a network grants, with a port behind it or without; IPv6 with a port is in brackets.

    Raises:
        ValueError: not of that form. A name is none: what it means is its name server's word.
    """
    found = _GRANT.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        bracketed, port, plain, plain_port, alone = found.groups()
        grant = DialGrant(_unmapped(ip_network(bracketed or plain or alone)), _read_port(port or plain_port))
    except ValueError as exc:
        raise ValueError(
            "it should be an IP address or a network, with a port or without, such as 10.0.0.5:9000, 10.0.0.0/8 or "
            "[fd00::5]:9000"
        ) from exc
    return grant


_GRANT = re.compile(r"\[([0-9A-Fa-f:./]+)\](?::([0-9]{1,5}))?|([0-9./]+):([0-9]{1,5})|([0-9A-Fa-f:./]+)")


def _read_port(text: str | None) -> int | None:
    if text and not 0 < int(text) < 65536:
        raise ValueError(text)
    return int(text) if text else None


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return a network of IPv4 in IPv6's clothes as what it is."""
    inner = getattr(network.network_address, "ipv4_mapped", None)
    if inner is None or network.prefixlen < 96:
        return network
    return IPv4Network((inner, network.prefixlen - 96))
