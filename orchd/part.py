"""What a part is. orchd is a list of parts (`app.py`), started in order and ended in reverse by `lifetime.py`.

A part is one feature in one folder, with the same faces in each, so that who knows one knows all:

    part.py          the class below: what it needs, what it offers, how it starts and ends
    settings.py      its section of the settings; imports pydantic alone
    metrics.py       its collector
    status.py        its block of `/status`, and how `orchd status` shows it: plain JSON to text, no heavy imports
    tables.py        what it keeps, over the shared database; `migrations/` beside it
    design.md        for the hard ones

`orchd/parts.py` names the folder of each part. A part that is switched off is not in the list, and then only its
`settings.py` and `status.py` may be imported: so `app.py` imports `part.py` of a part only when it is switched on.

**What a part needs** are the arguments of its constructor: first the `Context`, then the parts below it, each as a
Protocol that names only what is used of it. The constructor stores them and does nothing else: what they offer exists
once they are open. **What a part offers** are its public attributes and methods; they may be used from `open` of the
parts above it on. **What it tells parts above it** are its `Signal`s (`domain/signal.py`), which those connect to when
they open. There are no setters and no callbacks that are looked up later.

A small part, whole:

    class Tidy(Part):
        \"\"\"Forgets former definitions once no runner of theirs is left.\"\"\"

        name = "tidy"

        def __init__(self, fleet: Fleet, tables: Tables) -> None:
            self._fleet = fleet
            self._tables = tables

        def roots(self) -> Roots:
            return {"tidy": self._run()}

How it goes, for the parts a, b, c in this order:

    open      a b c     take what may be taken already (locks, ports, files) and build. Nothing outside is changed yet:
                        a port that is taken must not cost a runner
    start     a b c     begin: what it does before others may rely on it, then its root tasks; see `start`
      ...               living: a root task that ends takes the daemon down, loudly
    withdraw  c b a     take nothing new, offer nothing more; what runs goes on
    drain     c b a     wait for what runs, until the deadline; then cut it
    close     c b a     give back everything. All root tasks have been cancelled before the first `close`
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from orchd.exposition import MetricsRegistry
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.settings.tree import Settings

Roots = Mapping[str, Coroutine[Any, Any, object]]
"""Coroutines that run as long as orchd does, by the name that their task gets: it stands in the log if one fails."""


@dataclass(frozen=True, slots=True)
class Context:
    """What all parts share, made before the first of them. It holds no part: those are constructor arguments.

    Attributes:
        settings: as they were at start; what `orchd reload` may change is told by the part that reads it again.
        env: the environment; only what systemd and the settings' defaults need is read from it.
        state_dir: absolute; locked by the first part.
        metrics: where a part registers its collector.
        lag: for how long orchd itself stood still: such time counts against nobody.
        names: host names are looked up here, apart from the event loop.

    The clock is the loop's (`asyncio.get_running_loop().time()`), in seconds; tests run a loop whose clock they move.
    """

    settings: Settings
    env: Mapping[str, str] = field(repr=False)
    state_dir: Path
    metrics: MetricsRegistry
    lag: LoopLag
    names: Names


class Part:
    """The base of all parts. Each method does nothing here: a part overrides those that it has a use for.

    Attributes:
        name: one or two words, for the log and for `orchd/parts.py`.
        roots_end_first: its root tasks are cancelled before its `withdraw`: they would take it back.
    """

    name: ClassVar[str]
    roots_end_first: ClassVar[bool] = False

    async def open(self) -> None:
        """Build what the part is made of, connect to signals of the parts below, and take what is exclusive.

        The parts below are open, none has started. If this raises, orchd does not start: nothing outside may have been
        changed. `close` is called even then, and if this is cancelled in the middle.

        Raises:
            OrchdError: the part can't be opened; what to do about it.
        """

    async def start(self) -> None:
        """Do what must come before others may rely on this part. Its root tasks are started right after it.

        The parts below have started, and their root tasks run. If one of those ends meanwhile, this is cancelled and
        the daemon ends.
        """

    def roots(self) -> Roots:
        """Return what runs as long as orchd does. Called once, after `start`.

        None may end by itself before `withdraw` has been called: that takes the daemon down.
        """
        return {}

    async def withdraw(self) -> None:
        """Take nothing new and offer nothing more; what runs goes on. Called before `drain`; repeats must be fine."""

    async def drain(self, deadline: float) -> None:
        """Wait until what runs has ended; at `deadline` (loop clock) cut it. Repeats must be fine.

        Every part above has drained. `orchd down` drains the parts above the runners by itself, and a stop afterwards
        does so again.
        """

    async def close(self) -> None:
        """Give back what `open` and `start` took, even if those failed in the middle. Nothing is waited for long.

        No root task runs any more. The parts above are closed.
        """

    def waits_for(self) -> str:
        """Return in words what `drain` waits for now, such as `2 jobs to end`; empty = nothing in particular."""
        return ""
