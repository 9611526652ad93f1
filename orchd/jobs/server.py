"""EDGE. The job listener: takes connections, brings callers, handler and runners together, and leaves in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from socket import AF_UNIX
from typing import Any, Protocol

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.doors.base import Door
from orchd.doors.listed import all_doors
from orchd.doors.refusal import rendered
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.calls import HookCalls
from orchd.hooks.terms import Terms, terms_of
from orchd.http1.names import Header
from orchd.http1.render import Date
from orchd.jobs.ending import JobListeners, JobLog, JobMetrics
from orchd.jobs.handle import Handler
from orchd.jobs.settings import JobsSettings
from orchd.lag import LoopLag
from orchd.limits import most_connections
from orchd.names import Names
from orchd.realtime.keeper import Keeper
from orchd.realtime.stream import Stream, StreamEnd
from orchd.relay.caller import CallerConnection
from orchd.relay.caller_wire import CallerWire
from orchd.relay.exchange import Exchange
from orchd.relay.listen import listen, remove_sockets
from orchd.relay.pool import Pool
from orchd.relay.ports import Owner
from orchd.relay.settings import RelaySettings
from orchd.relay.splice import Pipes
from orchd.relay.wire import Batch
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.table import SessionTable

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


class ServerMetrics(JobMetrics, Protocol):
    def request_refused(self, code: Code) -> None:
        """A request that never became a job."""

    def connection_closed(self, reason: str) -> None:
        """We closed a caller's connection."""


class PoolCarrier:
    """After `relay.ports.Carrier`; these are the only connections there are, so that nobody needs to look."""

    def __init__(self, pool: Pool) -> None:
        self.take = pool.take
        self.connect = pool.connect
        self.give_back: Callable[[Any], None] = pool.give_back
        self.carry: Callable[[Owner, Any, Any, int], Exchange] = Exchange


