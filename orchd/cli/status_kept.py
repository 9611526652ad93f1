"""What `orchd status` shows while no daemon answers: what the last one knew, as the state directory keeps it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from orchd.history.read import KeptDaemon, KeptRunner, LastKnown
from orchd.text import BOLD, DIM, Cell, TextStyle, ago, printable, style_of, table_rows

MOST_BELOW = 2
AROUND = 9
"""Lines of a terminal that are not for the list: of what stands around it, the complaint and the prompt."""
_BADNESS = ("failed", "backoff", "unhealthy", "ready")


def printed(known: LastKnown, model: str | None, *, runs: bool | None) -> str:
    """Return the page of the last daemon's models, or of one, for standard output as it is."""
    runners = [runner for runner in known.runners if model in (None, str(runner.key), runner.key.model_id)]
    daemon = known.daemon if runs is not True else known.daemon._replace(ended_at=None)
    return "\n".join(page(daemon, runners, model, (time.time(), runs), style_of(sys.stdout)))


def page(
    daemon: KeptDaemon,
    runners: Sequence[KeptRunner],
    model: str | None,
    now: tuple[float, bool | None],
    style: TextStyle,
) -> list[str]:
    """Return its lines.

    Args:
        runners: those that are asked for. `model`: the name of the only one that is; None = all.
        now: Unix time, and whether a daemon runs; None = that can't be told.
    """
    at, runs = now
    started = ago(at - daemon.started_at)
    who = f"The last daemon was orchd {daemon.version} ({daemon.instance}), started {started} ago."
    lines = [style.paint(line, BOLD) for line in style.hang(printable(who))]
    lines += style.hang(printable(_how_it_ended(daemon, at, runs)))
    if runners:
        lines += ["", "What it knew last", *_table(runners, at, style)]
    else:
        lines += ["", f"Nothing is kept of {model}." if model else "It had no models that ran."]
    about = f" {model}" if model else ""
    first = (
        "Start it with `systemctl start orchd`, or `orchd run`"
        if daemon.ended_at is not None or runs is False
        else "Look whether it runs with `systemctl status orchd`"
    )
    said = f"`orchd logs {model}` what it said" if model else "`orchd logs MODEL` what a model said"
    next_steps = f"{first}; `orchd events{about}` shows what happened, {said}."
    return [*lines, "", *style.hang(printable(next_steps))]


def _how_it_ended(daemon: KeptDaemon, now: float, runs: bool | None) -> str:
    alive = ago(now - daemon.alive_at)
    if runs:
        return "It runs: its control socket answers. Its admin pages are at another address, or it hangs."
    if daemon.ended_at is not None:
        why = f": {daemon.why_ended}" if daemon.why_ended else ""
        return f"It ended properly {ago(now - daemon.ended_at)} ago{why}"
    if runs is None:
        return f"It was alive {alive} ago, and has not said that it ended. This user can't tell whether it runs still."
    return f"It did not end properly (killed, crashed, or the machine went down); it was last seen alive {alive} ago."


def _table(runners: Sequence[KeptRunner], now: float, style: TextStyle) -> list[str]:
    """Return a line for each runner, worst first, as many as there is room for."""
    ordered = sorted(runners, key=lambda one: _BADNESS.index(one.state) if one.state in _BADNESS else len(_BADNESS))
    rows = [
        [
            Cell(printable(str(one.key))),
            Cell(str(one.replica)),
            Cell(one.state),
            Cell(ago(now - one.since)),
            Cell(printable(one.why)),
        ]
        for one in ordered
    ]
    head, *laid_out = table_rows(("MODEL", "REPLICA", "STATE", "SINCE", "WHY"), rows, style, MOST_BELOW)
    room = len(rows) * (MOST_BELOW + 1) if style.height is None else max(style.height - AROUND, AROUND)
    shown, count = [*head], 0
    for lines in laid_out:
        if len(shown) + len(lines) > room:
            break
        shown += lines
        count += 1
    if left := len(rows) - count:
        shown.append(style.paint(f"{left} more; see `orchd status | less`", DIM))
    return shown
