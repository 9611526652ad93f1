"""How `/status` and `orchd status` show what the node's registries offer. It knows no registry by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from orchd.domain.node_limits import NEAR, NodeLoad
from orchd.domain.offer import NodeProgram
from orchd.domain.redact import scrub, secrets_of
from orchd.domain.state import ModelStatus
from orchd.errors import Code
from orchd.status_face import Json, Position, StatusFace
from orchd.text import DIM, GREEN, RED, YELLOW, Cell, TextStyle, ago, printable, table, table_rows

OFFERED = " offered"
"""How the name of a model's second line ends, which goes with the first."""

SAID_BY_NODE = (Code.NODE_UNREACHABLE, Code.NODE_CERTIFICATE)
"""Errors that the node's own line tells already, while it is down."""

_MOST_BELOW = 4
"""Lines below a model of a list that is cut to the terminal's height: what to do stands at the end of the reason."""

COLOURS = {"confirmed": GREEN, "offered": GREEN, "pending": YELLOW, "leaving": YELLOW, "full": DIM, "no": DIM}
"""Colour of a standing; the others are red."""


def standing(one: Json | None) -> str:
    """Return one word for what is wanted, published and confirmed in a registry: docs/reference/status.md."""
    if one is None:
        return "no"
    if one.get("full"):  # An older daemon does not say it.
        return "full"
    if one["wanted"] and one["published"]:
        return "missing" if one["confirmed"] is False else "confirmed" if one["confirmed"] else "offered"
    if one["wanted"]:
        return "failing" if one["error"] else "pending"
    if one["published"]:
        return "leaving"
    return "lingers" if one["confirmed"] else "no"


def why_not_offered(model: Json, node: Json) -> str:
    """Return in one line why a model is not offered, and what went wrong about it.

    Where the node has one registry, only that can be meant.
    """
    errors: dict[str, list[str]] = {}
    for name, one in model["registries"].items():
        if one["error"] and (node["up"] or one["code"] not in SAID_BY_NODE):
            errors.setdefault(one["error"], []).append(name)
    # A long reason stands above already, with the model's state.
    reason = model["not_offered"] if model["not_offered"] != model["reason"] else f"it is {model['state']}"
    notes = [reason] if model["not_offered"] else []
    alone = len(_registries(node, [model])) == 1
    notes += [text if alone else f"{' and '.join(names)}: {text}" for text, names in errors.items()]
    return printable("; ".join(notes))


def offers_lines(status: Json, style: TextStyle) -> list[str]:
    """Return how many models each registry offers; empty if no registry is used, or no node was seen yet."""
    node, models = status["node"], status["models"]
    registries = _registries(node, models)
    if not registries or not models or not node["epoch"]:
        return []
    offers = ", ".join(_count(name, [model["registries"].get(name) for model in models]) for name in registries)
    return style.wrap(("offers " if node["up"] else "offered when it was up: ") + offers, "    ")


def callback_lines(status: Json, style: TextStyle) -> list[str]:
    """Return why jobs do not reach orchd, or what could not be tried; empty if all is well."""
    found = status["node"]["callback"]
    if not found or not (found["error"] or found["note"]):
        return []
    colour = RED if found["by_node"] is False else YELLOW
    return [style.paint(line, colour) for line in style.wrap(printable(found["error"] or found["note"]), "    ")]


def limits_lines(status: Json, style: TextStyle) -> list[str]:
    """Return which limits of Livepeer Node are near; empty if none is, and for go-livepeer, which has none."""
    node, models = status["node"], status["models"]
    if node["program"] != NodeProgram.LIVEPEER_NODE:
        return []
    load = NodeLoad(
        sum(any(one["published"] for one in model["registries"].values()) for model in models),
        sum(model["sessions"]["active"] for model in models),
        sum(len(model["streams"]) for model in models),
    )
    near = ", ".join(f"{count} of {most} {what}" for what, count, most in load.reaching(NEAR))
    return (
        [style.paint(line, YELLOW) for line in style.wrap(f"near Livepeer Node's limits: {near}", "    ")]
        if near
        else []
    )


