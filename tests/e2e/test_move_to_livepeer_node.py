"""`docs/how-to/from-go-livepeer-to-livepeer-node.md` is tried as it stands, with work in flight; only ports and paths
are others, and what systemd does is done to the programs themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import aiohttp
import pytest

from orchd.tasks import spawn
from tests.e2e.beside_page import GO_0_9, GO_0_10, NODE, BesidePage, NodeOfThePage, Page, Place, orchd
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import PIPELINE, Runner, process

PAGE = Page("from-go-livepeer-to-livepeer-node.md")
BATCH, VIDEO = f"{PIPELINE}/batch", f"{PIPELINE}/video"
ENTRIES = (
    process("batch", price_per_unit=1000),
    process("video", {"pytrickle": True}, profile="pytrickle", replicas=2, maxSessions=2, price_per_unit=1000),
)


async def switch(place: Place, node: NodeOfThePage, daemon: Daemon, said: str, units: dict[str, str]) -> None:
    """Do what the page has systemd do, where `units` says which program each unit runs."""

    async def away() -> bool:
        return not (await daemon.status())["node"]["up"]

    for line in said.splitlines():
        [(what, unit)] = re.findall(r"^systemctl (disable|enable) --now ([\w-]+)$", line)
        if what == "disable":
            await node.end()
            await daemon.until("orchd knows that the node is away", away)
        else:
            node.become(place, units[unit])
            await node.start()


async def offered(node: NodeOfThePage, daemon: Daemon) -> None:
    async def so() -> bool:
        byoc = set(await node.capabilities()) if node.has_byoc else {BATCH, VIDEO}
        return set(await node.runners()) == byoc == {BATCH, VIDEO}

    await daemon.until("all is offered", so)


async def a_job_is_done(node: NodeOfThePage) -> None:
    assert (await node.call("POST", (await node.listed(BATCH))["url"] + "/echo", data=b"1234"))[0] == 200


async def is_cut(node: NodeOfThePage, url: str) -> bool:
    """Have a job done; return whether its connection broke."""
    try:
        await node.call("POST", url)
    except aiohttp.ClientError:
        return True
    return False


async def status(daemon: Daemon) -> list[str]:
    return (await daemon.command("status", *daemon.flags("admin.listen")))[1].splitlines()


@pytest.mark.parametrize("former", [GO_0_10, GO_0_9])
async def test_its_steps_move_the_models_with_work_in_flight_and_back_again(tmp_path: Path, former: str) -> None:
    place = Place(tmp_path, BesidePage())
    place.secret_file.write_text("the-secret-of-an-older-page\n")
    units = {"livepeer": former, "livepeer-orchestrator": NODE}
    async with NodeOfThePage(place, former) as node, orchd(place, former, *ENTRIES) as daemon:
        await offered(node, daemon)
        await daemon.until_model(
            "video", "is ready twice", lambda model: [one["state"] for one in model["runners"]] == ["ready"] * 2
        )
        before = place.secret_file.read_text()
        place.type_in(PAGE.block("", "printf"))
        assert place.secret_file.read_text() == before.rstrip("\n")

        runner = Runner((await daemon.model("batch"))["runners"][0]["address"], daemon.client)
        url = (await node.listed(BATCH))["url"]
        job = spawn(is_cut(node, f"{url}/gate/held"), name="job in flight")
        await runner.seen(waiting=1)
        streams = 1 + node.has_byoc
        if node.has_byoc:
            assert (await node.start_stream(VIDEO, "camera"))[0] == 200
        session = json.loads((await node.call("POST", (await node.listed(VIDEO))["url"]))[1])
        assert (await node.call("POST", f"{session['app_url']}/stream/start", json={"params": {}}))[0] == 200
        await daemon.until_model("video", "has its streams", lambda model: len(model["streams"]) == streams)

        await switch(place, node, daemon, PAGE.block("", "systemctl disable --now livepeer\n"), units)
        assert await job
        await runner.open_gate("held")
        await offered(node, daemon)
        await a_job_is_done(node)
        for model_id in ("batch", "video"):
            await daemon.until_model(model_id, "is free", lambda model: not model["sessions"]["active"])
        outcomes = {"aborted": streams, "client_gone": 1, "ok": 1}

        async def booked() -> bool:
            return bool((await daemon.status())["jobs"]["outcomes"] == outcomes)

        await daemon.until(f"it books {outcomes}", booked)
        await says_what_the_page_shows(place, daemon)

        await switch(place, node, daemon, PAGE.block("", "systemctl disable --now livepeer-orchestrator"), units)
        await offered(node, daemon)
        await a_job_is_done(node)
        assert next(line for line in await status(daemon) if ": up for " in line).startswith(former)


async def says_what_the_page_shows(place: Place, daemon: Daemon) -> None:
    lines = place.put(PAGE.block("", "node_down")).splitlines()

    async def told() -> bool:
        _, events = await daemon.command("events", *daemon.flags("state_dir"))
        return {*lines} <= {line.split(maxsplit=2)[-1] for line in events.splitlines() if line}

    await daemon.until(f"it has told {lines}", told)
    first, *others = PAGE.block("", NODE).splitlines()

    async def shown() -> bool:
        page = await status(daemon)
        [at] = [number for number, line in enumerate(page) if ": up for " in line]
        return page[at].split(", ")[1:] == first.split(", ")[1:] and page[at + 1 : at + 1 + len(others)] == others

    await daemon.until(f"it shows {first}", shown)
