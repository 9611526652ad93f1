"""How the node is shown by `/status` and `orchd status`."""

from __future__ import annotations

from dataclasses import asdict

from orchd.domain.offer import NodeProgram
from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import RED, YELLOW, TextStyle, ago, printable


def _whole(snapshot: Snapshot) -> Json:
    return {"node": asdict(snapshot.node) if snapshot.node else None}


def node_line(node: Json, now: float | None) -> str:
    """Return how the node stands; with `now`, Unix time, also for how long."""
    program = node.get("program")  # A daemon of before the update does not say.
    name = f"{NodeProgram(program).in_words if program else 'node'} {node['version']}".rstrip()
    if not node["epoch"]:
        return f"{name}: not seen yet"
    facts = [("up" if node["up"] else "down") + (f" for {ago(now - node['since'])}" if now is not None else "")]
    facts.append("1 start seen" if node["epoch"] == 1 else f"{node['epoch']} starts seen")
    if node["on_chain"] is not None:
        facts.append("on chain" if node["on_chain"] else "off chain")
    facts.append(" + ".join(node["registries"]) or "no registry is used")
    return printable(f"{name}: {', '.join(facts)}")


def node_lines(node: Json, now: float, style: TextStyle) -> list[str]:
    """Return how the node stands, wrapped, what is wrong with it, and what is set otherwise than it is found."""
    colour = RED if not node["up"] else YELLOW if node["error"] or not node["registries"] else None
    lines = [style.paint(line, colour) for line in style.hang(node_line(node, now))]
    for said in (node["error"], *node.get("notes", ())):
        lines += style.wrap(printable(said), "    ") if said else []
    return lines


def _section(status: Json, style: TextStyle) -> list[str]:
    return node_lines(status["node"], status["at"], style) if status["node"] else []


def _of_model_page(status: Json, style: TextStyle) -> list[str]:
    lines = _section(status, style)
    return ["", *lines] if lines else []


def _changes(status: Json) -> dict[str, str]:
    if not (node := status["node"]):
        return {}
    return {"node": node_line(node, None) + (f": {printable(node['error'])}" if node["error"] else "")}


FACE = StatusFace(
    whole=_whole,
    overview={Position.NODE: _section},
    model_page={Position.NODE_OF_MODEL: _of_model_page},
    changes=_changes,
)
