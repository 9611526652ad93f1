"""Who holds which slot of which replica, and who waits for one. The only owner of these facts.

The loop opens and closes replicas; jobs begin and end sessions. There is no await in here: a call sees the table and
changes it in one step, so checking is taking, and `max_sessions` is exact.

Sessions that began under an earlier orchd are expected on their runner (`expect`): they count from then on, and are
sessions again as soon as the runner is opened.

A model with no open replica answers as `set_closed` says: either it refuses, or it is startable, and then jobs wait
in the order they came. A place in that queue turns into a session inside the call that frees the slot (`open`, `end`,
`define`), so nobody can overtake.

A session that ends while its runner may still be at work on it lets go (`let_go`): its outcome is known and nobody
waits for it any more, but its slot stays taken until `finish`, since `max_sessions` is about work and not about
requests. Who says when that is: `letting_go.py`. Drains, idle times and restarts look at running sessions only: what
lets go delays nobody.

    pending -- confirm --> running
    pending -- release --> not there
    running -- end --> ended
    running -- let_go --> letting go -- finish, or `gone` of its runner --> ended

A slot can be pending: somebody may begin a session in it, and the runner knows nothing of it. It counts towards
`max_sessions` and, as long as its replica is open, towards the limit of that. If the replica closes, it is a slot of
whichever replica opens next. Who says how long it may be pending: `pending.py`.

Callbacks run inside these calls and must not call the table back, save `QueuePlace.resolve`, which is called when the
table is consistent again.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

from orchd.domain.changes import Changes
from orchd.domain.ids import Address, ModelKey, RunnerId, SessionId
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.sessions.session import Session, SessionKind

NOT_STARTED = "it has not been started yet"


@dataclass(eq=False, slots=True)
class QueuePlace:
    """A job's place in the queue of a cold model.

    Attributes:
        resolve: set by the job in the step that took the place; called at most once, with what came of it.
    """

    key: ModelKey
    kind: SessionKind
    resolve: Callable[[Session | JobRefused], None]


@dataclass(eq=False, slots=True)
class PendingSlot:
    """A slot that is kept for somebody who may begin a session.

    Attributes:
        replica: where it is counted; the table's own. None = on no replica, or not pending any more.
        is_pending: it was neither confirmed nor released.
    """

    key: ModelKey
    replica: object = None
    is_pending: bool = True


@dataclass(eq=False, slots=True)
class _Replica:
    runner: RunnerId
    address: Address
    limit: int | None = None
    is_open: bool = True
    gone: bool = False
    sessions: set[Session] = field(default_factory=set)
    letting_go: int = 0
    pending: set[PendingSlot] = field(default_factory=set)
    idle_since: float = 0.0
    held: _Held | None = None

    @property
    def has_room(self) -> bool:
        return self.is_open and (self.limit is None or self.taken < self.limit)

    @property
    def taken(self) -> int:
        return len(self.sessions) + len(self.pending)

    @property
    def load(self) -> tuple[int, int]:
        """The least is taken first."""
        return self.taken, self.runner.replica


@dataclass(eq=False, slots=True)
class _Model:
    max_sessions: int
    hold_limit: int
    defined: bool = True
    startable: bool = False
    code: Code = Code.NOT_READY
    reason: str = NOT_STARTED
    active: int = 0
    letting_go: int = 0
    begun: int = 0
    replicas: dict[RunnerId, _Replica] = field(default_factory=dict)
    waiting: deque[QueuePlace] = field(default_factory=deque)
    expected: dict[RunnerId, list[QueuePlace]] = field(default_factory=dict)
    expecting: int = 0
    pending: int = 0
    homeless: list[PendingSlot] = field(default_factory=list)  # The pending slots that no replica counts.

    @property
    def taken(self) -> int:
        """How many slots are taken for a session that there is, is expected or may begin."""
        return self.active + self.expecting + self.pending

    @property
    def is_open(self) -> bool:
        return any(replica.is_open for replica in self.replicas.values())

    def emptiest(self) -> _Replica | None:
        """Return the open replica with the fewest sessions and room for one more; None = nothing may begin."""
        return None if self.taken >= self.max_sessions else self.roomiest()

    def roomiest(self) -> _Replica | None:
        """As `emptiest`, whatever `max_sessions` says."""
        best: _Replica | None = None
        for each in self.replicas.values():
            if each.has_room and (best is None or each.load < best.load):
                best = each
        return best


@dataclass(eq=False, slots=True)
class _Held:
    """Where a session is counted; the same for all of a replica."""

    model: _Model
    replica: _Replica


def _ignore_runner(runner: RunnerId) -> None:
    """Nobody keeps anything for it."""


def _unset(result: Session | JobRefused) -> None:
    raise AssertionError("QueuePlace.resolve was not set in the step that took the place")


class SessionTable:
    """Who holds which slot, and who waits for one.

    Args:
        on_drained: this runner was closed, and its last running session has ended.
        on_wanted: a job took a place in the queue of this startable model.
        on_count: so many slots of this model are taken now.
        on_closed: no session begins on this runner any more.
        clock: seconds; the loop's clock (which is `time.monotonic` on asyncio's own loops).

    Attributes:
        changes: models whose counts of slots or of waiting jobs have changed.
    """

    def __init__(
        self,
        *,
        on_drained: Callable[[RunnerId], None],
        on_wanted: Callable[[ModelKey], None],
        on_count: Callable[[ModelKey, int], None] | None = None,
        on_closed: Callable[[RunnerId], None] = _ignore_runner,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_drained = on_drained
        self._on_wanted = on_wanted
        self._on_count = on_count
        self._on_closed = on_closed
        self._clock = clock
        self._models: dict[ModelKey, _Model] = {}
        self.changes: Changes[ModelKey] = Changes()
        self._ids = cast(Iterator[SessionId], itertools.count(1))

    # The loop's side.

    def define(self, key: ModelKey, max_sessions: int, hold_limit: int) -> None:
        """Make the model known, or change its limits. A lowered limit cuts nobody.

        Args:
            max_sessions: >= 1; most sessions at once over all replicas and generations.
            hold_limit: >= 0; most jobs that wait while it is cold, and never more than `max_sessions`.
        """
        model = self._models.get(key)
        if model is None:
            self._models[key] = _Model(max_sessions, hold_limit)
            return
        if not model.defined:  # Forgotten, and sessions of its former life still run: they count, the rest is anew.
            model.defined, model.startable = True, False
            model.code, model.reason = Code.NOT_READY, NOT_STARTED
        model.max_sessions, model.hold_limit = max_sessions, hold_limit
        self._seat(key, model)

    def forget(self, key: ModelKey) -> None:
        """Let no session begin any more; running ones go on. Jobs that wait are refused."""
        if (model := self._models.get(key)) is None:
            return
        model.defined = False
        for replica in list(model.replicas.values()):
            self._shut(model, replica)
        self._turn_away(key, model, Code.UNKNOWN_MODEL, "it is no longer served")
        self._drop_if_done(key, model)

    def open(self, runner: RunnerId, address: Address, limit: int | None) -> None:
        """Let sessions begin on this runner; waiting jobs do so at once.

        Args:
            limit: most sessions on this runner; None = no limit of its own.

        Raises:
            KeyError: the model was not defined.
        """
        model = self._models[runner.key]
        if not model.defined:
            raise KeyError(runner.key)
        if (replica := model.replicas.get(runner)) is None:
            replica = model.replicas[runner] = _Replica(runner, address)
            replica.held = _Held(model, replica)
        replica.address, replica.limit, replica.is_open, replica.gone = address, limit, True, False
        for place in model.expected.pop(runner, ()):
            model.expecting -= 1
            place.resolve(self._begin(runner.key, model, replica, place.kind))
        self._house(model)
        self._seat(runner.key, model)

    def expect(
        self, runner: RunnerId, kind: SessionKind, resolve: Callable[[Session | JobRefused], None]
    ) -> QueuePlace:
        """Count a session that runs on this runner already, and have it resolved when the runner is opened."""
        model = self._models.setdefault(runner.key, _Model(0, 0, defined=False))
        place = QueuePlace(runner.key, kind, resolve)
        model.expected.setdefault(runner, []).append(place)
        model.expecting += 1
        return place

    def unexpect(self, runner: RunnerId, place: QueuePlace) -> None:
        """The runner is gone, or the session is. A place that was resolved is fine."""
        model = self._models.get(runner.key)
        places = model.expected.get(runner, []) if model else []
        if model is None or place not in places:
            return
        places.remove(place)
        model.expecting -= 1
        if not places:
            del model.expected[runner]
        self._seat(runner.key, model)
        self._drop_if_done(runner.key, model)

    def close(self, runner: RunnerId, code: Code, reason: str) -> None:
        """Let no session begin on this runner; running ones go on. Unknown runners are fine.

        If it was the last open one, the model refuses with `code` and `reason` until `set_closed` says otherwise.
        """
        model = self._models.get(runner.key)
        if model is None or (replica := model.replicas.get(runner)) is None:
            return
        self._shut(model, replica)
        if not model.is_open:
            self.set_closed(runner.key, startable=False, code=code, reason=reason)

    def gone(self, runner: RunnerId) -> None:
        """Nothing of this runner runs any more, so that what lets go there is over. Unknown runners are fine."""
        if (replica := self._replica(runner)) is not None:
            replica.gone = True
            for session in [session for session in replica.sessions if session.freed is not None]:
                self.finish(session)

    def abort(self, runner: RunnerId, reason: str) -> int:
        """Cut the running sessions of this runner, each at most once; return how many were cut now."""
        replica = self._replica(runner)
        cut = 0
        for session in list(replica.sessions) if replica else []:
            if session.abort is not None:
                abort, session.abort = session.abort, None
                abort(reason)
                cut += 1
        return cut

    def set_closed(self, key: ModelKey, *, startable: bool, code: Code, reason: str) -> None:
        """Say what a job gets while no replica is open: a place in the queue if startable, else `code`.

        Args:
            reason: completes "cannot begin a session of KEY: ...".

        Raises:
            KeyError: the model was not defined.
        """
        model = self._models[key]
        model.startable, model.code, model.reason = startable, code, reason
        if not startable and not model.is_open:
            self._turn_away(key, model, code, reason)

    # Reading. A reader may inform; it must not decide whether a session may begin.

    def keys(self) -> tuple[ModelKey, ...]:
        return tuple(key for key, model in self._models.items() if model.defined)

    def known(self, key: ModelKey) -> bool:
        return key in self._models and self._models[key].defined

    def active(self, key: ModelKey) -> int:
        """Return how many slots are taken, of all replicas and generations."""
        return self._models[key].active if key in self._models else 0

    def letting_go(self, key: ModelKey) -> int:
        """Return how many of the slots that are taken are letting go."""
        return self._models[key].letting_go if key in self._models else 0

    def running(self, key: ModelKey) -> int:
        """Return how many sessions run: the taken slots less those that are letting go."""
        return self.active(key) - self.letting_go(key)

    def begun(self, key: ModelKey) -> int:
        """Return how many sessions have begun since the model was made known."""
        return self._models[key].begun if key in self._models else 0

    def pending(self, key: ModelKey) -> int:
        """Return how many slots are kept for sessions that may begin."""
        return self._models[key].pending if key in self._models else 0

    def waiting(self, key: ModelKey) -> int:
        return len(self._models[key].waiting) if key in self._models else 0

    def reason(self, key: ModelKey) -> str:
        """Return what `set_closed` or `close` said last of a model without an open replica; empty = it has one."""
        model = self._models.get(key)
        return model.reason if model and not model.is_open else ""

    def active_on(self, runner: RunnerId) -> int:
        return len(self._sessions(runner))

    def letting_go_on(self, runner: RunnerId) -> int:
        replica = self._replica(runner)
        return replica.letting_go if replica else 0

    def running_on(self, runner: RunnerId) -> int:
        """Return how many sessions run on it: those that hold a slot there less those that are letting go."""
        return self.active_on(runner) - self.letting_go_on(runner)

    def idle_since(self, runner: RunnerId) -> float:
        """Return when the last running session of an open runner ended (loop clock, seconds); 0 = none has."""
        replica = self._replica(runner)
        return replica.idle_since if replica else 0.0

    def progress_at(self, runner: RunnerId) -> float | None:
        """Return when one of its sessions last moved a byte (loop clock, seconds); None if it has none."""
        return max((session.progress_at for session in self._sessions(runner)), default=None)

    def _sessions(self, runner: RunnerId) -> set[Session]:
        replica = self._replica(runner)
        return replica.sessions if replica else set()

    def _replica(self, runner: RunnerId) -> _Replica | None:
        model = self._models.get(runner.key)
        return model.replicas.get(runner) if model else None

    # The jobs' side.

    def begin(self, key: ModelKey, kind: SessionKind) -> Session | QueuePlace:
        """Take a slot of the least-loaded open replica, or a place in the queue of a cold model.

        Raises:
            JobRefused: UNKNOWN_MODEL, CAPACITY_EXHAUSTED, HOLD_FULL, or what `set_closed` or `close` gave.
        """
        model = self._models.get(key)
        if model is None or not model.defined:
            raise _refusal(key, Code.UNKNOWN_MODEL, "it is not served here")
        if (replica := model.emptiest()) is not None:
            return self._begin(key, model, replica, kind)
        if model.is_open:
            raise _refusal(key, Code.CAPACITY_EXHAUSTED, f"all its sessions are taken ({_taken(model)})")
        if not model.startable:
            raise _refusal(key, model.code, model.reason)
        if len(model.waiting) >= min(model.hold_limit, model.max_sessions - model.pending):
            many = f"it is being started and {len(model.waiting)} jobs wait for it"
            raise _refusal(key, Code.HOLD_FULL, f"{many} ({model.reason})")
        place = QueuePlace(key, kind, _unset)
        model.waiting.append(place)
        self.changes.touch(key)
        self._on_wanted(key)
        return place

    def reserve(self, key: ModelKey) -> PendingSlot:
        """Keep a slot for somebody who may begin a session; see `confirm` and `release`.

        Of a cold model it can be had, too; that does not start it.

        Raises:
            JobRefused: UNKNOWN_MODEL, CAPACITY_EXHAUSTED, or what `set_closed` or `close` gave.
        """
        model = self._models.get(key)
        if model is None or not model.defined:
            raise _refusal(key, Code.UNKNOWN_MODEL, "it is not served here")
        replica = model.emptiest()
        if replica is None and not model.is_open and not model.startable:
            raise _refusal(key, model.code, model.reason)
        if replica is None and (model.is_open or model.taken + len(model.waiting) >= model.max_sessions):
            raise _refusal(key, Code.CAPACITY_EXHAUSTED, f"all its sessions are taken ({_taken(model)})")
        slot = PendingSlot(key, replica)
        (model.homeless.append if replica is None else replica.pending.add)(slot)
        model.pending += 1
        self.changes.touch(key)
        return slot

    def confirm(self, slot: PendingSlot, kind: SessionKind) -> Session | QueuePlace | None:
        """Begin the session that a slot was kept for; None = it is not pending any more.

        Where its replica is open this always succeeds, also if `max_sessions` has been lowered. Else the session begins
        as any other one does, but before all who wait.

        Raises:
            JobRefused: as `begin`. The slot is not pending any more.
        """
        if not slot.is_pending:
            return None
        model, replica = self._models[slot.key], slot.replica
        self._unkeep(slot, model)
        if isinstance(replica, _Replica):
            return self._begin(slot.key, model, replica, kind)
        try:
            return self.begin(slot.key, kind)
        except JobRefused:
            self._seat(slot.key, model)
            self._drop_if_done(slot.key, model)
            raise

    def release(self, slot: PendingSlot) -> bool:
        """Give a slot back that was kept. False if it is not pending any more; then nothing changes."""
        if not slot.is_pending:
            return False
        model = self._models[slot.key]
        self._unkeep(slot, model)
        self._house(model)
        self._seat(slot.key, model)
        self._drop_if_done(slot.key, model)
        return True

    def _unkeep(self, slot: PendingSlot, model: _Model) -> None:
        """Count a slot no more."""
        if isinstance(slot.replica, _Replica):
            slot.replica.pending.remove(slot)
        else:
            model.homeless.remove(slot)
        slot.replica, slot.is_pending = None, False
        model.pending -= 1
        self.changes.touch(slot.key)

    def _house(self, model: _Model) -> None:
        """Let replicas that have room count the pending slots that none counts, before anybody else has that room."""
        while model.homeless and (replica := model.roomiest()) is not None:
            slot = model.homeless.pop(0)
            slot.replica = replica
            replica.pending.add(slot)

    def leave(self, place: QueuePlace) -> None:
        """Give a place in the queue back. One that was resolved or left before is fine."""
        model = self._models.get(place.key)
        if model is not None and place in model.waiting:
            model.waiting.remove(place)
            self.changes.touch(place.key)
            self._drop_if_done(place.key, model)

    def end(self, session: Session, outcome: Outcome) -> bool:
        """Give the slot back. The first call wins and returns True; every later one returns False, changing nothing."""
        if session.outcome is not None:
            return False
        session.outcome, session.abort = outcome, None
        held = session.held
        assert isinstance(held, _Held)
        model, replica = held.model, held.replica
        replica.sessions.remove(session)
        self._give_back(session, model, replica)
        self._look_idle(session, replica)
        return True

    def let_go(self, session: Session, outcome: Outcome, freed: Callable[[], None]) -> bool:
        """As `end`, but the slot stays taken until `finish`, or until the runner is gone. Then `freed` is called."""
        if session.outcome is not None:
            return False
        held = session.held
        assert isinstance(held, _Held)
        model, replica = held.model, held.replica
        if replica.gone:
            self.end(session, outcome)
            freed()
            return True
        session.outcome, session.abort, session.freed = outcome, None, freed
        self.changes.touch(session.key)
        model.letting_go += 1
        replica.letting_go += 1
        self._look_idle(session, replica)
        return True

    def finish(self, session: Session) -> bool:
        """Give the slot of a session back that was letting go; False if it was not."""
        if (freed := session.freed) is None:
            return False
        session.freed = None
        held = session.held
        assert isinstance(held, _Held)
        model, replica = held.model, held.replica
        replica.sessions.remove(session)
        model.letting_go -= 1
        replica.letting_go -= 1
        self._give_back(session, model, replica)
        freed()
        return True

    def _give_back(self, session: Session, model: _Model, replica: _Replica) -> None:
        """Let who waits have the slot of a session that its replica does not hold any more."""
        model.active -= 1
        self.changes.touch(session.key)
        if not (replica.sessions or replica.is_open):
            del model.replicas[session.runner]
        if self._on_count is not None:
            self._on_count(session.key, model.active)
        if model.homeless:
            self._house(model)
        if model.waiting:
            self._seat(session.key, model)
        if not model.defined:
            self._drop_if_done(session.key, model)

    def _look_idle(self, session: Session, replica: _Replica) -> None:
        """A session runs no more: was it the last one on its runner?"""
        if len(replica.sessions) == replica.letting_go:
            replica.idle_since = self._clock()
            if not replica.is_open:
                self._on_drained(session.runner)

    def _begin(self, key: ModelKey, model: _Model, replica: _Replica, kind: SessionKind) -> Session:
        now = self._clock()
        session = Session(next(self._ids), key, replica.runner, replica.address, kind, now, now, replica.held)
        replica.sessions.add(session)
        model.active += 1
        model.begun += 1
        self.changes.touch(key)
        if self._on_count is not None:
            self._on_count(key, model.active)
        return session

    def _seat(self, key: ModelKey, model: _Model) -> None:
        """Turn places into sessions, in order, as far as slots go."""
        while model.defined and model.waiting and (replica := model.emptiest()) is not None:
            place = model.waiting.popleft()
            place.resolve(self._begin(key, model, replica, place.kind))

    def _turn_away(self, key: ModelKey, model: _Model, code: Code, reason: str) -> None:
        while model.waiting:
            self.changes.touch(key)
            model.waiting.popleft().resolve(_refusal(key, code, reason))

    def _shut(self, model: _Model, replica: _Replica) -> None:
        if replica.is_open:
            replica.is_open = False
            for slot in replica.pending:
                slot.replica = None
            model.homeless += replica.pending
            replica.pending.clear()
            self._house(model)
            self._on_closed(replica.runner)
        if not replica.sessions:
            del model.replicas[replica.runner]

    def _drop_if_done(self, key: ModelKey, model: _Model) -> None:
        if (
            not (model.defined or model.active or model.waiting or model.expecting or model.pending)
            and self._models.get(key) is model
        ):
            del self._models[key]


def _taken(model: _Model) -> str:
    running = f"{model.active - model.letting_go} run"
    letting_go = f", {model.letting_go} letting go" if model.letting_go else ""
    return running + letting_go + (f", {model.pending} pending" if model.pending else "")


def _refusal(key: ModelKey, code: Code, reason: str) -> JobRefused:
    return JobRefused(code, f"cannot begin a session of {key}: {reason}")
