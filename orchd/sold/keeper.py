"""The one that begins and ends sold sessions, and knows how each of them stands. No await in it.

    pending -- begun --> active -- end --> ending --> ended

A persistent session is carried by a stream (`realtime`), which holds its slot and survives a restart; a single-shot
one is a job. Jobs tell this object what begins and what they end; streams and runners are only looked at: that a
session was used, and for how long it could be served, is seen at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.live_runner import CONTROL, ROUTE, SESSION_ID, TOKEN
from orchd.domain.model import Secret
from orchd.domain.money import PriceUnit
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Cut, Outcome
from orchd.domain.signal import Signal
from orchd.domain.sold import Bought, EndWord, SoldSession
from orchd.errors import Code
from orchd.hooks.refusal import Refusal
from orchd.sold.live import LiveSession, LiveSessions
from orchd.sold.needs import Runners, Slot, SoldStream, SoldStreamLeft, StreamKeeper
from orchd.sold.token import session_token

log = structlog.get_logger("orchd.sold")

LOOK_S = 1.0
"""Seconds between two looks at all sessions."""
LIVES = "session_lives"
"""`Refusal.reason` where a manifest is paid for whose session lives."""


FREE = Bought()


class SoldKeeper:
    """After `domain.sold.SoldSessions`.

    Args:
        streams: carries persistent sessions.
        runners: what is served, and which runners serve.
        secret: what tokens are made with.
        lost_s: returns for how long orchd itself stood still since then (loop clock).
        control: returns where the container of a session asks for what is its to ask (`RunnerUrls.control`).
        moved_at: returns when a byte moved last in a channel of a session, by its id (loop clock); None = in none.

    Attributes:
        began: one is pending no more.
        ending: the end of one has begun, and why: its last word can be said.
        ended: one has ended, and why.
    """

    def __init__(
        self,
        streams: StreamKeeper,
        runners: Runners,
        secret: bytes,
        lost_s: Callable[[float], float],
        control: Callable[[ModelKey, str], str],
        moved_at: Callable[[str], float | None] = lambda session: None,
    ) -> None:
        self._streams = streams
        self._runners = runners
        self._secret = secret
        self._lost_s = lost_s
        self._control = control
        self._moved_at = moved_at
        self._live = LiveSessions()
        self.began: Signal[SoldSession] = Signal()
        self.ending: Signal[SoldSession, str] = Signal()
        self.ended: Signal[SoldSession, str] = Signal()
        streams.found.connect(self._found)
        streams.given_up.connect(self._given_up)
        streams.ending.connect(self._stream_ending)
        streams.ended.connect(lambda end: self._stream_ended(end.stream, end.why))

    def restore(self) -> None:
        """Know the sessions that an earlier orchd has left; the streams that carry them are expected by now."""
        for left in self._streams.expected(Origin.SOLD):
            self._expect(left)

    async def run(self) -> None:
        """Look at all sessions from time to time until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    # After `domain.sold.SoldSessions`.

    def find(self, id: str) -> LiveSession | None:
        return self._live.find(id)

    def was_here(self, id: str) -> bool:
        return self._live.was_here(id)

    async def forgotten(self, session: SoldSession, within_s: float) -> None:
        assert isinstance(session, LiveSession)
        forgetting = session.forgetting if session.stream is None else session.stream.forgetting
        if forgetting is None:
            return  # Nothing of it is on the disk.
        if not (await asyncio.wait({forgetting}, timeout=within_s))[0]:
            log.warning("session_stays_on_disk", session=session.id, next="it is dropped as soon as the disk answers")

    def of_account(self, account: str) -> LiveSession | None:
        return self._live.of_account(account)

    def touch(self, session: SoldSession) -> None:
        assert isinstance(session, LiveSession)
        self._lives(session, _now())

    def served_ns(self, session: SoldSession) -> int:
        assert isinstance(session, LiveSession)
        self._look_at_clock(session, _now())
        return session.clock.ns

    def token(self, session: SoldSession) -> Secret:
        return session_token(self._secret, session.id)

    def headers(self, session: SoldSession) -> dict[str, str]:
        """Return what a container is told of its session with each request (docs/protocol/live-runner.md, 4.3)."""
        control = self._control(session.key, session.id)
        return {ROUTE: session.key.slug, SESSION_ID: session.id, TOKEN: self.token(session).value, CONTROL: control}

    def lines(self, session: SoldSession) -> bytes:
        """As `headers`, as lines of a head."""
        return "".join(f"{name}: {value}\r\n" for name, value in self.headers(session).items()).encode("latin-1")

    def all(self) -> list[LiveSession]:
        """Return all that live now."""
        return [*self._live]

    # What jobs do.

    def reserve(self, id: str, slot: Slot, bought: Bought, cut: Cut, *, persistent: bool) -> LiveSession:
        """Note a session that has a slot and may be paid for; `begun` or `over` follows.

        Args:
            cut: ends the request that it begins with.

        Raises:
            Refusal: 409: one of this id lives. Nothing has been taken for this one.
        """
        if self._live.find(id) is not None:
            raise Refusal(409, "cannot begin a session: the one that was paid for lives", reason=LIVES)
        session = _session(id, slot.runner, bought, persistent=persistent, pending=True)
        session.slot, session.cut, session.moved_at = slot, cut, slot.progress_at
        return self._add(session)

    def carried(self, session: LiveSession, stream: SoldStream) -> None:
        """It is paid for, or free, and this stream carries it from now on."""
        session.stream, session.cut = stream, None

    def carried_by(self, stream: SoldStream) -> LiveSession | None:
        """Return the session that this stream carries; None = it carries none that lives."""
        session = self._live.find(stream.id)
        return session if session is not None and session.stream is stream else None

    def begun(self, session: LiveSession) -> None:
        """It is pending no more: its time counts from now on."""
        session.pending = False
        self.touch(session)
        self.began.emit(session)

    def join(self, session: LiveSession, cut: Cut) -> None:
        """One more request is under way in a session that is a job; `leave` follows. `cut` ends it."""
        session.guests.add(cut)

    def leave(self, session: LiveSession, cut: Cut, why: str) -> bool:
        """A request that no stream carries is over; return whether the session is, since it began with that request."""
        session.guests.discard(cut)
        if session.cut != cut:
            return False
        self.over(session, why)
        return True

    def over(self, session: LiveSession, why: str) -> None:
        """Its job has ended, or it did not begin. Repeats are fine."""
        if not self._live.drop(session):
            return
        self._look_at_clock(session, _now())
        session.ending = True
        session.clock.end()
        for cut in list(session.guests):
            cut(why, Code.SESSION_ENDED)
        self.ended.emit(session, why)

    # What time brings.

    def look(self) -> None:
        """See what was used since the last look, and end what nobody uses."""
        now, models = _now(), self._runners.models()
        for session in self._live:
            self._look_at_clock(session, now)
            self._look_for_signs(session, now)
            model = models.get(session.key)
            if model is None or session.stream is None or session.ending:
                continue
            if now - session.sign_at - self._lost_s(session.sign_at) >= model.session_idle_s:
                session.end(Outcome.TIMEOUT, f"nobody has used it for {model.session_idle_s:g} s", EndWord.IDLE)

    def _look_at_clock(self, session: LiveSession, now: float) -> None:
        clock = session.clock
        if clock.runs:
            lost_s = self._lost_s(clock.looked_at)
            clock.look(now, serves=self._runners.serves(session.runner), lost_s=lost_s)

    def _lives(self, session: LiveSession, at: float) -> None:
        """It gave a sign of life at this time (loop clock)."""
        session.sign_at = max(session.sign_at, at)
        if session.stream is not None:
            session.stream.sign_at = max(session.stream.sign_at, at)
        if not session.pending and not session.clock.runs and self._live.find(session.id) is session:
            session.clock.begin(_now(), serves=self._runners.serves(session.runner))

    def _look_for_signs(self, session: LiveSession, now: float) -> None:
        """A byte is a sign of life; a request under way says only that somebody uses the session."""
        moved_at = 0.0 if session.slot is None else session.slot.progress_at
        moved_at = max(moved_at, self._moved_at(session.id) or 0.0)
        if moved_at > session.moved_at:
            session.moved_at = moved_at
            self._lives(session, moved_at)
        if session.stream is not None and (session.stream.riders or session.stream.request_at > session.sign_at):
            session.sign_at = now

    # Beginnings and ends.

    def _end(self, session: LiveSession, outcome: Outcome, why: str, word: str = "") -> None:
        """After `SoldSession.end`."""
        if session.stream is not None:  # Also if its end had begun before: it may have been pending then.
            return self._streams.end_soon(session.stream, outcome, why, word)
        if session.ending:
            return None
        self._tell_ending(session, why)
        if session.cut is not None:
            return session.cut(why, word or Code.SESSION_ENDED)
        session.forgetting = self._streams.forget_left(session.key, session.id)
        return None

    def _add(self, session: LiveSession) -> LiveSession:
        session.end = partial(self._end, session)
        self._live.add(session)
        return session

    # What streams tell.

    def _expect(self, left: SoldStreamLeft) -> None:
        """An earlier orchd has left a session; its stream is found again when its runner is."""
        account = left.account
        bought = FREE if account is None else Bought(account.payer, account.id, account.unit is PriceUnit.FIXED)
        self._add(_session(left.name, left.runner, bought, persistent=True, pending=False))

    def _found(self, stream: SoldStream) -> None:
        session = self._live.find(stream.id) if stream.origin is Origin.SOLD else None
        if session is not None:
            session.slot, session.stream, session.runner = stream.session, stream, stream.session.runner
            session.moved_at, session.sign_at = stream.session.progress_at, _now()

    def _given_up(self, left: SoldStreamLeft) -> None:
        session = self._live.find(left.name) if left.origin is Origin.SOLD else None
        if session is not None:
            self.over(session, "its runner was not found again")

    def _stream_ending(self, stream: SoldStream, why: str) -> None:
        if (session := self.carried_by(stream)) is not None:
            self._tell_ending(session, why)

    def _tell_ending(self, session: LiveSession, why: str) -> None:
        if not session.ending:
            session.ending = True
            self.ending.emit(session, why)

    def _stream_ended(self, stream: SoldStream, why: str) -> None:
        session = self._live.find(stream.id) if stream.origin is Origin.SOLD else None
        if session is not None and (session.stream is stream or (session.stream is None and session.cut is None)):
            self.over(session, why)


def _session(id: str, runner: RunnerId, bought: Bought, *, persistent: bool, pending: bool) -> LiveSession:
    return LiveSession(
        id=id,
        key=runner.key,
        payer=bought.payer,
        account=bought.account,
        fixed=bought.fixed,
        persistent=persistent,
        pending=pending,
        sign_at=_now(),
        end=_no_end,
        runner=runner,
    )


def _no_end(outcome: Outcome, why: str, word: str = "") -> None:
    raise AssertionError("a session was not added in the step that made it")


def _now() -> float:
    return asyncio.get_running_loop().time()
