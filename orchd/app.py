"""The composition root: builds every part once, starts the root tasks, and stops all in reverse order.

What orchd is made of can be read from `_build` and `_start`; what a stop does from `_stop`.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from orchd import __version__, tasks
from orchd.admin.server import AdminServer
from orchd.advertise.advertiser import Advertiser
from orchd.advertise.listings import Listings
from orchd.advertise.rate import eth_usd_source
from orchd.catalog.codec import dump_model, load_model
from orchd.catalog.reload import Catalog
from orchd.catalog.watch import ModelsFile
from orchd.control import ControlServer
from orchd.domain.events import DesiredChanged, RestartAsked, StartWanted
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model, RunnerKind, Secret
from orchd.domain.ports import ProbeWord, Runtime, Store
from orchd.domain.redact import scrub
from orchd.domain.state import DesiredState, Severity, Snapshot
from orchd.errors import OrchdError, RunnersLeft, StoreError
from orchd.exposition import Registry
from orchd.health.probe import HttpProber
from orchd.jobs.admission import NodeAdmission
from orchd.jobs.hooks import Hooks, JobHook
from orchd.jobs.lines import JobLines
from orchd.jobs.server import JobServer
from orchd.lag import LoopLag
from orchd.limits import open_files
from orchd.locks import StateLock
from orchd.logs import Lines, set_level
from orchd.metrics import Metrics
from orchd.names import Names
from orchd.node.client import NodeClient
from orchd.notify import Notifier, watchdog_period_s
from orchd.realtime.container import ContainerStreams
from orchd.realtime.keeper import Keeper
from orchd.realtime.routes import has_streams
from orchd.realtime.stream import Origin
from orchd.reconcile.lookout import lookout
from orchd.reconcile.loop import Loop
from orchd.reload import Reload, SecretInUse
from orchd.runtime.containers import DockerRuntime
from orchd.runtime.process import ProcessRuntime
from orchd.runtime.process_marks import Marks
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.table import SessionTable
from orchd.settings.files import read_secret, resolve_state_dir
from orchd.settings.tree import Settings
from orchd.state_dir import keep_all
from orchd.status_view import summary
from orchd.store import DATABASE, SqliteStore
from orchd.threads import DaemonThreads
from orchd.tickets.route_secrets import KEY_NAME, RouteSecrets, is_key, new_key

log = structlog.get_logger("orchd.app")

STATUS_PERIOD_S = 1.0
"""Shortest time between two lines for `systemctl status`."""
STATE_TIMEOUT_S = 10.0
"""A look at a file takes microseconds; longer means that the disk hangs."""


class Edges:
    """Makes the edges that tests exchange."""

    def runtimes(self, settings: Settings, state_dir: Path, metrics: Metrics) -> dict[RunnerKind, Runtime]:
        """Return the runtimes by kind, not yet opened."""
        made: dict[RunnerKind, Runtime] = {
            RunnerKind.PROCESS: ProcessRuntime(settings.process, instance=settings.instance, state_dir=state_dir)
        }
        if settings.docker.enabled:
            made[RunnerKind.CONTAINER] = DockerRuntime(
                settings.docker,
                instance=settings.instance,
                state_dir=str(state_dir),
                models_folder=str(Path(settings.models_file).absolute().parent),
                on_event=metrics.runtime_event,
            )
        return made

    def hooks(self, settings: Settings) -> list[JobHook]:
        """Return who has a say about jobs beside the node's tokens, in order."""
        return []

    async def store(self, state_dir: Path) -> Store:
        """Return the opened store."""
        store = SqliteStore(state_dir / DATABASE, dump_model, load_model)
        await store.open()
        return store