def models_lines(status: Json, style: TextStyle) -> list[str]:
    """Return a line for each model that is not found as it should be; empty if there is none."""
    node, now = status["node"], status["at"]
    models = [model for model in status["models"] if _is_amiss(model)]
    registries = _registries(node, models)
    if not registries or not models:
        return []
    most = None if style.height is None else max(2, style.height // 10)
    rows = [
        [
            Cell(printable(f"{model['pipeline']}/{model['model_id']}")),
            *(_standing_cell(model["registries"].get(name), node["up"], now) for name in registries),
            Cell(why_not_offered(model, node)),
        ]
        for model in models[:most]
    ]
    first, *laid_out = table_rows(("MODEL", *map(str.upper, registries), "WHY"), rows, style, most and _MOST_BELOW)
    lines = ["", "Not offered as they should be", *first, *(line for lines in laid_out for line in lines)]
    if left := len(models) - len(rows):
        lines.append(style.paint(f"{left} more; see `orchd status | less`", DIM))
    return lines


def _is_amiss(model: Json) -> bool:
    """Return whether gateways find a model otherwise than they should, or a ready one nowhere."""
    words = {standing(one) for one in model["registries"].values()}
    failed = any(one["error"] for one in model["registries"].values())
    return (
        failed or bool(words - {"confirmed", "offered", "full", "no"}) or bool(model["ready"] and model["not_offered"])
    )


def model_lines(status: Json, style: TextStyle) -> list[str]:
    """Return a line for each registry of the only model in `status`; empty if no registry is used."""
    [model] = status["models"]
    names = _registries(status["node"], [model])
    if not names:
        return []
    head = ("REGISTRY", "WANTED", "PUBLISHED", "CONFIRMED", "SINCE", "PRICE OR ERROR")
    return table(head, (_registry_row(name, model["registries"].get(name), status["at"]) for name in names), style)


def _registries(node: Json, models: Iterable[Json]) -> list[str]:
    """Return those that are used, and those where something of a model is left."""
    return list(dict.fromkeys([*node["registries"], *(name for model in models for name in model["registries"])]))


def _count(registry: str, ones: list[Json | None]) -> str:
    """Return how many models gateways find there, of those that they are to find."""
    found = sum(standing(one) in ("confirmed", "offered") for one in ones)
    return f"{found} of {sum(one is not None and one['wanted'] for one in ones)} by {registry}"


def _standing_cell(one: Json | None, up: bool, now: float) -> Cell:
    word = standing(one)
    if one is None or word == "no":
        return Cell("no", DIM)
    age = f" {ago(now - one['since'])}" if one["since"] else ""
    colour = COLOURS.get(word, RED)
    if colour == GREEN and (one["error"] or not up):
        colour = YELLOW if up else DIM  # Nobody finds anything while the node is down.
    return Cell(word + age, colour)


def _registry_row(name: str, one: Json | None, now: float) -> list[Cell]:
    if one is None:
        return [Cell(name), Cell("no"), Cell("no"), Cell("-"), Cell("-"), Cell("")]
    full = "full: left out until a slot is free" if one.get("full") else ""
    told = "; ".join(text for text in (one["price"], full, one["error"]) if text)
    return [
        Cell(name),
        Cell(_yes(one["wanted"])),
        Cell(_yes(one["published"]), COLOURS.get(standing(one), RED)),
        Cell(_yes(one["confirmed"]), RED if standing(one) in ("missing", "lingers") else None),
        Cell(ago(now - one["since"]) if one["since"] else "-"),
        Cell(printable(told)),
    ]


def _yes(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _of_model(status: ModelStatus) -> Json:
    return {
        "registries": {name: asdict(one) for name, one in status.registries.items()},
        # May repeat `reason`.
        "not_offered": scrub(status.not_offered, secrets_of(status.model)),
    }


def _offers(status: Json, style: TextStyle) -> list[str]:
    if status["node"] is None:
        return []
    return offers_lines(status, style) + callback_lines(status, style) + limits_lines(status, style)


def _overview(status: Json, style: TextStyle) -> list[str]:
    return models_lines(status, style) if status["node"] is not None else []


def _model_page(status: Json, style: TextStyle) -> list[str]:
    return model_lines(status, style) + callback_lines(status, style) if status["node"] is not None else []


def _facts(model: Json, status: Json) -> dict[str, str]:
    return {"offered": f"no: {model['not_offered']}" if model["not_offered"] not in ("", model["reason"]) else ""}


def _model_changes(model: Json, status: Json) -> dict[str, str]:
    if not status["node"]:
        return {}
    name = f"{model['pipeline']}/{model['model_id']}"
    words = [f"{registry} {standing(one)}" for registry, one in model["registries"].items()]
    why = why_not_offered(model, status["node"])
    offered = f"{name} at the node: {', '.join(words) or 'no'}"
    return {f"{name}{OFFERED}": offered + (f": {why}" if why else "")}


def _changes(status: Json) -> dict[str, str]:
    found = status["node"] and status["node"]["callback"]
    return {"callback": printable(found["error"])} if found and found["error"] else {}


FACE = StatusFace(
    of_model=_of_model,
    changes=_changes,
    overview={Position.OFFERS: _offers, Position.REGISTRIES: _overview},
    model_page={Position.REGISTRIES: _model_page},
    facts=_facts,
    model_changes=_model_changes,
)
