"""How models and their runners are shown by `/status` and `orchd status`.

Fields are chosen one by one, never dumped whole: a model's definition holds secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from orchd.domain.money import Price
from orchd.domain.redact import scrub, secrets_of
from orchd.domain.state import Happening, ModelStatus, RunnerStatus, Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.status_view import model_state
from orchd.text import DIM, GREEN, RED, YELLOW, Cell, TextStyle, ago, printable, table, units

LOG_LINES = 10

COLOURS = {
    "ready": GREEN,
    "cold": DIM,
    "failed": RED,
    "backoff": RED,
    "unhealthy": RED,
}
"""Colour of a state; those on the way are yellow."""


def _whole(snapshot: Snapshot) -> Json:
    return {"at": snapshot.at, "converged": snapshot.converged}


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
        "handle": runner.handle,
        "address": runner.address,
        "sessions": runner.sessions,
        "letting_go": runner.letting_go,
        "restarts": runner.restarts,
        "retry_at": runner.retry_at,
        "source": runner.source,
        "last_log": [clean(line) for line in runner.last_log],
        "last_stop": clean(runner.last_stop),
    }


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


# -- as text ---------------------------------------------------------------------------------------------------------


def _models(status: Json, style: TextStyle) -> list[str]:
    if not status["models"]:
        return ["No models. Add an entry to the models file."]
    head = ("MODEL", "STATE", "SESSIONS", "REPLICAS", "SINCE", "DETAIL")
    return table(head, (_row(model, status["at"]) for model in status["models"]), style)


def _facts(model: Json, status: Json) -> dict[str, str]:
    sessions = model["sessions"]
    wanted, former = f"{model['source']} ({model['kind']}, profile {model['profile']})", _former(model)
    start = "at once (warm)" if model["warm"] else "by its first job (cold)"
    return {
        "state": model["state"],
        "why": _why(model),
        "wanted": wanted if former else "",
        "runs": former or wanted,
        "start": "" if model["kind"] == "external" else start,
        "sessions": f"{sessions['active']} of {sessions['max']}, {sessions['waiting']} waiting{_kept(sessions)}",
        "price": _price(model["price"]),
    }


def _replicas(status: Json, style: TextStyle) -> list[str]:
    [model] = status["models"]
    if not model["runners"]:
        return []
    head = ("REPLICA", "STATE", "SESSIONS", "RESTARTS", "SINCE", "DETAIL")
    return ["", *table(head, (_runner_row(runner, status["at"]) for runner in model["runners"]), style)]


def _logs(status: Json, style: TextStyle) -> list[str]:
    lines = []
    for runner in status["models"][0]["runners"]:
        if runner["last_log"]:
            lines += ["", f"Last log lines of replica {runner['replica']}"]
            lines += [style.paint(f"    {printable(line)}", DIM) for line in runner["last_log"][-LOG_LINES:]]
    return lines


def _history(status: Json, style: TextStyle) -> list[str]:
    history = status["models"][0]["history"]
    return ["", "Events, latest first", *_events(history, style)] if history else []


def _model_changes(model: Json, status: Json) -> dict[str, str]:
    name, state, sessions, replicas, _since, detail = (cell.text for cell in _row(model, status["at"]))
    line = f"{name}: {state}, sessions {sessions}, replicas {replicas}"
    return {name: line + (f": {detail}" if detail else "")}


def _former(model: Json) -> str:
    """Return what still runs of definitions that an edit has replaced; empty = nothing."""
    former = {
        f"{runner.get('source', '')} (generation {runner['generation']}, {runner['state']}), its former definition"
        for runner in model["runners"]
        if not (runner["wanted"] or model["leaving"] or runner["state"] in ("cold", "backoff", "failed"))
    }
    return "; ".join(sorted(former))


def _row(model: Json, now: float) -> list[Cell]:
    runners = [runner for runner in model["runners"] if runner["wanted"]]
    ready = sum(runner["state"] == "ready" for runner in runners)
    sessions = model["sessions"]
    telling = runners or model["runners"]  # Of a model that leaves, no runner is wanted.
    since = min((runner["since"] for runner in telling if runner["state"] == model["state"]), default=None)
    waiting = f" (+{sessions['waiting']})" if sessions["waiting"] else ""
    return [
        Cell(printable(model_name(model))),
        Cell(model["state"], state_colour(model["state"])),
        Cell(f"{sessions['active']}/{sessions['max']}{waiting}{_kept(sessions)}"),
        Cell(f"{ready}/{model['replicas']}", YELLOW if ready < model["replicas"] and model["ready"] else None),
        Cell(ago(now - since) if since is not None else "-"),
        Cell(_why(model)),
    ]


def _runner_row(runner: Json, now: float) -> list[Cell]:
    detail = runner["detail"]
    if runner["retry_at"] is not None:
        detail = f"next start in {ago(runner['retry_at'] - now)}; {detail}"
    return [
        Cell(str(runner["replica"]) + ("" if runner["wanted"] else " (leaving)")),
        Cell(runner["state"], state_colour(runner["state"])),
        Cell(str(runner["sessions"]) + _letting_go(runner)),
        Cell(str(runner["restarts"])),
        Cell(ago(now - runner["since"])),
        Cell(printable(detail)),
    ]


def _kept(sessions: Json) -> str:
    """Return how many slots are taken without a session that runs; a daemon of another version may not say."""
    pending = sessions.get("pending", 0)
    return _letting_go(sessions) + (f", {pending} pending" if pending else "")


def _letting_go(counts: Json) -> str:
    return f", {counts['letting_go']} letting go" if counts["letting_go"] else ""


def _why(model: Json) -> str:
    """Return in one line what is to be known of a model beside its state."""
    notes = [model["reason"]]
    if model["leaving"] and not model["reason"]:
        notes.append("no longer in the file")
    if model["held_over"]:
        notes.append("going by its last good definition, since its entry, or the whole file, has an error")
    if model["ready"] or not model["reason"]:
        if former := _former(model):
            notes.append(f"{model['source']} is wanted, and this runs: {former}")
        notes += [
            f"replica {runner['replica']} {runner['state']}: {runner['detail']}"
            for runner in model["runners"]
            if runner["wanted"] and (runner["state"] != "ready" or runner["detail"])
        ]
    return printable("; ".join(note for note in notes if note))


def _events(history: list[Json], style: TextStyle) -> list[str]:
    lines = []
    for one in reversed(history):
        at = datetime.fromtimestamp(one["at"]).astimezone().strftime("%b %d %H:%M:%S")
        move = f"{one['before']} -> {one['after']}"
        lines.append(f"  {style.paint(at, DIM)}  #{one['replica']}  {move}")
        lines += style.wrap(printable(one["why"]), "      ")
        if one["evidence"]:
            lines += [style.paint(line, DIM) for line in style.wrap(printable(one["evidence"]), "      ")]
    return lines


def _price(price: Json | None) -> str:
    if price is None:
        return "not offered for pay"
    return f"{price['per_unit']} {price['currency']} per {units(price['pixels_per_unit'], price['unit'])}"


def model_name(model: Json) -> str:
    return f"{model['pipeline']}/{model['model_id']}"


def state_colour(state: str) -> str:
    return COLOURS.get(state, YELLOW)


FACE = StatusFace(
    whole=_whole,
    of_model=_of_model,
    overview={Position.MODELS: _models},
    model_page={Position.REPLICAS: _replicas, Position.LOGS: _logs, Position.EVENTS: _history},
    facts=_facts,
    model_changes=_model_changes,
)