class JobServer:
    """Args as `Handler`'s, and:
        names: looks up where runners are.
        lag: how long orchd itself stood still.
        open_files: the limit; None = there is none.
        terms: name and price of a model for a payer, for its accounts.
        doors: which of them the listener at an address of `jobs.listen` carries.

    Attributes:
        settings, clock, leaving, batch, date, serve: as `caller.Hub` wants them.
    """

    def __init__(
        self,
        settings: JobsSettings,
        table: SessionTable,
        letting_go: LettingGo,
        models: Callable[[], Mapping[ModelKey, Model]],
        status: Callable[[ModelKey], tuple[bool, str]],
        node_status: Callable[[ModelKey], bool],
        keeper: Keeper,
        hooks: HookCalls,
        metrics: ServerMetrics,
        job_log: JobLog,
        hurry: Callable[[RunnerId], None],
        env: Mapping[str, str],
        names: Names | None = None,
        lag: LoopLag | None = None,
        open_files: int | None = None,
        terms: Callable[[Model, str], Terms] = terms_of,
        doors: Callable[[str], Sequence[Door]] = all_doors,
    ) -> None:
        self._doors = doors
        self._most = most_connections(settings.max_connections, open_files)
        self._most_why = "jobs.max_connections"
        if self._most < settings.max_connections:
            self._most_why = f"as {open_files} open files are allowed (LimitNOFILE of its unit, ulimit -n)"
            log.warning(
                "connections_bounded",
                most=self._most,
                open_files=open_files,
                max_connections=settings.max_connections,
                why="each takes up to 6 descriptors: raise LimitNOFILE of the unit (ulimit -n)",
            )
        self._lag = lag or LoopLag()
        self.settings: RelaySettings = settings
        self.clock = asyncio.get_running_loop().time
        self.leaving = False
        self.date = Date()
        self.batch = Batch(settings.busy_poll_us / 1e6)
        self._metrics = metrics
        self._env = env
        self._pool = Pool(self.clock, settings.runner_idle_s, self.batch, Pipes(), names)
        self._letting_go = letting_go
        self._handler = Handler(
            settings=settings,
            table=table,
            letting_go=letting_go,
            models=models,
            status=status,
            node_status=node_status,
            keeper=keeper,
            hooks=hooks,
            carrier=PoolCarrier(self._pool),
            listeners=JobListeners(metrics, job_log, hurry),
            now=self.clock,
            date=self.date,
            terms=terms,
        )
        self.serve: Callable[[CallerConnection], None] = self._handler.handle
        self._connections: set[CallerWire] = set()
        self._servers: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None
        self._tick_due = 0.0
        self._ticks = 0
        self._to_look_after: list[CallerWire] = []  # Of the second under way,
        self._share = MOST_A_TICK  # and as many of them in each tick.

    # Listening, and leaving.

    @property
    def port(self) -> int:
        """The first TCP port in use; differs from the setting if that is 0. 0 = none."""
        return next(
            (sock.getsockname()[1] for server in self._servers for sock in server.sockets if sock.family != AF_UNIX), 0
        )

    async def start(self) -> None:
        """Open the listeners; who connects waits for `take_connections`.

        Raises:
            OrchdError: ADDRESS_IN_USE; SETTING_INVALID for an address that can't be listened on.
        """
        self._servers = await listen(self.settings.listen, self._connection, self._env)

    def _connection(self, address: str) -> CallerConnection:
        return CallerConnection(self, self._doors(address))

    async def take_connections(self) -> None:
        """From now on; not before it is known what is served, or what waits at the door would be told: nothing."""
        for server in self._servers:
            await server.start_serving()
        log.info("jobs_listening", listen=list(self.settings.listen), port=self.port)

    def stop_accepting(self) -> None:
        """Take no more connections; new requests on those that there are get 503, and running ones go on."""
        self.leaving = True
        self._handler.refuse_new()
        if self._servers:
            for server in self._servers:
                server.close()
            self._servers = []
            remove_sockets(self.settings.listen)

    async def drain(self, deadline_s: float) -> None:
        """Wait until every job has ended and is settled; after `deadline_s` cut those that still run."""
        try:
            async with self._lag.timeout(deadline_s):
                await self._handler.idle()
        except TimeoutError:
            self._handler.abort_all("orchd is shutting down")
            await self._handler.idle()

    async def close(self) -> None:
        """Close listeners and connections; jobs that still run are cut."""
        self.stop_accepting()
        self._handler.abort_all("orchd is shutting down")
        await self._handler.idle()
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
        await self._handler.close()
        self._letting_go.close()
        self._pool.close()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def runner_closed(self, runner: RunnerId) -> None:
        """Jobs may no longer begin on this runner: its idle connections are of no use."""
        self._pool.retire(runner)

    def stream_lost(self, account: Account) -> None:
        self._handler.stream_lost(account)

    def stream_found(self, stream: Stream) -> None:
        self._handler.stream_found(stream)

    def stream_ended(self, end: StreamEnd) -> None:
        self._handler.stream_ended(end)

    def connections(self) -> Mapping[str, int]:
        """Return how many connections are open now, by side."""
        return {"caller": len(self._connections), "runner": len(self._pool)}

    # What callers' connections share.

    def joined(self, connection: CallerWire) -> bool:
        self._connections.add(connection)
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK_S, self._sweep)
            self._tick_due = self.clock() + TICK_S
        return len(self._connections) <= self._most

    def turned_away(self) -> JobRefused | None:
        if len(self._connections) > self._most + MOST_TURNED_AWAY:
            return None
        return JobRefused(
            Code.TOO_MANY_CONNECTIONS,
            f"cannot take the connection: {self._most} are open, which is the limit ({self._most_why})",
        )

    def left(self, connection: CallerWire) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def refused(self, why: JobRefused) -> tuple[list[Header], bytes]:
        self._metrics.request_refused(why.code)
        request_id = self._handler.new_id()
        log.info("request_refused", request_id=request_id, code=str(why.code), reason=why.message)
        return rendered(why, request_id)

    def closed(self, reason: str) -> None:
        self._metrics.connection_closed(reason)

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
