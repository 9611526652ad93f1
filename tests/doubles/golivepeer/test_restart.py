"""What a restart of the node forgets, what stays, and the faults that tests can switch on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from orchd.tasks import spawn
from tests.doubles.golivepeer.kit import NAME, SECRET, Kit, kit
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared import caller
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.recordings import eventually
from tests.doubles.shared.worker import Worker

SENTINEL = "/setPriceForBroadcaster?broadcasterEthAddr=default&pricePerUnit=7&pixelsPerUnit=1"


@pytest.fixture
async def node() -> AsyncIterator[Kit]:
    async with kit() as running:
        await running.register()
        yield running


async def served(running: Kit) -> str:
    """Return the certificate that the service port shows."""
    port = int(running.node.service_url.rpartition(":")[2])
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


async def test_a_restart_forgets_all_and_changes_the_certificate_but_not_the_ports(node: Kit) -> None:
    await node.cli(SENTINEL)
    await node.stream("start")
    urls, certificate = (node.node.service_url, node.node.cli_url), await served(node)
    await node.node.restart()
    assert (node.node.service_url, node.node.cli_url) == urls
    assert await served(node) != certificate
    assert await served(node) == node.node.certificate_path.read_text()
    assert node.node.byoc.capabilities == {}
    assert node.node.byoc.streams == {}
    assert json.loads((await node.cli("/status")).text)["BroadcasterPrices"] == {}
    assert (await node.job()).status == 503


async def test_the_certificate_names_the_host_as_dns_for_a_year(node: Kit) -> None:
    certificate = x509.load_pem_x509_certificate(node.node.certificate_path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("127.0.0.1")]
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 365
    assert certificate.issuer == certificate.subject


async def test_plain_http_has_no_certificate() -> None:
    async with kit(plain_http=True) as running:
        assert running.node.service_url.startswith("http://")
        assert (await running.call("GET", "/healthz")).status == 200
        assert not running.node.certificate_path.exists()


BYOC_REQUESTS = (
    ("POST", "/capability/register"),
    ("POST", "/capability/unregister"),
    ("GET", "/process/token"),
    ("POST", "/process/request/x"),
    ("POST", "/ai/stream/start"),
    ("POST", "/ai/stream/stop"),
)


async def test_0_10_has_live_runner_and_no_byoc() -> None:
    async with kit(version="0.10.0", use_live_runners=True) as running:
        for method, target in BYOC_REQUESTS:
            answer = await running.call(method, target, SECRET)
            assert (answer.status, answer.text) == (404, "404 page not found\n"), target
        probed = await running.call("POST", "/runners/heartbeat", {}, "{}")
        assert (probed.status, probed.text) == (400, "invalid runner_url\n")
        assert (await running.call("GET", "/healthz")).status == 200
        assert json.loads((await running.cli("/status")).text)["Version"] == "0.10.0"


async def test_a_node_can_come_back_as_another_version_on_its_ports(node: Kit) -> None:
    urls = node.node.service_url, node.node.cli_url
    await node.node.stop()
    node.node.settings = replace(node.node.settings, version="0.10.0")
    await node.node.start()
    assert (node.node.service_url, node.node.cli_url) == urls
    assert (await node.register()).status == 404


async def test_stopping_cuts_a_running_job(node: Kit) -> None:
    job = asyncio.get_running_loop().create_task(node.job("sleep3"))
    await eventually(lambda: node.worker.sleeping == 1, "it is at the worker")
    await node.node.stop()
    assert (await job).status == 0
    with pytest.raises(ConnectionRefusedError):
        await node.call("GET", "/healthz")


async def test_an_absence_forgets_nothing(node: Kit) -> None:
    certificate = await served(node)
    await node.node.leave()
    for attempt in (node.call("GET", "/healthz"), node.cli("/status")):
        with pytest.raises(ConnectionRefusedError):
            await attempt
    await node.clock.advance(600)
    await node.node.come_back()
    assert (await node.job()).status == 200
    assert await served(node) == certificate


async def test_the_certificate_alone_can_change(node: Kit) -> None:
    certificate = await served(node)
    node.node.change_certificate()
    assert await served(node) != certificate
    assert NAME in node.node.byoc.capabilities


async def test_it_can_hang_and_go_on(node: Kit) -> None:
    node.node.faults.hang(True)
    asked = [asyncio.get_running_loop().create_task(attempt) for attempt in (node.cli("/status"), node.token())]
    await eventually(lambda: node.node.connections == 1, "it has taken the connection")
    assert not any(task.done() for task in asked)
    node.node.faults.hang(False)
    assert [(await task).status for task in asked] == [200, 200]


async def test_it_can_fail_and_be_slow(node: Kit) -> None:
    node.node.faults.fail = True
    assert (await node.token()).status == 500
    assert (await node.cli("/status")).status == 500
    node.node.faults.fail = False
    node.node.faults.slow_s = 5
    asked = asyncio.get_running_loop().create_task(node.token())
    await eventually(lambda: node.clock.next_timer() == 5.0, "it waits")
    assert not asked.done()
    await node.clock.advance(5)
    assert (await asked).status == 200


async def test_the_cli_port_opens_first_and_knows_no_live_runners_until_the_registry_is_there(tmp_path: Path) -> None:
    clock = Clock()
    worker = Worker(clock)
    worker.health_delay_s = 1
    await worker.start()
    entry = {"label": "one", "runner_url": f"http://127.0.0.1:{worker.port}", "health_url": "/health", "app": "a/b"}
    config = tmp_path / "runners.json"
    config.write_text(json.dumps({"runners": [entry]}))
    node = Node(NodeSettings(use_live_runners=True, live_runner_config=config), clock, datadir=tmp_path)
    starting = spawn(node.start(), name="start")
    await eventually(lambda: clock.next_timer() == 1.0, "the first health check is under way")
    assert (await caller.call(node.cli_url, "GET", "/getLogLevel")).text == "6"
    answer = await caller.call(node.cli_url, "POST", "/registerLiveRunners", {}, '{"runners": []}')
    assert (answer.status, answer.text) == (404, "live runners are not supported\n")
    with pytest.raises(ConnectionRefusedError):
        await caller.call(node.service_url, "GET", "/healthz")
    await clock.advance(1)
    await starting
    worker.health_delay_s = 0
    assert (await caller.call(node.service_url, "GET", "/healthz")).status == 200
    answer = await caller.call(node.cli_url, "POST", "/registerLiveRunners", {}, json.dumps({"runners": [entry]}))
    assert answer.status == 200
    await node.stop()
    await worker.stop()


@contextlib.asynccontextmanager
async def process(folder: Path, *flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """The double as a process; yields it and what its ready file says."""
    ready = folder / "ready"
    command = (
        sys.executable,
        "-m",
        "tests.doubles.golivepeer",
        "--ready-file",
        str(ready),
        "--datadir",
        str(folder),
        *flags,
    )
    running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        await eventually(lambda: ready.exists() or running.returncode is not None, "it is ready")
        yield running, json.loads(ready.read_text())
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()
        ready.unlink(missing_ok=True)


async def test_the_process_can_be_steered_killed_and_started_again_on_its_ports_also_upgraded(tmp_path: Path) -> None:
    async with process(tmp_path, "--orch-secret", "s") as (running, at):
        body = json.dumps({"name": "a/b", "url": "http://127.0.0.1:9", "capacity": 2})
        answer = await caller.call(at["service_url"], "POST", "/capability/register", {"Authorization": "s"}, body)
        assert answer.text == "ok"
        state = json.loads((await caller.call(at["control_url"], "POST", "/_control/leak?name=a/b&n=2")).text)
        assert (state["capabilities"]["a/b"]["load"], state["registrations"]) == (2, {"a/b": 1})
        certificate = (tmp_path / "cert.pem").read_text()
        assert at["certificate"] == str(tmp_path / "cert.pem")
        os.kill(at["pid"], signal.SIGKILL)
        assert await running.wait() == -signal.SIGKILL
    ports = [at[name].partition("://")[2] for name in ("service_url", "cli_url", "control_url")]
    flags = [
        part for name, port in zip(("--service", "--cli", "--control"), ports, strict=True) for part in (name, port)
    ]
    async with process(tmp_path, *flags, "--version", "0.10.0") as (running, again):
        assert again["service_url"] == at["service_url"]
        assert (tmp_path / "cert.pem").read_text() != certificate
        assert (await caller.call(again["service_url"], "POST", "/capability/register")).status == 404
        state = json.loads((await caller.call(again["control_url"], "GET", "/_control")).text)
        assert state["capabilities"] == {}
        running.terminate()
        assert await running.wait() == 0


@pytest.mark.parametrize(
    ("action", "seen"),
    [
        ("lose?name=a/b", lambda state: state["capabilities"] == {}),
        ("restart", lambda state: state["starts"] == 2),
        ("certificate", lambda state: "a/b" in state["capabilities"]),
    ],
)
async def test_the_control_port_does_what_it_is_told(tmp_path: Path, action: str, seen: Any) -> None:
    async with process(tmp_path) as (_, at):
        body = json.dumps({"name": "a/b", "url": "", "capacity": 2})
        await caller.call(at["service_url"], "POST", "/capability/register", {}, body)
        state = json.loads((await caller.call(at["control_url"], "POST", f"/_control/{action}")).text)
        assert seen(state)


async def test_a_start_that_fails_leaves_no_folder_behind() -> None:
    async with Node(NodeSettings(plain_http=True), Clock()) as node:
        address = node.service_url.removeprefix("http://")
        other = Node(NodeSettings(service=address, plain_http=True), Clock())
        with pytest.raises(OSError, match="in use"):
            await other.__aenter__()
        assert other._own_datadir is None
