"""How orchd reaches containers, and where one answers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Literal

from orchd.domain.ids import Address
from orchd.domain.ports import HostSeen
from orchd.errors import EngineUnavailable


class Reach(StrEnum):
    NAME = "name"
    """By Docker's name service: orchd itself is on the network."""
    ADDRESS = "address"
    """By the container's IP address: orchd runs on the engine's host."""
    LOOPBACK = "loopback"
    """By a port published on 127.0.0.1: where the containers' network is not routed to us."""


def choose_reach(
    setting: Literal["auto", "name", "address", "loopback"],
    network: str,
    *,
    own_networks: Collection[str] | None,
    routed: bool,
) -> Reach:
    """Return how to reach containers on `network`.

    Args:
        own_networks: of the container that orchd runs in; None = it runs in none of this engine.
        routed: the engine is a local rootful one, whose bridges the host can reach.

    Raises:
        EngineUnavailable: orchd's own container must join the network first.
    """
    if setting != "auto":
        return Reach(setting)
    if own_networks is not None and "host" not in own_networks:
        if network in own_networks:
            return Reach.NAME
        raise EngineUnavailable(
            f"cannot reach containers on the network {network}: the container that orchd runs in is only on "
            f"{', '.join(sorted(own_networks))}; join it with: docker network connect {network} CONTAINER"
        )
    return Reach.ADDRESS if routed else Reach.LOOPBACK


def is_routed(info: Mapping[str, Any], *, local: bool) -> bool:
    """Tell from `docker info` whether the host reaches container addresses; `local`: over a unix socket."""
    rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
    return local and not rootless and info.get("OperatingSystem") != "Docker Desktop"


def address_of(container: Mapping[str, Any], reach: Reach, network: str, port: int) -> Address | None:
    """Return where a running container answers, from its inspection or list entry; None = it can't be reached.

    A container made under another `reach` may publish no port: its address is the best guess then.
    """
    if reach is Reach.NAME:
        # Docker gives every container its short id as an alias: unlike ours, it is one generation's alone.
        return Address(container["Id"][:12], port)
    if reach is Reach.LOOPBACK and (published := _published(container, port)) is not None:
        return Address("127.0.0.1", published)
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    joined = networks.get(network) or {}
    host = joined.get("IPAddress") or joined.get("GlobalIPv6Address")
    return Address(host, port) if host else None


def host_seen(reach: Reach, gateway: str, own: str) -> HostSeen:
    """Return where containers reach orchd.

    Args:
        gateway: the host's address on their network; empty = not known.
        own: the address there of the container that orchd runs in; empty = it runs in none of theirs.
    """
    match reach:
        case Reach.NAME:
            return HostSeen(own, own)
        case Reach.ADDRESS:
            return HostSeen(gateway, gateway)
    return HostSeen("host.docker.internal")


def _published(container: Mapping[str, Any], port: int) -> int | None:
    for entry in container.get("Ports") or ():  # of a list entry
        if entry["PrivatePort"] == port and entry.get("PublicPort"):
            return int(entry["PublicPort"])
    inspected = (container.get("NetworkSettings") or {}).get("Ports") or {}
    for entry in inspected.get(f"{port}/tcp") or ():
        return int(entry["HostPort"])
    return None
