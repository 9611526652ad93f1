"""What `orchd status` shows while no daemon answers: what the last one knew, as the state directory keeps it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from orchd.history.read import KeptDaemon, KeptRunner, LastKnown
from orchd.text import BOLD, DIM, Cell, TextStyle, ago, printable, style_of, table_rows

ALIVE_S = 120.0
"""One that was alive so recently, and has not ended, may run still: it notes that it lives once a minute."""
MOST_BELOW = 2
AROUND = 9
"""Lines of a terminal that are not for the list: of what stands around it, the complaint and the prompt."""
_BADNESS = ("failed", "backoff", "unhealthy", "ready")


def printed(known: LastKnown, model: str | None) -> str:
    """Return the page of the last daemon's models, or of one, for standard output as it is."""
    runners = [runner for runner in known.runners if model in (None, str(runner.key), runner.key.model_id)]
    return "\n".join(page(known.daemon, runners, model, time.time(), style_of(sys.stdout)))


def page(
    daemon: KeptDaemon, runners: Sequence[KeptRunner], model: str | None, now: float, style: TextStyle
) -> list[str]:
    """Return its lines.

    Args:
        runners: those that are asked for. `model`: the name of the only one that is; None = all.
        now: Unix time.
    """
    lines = [style.paint(line, BOLD) for line in style.hang(printable(_who(daemon, now)))]
    lines += style.hang(printable(_how_it_ended(daemon, now)))
    if runners:
        lines += ["", "What it knew last", *_table(runners, now, style)]
    else:
        lines += ["", f"Nothing is kept of {model}." if model else "It had no models that ran."]
    asked = f" {model}" if model else ""
    return [*lines, "", *style.hang(printable(_what_next(daemon, now, asked)))]


def _who(daemon: KeptDaemon, now: float) -> str:
    return (
        f"The last daemon was orchd {daemon.version} ({daemon.instance}), started {ago(now - daemon.started_at)} ago."
    )


def _how_it_ended(daemon: KeptDaemon, now: float) -> str:
    if daemon.ended_at is not None:
        why = f": {daemon.why_ended}" if daemon.why_ended else ""
        return f"It ended properly {ago(now - daemon.ended_at)} ago{why}"
    alive = f"alive {ago(now - daemon.alive_at)} ago"
    if now - daemon.alive_at < ALIVE_S:
        return f"It was {alive}, and has not said that it ends: it may run still, at another address, or hang."
    return f"It did not end properly (killed, crashed, or the machine went down): it was last {alive}."


def _what_next(daemon: KeptDaemon, now: float, asked: str) -> str:
    if daemon.ended_at is None and now - daemon.alive_at < ALIVE_S:
        first = "Look whether it runs with `systemctl status orchd`"
    else:
        first = "Start it with `systemctl start orchd`, or `orchd run`"
    return f"{first}; `orchd events{asked}` shows what happened, `orchd logs MODEL` what a model said."


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
