"""orchd as a list of parts: which there are, in the order in which they start. They end in reverse (`lifetime.py`).

A part is given the parts below it, so the list can be read from top to bottom. A part that is switched off is not in it
and not even imported. `part.py` says what a part is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import structlog

from orchd import __version__
from orchd.admin.part import AdminPart
from orchd.catalog.part import CatalogPart
from orchd.control.down import TakeDown
from orchd.control.part import ControlPart
from orchd.daemon_metrics import DaemonCollector
from orchd.database.part import DatabasePart
from orchd.domain.state import Snapshot
from orchd.doors.base import Door
from orchd.doors.way_in import WayIn
from orchd.errors import SettingsError
from orchd.exposition import MetricsRegistry
from orchd.garbage import LongLived, Sweeps, settle_down
from orchd.ground import GroundPart
from orchd.health.part import HealthPart
from orchd.history.part import HistoryPart
from orchd.history.ports import Kind
from orchd.hooks.part import HooksPart
from orchd.hooks.terms import TermsNow
from orchd.jobs.needs import LongSessions
from orchd.jobs.part import JobsPart
from orchd.lag import LoopLag
from orchd.lifetime import Lifetime, Stage
from orchd.logs import LineBuffer, set_level
from orchd.names import Names
from orchd.notify import NotifyPart
from orchd.part import Context, Part
from orchd.realtime.part import RealtimePart
from orchd.reconcile.part import ReconcilePart
from orchd.reload import ReloadPart
from orchd.runtime.part import RuntimesPart
from orchd.sessions.part import SessionsPart
from orchd.settings.files import resolve_state_dir
from orchd.settings.secrets import SecretInUse
from orchd.settings.tree import Settings
from orchd.state_dir import StateDirPart
from orchd.tickets.built_in import BuiltInHooks

if TYPE_CHECKING:
    from orchd.channels.part import ChannelsPart
    from orchd.public.runner_listener import RunnerSideOpening
    from orchd.sold.part import SoldPart
    from orchd.tickets.part import TicketsPart

log = structlog.get_logger("orchd.app")

P = ParamSpec("P")
T = TypeVar("T", bound=Part)
Instead = Mapping[type[Part], Callable[..., Part]]


class App:
    """One daemon, from its start to its end. Several can live in one process.

    Args:
        env: the environment; of it only what systemd and the settings' defaults need is read.
        instead: what to make in place of a part, by the part's class: for tests and for programs that embed orchd. It
            is called with the same arguments.
        lines: where the log lines of jobs are written; None = where all lines go, which is slower.
        again: reads the settings again, for `reload`; None = they stay as they are.

    Raises:
        SettingsError: no state directory can be found.
    """

    def __init__(
        self,
        settings: Settings,
        env: Mapping[str, str],
        instead: Instead | None = None,
        lines: LineBuffer | None = None,
        again: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._instead = instead or {}
        self._lines = lines
        self._again = again or (lambda: settings)
        self._stop = asyncio.Event()
        self._stop_why = ""
        self._long_lived = LongLived()
        registry = MetricsRegistry()
        lag = LoopLag(DaemonCollector(registry, __version__).loop_lag)
        state_dir = resolve_state_dir(settings.state_dir, env)
        self._context = Context(settings, env, state_dir, registry, lag, Names())
        self._parts: list[Part] = []
        self._lifetime = Lifetime(self._parts, settings.shutdown_drain_s, self._on_stage)
        self._list_parts()

    def _list_parts(self) -> None:
        """Make the list. What a part does, when and why is said in its `part.py`."""
        context, rules = self._context, self._settings
        ground = self._add(GroundPart)(context)
        database = self._add(DatabasePart)(context)
        history = self._add(HistoryPart)(context, database)
        secrets, shown = dict[str, SecretInUse](), list[Callable[[Snapshot], Snapshot]]()
        rpc = None
        if rules.chain.id or rules.reads_feed:
            from orchd.rpc.part import RpcPart

            rpc = self._add(RpcPart)(context, secrets)
        chain = None
        if rules.chain.id and rpc is not None:
            from orchd.chain.part import ChainPart

            chain = self._add(ChainPart)(context, database, history, rpc)
            shown.append(chain.show)
        rate = None
        if rules.converts_prices:
            from orchd.rate.part import RatePart

            rate = self._add(RatePart)(context, rpc)
        runtimes = self._add(RuntimesPart)(context)
        sessions = self._add(SessionsPart)(context)
        self._sweeps = Sweeps(sessions.busy)
        health = self._add(HealthPart)(context)
        catalog = self._add(CatalogPart)(context, database, history)
        catalog.desired.connect(self._long_lived.edited)
        reconcile = self._add(ReconcilePart)(context, runtimes, health, sessions, catalog, history, database)
        notify = self._add(NotifyPart)(context, reconcile, self._stop.is_set)
        realtime = self._add(RealtimePart)(context, database, sessions, reconcile)
        channels, sold = None, None
        if rules.sells_sessions:
            from orchd.channels.part import ChannelsPart
            from orchd.sold.part import SoldPart

            channels = self._add(ChannelsPart)(context, reconcile)
            sold = self._add(SoldPart)(context, database, reconcile, realtime, runtimes, channels)
        node = None
        if rules.orchestrator.enabled:
            from orchd.node.part import NodePart

            node = self._add(NodePart)(context, database, secrets)
        ledger, tickets = None, None
        if rules.takes_tickets:
            from orchd.chain.off import NoChain
            from orchd.tickets.ledger.part import LedgerPart
            from orchd.tickets.part import SellsSessions, TicketsPart

            terms = TermsNow(rules.orchestrator.capability, rate)
            selling = None if sold is None else SellsSessions(sold, catalog.desired, terms, database)
            known = chain or NoChain()
            ledger = self._add(LedgerPart)(context, database, history, rules.chain.id, known)
            shown.append(ledger.show)
            tickets = self._add(TicketsPart)(context, known, ledger, selling)
        hooks = self._add(HooksPart)(context, database, BuiltInHooks(context, node, tickets), rate)
        jobs = self._add(JobsPart)(context, sessions, reconcile, LongSessions(realtime, sold), node, hooks, self._lines)
        self._add(AdminPart)(context, reconcile, self._lifetime.is_running, shown)
        drain = partial(self._lifetime.drain, above=reconcile)
        down = TakeDown(reconcile, runtimes, drain, self.waiting_for, self.stop, history)
        control = self._add(ControlPart)(context, reconcile, runtimes, down, history, ledger)
        log_level = partial(set_level, lines=self._lines)
        reload = self._add(ReloadPart)(context, catalog, secrets, self._again, log_level)
        keep = {"lock": ground.keep_lock, "store": database.keep, "control socket": control.keep}
        self._add(StateDirPart)(context, keep)
        if node is not None:
            from orchd.advertise.part import AdvertisePart

            self._add(AdvertisePart)(context, node, sessions, realtime, reconcile, jobs, history, rate)
        if rules.public.listen:
            from orchd.public.part import PublicPart

            ways = {
                "byoc": partial(self._byoc_for_payers, tickets, hooks, sessions),
                "live-runner": partial(self._live_runner_for_payers, tickets, sold, sessions, reconcile),
            }
            inside = None if sold is None or channels is None else self._for_containers(sold, channels, runtimes)
            self._add(PublicPart)(context, jobs, reconcile, history, ways, inside)
        self._notify, self._reload, self._reconcile, self._history = notify, reload, reconcile, history

    def _byoc_for_payers(self, tickets: TicketsPart | None, hooks: HooksPart, sessions: SessionsPart) -> WayIn:
        """Return BYOC's way in at the public listener.

        Raises:
            SettingsError: nobody would be paid for what comes by it.
        """
        if tickets is None:
            raise _unpaid("byoc")
        from orchd.doors.public_byoc.door import PublicByocDoor
        from orchd.doors.public_byoc.tokens import TokenDesk

        public = self._settings.public
        url = f"{public.url}{public.base_path}"
        return WayIn((PublicByocDoor(TokenDesk(tickets.payments, tickets.sessions, hooks.terms, sessions.table, url)),))

    def _live_runner_for_payers(
        self, tickets: TicketsPart | None, sold: SoldPart | None, sessions: SessionsPart, reconcile: ReconcilePart
    ) -> WayIn:
        """Return the way in for Live Runner's clients at the public listener.

        Raises:
            SettingsError: nobody would be paid for what comes by it.
        """
        if tickets is None or sold is None:
            raise _unpaid("live-runner")
        from orchd.doors.public_live_runner.way import way_in

        backed = tickets.payments.backed
        return way_in(self._settings, tickets, sold.sold, reconcile, sessions.table, backed=backed)

    def _for_containers(self, sold: SoldPart, channels: ChannelsPart, runtimes: RuntimesPart) -> RunnerSideOpening:
        """Return what containers of sold sessions are served by."""
        from orchd.doors.channels.door import ChannelsDoor
        from orchd.doors.runner_side.callbacks import Callbacks
        from orchd.doors.runner_side.door import RunnerSideDoor
        from orchd.public.runner_listener import RunnerSideOpening
        from orchd.sold.runner_side.grants import Grants

        grants = Grants(self._settings.public.proxy_grants, self._settings.own_ports)

        def doors() -> tuple[Door, ...]:
            callbacks = Callbacks(sold.sold, sold.runner_side, sold.urls)
            own = RunnerSideDoor(sold.sold, sold.runner_side, callbacks, grants.allows)
            return own, ChannelsDoor(channels.keeper)

        def listening(port: int, at: str) -> None:
            sold.urls.listening(port, at)

        return RunnerSideOpening(doors, lambda: runtimes.host_seen, runtimes.host_known, listening)

    def _add(self, part: Callable[P, T]) -> Callable[P, T]:
        """Return what makes this part, or another one in place of it, and puts it at the end of the list."""
        make: Callable[P, T] = self._instead.get(part, part)  # type: ignore[call-overload]

        def added(*args: P.args, **kwargs: P.kwargs) -> T:
            made = make(*args, **kwargs)
            self._parts.append(made)
            return made

        return added

    # -- what others ask of it ---------------------------------------------------------------------------------------

    def stop(self, why: str = "") -> None:
        """Ask the daemon to end; `run` returns when it has. The log names `why`."""
        self._stop_why = self._stop_why or why
        self._stop.set()

    def reload(self) -> None:
        """Read the models file, the secrets and `log.level` again, soon."""
        self._reload.ask()

    @property
    def stopping(self) -> bool:
        """It has been asked to end."""
        return self._stop.is_set()

    @property
    def accepting(self) -> bool:
        """Everything has started, and nothing has been stopped: jobs are taken."""
        return self._lifetime.is_running()

    def waiting_for(self) -> str:
        """Return in words what keeps the daemon from having ended, after `stop`."""
        return self._lifetime.waits_for()

    def snapshot(self) -> Snapshot:
        """Return what all parts know now."""
        return self._reconcile.snapshots.now()

    def part(self, kind: type[T]) -> T:
        """Return the part of this class, or the one in place of it.

        Raises:
            KeyError: it is switched off.
        """
        for part in self._parts:
            if isinstance(part, kind):
                return part
        raise KeyError(kind.__name__)

    # -- its life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until `stop` or `orchd down`.

        Raises:
            OrchdError: it can't start (AlreadyRunning, StoreError, ADDRESS_IN_USE and the like), and has changed
                nothing; or a root task has ended, and everything was closed.
        """
        await self._lifetime.run(self._stop)

    def _on_stage(self, stage: Stage) -> None:
        match stage:
            case Stage.RUNNING:
                settle_down()
                self._sweeps.start()
                self._notify.notifier.ready()
                log.info("orchd_ready", version=__version__, instance=self._settings.instance)
            case Stage.ENDING:
                self._notify.notifier.stopping()
                why = self._stop_why or "a part of it has failed"
                log.info("orchd_stopping", on_stop=self._settings.on_stop, why=why)
                self._history.note(Kind.DAEMON_ENDING, why)
            case Stage.CLOSING:
                self._sweeps.close()
                self._long_lived.close()
                log.info("orchd_stopped")


def _unpaid(door: str) -> SettingsError:
    return SettingsError(
        f"cannot use public.doors: nobody would be paid for what comes by {door}; put tickets into hooks.order"
    )
