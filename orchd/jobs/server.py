"""EDGE. The job server: brings callers, handler and runners together, and leaves in order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.doors.entrance import Entrance
from orchd.doors.listed import DOORS
from orchd.doors.refusal import rendered
from orchd.doors.routes import Beside
from orchd.errors import JobRefused
from orchd.hooks.account import Account
from orchd.hooks.calls import HookCalls
from orchd.http1.names import Header
from orchd.http1.render import Date
from orchd.jobs.ending import JobListeners
from orchd.jobs.handle import Handler
from orchd.jobs.needs import JobClock, ModelFacts, SessionKeepers, Surroundings
from orchd.jobs.settings import JobsSettings
from orchd.realtime.stream import Stream, StreamEnd
from orchd.relay.caller import CallerConnection
from orchd.relay.callers import Callers
from orchd.relay.exchange import Exchange
from orchd.relay.listener import JobListener
from orchd.relay.own import OwnExchange
from orchd.relay.pool import Pool
from orchd.relay.ports import OwnBegin, Owner
from orchd.relay.splice import Pipes
from orchd.relay.wire import Batch

log = structlog.get_logger("orchd.jobs")

_SIDES = {"jobs": "caller", "public": "public", "runner_side": "container"}
"""How the connections of a listener are called in metrics, by its section."""


class PoolCarrier:
    """After `relay.ports.Carrier`; these are the only connections there are, so that nobody needs to look."""

    def __init__(self, pool: Pool) -> None:
        self.take = pool.take
        self.connect = pool.connect
        self.connect_elsewhere = pool.connect_elsewhere
        self.give_back: Callable[[Any], None] = pool.give_back
        self.carry: Callable[[Owner, Any, Any, int], Exchange] = Exchange
        self.answer: Callable[[Owner, Any, OwnBegin], OwnExchange] = OwnExchange


class JobServer:
    """Serves the jobs of all listeners.

    Args:
        listeners: hear of each job's end.

    Attributes:
        callers: the connections of the private listener.
        serve: as `callers.RequestServer` wants it.
    """

    def __init__(
        self,
        settings: JobsSettings,
        models: ModelFacts,
        sessions: SessionKeepers,
        hooks: HookCalls,
        listeners: JobListeners,
        around: Surroundings,
    ) -> None:
        self._settings = settings
        self._around = around
        self._metrics = listeners.metrics
        self._letting_go = sessions.letting_go
        clock = JobClock(asyncio.get_running_loop().time, Date())
        self._date = clock.date
        self._pool = pool = Pool(
            clock.now, settings.runner_idle_s, Batch(settings.busy_poll_us / 1e6), Pipes(), around.names
        )
        self._handler = handler = Handler(settings, models, sessions, hooks, PoolCarrier(pool), listeners, clock)
        self.serve: Callable[[CallerConnection], None] = handler.handle
        private = JobListener("jobs", settings, Entrance(DOORS), around.open_files)
        self.callers = Callers(private, pool, clock.date, self)
        self._listeners = [self.callers]

    # Listening, and leaving.

    @property
    def port(self) -> int:
        """The first TCP port in use; differs from the setting if that is 0. 0 = none."""
        return self.callers.port

    @property
    def listen(self) -> tuple[str, ...]:
        """Addresses of the listeners as people write them; `unix:` and a path for those of the file system."""
        return self.callers.listen

    async def start(self) -> None:
        """Open the private listener; who connects waits for `take_connections`.

        Raises:
            OrchdError: ADDRESS_IN_USE; SETTING_INVALID for an address that can't be listened on.
        """
        await self.callers.start(self._around.env)

    async def open_listener(self, listener: JobListener) -> Callers:
        """Open one more listener; who connects waits for its `take_connections`.

        Args:
            listener: carries an `Entrance`.

        Raises:
            OrchdError: as `start`.
        """
        callers = Callers(listener, self._pool, self._date, self)
        await callers.start(self._around.env)
        self._listeners.append(callers)
        return callers

    async def take_connections(self) -> None:
        """From now on; not before it is known what is served, or what waits at the door would be told: nothing."""
        await self.callers.take_connections()
        log.info("jobs_listening", listen=list(self._settings.listen), port=self.port)

    def stop_accepting(self) -> None:
        """Take no more connections; new requests on those that there are get 503, and running ones go on."""
        self._handler.refuse_new()
        for callers in self._listeners:
            callers.stop_accepting()

    async def drain(self, deadline_s: float) -> None:
        """Wait until every job has ended and is settled; after `deadline_s` cut those that still run."""
        try:
            async with self._around.lag.timeout(deadline_s):
                await self._handler.idle()
        except TimeoutError:
            self._handler.abort_all("orchd is shutting down")
            await self._handler.idle()

    async def close(self) -> None:
        """Close listeners and connections; jobs that still run are cut."""
        self.stop_accepting()
        self._handler.abort_all("orchd is shutting down")
        await self._handler.idle()
        await asyncio.gather(*(callers.close() for callers in self._listeners))
        await self._handler.close()
        self._letting_go.close()
        self._pool.close()
        for callers in self._listeners:
            callers.stop_timer()

    # What others tell.

    def use_node(self, beside: Beside) -> None:
        """From now on, this is the node program beside orchd."""
        self._handler.use_node(beside)

    def runner_closed(self, runner: RunnerId) -> None:
        """Jobs may no longer begin on this runner: its idle connections are of no use."""
        self._pool.retire(runner)

    def settle_left(self, waited_for: set[str]) -> None:
        """Settle sessions that have died with an earlier orchd, but for those whose accounts are waited for."""
        self._handler.ending.settle_left(waited_for)

    def stream_lost(self, account: Account, forgotten: asyncio.Task[None]) -> None:
        self._handler.ending.stream_lost(account, forgotten)

    def stream_found(self, stream: Stream) -> None:
        self._handler.ending.stream_found(stream)

    def stream_ended(self, end: StreamEnd) -> None:
        self._handler.ending.stream_ended(end)

    def running(self, key: ModelKey, door: str) -> int:
        """Return how many jobs of a model run that came by this door, those that wait for a slot included."""
        return self._handler.running(key, door)

    def connections(self) -> Mapping[str, int]:
        """Return how many connections are open now, by side."""
        sides = Counter({"runner": len(self._pool)})
        for callers in self._listeners:
            sides[_SIDES[callers.section]] += len(callers)
        return sides

    # After `callers.RequestServer`.

    def refused(self, why: JobRefused) -> tuple[list[Header], bytes]:
        """Count a request that never became a job; return headers and body of what it is answered."""
        self._metrics.request_refused(why.code)
        request_id = self._handler.new_id()
        log.info("request_refused", request_id=request_id, code=str(why.code), reason=why.message)
        return rendered(why, request_id)

    def closed(self, reason: str) -> None:
        """Count a connection that we closed."""
        self._metrics.connection_closed(reason)
