"""`orchd status [MODEL]`: what runs, since when, and why not."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchd.advertise.status import model_lines, models_lines, standing, why_not_offered
from orchd.cli.client import get_status
from orchd.cli.flags import add_settings_flags
from orchd.cli.status_changes import OFFERED, PROBLEM, RUNTIME, news, told
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.node.status import node_line, node_lines
from orchd.realtime.status import streams_page
from orchd.settings.tree import Settings
from orchd.text import BOLD, DIM, GREEN, RED, YELLOW, Cell, Look, ago, look_of, pad, printable, table, units

Json = Mapping[str, Any]

WATCH_PERIOD_S = 1.0
CLEAR = "\x1b[H\x1b[J"
LOG_LINES = 10

COLOURS = {
    "ready": GREEN,
    "cold": DIM,
    "failed": RED,
    "backoff": RED,
    "unhealthy": RED,
}
"""Colour of a state; those on the way are yellow."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="one model: its runners and latest events")
    parser.add_argument("--json", action="store_true", help="print what /status says")
    parser.add_argument("--watch", action="store_true", help="go on: redraw on a terminal, else print what changes")
    add_settings_flags(parser, only=("admin.listen",))


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.watch:
        return _watch(args, settings.admin.listen)
    status = get_status(settings.admin.listen, args.model)
    print(json.dumps(status, indent=2) if args.json else _page(status, args.model, look_of(sys.stdout)))
    return 0


def _page(status: Json, model: str | None, look: Look) -> str:
    return model_page(status, look) if model else overview(status, look)


def _watch(args: argparse.Namespace, listen: str) -> int:
    """Until interrupted, ask every second; a daemon that is away is said so, and waited for."""
    redraw = sys.stdout.isatty() and not args.json
    seen: Json | None = None
    away = ""
    while True:
        try:
            status = _status(listen, args.model, seen)
            if away and not redraw:
                print("orchd can be reached again", file=sys.stderr, flush=True)
            away = ""
            if redraw:
                print(CLEAR + _page(status, args.model if status["models"] else None, look_of(sys.stdout)), flush=True)
            elif args.json:
                if (changed := news(seen, status)) is not None:
                    print(json.dumps(changed), flush=True)
            else:
                for line in told(states(seen) if seen else {}, states(status)):
                    print(line, flush=True)
            seen = status
        except DaemonUnreachable as exc:
            if redraw:
                print(CLEAR + exc.message, flush=True)
            elif exc.message != away:
                print(exc.message, file=sys.stderr, flush=True)
            away = exc.message
        time.sleep(WATCH_PERIOD_S)


def _status(listen: str, model: str | None, seen: Json | None) -> Json:
    """Return what `/status` says; a model that was there and is gone is left out, and may come back."""
    try:
        return get_status(listen, model)
    except OrchdError as exc:
        if exc.code is not Code.UNKNOWN_TARGET or seen is None:
            raise
        return {**get_status(listen), "models": []}


def states(status: Json) -> dict[str, str]:
    """Return one line for each thing that can change, by name; none of them changes by the mere passing of time."""
    lines = {}
    for model in status["models"]:
        name, state, sessions, replicas, _since, detail = (cell.text for cell in _row(model, status["at"]))
        lines[name] = f"{name}: {state}, sessions {sessions}, replicas {replicas}" + (f": {detail}" if detail else "")
        if status["node"]:
            words = [f"{registry} {standing(one)}" for registry, one in model["registries"].items()]
            why = why_not_offered(model, status["node"])
            offered = f"{name} at go-livepeer: {', '.join(words) or 'no'}"
            lines[f"{name}{OFFERED}"] = offered + (f": {why}" if why else "")
    if node := status["node"]:
        lines["node"] = node_line(node, None) + (f": {printable(node['error'])}" if node["error"] else "")
    for runtime in status["runtimes"]:
        if not runtime["up"] and runtime["needed"]:
            lines[f"{RUNTIME}{runtime['kind']}"] = (
                f"the {runtime['kind']} runtime is down: {printable(runtime['detail'])}"
            )
    lines["file"] = _file_line(status["file"], None)
    return lines | {
        f"{PROBLEM}{problem['text']}": f"{problem['severity']}: {printable(problem['text'])}"
        for problem in status["problems"]
    }


def overview(status: Json, look: Look) -> str:
    """Return the page of all models."""
    now = status["at"]
    lines: list[str] = []
    if status["models"]:
        head = ("MODEL", "STATE", "SESSIONS", "REPLICAS", "SINCE", "DETAIL")
        lines += table(head, (_row(model, now) for model in status["models"]), look)
    else:
        lines.append("No models. Add an entry to the models file.")
    if status["node"] is not None:
        lines += ["", *node_lines(status["node"], now, look), *models_lines(status, look)]
    for runtime in status["runtimes"]:
        if not runtime["up"] and runtime["needed"]:
            lines += ["", look.paint(f"The {runtime['kind']} runtime is down", RED)]
            lines += look.wrap(printable(runtime["detail"]), "    ")
    lines += _problems(status["problems"], look)
    lines += ["", look.paint(_file_line(status["file"], now), DIM if status["file"]["ok"] else RED)]
    return "\n".join(lines)


