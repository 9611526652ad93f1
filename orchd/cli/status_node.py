"""How the go-livepeer node stands, and each model in its registries, for `orchd status`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchd.cli.text import DIM, GREEN, RED, YELLOW, Cell, Look, ago, printable, table
from orchd.errors import Code

Json = Mapping[str, Any]

SAID_BY_NODE = (Code.NODE_UNREACHABLE, Code.NODE_CERTIFICATE)
"""Errors that the node's own line tells already, while it is down."""

COLOURS = {"confirmed": GREEN, "offered": GREEN, "pending": YELLOW, "leaving": YELLOW, "no": DIM}
"""Colour of a standing; the others are red."""


def standing(one: Json | None) -> str:
    """Return one word for what is wanted, published and confirmed in a registry: docs/reference/status.md."""
    if one is None:
        return "no"
    if one["wanted"] and one["published"]:
        return "missing" if one["confirmed"] is False else "confirmed" if one["confirmed"] else "offered"
    if one["wanted"]:
        return "failing" if one["error"] else "pending"
    if one["published"]:
        return "leaving"
    return "lingers" if one["confirmed"] else "no"


def node_line(node: Json, now: float | None) -> str:
    """Return how the node stands; with `now`, Unix time, also for how long."""
    name = f"go-livepeer {node['version']}".rstrip()
    if not node["epoch"]:
        return f"{name}: not seen yet"
    facts = [("up" if node["up"] else "down") + (f" for {ago(now - node['since'])}" if now is not None else "")]
    facts.append("1 start seen" if node["epoch"] == 1 else f"{node['epoch']} starts seen")
    if node["on_chain"] is not None:
        facts.append("on chain" if node["on_chain"] else "off chain")
    facts.append(" + ".join(node["registries"]) or "no registry is used")
    return printable(f"{name}: {', '.join(facts)}")


def why_not_offered(model: Json, node: Json) -> str:
    """Return in one line why a model is not offered, and what went wrong about it."""
    errors: dict[str, list[str]] = {}
    for name, one in model["registries"].items():
        if one["error"] and (node["up"] or one["code"] not in SAID_BY_NODE):
            errors.setdefault(one["error"], []).append(name)
    # A long reason stands above already, with the model's state.
    reason = model["not_offered"] if model["not_offered"] != model["reason"] else f"it is {model['state']}"
    notes = [reason] if model["not_offered"] else []
    notes += [f"{' and '.join(names)}: {text}" for text, names in errors.items()]
    return printable("; ".join(notes))


def node_page(status: Json, look: Look) -> list[str]:
    """Return the node, and a line for each model; nothing without a node."""
    node, models, now = status["node"], status["models"], status["at"]
    if node is None:
        return []
    lines = ["", *_node(node, now, look)]
    registries = _registries(node, models)
    if not registries or not models:
        return lines
    offers = ", ".join(_count(name, [model["registries"].get(name) for model in models]) for name in registries)
    lines += look.wrap(("offers " if node["up"] else "offered when it was up: ") + offers, "    ")
    rows = (
        [
            Cell(printable(f"{model['pipeline']}/{model['model_id']}")),
            *(_standing_cell(model["registries"].get(name), node["up"], now) for name in registries),
            Cell(why_not_offered(model, node)),
        ]
        for model in models
    )
    return [*lines, *table(("MODEL", *map(str.upper, registries), "WHY"), rows, look)]


def registries_page(status: Json, look: Look) -> list[str]:
    """Return the node, and a line for each registry of the only model in `status`; nothing without a node."""
    [model] = status["models"]
    node, now = status["node"], status["at"]
    if node is None:
        return []
    lines = ["", *_node(node, now, look)]
    if names := _registries(node, [model]):
        head = ("REGISTRY", "WANTED", "PUBLISHED", "CONFIRMED", "SINCE", "PRICE OR ERROR")
        lines += table(head, (_registry_row(name, model["registries"].get(name), now) for name in names), look)
    return lines


def streams_page(streams: Iterable[Json], now: float, look: Look) -> list[str]:
    rows = [
        [
            Cell(stream["phase"], None if stream["phase"] == "running" else YELLOW),
            Cell(stream["origin"]),
            Cell(str(stream["replica"])),
            Cell(ago(now - stream["since"])),
            Cell(printable(stream["id"])),
        ]
        for stream in streams
    ]
    return ["", *table(("PHASE", "FROM", "REPLICA", "SINCE", "STREAM"), rows, look)] if rows else []


def _node(node: Json, now: float, look: Look) -> list[str]:
    colour = RED if not node["up"] else YELLOW if node["error"] or not node["registries"] else None
    first, *more = look.wrap(node_line(node, now), "    ")
    lines = [look.paint(line, colour) for line in (first.strip(), *more)]
    return lines + (look.wrap(printable(node["error"]), "    ") if node["error"] else [])


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
    told = "; ".join(text for text in (one["price"], one["error"]) if text)
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
