"""What is said of servers that fail: what was asked, what came back, what would cure it. By everybody who asks."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import HealthKind, HealthSpec, StreamSpec
from orchd.domain.ports import ProbeWord as W
from orchd.health.explain import explain
from orchd.health.probe import HttpProber
from orchd.health.reading import classify
from orchd.node.client import NodeClient
from orchd.node.ports import NodeError
from orchd.realtime.container import ContainerSilent, ContainerStreams
from orchd.realtime.routes import StreamCall
from orchd.relay.pool import Pool
from orchd.relay.ports import RunnerUnreachable
from orchd.relay.splice import Pipes
from orchd.relay.wire import Batch
from tests.health.failing import (
    RAW,
    Authority,
    Serve,
    answers,
    black_hole,
    hangs,
    hangs_up,
    resets,
    says,
    serving,
    wants_http,
)
from tests.jobs.model import a_model
from tests.ports import free_port

OK = answers(200, b'{"status":"ok"}')


@dataclass(frozen=True)
class Fails:
    """A server, and what must be said of it. `tls`: what its certificate is; None = plain HTTP."""

    serve: Serve
    words: tuple[str, ...]
    scheme: str = "http"
    tls: str | None = None
    word: W = W.FAILED
    health: HealthSpec = field(default_factory=HealthSpec)


CASES = {
    "self-signed": Fails(OK, ("certificate", "signed by itself", "SSL_CERT_FILE"), "https", "itself", W.UNREACHABLE),
    "untrusted": Fails(OK, ("certificate", "authority", "SSL_CERT_FILE"), "https", "untrusted", W.UNREACHABLE),
    "expired": Fails(OK, ("certificate", "it has expired"), "https", "expired", W.UNREACHABLE),
    "wrong host": Fails(OK, ("certificate", "it is for another"), "https", "elsewhere", W.UNREACHABLE),
    "no TLS": Fails(wants_http, ("does not speak TLS on this port", "http://"), "https", None, W.UNREACHABLE),
    "TLS": Fails(OK, ("if it speaks TLS there, its url must begin with https://",), "http", "good", W.UNREACHABLE),
    "TLS by its alert": Fails(says(b"\x15\x03\x01\x00\x02\x02\x46"), ("it speaks TLS on this port",)),
    "TLS by its words": Fails(
        answers(400, b"Client sent an HTTP request to an HTTPS server."), ("it speaks TLS on this port", "https://")
    ),
    "reset": Fails(resets, ("reset the connection",), word=W.UNREACHABLE),
    "nothing": Fails(says(), ("closed the connection without an answer",), word=W.UNREACHABLE),
    "hangs up": Fails(hangs_up, ("the connection",), word=W.UNREACHABLE),
    "hangs up in TLS": Fails(hangs_up, ("the connection",), "https", word=W.UNREACHABLE),
    "garbage": Fails(says(b"SSH-2.0-OpenSSH_9\r\n\r\n"), ("its answer is not HTTP", "SSH-2.0")),
    "broken off": Fails(
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"), ("its answer broke off",), word=W.UNREACHABLE
    ),
    "silent": Fails(
        hangs, ("no answer within 0.2 s", "health.timeout_s"), word=W.TIMEOUT, health=HealthSpec(timeout_s=0.2)
    ),
    "404": Fails(answers(404, b"nope"), ("says 404 nope", "health.ok_codes (200)", "set health.path")),
    "401": Fails(answers(401), ("says 401", "health.ok_codes (200)", "login")),
    "403": Fails(answers(403), ("says 403", "health.ok_codes (200)", "login")),
    "405": Fails(answers(405), ("says 405", "takes no GET", "health.path")),
    "500": Fails(answers(500, b"boom"), ("says 500 boom", "health.loading_codes")),
    "204": Fails(answers(204), ("says 204", "health.ok_codes (200)")),
    "redirect": Fails(answers(307, b"", b"Location: /healthz"), ("redirects to /healthz", "health.path")),
    "unknown word": Fails(
        answers(200, b'{"status":"warming"}'),
        (
            "the word 'warming' is in none of health.ready (ok, idle, ready, healthy), health.busy (none), ",
            "health.loading (loading, initializing, starting), health.error (error, failed)",
        ),
        word=W.UNKNOWN,
    ),
    "another member": Fails(
        answers(200, b'{"state":"ok","v":1}'),
        ("no text in 'status'", "state, v", "health.status_field"),
        word=W.UNKNOWN,
    ),
    "no object": Fails(answers(200, b"[1]"), ("no object", "health.path", "http-status"), word=W.UNKNOWN),
    "HTML": Fails(answers(200, b"<html>hi</html>"), ("neither JSON nor a single word", "http-status"), word=W.UNKNOWN),
    "empty": Fails(answers(200), ("an empty body", "http-status"), word=W.UNKNOWN),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make("the authority", tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def contexts(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, ssl.SSLContext | None]:
    other = Authority.make("another", tmp_path_factory.mktemp("other"))
    return {
        None: None,
        "good": authority.issue("good", "127.0.0.1"),
        "itself": authority.issue("itself", "127.0.0.1", itself=True),
        "untrusted": other.issue("untrusted", "127.0.0.1"),
        "expired": authority.issue("expired", "127.0.0.1", days=-1),
        "elsewhere": authority.issue("elsewhere", "elsewhere.test"),
    }


@pytest.fixture(autouse=True)
def _trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SSL_CERT_FILE has it, which is read when a process starts."""
    context = authority.trust(ssl.create_default_context())
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", context)
    monkeypatch.setattr(ssl, "create_default_context", lambda **given: context)


