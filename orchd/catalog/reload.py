"""The file as the daemon sees it: each reading becomes a DesiredState in which nothing good is lost.

The caller keeps `last_good()` in the store and tells the loop; see docs/reference/aiModels.md for the rules.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import structlog

from orchd.call_within import call_within
from orchd.catalog.files import (
    READ_TIMEOUT_S,
    Content,
    hangs,
    host_lacks,
    mounted_alone,
    read_models_file,
    side_reader,
    unreadable,
)
from orchd.catalog.keep import merge
from orchd.catalog.launch import NOTHING_RUNS, FileContext
from orchd.catalog.reading import Reading, understand
from orchd.catalog.watch import ModelsFile
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.state import DesiredState, Problem, Severity
from orchd.errors import Code

log = structlog.get_logger("orchd.catalog")

_LOGGED = 100
"""Problems of one reading that are logged one by one."""


_MAY_PASS = (Code.FILE_UNREADABLE, Code.SECRET_UNREADABLE, Code.VOLUME_MISSING)
"""Errors whose cause lies outside the file, so that they may pass without an edit of it."""


class Catalog:
    """Reads the file at start and whenever it changes.

    Args:
        last_good: definitions of the last run, from the store.
        credentials: `$CREDENTIALS_DIRECTORY`, where relative `token_file`s are looked for first.
        strict: unknown keys are errors.
    """

    def __init__(
        self,
        file: ModelsFile,
        last_good: Iterable[Model] = (),
        credentials: Path | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self._file = file
        self._credentials = credentials
        self._strict = strict
        self._state = DesiredState({model.key: model for model in last_good})
        self._logged: tuple[Problem, ...] | None = None

    def last_good(self) -> tuple[Model, ...]:
        """Return the definitions to save: what resolved, and what is held over."""
        return tuple(self._state.models.values())

    async def load(self) -> DesiredState:
        """Read the file now and return what is desired. Never raises for what is in it or wrong with it."""
        return await self._take(await self._file.read())

    def again(self) -> None:
        """Have `changes` read the file again with all that its entries name, though it may not have changed."""
        self._file.again()

    async def changes(self) -> AsyncGenerator[DesiredState, None]:
        """Yield what is desired, each time that the file's content has changed since it was last read; for ever."""
        async for content in self._file.changes():
            before, retry = self._state, self._file.retry
            state = await self._take(content)
            if not (retry and state == before):
                yield state

    def close(self) -> None:
        """Wait for nothing that still hangs."""
        self._file.close()

    async def _take(self, content: Content | Problem) -> DesiredState:
        before, last_good = self._state, self._state.models
        path, strict, retry = self._file.path, self._strict, self._file.retry
        try:
            reading = await self._file.apart(
                lambda: read_content(path, content, self._credentials, strict=strict, last_good=last_good)
            )
        except TimeoutError:
            reading = Reading(problems=(unreadable(path, hangs(self._file.timeout_s)),))
        self._file.retry = any(problem.code in _MAY_PASS for problem in reading.problems if _is_error(problem))
        self._state = merge(reading, last_good, before.file_hash)
        if not (retry and self._state == before):
            self._log(reading, self._state)
        return self._state

    def _log(self, reading: Reading, state: DesiredState) -> None:
        file = str(self._file.path)
        if state.problems != self._logged:
            for problem in state.problems[:_LOGGED]:
                level = logging.ERROR if problem.severity is Severity.ERROR else logging.WARNING
                about = {"pipeline": problem.key.pipeline, "model_id": problem.key.model_id} if problem.key else {}
                log.log(level, "models_file_problem", problem=str(problem), code=problem.code.value, **about)
            if (more := len(state.problems) - _LOGGED) > 0:
                log.warning("models_file_problems_left_out", file=file, count=more)
        self._logged = state.problems
        counts = {
            "models": len(state.models),
            "held_over": sorted(map(str, state.held_over)),
            "errors": reading.count(Severity.ERROR),
            "warnings": reading.count(Severity.WARNING),
        }
        if reading.usable:
            log.info("models_file_applied", file=file, hash=reading.file_hash, **counts)
        else:
            log.error("models_file_refused", file=file, **counts)


def read_content(
    path: Path,
    content: Content | Problem,
    credentials: Path | None,
    *,
    strict: bool = False,
    last_good: Mapping[ModelKey, Model] = NOTHING_RUNS,
) -> Reading:
    """Return what the content of the file at `path` asks for. Blocks while it reads the files that entries name.

    Args:
        strict, last_good: as in `FileContext`.
    """
    if isinstance(content, Problem):
        return Reading(problems=(content,))
    folder = path.absolute().parent
    alone = mounted_alone(path)
    context = FileContext(
        str(path),
        str(folder),
        side_reader(folder, credentials),
        readable_by_others=content.readable_by_others,
        last_good=last_good,
        strict=strict,
        lacks=host_lacks(os.environ),
    )
    reading = understand(content.data, context)
    return replace(reading, problems=(alone, *reading.problems)) if alone else reading


def read_file(
    path: Path,
    credentials: Path | None,
    *,
    strict: bool,
    last_good: Iterable[Model] = (),
    timeout_s: float = READ_TIMEOUT_S,
) -> Reading:
    """Return what the file at `path` asks for, for a command: blocks, but no longer than `timeout_s`.

    Args:
        strict, last_good: as in `FileContext`.
    """
    known = {model.key: model for model in last_good}
    try:
        return call_within(
            lambda: read_content(path, read_models_file(path), credentials, strict=strict, last_good=known), timeout_s
        )
    except TimeoutError:
        return Reading(problems=(unreadable(path, hangs(timeout_s)),))


def _is_error(problem: Problem) -> bool:
    return problem.severity is Severity.ERROR
