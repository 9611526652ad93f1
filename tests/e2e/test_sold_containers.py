"""Containers that speak for their sessions, behind orchd alone: channels, proxies, their own stop."""

from __future__ import annotations

import asyncio
import json
import re
import sysconfig
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest

from orchd.domain.ids import ModelKey, RunnerId
from orchd.runtime.docker.spec import network_alias
from tests.docker_images import BASE
from tests.doubles.shared import caller
from tests.doubles.shared.caller import Answer, unverified
from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, ROOT, Daemon
from tests.ports import free_port

pytestmark = pytest.mark.docker

APP = ROOT / "tests" / "runners" / "session_app.py"
PIPELINE = "tools"
SESSIONS, JOBS, COLD, OTHER = "sessions", "jobs", "cold", "other"


def app(model_id: str, **knobs: Any) -> dict[str, Any]:
    """Return an entry whose container runs `session_app.py`."""
    common = {"pipeline": PIPELINE, "image": BASE, "pull": "never", "args": ["python3", "-u", "/app.py"]}
    more = {"volumes": [f"{APP}:/app.py:ro"], "price_per_unit": 0, "warm": True, "health": {"interval_s": 0.3}}
    return {**common, **more, "model_id": model_id, **knobs}


MODELS = (
    app(SESSIONS, mode="persistent"),
    app(JOBS, mode="single-shot", maxSessions=2),
    app(COLD, mode="persistent", warm=False),
    app(OTHER),
)


@dataclass(frozen=True)
class Shop:
    """What a client sees of an orchd.

    Attributes:
        url: of its public listener, as it tells it.
        at: where that is, as seen from here.
    """

    url: str
    at: str

    async def call(self, url: str, body: str = "", method: str = "POST") -> Any:
        """Send a request to a URL that orchd has told, or to a path; return the body of its answer, JSON if it is."""
        answer = await self.answer(url, body, method)
        assert answer.status == 200, (url, answer.status, answer.text)
        return json.loads(answer.text) if answer.header("Content-Type") == "application/json" else answer.text

    async def answer(self, url: str, body: str = "", method: str = "POST") -> Answer:
        assert url.startswith(("/", f"{self.url}/")), url
        return await caller.call(self.at, method, url.removeprefix(self.url), {}, body)

    async def lists(self, *models: str) -> bool:
        """Return whether clients find these models."""
        try:
            found = await self.call("/discovery", method="GET")
        except ConnectionError:
            return False
        return {runner["app"] for entry in found for runner in entry["runners"]} >= {*map(app_of, models)}

    async def is_over(self, app_url: str) -> bool:
        """Return whether a session is."""
        return (await self.answer(app_url)).status == 404


async def until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until this is true."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.05)


def app_of(model_id: str) -> str:
    """Return what clients ask discovery for."""
    return str(ModelKey(PIPELINE, model_id))


def path_of(model_id: str, what: str = "session") -> str:
    """Return where a model's sessions are reserved, or its jobs are sent."""
    return f"/apps/{ModelKey(PIPELINE, model_id).slug}/{what}"


def settings_for(host: str, port: int, network: dict[str, Any]) -> dict[str, str]:
    """Return the settings of an orchd whose containers may lead to port 8000 of each other."""
    [pool] = network["IPAM"]["Config"]
    return {
        "public.url": f"https://{host}:{port}",
        "public.doors": "live-runner",
        "public.offer_cold": "true",
        "public.proxy_grants": f"{pool['Subnet']}:8000",
        "hooks.order": "tickets",
    }


async def speaks_for_its_session(shop: Shop, other: str) -> None:
    """See that a container has channels and proxies made, that clients reach them, and that they go with its session.

    Args:
        other: URL of another container, as orchd reaches it.
    """
    session = await shop.call(path_of(SESSIONS))
    app = session["app_url"]
    made = await shop.call(f"{app}/begin", json.dumps({"target": f"{other}/from/here"}))
    [channel] = made["channels"]
    assert channel["internal_url"].startswith("http://")
    assert await shop.call(f"{channel['url']}/0", method="GET") == "hello"
    await shop.call(f"{app}/say", "again")
    assert await shop.call(f"{channel['url']}/1", method="GET") == "again"
    own = await shop.call(f"{made['proxy']}/own?x=1", "body")
    assert (own["path"], own["body"]) == ("/own?x=1", "body")
    there = await shop.call(f"{made['other']}/thing", "body")
    assert (there["path"], there["body"]) == ("/from/here/thing", "body")
    for seen in (own, there):
        assert seen["headers"]["Livepeer-Session-Id"] == session["session_id"]
    refused = await shop.call(f"{app}/begin", json.dumps({"target": other.replace(":8000", ":8001")}))
    assert (await shop.answer(refused["other"])).status == 502
    assert (await shop.answer(f"{app}/finish")).status == 503  # The end of a session cuts what is under way.
    await until("the session is over", partial(shop.is_over, app))
    for url in (f"{channel['url']}/next", made["proxy"], made["other"]):
        assert (await shop.answer(url, method="GET")).status == 404
    assert await shop.call(f"{session['control_url']}/stop") == {"ok": True}


