"""EDGE. Connections to runners, kept for the next job where the runner allows it."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from orchd.domain.ids import Address, RunnerId
from orchd.names import Names, NotAllowed
from orchd.reasons import why
from orchd.relay.ports import RunnerUnreachable
from orchd.relay.runner import RunnerConnection
from orchd.relay.splice import Pipes
from orchd.relay.wire import Batch


class RunnerPool:
    """The connections of one runner. It is closed for good when its runner takes no more jobs: one that opens again has
    a new pool, in which connections of before do not land.

    Attributes:
        idle: longest idle first.
        closed: none are kept any more.
        batch, pipes: as `runner.HomePool` wants them.
    """

    __slots__ = ("_pool", "batch", "closed", "idle", "pipes")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.batch = pool.batch
        self.pipes = pool.pipes
        self.idle: list[RunnerConnection] = []
        self.closed = False

    def release(self, connection: RunnerConnection) -> None:
        """Keep a connection whose exchange is whole for the next job."""
        connection.exchange, connection.parsed = None, False  # As `leave`, without its call; there is no tunnel.
        if connection.closed or self.closed:
            connection.close()
            return
        connection.reused = True
        connection.bulk = False
        connection.parser.messages.clear()
        if not connection.reading:
            connection.set_reading(True)
        connection.idle_until = self._pool.clock() + self._pool.idle_s
        self.idle.append(connection)

    def drop(self, connection: RunnerConnection) -> None:
        """Close an idle connection that is of no more use."""
        self._forget(connection)
        connection.abort()

    def lost(self, connection: RunnerConnection) -> None:
        """Forget a connection that has ended."""
        self._forget(connection)
        self._pool.connections.discard(connection)

    def _forget(self, connection: RunnerConnection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)

    def close(self) -> None:
        """Close what idles now; what is busy is closed when its job has ended."""
        self.closed = True
        for connection in self.idle:
            connection.close()
        self.idle.clear()

    def sweep(self, now: float) -> None:
        """Close what has idled too long."""
        idle = self.idle
        while idle and idle[0].idle_until <= now:
            idle.pop(0).close()


class Pool:
    """Connections by runner.

    Args:
        clock: seconds; the loop's clock.
        idle_s: a connection that idles this long is closed.
        batch: where small requests are sent.
        pipes: for splicing; they are closed with the pool.
        names: looks up where runners are.

    Attributes:
        connections: all that there are, idle or not.
    """

    def __init__(
        self, clock: Callable[[], float], idle_s: float, batch: Batch, pipes: Pipes, names: Names | None = None
    ) -> None:
        self.clock = clock
        self.idle_s = idle_s
        self.batch = batch
        self.pipes = pipes
        self.connections: set[RunnerConnection] = set()
        self._names = names or Names()
        self._runners: dict[RunnerId, RunnerPool] = {}
        self._elsewhere = RunnerPool(self)
        self._elsewhere.closed = True  # No connection to what is no runner is kept.
        self._tls: ssl.SSLContext | None = None

    def __len__(self) -> int:
        """Return how many connections there are, idle or not."""
        return len(self.connections)

    def take(self, runner: RunnerId) -> RunnerConnection | None:
        """Return the connection that idles for the shortest time; None = there is none."""
        home = self._runners.get(runner)
        while home is not None and home.idle:
            connection = home.idle.pop()
            if connection.quiet():
                return connection
            connection.abort()
        return None

    async def connect(self, runner: RunnerId, address: Address) -> RunnerConnection:
        """Return a new connection.

        Raises:
            RunnerUnreachable.
        """
        home = self._runners.get(runner)
        if home is None:
            home = self._runners[runner] = RunnerPool(self)
        return await self._dial(home, address)

    async def connect_elsewhere(self, address: Address, may_dial: Callable[[str, int], bool]) -> RunnerConnection:
        """Return a new connection to what is no runner; it is closed after its exchange.

        Args:
            may_dial: whether an IP address and a port may be dialled.

        Raises:
            RunnerUnreachable.
        """
        return await self._dial(self._elsewhere, address, lambda ip: may_dial(ip, address.port))

    async def _dial(
        self, home: RunnerPool, address: Address, may_dial: Callable[[str], bool] | None = None
    ) -> RunnerConnection:
        if address.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        tried: list[RunnerConnection] = []

        def make() -> RunnerConnection:
            tried.append(RunnerConnection(home))
            return tried[-1]

        connection = None
        try:
            tls = self._tls if address.scheme == "https" else None
            _, connection = await self._names.connect(make, address.host, address.port, tls, may_dial)
        except NotAllowed as exc:
            raise RunnerUnreachable(f"{exc}; public.proxy_grants names those that may") from exc
        except (OSError, ValueError) as exc:
            raise RunnerUnreachable(why(exc)) from exc
        finally:
            for each in tried:
                if each is not connection:
                    each.give_up()
        self.connections.add(connection)
        return connection

    def give_back(self, connection: RunnerConnection) -> None:
        """Keep a connection that came too late for its job."""
        connection.home.release(connection)

    def retire(self, runner: RunnerId) -> None:
        """Jobs may no longer begin there: close what idles now, and what is busy with its job."""
        if (home := self._runners.pop(runner, None)) is not None:
            home.close()

    def sweep(self, now: float) -> None:
        """Close what has idled too long; call it from time to time."""
        for home in self._runners.values():
            home.sweep(now)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.abort()
        self.pipes.close()
