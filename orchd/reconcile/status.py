"""What `/status` says of models and their runners. (`status_list` and `status_model` make text of it.)

Fields are chosen one by one, never dumped whole: a model's definition holds secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from orchd.domain.money import Price
from orchd.domain.redact import scrub, secrets_of
from orchd.domain.state import Happening, ModelStatus, RunnerStatus, Snapshot
from orchd.reconcile import status_list, status_model
from orchd.status_face import Json, Position, StatusFace
from orchd.status_view import model_state


def _whole(snapshot: Snapshot) -> Json:
    elsewhere = sorted(snapshot.stopped_elsewhere.items())
    return {
        "at": snapshot.at,
        "converged": snapshot.converged,
        "stopped_elsewhere": [{**key._asdict(), **asdict(stopped)} for key, stopped in elsewhere],
    }


def _of_model(status: ModelStatus) -> Json:
    model = status.model
    secrets = secrets_of(model)

    def clean(text: str) -> str:
        return scrub(text, secrets)

    return {
        "pipeline": model.key.pipeline,
        "model_id": model.key.model_id,
        "state": model_state(status),
        "ready": status.ready,
        "startable": status.startable,
        "reason": clean(status.reason),
        "last_failure": clean(status.last_failure),
        "held_over": status.held_over,
        "leaving": status.leaving,
        "stopped": asdict(status.stopped) if status.stopped else None,
        "kind": model.kind,
        "source": model.source,
        "profile": model.profile,
        "generation": model.generation,
        "warm": model.warm,
        "replicas": model.replicas,
        "sessions": {
            "active": status.sessions,
            "letting_go": status.letting_go,
            "pending": status.pending,
            "max": model.max_sessions,
            "waiting": status.waiting,
        },
        "price": _price_json(model.price),
        "gateway_prices": [
            {"gateway": gateway, **(_price_json(price) or {})} for gateway, price in model.gateway_prices
        ],
        "runners": [_runner_json(runner, clean) for runner in status.runners],
        "history": [_happening(one, clean) for one in status.history],
    }


def _price_json(price: Price | None) -> dict[str, Any] | None:
    if price is None:
        return None
    # As text: a price is exact, a JSON number is a float to most readers.
    return {
        "per_unit": str(price.per_unit),
        "pixels_per_unit": price.pixels_per_unit,
        "currency": price.currency,
        "unit": price.unit,
    }


def _runner_json(runner: RunnerStatus, clean: Callable[[str], str]) -> Json:
    return {
        "replica": runner.runner.replica,
        "generation": runner.runner.generation,
        "state": runner.state,
        "since": runner.since,
        "wanted": runner.wanted,
        "detail": clean(runner.detail),
        "doubt": clean(runner.doubt),
        "handle": runner.handle,
        "address": runner.address,
        "sessions": runner.sessions,
        "letting_go": runner.letting_go,
        "restarts": runner.restarts,
        "retry_at": runner.retry_at,
        "source": runner.source,
        "container": _container_json(runner),
        "process": _process_json(runner),
        "last_log": [clean(line) for line in runner.last_log],
        "last_stop": clean(runner.last_stop),
    }


def _container_json(runner: RunnerStatus) -> Json | None:
    if (place := runner.whereabouts) is None or not place.name:
        return None
    return {
        "id": runner.handle,
        "name": place.name,
        "image": place.image,
        "image_id": place.image_id,
        "digest": place.digest,
        "port": place.port,
        "host_port": place.host_port or None,
    }


def _process_json(runner: RunnerStatus) -> Json | None:
    if (place := runner.whereabouts) is None or not place.pid:
        return None
    return {"pid": place.pid, "program": runner.source, "port": place.port}


def _happening(one: Happening, clean: Callable[[str], str]) -> Json:
    return {
        "at": one.at,
        "replica": one.runner.replica,
        "generation": one.runner.generation,
        "event": one.event,
        "before": one.before,
        "after": one.after,
        "why": clean(one.why),
        "evidence": clean(one.evidence),
    }


FACE = StatusFace(
    whole=_whole,
    of_model=_of_model,
    overview={Position.TOTALS: status_list.totals, Position.MODELS: status_list.models},
    model_page={
        Position.REPLICAS: status_model.replicas,
        Position.RUNNERS: status_model.whereabouts,
        Position.LOGS: status_model.logs,
        Position.NEXT: status_model.next_commands,
        Position.EVENTS: status_model.events,
    },
    facts=status_model.facts,
    model_changes=status_list.model_changes,
)
