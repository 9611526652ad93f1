"""Accounts of sessions: charged for while they run, settled once when they have ended. Work beside the jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from orchd.domain.ids import new_ids
from orchd.domain.money import PriceUnit
from orchd.domain.outcomes import Outcome
from orchd.hooks.account import Account
from orchd.hooks.calls import HookCalls, awaited
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.hooks.open_accounts import OpenAccounts
from orchd.hooks.usage import Measured
from orchd.jobs.run import Aborted, Run
from orchd.realtime.stream import Stream
from orchd.sessions.session import Session
from orchd.tasks import cancel, spawn


class Accounts:
    """Makes accounts, has them charged and settled.

    Args:
        hooks: who charges and settles.
        end_stream: ends a stream that a hook will not charge for any more; gets why, in words and for programs.
        closed: called when an account has been closed.
    """

    def __init__(
        self,
        hooks: HookCalls,
        end_stream: Callable[[Stream, Outcome, str, str], None],
        closed: Callable[[], None],
    ) -> None:
        self._hooks = hooks
        self._end_stream = end_stream
        self._told_closed = closed
        self._ids = new_ids()
        self._open: set[asyncio.Task[None]] = set()
        self._streams: dict[Stream, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        """Return how many are being settled, or will be with their job."""
        return len(self._open)

    def keep(
        self, run: Run, session: Session, books: OpenAccounts, *, admitted: bool
    ) -> Coroutine[Any, Any, None] | None:
        """Return what writes the session's account down as it is now; None = it has one that was admitted.

        Raises what is returned:
            JobRefused: it can't be written.
        """
        if session.account is not None and session.account.admitted:
            return None
        return books.keep(replace(self._make(run, run.job, session, admitted=False), admitted=admitted))

    def make(self, run: Run, session: Session, *, admitted: bool) -> None:
        """Make the session's account, unless it has one that was admitted.

        A hook that is still being asked, although the job was cut, may have something to say about the payment: then
        the account is made when it has ended. It is settled after that in any case.
        """
        if session.account is not None and session.account.admitted:
            return
        job = run.job  # The run drops it when its flow has ended.
        if run.outer is not None and not run.outer.done():
            run.outer.add_done_callback(lambda _: self._make(run, job, session, admitted=admitted))
        else:
            self._make(run, job, session, admitted=admitted)

    def _make(self, run: Run, job: Job, session: Session, *, admitted: bool) -> Account:
        terms = job.terms
        assert terms is not None
        session.account = account = Account(
            id=job.account_id,
            request_id=run.request_id,
            payer=job.payer,
            key=session.key,
            capability=terms.capability,
            price=terms.price,
            unit=terms.unit,
            door=run.door.name,
            kind=session.kind.value,
            began=time.time(),
            limit=job.limits.of_model,
            admitted=admitted,
            notes=job.notes,
        )
        return account

    def charge(self, run: Run, session: Session) -> None:
        """Keep a task beside the job that charges for it, and settles when both have ended.

        For a job that belongs to a stream, the stream is charged for.
        """
        if run.stream is not None:
            return self.charge_stream(run.stream)
        ended = run.charging = asyncio.Event()
        account = session.account
        assert account is not None

        async def charge() -> None:
            await self._hooks.charge(
                account,
                session.began_at,
                ended,
                lambda no: run.cut(Aborted(no.code, no.message, retry_after_s=no.retry_after_s, word=no.word)),
            )
            await ended.wait()
            assert session.outcome is not None
            if (waits := self._close_account(account, session.outcome, session.served)) is not None:
                await waits

        return self._keep(charge(), f"account of session {session.id}")

    def settle(self, run: Run, session: Session, outcome: Outcome) -> None:
        """The job has ended; its slot is free, or letting go."""
        if run.charging is not None:
            run.charging.set()
        else:
            job = run.job
            self._settle(session, outcome, run.outer, lambda: self._make(run, job, session, admitted=False))

    def charge_stream(self, stream: Stream) -> None:
        """Charge for a stream from now on; for one that is charged for already, nothing changes.

        A stream that was found again after a restart, and whose account is not known, is not charged for.
        """
        account = stream.session.account
        if self._hooks.charging and account is not None and account.admitted and stream not in self._streams:
            ended = asyncio.Event()
            charge = self._hooks.charge(
                account,
                stream.session.began_at,
                ended,
                lambda no: self._end_stream(stream, Outcome.ABORTED, no.message, no.word),
            )
            self._streams[stream] = ended, spawn(charge, name=f"charge stream {stream.id}")

    def settle_stream(self, stream: Stream, outcome: Outcome, forgotten: asyncio.Task[None] | None) -> None:
        """The stream has ended; its slot is free, or letting go.

        Args:
            forgotten: as in `StreamEnd`.
        """
        ended, charge = self._streams.pop(stream, (None, None))
        if ended is not None:
            ended.set()
        if self._hooks.settling or charge is not None:
            self._settle(stream.session, outcome, charge, lambda: self._of_nobody(stream), forgotten)

    def settle_lost(self, account: Account, forgotten: asyncio.Task[None] | None) -> None:
        """A session of an earlier orchd has died with it: what it was last known to have used is settled.

        Args:
            forgotten: as in `StreamEnd`.
        """
        used_s = None if self._hooks.books is None else self._hooks.books.used_before(account.id)
        # The container of a stream had answered; of a job nobody knows, and its caller has not got all of it.
        measured = Measured(used_s or 0.0, None if forgotten is None else 0.0)

        async def settle() -> None:
            if forgotten is not None:
                await asyncio.wait({forgotten})
            if (waits := self._close_account(account, Outcome.ABORTED, measured)) is not None:
                await waits

        self._keep(settle(), f"account {account.id}")

    def settle_left(self, waited_for: set[str]) -> None:
        """Settle the sessions that have died with an earlier orchd, but for streams that may be found again.

        Args:
            waited_for: ids of the accounts of those.
        """
        for account in [] if self._hooks.books is None else self._hooks.books.left():
            if account.id not in waited_for:
                self.settle_lost(account, None)

    def _of_nobody(self, stream: Stream) -> Account:
        """Make the account of a stream that no request was admitted for, or whose account is lost."""
        stream.session.account = account = Account(
            id=next(self._ids),
            request_id="",
            payer="",
            key=stream.key,
            capability=str(stream.key),
            price=None,
            unit=PriceUnit.SECOND,
            door=stream.origin.value,
            kind=stream.session.kind.value,
            began=stream.began_date,
        )
        return account

    async def close(self) -> None:
        """Charge no more; streams go on without us."""
        await cancel(*(charge for _, charge in self._streams.values()))

    def _settle(
        self,
        session: Session,
        outcome: Outcome,
        call: asyncio.Task[Any] | None,
        account: Callable[[], Account],
        forgotten: asyncio.Task[None] | None = None,
    ) -> None:
        """Settle, after a call of a hook that may still be under way, and once a stream's record is gone.

        Args:
            account: makes one where the session has none.
        """
        name = f"account of session {session.id}"
        if after := {task for task in (call, forgotten) if task is not None and not task.done()}:
            self._keep(self._settle_after(after, session, outcome, account), name)
        elif (waits := self._close_account(session.account or account(), outcome, session.served)) is not None:
            self._keep(awaited(waits), name)

    async def _settle_after(
        self, after: set[asyncio.Task[Any]], session: Session, outcome: Outcome, account: Callable[[], Account]
    ) -> None:
        await asyncio.wait(after)
        if (waits := self._close_account(session.account or account(), outcome, session.served)) is not None:
            await waits

    def _close_account(self, account: Account, outcome: Outcome, measured: Measured) -> Waits:
        """Have it settled; then no record of it is left."""
        waits, books = self._hooks.settle(account, outcome, measured), self._hooks.books
        return waits if books is None else _settled(waits, books, account.id)

    def _keep(self, work: Coroutine[Any, Any, None], name: str) -> None:
        account = spawn(work, name=name)
        self._open.add(account)
        account.add_done_callback(self._close)

    def _close(self, account: asyncio.Task[None]) -> None:
        self._open.discard(account)
        self._told_closed()


async def _settled(settling: Waits, books: OpenAccounts, id: str) -> None:
    if settling is not None:
        await settling
    await books.drop(id)
