"""How `orchd status` shows the list of models, worst first: plain JSON to text."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from orchd.domain.state import BY_OPERATOR
from orchd.status_face import Json
from orchd.text import DIM, GREEN, RED, YELLOW, Cell, TextStyle, ago, printable, table, table_rows

MOST_BELOW = 2
"""Lines of a reason in the list of models, on a terminal; its own page has all."""

COLOURS = {
    "ready": GREEN,
    "cold": DIM,
    "stopped": DIM,
    "failed": RED,
    "backoff": RED,
    "unhealthy": RED,
}
"""Colour of a state; those on the way are yellow."""

COMING = ("pulling", "prepared", "starting", "loading")
_WORST = ("failed", "backoff", "unhealthy")


def can_serve(model: Json) -> bool:
    """Return whether a job for it would be served: now, after another one has ended, or after a cold start."""
    return bool(model["ready"] or model["startable"])


def wanted(model: Json) -> bool:
    """Return whether it is to serve: it is in the file, and nobody has stopped it."""
    return not (model["leaving"] or model["stopped"])


def totals(status: Json, style: TextStyle) -> list[str]:
    """Return one line on all models, none if there are none, and what is stopped that is not among them."""
    models = status["models"]
    elsewhere = [
        line
        for one in status["stopped_elsewhere"]
        for line in style.hang(f"{model_name(one)} is not in the models file; {_who_and_when(one)} has stopped it")
    ]
    if not models:
        return elsewhere
    unable = [model for model in models if wanted(model) and not can_serve(model)]
    serving = [model for model in models if wanted(model) and can_serve(model)]
    ready = sum(model["ready"] for model in serving)
    coming = sum(model["state"] in COMING and not model["last_failure"] for model in unable)
    counts = {
        "ready": ready,
        "cold": len(serving) - ready,
        "stopped": sum(bool(model["stopped"]) for model in models),
        "leaving": sum(model["leaving"] and not model["stopped"] for model in models),
        "can't serve": len(unable),
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    if coming:
        said += f" ({coming} on the way)"
    runners = [runner for model in models for runner in model["runners"] if runner["wanted"]]
    replicas = sum(model["replicas"] for model in models if wanted(model))
    used = sum(model["sessions"]["active"] for model in models)
    most = sum(model["sessions"]["max"] for model in models if wanted(model))
    line = (
        f"{len(models)} model{'s'[: len(models) != 1]}: {said}; sessions {used}/{most}, "
        f"replicas {sum(runner['state'] == 'ready' for runner in runners)}/{replicas}"
    )
    return [*(style.paint(part, RED if unable else None) for part in style.hang(line)), *elsewhere]


def models(status: Json, style: TextStyle) -> list[str]:
    """Return the list of models, worst first, in as many lines as the style has; what is left out is counted."""
    if not status["models"]:
        return ["", "No models. Add an entry to the models file."]
    ordered = sorted(status["models"], key=_badness)
    head = ("MODEL", "STATE", "SESSIONS", "REPLICAS", "SINCE", "DETAIL")
    rows = [_row(model, status) for model in ordered]
    if style.width is None or style.height is None:
        return ["", *table(head, rows, style)]
    room = style.height - 1
    brief = [[*row[:-1], Cell("")] if can_serve(model) else row for row, model in zip(rows, ordered, strict=True)]
    for tried, below in ((rows, MOST_BELOW), (rows, 1), (brief, 1)):
        first, *laid_out = table_rows(head, tried, style, below)
        if 1 + sum(map(len, laid_out)) <= room:
            return ["", *first, *(line for lines in laid_out for line in lines)]
    shown, count = [*first], 0
    for lines in laid_out:
        if len(shown) + len(lines) > room - 1:
            break
        shown += lines
        count += 1
    return ["", *shown, style.paint(_left_out(ordered[count:]), DIM)]


def _left_out(models: list[Json]) -> str:
    states = Counter(model["state"] for model in models)
    said = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{len(models)} more ({said}); see `orchd status | less`"


def _badness(model: Json) -> int:
    """Return how far down the list a model stands."""
    state = model["state"]
    if not wanted(model):
        return 9 if model["leaving"] else 8
    if not can_serve(model):
        return _WORST.index(state) if state in _WORST else 2 if model["last_failure"] else 3
    if not model["ready"]:
        return 5 if model["last_failure"] or model["held_over"] else 7
    return 6 if _at_its_best(model) else 4


def _at_its_best(model: Json) -> bool:
    ready = sum(runner["wanted"] and runner["state"] == "ready" for runner in model["runners"])
    return ready >= model["replicas"] and not model["held_over"]


def model_changes(model: Json, status: Json) -> dict[str, str]:
    """Return how a model stands in one line, by its name."""
    name, state, sessions, replicas, *_ = (cell.text for cell in _row(model, status))
    reason = why(model, status)
    return {name: f"{name}: {state}, sessions {sessions}, replicas {replicas}" + (f": {reason}" if reason else "")}


def _row(model: Json, status: Json) -> list[Cell]:
    runners = [runner for runner in model["runners"] if runner["wanted"]]
    ready = sum(runner["state"] == "ready" for runner in runners)
    sessions = model["sessions"]
    telling = runners or model["runners"]  # Of a model that leaves, no runner is wanted.
    since = min((runner["since"] for runner in telling if runner["state"] == model["state"]), default=None)
    if model["state"] == "stopped":
        since = model["stopped"]["at"]
    waiting = f" (+{sessions['waiting']})" if sessions["waiting"] else ""
    return [
        Cell(printable(model_name(model))),
        Cell(state_word(model["state"], model), state_colour(model["state"])),
        Cell(f"{sessions['active']}/{sessions['max']}{waiting}{kept(sessions)}"),
        Cell(f"{ready}/{model['replicas']}", YELLOW if ready < model["replicas"] and model["ready"] else None),
        Cell(ago(status["at"] - since) if since is not None else "-"),
        Cell("" if _plainly_cold(model) else why(model, status)),
    ]


def _plainly_cold(model: Json) -> bool:
    """Return whether its state alone says all of it."""
    odd = model["last_failure"] or model["held_over"] or model["leaving"]
    return model["state"] == "cold" and model["startable"] and not odd


def why(model: Json, status: Json) -> str:
    """Return in one line what is to be known of a model beside its state."""
    notes = [model["reason"]]
    if stopped := model["stopped"]:
        notes[0] = notes[0].replace(BY_OPERATOR, f"{_who_and_when(stopped)} has stopped it", 1)
    if model["leaving"] and not model["reason"]:
        notes.append("no longer in the file")
    if model["held_over"]:
        bad = "its entry has an error" if status["file"]["ok"] else "the whole models file can't be used"
        notes.append(f"going by its last good definition, since {bad}")
    if model["ready"] or not model["reason"]:
        if runs := former(model):
            notes.append(f"{model['source']} is wanted, and this runs: {runs}")
        notes += [
            f"replica {runner['replica']} {runner['state']}: {runner['detail']}"
            for runner in model["runners"]
            if runner["wanted"] and (runner["state"] != "ready" or runner["detail"])
        ]
    failure = model["last_failure"]
    if failure and wanted(model) and not model["ready"] and not any(failure in note for note in notes):
        notes.append(f"its last run failed: {failure}")
    return printable("; ".join(note for note in notes if note))


def _who_and_when(stopped: Json) -> str:
    """Return who has stopped a model, and when, in words that "has stopped it" can follow."""
    at = datetime.fromtimestamp(stopped["at"]).astimezone()
    return f"{printable(stopped['by'])} ({at:%b %d %H:%M:%S})"


def former(model: Json) -> str:
    """Return what still runs of definitions that an edit has replaced; empty = nothing."""
    runs = {
        f"{runner.get('source', '')} (generation {runner['generation']}, {runner['state']}), its former definition"
        for runner in model["runners"]
        if not (runner["wanted"] or model["leaving"] or runner["state"] in ("cold", "backoff", "failed"))
    }
    return "; ".join(sorted(runs))


def kept(sessions: Json) -> str:
    """Return how many slots are taken without a session that runs; a daemon of another version may not say."""
    pending = sessions.get("pending", 0)
    return letting_go(sessions) + (f", {pending} pending" if pending else "")


def letting_go(counts: Json) -> str:
    """Return how many slots are letting go; empty = none."""
    return f", {counts['letting_go']} letting go" if counts["letting_go"] else ""


def model_name(model: Json) -> str:
    """Return the name under which commands take it."""
    return f"{model['pipeline']}/{model['model_id']}"


def state_word(state: str, model: Json) -> str:
    """Return how a state of a model, or of a runner of it, is called on a page: a process is not pulled."""
    return "preparing" if state == "pulling" and model["kind"] == "process" else state


def state_colour(state: str) -> str:
    """Return the colour of a state, for `TextStyle.paint`."""
    return COLOURS.get(state, YELLOW)
