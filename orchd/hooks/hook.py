"""The base class of hooks, and what a hook is given when it opens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from orchd.database.sql import Sql
from orchd.domain.outcomes import Outcome
from orchd.hooks.account import Account
from orchd.hooks.job import Job
from orchd.hooks.usage import Usage

Waits = Awaitable[None] | None
"""What a call returns: None = it has answered; else it must be awaited."""
T = TypeVar("T")


class HookOptions(BaseModel):
    """Base of a hook's options: what stands in its table `[hooks.NAME]`. Frozen, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HookDatabase(Protocol):
    """orchd's database; see `orchd.database.database.Database`."""

    async def transaction(self, work: Callable[[Sql], T]) -> T:
        """Carry out `work` whole or not at all; return what it returns once it is on the disk."""

    async def read(self, work: Callable[[Sql], T], timeout_s: float | None = None) -> T:
        """Return what `work` finds; it may take long without delaying a transaction."""


@dataclass(frozen=True, slots=True)
class HookHost:
    """What orchd gives a hook when it opens.

    Attributes:
        name: of the hook, as in `[hooks] order`.
        instance: of the daemon.
        state_dir: absolute; files of the hook's own may lie in it, in a folder of the hook's name.
        database: where the hook's tables are.
        log: a structlog logger that names the hook.
    """

    name: str
    instance: str
    state_dir: Path
    database: HookDatabase = field(repr=False)
    log: Any = field(repr=False)


class JobHook:
    """Base of all hooks: it has nothing against any job. A hook overrides what it cares for, plain or `async`.

    A call that has nothing to wait for is a plain function and costs a job next to nothing. One that waits is a
    coroutine function and runs as a task. Calls that a hook does not override are not made.

    A hook refuses by raising `Refusal` (or `JobRefused`). One that raises anything else, or takes longer than
    `jobs.hook_timeout_s`, refuses with 503; from `settle` that is logged, and the other hooks are settled all the same.

    Attributes:
        Options: model of the options in `[hooks.NAME]`. The hook is made as `Class(options)`.
        migrations: the hook's tables: each step is a list of SQL statements that changes what the steps before it have
            made. Steps are carried out once, in order, before `open`; never change one that was released. Begin the
            names of tables with the hook's own name.
        takes_payment: it is what jobs are paid with. One hook at most may be; it is asked last, whatever its place in
            the order, so that a job that another one refuses costs nothing.
        survives_restart: sessions that die with orchd are settled at its next start, as `Outcome.ABORTED` and with what
            was last known to be used; else only realtime sessions are. Costs each job two writes. If orchd dies while
            it settles, the next one settles again: keep what you take under `Job.account_id`, and look there.
    """

    Options: ClassVar[type[HookOptions]] = HookOptions
    migrations: ClassVar[Sequence[Sequence[str]]] = ()
    takes_payment: ClassVar[bool] = False
    survives_restart: ClassVar[bool] = False

    def __init__(self, options: HookOptions) -> None:
        self.options = options

    # Lifecycle.

    async def open(self, host: HookHost) -> None:
        """Get ready. Jobs come only after this has returned; what it raises keeps the daemon from starting."""

    def roots(self) -> Mapping[str, Coroutine[Any, Any, object]]:
        """Return what runs as long as the daemon does, by name. One that ends takes the daemon down."""
        return {}

    async def close(self) -> None:
        """Give back what `open` took, even if that failed in the middle. No root task runs any more."""

    # A job.

    def arrive(self, job: Job) -> Waits:
        """Refuse who may not ask at all, by the head alone: no byte of the body is read yet, and `key` is None.

        No side effects. It is also called for requests that name no model that there is.
        """
        return None

    def identify(self, job: Job) -> Waits:
        """Refuse who may not ask for this model. Before slot, queue and cold start. No side effects."""
        return None

    def admit(self, job: Job) -> Waits:
        """Take what the job costs, or refuse it. After the slot, before the runner sees anything."""
        return None

    def charge(self, account: Account, used: float) -> Waits:
        """Charge for the time so far, or end the session by refusing. Once a second while an admitted session runs.

        Args:
            used: seconds since the session began, those before a restart of orchd included.
        """
        return None

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        """Close the session's account.

        Exactly once on every hook for every session that began, in whatever way it ended, admitted or not; when it has
        ended, and never while another call for that session runs. A hook that has no use for `usage` may leave that
        argument out.
        """
        return None