def model_page(status: Json, look: Look) -> str:
    """Return the page of one model, the only one in `status`."""
    [model] = status["models"]
    now = status["at"]
    sessions = model["sessions"]
    wanted, former = f"{model['source']} ({model['kind']}, profile {model['profile']})", _former(model)
    facts = {
        "state": model["state"],
        "why": _why(model),
        "wanted": wanted if former else "",
        "runs": former or wanted,
        "start": ""
        if model["kind"] == "external"
        else "at once (warm)"
        if model["warm"]
        else "by its first job (cold)",
        "sessions": f"{sessions['active']} of {sessions['max']}, {sessions['waiting']} waiting{_kept(sessions)}",
        "errors": _runner_errors(model.get("runner_errors"), now),
        "price": _price(model["price"]),
        "offered": f"no: {model['not_offered']}" if model["not_offered"] not in ("", model["reason"]) else "",
    }
    lines = [look.paint(printable(_name(model)), BOLD)]
    for name, value in facts.items():
        if value:
            first, *more = look.wrap(printable(value), " " * 12)
            colour = _colour(value) if name == "state" else None
            lines += [f"  {name:<10}{look.paint(first.strip(), colour)}", *more]
    if model["runners"]:
        head = ("REPLICA", "STATE", "SESSIONS", "RESTARTS", "SINCE", "DETAIL")
        lines += ["", *table(head, (_runner_row(runner, now) for runner in model["runners"]), look)]
    if status["node"] is not None:
        lines += ["", *node_lines(status["node"], now, look), *model_lines(status, look)]
    lines += streams_page(model["streams"], now, look)
    for runner in model["runners"]:
        if runner["last_log"]:
            lines += ["", f"Last log lines of replica {runner['replica']}"]
            lines += [look.paint(f"    {printable(line)}", DIM) for line in runner["last_log"][-LOG_LINES:]]
    lines += _problems(status["problems"], look)
    if model["history"]:
        lines += ["", "Events, latest first"]
        lines += _events(model["history"], look)
    return "\n".join(lines)


def _former(model: Json) -> str:
    """Return what still runs of definitions that an edit has replaced; empty = nothing."""
    former = {
        f"{runner.get('source', '')} (generation {runner['generation']}, {runner['state']}), its former definition"
        for runner in model["runners"]
        if not (runner["wanted"] or model["leaving"] or runner["state"] in ("cold", "backoff", "failed"))
    }
    return "; ".join(sorted(former))


def _runner_errors(errors: Json | None, now: float) -> str:
    if not errors:
        return ""
    what = "job was" if errors["count"] == 1 else "jobs were"
    return (
        f"{errors['count']} {what} answered with HTTP 500 to 599 by a runner, "
        f"the last one {ago(now - errors['last_at'])} ago with {errors['last_status']}"
    )


def _row(model: Json, now: float) -> list[Cell]:
    runners = [runner for runner in model["runners"] if runner["wanted"]]
    ready = sum(runner["state"] == "ready" for runner in runners)
    sessions = model["sessions"]
    telling = runners or model["runners"]  # Of a model that leaves, no runner is wanted.
    since = min((runner["since"] for runner in telling if runner["state"] == model["state"]), default=None)
    waiting = f" (+{sessions['waiting']})" if sessions["waiting"] else ""
    return [
        Cell(printable(_name(model))),
        Cell(model["state"], _colour(model["state"])),
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
        Cell(runner["state"], _colour(runner["state"])),
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


def _events(history: list[Json], look: Look) -> list[str]:
    lines = []
    for one in reversed(history):
        at = datetime.fromtimestamp(one["at"]).astimezone().strftime("%b %d %H:%M:%S")
        move = f"{one['before']} -> {one['after']}"
        lines.append(f"  {look.paint(at, DIM)}  #{one['replica']}  {move}")
        lines += look.wrap(printable(one["why"]), "      ")
        if one["evidence"]:
            lines += [look.paint(line, DIM) for line in look.wrap(printable(one["evidence"]), "      ")]
    return lines


def _problems(problems: list[Json], look: Look) -> list[str]:
    if not problems:
        return []
    lines = ["", "Problems"]
    for problem in problems:
        first, *more = look.wrap(printable(problem["text"]), "           ")
        colour = RED if problem["severity"] == "error" else YELLOW
        lines += [f"  {look.paint(pad(problem['severity'], 7), colour)}  {first.strip()}", *more]
    return lines


def _file_line(file: Json, now: float | None) -> str:
    """Return how it stands with the models file; without `now`, not how long."""
    if not file["ok"] and not file["hash"]:
        return "Models file: none has applied yet"
    if not file["ok"]:
        return f"Models file: the newest does not apply; running from {file['hash']}"
    when = f" {ago(now - file['at'])} ago" if now is not None else ""
    return f"Models file: applied{when} ({file['hash']})"


def _price(price: Json | None) -> str:
    if price is None:
        return "not offered for pay"
    return f"{price['per_unit']} {price['currency']} per {units(price['pixels_per_unit'], price['unit'])}"


def _name(model: Json) -> str:
    return f"{model['pipeline']}/{model['model_id']}"


def _colour(state: str) -> str:
    return COLOURS.get(state, YELLOW)