class App:
    """One daemon, from its locks to its last word.

    Args:
        env: the environment; only what systemd and the settings' defaults need is read from it.
        lines: where the lines of jobs go; None = where all lines go, at a cost.
        again: reads the settings again, for `reload`; None = they stay.
    """

    def __init__(
        self,
        settings: Settings,
        env: Mapping[str, str],
        edges: Edges | None = None,
        lines: Lines | None = None,
        again: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._env = env
        self._edges = edges or Edges()
        self._lines = lines
        self._notifier = Notifier(env)
        self._again = again or (lambda: settings)
        self._reload_asked = asyncio.Event()
        self._secrets: dict[str, SecretInUse] = {}
        self._stop = asyncio.Event()
        self._stop_why = ""
        self._waits_for: Callable[[], str] = lambda: "its start, which goes first"
        self._accepting = False
        self._ended = False
        self._telling: list[asyncio.Task[Any]] = []

    def stop(self, why: str = "") -> None:
        """Ask the daemon to end; `run` returns when it has. The log names `why`."""
        self._stop_why = self._stop_why or why
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """It has been asked to end."""
        return self._stop.is_set()

    def waiting_for(self) -> str:
        """Return in words what keeps the daemon from having ended, after `stop`."""
        return self._waits_for()

    def reload(self) -> None:
        """Read the models file, the secrets and `log.level` again, soon."""
        self._reload_asked.set()

    async def run(self) -> None:
        """Live: returns after `stop`, `orchd down`, or raises when a root task failed.

        Raises:
            OrchdError: AlreadyRunning, StoreError, ADDRESS_IN_USE and the like: nothing was touched, or it was let go.
        """
        async with AsyncExitStack() as stack:
            await self._build(stack)
            roots = await self._start(stack)
            try:
                await self._live(roots)
            finally:
                await self._wind_down()

    # -- building ----------------------------------------------------------------------------------------------------

    async def _build(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        state_dir = resolve_state_dir(settings.state_dir, self._env)
        self._lock = lock = StateLock(state_dir)
        lock.acquire()
        stack.callback(lock.release)
        self._store = await self._edges.store(state_dir)
        stack.push_async_callback(self._store.close)
        stored = await self._store.models()

        self._metrics = Metrics(Registry(), __version__)
        self._runtimes = self._edges.runtimes(settings, state_dir, self._metrics)
        for runtime in self._runtimes.values():
            stack.push_async_callback(runtime.close)

        self._table = SessionTable(
            on_drained=lambda runner: self._loop.drained(runner),
            on_wanted=lambda key: self._loop.post(StartWanted(key)),
            on_closed=lambda runner: self._jobs.runner_closed(runner),
            clock=asyncio.get_running_loop().time,
        )
        loop = asyncio.get_running_loop()
        self._letting_go = LettingGo(self._table, loop.time, loop.call_later)
        names = self._names = Names()
        stack.push_async_callback(names.close)
        self._lag = LoopLag(self._metrics.loop_lag)
        self._prober = HttpProber(names, self._lag)
        stack.push_async_callback(self._prober.close)
        containers = ContainerStreams(settings.streams.call_timeout_s, names, self._lag)
        stack.push_async_callback(containers.close)
        self._keeper = Keeper(
            settings.streams,
            self._table,
            self._letting_go,
            self._store,
            containers,
            models=lambda: self._loop.models(),
            knows=lambda runner: self._loop.knows(runner),
            on_end=lambda end: self._jobs.stream_ended(end),
            lost_s=self._lag.lost_s,
        )
        hooks = [*await self._beside_node(stack), *self._edges.hooks(settings)]
        stack.push_async_callback(self._keeper.close)
        await self._keeper.restore()
        generations = {(s.model.key, s.model.generation): s.model for s in stored}
        # Runners bear the name that the version which made them gave the generation.
        generations = {(s.model.key, s.generation): s.model for s in stored} | generations
        self._loop = Loop(
            settings,
            self._runtimes,
            self._prober,
            self._table,
            self._metrics,
            generations,
            heard=self._heard,
            lag=self._lag,
        )
        credentials = self._env.get("CREDENTIALS_DIRECTORY")
        self._catalog = Catalog(
            ModelsFile(Path(settings.models_file), settings.models_poll_s),
            [s.model for s in stored if s.current],
            Path(credentials) if credentials else None,
            strict=settings.strict_file,
        )
        stack.callback(self._catalog.close)
        self._jobs = JobServer(
            settings.jobs,
            self._table,
            self._letting_go,
            self._loop.models,
            self._readiness,
            self._healthy_for_node,
            self._keeper,
            Hooks(hooks, timeout_s=settings.jobs.hook_timeout_s, lag=self._lag),
            self._metrics,
            JobLines(self._lines),
            self._loop.poller.hurry,
            self._env,
            names,
            self._lag,
            open_files=open_files(),
        )
        self._metrics.sessions_from(self._table.active, self._table.letting_go)
        self._metrics.connections_from(self._jobs.connections)
        self._metrics.streams_from(self._keeper.streams.counts, self._carries_streams)
        self._admin = AdminServer(
            settings.admin,
            snapshot=self._snapshot,
            metrics=self._metrics.registry,
            accepting=lambda: self._accepting,
        )
        self._control = ControlServer(state_dir, keys=self._loop.models, restart=self._restart, down=self._take_down)

    async def _beside_node(self, stack: AsyncExitStack) -> list[JobHook]:
        """Build what deals with the go-livepeer node, and return who admits its jobs; without one, nothing."""
        settings, rules = self._settings, self._settings.orchestrator
        self._advertiser: Advertiser | None = None
        if not rules.enabled:
            return []
        secret = read_secret("orchestrator.secret_file", rules.secret_file, self._env)
        rpc_url = read_secret("orchestrator.rpc_url_file", rules.rpc_url_file, self._env)
        rate = eth_usd_source(rules.eth_usd, rules.eth_usd_feed, rpc_url, rules.call_timeout_s, self._names)
        if not is_key(key := await self._store.secret(KEY_NAME) or ""):
            if key:
                log.warning("route_key_unreadable", next="a new one is made, and the node gets new tokens")
            key = new_key()
            await self._store.save_secret(KEY_NAME, key)
        secrets = RouteSecrets(key, rules.token_rotation_h * 3600)
        client = NodeClient(rules, secret, self._names, self._lag)
        stack.push_async_callback(client.close)
        listings = Listings(
            active=self._table.running,
            begun=self._table.begun,
            streams=lambda key: self._keeper.count(key, Origin.BYOC),
            on_error=self._metrics.registry_error,
        )
        self._advertiser = Advertiser(settings, listings, client, self._store, secrets, rate, self._keeper)
        self._secrets["orchestrator.secret_file"] = SecretInUse(secret, client.use_secret)
        self._secrets["orchestrator.rpc_url_file"] = SecretInUse(rpc_url, self._use_rpc_url)
        await self._advertiser.open()
        self._metrics.node_from(lambda: listings.node)
        self._metrics.registries_from(lambda: listings.published)
        self._keeper.node_stops_by(self._advertiser.stop_session)
        return [NodeAdmission(secrets, direct=rules.allow_direct)]

    def _use_rpc_url(self, rpc_url: Secret | None) -> None:
        rules = self._settings.orchestrator
        assert self._advertiser is not None
        source = eth_usd_source(rules.eth_usd, rules.eth_usd_feed, rpc_url, rules.call_timeout_s, self._names)
        self._advertiser.use_rate(source)

    async def _start(self, stack: AsyncExitStack) -> list[asyncio.Task[Any]]:
        """Start listeners and root tasks. Listeners first: an address that is taken must not cost anything."""
        await self._jobs.start()
        stack.push_async_callback(self._jobs.close)
        await self._admin.start()
        stack.push_async_callback(self._admin.close)
        await self._control.start()
        stack.push_async_callback(self._control.close)

        # What is wanted must be known before the runtimes show what is there, or all of it would look unwanted.
        await self._apply(await self._catalog.load())
        known = tasks.spawn(self._loop.changed(), name="wait for the first turn")  # Before it can have been.
        roots = [tasks.spawn(self._loop.run(), name="loop"), tasks.spawn(self._follow_file(), name="models file")]
        roots.append(tasks.spawn(self._reload().run(), name="reload"))
        roots.append(tasks.spawn(self._tidy(), name="tidy"))
        roots.append(tasks.spawn(self._lag.run(), name="loop lag"))
        period_s = self._settings.reconcile.period_s
        # They open their runtimes too: an engine that is slow, hangs or is away delays nothing but its own runners.
        for kind, runtime in self._runtimes.items():
            roots.append(tasks.spawn(lookout(runtime, period_s, self._loop.post), name=f"look at {kind}"))
        roots.append(tasks.spawn(self._keeper.run(), name="streams"))
        roots.append(tasks.spawn(self._keep_state(), name="state directory"))
        if self._notifier.heard:
            roots.append(tasks.spawn(self._tell_status(), name="status line"))
        if (watchdog_s := watchdog_period_s(self._env)) is not None:
            roots.append(tasks.spawn(self._notifier.watchdog(watchdog_s), name="watchdog"))
        stack.push_async_callback(tasks.cancel, *roots)
        await asyncio.wait({known, roots[0]}, return_when=asyncio.FIRST_COMPLETED)  # Or the loop has failed.
        await tasks.cancel(known)
        await self._jobs.take_connections()
        if self._advertiser is not None:  # The node is told of what can be served, and that is so from now on.
            following = self._advertiser.follow(self._loop.snapshot, self._loop.changed)
            self._telling = [tasks.spawn(following, name="offers")]
            self._telling += [tasks.spawn(work, name=name) for name, work in self._advertiser.roots().items()]
            stack.push_async_callback(tasks.cancel, *self._telling)
            roots += self._telling
        _settle_down()
        self._accepting = True
        self._notifier.ready()
        log.info("orchd_ready", version=__version__, instance=self._settings.instance)
        return roots

    # -- living ------------------------------------------------------------------------------------------------------

    async def _live(self, roots: list[asyncio.Task[Any]]) -> None:
        stop = tasks.spawn(self._stop.wait(), name="wait for the end")
        left = {stop, *roots}
        try:
            while not stop.done():
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stop}:
                    if not (task.cancelled() and task in self._telling):  # `orchd down` has begun, and ended these.
                        raise _failure(task)
        finally:
            await tasks.cancel(stop)

    async def _apply(self, desired: DesiredState) -> None:
        """Keep what is good, then have the loop bring it about."""
        try:
            if desired.file_hash:  # Else the store's own definitions are all there is.
                await self._store.save_models(self._catalog.last_good())
        except StoreError as exc:
            # A full disk must not keep an edit from being served; it would only be unknown after a restart.
            log.error("last_good_not_saved", reason=exc.message)
        errors = [p for p in desired.problems if p.severity is Severity.ERROR]
        refused = any(p.entry is None for p in errors)
        warnings = len(desired.problems) - len(errors)
        self._metrics.reloaded(not refused, time.time(), desired.file_hash, len(errors), warnings)
        self._loop.post(DesiredChanged(desired))

    def _reload(self) -> Reload:
        return Reload(
            self._settings,
            self._env,
            asked=self._reload_asked,
            again=self._again,
            set_level=lambda level: set_level(level, self._lines),
            secrets=self._secrets,
            read_models=self._catalog.again,
        )

    async def _follow_file(self) -> None:
        async for desired in self._catalog.changes():
            await self._apply(desired)

    async def _keep_state(self) -> None:
        threads = DaemonThreads("state-directory")

        async def lock() -> bool:
            return await threads.run(self._lock.keep, STATE_TIMEOUT_S)

        async def control_socket() -> bool:
            there = await threads.run(self._control.is_there, STATE_TIMEOUT_S)
            if not there:
                await self._control.listen_again()
            return not there

        parts = {"lock": lock, "store": self._store.keep, "control socket": control_socket}
        await keep_all(parts, self._settings.reconcile.period_s)

    async def _tidy(self) -> None:
        """Forget former definitions once no runner of theirs is left."""
        known: frozenset[tuple[ModelKey, str]] = frozenset()
        while True:
            await self._loop.changed()
            if not (self._loop.converged() and self._loop.applied()):
                continue
            live = self._loop.generations()
            if live != known:
                try:
                    await self._store.forget_generations(live)
                    known = live
                except StoreError as exc:
                    log.warning("store_not_tidied", reason=exc.message)

    async def _tell_status(self) -> None:
        """Keep the line that `systemctl status` shows true."""
        told = ""
        await self._loop.changed()
        while True:
            if (line := summary(self._loop.snapshot())) != told and not self._stop.is_set():
                self._notifier.status(line)
                told = line
            changed = tasks.spawn(self._loop.changed(), name="wait for a turn")
            try:
                await asyncio.sleep(STATUS_PERIOD_S)  # A snapshot of many models at each turn would cost too much.
                await changed
            finally:
                await tasks.cancel(changed)

    def _heard(self, runner: RunnerId, model: Model, word: ProbeWord, asked_at: float) -> None:
        self._letting_go.probed(runner, model, word, asked_at)
        self._keeper.probed(runner, model, word, asked_at)

    def _readiness(self, key: ModelKey) -> tuple[bool, str]:
        stand = self._loop.standing(key)
        return stand.ready, stand.reason

    def _healthy_for_node(self, key: ModelKey) -> bool:
        return self._advertiser is not None and self._advertiser.healthy(key)

    def _carries_streams(self, key: ModelKey) -> bool:
        model = self._loop.models().get(key)
        return model is None or has_streams(model.stream)

    def _snapshot(self) -> Snapshot:
        snapshot = self._with_errors(self._keeper.shown(self._loop.snapshot()))
        return snapshot if self._advertiser is None else self._advertiser.shown(snapshot)

    def _with_errors(self, snapshot: Snapshot) -> Snapshot:
        failed = {key: errors for key in snapshot.models if (errors := self._metrics.runner_errors(key))}
        if not failed:
            return snapshot
        shown = {key: replace(one, runner_errors=failed.get(key)) for key, one in snapshot.models.items()}
        return replace(snapshot, models=shown)

    async def _restart(self, key: ModelKey) -> None:
        log.info("restart_asked", pipeline=key.pipeline, model_id=key.model_id)
        self._loop.post(RestartAsked(key))

    async def _take_down(self) -> AsyncIterator[str]:
        """`orchd down`: everything of ours, and then the daemon itself.

        Raises:
            RunnersLeft: something may still run. The daemon ends all the same.
        """
        log.info("down_asked")
        yield "no new jobs are taken; waiting for those that run"
        await self._drain()
        news: asyncio.Queue[str | None] = asyncio.Queue()

        async def end() -> tuple[str, ...]:
            try:
                return await self._loop.end(frozenset(RunnerKind), news.put_nowait, strays=True)
            finally:
                news.put_nowait(None)

        ending = tasks.spawn(end(), name="take down")
        while (line := await news.get()) is not None:
            yield line
        left = [*await ending, *await self._elsewhere()]
        self._ended = True
        self.stop("orchd down")
        if left:
            raise RunnersLeft(left)

    async def _elsewhere(self) -> list[str]:
        """Return what processes of our instance another state directory has, in words."""
        marks = Marks(self._settings.instance, resolve_state_dir(self._settings.state_dir, self._env))
        try:
            return [*map(str, await DaemonThreads("down").run(marks.elsewhere, STATE_TIMEOUT_S))]
        except TimeoutError:
            return ["processes under another state directory: /proc does not answer"]

    # -- ending ------------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        self._accepting = False
        if self._advertiser is not None:
            await tasks.cancel(*self._telling)
            await self._advertiser.withdraw()
        self._jobs.stop_accepting()
        self._waits_for = self._jobs_left
        await self._jobs.drain(self._settings.shutdown_drain_s)

    def _jobs_left(self) -> str:
        busy = {key: count for key in self._loop.models() if (count := self._table.active(key))}
        if not busy:
            return "its last jobs to be settled"
        left = ", ".join(f"{count} of {key}" for key, count in busy.items())
        return f"{sum(busy.values())} jobs or streams to end, at most {self._settings.shutdown_drain_s:g} s: {left}"

    async def _wind_down(self) -> None:
        """Jobs first, then the runners that must not outlive us; the exit stack does the rest."""
        self._notifier.stopping()
        log.info("orchd_stopping", on_stop=self._settings.on_stop, why=self._stop_why or "a part of it has failed")
        await self._drain()
        if not self._ended:
            kinds = {RunnerKind.PROCESS}
            if self._settings.on_stop == "stop":
                kinds.add(RunnerKind.CONTAINER)
            await self._loop.end(frozenset(kinds), self._runners_left)
        self._waits_for = lambda: "its connections to be closed"
        log.info("orchd_stopped")

    def _runners_left(self, text: str) -> None:
        self._waits_for = lambda: f"runners to stop: {text}"
        log.info("stopping_runners", left=text)


def _failure(task: asyncio.Task[Any]) -> Exception:
    """Return what to raise when a root task has ended: none of them ever should."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, OrchdError):
        return error
    how = f"failed: {scrub(repr(error))}" if error is not None else "was cancelled" if task.cancelled() else "ended"
    failure = OrchdError(f"cannot go on: orchd's task {task.get_name()!r} {how}; this is a bug, the log has more")
    failure.__cause__ = error
    return failure


def _settle_down() -> None:
    """Spare what lives as long as the daemon from the garbage collector, and have it look less often.

    Jobs leave nothing for it, but make it look all the time: at the usual settings it took a seventh of all CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
