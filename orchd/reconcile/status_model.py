"""How `orchd status MODEL` shows one model and its runners: plain JSON to text."""

from __future__ import annotations

import shlex
from datetime import datetime

from orchd.reconcile.status_list import former, kept, letting_go, model_name, state_colour, state_word, why
from orchd.status_face import Json
from orchd.text import DIM, Cell, TextStyle, ago, printable, table, units

LOG_LINES = 10
MOST_EVENTS = 5
"""Events on a terminal, so that what stands above them is not scrolled away."""
EVERY_START = (
    *(("cold", "pulling"), ("backoff", "pulling"), ("pulling", "prepared")),
    *(("prepared", "starting"), ("starting", "loading")),
)
"""Moves that are left out on a terminal: none of them says why anything is as it is."""
FAILING = ("unhealthy", "backoff", "failed")


def facts(model: Json, status: Json) -> dict[str, str]:
    """Return the lines at the head of a model's page."""
    sessions = model["sessions"]
    source, runs = f"{model['source']} ({model['kind']}, profile {model['profile']})", former(model)
    start = "at once (warm)" if model["warm"] else "by its first job (cold)"
    return {
        "state": state_word(model["state"], model),
        "why": why(model, status),
        "wanted": source if runs else "",
        "runs": runs or source,
        "failed": "" if model["state"] in FAILING else _last_failed(model["history"], status["at"]),
        "start": "" if model["kind"] == "external" else start,
        "sessions": f"{sessions['active']} of {sessions['max']}, {sessions['waiting']} waiting{kept(sessions)}",
        "price": _price(model["price"]),
    }


def _last_failed(history: list[Json], now: float) -> str:
    """Return when and why one of its runners last failed, as far as its history goes; empty = none did."""
    failed = next((one for one in reversed(history) if one["after"] in FAILING), None)
    if failed is None:
        return ""
    why = f"{failed['why']}: {failed['evidence']}" if failed["after"] == "unhealthy" else failed["why"]
    return f"last {ago(now - failed['at'])} ago: {why}"


def replicas(status: Json, style: TextStyle) -> list[str]:
    """Return a line for each replica of the only model in `status`."""
    [model] = status["models"]
    if not model["runners"]:
        return []
    head = ("REPLICA", "STATE", "SESSIONS", "RESTARTS", "SINCE", "DETAIL")
    return ["", *table(head, (_runner_row(runner, model, status["at"]) for runner in model["runners"]), style)]


def whereabouts(status: Json, style: TextStyle) -> list[str]:
    """Return how each of its replicas is found with other tools, such as `docker` and `ps`."""
    [model] = status["models"]
    lines: list[str] = []
    for runner in model["runners"]:
        if told := _whereabouts(runner):
            lines += ["", f"Replica {runner['replica']} is"]
            for name, text in told.items():
                first, *more = style.wrap(printable(str(text)), " " * 12)
                lines += [f"  {name:<10}{first.strip()}", *more]
    return lines


def _whereabouts(runner: Json) -> dict[str, object]:
    """Return its names and numbers, each to be copied as a whole."""
    if container := runner["container"]:
        port = f"{container['port']} inside"
        if container["host_port"]:
            port += f", {container['host_port']} on this machine"
        return {
            "container": container["name"],
            "id": container["id"][:12],
            "image": container["image"],
            "digest": container["digest"].rpartition(":")[2] or "none: the image was built or loaded here",
            "port": port,
            "address": runner["address"],
        }
    if process := runner["process"]:
        return {"process": process["pid"], "program": process["program"], "port": process["port"]}
    return {}


def logs(status: Json, style: TextStyle) -> list[str]:
    """Return what its replicas said before they failed."""
    lines = []
    for runner in status["models"][0]["runners"]:
        if runner["last_log"]:
            lines += ["", f"What replica {runner['replica']} said before it last failed"]
            lines += [style.paint(f"    {printable(line)}", DIM) for line in runner["last_log"][-LOG_LINES:]]
    return lines


