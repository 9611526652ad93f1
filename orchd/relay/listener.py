"""A listener as a value: its section of the settings, the limits of its connections, its TLS, and what it carries."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from orchd.lag import LoopLag
from orchd.relay.settings import RelaySettings


class HandshakeFault(StrEnum):
    """Why a TCP connection never became one of TLS."""

    PLAIN_HTTP = "plain_http"
    """The client speaks HTTP without TLS."""
    NOT_TLS = "not_tls"
    """What it sent is no TLS, or has no version or cipher in common with ours."""
    TIMEOUT = "timeout"
    CROWDED = "crowded"
    """It took long, and others waited for its place."""
    LEFT = "left"
    """The client has closed or reset the connection."""


class Tls(Protocol):
    """The TLS of a listener."""

    @property
    def context(self) -> ssl.SSLContext:
        """What the next connection gets; those that there are keep theirs."""

    @property
    def lag(self) -> LoopLag:
        """How long orchd itself stood still: no handshake is given up for that."""

    def failed(self, why: HandshakeFault) -> None:
        """Count a connection that never became one of TLS."""


class ConnectionLimit(Protocol):
    """Bounds how many connections of a listener each address may have."""

    def enter(self, connection: object, peer: str) -> bool:
        """Count a connection, unless it is counted already; False = its address has too many, and it must be closed.

        Args:
            connection: anything that stands for it until `leave`.
            peer: its address; empty = it has none.
        """
        ...

    def leave(self, connection: object) -> None:
        """It is over. One that is not counted is none of them."""


@dataclass(frozen=True, slots=True)
class JobListener:
    """One way for connections to come in; it may have several addresses.

    Attributes:
        section: of the settings, whose `listen`, `max_connections` and `max_header_kb` these are; for messages.
        settings: addresses, limits and timeouts of its connections.
        carries: what its connections have as `listener`: nothing to the relay.
        open_files: how many of the process's descriptors it may count on; None = any number.
        tls: None = plain TCP.
        addresses: bounds connections by address, before anything is read of them; None = they may have any number.
        setting: that names its addresses; empty = `listen` of the section.
        silent_s: for how many seconds clients of it may be connected before they send anything, if that is longer than
            a head may take.
    """

    section: str
    settings: RelaySettings
    carries: Any = field(default=None, repr=False)
    open_files: int | None = None
    tls: Tls | None = None
    addresses: ConnectionLimit | None = None
    setting: str = ""
    silent_s: float = 0.0


class OpenListener(Protocol):
    """A listener whose ports are taken.

    Attributes:
        port: the first one; differs from the settings if that is 0.
        listen: the addresses in use, with the ports that the system has chosen; empty once it has stopped.
    """

    @property
    def port(self) -> int: ...
    @property
    def listen(self) -> tuple[str, ...]: ...

    async def take_connections(self) -> None:
        """Take connections from now on; those that came meanwhile have waited."""

    def stop_accepting(self) -> None:
        """Take no more connections; those that there are go on."""
