"""The listener at which containers reach orchd for their sessions: plain HTTP, since they can't verify a certificate
that orchd has signed itself.

It carries what containers know from a node, and nothing else. With a setting of `:port` it listens at loopback from
the start on, and follows the network of the containers: the engine may be away for long, or make the network again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from orchd.domain.ports import HostSeen
from orchd.domain.signal import Signal
from orchd.doors.base import Door
from orchd.errors import OrchdError
from orchd.relay.listener import OpenListener
from orchd.settings.addresses import EVERYWHERE, split_listen

log = structlog.get_logger("orchd.public")

LOOK_S = 1.0
"""How often the containers' network is looked at, beside when the engine says something; the engine is not asked."""
LOOPBACK = "127.0.0.1"
WAITING = "containers can't reach orchd for their sessions yet: the engine has not said at which address they would"


@dataclass(frozen=True, slots=True)
class RunnerSideOpening:
    """What the listener for containers is made of.

    Attributes:
        doors: makes them; called when the parts below are open.
        host_seen: returns where containers reach orchd.
        host_known: the engine has said it.
        listening: is told the port, and the address if it is one alone.
    """

    doors: Callable[[], Sequence[Door]]
    host_seen: Callable[[], HostSeen]
    host_known: Signal[()]
    listening: Callable[[int, str], None]


class RunnerListener:
    """Opens it, and follows the network of the containers.

    Args:
        setting: `public.runner_listen`.
        host_seen: returns where containers reach orchd.
        open_at: takes the port of an address.
    """

    def __init__(
        self, setting: str, host_seen: Callable[[], HostSeen], open_at: Callable[[str], Awaitable[OpenListener]]
    ) -> None:
        self._follows = setting.startswith(":")
        self._setting = f"{LOOPBACK}{setting}" if self._follows else setting
        self._host_seen = host_seen
        self._open_at = open_at
        self._first: OpenListener | None = None
        self._network: OpenListener | None = None
        self._at = ""
        self._withdrawn = False
        self._trouble = ""
        self._news = asyncio.Event()

    async def open(self) -> tuple[int, str]:
        """Take the port that the setting names; return it, and the address if it is one alone.

        Raises:
            OrchdError: ADDRESS_IN_USE, SETTING_INVALID.
        """
        self._first = await self._open_at(self._setting)
        host = split_listen(self._setting)[0]
        return self._first.port, "" if self._follows or host in EVERYWHERE else host

    async def start(self) -> None:
        """Take connections from now on."""
        assert self._first is not None
        await self._first.take_connections()

    async def follow(self) -> None:
        """Listen where containers reach orchd, now and whenever that changes. Never returns."""
        while True:
            self._news.clear()
            address = self._host_seen().address if self._follows and not self._withdrawn else ""
            if address not in ("", self._at):
                await self._move(address)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            except TimeoutError:
                pass

    def look(self) -> None:
        """Look now: where containers reach orchd has become known, and they may be asking already."""
        self._news.set()

    async def _move(self, address: str) -> None:
        assert self._first is not None
        host = f"[{address}]" if ":" in address else address
        try:
            listener = await self._open_at(f"{host}:{self._first.port}")
        except OrchdError as exc:
            if exc.message != self._trouble:
                log.warning("runner_side_not_listening", address=address, reason=exc.message)
            self._trouble = exc.message
            return
        if self._withdrawn:
            listener.stop_accepting()
            return
        if self._network is not None:
            self._network.stop_accepting()
        self._network, self._at, self._trouble = listener, address, ""
        await listener.take_connections()
        log.info("runner_side_listening", listen=list(self.listen))

    def stop_accepting(self) -> None:
        """Take no more connections, and follow no more."""
        self._withdrawn = True
        for listener in filter(None, (self._first, self._network)):
            listener.stop_accepting()

    @property
    def listen(self) -> tuple[str, ...]:
        """The addresses in use."""
        return tuple(at for listener in (self._first, self._network) if listener is not None for at in listener.listen)

    @property
    def trouble(self) -> str:
        """Why containers can't reach it, in words; empty = they can."""
        return self._trouble or (WAITING if self._follows and not self._host_seen().name else "")
