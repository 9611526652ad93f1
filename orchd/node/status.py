"""How `orchd status` shows the node: plain JSON to text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchd.text import RED, YELLOW, Look, ago, printable

Json = Mapping[str, Any]


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


def node_lines(node: Json, now: float, look: Look) -> list[str]:
    """Return how the node stands, wrapped, and what is wrong with it."""
    colour = RED if not node["up"] else YELLOW if node["error"] or not node["registries"] else None
    first, *more = look.wrap(node_line(node, now), "    ")
    lines = [look.paint(line, colour) for line in (first.strip(), *more)]
    return lines + (look.wrap(printable(node["error"]), "    ") if node["error"] else [])
