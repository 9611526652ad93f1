"""From what the loop knows to what gateways are to find. Pure.

A model is offered while a session could begin: it is ready, or its first job would start it. One that has left the
file, was stopped by an operator or has no price is not offered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from orchd.domain.details import Gpu
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.offer import Offer, Offers
from orchd.domain.state import BY_OPERATOR, ModelStatus, Snapshot
from orchd.realtime.servable import live_runner_gap


@dataclass(frozen=True, slots=True)
class _Judged:
    """Attributes:
    able: a session could begin.
    why_not: why it is not offered, whatever its capability's name; empty = nothing stands against it.
    """

    able: bool
    why_not: str
    capability: str
    offer: Offer | None


def _of_the_entry(model: Model) -> Gpu | None:
    """Return the GPU that its entry names."""
    return model.details.gpu


class OfferBook:
    """What is to be found, from one snapshot to the next. Only models that have changed are judged again.

    Args:
        name: pattern of capability names, with {pipeline} and {model_id}.
        grace_s: keep offering a model this many seconds after it stops being ready.
        gpu_of: returns the GPU that clients are told of.
    """

    def __init__(
        self, *, name: str, offer_cold: bool, grace_s: float, gpu_of: Callable[[Model], Gpu | None] = _of_the_entry
    ) -> None:
        self._name = name
        self._offer_cold = offer_cold
        self._grace_s = grace_s
        self._gpu_of = gpu_of
        self._judged: dict[ModelKey, _Judged] = {}
        self._claims: Counter[str] = Counter()
        self._in_grace: dict[ModelKey, float] = {}
        self._at = float("-inf")
        self._offers = Offers({}, {})

    def update(self, snapshot: Snapshot, changed: Iterable[ModelKey]) -> Offers:
        """Return what is to be found now; the very same object if that is what it was.

        Args:
            changed: the models whose status may be another than in the snapshot before, those that are gone included.
        """
        news = False
        for key in {*changed, *self._in_grace}:
            news |= self._judge(key, snapshot)
        self._at = snapshot.at
        # Of models that claim the same name the first in the file is offered, and the file's order may have changed.
        if news or any(claims > 1 for claims in self._claims.values()):
            offers = self._collected(snapshot)
            self._offers = self._offers if offers == self._offers else offers
        return self._offers

    def _judge(self, key: ModelKey, snapshot: Snapshot) -> bool:
        """Judge one model again; return whether that says something else than before."""
        before, status = self._judged.get(key), snapshot.models.get(key)
        if status is None:
            self._in_grace.pop(key, None)
            if before is not None:
                self._claim(before, -1)
                del self._judged[key]
            return before is not None
        able = status.ready or (self._offer_cold and status.startable)
        if able:
            self._in_grace.pop(key, None)
        elif before is not None and before.able:
            self._in_grace[key] = self._at
        in_grace = snapshot.at - self._in_grace.get(key, float("-inf")) < self._grace_s
        if not in_grace:
            self._in_grace.pop(key, None)
        why_not = _why_not(status, able or in_grace, self._offer_cold)
        capability = status.model.name_for_gateways(self._name)
        judged = _Judged(able, why_not, capability, None if why_not else self._offer(status.model, capability))
        if judged == before:
            return False
        if before is not None:
            self._claim(before, -1)
        self._claim(judged, 1)
        self._judged[key] = judged
        return True

    def _offer(self, model: Model, capability: str) -> Offer:
        assert model.price is not None
        slug, gap = model.key.slug, live_runner_gap(model)
        details = replace(model.details, gpu=self._gpu_of(model))
        return Offer(model.key, slug, capability, model.max_sessions, model.price, model.persistent, gap, details)

    def _claim(self, judged: _Judged, count: int) -> None:
        if not judged.why_not:
            self._claims[judged.capability] += count
            if not self._claims[judged.capability]:
                del self._claims[judged.capability]

    def _collected(self, snapshot: Snapshot) -> Offers:
        now: dict[ModelKey, Offer] = {}
        why_not: dict[ModelKey, str] = {}
        taken: dict[str, ModelKey] = {}
        for key in snapshot.models:
            judged = self._judged[key]
            if judged.offer is None:
                why_not[key] = judged.why_not
            elif (other := taken.setdefault(judged.capability, key)) != key:
                why_not[key] = f"{other} has the same capability name {judged.capability!r}; give one of them another"
            else:
                now[key] = judged.offer
        return Offers(now, why_not)


def _why_not(status: ModelStatus, able: bool, offer_cold: bool) -> str:
    if status.leaving:
        return "it is no longer in aiModels.json"
    if status.stopped:
        return BY_OPERATOR
    if status.model.price is None:
        return "it has no price_per_unit (0 = free)"
    if able:
        return ""
    if status.startable and not offer_cold:
        failed = f"; its last start failed: {status.last_failure}" if status.last_failure else ""
        return f"it is cold, and cold models are not offered (orchestrator.offer_cold){failed}"
    return status.reason or "it is not ready"
