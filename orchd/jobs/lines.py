"""The log line of a job: `job_done`, one for each.

As JSON it is put together here, since the general way costs more than the whole rest of a job; a test compares the two.
"""

from __future__ import annotations

import asyncio
import json
import logging
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.outcomes import Outcome
from orchd.domain.redact import scrub
from orchd.errors import JobRefused
from orchd.http1.names import Memo
from orchd.jobs.run import Run
from orchd.logs import LineBuffer, UtcStamps, priority

LOGGER = "orchd.jobs"
log = structlog.get_logger(LOGGER)


class JobLines:
    """Writes the log line of each job; belongs to the loop in which it is made.

    Args:
        lines: where lines of JSON are written; None = as all other lines.
    """

    def __init__(self, lines: LineBuffer | None) -> None:
        self._lines = lines
        self._head = {level: _head(level, lines is not None and lines.journal) for level in set(_LEVEL.values())}
        self._soon = asyncio.get_running_loop().call_soon
        self._flushes = False  # `_flush` is due in this turn.
        self._stamps = UtcStamps()
        self._stamp = ""

    def done(self, run: Run, outcome: Outcome, refusal: JobRefused | None, total_s: float) -> None:
        level = _LEVEL[outcome]
        if self._lines is None:
            log.log(level, "job_done", **fields(run, outcome, refusal, total_s))
            return
        if level < self._lines.level:
            return
        transfer, session = run.transfer, run.session
        bytes_in, bytes_out = (transfer.up.moved, transfer.down.moved) if transfer is not None else (0, 0)
        if not (self._flushes and self._lines.waiting):
            self._stamp = self._stamps.now()  # All that are written together have the same.
        if not self._flushes:
            self._flushes = True
            self._soon(self._flush, self._lines)
        first = "null" if run.first_byte_s is None else _SECONDS[int(run.first_byte_s * 1e4 + 0.5)]
        held = f"{run.held_s:.4f}" if run.held_s else "0.0"
        if refusal is None:
            failure, status = '"code": "", "error": "", "reason": ""', run.status
        else:
            failure = f'"code": "{refusal.code}", "error": "{refusal.word}", "reason": {quoted(scrub(refusal.message))}'
            status = run.status or run.door.told_status(refusal)
        self._lines.waiting.append(
            f'{self._head[level]}"request_id": {quoted(run.request_id)}, {_MODEL[run.key]}, '
            f'"replica": {"null" if session is None else session.runner.replica}, "outcome": "{_WORD[outcome]}", '
            f'{failure}, "status": {status}, "bytes_in": {bytes_in}, "bytes_out": {bytes_out}, '
            f'"held_s": {held}, "first_byte_s": {first}, "total_s": {_SECONDS[int(total_s * 1e4 + 0.5)]}, '
            f'"logger": "{LOGGER}", "timestamp": "{self._stamp}"}}\n'
        )

    def _flush(self, lines: LineBuffer) -> None:
        self._flushes = False
        lines.flush()


def fields(run: Run, outcome: Outcome, refusal: JobRefused | None, total_s: float) -> dict[str, Any]:
    """Return what the line says."""
    transfer, session = run.transfer, run.session
    return {
        "request_id": run.request_id,
        "pipeline": run.key.pipeline if run.key else "",
        "model_id": run.key.model_id if run.key else "",
        "replica": session.runner.replica if session else None,
        "outcome": str(outcome),
        "code": str(refusal.code) if refusal else "",
        "error": str(refusal.word) if refusal else "",
        "reason": refusal.message if refusal else "",
        "status": run.status or (run.door.told_status(refusal) if refusal else 0),
        "bytes_in": transfer.up.moved if transfer else 0,
        "bytes_out": transfer.down.moved if transfer else 0,
        "held_s": round(run.held_s, 4),
        "first_byte_s": None if run.first_byte_s is None else round(run.first_byte_s, 4),
        "total_s": round(total_s, 4),
    }


def _model(key: ModelKey | None) -> str:
    pipeline, model_id = (key.pipeline, key.model_id) if key is not None else ("", "")
    return f'"pipeline": {json.dumps(pipeline)}, "model_id": {json.dumps(model_id)}'


def _head(level: int, journal: bool) -> str:
    """Return how a line begins."""
    word = logging.getLevelName(level).lower()
    return f'{priority(level) if journal else ""}{{"event": "job_done", "level": "{word}", '


_EXPECTED = (Outcome.OK, Outcome.REFUSED, Outcome.CLIENT_GONE)
"""Outcomes that say nothing bad about us or our runners: anybody can bring them about, as often as they like."""

_LEVEL = {outcome: logging.INFO if outcome in _EXPECTED else logging.WARNING for outcome in Outcome}

_WORD = {outcome: str(outcome) for outcome in Outcome}
"""Members of enums are slow to format."""

_SECONDS: Memo[int, str] = Memo(lambda ticks: f"{ticks / 1e4:.4f}")
"""Text of seconds by tenths of a millisecond: to write a float takes longer than to look it up."""

_MODEL: Memo[ModelKey | None, str] = Memo(_model)
