"""Jobs, as a part: the listener for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.offer import NodeStatus
from orchd.domain.signal import Signal
from orchd.doors.routes import Beside
from orchd.hooks.calls import HookCalls
from orchd.hooks.terms import Terms
from orchd.jobs.ending import JobListeners
from orchd.jobs.lines import JobLines
from orchd.jobs.metrics import ConnectionCollector, JobCollector
from orchd.jobs.needs import LongSessions, ModelFacts, SessionKeepers, Surroundings
from orchd.jobs.server import JobServer
from orchd.jobs.waits import waits_for
from orchd.limits import open_files, share
from orchd.logs import LineBuffer
from orchd.part import Context, Part
from orchd.reconcile.ports import Reconciler
from orchd.relay.listener import JobListener, OpenListener
from orchd.sessions.ports import Sessions

if TYPE_CHECKING:  # Where there is no node, nothing of its part is imported; so with sessions that are sold.
    from orchd.domain.sold import SoldSession
    from orchd.node.ports import NodeAccess
    from orchd.realtime.session_channels import OwnSessionChannels
    from orchd.sold.ports import HasSold


class NodeSide(Protocol):
    """What jobs ask of the node's side; see `node.part.NodePart`."""

    def healthy(self, key: ModelKey) -> bool:
        """Return whether the node is to take a model for healthy."""
        ...

    @property
    def access(self) -> NodeAccess:
        """What is known of the node."""
        ...


class Hooks(Protocol):
    """See `hooks.part.HooksPart`.

    Attributes:
        calls: asks the hooks about a job.
        names: of the hooks, in the order in which they are asked.
    """

    @property
    def calls(self) -> HookCalls: ...
    @property
    def names(self) -> tuple[str, ...]: ...

    def terms(self, model: Model, payer: str) -> Terms:
        """Return name and price of a model for a payer, at today's rate."""
        ...


class JobsPart(Part):
    """Takes jobs from the moment when it is known what is served.

    Args:
        node: None = there is no node beside orchd.
        lines: where the log lines of jobs are written; None = where all lines go, which is slower.

    Attributes:
        unanswered: a job of this model, by this door, has ended because its caller left or a timeout ran out, before
            its runner has begun to answer.
    """

    name = "jobs"

    def __init__(
        self,
        context: Context,
        sessions: Sessions,
        reconcile: Reconciler,
        long: LongSessions,
        node: NodeSide | None,
        hooks: Hooks,
        lines: LineBuffer | None,
    ) -> None:
        self._context = context
        self._sessions = sessions
        self._reconcile = reconcile
        self._realtime, self._sold = long.realtime, long.sold
        self._node = node
        self._hooks = hooks
        self._lines = lines
        self._server: JobServer | None = None
        self._waited_for: set[str] = set()
        self._beside = Beside()
        self.unanswered: Signal[ModelKey, str] = Signal()

    def running(self, key: ModelKey, door: str) -> int:
        """Return how many jobs of a model run that came by this door, those that wait for a slot included."""
        return self._opened.running(key, door)

    async def open(self) -> None:
        context, settings = self._context, self._context.settings.jobs
        table = self._sessions.table
        collector = JobCollector(context.metrics, table.slots)
        for_node = (lambda key: False) if self._node is None else self._node.healthy
        trial = (lambda word: None) if self._node is None else self._node.access.trials.answer
        self._server = server = JobServer(
            settings,
            ModelFacts(self._reconcile.loop.models, self._reconcile.readiness, for_node, self._hooks.terms, trial),
            SessionKeepers(
                table,
                self._sessions.letting_go,
                self._realtime.keeper,
                None if self._node is None else self._node.access.calls,
                None if self._sold is None else self._sold.sold,
                None if self._sold is None else _own_channels(self._sold),
            ),
            self._hooks.calls,
            JobListeners(collector, JobLines(self._lines), self._reconcile.hurry, self.unanswered.emit),
            Surroundings(context.env, context.names, context.lag, self._open_files()),
        )
        self._sessions.closed.connect(server.runner_closed)
        self._realtime.ended.connect(server.stream_ended)
        self._waited_for = self._realtime.keeper.expected_accounts()  # Before any of them is found.
        self._realtime.keeper.found.connect(server.stream_found)
        self._realtime.keeper.lost.connect(server.stream_lost)
        if self._node is not None:
            access = self._node.access
            # It may call before it is looked at.
            self._see_node(replace(access.watch.status, program=access.last_program))
            access.watch.polled.connect(self._see_node)
        else:
            server.use_node(Beside(capability=context.settings.orchestrator.capability))
        ConnectionCollector(context.metrics, server.connections)
        await server.start()
        names, listen = self._hooks.names, server.listen
        self._reconcile.snapshots.contribute(
            collector,
            lambda snapshot: replace(snapshot, hooks=names, jobs_listen=listen, jobs=collector.in_all()),
        )

    async def start(self) -> None:
        self._opened.settle_left(self._waited_for)
        # Before the loop's first turn nobody knows what is served, and each job would be told: nothing.
        await self._reconcile.turned()
        await self._opened.take_connections()

    async def withdraw(self) -> None:
        self._opened.stop_accepting()

    async def drain(self, deadline: float) -> None:
        await self._opened.drain(max(0.0, deadline - asyncio.get_running_loop().time()))

    def waits_for(self) -> str:
        models, active = self._reconcile.loop.models(), self._sessions.table.active
        busy = {key: count for key in models if (count := active(key))}
        return waits_for(busy, self._realtime.keeper.streams, self._context.settings.shutdown_drain_s)

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()

    async def open_listener(self, listener: JobListener) -> OpenListener:
        """Take the ports of one more listener, which carries a `doors.entrance.Entrance`; connections wait until its
        `take_connections`.

        Raises:
            OrchdError: ADDRESS_IN_USE; SETTING_INVALID for an address that can't be listened on.
        """
        return await self._opened.open_listener(listener)

    def _open_files(self) -> int | None:
        """Return how many files `jobs.listen` may count on: without `public.listen` all of them."""
        public, most = self._context.settings.public, self._context.settings.jobs.max_connections
        return share(open_files(), most, public.all_connections) if public.listen else open_files()

    def _see_node(self, status: NodeStatus) -> None:
        """The doors do as the node program expects that is beside orchd now."""
        rules = self._context.settings.orchestrator
        beside = Beside(status.program or self._beside.program, rules.live_runner != "dynamic", rules.capability)
        if beside != self._beside:
            self._beside = beside
            self._opened.use_node(beside)

    @property
    def _opened(self) -> JobServer:
        assert self._server is not None
        return self._server


def _own_channels(sold: HasSold) -> Callable[[SoldSession], OwnSessionChannels]:
    from orchd.realtime.own_channels import OwnChannels  # Only where sessions are sold.

    return partial(OwnChannels, sold.runner_side, sold.urls)
