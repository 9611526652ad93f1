"""How many slots are taken, and by whom. A reader may inform; it must not decide whether a session may begin."""

from __future__ import annotations

from collections.abc import Collection

from orchd.domain.ids import ModelKey, RunnerId
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import ModelSlots, ReplicaSlots


class SlotCounts:
    """What readers may know of the table."""

    def __init__(self) -> None:
        self._models: dict[ModelKey, ModelSlots] = {}

    def keys(self) -> tuple[ModelKey, ...]:
        return tuple(key for key, model in self._models.items() if model.defined)

    def known(self, key: ModelKey) -> bool:
        return key in self._models and self._models[key].defined

    def any_active(self) -> bool:
        """Return whether a slot is taken of any model."""
        return any(model.active for model in self._models.values())

    def active(self, key: ModelKey) -> int:
        """Return how many slots are taken, of all replicas and generations."""
        return self._models[key].active if key in self._models else 0

    def letting_go(self, key: ModelKey) -> int:
        """Return how many of the slots that are taken are letting go."""
        return self._models[key].letting_go if key in self._models else 0

    def slots(self, key: ModelKey) -> tuple[int, int, int]:
        """Return `active`, `letting_go` and `pending`."""
        model = self._models.get(key)
        return (0, 0, 0) if model is None else (model.active, model.letting_go, model.pending)

    def running(self, key: ModelKey) -> int:
        """Return how many sessions run: the taken slots less those that are letting go."""
        return self.active(key) - self.letting_go(key)

    def begun(self, key: ModelKey) -> int:
        """Return how many sessions have begun since the model was made known."""
        return self._models[key].begun if key in self._models else 0

    def pending(self, key: ModelKey) -> int:
        """Return how many slots are kept for sessions that may begin."""
        return self._models[key].pending if key in self._models else 0

    def free(self, key: ModelKey) -> int | None:
        """Return how many more sessions could have a slot now, by a start of a cold model too; None = no such model."""
        model = self._models.get(key)
        if model is None or not model.defined:
            return None
        free = model.max_sessions - model.taken - len(model.waiting)
        open_ones = [replica for replica in model.replicas.values() if replica.is_open]
        if open_ones and all(replica.limit is not None for replica in open_ones):
            free = min(free, sum(max(0, (replica.limit or 0) - replica.taken) for replica in open_ones))
        return max(0, free)

    def could_begin(self, key: ModelKey) -> int:
        """As `free`, but 0 while no session can begin at all."""
        model = self._models.get(key)
        return (self.free(key) or 0) if model is not None and (model.is_open or model.startable) else 0

    def node_jobs(self, key: ModelKey) -> int:
        """Return how many jobs there are that the node counts as its sessions; those that wait for a slot included."""
        model = self._models.get(key)
        if model is None:
            return 0
        waiting = sum(place.kind is SessionKind.NODE_JOB for place in model.waiting) if model.waiting else 0
        return model.node_jobs + waiting

    def waiting(self, key: ModelKey) -> int:
        return len(self._models[key].waiting) if key in self._models else 0

    def awaited(self, key: ModelKey) -> bool:
        """Return whether somebody waits for a cold model to start, or will come back for it."""
        model = self._models.get(key)
        return model is not None and (model.wanted or bool(model.waiting))

    def reason(self, key: ModelKey) -> str:
        """Return what `set_closed` or `close` said last of a model without an open replica; empty = it has one."""
        model = self._models.get(key)
        return model.reason if model and not model.is_open else ""

    def replicas(self, key: ModelKey) -> Collection[ReplicaSlots]:
        """Return the slots of each runner that is open or that still has sessions, for readers."""
        model = self._models.get(key)
        return model.replicas.values() if model else ()

    def expected(self, key: ModelKey) -> Collection[RunnerId]:
        """Return the runners on which sessions of an earlier orchd may still be found."""
        model = self._models.get(key)
        return model.expected.keys() if model else ()

    def active_on(self, runner: RunnerId) -> int:
        return len(self._sessions(runner))

    def letting_go_on(self, runner: RunnerId) -> int:
        replica = self._replica(runner)
        return replica.letting_go if replica else 0

    def running_on(self, runner: RunnerId) -> int:
        """Return how many sessions run on it: those that hold a slot there less those that are letting go."""
        replica = self._replica(runner)
        return replica.running if replica else 0

    def progress_at(self, runner: RunnerId) -> float | None:
        """Return when one of its sessions last moved a byte (loop clock, seconds); None if it has none."""
        return max((session.progress_at for session in self._sessions(runner)), default=None)

    def _sessions(self, runner: RunnerId) -> set[Session]:
        replica = self._replica(runner)
        return replica.sessions if replica else set()

    def _replica(self, runner: RunnerId) -> ReplicaSlots | None:
        model = self._models.get(runner.key)
        return model.replicas.get(runner) if model else None
