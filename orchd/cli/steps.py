"""Steps of a longer command, one line each: a tick, what it took, what it was and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from orchd.text import DIM, GREEN, RED, style_of

TITLE_WIDTH = 42
_TELL_EVERY_S = 5.0


class ReaderLeft(BrokenPipeError):
    """Nobody reads what is printed (`make demo | head`)."""


class Step:
    """One step that a person watches.

    Attributes:
        result: what came of it, in one line.
    """

    def __init__(self, steps: Steps, title: str) -> None:
        self._steps = steps
        self.title = title
        self.result = ""

    def progress(self, text: str) -> None:
        """Say how far it is."""
        self._steps.show_progress(f"{self.title}: {text}")


class Steps:
    """A terminal also shows the step under way; elsewhere progress is told every 5 s."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._look = style_of(stream)
        self._terminal = stream.isatty()
        self._began_at = self._told_at = time.monotonic()

    @property
    def took_s(self) -> float:
        """Seconds since the first step."""
        return time.monotonic() - self._began_at

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Print the step when the block ends: a tick, or a cross if it raises."""
        step = Step(self, title)
        if self._terminal:
            self._rewrite(f"  {self._look.paint(f'…           {title}', DIM)}", end="")
        began_at = self._told_at = time.monotonic()
        mark, colour = "✗", RED
        try:
            yield step
            mark, colour = "✓", GREEN
        finally:
            took = self._look.paint(f"{time.monotonic() - began_at:7.3f} s", DIM)
            line = f"  {self._look.paint(mark, colour)} {took}  {title:<{TITLE_WIDTH}}  {step.result}"
            self._rewrite(line.rstrip(), end="\n")

    def show_progress(self, text: str) -> None:
        """Show `text` until the next one or the end of the step."""
        if self._terminal:
            width = self._look.width or 80
            self._rewrite(self._look.paint(f"  …           {text}"[: width - 1], DIM), end="")
        elif time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            self.say(f"    {text}")

    def say(self, line: str, end: str = "\n") -> None:
        """Print a line of its own.

        Raises:
            ReaderLeft: as every method here does.
        """
        try:
            print(line, file=self._stream, end=end, flush=True)
        except BrokenPipeError as exc:
            raise ReaderLeft from exc

    def _rewrite(self, line: str, end: str) -> None:
        self.say(f"\r\x1b[K{line}" if self._terminal else line, end)