async def proxy_of_a_job(shop: Shop, runner: str) -> None:
    """See that a single-shot job's proxy leads to its container while the job runs, and no longer.

    Args:
        runner: URL of its container, past orchd.
    """
    at = urlsplit(shop.at)
    reader, writer = await asyncio.open_connection(at.hostname, at.port, ssl=unverified())
    writer.write(f"POST {path_of(JOBS, 'app')}/job HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        [line] = re.findall(rb"\{.*\}", await reader.readuntil(b"}\n"))
        proxy = json.loads(line)["url"]
        seen = await shop.call(f"{proxy}/beside", "body")
        assert (seen["path"], seen["body"]) == ("/beside", "body")
        assert (await caller.call(runner, "POST", "/release")).status == 200
        await reader.readuntil(b"{}\n")
    writer.close()
    await until("the job is over", partial(shop.is_over, proxy))


async def a_cold_one_is_started(shop: Shop, daemon: Daemon) -> None:
    """See that the first reservation starts the container, and that a later one has it."""
    assert await shop.lists(COLD)
    first = await shop.answer(path_of(COLD))
    assert first.status == 503
    assert int(first.header("Retry-After") or "0") > 0
    await daemon.until_state(COLD, "ready")
    session = await shop.call(path_of(COLD))
    assert (await shop.call(f"{session['app_url']}/x"))["path"] == "/x"


@pytest.fixture
def bridge(api: docker.APIClient, network: str) -> dict[str, Any]:
    """The network of the containers, as the engine describes it."""
    described: dict[str, Any] = api.inspect_network(network)
    return described


async def test_containers_speak_for_their_sessions_and_jobs(docked: Start, bridge: dict[str, Any]) -> None:
    port = free_port()
    listens = {"public.listen": f"127.0.0.1:{port}", "public.runner_listen": f":{free_port()}"}
    daemon = docked(settings=settings_for("127.0.0.1", port, bridge) | listens)
    daemon.write(*MODELS)
    url = f"https://127.0.0.1:{port}"
    shop = Shop(url, url)
    async with daemon:
        runners = {
            model_id: (await daemon.until_state(model_id, "ready"))["runners"][0]["address"]
            for model_id in (SESSIONS, JOBS, OTHER)
        }
        await asyncio.gather(
            speaks_for_its_session(shop, runners[OTHER]),
            proxy_of_a_job(shop, runners[JOBS]),
            a_cold_one_is_started(shop, daemon),
        )
        await daemon.until("it was said why", lambda: "public.proxy_grants" in daemon.log_text())
        for model_id in (SESSIONS, JOBS):
            await daemon.until_model(model_id, "is free", lambda model: not model["sessions"]["active"])


async def test_they_reach_an_orchd_that_is_a_container_itself_and_it_knows_them_by_name(
    docked: Start, api: docker.APIClient, bridge: dict[str, Any], instance: str, tmp_path: Path
) -> None:
    (tmp_path / "aiModels.json").write_text(
        json.dumps([each for each in MODELS if each["model_id"] in (SESSIONS, OTHER)])
    )
    settings = {
        **settings_for("orchd.test", 8443, bridge),
        "public.listen": "0.0.0.0:8443",
        "instance": instance,
        "models_file": "/etc/orchd/aiModels.json",
        "state_dir": "/tmp/state",
        "docker.network": bridge["Name"],
    }
    mounts = [f"{ROOT}:{ROOT}:ro", f"{sysconfig.get_path('purelib')}:/site:ro", f"{tmp_path}:/etc/orchd:ro"]
    body = api.create_host_config(
        binds=[*mounts, "/var/run/docker.sock:/var/run/docker.sock"], network_mode=bridge["Name"]
    )
    made = api.create_container(
        BASE,
        ["python3", "-m", "orchd", "run"],
        environment={f"ORCHD_{name.replace('.', '_').upper()}": value for name, value in settings.items()}
        | {"PYTHONPATH": f"{ROOT}:/site"},
        host_config=body,
        name=f"{instance}-orchd",
    )
    try:
        api.start(made)
        at = api.inspect_container(made)["NetworkSettings"]["Networks"][bridge["Name"]]["IPAddress"]
        shop = Shop(settings["public.url"], f"https://{at}:8443")
        await until("its models are ready", partial(shop.lists, SESSIONS, OTHER))
        await speaks_for_its_session(shop, f"http://{network_alias(RunnerId(ModelKey(PIPELINE, OTHER), 0, ''))}:8000")
    finally:
        print(api.logs(made, tail=50).decode())
        api.remove_container(made, force=True)