@pytest.fixture
async def prober() -> AsyncIterator[HttpProber]:
    prober = HttpProber()
    yield prober
    await prober.close()


def in_words(said: str, *words: str) -> None:
    for word in words:
        assert word in said, said
    for raw in RAW:
        assert raw not in said, said
    assert said.isprintable()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_probe_says_what_was_asked_what_came_and_what_would_cure_it(
    case: Fails, prober: HttpProber, contexts: dict[str | None, ssl.SSLContext | None]
) -> None:
    async with serving(case.serve, contexts[case.tls]) as port:
        result = await prober.probe(Address("127.0.0.1", port, case.scheme), case.health, early=False)
    in_words(result.evidence, f"GET {case.scheme}://127.0.0.1:{port}/health", *case.words)
    assert result.word is case.word, result


async def test_a_port_that_nobody_listens_on_and_one_that_takes_no_connection(prober: HttpProber) -> None:
    closed = Address("127.0.0.1", free_port())
    for kind in HealthKind:
        result = await prober.probe(closed, HealthSpec(kind=kind), early=False)
        in_words(result.evidence, f"127.0.0.1:{closed.port}", "connection refused: nothing listens on this port there")
    with black_hole() as port:
        for kind in HealthKind:
            result = await prober.probe(Address("127.0.0.1", port), HealthSpec(kind=kind, timeout_s=0.2), early=False)
            in_words(result.evidence, f"127.0.0.1:{port}", "no connection within 0.2 s (health.timeout_s)")
            assert result.word is W.TIMEOUT


async def by_job(address: Address) -> str:
    pool = Pool(asyncio.get_running_loop().time, 4.0, Batch(0.0), Pipes())
    try:
        with pytest.raises(RunnerUnreachable) as caught:
            await pool.connect(RunnerId(ModelKey("p", "m"), 0, "0123456789ab"), address)
        assert len(pool) == 0
        return str(caught.value)
    finally:
        pool.close()


async def by_stream(address: Address) -> str:
    streams = ContainerStreams(20.0)
    try:
        with pytest.raises(ContainerSilent) as caught:
            await streams.call(
                a_model(stream=StreamSpec(route_prefix="")), address, StreamCall.START, headers={}, body=b""
            )
        return str(caught.value)
    finally:
        await streams.close()


async def by_node_client(address: Address) -> str:
    settings = OrchestratorSettings(service_url=address.url, certificate="ca:/dev/null")
    client = NodeClient(settings, None)
    try:
        with pytest.raises(NodeError) as caught:
            await client.service("GET", "/status")
        return caught.value.message
    finally:
        await client.close()


TLS_FAULTS = [name for name, case in CASES.items() if case.scheme == "https"]
SEEN_BY_HTTP = [name for name, case in CASES.items() if case.word is W.UNREACHABLE and name != "TLS"]


@pytest.mark.parametrize("name", TLS_FAULTS)
async def test_a_job_that_gets_no_connection_says_the_same(
    name: str, contexts: dict[str | None, ssl.SSLContext | None]
) -> None:
    case = CASES[name]
    async with serving(case.serve, contexts[case.tls]) as port:
        in_words(await by_job(Address("127.0.0.1", port, "https")), *case.words)


@pytest.mark.parametrize("ask", [by_stream, by_node_client])
@pytest.mark.parametrize("name", SEEN_BY_HTTP)
async def test_a_call_that_gets_no_answer_says_the_same(
    name: str, ask: Callable[[Address], Awaitable[str]], contexts: dict[str | None, ssl.SSLContext | None]
) -> None:
    case = CASES[name]
    async with serving(case.serve, contexts[case.tls]) as port:
        said = await ask(Address("127.0.0.1", port, case.scheme))
    in_words(said, *(word for word in case.words if ask is by_stream or word not in ("certificate", "SSL_CERT_FILE")))


@pytest.mark.parametrize("ask", [by_job, by_stream, by_node_client])
async def test_nobody_there_and_no_such_name_are_told_in_words(ask: Callable[[Address], Awaitable[str]]) -> None:
    in_words(await ask(Address("127.0.0.1", free_port())), "connection refused")
    in_words(await ask(Address("localhost", free_port())), "connection refused")
    in_words(await ask(Address("no-such-host.invalid", 9)), "the name no-such-host.invalid can't be resolved")


@given(st.integers(200, 599), st.binary(max_size=200), st.sampled_from(HealthKind), st.booleans(), st.text(max_size=20))
def test_whatever_is_no_good_answer_is_explained(
    code: int, body: bytes, kind: HealthKind, early: bool, to: str
) -> None:
    health = HealthSpec(kind=kind, loading_codes=(503,))
    word, _ = classify(code, body, health, early=early)
    said = explain(code, body, to, health, "GET http://127.0.0.1:1/health")
    if word in (W.FAILED, W.UNKNOWN):
        assert said.startswith(f"GET http://127.0.0.1:1/health says {code}")
        assert "health." in said or "https://" in said
    assert said == "" or said.isprintable()
