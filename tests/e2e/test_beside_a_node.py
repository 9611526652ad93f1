"""`docs/how-to/beside-a-node.md` is tried as it stands, beside each program; only ports and paths are others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.doubles.shared import certificate
from tests.doubles.shared.tls_front import TlsFront
from tests.e2e.beside import job_headers
from tests.e2e.beside_page import GO_0_9, GO_0_10, NODE, PROGRAMS, BesidePage, NodeOfThePage, Place, orchd
from tests.e2e.daemon import Daemon
from tests.e2e.environments import SDK
from tests.e2e.realtime import need
from tests.e2e.scripts import PIPELINE, process

PAGE = BesidePage()
NAME = f"{PIPELINE}/model"
Codes = set[str]
STREAMS = process("model", {"pytrickle": True}, profile="pytrickle", inference={"path": "/x"}, maxSessions=1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, PAGE)
    place.make_secret()
    return place


async def offered(node: NodeOfThePage, daemon: Daemon) -> None:
    async def so() -> bool:
        return NAME in await node.runners() and (not node.has_byoc or NAME in await node.capabilities())

    await daemon.until("it is offered", so)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_its_commands_files_and_flags_bring_jobs_events_and_streams_through_the_node(
    place: Place, program: str
) -> None:
    async with NodeOfThePage(place, program) as node, orchd(place, program, STREAMS) as daemon:
        await offered(node, daemon)
        code, said = await daemon.command("check", "--config", str(place.settings), *daemon.flags("models_file"))
        assert (code, "warning:" in said) == (0, False), said
        await by_live_runner(node, daemon)
        if node.has_byoc:
            await by_byoc(node, daemon)
        _, page = await daemon.command("status", *daemon.flags("admin.listen"))
        line = page.splitlines()[2]  # The page says that it is the third one.
        assert line.startswith(program.replace("go-livepeer 0.9", "go-livepeer 0.9.x"))
        if program == NODE:
            told = PAGE.block("", f"{NODE}: up")
            assert line.split(", ")[1:] == told.strip().split(", ")[1:], "the page shows this line"


async def by_live_runner(node: NodeOfThePage, daemon: Daemon) -> None:
    url = (await node.listed(NAME))["url"]
    status, text = await node.call("POST", url)
    assert status == 200, text
    session = json.loads(text)
    status, text = await node.call("POST", f"{session['app_url']}/echo", data='{"a": 1}')
    assert (status, json.loads(text)["length"]) == (200, 8)
    async with node.client.get(f"{session['app_url']}/sse?n=3") as answer:
        assert (await answer.text()).count("data:") == 3
    status, text = await node.call("POST", f"{session['app_url']}/stream/start", json={"params": {}})
    assert (status, json.loads(text)["publish_url"].startswith(node.url)) == (200, True), text
    assert (await node.call("POST", f"{session['app_url']}/stream/stop", json={}))[0] == 200
    assert (await node.call("POST", f"{session['control_url']}/stop"))[0] in (200, 204)
    await daemon.until_model("model", "has no stream", lambda model: not model["streams"])


async def by_byoc(node: NodeOfThePage, daemon: Daemon) -> None:
    status, text = await node.job(NAME, "echo", '{"a": 1}')
    assert (status, json.loads(text)["length"]) == (200, 8)
    headers = job_headers(NAME, "events") | {"Content-Type": "application/json"}
    got = b""
    async with node.client.post(f"{node.url}/process/request/sse", data="{}", headers=headers) as answer:
        assert answer.content_type == "text/event-stream"
        while b"[DONE]" not in got:
            got += await answer.content.readany()
    assert got.count(b"data: ") > 1
    status, text, media = await node.start_stream(NAME, "camera")
    assert status == 200, text
    assert media.publish_url.startswith(node.url)
    shown = await daemon.until_model("model", "has a stream", lambda model: model["streams"])
    assert [stream["id"] for stream in shown["streams"]] == ["camera"]
    assert (await node.stop_stream(NAME, "camera"))[0] == 200
    await daemon.until_model("model", "has no stream", lambda model: not model["streams"])


def test_the_sdk_gives_up_when_the_page_says() -> None:
    need(SDK)
    [(seconds, calls)] = re.findall(
        r"gives up each call after (\d+) s unless told otherwise: give\s+(.+?) a `timeout`", PAGE.text
    )
    names = re.findall(r"`(\w+)`", calls)
    ask = "import inspect, livepeer_gateway as g, sys\nfor n in sys.argv[1:]: "
    ask += "print(inspect.signature(getattr(g, n)).parameters['timeout'].default)"
    said = subprocess.run([SDK.python, "-c", ask, *names], capture_output=True, text=True, check=True).stdout
    assert len(names) == 3
    assert [float(line) for line in said.split()] == [float(seconds)] * 3


# What is wrong, and what the page says that `orchd status` calls it.

Trouble = Callable[[Place, str], AsyncGenerator[Daemon]]
TROUBLES: dict[tuple[str, str], tuple[Trouble, tuple[Codes, ...]]] = {}
"""By program and name: what makes trouble, step by step, and the codes that must be seen at each step."""
MODEL = process("model", price_per_unit=1000)


def trouble(*codes: Codes, beside: tuple[str, ...] = PROGRAMS) -> Callable[[Trouble], Trouble]:
    def keep(how: Trouble) -> Trouble:
        TROUBLES.update({(program, how.__name__): (how, codes) for program in beside})
        return how

    return keep


@trouble({"node_certificate"})
async def another_certificate_is_pinned(place: Place, program: str) -> AsyncGenerator[Daemon]:
    """Livepeer Node has none: there it is that of a proxy."""
    pinned = place.folder / "another"
    pinned.mkdir()
    certificate.write(pinned, "127.0.0.1")
    pin = f"pin:{pinned}/cert.pem"
    async with NodeOfThePage(place, program) as node, TlsFront(f"127.0.0.1:{node.port}") as front:
        url = front.url if program == NODE else node.url
        async with orchd(place, program, MODEL, certificate=pin, service_url=url) as daemon:
            yield daemon


@trouble({"node_secret"})
async def the_node_knows_another_secret(place: Place, program: str) -> AsyncGenerator[Daemon]:
    async with NodeOfThePage(place, program):
        place.secret_file.write_text("another")
        async with orchd(place, program, MODEL) as daemon:
            yield daemon


@trouble({"node_refused"}, {"node_unreachable"})
async def the_state_directory_is_lost_and_then_the_node_goes(place: Place, program: str) -> AsyncGenerator[Daemon]:
    async with NodeOfThePage(place, program) as node, orchd(place, program, MODEL) as daemon:
        await offered(node, daemon)
        await daemon.kill()
        shutil.rmtree(daemon.state)
        await daemon.start()
        yield daemon
        await node.kill()
        yield daemon


@trouble({"price_unpublishable", "unservable", "callback_unreachable"})
async def the_settings_and_the_models_file_have_faults(place: Place, program: str) -> AsyncGenerator[Daemon]:
    streams = process("streams", {"pytrickle": True}, profile="pytrickle", mode="single-shot", price_per_unit=1000)
    # go-livepeer's Live Runner has a price per hour of video; but none in wei, for which there is no rate here.
    on_chain, unit = (("-network", "arbitrum-one-mainnet"), "second") if program == GO_0_10 else ((), "720p")
    model = MODEL | {"price_unit": unit}
    faults = {"callback_url": f"http://127.0.0.1:{place.nobody}", "eth_usd": ""}
    async with NodeOfThePage(place, program, *on_chain), orchd(place, program, model, streams, **faults) as daemon:
        yield daemon


@trouble({"registry_not_spoken"}, beside=(NODE, GO_0_10))
async def byoc_is_wanted(place: Place, program: str) -> AsyncGenerator[Daemon]:
    async with NodeOfThePage(place, program), orchd(place, program, MODEL, register="byoc") as daemon:
        yield daemon


@trouble({"registry_not_spoken"}, beside=(GO_0_9,))
async def a_flag_is_missing(place: Place, program: str) -> AsyncGenerator[Daemon]:
    node = NodeOfThePage(place, program, without="-useLiveRunners")
    async with node, orchd(place, program, MODEL, register="live-runner") as daemon:
        yield daemon


@trouble({"node_grant"}, beside=(NODE,))
async def another_port_is_granted(place: Place, program: str) -> AsyncGenerator[Daemon]:
    node = NodeOfThePage(place, program, "--runner-grants", f"127.0.0.1:{place.nobody}")
    async with node, orchd(place, program, MODEL) as daemon:
        yield daemon


@trouble({"node_currency"}, beside=(GO_0_9,))
async def a_price_in_usd_meets_a_node_without_a_feed(place: Place, program: str) -> AsyncGenerator[Daemon]:
    """Off chain it has none; with its CLI port, orchd would know that beforehand."""
    usd = MODEL | {"currency": "USD"}
    async with NodeOfThePage(place, program), orchd(place, program, usd, cli_url="", eth_usd="") as daemon:
        yield daemon


def test_each_code_of_its_table_is_made_to_appear_beside_each_program_that_can_show_it() -> None:
    made = {(code, program) for (program, _), (_, steps) in TROUBLES.items() for codes in steps for code in codes}
    assert made == PAGE.codes()


@pytest.mark.parametrize(("program", "name"), TROUBLES)
async def test_its_command_says_what_is_wrong(place: Place, program: str, name: str) -> None:
    how, steps = TROUBLES[program, name]
    async with aclosing(how(place, program)) as making:
        for codes in steps:
            await says(await anext(making), codes)


async def says(daemon: Daemon, codes: Codes) -> None:
    async def so() -> bool:
        _, page = await daemon.command(*PAGE.command, *daemon.flags("admin.listen"))
        return all(f'"{code}"' in page for code in codes)

    await daemon.until(f"orchd says {codes}", so)
