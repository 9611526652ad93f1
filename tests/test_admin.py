"""The admin pages, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from orchd.admin.server import AdminServer
from orchd.admin.settings import AdminSettings
from orchd.domain.state import Snapshot
from orchd.errors import Code, OrchdError
from orchd.exposition import MetricsRegistry
from tests.collectors import Metrics
from tests.fakes.snapshots import SECRET, fresh, snapshot


class Daemon:
    """What the pages show, for a test to change."""

    def __init__(self) -> None:
        self.snapshot = snapshot()
        self.accepting = True
        self.metrics = Metrics(MetricsRegistry(), "1.2.3")
        for key, model in self.snapshot.models.items():
            self.metrics.define(key, model.model.max_sessions)
        self.server = AdminServer(
            AdminSettings(listen="127.0.0.1:0"),
            snapshot=fresh(lambda: self.snapshot),
            metrics=self.metrics.registry,
            accepting=lambda: self.accepting,
        )


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    daemon = Daemon()
    await daemon.server.start()
    yield daemon
    await daemon.server.close()


@pytest.fixture
async def http(daemon: Daemon) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{daemon.server.port}") as session:
        yield session


async def test_healthz_says_that_the_loop_turns(http: aiohttp.ClientSession) -> None:
    async with http.get("/healthz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})


async def test_readyz_follows_whether_jobs_are_taken_and_lists_bad_entries(
    daemon: Daemon, http: aiohttp.ClientSession
) -> None:
    async with http.get("/readyz") as answer:
        body = await answer.json()
        assert (answer.status, body["status"], body["reasons"]) == (200, "ready", [])
        assert "entry 3" in body["problems"][0]
    daemon.accepting = False
    async with http.get("/readyz") as answer:
        assert (answer.status, (await answer.json())["status"]) == (503, "not ready")
    daemon.accepting, daemon.snapshot = True, Snapshot()
    async with http.get("/readyz") as answer:
        assert (answer.status, (await answer.json())["reasons"]) == (503, ["no models file has applied yet"])


async def test_status_shows_the_newest_snapshot(daemon: Daemon, http: aiohttp.ClientSession) -> None:
    async with http.get("/status") as answer:
        assert [m["state"] for m in (await answer.json())["models"]] == [
            *("ready", "ready", "failed", "cold", "unhealthy")
        ]
    daemon.snapshot = replace(daemon.snapshot, converged=True, models={})
    async with http.get("/status") as answer:
        body = await answer.json()
        assert (body["converged"], body["models"]) == (True, [])


async def test_status_of_one_model_by_its_full_or_bare_name(http: aiohttp.ClientSession) -> None:
    for name in ("text-to-image/stabilityai/sdxl-turbo", "stabilityai/sdxl-turbo", "図書館/キャプション"):
        async with http.get("/status", params={"model": name}) as answer:
            [model] = (await answer.json())["models"]
            assert name.endswith(model["model_id"])


async def test_status_of_an_unknown_model_names_the_known_ones(http: aiohttp.ClientSession) -> None:
    async with http.get("/status", params={"model": "nope"}) as answer:
        body = await answer.json()
        assert (answer.status, body["error"]) == (404, "unknown_target")
        assert "llm/meta-llama/Meta-Llama-3.1-8B-Instruct" in body["message"]


async def test_a_page_that_there_is_not_names_those_that_there_are(http: aiohttp.ClientSession) -> None:
    async with http.get("/statsu") as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (404, "text/plain")
        assert "'/statsu'" in text
        assert all(f"\n{page} " in text for page in ("/healthz", "/readyz", "/status", "/metrics"))
    async with http.post("/status") as answer:
        assert answer.status == 405


async def test_metrics_are_in_prometheus_text_format(http: aiohttp.ClientSession) -> None:
    async with http.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'orchd_sessions_max{model_id="green-tint-cpu",pipeline="live/video-to-video"} 4.0' in await answer.text()


async def test_the_root_lists_the_pages(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        text = await answer.text()
    assert all(page in text for page in ("/healthz", "/readyz", "/status", "/metrics"))


@pytest.mark.parametrize("page", ["/", "/healthz", "/readyz", "/status", "/metrics"])
async def test_nothing_can_be_changed_and_no_secret_be_read(page: str, http: aiohttp.ClientSession) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with http.request(method, page) as answer:
            assert answer.status == 405
    async with http.get(page) as answer:
        assert SECRET not in await answer.text()
        assert SECRET not in str(answer.headers)


async def test_a_taken_address_is_named_with_the_setting(daemon: Daemon) -> None:
    taken = AdminServer(
        AdminSettings(listen=f"127.0.0.1:{daemon.server.port}"),
        snapshot=fresh(Snapshot),
        metrics=daemon.metrics.registry,
        accepting=lambda: True,
    )
    with pytest.raises(OrchdError, match=r"cannot listen on 127.0.0.1:\d+ for the admin pages: .*--admin-listen") as e:
        await taken.start()
    assert e.value.code is Code.ADDRESS_IN_USE


async def test_it_listens_on_ipv6(daemon: Daemon) -> None:
    server = AdminServer(
        AdminSettings(listen="[::1]:0"),
        snapshot=fresh(Snapshot),
        metrics=daemon.metrics.registry,
        accepting=lambda: True,
    )
    await server.start()
    with socket.create_connection(("::1", server.port), timeout=5):
        pass
    await server.close()


@pytest.mark.parametrize("path", ["/status", "/readyz"])
async def test_who_leaves_before_the_page_is_there_leaves_no_error_in_the_log(
    path: str, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    asked, gate = asyncio.Event(), asyncio.Event()

    async def gated() -> Snapshot:
        asked.set()
        await gate.wait()
        return daemon.snapshot

    server = AdminServer(
        AdminSettings(listen="127.0.0.1:0"), snapshot=gated, metrics=daemon.metrics.registry, accepting=lambda: True
    )
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as http:
        _, leaving = await asyncio.open_connection("127.0.0.1", server.port)
        leaving.write(f"GET {path} HTTP/1.1\r\nHost: orchd\r\n\r\n".encode())
        await asked.wait()
        leaving.transport.abort()
        async with http.get("/healthz") as answer:  # Came after the other one had left.
            assert answer.status == 200
        gate.set()
        async with http.get(path) as answer:
            assert answer.status == 200
    await server.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
