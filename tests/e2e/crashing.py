"""`orchd run` that ends by SIGKILL right before or right after one chosen call of a runtime or of the store.

The folder ORCHD_TEST_KILL holds `armed`: one line, a free word and the moment to die at, such as `17 after:start:1`
(after the first `start` since this line was written) or `17 never`. Every moment that passes goes to the file `passed`
of that folder, which begins anew with each new line; so a run that never dies lists all moments that there are.

The calls are those of the runtime under test: containers if the engine is enabled, else processes.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import orchd.cli.daemon
from orchd.app import Instead
from orchd.catalog.part import CatalogPart
from orchd.cli import main
from orchd.domain.model import RunnerKind
from orchd.domain.ports import Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.stores import ModelStore
from orchd.runtime.part import RuntimesPart

CALLS = frozenset(
    {"open", "sightings", "prepare", "start", "resume", "stop", "remove", "tail", "keep_log"}
    | {"models", "save_models", "forget_generations"}
)

T = TypeVar("T")


class Injector:
    """Counts calls by name, and ends the process at the armed moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._armed = ""
        self._counts: Counter[str] = Counter()

    async def call(self, name: str, made: Callable[..., Awaitable[T]], *args: Any) -> T:
        armed = (self._folder / "armed").read_text()
        if armed != self._armed:
            self._armed = armed
            self._counts.clear()
            (self._folder / "passed").write_text("")
        self._counts[name] += 1
        number = self._counts[name]
        self._pass(armed, f"before:{name}:{number}")
        result = await made(*args)
        self._pass(armed, f"after:{name}:{number}")
        return result

    def _pass(self, armed: str, moment: str) -> None:
        if armed != self._armed:
            return  # The call began before this line was written.
        if armed.split()[1] == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        with (self._folder / "passed").open("a") as passed:
            passed.write(f"{moment}\n")


class Watched:
    """Passes everything on; calls go through the injector."""

    def __init__(self, inner: Any, injector: Injector) -> None:
        self._inner = inner
        self._injector = injector

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        return functools.partial(self._injector.call, name, attribute) if name in CALLS else attribute


def crashing_parts(injector: Injector) -> Instead:
    """Return the parts whose calls go through the injector."""

    class WatchedRuntimes(RuntimesPart):
        def make(self) -> Mapping[RuntimeId, Runtime]:
            made = dict(super().make())
            container, process = RuntimeId(RunnerKind.CONTAINER), RuntimeId(RunnerKind.PROCESS)
            id = container if container in made else process
            return made | {id: cast(Runtime, Watched(made[id], injector))}

    class WatchedCatalog(CatalogPart):
        def make_store(self) -> ModelStore:
            return cast(ModelStore, Watched(super().make_store(), injector))

    return {RuntimesPart: WatchedRuntimes, CatalogPart: WatchedCatalog}


def crash(folder: Path) -> int:
    """Run the command line with these parts in place of orchd's own."""
    instead = crashing_parts(Injector(folder))
    orchd.cli.daemon.run_daemon = functools.partial(orchd.cli.daemon.run_daemon, instead=instead)
    return main()


if __name__ == "__main__":
    sys.exit(crash(Path(os.environ["ORCHD_TEST_KILL"])))
