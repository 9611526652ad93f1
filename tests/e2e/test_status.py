"""`orchd status` of real daemons: what serves and what crashes, and what is known after the daemon was killed."""

from __future__ import annotations

import json
from pathlib import Path

import docker
import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import PIPELINE, container, process

PLANTED = "planted-5fd2c01b9e"
CRASHING = ["sh", "-c", f"echo CUDA error, {PLANTED}; exit 3"]


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


async def status(daemon: Daemon, *words: str) -> tuple[int, str]:
    return await daemon.command("status", *words, *daemon.flags("admin.listen", "state_dir"))


async def until_shown(daemon: Daemon, text: str, *words: str) -> str:
    """Wait until the page has `text`, and return it."""
    found = [""]

    async def shown() -> bool:
        found[0] = (await status(daemon, *words))[1]
        return text in found[0]

    await daemon.until(f"status says {text!r}", shown)
    return found[0]


async def test_processes_that_serve_and_crash_are_shown_worst_first_and_known_after_a_kill(make: Start) -> None:
    daemon = make()
    daemon.write(process("ok"), process("crash", command=CRASHING, env={"API_TOKEN": PLANTED}))
    async with daemon:
        page = await until_shown(daemon, "2 models: 1 ready, 1 can't serve;")
        assert page.index(f"{PIPELINE}/crash") < page.index(f"{PIPELINE}/ok")
        assert (await status(daemon))[0] == 1
        assert (await status(daemon, "ok"))[0] == 0
        [runner] = json.loads((await status(daemon, "ok", "--json"))[1])["models"][0]["runners"]
        assert f"ORCHD_INSTANCE={daemon.instance}" in environment_of(runner["process"]["pid"])
        crashed = await until_shown(daemon, "it exited with code 3", "crash")
        assert f"orchd logs {PIPELINE}/crash" in crashed
        assert "CUDA error, ***" in await until_shown(daemon, "before it last failed", "crash")
        await daemon.kill()
        code, known = await status(daemon)
        assert code == 3
        assert f"({daemon.instance}), started " in known
        assert f"{PIPELINE}/ok" in known
        assert "It did not end properly" in known
        assert "systemctl start orchd" in known
        assert PLANTED not in page + crashed + known


@pytest.mark.docker
async def test_a_container_is_named_as_docker_names_it(docked: Start, api: docker.APIClient) -> None:
    daemon = docked()
    daemon.write(container("ok"))
    async with daemon:
        await until_shown(daemon, "1 model: 1 ready;")
        [runner] = json.loads((await status(daemon, "ok", "--json"))[1])["models"][0]["runners"]
        found = api.inspect_container(runner["container"]["name"])
        shown = runner["container"]
        assert (shown["id"], shown["image"], shown["image_id"]) == (
            *(found["Id"], found["Config"]["Image"], found["Image"]),
        )
        assert f"  container {runner['container']['name']}\n" in (await status(daemon, "ok"))[1]
