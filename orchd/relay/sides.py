"""What a connection tells of itself to the exchange on it, one Protocol for each side.

The connections know no more of exchanges than this, so that imports go one way: an exchange knows its connections.
"""

from __future__ import annotations

from typing import Protocol

from orchd.relay.wire import Wire


class CallerExchange(Protocol):
    """The exchange that serves a request, as its caller's connection sees it."""

    @property
    def bytes_in(self) -> int:
        """Bytes of the request's body that were moved."""

    @property
    def taker(self) -> Wire | None:
        """The connection whose other end must take bytes before anything goes on; None = neither."""

    @property
    def waits_for_body(self) -> bool:
        """The caller is to send more of its body, and nothing but the caller holds that up."""

    def wants_body(self) -> bool:
        """More of the request's body can be used now."""

    def upload_changed(self) -> None:
        """Body came, or the request ended."""

    def download_changed(self) -> None:
        """The caller takes bytes (no more, again)."""


class CallerTunnel(CallerExchange, Protocol):
    """After both sides have switched protocols."""

    def caller_said(self, data: bytes) -> None:
        """Bytes came."""

    def caller_finished(self) -> None:
        """The caller sends no more, and may still take bytes."""


class RunnerExchange(Protocol):
    """The exchange on a runner's connection, or what is left of it when its job was cut."""

    @property
    def reads_runner(self) -> bool:
        """Nobody but the connection's parser takes what the runner sends."""

    def runner_moved(self) -> None:
        """The parser has something new, or is broken."""

    def runner_lost(self, *, proper: bool) -> None:
        """The connection has ended (`proper`: was closed, not reset); what came before is in the parser."""

    def upload_changed(self) -> None:
        """The runner takes bytes (no more, again)."""

    def crashed(self, why: Exception) -> None:
        """A bug of ours came up while bytes were looked at."""


class RunnerTunnel(RunnerExchange, Protocol):
    """After both sides have switched protocols."""

    def runner_said(self, data: bytes) -> None:
        """Bytes came."""

    def runner_finished(self) -> None:
        """The runner sends no more, and may still take bytes."""
