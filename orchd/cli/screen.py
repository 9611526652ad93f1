"""A page that is drawn again and again, in the terminal's alternate screen: what was there before comes back."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from orchd.text import TextStyle, style_of

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Alternate screen, no cursor, lines that are too long are cut."""
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """Draws pages on standard output. Use it as `with Screen.entered() as screen`."""

    @classmethod
    @contextmanager
    def entered(cls) -> Iterator[Screen]:
        """Take the screen and give it back, whatever happens: signals that end the program and Ctrl-Z included."""
        screen = cls()
        before = {one: signal.signal(one, _end) for one in _ENDING}
        before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, screen._stop)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
        try:
            _write(ENTER)
            yield screen
        finally:
            with suppress(OSError):  # The terminal may be gone.
                _write(LEAVE)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for one, handler in before.items():
                signal.signal(one, handler)

    @property
    def style(self) -> TextStyle:
        """As the terminal is now."""
        return style_of(sys.stdout)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines in place of those before, in one write: nothing is blank in between."""
        _write(HOME + f"{CLEAR_LINE}\r\n".join(lines) + CLEAR_LINE + CLEAR_BELOW)

    def wait(self, seconds: float) -> None:
        """Return after this time, or as soon as the size of the window has changed."""
        signal.sigtimedwait([signal.SIGWINCH], seconds)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: the screen is the shell's until it continues us."""
        _write(LEAVE)
        handler = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, handler)
        _write(ENTER)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
