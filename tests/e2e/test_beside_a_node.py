"""`docs/how-to/beside-a-node.md` is tried as it stands; only ports and paths are others."""

from __future__ import annotations

import grp
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.shared import certificate
from tests.e2e.beside import NodeProcess, job_headers
from tests.e2e.daemon import Daemon, kill_processes
from tests.e2e.scripts import PIPELINE, process
from tests.ports import free_port

SECTION = (Path(__file__).parents[2] / "docs" / "how-to" / "beside-a-node.md").read_text()


def block(language: str, beginning: str) -> str:
    """Return the page's block of code that begins so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    [found] = [text for text in blocks if text.startswith(beginning)]
    return str(found)


@dataclass
class Place:
    """Where it is tried.

    Attributes:
        instead: what stands on the page, and what takes its place here.
    """

    folder: Path
    instead: dict[str, str]

    def put(self, text: str) -> str:
        for there, here in self.instead.items():
            assert there in SECTION, f"the page no longer says {there}"
            text = text.replace(there, here)
        return text

    @property
    def node_flags(self) -> list[str]:
        """Return what follows `livepeer` on its command line."""
        program, *flags = shlex.split(self.put(block("", "livepeer ")).replace("\\\n", ""))
        assert program == "livepeer"
        return flags

    def make_secret(self) -> None:
        subprocess.run(["bash", "-ec", self.put(block("", "install "))], check=True)

    def settings_file(self, **changes: str) -> Path:
        """Write orchd's settings, with `changes` of [orchestrator] at their end."""
        lines = [self.put(block("toml", "[orchestrator]"))]
        for name, value in changes.items():
            lines = [re.sub(rf"^{name} = .*\n", "", line, flags=re.MULTILINE) for line in lines]
            lines.append(f"{name} = {json.dumps(value)}\n")
        path = self.folder / "orchd.toml"
        path.write_text("".join(lines))
        return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    service, cli, jobs = free_port(), free_port(), free_port()
    ports = {"8935": str(service), "7935": str(cli), "8737": str(jobs)}
    paths = {"/etc/orchd/orch-secret": str(tmp_path / "orch-secret"), "/var/lib/livepeer": str(tmp_path / "livepeer")}
    ours = {"-g orchd": f"-g {grp.getgrgid(os.getgid()).gr_name}"}
    return Place(tmp_path, ports | paths | ours)


class NodeOfThePage(NodeProcess):
    """The node, with the flags of the page and no others."""

    def __init__(self, place: Place, *changes: str) -> None:
        super().__init__(place.folder / "node")
        self.port = int(place.instead["8935"])
        self.cli_url = place.put("http://127.0.0.1:7935")
        self.said = [*place.node_flags, *changes]

    def command_line(self) -> list[str]:
        return self.said


@asynccontextmanager
async def orchd(place: Place, entry: dict[str, Any], **changes: str) -> AsyncIterator[Daemon]:
    """Run `orchd` with the settings of the page."""
    instance = f"t-readme-{secrets.token_hex(4)}"
    env = {"ORCHD_CONFIG": str(place.settings_file(**changes))}
    daemon = Daemon(place.folder / "orchd", instance, env=env)
    daemon.jobs_port = int(place.instead["8737"])
    daemon._settings["jobs.listen"] = f"127.0.0.1:{daemon.jobs_port}"
    daemon.write(entry)
    try:
        async with daemon:
            yield daemon
    finally:
        kill_processes(instance)


async def offered(node: NodeProcess, daemon: Daemon, name: str) -> None:
    async def so() -> bool:
        return set(await node.capabilities()) == set(await node.runners()) == {name}

    await daemon.until(f"both registries offer {name}", so)


