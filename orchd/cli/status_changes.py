"""What has changed between two readings of `/status`: as JSON, and in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchd.advertise.status import OFFERED
from orchd.catalog.status import PROBLEM
from orchd.runtime.status import RUNTIME

Json = Mapping[str, Any]

_TIMES = ("since", "retry_at")
_SAME_TIME_S = 1.0
"""Times that the daemon reckons from another clock may differ by less from one reading to the next."""


def news(before: Json | None, now: Json) -> Json | None:
    """Return what of `now` is not as `before`, and when it was so (`at`); all of it at first, None = nothing.

    Of the models, only those that have changed; the names of those that are no longer there are in `gone`.
    """
    if before is None:
        return now
    changed = {
        name: now[name] for name in now if name not in ("at", "models") and not _same(before.get(name), now[name])
    }
    known, models = _by_name(before), _by_name(now)
    if others := [model for name, model in models.items() if not _same(known.get(name), model)]:
        changed["models"] = others
    if gone := [name for name in known if name not in models]:
        changed["gone"] = gone
    return {"at": now["at"], **changed} if changed else None


def told(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the lines that are new or others than before, and one for each that is no longer there.

    Args:
        before, now: lines by name, as `orchd.cli.status_pages.states` makes them.
    """
    lines = [line for name, line in now.items() if before.get(name) != line]
    return lines + [
        _gone(name, line) for name, line in before.items() if name not in now and not name.endswith(OFFERED)
    ]


def _gone(name: str, line: str) -> str:
    if name.startswith(PROBLEM):
        return f"mended: {line}"
    if name.startswith(RUNTIME):
        return f"the {name.removeprefix(RUNTIME)} runtime is up again, or no model needs it any more"
    return f"{name}: gone"


def _by_name(status: Json) -> dict[str, Json]:
    return {f"{model['pipeline']}/{model['model_id']}": model for model in status["models"]}


def _same(one: Any, other: Any, name: str = "") -> bool:
    """Whether two pieces of JSON say the same."""
    match one, other:
        case Mapping(), Mapping():
            return one.keys() == other.keys() and all(_same(one[key], other[key], key) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(_same, one, other))
        case ((int() | float()), (int() | float())) if name in _TIMES:
            return abs(one - other) < _SAME_TIME_S
        case _:
            return bool(one == other)
