"""What `orchd status` shows of what the daemon says: the page of all models, that of one, and what can change.

Imported when the daemon has answered: all that it needs of the parts takes longer to import than to ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

from orchd.reconcile.status import model_name, state_colour
from orchd.status_face import Json, Position, Section, status_faces
from orchd.text import BOLD, TextStyle, printable

FACTS = ("state", "why", "wanted", "runs", "start", "sessions", "errors", "price", "offered")
"""The order of those lines at the head of a model's page; those of other names stand below them."""


def states(status: Json) -> dict[str, str]:
    """Return one line for each thing that can change, by name; none of them changes by the mere passing of time."""
    lines: dict[str, str] = {}
    for model in status["models"]:
        for face in status_faces():
            lines.update(face.model_changes(model, status))
    for face in status_faces():
        lines.update(face.changes(status))
    return lines


def overview(status: Json, style: TextStyle) -> str:
    """Return the page of all models."""
    return "\n".join(_sections(status, style, [face.overview for face in status_faces()]))


def model_page(status: Json, style: TextStyle) -> str:
    """Return the page of one model, the only one in `status`."""
    [model] = status["models"]
    facts = {name: text for face in status_faces() for name, text in face.facts(model, status).items() if text}
    lines = [style.paint(printable(model_name(model)), BOLD)]
    for name in dict.fromkeys((*FACTS, *facts)):
        if text := facts.get(name):
            first, *more = style.wrap(printable(text), " " * 12)
            colour = state_colour(text) if name == "state" else None
            lines += [f"  {name:<10}{style.paint(first.strip(), colour)}", *more]
    return "\n".join([*lines, *_sections(status, style, [face.model_page for face in status_faces()])])


def _sections(status: Json, style: TextStyle, of: Iterable[Mapping[Position, Section]]) -> Iterator[str]:
    """Yield the lines of all sections, in the order of their positions."""
    found = sorted(((position, section) for each in of for position, section in each.items()), key=itemgetter(0))
    for _, section in found:
        yield from section(status, style)