async def test_its_commands_settings_and_flags_bring_jobs_events_and_streams_through_the_node(place: Place) -> None:
    entry = process("model", {"pytrickle": True}, profile="pytrickle", inference={"path": "/x"}, maxSessions=1)
    place.make_secret()
    async with NodeOfThePage(place) as node, orchd(place, entry) as daemon:
        name = f"{PIPELINE}/model"
        await offered(node, daemon, name)

        status, text = await node.job(name, "echo", '{"a": 1}')
        assert (status, json.loads(text)["length"]) == (200, 8)

        headers = job_headers(name, "events") | {"Content-Type": "application/json"}
        got = b""
        async with node.client.post(f"{node.url}/process/request/sse", data="{}", headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            while b"[DONE]" not in got:
                got += await answer.content.readany()
        assert got.count(b"data: ") > 1

        status, text, media = await node.start_stream(name, "camera")
        assert status == 200, text
        assert media.publish_url.startswith(node.url)
        shown = await daemon.until_model("model", "has a stream", lambda model: model["streams"])
        assert [stream["id"] for stream in shown["streams"]] == ["camera"]
        assert (await node.stop_stream(name, "camera"))[0] == 200
        await daemon.until_model("model", "has no stream", lambda model: not model["streams"])


# What is wrong, and what the README says that `orchd status` calls it.

Trouble = Callable[[Place], AbstractAsyncContextManager[Daemon]]
TROUBLES: dict[str, Trouble] = {}
MODEL = process("model", price_per_unit=1000)


def trouble(code: str) -> Callable[[Trouble], Trouble]:
    def keep(how: Trouble) -> Trouble:
        TROUBLES[code] = how
        return how

    return keep


@trouble("node_unreachable")
@asynccontextmanager
async def nobody_answers(place: Place) -> AsyncIterator[Daemon]:
    async with orchd(place, MODEL) as daemon:
        yield daemon


@trouble("node_certificate")
@asynccontextmanager
async def another_certificate_is_pinned(place: Place) -> AsyncIterator[Daemon]:
    pinned = place.folder / "another"
    pinned.mkdir()
    certificate.write(pinned, "127.0.0.1")
    async with NodeOfThePage(place), orchd(place, MODEL, certificate=f"pin:{pinned}/cert.pem") as daemon:
        yield daemon


@trouble("node_secret")
@asynccontextmanager
async def the_node_knows_another_secret(place: Place) -> AsyncIterator[Daemon]:
    async with NodeOfThePage(place, "-orchSecret", "another"), orchd(place, MODEL) as daemon:
        yield daemon


@trouble("node_currency")
@asynccontextmanager
async def a_price_in_usd_meets_a_node_without_a_feed(place: Place) -> AsyncIterator[Daemon]:
    """Off-chain it has none; with its CLI port, orchd would know that beforehand."""
    async with NodeOfThePage(place), orchd(place, MODEL | {"currency": "USD"}, cli_url="", eth_usd="") as daemon:
        yield daemon


@trouble("node_refused")
@asynccontextmanager
async def the_node_knows_a_runner_whose_secret_was_lost(place: Place) -> AsyncIterator[Daemon]:
    async with NodeOfThePage(place) as node, orchd(place, MODEL) as daemon:
        await offered(node, daemon, f"{PIPELINE}/model")
        await daemon.kill()
        shutil.rmtree(daemon.state)
        await daemon.start()
        yield daemon


@trouble("registry_not_spoken")
@asynccontextmanager
async def the_node_has_no_live_runner(place: Place) -> AsyncIterator[Daemon]:
    node = NodeOfThePage(place)
    node.said = [flag for flag in node.said if flag != "-useLiveRunners"]
    async with node, orchd(place, MODEL, register="live-runner") as daemon:
        yield daemon


@trouble("price_unpublishable")
@asynccontextmanager
async def byoc_has_no_such_price(place: Place) -> AsyncIterator[Daemon]:
    async with NodeOfThePage(place), orchd(place, MODEL | {"price_unit": "720p"}) as daemon:
        yield daemon


@trouble("unservable")
@asynccontextmanager
async def streams_can_not_outlive_their_requests(place: Place) -> AsyncIterator[Daemon]:
    entry = process("model", {"pytrickle": True}, profile="pytrickle", mode="single-shot", price_per_unit=1000)
    async with NodeOfThePage(place), orchd(place, entry) as daemon:
        yield daemon


TABLE = SECTION.partition("## When something is wrong")[2]


def test_there_is_a_trouble_for_each_row_of_its_table() -> None:
    assert re.findall(r"^\| `(\w+)`", TABLE, re.MULTILINE) == list(TROUBLES)


@pytest.mark.parametrize("code", TROUBLES)
async def test_its_command_says_what_is_wrong(place: Place, code: str) -> None:
    [command] = re.findall(r"^\| `orchd ([^`]+)` says \|", TABLE, re.MULTILINE)
    place.make_secret()
    async with TROUBLES[code](place) as daemon:

        async def known() -> bool:
            return f'"{code}"' in json.dumps(await daemon.status())

        await daemon.until(f"orchd knows of {code}", known)
        _, page = await daemon.command(*command.split(), *daemon.flags("admin.listen"))
        assert code in page
