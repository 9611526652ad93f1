"""Makes `tests/data/releases/COMMIT/`: what a released orchd leaves behind, for the tests of an upgrade.

Run it with that release's code and this repository's environment, from the repository's root:

    git worktree add /tmp/former 6df4ce4
    PYTHONPATH=/tmp/former .venv/bin/python tests/upgrade/former_release.py 6df4ce4

It writes `orchd.db`, the store after the models file has applied and an edit of it is under way, and `runners.json`:
name, labels and create body of each container, and each process, that this release had running then. `aiModels.json`
is the file that it read, written by hand: give every field of an entry a value there that is not its default.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchd.catalog.launch import FileContext
from orchd.catalog.reading import understand
from orchd.catalog.tables import ModelTable
from orchd.database.database import Database
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import ContainerLaunch, Model
from orchd.node.tables import SecretTable
from orchd.realtime.tables import StreamTable
from orchd.runtime.docker import spec
from orchd.runtime.docker.settings import DockerSettings

try:
    from orchd.domain.stores import StoredStream
except ImportError:  # 0.1.0 had it elsewhere.
    from orchd.domain.ports import StoredStream  # type: ignore[attr-defined, no-redef]

FOLDER = "/etc/orchd"
INSTANCE = "orchd"
SIDE_FILES = {"caption.env": "TOKENIZER=fast\nHF_TOKEN=planted-hf-token\n", "small.token": "planted-runner-token\n"}


def side_file(name: str) -> str:
    """Return the content of a file that an entry names."""
    return SIDE_FILES[name]


def models_of(data: bytes) -> dict[ModelKey, Model]:
    """Return what the release makes of the models file."""
    reading = understand(data, FileContext(f"{FOLDER}/aiModels.json", FOLDER, side_file))
    if bad := [str(problem) for problem in reading.problems if problem.severity == "error"]:
        raise SystemExit("\n".join(bad))
    return dict(reading.models)


def runners_of(model: Model) -> list[dict[str, Any]]:
    """Return each runner of `model` as its runtime remembers it."""
    found = []
    for replica in range(model.replicas if model.managed else 0):
        runner = RunnerId(model.key, replica, model.generation)
        remembered: dict[str, Any] = {"key": list(model.key), "replica": replica, "generation": model.generation}
        if isinstance(model.launch, ContainerLaunch):
            body = spec.create_body(INSTANCE, runner, model.launch, DockerSettings(), gpu_ids=(), publish=False)
            remembered |= {"name": spec.container_name(INSTANCE, runner), "labels": body["Labels"]}
        found.append(remembered)
    return found


async def write_store(path: Path, current: list[Model], former: Model, streaming: Model) -> None:
    database = Database(path)
    await database.open()
    await ModelTable(database).save_models((former,))
    await ModelTable(database).save_models(tuple(current))
    await SecretTable(database).save_secret("route key", "5e" * 32)
    runner = RunnerId(streaming.key, 0, streaming.generation)
    await StreamTable(database).save_stream(StoredStream("stream-1", "direct", runner, 1_700_000_000.5))
    await database.close()


def main(commit: str) -> None:
    target = Path(__file__).parents[1] / "data" / "releases" / commit
    models = models_of((target / "aiModels.json").read_bytes())
    edited = next(m for m in models.values() if isinstance(m.launch, ContainerLaunch) and m.warm and m.replicas == 1)
    assert isinstance(edited.launch, ContainerLaunch)
    former = replace(edited, launch=replace(edited.launch, image="docker.io/acme/former:1"))
    streaming = next(m for m in models.values() if m.key.pipeline == "live-video-to-video")
    (target / "orchd.db").unlink(missing_ok=True)
    asyncio.run(write_store(target / "orchd.db", list(models.values()), former, streaming))
    runners = [each for model in (*models.values(), former) for each in runners_of(model)]
    (target / "runners.json").write_text(json.dumps(runners, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
