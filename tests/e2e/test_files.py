"""aiModels.json under real edits, good and bad, while a model serves: no job of it ever fails."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchd.tasks import cancel, spawn
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import process

SERVING = process("serving", maxSessions=2)


class Served:
    """A daemon whose model `serving` is asked all the time.

    Attributes:
        statuses: of the answers so far.
    """

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.statuses: Counter[int] = Counter()

    async def ask(self) -> None:
        while True:
            status, _, _ = await self.daemon.job("serving", body=b"x" * 1000)
            self.statuses[status] += 1

    async def still(self) -> None:
        """Wait for some more answers, and see that all were good and came from the one runner of the start."""
        before = self.statuses.total()
        await self.daemon.until("more jobs are answered", lambda: self.statuses.total() >= before + 5)
        assert set(self.statuses) == {200}
        [runner] = (await self.daemon.model("serving"))["runners"]
        assert (runner["state"], runner["restarts"]) == ("ready", 0)

    async def refused(self, words: str) -> dict[str, Any]:
        """Wait until the file is refused in these words, in /status and as a metric; everything serves on."""

        async def said() -> bool:
            status = await self.daemon.status()
            return not status["file"]["ok"] and any(words in problem["text"] for problem in status["problems"])

        await self.daemon.until(f"the file is refused: {words}", said)
        assert await self.daemon.metric("orchd_reload_success") == 0
        assert await self.daemon.metric("orchd_file_problems", severity="error") >= 1
        await self.still()
        return await self.daemon.status()

    async def applied(self, model_id: str) -> None:
        """Wait until this model serves too, and the file is good again."""
        await self.daemon.until_state(model_id, "ready")
        status = await self.daemon.status()
        assert status["file"]["ok"]
        assert not [problem for problem in status["problems"] if problem["severity"] == "error"]
        assert await self.daemon.metric("orchd_reload_success") == 1
        assert await self.daemon.metric("orchd_file_problems", severity="error") == 0
        assert (await self.daemon.job(model_id))[0] == 200
        await self.still()


@pytest.fixture
async def served(make: Start) -> AsyncIterator[Served]:
    """Only the poll of the file is slow here: what is seen soon is seen by the file system's word."""
    daemon = make(settings={"models_poll_s": "20"})
    daemon.write(SERVING)
    async with daemon:
        await daemon.until_state("serving", "ready")
        served = Served(daemon)
        asking = spawn(served.ask(), name="jobs all the time")
        await served.still()
        yield served
        await served.still()
        await cancel(asking)


def text(*entries: dict[str, Any]) -> str:
    return json.dumps(entries, indent=2)


async def test_torn_writes(served: Served) -> None:
    """A writer that dies at any byte changes nothing; the whole file applies."""
    whole = text(SERVING, process("new"))
    for at in sorted(random.Random(7).sample(range(1, len(whole) - 1), 4)):
        served.daemon.models.write_text(whole[:at])
        status = await served.refused(f"{served.daemon.models}:")
        [problem] = status["problems"]
        assert problem["line"] >= 1
        assert problem["column"] >= 1
    served.daemon.models.write_text(whole)
    await served.applied("new")


async def test_a_slow_writer(served: Served) -> None:
    """Written in place piece by piece, each piece on the disk: at its end the file applies."""
    whole = text(SERVING, process("new"))
    with served.daemon.models.open("w") as file:
        for at in range(0, len(whole), 100):
            file.write(whole[at : at + 100])
            file.flush()
            os.fsync(file.fileno())
            await asyncio.sleep(0)
    await served.applied("new")


async def test_an_emptied_file(served: Served) -> None:
    served.daemon.models.write_text("")
    await served.refused("empty")
    served.daemon.models.write_text(text(SERVING, process("new")))
    await served.applied("new")


async def test_renames(served: Served) -> None:
    """As editors save: moved away and written anew, or replaced by one that was written beside it."""
    daemon = served.daemon
    daemon.models.rename(daemon.models.with_suffix(".bak"))
    await served.refused("cannot read the file: No such file or directory")
    daemon.models.write_text(text(SERVING, process("one")))
    await served.applied("one")
    daemon.write(SERVING, process("two"))
    await served.applied("two")
    daemon.models.with_suffix(".bak").replace(daemon.models)
    await daemon.until_model("two", "is gone again", lambda m: not m)


async def test_delete_and_create_again(served: Served) -> None:
    for name in ("one", "two"):
        served.daemon.models.unlink()
        await served.refused("cannot read the file: No such file or directory")
        served.daemon.models.write_text(text(SERVING, process(name)))
        await served.applied(name)


