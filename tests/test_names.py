"""Names are looked up apart, once at a time for each, and the last answer is kept."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchd import names as names_module
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import HealthKind, HealthSpec
from orchd.domain.ports import ProbeWord
from orchd.health.probe import HttpProber
from orchd.http_client import connector
from orchd.names import FRESH_S, LOCALHOST, MOST_LOOK_UPS, Names, NoAddress, NotAllowed, has_way, without_look_up
from orchd.relay.pool import Pool
from orchd.relay.ports import RunnerUnreachable
from orchd.relay.splice import Pipes
from orchd.relay.wire import Batch
from orchd.tasks import cancel, spawn
from tests.ports import free_port

BOUND_S = 20.0


class NameServer:
    """After `getaddrinfo`. Names that are silent hang until the test ends; others get `answers`, or fail."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, ...] | OSError] = {}
        self.asked: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._silent: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def hush(self, name: str) -> None:
        self._silent[name] = threading.Event()

    def speak(self, name: str) -> None:
        self._silent.pop(name).set()

    def close(self) -> None:
        for event in self._silent.values():
            event.set()

    def look_up(self, name: str) -> tuple[str, ...]:
        with self._lock:
            self.asked[name] += 1
            self.under_way[name] += 1
            self.most[name] = max(self.most[name], self.under_way[name])
            silent = self._silent.get(name)
        if silent is not None:
            silent.wait(BOUND_S)
        with self._lock:
            self.under_way[name] -= 1
        answer = self.answers.get(name, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.close()


@pytest.fixture
async def names(server: NameServer) -> AsyncIterator[Names]:
    names = Names(server.look_up)
    yield names
    await names.close()


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not so():  # noqa: ASYNC110 - other threads bring it about
            await asyncio.sleep(0.001)


async def stale(names: Names, name: str) -> None:
    """Make the last answer old enough to be asked for again."""
    names._names[name].found_at -= FRESH_S


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 15\r\n\r\n{"status":"ok"}')
    await writer.drain()
    writer.close()


async def test_one_that_hangs_holds_up_only_itself(server: NameServer, names: Names) -> None:
    """However many wait for it."""
    server.hush("silent.test")
    waiting = [spawn(names.addresses("silent.test"), name="ask") for _ in range(200)]
    for n in range(50):
        server.answers[f"n{n}.test"] = (f"10.0.0.{n}",)
        async with asyncio.timeout(BOUND_S):
            assert await names.addresses(f"n{n}.test") == (f"10.0.0.{n}",)
    assert server.most["silent.test"] == 1
    assert names.awaits("silent.test")
    assert not any(task.done() for task in waiting)
    server.answers["silent.test"] = ("10.1.1.1",)
    server.speak("silent.test")
    assert set(await asyncio.gather(*waiting)) == {("10.1.1.1",)}
    assert server.asked["silent.test"] == 1


@pytest.mark.parametrize("kind", HealthKind)
async def test_probes_of_other_runners_go_on_while_one_name_server_is_silent(
    server: NameServer, names: Names, kind: HealthKind
) -> None:
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server.answers["well.test"] = ("127.0.0.1",)
    server.hush("silent.test")
    prober = HttpProber(names)
    health = HealthSpec(kind=kind, timeout_s=BOUND_S)
    stuck = [spawn(prober.probe(Address("silent.test", port), health, early=False), name="probe") for _ in range(8)]
    for host in ("well.test", "127.0.0.1", "localhost"):
        result = await prober.probe(Address(host, port), health, early=False)
        assert result.word is ProbeWord.READY, result
    assert not any(task.done() for task in stuck)
    for task in stuck:
        task.cancel()
    await asyncio.wait(stuck)
    hurried = HealthSpec(kind=kind, timeout_s=0.05)
    result = await prober.probe(Address("silent.test", port), hurried, early=False)
    assert result.word is ProbeWord.UNREACHABLE
    assert "the name silent.test can't be resolved: no answer from its name server within 0.05 s" in result.evidence
    await prober.close()
    listener.close()


async def test_jobs_to_other_runners_go_on_while_one_name_server_is_silent(server: NameServer, names: Names) -> None:
    """Also where the jobs' own connections are waited for: they look names up as probes do."""
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server.answers["well.test"] = ("127.0.0.1",)
    server.hush("silent.test")
    pool = Pool(asyncio.get_running_loop().time, 4.0, Batch(0.0), Pipes(), names)
    runner = RunnerId(ModelKey("p", "m"), 0, "0123456789ab")
    stuck = [spawn(pool.connect(runner, Address("silent.test", port)), name="connect") for _ in range(8)]
    for host in ("well.test", "127.0.0.1", "localhost"):
        async with asyncio.timeout(BOUND_S):
            await pool.connect(runner, Address(host, port))
    assert len(pool) == 3
    await cancel(*stuck)
    pool.close()
    listener.close()
    with pytest.raises(RunnerUnreachable, match=r"^the name none\.test can't be resolved"):
        await pool.connect(runner, Address("none.test", port))


async def test_nobody_waits_for_ever_for_a_look_up_that_breaks() -> None:
    def look_up(name: str) -> tuple[str, ...]:
        raise LookupError(name)

    names = Names(look_up)
    with pytest.raises(NoAddress):
        await names.addresses("n.test")
    await names.close()


async def test_an_http_client_looks_names_up_the_same_way(server: NameServer, names: Names) -> None:
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server.answers["well.test"] = ("127.0.0.1",)
    async with (
        aiohttp.ClientSession(connector=connector(names)) as session,
        session.get(f"http://well.test:{port}/") as response,
    ):
        assert await response.json(content_type=None) == {"status": "ok"}
    assert server.asked["well.test"] == 1
    listener.close()


async def test_the_last_answer_is_used_while_the_name_server_fails_or_is_silent(
    server: NameServer, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names_module, "PATIENCE_S", 0.01)
    server.answers["n.test"] = ("10.0.0.1",)
    assert await names.addresses("n.test") == ("10.0.0.1",)
    with capture_logs() as logs:
        server.answers["n.test"] = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        for _ in range(3):
            await stale(names, "n.test")
            assert await names.addresses("n.test") == ("10.0.0.1",)
        server.hush("n.test")
        for _ in range(3):
            await stale(names, "n.test")
            assert await names.addresses("n.test") == ("10.0.0.1",)
        assert not names.awaits("n.test")
        server.answers["n.test"] = ("10.0.0.2",)
        server.speak("n.test")
        await until(lambda: names._names["n.test"].found == ("10.0.0.2",))
        assert await names.addresses("n.test") == ("10.0.0.2",)
    assert [entry["event"] for entry in logs] == ["name_look_up_failed", "name_look_up_back"]
    assert server.most["n.test"] == 1


async def test_a_new_answer_is_used_and_a_young_one_is_not_asked_for_again(server: NameServer, names: Names) -> None:
    server.answers["n.test"] = ("10.0.0.1",)
    for _ in range(5):
        assert await names.addresses("n.test") == ("10.0.0.1",)
    assert server.asked["n.test"] == 1
    server.answers["n.test"] = ("10.0.0.2",)
    await stale(names, "n.test")
    assert await names.addresses("n.test") == ("10.0.0.2",)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "::1", "fe80::1", "fe80::1%eth0", "localhost", "LocalHost."])
async def test_addresses_and_localhost_are_never_looked_up(server: NameServer, names: Names, host: str) -> None:
    found = await names.addresses(host)
    assert found == (LOCALHOST if host.lower().startswith("localhost") else (host,))
    assert not server.asked


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_an_address(host: str) -> None:
    assert without_look_up(host) in (None, (host,), LOCALHOST)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "it is not a name that can be looked up"),
        (OSError(errno.ECONNREFUSED, "x"), "connection refused"),
    ],
)
async def test_a_name_without_an_address_says_why(error: Exception, words: str) -> None:
    def look_up(name: str) -> tuple[str, ...]:
        raise error

    names = Names(look_up)
    with pytest.raises(NoAddress, match=f"^the name n.test can't be resolved: {words}"):
        await names.addresses("n.test")
    await names.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, socket.EAI_MEMORY])
async def test_what_we_lack_for_a_look_up_is_not_the_names_fault(number: int) -> None:
    def look_up(name: str) -> tuple[str, ...]:
        raise (socket.gaierror if number < 0 else OSError)(number, "x")

    names = Names(look_up)
    prober = HttpProber(names)
    result = await prober.probe(Address("n.test", 1), HealthSpec(), early=False)
    assert result.word is ProbeWord.VOID, result
    await prober.close()
    await names.close()


async def test_look_ups_are_bounded_and_the_rest_has_its_turn(server: NameServer, names: Names) -> None:
    for n in range(MOST_LOOK_UPS):
        server.hush(f"silent{n}.test")
    stuck = [spawn(names.addresses(f"silent{n}.test"), name="ask") for n in range(MOST_LOOK_UPS)]
    server.answers["last.test"] = ("10.0.0.9",)
    last = spawn(names.addresses("last.test"), name="ask")
    await until(lambda: sum(server.under_way.values()) == MOST_LOOK_UPS)
    assert server.asked["last.test"] == 0
    server.speak("silent0.test")
    assert await last == ("10.0.0.9",)
    for task in stuck:
        task.cancel()
    await asyncio.wait(stuck)


async def test_names_that_were_asked_for_long_ago_are_forgotten(
    server: NameServer, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names_module, "MOST_NAMES", 4)
    for n in range(20):
        server.answers[f"n{n}.test"] = (f"10.0.0.{n}",)
        await names.addresses(f"n{n}.test")
    assert len(names._names) <= 5


async def test_the_addresses_of_a_name_are_tried_in_order(server: NameServer, names: Names) -> None:
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server.answers["two.test"] = ("127.0.0.2", "127.0.0.1")
    made: list[asyncio.Protocol] = []

    def factory() -> asyncio.Protocol:
        made.append(asyncio.Protocol())
        return made[-1]

    transport, protocol = await names.connect(factory, "two.test", port)
    assert transport.get_extra_info("peername") == ("127.0.0.1", port)
    assert protocol is made[-1]
    transport.close()
    listener.close()
    server.answers["none.test"] = ("127.0.0.2", "127.0.0.3", "::1")
    with pytest.raises(ConnectionRefusedError):
        await names.connect(factory, "none.test", free_port())


async def test_localhost_that_nobody_listens_on_is_refused_with_or_without_ipv6(names: Names) -> None:
    with pytest.raises(ConnectionRefusedError):
        await names.connect(asyncio.Protocol, "localhost", free_port())


def test_an_address_with_a_way_and_one_without() -> None:
    assert has_way("127.0.0.1", 9)
    assert not has_way("2001:db8::1%nowhere", 9)


class Judge:
    """Allows the addresses that it is told of; notes those that it was asked about."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed
        self.asked: list[str] = []

    def __call__(self, address: str) -> bool:
        self.asked.append(address)
        return address in self.allowed


async def test_only_an_address_that_may_be_is_dialled(server: NameServer, names: Names) -> None:
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server.answers["two.test"] = ("127.0.0.2", "127.0.0.1")
    judge = Judge("127.0.0.1")
    transport, _ = await names.connect(asyncio.Protocol, "two.test", port, may_dial=judge)
    assert transport.get_extra_info("peername") == ("127.0.0.1", port)
    transport.close()
    assert judge.asked == ["127.0.0.2", "127.0.0.1"]
    for host in ("two.test", "127.0.0.1", "localhost"):
        with pytest.raises(NotAllowed, match="may be dialled"):
            await names.connect(asyncio.Protocol, host, port, may_dial=Judge("10.0.0.1"))
    listener.close()


async def test_a_name_server_that_changes_its_mind_changes_nothing_for_a_dial_that_was_judged(
    server: NameServer, names: Names
) -> None:
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server.answers["turncoat.test"] = ("127.0.0.1",)

    def judge(address: str) -> bool:
        server.answers["turncoat.test"] = ("127.0.0.2",)  # Who looks it up again is led elsewhere.
        names._names.clear()
        return address == "127.0.0.1"

    transport, _ = await names.connect(asyncio.Protocol, "turncoat.test", port, may_dial=judge)
    assert transport.get_extra_info("peername") == ("127.0.0.1", port)
    transport.close()
    assert server.asked["turncoat.test"] == 1
    listener.close()