def next_commands(status: Json, style: TextStyle) -> list[str]:
    """Return the commands that help with a model that needs help."""
    [model] = status["models"]
    name = shlex.quote(printable(model_name(model)))
    advice = _advice(model, name, status["file"]["ok"])
    width = max((len(command) for command, _ in advice), default=0)
    if style.width is None or all(4 + width + len(reason) <= style.width for _, reason in advice):
        lines = [f"  {command:<{width}}  {reason}" for command, reason in advice]
    else:
        lines = [line for command, reason in advice for line in (f"  {command}", *style.wrap(reason, "      "))]
    return ["", "What helps next", *lines] if lines else []


def _advice(model: Json, name: str, file_ok: bool) -> list[tuple[str, str]]:
    """Return commands, each with what it is for."""
    found = []
    states = {runner["state"] for runner in model["runners"] if runner["wanted"]}
    failed = bool(states & {"failed", "backoff"})
    doubted = any(runner["doubt"] for runner in model["runners"] if runner["wanted"])
    if model["state"] == "stopped":
        return [(f"orchd start {name}", "serve it again")]
    if model["kind"] != "external":
        if failed:
            found.append((f"orchd logs {name}", "all that its last run said"))
        elif model["last_failure"]:
            found.append((f"orchd logs {name} --previous", "what it said before it failed"))
        if states & {"loading", "starting", "unhealthy"} or doubted:
            found.append((f"orchd logs {name} -f", "what it says now"))
    if failed or model["last_failure"]:
        found.append((f"orchd events {name}", "how often it has failed, and why"))
    if "failed" in states:
        found.append((f"orchd restart {name}", "try it again, once the cause is mended"))
    if model["kind"] != "external" and (doubted or "unhealthy" in states):
        found.append((f"orchd restart {name}", "if it does not recover by itself"))
    if model["held_over"]:
        found.append(("orchd check", f"what is wrong with {'its entry' if file_ok else 'the models file'}"))
    return found


def events(status: Json, style: TextStyle) -> list[str]:
    """Return what has happened to it."""
    [model] = status["models"]
    history = model["history"]
    if not history:
        return []
    shown = history
    if style.height is not None:
        shown = [one for one in history if (one["before"], one["after"]) not in EVERY_START][-MOST_EVENTS:]
    lines = ["", "Events, latest first", *_moves(shown, style)]
    if len(shown) < len(history):
        lines.append(style.paint(f"  more of them: `orchd events {shlex.quote(printable(model_name(model)))}`", DIM))
    return lines


def _moves(history: list[Json], style: TextStyle) -> list[str]:
    lines = []
    for one in reversed(history):
        at = datetime.fromtimestamp(one["at"]).astimezone().strftime("%b %d %H:%M:%S")
        move = f"{one['before']} -> {one['after']}"
        lines.append(f"  {style.paint(at, DIM)}  #{one['replica']}  {move}")
        lines += style.wrap(printable(one["why"]), "      ")
        if one["evidence"]:
            lines += [style.paint(line, DIM) for line in style.wrap(printable(one["evidence"]), "      ")]
    return lines


def _runner_row(runner: Json, model: Json, now: float) -> list[Cell]:
    detail = runner["detail"]
    if runner["retry_at"] is not None:
        detail = f"next start in {ago(runner['retry_at'] - now)}; {detail}"
    return [
        Cell(str(runner["replica"]) + ("" if runner["wanted"] else " (leaving)")),
        Cell(state_word(runner["state"], model), state_colour(runner["state"])),
        Cell(str(runner["sessions"]) + letting_go(runner)),
        Cell(str(runner["restarts"])),
        Cell(ago(now - runner["since"])),
        Cell(printable(detail)),
    ]


def _price(price: Json | None) -> str:
    if price is None:
        return "not offered for pay"
    return f"{price['per_unit']} {price['currency']} per {units(price['pixels_per_unit'], price['unit'])}"
