"""What `orchd down` does where no daemon runs: it ends what `keep` or a kill left, and says what it can't know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from orchd.catalog.tables import ModelTable
from orchd.cli.offered import take_back_offers
from orchd.database.beside import DATABASE
from orchd.database.database import Database
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model, StopSpec
from orchd.domain.ports import Runtime, Sighting
from orchd.domain.redact import secrets_of
from orchd.domain.runs import EndedRun
from orchd.domain.runtime_id import RuntimeId
from orchd.errors import EngineUnavailable, OrchdError, RunnersLeft
from orchd.locks import StateLock
from orchd.node.tables import SecretTable
from orchd.runtime.make import make_runtimes
from orchd.runtime.process.marks import Marks
from orchd.settings.files import resolve_state_dir
from orchd.settings.tree import Settings

MakeRuntimes = Callable[[Settings, Path], Mapping[RuntimeId, Runtime]]
Known = Mapping[tuple[ModelKey, str], Model]


async def end_leftovers(
    settings: Settings, env: Mapping[str, str], tell: Callable[[str], None], make: MakeRuntimes = make_runtimes
) -> None:
    """Stop and remove every runner of ours while no daemon runs; before that, have the node offer none of them.

    Raises:
        AlreadyRunning: a daemon does run; it must be asked instead.
        RunnersLeft: some may still run; whatever could be ended is ended.
    """
    state_dir = resolve_state_dir(settings.state_dir, env)
    left: list[str] = []
    async with AsyncExitStack() as stack:
        known: Known = {}
        if state_dir.is_dir():  # Else nothing is made there: it may well be a slip.
            lock = StateLock(state_dir)
            lock.acquire()
            stack.callback(lock.release)
        if (state_dir / DATABASE).exists():
            database = Database(state_dir / DATABASE)
            stack.push_async_callback(database.close)
            await database.open()
            known = {(s.model.key, s.generation): s.model for s in await ModelTable(database).models()}
            await take_back_offers(settings, env, SecretTable(database), tell)
        else:
            left.append(
                f"whatever runs under another state directory: there is no {DATABASE} in {state_dir}, so no orchd "
                "has run with this one (name the daemon's with --state-dir)"
            )
        for runtime in make(settings, state_dir).values():
            stack.push_async_callback(runtime.close)
            left += await _end_all(runtime, known, tell)
    left += map(str, Marks(settings.instance, state_dir).elsewhere())
    if left:
        raise RunnersLeft(left)


async def _end_all(runtime: Runtime, known: Known, tell: Callable[[str], None]) -> list[str]:
    """End all that a runtime shows, at the same time; return what may still run."""
    try:
        await runtime.open()
        found = await runtime.sightings()
    except EngineUnavailable as exc:
        if any(model.kind is runtime.id.kind for model in known.values()):
            return [f"any {runtime.id}: {exc.message}"]
        tell(f"{runtime.id} runners were not looked for, since no model is one: {exc.message}")
        return []

    async def end(seen: Sighting) -> str:
        model = known.get((seen.runner.key, seen.runner.generation))
        tell(f"stopping {seen.runner.key} ({runtime.id} {seen.handle[:12]})")
        try:
            report = await runtime.stop(seen.handle, model.stop if model else StopSpec())
            if model is not None:  # Else nobody knows its secrets.
                run = EndedRun(seen.runner, time.time(), "`orchd down` ended it while no daemon ran")
                await runtime.keep_log(seen.handle, run, secrets_of(model))
            await runtime.remove(seen.handle)
        except OrchdError as exc:
            return f"{seen.runner.key} ({runtime.id} {seen.handle[:12]}): {exc.message}"
        tell(f"removed {seen.runner.key} ({report.how})")
        return ""

    return [failure for failure in await asyncio.gather(*map(end, found)) if failure]
