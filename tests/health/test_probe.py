"""The prober against real HTTP: each kind of container of contract 5.1, and those that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from orchd.catalog.profiles import PROFILES
from orchd.domain.ids import Address
from orchd.domain.model import HealthKind, HealthSpec, StreamSpec
from orchd.domain.ports import ProbeWord as W
from orchd.health.probe import HttpProber
from orchd.health.verdict import SILENCE
from tests.ports import free_port
from tests.runners.local import LocalRunner, scripted


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner() -> AsyncIterator[LocalRunner]:
    async with scripted() as runner:
        yield runner


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prober() -> AsyncIterator[HttpProber]:
    prober = HttpProber()
    yield prober
    await prober.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")

FRESH: dict[str, Any] = {
    "health_path": "/health",
    "health_word": None,
    "health_body": None,
    "health_code": 200,
    "health_mode": "answer",
    "mute": False,
    "pytrickle": False,
    "stream_prefix": "",
    "routes": {},
}

DIALECTS: list[tuple[str, dict[str, Any], bool, W]] = [
    ("byoc", {"health_body": '{"status":"ok"}'}, False, W.READY),
    ("byoc", {"health_body": '{"status":"ok","extra":[1]}'}, False, W.READY),
    ("byoc", {"health_body": "It works!"}, False, W.UNKNOWN),
    ("byoc", {"health_word": "warming"}, False, W.UNKNOWN),
    ("byoc", {"health_code": 500}, True, W.FAILED),
    ("byoc", {"health_code": 302}, False, W.FAILED),
    ("pytrickle", {"health_word": "IDLE"}, False, W.READY),
    ("pytrickle", {"health_word": "OK"}, False, W.BUSY),
    ("pytrickle", {"health_word": "LOADING"}, False, W.LOADING),
    ("pytrickle", {"health_word": "ERROR"}, False, W.ERROR),
    ("pytrickle", {"health_code": 500, "health_body": '{"detail":{"msg":"x"}}'}, True, W.FAILED),
    ("pytrickle-api", {"health_word": "IDLE"}, False, W.READY),
    ("pytrickle-api", {"health_word": "LOADING"}, False, W.LOADING),
    ("ai-runner", {"health_word": "OK"}, False, W.READY),
    ("ai-runner", {"health_code": 500}, False, W.FAILED),
    ("ai-runner-live", {"health_word": "IDLE"}, False, W.READY),
    ("ai-runner-live", {"health_word": "OK"}, False, W.BUSY),
    ("ai-runner-live", {"health_word": "LOADING"}, False, W.LOADING),
    ("ai-runner-live", {"health_word": "ERROR"}, False, W.ERROR),
    ("ai-runner-live", {"health_code": 500}, True, W.LOADING),
    ("ai-runner-live", {"health_code": 500}, False, W.FAILED),
    ("comfystream-byoc", {"health_word": "LOADING"}, False, W.LOADING),
    ("comfystream-byoc", {"health_word": "IDLE"}, False, W.READY),
    ("comfystream", {"health_body": "OK"}, False, W.READY),
    ("comfystream", {"health_code": 503}, False, W.FAILED),
    ("app", {"health_body": '{"status":"ok"}'}, False, W.READY),
    ("bare", {"health_code": 404}, False, W.READY),
    ("healthz", {"health_path": "/healthz", "health_body": ""}, False, W.READY),
    ("healthz", {"health_path": "/healthz", "health_code": 503}, False, W.LOADING),
    ("healthz", {"health_path": "/healthz", "health_code": 500}, False, W.FAILED),
    ("healthz", {}, False, W.FAILED),
]


@pytest.mark.parametrize(("profile", "script", "early", "word"), DIALECTS)
async def test_each_profile_reads_its_containers_dialect(
    runner: LocalRunner, prober: HttpProber, profile: str, script: dict[str, Any], early: bool, word: W
) -> None:
    await runner.script(**FRESH | script)
    assert (await prober.probe(runner.address, PROFILES[profile].health, early=early)).word is word


async def test_every_profile_is_among_the_dialects() -> None:
    assert {profile for profile, *_ in DIALECTS} == set(PROFILES)


async def test_a_closed_port_is_unreachable(prober: HttpProber) -> None:
    for kind in HealthKind:
        result = await prober.probe(Address("127.0.0.1", free_port()), HealthSpec(kind=kind), early=True)
        assert result.word is W.UNREACHABLE
        assert result.evidence.endswith("connection refused: nothing listens on this port there")


async def test_a_name_that_nobody_has_is_unreachable(prober: HttpProber) -> None:
    result = await prober.probe(Address("no-such-host.invalid", 80), HealthSpec(), early=False)
    assert result.word in SILENCE


async def test_our_own_want_of_descriptors_is_void(runner: LocalRunner) -> None:
    """With one connection made before, so that nothing but the socket is wanting."""
    await runner.script(**FRESH)
    prober = HttpProber()
    assert (await prober.probe(runner.address, HealthSpec(), early=False)).word is W.READY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while True:  # Fill the gaps.
            try:
                stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        results = [await prober.probe(runner.address, HealthSpec(kind=kind), early=False) for kind in HealthKind]
    for result in results:
        assert result.word is W.VOID, result
        assert "orchd has no free file descriptor" in result.evidence
    await prober.close()


@pytest.mark.parametrize("ours", [True, False])
async def test_a_want_of_ports_is_void_and_a_want_of_ipv6_is_not(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(*args: object, **kwargs: object) -> object:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    prober = HttpProber()
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)
    monkeypatch.setattr("orchd.health.probe.has_way", lambda address, port: ours)
    result = await prober.probe(Address("::1", 9), HealthSpec(kind=HealthKind.TCP), early=False)
    assert result.word is (W.VOID if ours else W.UNREACHABLE)
    await prober.close()


async def test_one_that_accepts_and_never_answers_times_out(runner: LocalRunner, prober: HttpProber) -> None:
    await runner.script(**FRESH | {"mute": True})
    result = await prober.probe(runner.address, HealthSpec(timeout_s=0.2), early=False)
    asked = f"GET {runner.url}/health"
    assert (result.word, result.evidence) == (W.TIMEOUT, f"{asked}: no answer within 0.2 s (health.timeout_s)")
    assert result.duration_s > 0


async def test_one_that_resets_is_unreachable(runner: LocalRunner, prober: HttpProber) -> None:
    await runner.script(**FRESH | {"health_mode": "reset"})
    result = await prober.probe(runner.address, HealthSpec(), early=False)
    assert result.word is W.UNREACHABLE
    assert result.evidence


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("hello\r\n\r\n", W.FAILED),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", W.FAILED),
        ('HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"status":"ok"}', W.UNREACHABLE),
        ('HTTP/1.0 200 OK\r\n\r\n{"status":"ok"}', W.READY),
        ("HTTP/1.1 302 Found\r\nLocation: /health\r\nContent-Length: 0\r\n\r\n", W.FAILED),
    ],
)
async def test_broken_answers_are_no_good_ones(runner: LocalRunner, prober: HttpProber, raw: str, word: W) -> None:
    await runner.script(**FRESH | {"routes": {"/raw-health": {"raw": raw}}})
    result = await prober.probe(runner.address, HealthSpec(path="/raw-health"), early=False)
    assert result.word is word
    assert result.evidence.isprintable()


async def test_only_the_beginning_of_an_endless_body_is_read(runner: LocalRunner, prober: HttpProber) -> None:
    await runner.script(**FRESH)
    result = await prober.probe(runner.address, HealthSpec(path="/bytes?n=1000000000&piece=1000"), early=False)
    assert result.word is W.UNKNOWN


async def test_a_probe_bears_no_token_and_reuses_no_connection(prober: HttpProber) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b'HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 15\r\n\r\n{"status":"ok"}')
        assert await reader.read() == b"", "the connection was used again"
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1], base_path="/base")
    for _ in range(2):
        assert (await prober.probe(address, HealthSpec(), early=False)).word is W.READY
    server.close()
    assert len(heads) == 2
    for head in heads:
        assert head.startswith(b"GET /base/health HTTP/1.1\r\n")
        assert b"authorization" not in head.lower()
        assert b"cookie" not in head.lower()


async def test_a_cancelled_probe_is_cancelled(runner: LocalRunner, prober: HttpProber) -> None:
    await runner.script(**FRESH | {"mute": True})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await prober.probe(runner.address, HealthSpec(timeout_s=60), early=False)


@pytest.mark.parametrize(
    ("at", "prefix", "said"),
    [
        ("", "auto", "POST /stream/stop: 400"),
        ("/api", "auto", "POST /api/stream/stop: 400"),
        ("", "", "POST /stream/stop: 400"),
        ("", "/api", "POST /api/stream/stop: 404"),
        ("/nowhere", "auto", "POST /api/stream/stop: 404"),
        ("", None, "no stream routes"),
    ],
)
async def test_streams_are_closed_where_the_routes_are(
    runner: LocalRunner, prober: HttpProber, at: str, prefix: str | None, said: str
) -> None:
    await runner.script(**FRESH | {"pytrickle": True, "stream_prefix": at})
    assert await prober.close_streams(runner.address, StreamSpec(route_prefix=prefix), 20) == said


async def test_closing_streams_ends_one_that_runs(runner: LocalRunner, prober: HttpProber) -> None:
    await runner.script(**FRESH | {"pytrickle": True})
    async with runner.client.post(f"{runner.url}/stream/start") as answer:
        assert answer.status == 200
    health = PROFILES["pytrickle"].health
    assert (await prober.probe(runner.address, health, early=False)).word is W.BUSY
    assert await prober.close_streams(runner.address, StreamSpec(), 20) == "POST /stream/stop: 200"
    assert (await prober.probe(runner.address, health, early=False)).word is W.READY


async def test_closing_streams_never_fails(runner: LocalRunner, prober: HttpProber) -> None:
    await runner.script(**FRESH | {"mute": True})
    assert await prober.close_streams(runner.address, StreamSpec(), 0.1) == "POST /stream/stop: no answer within 0.1 s"
    gone = runner.address._replace(port=free_port())
    assert await prober.close_streams(gone, StreamSpec(), 20) == (
        "POST /stream/stop: connection refused: nothing listens on this port there"
    )


@pytest.mark.parametrize("code", [200, 500, 503])
async def test_no_part_of_a_secret_is_left_where_an_answer_is_cut_short(
    runner: LocalRunner, prober: HttpProber, code: int
) -> None:
    secret = "s3cr3t-0123456789"
    for offset in range(0, 220, 7):
        await runner.script(**FRESH | {"health_code": code, "health_body": "x" * offset + secret})
        result = await prober.probe(runner.address, HealthSpec(), early=False, secrets={secret})
        assert "s3c" not in result.evidence
