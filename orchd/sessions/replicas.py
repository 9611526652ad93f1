"""The loop's side of the table: which models and replicas there are, and what happens to their slots when that changes.

See `table.py` for the whole.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import cast

from orchd.domain.changes import Changes
from orchd.domain.ids import Address, ModelKey, RunnerId, SessionId
from orchd.errors import Code, JobRefused
from orchd.sessions.counts import SlotCounts
from orchd.sessions.payers import Payers
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import NOT_STARTED, HeldAt, ModelSlots, QueuePlace, ReplicaSlots, refusal

NODE_JOB = SessionKind.NODE_JOB  # Members of enums are slow to look up: each job needs this one.


def _ignore_runner(runner: RunnerId) -> None:
    """Nobody keeps anything for it."""


class ReplicaTable(SlotCounts):
    """Opens and closes replicas. The base of `SessionTable`, which see."""

    def __init__(
        self,
        *,
        on_drained: Callable[[RunnerId], None],
        on_wanted: Callable[[ModelKey], None],
        on_count: Callable[[ModelKey, int], None] | None = None,
        on_closed: Callable[[RunnerId], None] = _ignore_runner,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._on_drained = on_drained
        self._on_wanted = on_wanted
        self._on_count = on_count
        self._on_closed = on_closed
        self._clock = clock
        self.changes: Changes[ModelKey] = Changes()
        self.payers = Payers()
        self._ids = cast(Iterator[SessionId], itertools.count(1))

    def define(self, key: ModelKey, max_sessions: int, hold_limit: int) -> None:
        """Make the model known, or change its limits. A lowered limit cuts nobody.

        Args:
            max_sessions: >= 1; most sessions at once over all replicas and generations.
            hold_limit: >= 0; most jobs that wait while it is cold, and never more than `max_sessions`.
        """
        model = self._models.get(key)
        if model is None:
            self._models[key] = ModelSlots(max_sessions, hold_limit)
            return
        if (
            not model.defined
        ):  # Forgotten, and sessions of its former life still run: they count, the rest begins again.
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
            replica = model.replicas[runner] = ReplicaSlots(runner, address)
            replica.held = HeldAt(model, replica)
        replica.address, replica.limit, replica.is_open, replica.gone = address, limit, True, False
        model.wanted = False
        for place in model.expected.pop(runner, ()):
            model.expecting -= 1
            place.resolve(self._begin(runner.key, model, replica, place.kind))
        self._house(model)
        self._seat(runner.key, model)

    def expect(
        self, runner: RunnerId, kind: SessionKind, resolve: Callable[[Session | JobRefused], None]
    ) -> QueuePlace:
        """Count a session that runs on this runner already, and have it resolved when the runner is opened."""
        model = self._models.setdefault(runner.key, ModelSlots(0, 0, defined=False))
        place = QueuePlace(runner.key, kind, resolve)
        model.expected.setdefault(runner, []).append(place)
        model.expecting += 1
        self.changes.touch(runner.key)
        return place

    def unexpect(self, runner: RunnerId, place: QueuePlace) -> None:
        """The runner is gone, or the session is. A place that was resolved is fine."""
        model = self._models.get(runner.key)
        places = model.expected.get(runner, []) if model else []
        if model is None or place not in places:
            return
        places.remove(place)
        model.expecting -= 1
        self.changes.touch(runner.key)
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

    def turn_away(self, key: ModelKey, code: Code, reason: str) -> None:
        """Refuse all jobs that wait for this model. A model that is not known is fine."""
        if (model := self._models.get(key)) is not None:
            self._turn_away(key, model, code, reason)

    def _begin(self, key: ModelKey, model: ModelSlots, replica: ReplicaSlots, kind: SessionKind) -> Session:
        now = self._clock()
        session = Session(next(self._ids), key, replica.runner, replica.address, kind, now, now, replica.held)
        replica.sessions.add(session)
        model.active += 1
        model.begun += 1
        if kind is NODE_JOB:
            model.node_jobs += 1
        self.changes.touch(key)
        if self._on_count is not None:
            self._on_count(key, model.active)
        return session

    def _seat(self, key: ModelKey, model: ModelSlots) -> None:
        """Turn places into sessions, in order, as far as slots go."""
        while model.defined and model.waiting and (replica := model.emptiest()) is not None:
            place = model.waiting.popleft()
            place.resolve(self._begin(key, model, replica, place.kind))

    def _house(self, model: ModelSlots) -> None:
        """Let replicas that have room count the pending slots that none counts, before anybody else has that room."""
        while model.homeless and (replica := model.roomiest()) is not None:
            slot = model.homeless.pop(0)
            slot.replica = replica
            replica.pending.add(slot)

    def _turn_away(self, key: ModelKey, model: ModelSlots, code: Code, reason: str) -> None:
        model.wanted = False
        while model.waiting:
            self.changes.touch(key)
            model.waiting.popleft().resolve(refusal(key, code, reason))

    def _shut(self, model: ModelSlots, replica: ReplicaSlots) -> None:
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

    def _drop_if_done(self, key: ModelKey, model: ModelSlots) -> None:
        needed = model.defined or model.taken or model.waiting
        if not needed and self._models.get(key) is model:
            del self._models[key]
