"""Accounts of sessions: charged for while they run, settled once when they have ended. Work beside the jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from orchd.domain.outcomes import Outcome
from orchd.jobs.hooks import Hooks, awaited
from orchd.jobs.run import Aborted, Run
from orchd.realtime.stream import Stream
from orchd.sessions.session import Session
from orchd.tasks import cancel, spawn


class Accounts:
    """Args:
    hooks: who charges and settles.
    end_stream: ends a stream that a hook will not charge for any more; gets why.
    closed: called when an account has been closed.
    """

    def __init__(
        self, hooks: Hooks, end_stream: Callable[[Stream, Outcome, str], None], closed: Callable[[], None]
    ) -> None:
        self._hooks = hooks
        self._end_stream = end_stream
        self._told_closed = closed
        self._open: set[asyncio.Task[None]] = set()
        self._streams: dict[Stream, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        """Return how many are being settled, or will be with their job."""
        return len(self._open)

    def charge(self, run: Run, session: Session) -> None:
        """Keep a task beside the job that charges for it, and settles when both have ended."""
        ended = run.charging = asyncio.Event()

        async def account() -> None:
            await self._hooks.charge(
                session, ended, lambda no: run.cut(Aborted(no.code, no.message, retry_after_s=no.retry_after_s))
            )
            await ended.wait()
            assert session.outcome is not None
            if (waits := self._hooks.settle(session, session.outcome)) is not None:
                await waits

        self._keep(account(), session)

    def settle(self, run: Run, session: Session, outcome: Outcome) -> None:
        """The job has ended; its slot is free, or letting go."""
        if run.charging is not None:
            run.charging.set()
        else:
            self._settle(session, outcome, run.outer)

    def charge_stream(self, stream: Stream) -> None:
        """Charge for a stream from now on; for one that is charged for already, nothing changes."""
        if self._hooks.charging and stream not in self._streams:
            ended = asyncio.Event()
            charge = self._hooks.charge(
                stream.session, ended, lambda no: self._end_stream(stream, Outcome.ABORTED, no.message)
            )
            self._streams[stream] = ended, spawn(charge, name=f"charge stream {stream.id}")

    def settle_stream(self, stream: Stream, outcome: Outcome) -> None:
        """The stream has ended; its slot is free, or letting go."""
        ended, charge = self._streams.pop(stream, (None, None))
        if ended is not None:
            ended.set()
        if self._hooks.settling or charge is not None:
            self._settle(stream.session, outcome, charge)

    async def close(self) -> None:
        """Charge no more; streams go on without us."""
        await cancel(*(charge for _, charge in self._streams.values()))

    def _settle(self, session: Session, outcome: Outcome, after: asyncio.Task[Any] | None) -> None:
        """Settle, behind a call of a hook that may still be under way."""
        if after is not None and not after.done():
            self._keep(self._settle_after(after, session, outcome), session)
        elif (waits := self._hooks.settle(session, outcome)) is not None:
            self._keep(awaited(waits), session)

    async def _settle_after(self, call: asyncio.Task[Any], session: Session, outcome: Outcome) -> None:
        await asyncio.wait({call})
        if (waits := self._hooks.settle(session, outcome)) is not None:
            await waits

    def _keep(self, work: Coroutine[Any, Any, None], session: Session) -> None:
        account = spawn(work, name=f"account of session {session.id}")
        self._open.add(account)
        account.add_done_callback(self._close)

    def _close(self, account: asyncio.Task[None]) -> None:
        self._open.discard(account)
        self._told_closed()
