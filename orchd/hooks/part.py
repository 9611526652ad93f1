"""The hooks, as a part: loads them, opens and closes them, and runs their root tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from orchd.domain.redact import scrub
from orchd.errors import HookError, OrchdError, StoreError
from orchd.hooks.calls import HookCalls
from orchd.hooks.entries import check_one_takes_payment, entries
from orchd.hooks.hook import HookHost, JobHook
from orchd.hooks.loader import load_hook
from orchd.hooks.metrics import HookCollector, HookCounts
from orchd.hooks.open_accounts import OpenAccounts
from orchd.hooks.settings import HooksSettings
from orchd.hooks.tables import MigratedDatabase, bring_up
from orchd.hooks.terms import TermsNow
from orchd.part import Context, Part, Roots
from orchd.settings.section import FreeTable
from orchd.tasks import being_cancelled, spawn

if TYPE_CHECKING:  # Where no prices are converted, nothing of that part is imported.
    from orchd.rate.ports import ExchangeRate

log = structlog.get_logger("orchd.hooks")

OPEN_TIMEOUT_S = 30.0
"""Timeout in seconds for `open` of one hook: a service manager gives up a start after 90 s."""
CLOSE_TIMEOUT_S = 5.0
"""Timeout in seconds for `close` of one hook: it must not hold up the end of the daemon."""


class HoldsDatabase(Protocol):
    """See `database.part.DatabasePart`."""

    @property
    def database(self) -> MigratedDatabase: ...


class BuiltIn(Protocol):
    """Makes the hooks that come with orchd; see `tickets.built_in.BuiltInHooks`."""

    def hook(self, name: str, table: FreeTable | None) -> JobHook | None:
        """Return the hook of this name, one of `settings.BUILT_IN`; None = it has nothing to do here."""


class HooksPart(Part):
    """Loads, opens, runs and closes the hooks.

    Args:
        rate: between USD and ETH; None = prices in USD are not converted.

    Attributes:
        terms: returns name and price of a model for a payer.
        calls: asks the hooks, in the order of the settings, but for the one that takes payment; from `open` on.
        names: of the hooks, in the order in which they are asked; from `open` on.
    """

    name = "hooks"
    calls: HookCalls
    names: tuple[str, ...]

    def __init__(
        self, context: Context, database: HoldsDatabase, built_in: BuiltIn, rate: ExchangeRate | None = None
    ) -> None:
        self._context = context
        self._database = database
        self._built_in = built_in
        self.terms = TermsNow(context.settings.orchestrator.capability, rate)
        self._opened: list[tuple[str, JobHook]] = []
        self._books: OpenAccounts | None = None

    def load(self) -> list[tuple[str, JobHook]]:
        """Return the hooks and their names, in order.

        Raises:
            HookError: one of them can't be loaded.
        """
        found = []
        settings = self._context.settings.hooks
        for entry in entries(settings):
            hook = load_hook(entry, settings) if entry.module else self._made(entry.name, settings)
            if hook is not None:
                found.append((entry.name, hook))
        return found

    def _made(self, name: str, settings: HooksSettings) -> JobHook | None:
        return self._built_in.hook(name, settings.tables.get(name))

    async def open(self) -> None:
        hooks = _paid_last(self.load())
        for name, hook in hooks:
            self._opened.append((name, hook))
            await self._open(name, hook)
        self.names = tuple(name for name, _ in hooks)
        settings = self._context.settings
        counts = HookCounts()
        if any(hook.survives_restart for _, hook in hooks):
            self._books = OpenAccounts(self._database.database)
            await self._books.load()
        HookCollector(self._context.metrics, counts)
        self.calls = HookCalls(
            [hook for _, hook in hooks],
            timeout_s=settings.jobs.hook_timeout_s,
            lag=self._context.lag,
            names=self.names,
            counts=counts,
            books=self._books,
        )
        if settings.orchestrator.enabled and "node-token" not in settings.hooks.order:
            log.warning(
                "node_token_not_asked",
                why="hooks.order leaves node-token out: anybody who reaches jobs.listen can use the routes of the node",
            )

    def roots(self) -> Roots:
        found: dict[str, Coroutine[Any, Any, object]] = {}
        for name, hook in self._opened:
            try:
                for task, work in hook.roots().items():
                    if not asyncio.iscoroutine(work):
                        raise TypeError(f"the task {task} is a {type(work).__name__}, not a coroutine")
                    found[f"{task} of hook {name}"] = work
            except BaseException as exc:
                for work in found.values():
                    work.close()  # Nobody will run them.
                raise HookError(
                    f"cannot start the tasks of the hook {name}: {type(exc).__name__}: {scrub(str(exc))[:300]}"
                ) from exc
        roots = {task: _root(task, work) for task, work in found.items()}
        return roots if self._books is None else {**roots, "open accounts": self._books.run()}

    async def close(self) -> None:
        for name, hook in reversed(self._opened):
            try:
                async with self._context.lag.timeout(CLOSE_TIMEOUT_S):
                    await hook.close()
            except BaseException as exc:  # The other hooks are closed all the same.
                log.error("hook_not_closed", hook=name, exc_info=exc)
        self._opened.clear()

    async def _open(self, name: str, hook: JobHook) -> None:
        database = self._database.database
        host = HookHost(
            name=name,
            instance=self._context.settings.instance,
            state_dir=self._context.state_dir,
            database=database,
            log=structlog.get_logger("orchd.hooks").bind(hook=name),
        )
        try:
            async with self._context.lag.timeout(OPEN_TIMEOUT_S):
                if hook.migrations:
                    new = await bring_up(database, name, hook.migrations)
                    log.info("hook_tables", hook=name, new_steps=new)
                await hook.open(host)
        except StoreError as exc:
            raise HookError(f"cannot open the hook {name}: {exc.message}") from exc
        except OrchdError:
            raise
        except TimeoutError as exc:
            raise HookError(
                f"cannot open the hook {name}: it was not open after {OPEN_TIMEOUT_S:g} s; see what it waits for, or "
                "take it out of hooks.order"
            ) from exc
        except BaseException as exc:
            if isinstance(exc, GeneratorExit) or (isinstance(exc, asyncio.CancelledError) and being_cancelled()):
                raise
            log.error("hook_not_opened", hook=name, exc_info=exc)
            raise HookError(
                f"cannot open the hook {name}: it failed with {type(exc).__name__}: {scrub(str(exc))[:300]}; the log "
                "has more"
            ) from exc


def _paid_last(hooks: list[tuple[str, JobHook]]) -> list[tuple[str, JobHook]]:
    """Return the hooks in the order in which they are asked: the one that takes payment comes last.

    Raises:
        HookError: two take payment.
    """
    check_one_takes_payment([name for name, hook in hooks if hook.takes_payment])
    return sorted(hooks, key=lambda named: named[1].takes_payment)


async def _root(name: str, work: Coroutine[Any, Any, object]) -> None:
    """Run a hook's root task, in a task of its own: what it still does when it is cancelled must not keep the daemon.

    Raises:
        HookError: it has called `sys.exit`, which would end the daemon without a word.
    """
    running = spawn(_outcome(work), name=f"{name}, itself")
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError:
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=CLOSE_TIMEOUT_S)
        if not done:
            log.error(
                "hook_not_closed", task=name, why=f"it has not ended {CLOSE_TIMEOUT_S:g} s after it was cancelled"
            )
            running.cancel()
        elif not running.cancelled() and (error := running.result()) is not None:
            log.error("hook_not_closed", task=name, exc_info=error)
        raise
    error = running.result()
    if isinstance(error, SystemExit):
        raise HookError(f"cannot go on: the {name} has called sys.exit({error.code!r})") from error
    if error is not None:
        raise error


async def _outcome(work: Coroutine[Any, Any, object]) -> BaseException | None:
    try:
        await work
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - it is raised, or logged, where it is waited for
        return exc
    return None
