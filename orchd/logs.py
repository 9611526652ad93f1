"""How orchd logs: structlog's set-up, made once per process before the daemon starts.

One line per event: JSON, or readable text on a terminal. What libraries log through `logging` (aiohttp, docker,
asyncio) passes the same processors, from WARNING up. Secrets are removed last, just before a line is rendered.

Where the stream is the journal's, each line begins with its priority, such as `<4>` (sd-daemon(3)), so that
`journalctl -p warning` finds what matters.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orchd.domain.model import Secret
from orchd.domain.redact import REDACTED, is_clean, is_secret_name, scrub

_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
"""Makes control characters visible: a line of text stays one line, and can't steer the terminal."""


_ENCODER = json.JSONEncoder(default=repr)
"""Made once: `json.dumps` would make one for each line. `redact` leaves little to `default`."""


def priority(level: int) -> str:
    """Return the prefix that tells the journal the priority of a line: `<3>` (error) to `<7>` (debug)."""
    return f"<{next(number for least, number in _PRIORITIES if level >= least)}>"


_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
"""Syslog's numbers, by the least level of each."""


class LineBuffer:
    """A buffer for finished lines: those of one turn of the event loop are written together.

    For lines that are written thousands of times a second. They go to the same stream as all others, in order.

    Attributes:
        waiting: lines with their line ends. Who adds some must have `flush` called after it, whatever waits already:
            another thread may just be taking that.
        journal: each line begins with `priority`.
        level: the lowest level that is written, as a number of `logging`.
    """

    def __init__(self, stream: TextIO, *, journal: bool, level: int) -> None:
        self._stream = stream
        self.journal = journal
        self.level = level
        self.waiting: list[str] = []
        self._lock = threading.RLock()  # A signal's handler may log, too.

    def flush(self) -> None:
        """Write what is waiting. Safe to call from any thread."""
        waiting = self.waiting
        with self._lock:
            lines = waiting[:]
            if not lines:
                return
            del waiting[: len(lines)]  # Another thread may have added one meanwhile.
            text = "".join(lines)
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:  # A log that can't be written must not stop jobs; `logging` ignores this, too.
                return

    def write(self, text: str, level: int) -> None:
        """Write a finished text now, after what is waiting. `level`: as a number of `logging`."""
        if self.journal:  # Each line of a traceback is an entry of its own.
            prefix = priority(level)
            text = "\n".join(prefix + line for line in text.split("\n"))
        self.waiting.append(text + "\n")
        self.flush()


class _LineHandler(logging.Handler):
    """Writes what libraries log."""

    def __init__(self, lines: LineBuffer) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.write(self.format(record), record.levelno)
        except Exception:  # noqa: BLE001 - as the handlers of `logging` do
            self.handleError(record)


class _OwnLogger:
    """What structlog gives orchd's own lines to once they are rendered, under the names that it calls.

    A logger of `logging` would make a record of each, find out who called, and render it a second time: that takes
    longer than all the rest, and a file of a thousand models writes two thousand lines.
    """

    __slots__ = ("_lines", "name")

    def __init__(self, lines: LineBuffer, name: str) -> None:
        self._lines = lines
        self.name = name

    def debug(self, text: str) -> None:
        self._lines.write(text, logging.DEBUG)

    def info(self, text: str) -> None:
        self._lines.write(text, logging.INFO)

    def warning(self, text: str) -> None:
        self._lines.write(text, logging.WARNING)

    def error(self, text: str) -> None:
        self._lines.write(text, logging.ERROR)

    def critical(self, text: str) -> None:
        self._lines.write(text, logging.CRITICAL)


def configure_logs(
    format: Literal["auto", "json", "text"], level: str, stream: TextIO, *, journal: bool = False
) -> LineBuffer | None:
    """Send all logs to `stream`: ours from `level` (`debug` ... `error`) up, those of libraries from WARNING up.

    Args:
        journal: `stream` is the journal's.

    Returns:
        Where finished lines of JSON are to be written; None = lines are made for people.
    """
    terminal = stream.isatty()
    as_text = format == "text" or (format == "auto" and terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False) if as_text else _stamped,
    ]
    last: list[Processor] = (
        [
            _one_line,
            structlog.dev.ConsoleRenderer(
                colors=terminal and not os.environ.get("NO_COLOR"),
                exception_formatter=structlog.dev.plain_traceback,
                sort_keys=False,
            ),
        ]
        if as_text
        else [_event_first, _as_json]
    )
    lines = LineBuffer(stream, journal=journal, level=logging.getLevelNamesMapping()[level.upper()])
    # As plain text: prettier formatters print local variables, and those hold secrets.
    rendered: list[Processor] = [structlog.processors.format_exc_info, redact, *last]
    handler = _LineHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, *rendered],
        logger_factory=partial(_OwnLogger, lines),
    )
    set_level(level, lines)
    return None if as_text else lines


def set_level(level: str, lines: LineBuffer | None) -> None:
    """Write orchd's own lines from `level` up from now on, those in `lines` too."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(threshold))
    if lines is not None:
        lines.level = threshold


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove `Secret`s, values under names such as `token`, and whatever looks like an `Authorization` value."""
    # All texts are looked at together first: nearly always there is nothing to remove.
    clean = is_clean("\n".join([value for value in event.values() if isinstance(value, str)]))
    return {
        name: REDACTED if is_secret_name(name) else value if clean and isinstance(value, str) else _clean(value)
        for name, value in event.items()
    }


def _clean(value: Any) -> Any:
    match value:
        case str():
            return scrub(value)
        case Secret():
            return REDACTED
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {
                name: REDACTED if isinstance(name, str) and is_secret_name(name) else _clean(inner)
                for name, inner in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_clean(inner) for inner in value]
        case _:
            return scrub(repr(value) if not isinstance(value, os.PathLike) else str(value))


def _event_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What happened, and how bad it is, is what a reader looks for in a long line."""
    return {"event": event["event"], "level": event["level"], **event}


class UtcStamps:
    """Makes time stamps such as `2026-11-30T12:00:00.123456Z`; each second is formatted once."""

    def __init__(self) -> None:
        self._last = 0, ""  # In one: other threads ask, too.

    def now(self) -> str:
        """Return one of now."""
        now = time.time()
        second, text = self._last
        if int(now) != second:
            second = int(now)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._last = second, text
        return f"{text}.{int((now - second) * 1e6):06d}Z"


_STAMPS = UtcStamps()


def _stamped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = _STAMPS.now()
    return event


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _ENCODER.encode(event)


def _one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {
        name: value.translate(_VISIBLE) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }
