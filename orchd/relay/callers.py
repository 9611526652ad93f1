"""EDGE. The callers' connections of a listener: takes them, knows when something is due, and ends them in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from socket import AF_UNIX
from typing import Any, Protocol

import structlog

from orchd.errors import Code, JobRefused
from orchd.http1.names import Header
from orchd.http1.render import Date
from orchd.limits import most_connections
from orchd.relay.caller import CallerConnection
from orchd.relay.caller_wire import CallerWire
from orchd.relay.handshakes import HandshakeLimits, TlsServer
from orchd.relay.listen import listen, remove_sockets
from orchd.relay.listener import JobListener
from orchd.relay.pool import Pool
from orchd.relay.wire import Batch

log = structlog.get_logger("orchd.jobs")

TICK_S = 0.1
"""How exact timeouts are. One timer for all connections: one each would cost more than many a job."""
LATE_TICK_S = 0.5
"""After a tick that comes so late, everybody gets the time back in which nothing of theirs was read."""
LOOKOUT_TICKS = 10
MOST_A_TICK = 200
"""Connections whose deadline has passed, and those that are looked after, of few: thousands at once would hold up all
others. Of many that are looked after, each tick has its share.
"""
MOST_TURNED_AWAY = 32
"""Connections beyond the limit that are kept until they ask for something, and are told why they get nothing."""
LAST_WORDS_S = 2.0  # For answers that are being sent when everything else has ended.


class RequestServer(Protocol):
    """Who serves the requests of callers, and hears of what never became one.

    Attributes:
        serve: serves the `message` of a connection; ends, now or later, with its `done`.
    """

    @property
    def serve(self) -> Callable[[CallerConnection], None]: ...

    def refused(self, why: JobRefused) -> tuple[list[Header], bytes]:
        """Count a request that never became a job; return headers and body of what it is answered."""

    def closed(self, reason: str) -> None:
        """Count a connection that we closed."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections of callers there may be.

    Attributes:
        most: that many.
        why: what sets this limit, in words.
    """

    most: int
    why: str


def room_for(listener: JobListener) -> Room:
    """Return how many connections the settings and the limit of open files allow."""
    wanted, open_files = listener.settings.max_connections, listener.open_files
    name = f"{listener.section}.max_connections"
    most = most_connections(wanted, open_files)
    if most >= wanted:
        return Room(most, name)
    log.warning(
        "connections_bounded",
        listener=listener.section,
        most=most,
        open_files_for_it=open_files,
        max_connections=wanted,
        why="each takes up to 6 descriptors: raise LimitNOFILE of the unit (ulimit -n)",
    )
    return Room(most, f"as {open_files} open files are allowed for it (LimitNOFILE of its unit, ulimit -n)")


class Callers:
    """The callers' connections of one listener.

    Args:
        pool: the connections to runners; those that idle too long are closed by the same timer.
        served: who serves their requests.

    Attributes:
        section, settings, silent_s, clock, leaving, batch, date, serve: as `caller.ServingHub` wants them.
    """

    def __init__(self, listener: JobListener, pool: Pool, date: Date, served: RequestServer) -> None:
        self.section = listener.section
        self.settings = listener.settings
        self.clock = pool.clock
        self.silent_s = max(listener.silent_s, listener.settings.header_timeout_s)
        self.leaving = False
        # What goes out by TLS is not worth busy-polling for: its answer comes from afar.
        self.batch = pool.batch if listener.tls is None else Batch(0.0)
        self.date = date
        self.serve = served.serve
        self.refused = served.refused
        self.closed = served.closed
        self._listener = listener
        self._pool = pool
        self._room = room_for(listener)
        self._connections: set[CallerWire] = set()
        self._where: Sequence[str] = ()
        self._servers: Sequence[asyncio.Server | TlsServer] = ()
        self._empty = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None
        self._tick_due = 0.0
        self._ticks = 0
        self._to_look_after: list[CallerWire] = []  # Of the second under way,
        self._share = MOST_A_TICK  # and as many of them in each tick.

    def __len__(self) -> int:
        """Return how many connections are open now."""
        return len(self._connections)

    # Listening.

    @property
    def port(self) -> int:
        """The first TCP port in use; differs from the setting if that is 0. 0 = none."""
        return next(
            (sock.getsockname()[1] for server in self._servers for sock in server.sockets if sock.family != AF_UNIX), 0
        )

    @property
    def listen(self) -> tuple[str, ...]:
        """The addresses in use, with the ports that the system has chosen; a unix socket is `unix:` and its path."""
        return tuple(_address(sock.getsockname()) for server in self._servers for sock in server.sockets)

    async def start(self, env: Mapping[str, str]) -> None:
        """Open the addresses; who connects waits for `take_connections`.

        Args:
            env: in which systemd names the sockets that it hands over.

        Raises:
            OrchdError: ADDRESS_IN_USE; SETTING_INVALID for an address that can't be listened on.
        """
        listener, settings = self._listener, self.settings
        connection = partial(CallerConnection, self, listener.carries)
        servers = await listen(listener.setting or f"{self.section}.listen", settings.listen, connection, env)
        self._where = settings.listen  # Not before: it is what we have to remove.
        self._servers = servers
        if (tls := listener.tls) is not None:
            limits = HandshakeLimits(settings.header_timeout_s, settings.refused_body_s)
            self._servers = [TlsServer(bound, connection, tls, limits, listener.addresses) for bound in servers]

    async def take_connections(self) -> None:
        """Take connections from now on."""
        for server in self._servers:
            await server.start_serving()

    def stop_accepting(self) -> None:
        """Take no more connections; those that there are go on."""
        self.leaving = True
        if self._servers:
            for server in self._servers:
                server.close()
            self._servers = ()
            remove_sockets(self._where)

    async def close(self) -> None:
        """Close every connection, once its last answer is out; after `LAST_WORDS_S` in any case."""
        for connection in list(self._connections):
            connection.end_if_idle()
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                while self._connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()

    def stop_timer(self) -> None:
        """Nothing is due any more: every connection is closed."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    # What the connections share; after `caller_wire.Hub`.

    def joined(self, connection: CallerWire) -> bool:
        self._connections.add(connection)
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK_S, self._sweep)
            self._tick_due = self.clock() + TICK_S
        if (addresses := self._listener.addresses) is not None and not addresses.enter(connection, connection.peer):
            connection.abort()  # An answer would have to wait for its request, and keep what others are to have.
        return len(self._connections) <= self._room.most

    def turned_away(self) -> JobRefused | None:
        room = self._room
        if len(self._connections) > room.most + MOST_TURNED_AWAY:
            return None
        return JobRefused(
            Code.TOO_MANY_CONNECTIONS,
            f"cannot take the connection: {room.most} are open, which is the limit ({room.why})",
        )

    def left(self, connection: CallerWire) -> None:
        self._connections.discard(connection)
        if self._listener.addresses is not None:
            self._listener.addresses.leave(connection)
        if not self._connections:
            self._empty.set()

    def _sweep(self) -> None:
        self._ticks += 1
        now = self.clock()
        if (late_s := now - self._tick_due) >= LATE_TICK_S:
            # We stood still, and what came meanwhile is still unread: nobody was late but us.
            for connection in self._connections:
                connection.excuse(late_s + TICK_S)
        for connection in list(islice((each for each in self._connections if each.deadline <= now), MOST_A_TICK)):
            connection.expire()
        if self._ticks % LOOKOUT_TICKS == 0:
            self._to_look_after = [each for each in self._connections if not each.reading or each.serving]
            self._share = max(MOST_A_TICK, -(-len(self._to_look_after) // LOOKOUT_TICKS))
        for connection in self._to_look_after[-self._share :]:
            if connection in self._connections:
                connection.look_out(now)
        del self._to_look_after[-self._share :]
        self._pool.sweep(now)
        more = self._connections or len(self._pool)
        self._tick = asyncio.get_running_loop().call_later(TICK_S, self._sweep) if more else None
        self._tick_due = now + TICK_S


def _address(name: Any) -> str:
    if isinstance(name, str):
        return f"unix:{name}"
    host, port, *_ = name
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
