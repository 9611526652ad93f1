"""The pages of `orchd status`, put together of what the parts show: plain JSON to text.

Imported when the daemon has answered: all that it needs of the parts takes longer to import than to ask.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter

from orchd import __version__
from orchd.errors import DaemonUnreachable
from orchd.reconcile.status_list import can_serve, model_name, state_colour, wanted
from orchd.status_face import Json, Position, Section, status_faces
from orchd.text import BOLD, DIM, TextStyle, printable, style_of

FACTS = ("state", "why", "wanted", "runs", "failed", "start", "sessions", "jobs", "errors", "price", "offered")
"""The order of those lines at the head of a model's page; those of other names stand below them."""


def printed(status: Json, model: str | None) -> str:
    """Return the page that is printed once: of all models, cut to the window, or of one.

    Raises:
        DaemonUnreachable: see `of_this_version`.
    """
    style = style_of(sys.stdout)
    if style.height is not None:
        style = replace(style, height=style.height - 1)  # The prompt needs a line.
    shown = page(status, model, style)
    return shown if model else "\n".join(on_screen(shown, style, "orchd status"))


def page(status: Json, model: str | None, style: TextStyle) -> str:
    """Return the page of all models, or of one.

    Raises:
        DaemonUnreachable: see `of_this_version`.
    """
    with of_this_version():
        return model_page(status, style) if model else overview(status, style)


@contextmanager
def of_this_version() -> Iterator[None]:
    """Say in words that a field is missing: after an upgrade, the former daemon runs until it is restarted.

    Raises:
        DaemonUnreachable: so that `--watch` waits for that restart.
    """
    try:
        yield
    except KeyError as exc:
        raise DaemonUnreachable(
            f"cannot read what orchd says: its /status has no field {exc.args[0]!r}, so the daemon that runs is of an "
            f"older version than this command ({__version__}); restart it (systemctl restart orchd); "
            "--json prints what it says"
        ) from exc


def any_unable(status: Json) -> bool:
    """Return whether a model that is wanted can't serve."""
    return any(wanted(model) and not can_serve(model) for model in status["models"])


def overview(status: Json, style: TextStyle) -> str:
    """Return the page of all models. With a height, the list of models takes the lines that are left, half at least."""
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


def on_screen(page: str, style: TextStyle, whole: str) -> list[str]:
    """Return the lines of a page that a screen has room for; the last one says how many are missing.

    Args:
        whole: the command that shows all of it.
    """
    lines = page.split("\n")
    if style.height is None or len(lines) <= style.height:
        return lines
    left = len(lines) - style.height + 1
    return [*lines[: style.height - 1], style.paint(f"{left} more lines; see `{whole} | less`", DIM)]


def states(status: Json) -> dict[str, str]:
    """Return one line for each thing that can change, by name; none of them changes by the mere passing of time."""
    lines: dict[str, str] = {}
    for model in status["models"]:
        for face in status_faces():
            lines.update(face.model_changes(model, status))
    for face in status_faces():
        lines.update(face.changes(status))
    return lines


def _sections(status: Json, style: TextStyle, of: Iterable[Mapping[Position, Section]]) -> list[str]:
    """Return the lines of all sections, in the order of their positions; the list of models is made last."""
    found = sorted(((position, section) for each in of for position, section in each.items()), key=itemgetter(0))
    made: dict[Position, list[str]] = {}
    last = style
    for position, section in sorted(found, key=lambda each: each[0] is Position.MODELS):
        if position is Position.MODELS and style.height is not None:
            rest = style.height - sum(map(len, made.values()))
            last = replace(style, height=max(rest, style.height // 2))
        made[position] = section(status, last)
    return [line for position, _ in found for line in made[position]]
