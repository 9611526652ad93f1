"""What the daemon does on signals. No signal that can be handled ends it without a line in the log.

TERM, INT and QUIT ask it to end. A further one makes it say what it waits for, and a third Ctrl-C ends it at once. HUP
makes it read its files again. All other signals that would end a program are logged and ignored, except those of a
fault in the program itself: then Python prints where it was (faulthandler), and it ends.

The handlers are Python's, not the event loop's: they run even if the loop hangs. They only note the signal; the loop
does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn, Protocol

import structlog

log = structlog.get_logger("orchd.signals")

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
FAULTS = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
"""Those that `faulthandler.enable` handles. The watchdog of systemd sends SIGABRT, so the log shows where it hung."""

OTHER_FAULTS = (signal.SIGSYS, signal.SIGTRAP)
LEFT_ALONE = (
    *(signal.SIGKILL, signal.SIGSTOP),  # Nobody can handle these.
    *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),  # They do nothing to a program.
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),  # They stop it, as Ctrl-Z should.
    *(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores them: a write that fails says so.
)
INTERRUPTED = 130


class Daemon(Protocol):
    """What signals are passed on to."""

    def stop(self, why: str) -> None:
        """Begin an orderly end; returns at once."""
        ...

    def reload(self) -> None:
        """Read files again, soon."""
        ...

    @property
    def stopping(self) -> bool: ...

    def waiting_for(self) -> str:
        """Return in words what it still waits for before it ends."""
        ...


def end_at_once(prefix: str = "") -> NoReturn:
    """Print that orchd ends, and end the process with nothing else done. Safe in a signal handler.

    Args:
        prefix: of the printed line, such as the journal's priority.
    """
    line = (
        f"{prefix}orchd: ends at once, at the third Ctrl-C; jobs are cut, and runners that still run are left:"
        " the next start adopts them, `orchd down` removes them\n"
    )
    try:
        os.write(2, line.encode())
    finally:
        os._exit(INTERRUPTED)


class _Stack(ctypes.Structure):
    """What sigaltstack(2) takes."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def use_large_stack() -> None:
    """Have signals handled on a stack that many of them at once can't overflow.

    `faulthandler` gives the process a stack of its own for signals, of some 10 KiB, and Python runs all its handlers
    there. Signals that differ interrupt each other's handlers, each with a frame that holds all registers of the CPU
    (3 KiB and more): a burst of a few overflowed that stack, and the process died of SIGSEGV without a word.
    """
    stack = _Stack(ctypes.addressof(ctypes.c_char.from_buffer(_STACK)), 0, len(_STACK))
    ctypes.CDLL(None, use_errno=True).sigaltstack(ctypes.byref(stack), None)


_STACK = mmap.mmap(-1, 1024 * 1024)
"""Room for one frame of each of the 64 signals. Pages that are never used cost no memory."""


class Signals:
    """Passes signals on to the daemon.

    Args:
        loop: the event loop, which runs in the main thread.
        end: ends the process at once.
    """

    def __init__(self, daemon: Daemon, loop: asyncio.AbstractEventLoop, end: Callable[[], None] = end_at_once) -> None:
        self._daemon = daemon
        self._loop = loop
        self._end = end
        self._ends = 0
        self._interrupts_answered = 0

    def install(self) -> None:
        """Handle all signals, until the process ends."""
        if (stderr := _descriptor(sys.stderr)) is not None:
            faulthandler.enable(stderr)
            use_large_stack()
            for number in OTHER_FAULTS:
                faulthandler.register(number, stderr, chain=True)
        for one in handled():
            signal.signal(one, self.arrived)

    def arrived(self, number: int, _frame: FrameType | None = None) -> None:
        """Note a signal. Runs between two steps of what the main thread does."""
        if number in ENDING:
            self._ends += 1
            if self._ends > 1 and number == signal.SIGINT:
                self._interrupts_answered += 1
                if self._interrupts_answered > 1:
                    self._end()
        with contextlib.suppress(RuntimeError):  # The loop is closed: orchd is about to end anyway.
            self._loop.call_soon_threadsafe(self._take, number)

    def _take(self, number: int) -> None:
        name = signal_name(number)
        if number == signal.SIGHUP:
            self._daemon.reload()
        elif number not in ENDING:
            log.warning("signal_ignored", signal=name, reason="orchd has no use for it; SIGTERM ends it")
        elif not self._daemon.stopping:
            self._daemon.stop(name)
        else:
            hint = (
                "Ctrl-C once more ends orchd at once" if self._interrupts_answered else "Ctrl-C twice ends it at once"
            )
            log.warning("still_stopping", signal=name, waiting_for=self._daemon.waiting_for(), hint=hint)


def handled() -> Iterable[int]:
    """Return the signals that are handled: all that would end a program, except those of its own faults."""
    return sorted({int(number) for number in signal.valid_signals()} - {*LEFT_ALONE, *FAULTS, *OTHER_FAULTS})


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # One of the real-time signals between the first and the last.
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _descriptor(stream: object) -> int | None:
    try:
        number: int = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
    return number