async def test_the_whole_folder_replaced(served: Served) -> None:
    folder = served.daemon.folder / "etc"
    folder.mkdir()
    (folder / "models.json").write_text(text(SERVING))
    served.daemon.models.unlink()
    served.daemon.models.symlink_to(folder / "models.json")
    for name in ("one", "two"):
        await served.daemon.until("the file is well", lambda: _ok(served.daemon))
        folder.rename(folder.with_name(f"away-{name}"))
        await served.refused("cannot read the file: No such file or directory")
        folder.mkdir()
        (folder / "models.json").write_text(text(SERVING, process(name)))
        await served.applied(name)


async def _ok(daemon: Daemon) -> bool:
    return bool((await daemon.status())["file"]["ok"])


async def test_symlink_swaps_as_kubernetes_does_them(served: Served) -> None:
    """aiModels.json -> ..data/aiModels.json, ..data -> a folder that is swapped atomically."""
    root = served.daemon.folder / "mount"

    def version(name: str, content: str) -> None:
        (root / name).mkdir(parents=True)
        (root / name / "aiModels.json").write_text(content)
        (root / "..new").symlink_to(name)
        (root / "..new").rename(root / "..data")

    version("1", text(SERVING, process("one")))
    (root / "aiModels.json").symlink_to("..data/aiModels.json")
    draft = served.daemon.models.with_suffix(".new")
    draft.symlink_to(root / "aiModels.json")
    draft.rename(served.daemon.models)
    await served.applied("one")
    version("2", "[{]")
    await served.refused("cannot ")
    version("3", text(SERVING, process("three")))
    await served.applied("three")


@pytest.mark.parametrize("kind", ["bytes", "braces", "spaces"])
async def test_10_mb_of_garbage(served: Served, kind: str) -> None:
    """Refused, told in a few words, and forgotten with the next good file."""
    size = 10_000_000
    garbage = {"bytes": random.Random(1).randbytes(size), "braces": b"[" * size, "spaces": b" " * size}[kind]
    served.daemon.models.write_bytes(garbage)
    status = await served.refused("cannot ")
    assert len(json.dumps(status["problems"])) < 2000
    assert all(len(line) < 5000 for line in served.daemon.log_text().splitlines())
    served.daemon.write(SERVING, process("new"))
    await served.applied("new")


async def test_what_is_no_file_at_all(served: Served, tmp_path: Path) -> None:
    """A folder, a pipe nobody writes to, a file without a right to read it (where that counts)."""
    models = served.daemon.models
    models.unlink()
    models.mkdir()
    await served.refused("cannot read the file: ")
    models.rmdir()
    os.mkfifo(models)
    await served.refused("cannot read the file: it is not a regular file")
    models.unlink()
    served.daemon.write(SERVING, process("new"))
    await served.applied("new")


async def test_a_bad_entry_leaves_the_others_alone(served: Served) -> None:
    """The bad one runs on as it was, others come and go; the place is named."""
    daemon = served.daemon
    daemon.write(process("serving", maxSessions="two"), process("new"))
    await daemon.until_state("new", "ready")
    model = await daemon.until_model("serving", "runs from its last good definition", lambda m: m["held_over"])
    assert model["ready"]
    status = await daemon.status()
    assert status["file"]["ok"], "the file applied; one entry of it did not"
    [problem] = [one for one in status["problems"] if one["severity"] == "error"]
    assert (problem["model_id"], problem["field"]) == ("serving", "maxSessions")
    assert await daemon.metric("orchd_file_problems", severity="error") == 1
    for name in ("orchd_entry_errors", "orchd_model_held_over"):
        assert (await daemon.metric(name), await daemon.metric(name, model_id="serving")) == (1, 1)
    await served.still()
    assert await daemon.metric("orchd_converged") == 1
    daemon.write(SERVING)
    await daemon.until_model("serving", "is itself again", lambda m: not m["held_over"])
    assert await daemon.metric("orchd_entry_errors") + await daemon.metric("orchd_model_held_over") == 0


async def test_many_edits_in_a_row_end_in_the_last(served: Served) -> None:
    for n in range(40):
        served.daemon.write(SERVING, process(f"m{n}"))
        await asyncio.sleep(0)
    await served.applied("m39")
    assert {model["model_id"] for model in (await served.daemon.status())["models"] if not model["leaving"]} == {
        "serving",
        "m39",
    }


async def test_a_file_on_a_mount_that_reports_nothing_is_polled(make: Start) -> None:
    """Where no change is reported, the poll sees it. Here the daemon is told to poll, by watchfiles' own variable."""
    daemon = make(
        settings={"models_poll_s": "0.5"}, env={"WATCHFILES_FORCE_POLLING": "1", "WATCHFILES_POLL_DELAY_MS": "3600000"}
    )
    async with daemon:
        daemon.write(process("m"))
        await daemon.until_state("m", "ready")
