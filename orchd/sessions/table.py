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

Callbacks run inside these calls and must not call the table back, except `QueuePlace.resolve`, which is called when the
table is consistent again.
"""

from __future__ import annotations

from collections.abc import Callable

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.sessions.replicas import NODE_JOB, ReplicaTable
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import HeldAt, ModelSlots, PendingSlot, QueuePlace, ReplicaSlots, refusal, taken_text


def _unset(result: Session | JobRefused) -> None:
    raise AssertionError("QueuePlace.resolve was not set in the step that took the place")


class SessionTable(ReplicaTable):
    """Who holds which slot, and who waits for one.

    Args:
        on_drained: this runner was closed, and its last running session has ended.
        on_wanted: a job took a place in the queue of this startable model.
        on_count: so many slots of this model are taken now.
        on_closed: no session begins on this runner any more.
        clock: seconds; the loop's clock (which is `time.monotonic` on asyncio's own loops).

    Attributes:
        changes: models whose counts of slots or of waiting jobs have changed.
        payers: how many of the sessions are whose.
    """

    def gone(self, runner: RunnerId) -> None:
        """Nothing of this runner runs any more, so that what lets go there is over. Unknown runners are fine."""
        if (replica := self._replica(runner)) is not None:
            replica.gone = True
            for session in [session for session in replica.sessions if session.freed is not None]:
                self.finish(session)

    def begin(self, key: ModelKey, kind: SessionKind) -> Session | QueuePlace:
        """Take a slot of the least-loaded open replica, or a place in the queue of a cold model.

        Raises:
            JobRefused: UNKNOWN_MODEL, CAPACITY_EXHAUSTED, HOLD_FULL, or what `set_closed` or `close` gave.
        """
        model = self._models.get(key)
        if model is None or not model.defined:
            raise refusal(key, Code.UNKNOWN_MODEL, "it is not served here")
        if (replica := model.emptiest()) is not None:
            return self._begin(key, model, replica, kind)
        if model.is_open:
            raise refusal(key, Code.CAPACITY_EXHAUSTED, f"all its sessions are taken ({taken_text(model)})")
        if not model.startable:
            raise refusal(key, model.code, model.reason)
        if len(model.waiting) >= min(model.hold_limit, model.max_sessions - model.pending):
            many = f"it is being started and {len(model.waiting)} jobs wait for it"
            raise refusal(key, Code.HOLD_FULL, f"{many} ({model.reason})")
        place = QueuePlace(key, kind, _unset)
        model.waiting.append(place)
        self.changes.touch(key)
        self._on_wanted(key)
        return place

    def want(self, key: ModelKey) -> None:
        """Have a cold model started without a place in its queue, for somebody who will ask again.

        That counts until a runner of it opens, or none can be had.

        Raises:
            JobRefused: as `begin`, where it can't be started.
        """
        model = self._models.get(key)
        if model is None or not model.defined:
            raise refusal(key, Code.UNKNOWN_MODEL, "it is not served here")
        if model.is_open:
            return
        if not model.startable:
            raise refusal(key, model.code, model.reason)
        model.wanted = True
        self._on_wanted(key)

    def reserve(self, key: ModelKey) -> PendingSlot:
        """Keep a slot for somebody who may begin a session; see `confirm` and `release`.

        Of a cold model it can be had, too; that does not start it.

        Raises:
            JobRefused: UNKNOWN_MODEL, CAPACITY_EXHAUSTED, or what `set_closed` or `close` gave.
        """
        model = self._models.get(key)
        if model is None or not model.defined:
            raise refusal(key, Code.UNKNOWN_MODEL, "it is not served here")
        replica = model.emptiest()
        if replica is None and not model.is_open and not model.startable:
            raise refusal(key, model.code, model.reason)
        if replica is None and (model.is_open or model.taken + len(model.waiting) >= model.max_sessions):
            raise refusal(key, Code.CAPACITY_EXHAUSTED, f"all its sessions are taken ({taken_text(model)})")
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
        if isinstance(replica, ReplicaSlots):
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

    def _unkeep(self, slot: PendingSlot, model: ModelSlots) -> None:
        """Count a slot no more."""
        if isinstance(slot.replica, ReplicaSlots):
            slot.replica.pending.remove(slot)
        else:
            model.homeless.remove(slot)
        slot.replica, slot.is_pending = None, False
        model.pending -= 1
        self.changes.touch(slot.key)

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
        held: HeldAt = session.held
        model, replica = held.model, held.replica
        replica.sessions.remove(session)
        if session.kind is NODE_JOB:
            model.node_jobs -= 1
        self._give_back(session, model, replica)
        if len(replica.sessions) == replica.letting_go:
            self._idles(session, replica)
        return True

    def let_go(self, session: Session, outcome: Outcome, freed: Callable[[], None]) -> bool:
        """As `end`, but the slot stays taken until `finish`, or until the runner is gone. Then `freed` is called."""
        if session.outcome is not None:
            return False
        held: HeldAt = session.held
        model, replica = held.model, held.replica
        if replica.gone:
            self.end(session, outcome)
            freed()
            return True
        session.outcome, session.abort, session.freed = outcome, None, freed
        if session.kind is NODE_JOB:
            model.node_jobs -= 1  # The node has done with it.
        self.changes.touch(session.key)
        model.letting_go += 1
        replica.letting_go += 1
        if len(replica.sessions) == replica.letting_go:
            self._idles(session, replica)
        return True

    def finish(self, session: Session) -> bool:
        """Give the slot of a session back that was letting go; False if it was not."""
        if (freed := session.freed) is None:
            return False
        session.freed = None
        held: HeldAt = session.held
        model, replica = held.model, held.replica
        replica.sessions.remove(session)
        model.letting_go -= 1
        replica.letting_go -= 1
        self._give_back(session, model, replica)
        freed()
        return True

    def _give_back(self, session: Session, model: ModelSlots, replica: ReplicaSlots) -> None:
        """Let who waits have the slot of a session that its replica does not hold any more."""
        model.active -= 1
        if session.place is not None:
            session.place.leave()
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

    def _idles(self, session: Session, replica: ReplicaSlots) -> None:
        """The last session on a runner that was running has ended, or lets go."""
        replica.idle_since = self._clock()
        if not replica.is_open:
            self._on_drained(session.runner)
