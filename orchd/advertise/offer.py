"""From what the loop knows to what gateways shall find. Pure.

A model is offered while a session could begin: it is ready, or its first job would start it. One that has left the
file or has no price is not.
"""

from __future__ import annotations

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.offer import Offer, Offers
from orchd.domain.state import ModelStatus, Snapshot


def offers(
    snapshot: Snapshot,
    *,
    name: str,
    offer_cold: bool,
    grace_s: float,
    serving: dict[ModelKey, float],
) -> Offers:
    """Return what shall be found now.

    Args:
        name: pattern of capability names, with {pipeline} and {model_id}.
        grace_s: a model that was ready is offered so long after.
        serving: by key, when it could serve last (Unix time, seconds); brought up to date here.
    """
    now: dict[ModelKey, Offer] = {}
    why_not: dict[ModelKey, str] = {}
    taken: dict[str, ModelKey] = {}
    for key in serving.keys() - snapshot.models.keys():
        del serving[key]
    for key, status in snapshot.models.items():
        able = status.ready or (offer_cold and status.startable)
        if able:
            serving[key] = snapshot.at
        why = _why_not(status, able or snapshot.at - serving.get(key, float("-inf")) < grace_s, offer_cold)
        capability = status.model.capability or name.format(pipeline=key.pipeline, model_id=key.model_id)
        if not why and capability in taken:
            why = f"{taken[capability]} has the same capability name {capability!r}; give one of them another"
        if why:
            why_not[key] = why
            continue
        taken[capability] = key
        now[key] = _offer(status.model, capability)
    return Offers(now, why_not)


def _why_not(status: ModelStatus, able: bool, offer_cold: bool) -> str:
    if status.leaving:
        return "it is no longer in aiModels.json"
    if status.model.price is None:
        return "it has no price_per_unit (0 = free)"
    if able:
        return ""
    if status.startable and not offer_cold:
        failed = f"; its last start failed: {status.last_failure}" if status.last_failure else ""
        return f"it is cold, and cold models are not offered (orchestrator.offer_cold){failed}"
    return status.reason or "it is not ready"


def _offer(model: Model, capability: str) -> Offer:
    assert model.price is not None
    return Offer(model.key, model.key.slug, capability, model.max_sessions, model.price, model.persistent)
