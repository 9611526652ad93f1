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
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from orchd.domain.model import Secret
from orchd.domain.redact import REDACTED, is_secret_name, scrub

OURS = "orchd"

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
        waiting: lines with their line ends. Who adds the first one must have `flush` called soon.
        journal: each line begins with `priority`.
        level: the lowest level that is written, as a number of `logging`.
    """

    def __init__(self, stream: TextIO, *, journal: bool, level: int) -> None:
        self._stream = stream
        self.journal = journal
        self.level = level
        self.waiting: list[str] = []

    def flush(self) -> None:
        """Write what is waiting."""
        if self.waiting:
            text = "".join(self.waiting)
            self.waiting.clear()
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:  # A log that can't be written must not stop jobs; `logging` ignores this, too.
                return


class _LineHandler(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO, lines: LineBuffer) -> None:
        super().__init__(stream)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.flush()
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._lines.journal:
            return text
        prefix = priority(record.levelno)  # Each line of a traceback is an entry of its own.
        return "\n".join(prefix + line for line in text.split("\n"))


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
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if as_text else "iso", utc=not as_text),
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
    handler = _LineHandler(stream, lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # As plain text: prettier formatters print local variables, and those hold secrets.
                structlog.processors.format_exc_info,
                redact,
                *last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    set_level(level, lines)
    return None if as_text else lines


def set_level(level: str, lines: LineBuffer | None) -> None:
    """Write orchd's own lines from `level` up from now on, those in `lines` too."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger(OURS).setLevel(threshold)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(threshold))
    if lines is not None:
        lines.level = threshold


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove `Secret`s, values under names such as `token`, and whatever looks like an `Authorization` value."""
    return {name: REDACTED if is_secret_name(name) else _clean(value) for name, value in event.items()}


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


def _as_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _ENCODER.encode(event)


def _one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {
        name: value.translate(_VISIBLE) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }
