"""Orders over the unix socket, with the client that the commands use."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from orchd.cli.client import order
from orchd.control.orders import Asker, Json, Order, text_of
from orchd.control.server import ControlServer
from orchd.control.socket_path import SOCKET_NAME, short_path
from orchd.domain.ids import ModelKey
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.status_view import find_model

KEYS = [ModelKey("llm", "org/a"), ModelKey("upscale", "b")]


class Daemon:
    """Takes orders, and can be told how to answer them."""

    def __init__(self, state_dir: Path) -> None:
        self.restarted: list[ModelKey] = []
        self.lines = ["2 runners drain", "1 runner drains"]
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.done = asyncio.Event()
        self.askers: list[Asker] = []
        self.cut = asyncio.Event()
        self.server = ControlServer(
            state_dir,
            {
                "restart": Order(self.restart),
                "down": Order(self.down, goes_on=True),
                "follow": Order(self.down),
            },
        )

    async def restart(self, order: Json, by: Asker) -> AsyncGenerator[Json, None]:
        key = find_model(text_of(order, "model"), KEYS)
        if self.error:
            raise self.error
        self.restarted.append(key)
        self.askers.append(by)
        yield {"model": str(key)}

    async def down(self, _order: Json, _by: Asker) -> AsyncGenerator[Json, None]:
        try:
            for line in self.lines:
                yield {"line": line}
                await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut.set()
            raise
        if self.error:
            raise self.error
        self.done.set()


def ask_restart(state_dir: Path, model: str) -> str:
    [news] = order(state_dir, "restart", {"model": model})
    return str(news["model"])


def ask_down(state_dir: Path, tell: Callable[[str], None]) -> None:
    for news in order(state_dir, "down", {}):
        tell(news["line"])


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path)
    await daemon.server.start()
    yield daemon
    await daemon.server.close()


async def test_restart_reaches_the_model_that_the_name_means(daemon: Daemon, tmp_path: Path) -> None:
    assert await asyncio.to_thread(ask_restart, tmp_path, "b") == "upscale/b"
    assert await asyncio.to_thread(ask_restart, tmp_path, "llm/org/a") == "llm/org/a"
    assert daemon.restarted == [KEYS[1], KEYS[0]]


async def test_an_unknown_name_is_refused_with_the_known_ones(daemon: Daemon, tmp_path: Path) -> None:
    with pytest.raises(OrchdError, match="cannot find model 'nope': there is llm/org/a, upscale/b") as caught:
        await asyncio.to_thread(ask_restart, tmp_path, "nope")
    assert caught.value.code is Code.UNKNOWN_TARGET
    assert daemon.restarted == []


async def test_what_the_daemon_refuses_is_told_as_it_says_it(daemon: Daemon, tmp_path: Path) -> None:
    daemon.error = OrchdError("cannot restart: somebody else runs it", code=Code.LAUNCH_REFUSED)
    with pytest.raises(OrchdError, match=r"^cannot restart: somebody else runs it$") as caught:
        await asyncio.to_thread(ask_restart, tmp_path, "b")
    assert caught.value.code is Code.LAUNCH_REFUSED


@pytest.mark.parametrize("order", [b"", b"[]", b'"x"', b"{}", b'{"model": 3}', b"\xff", b"[" * 100_000])
async def test_an_order_that_cannot_be_read_is_refused(order: bytes, daemon: Daemon, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_NAME)
    writer.write(b"POST /restart HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(order))
    writer.write(order)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"] == "bad_request"
    assert daemon.restarted == []


async def test_down_tells_each_line_as_it_comes_and_returns_when_done(daemon: Daemon, tmp_path: Path) -> None:
    daemon.go_on.clear()
    told: list[str] = []
    loop, first = asyncio.get_running_loop(), asyncio.Event()

    def tell(line: str) -> None:
        told.append(line)
        loop.call_soon_threadsafe(first.set)

    asked = loop.run_in_executor(None, ask_down, tmp_path, tell)
    async with asyncio.timeout(30):
        await first.wait()
        assert (told, daemon.done.is_set()) == (["2 runners drain"], False)
        daemon.go_on.set()
        await asked
    assert told == daemon.lines
    assert daemon.done.is_set()


async def test_who_asks_is_known(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    await asyncio.to_thread(ask_restart, tmp_path, "b")
    monkeypatch.setenv("SUDO_USER", "al\x1b[31mice")
    await asyncio.to_thread(ask_restart, tmp_path, "b")
    assert daemon.askers == [Asker(os.getuid(), "alice"), Asker(os.getuid())]
    assert [str(asker) for asker in daemon.askers] == ["alice", f"user {os.getuid()}"]


async def test_an_order_of_another_version_is_refused_in_words(daemon: Daemon, tmp_path: Path) -> None:
    with pytest.raises(OrchdError, match="of another version than this command"):
        await asyncio.to_thread(list, order(tmp_path, "dance", {}))


async def test_an_order_that_only_tells_ends_when_who_asked_has_left(daemon: Daemon, tmp_path: Path) -> None:
    daemon.go_on.clear()
    reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_NAME)
    writer.write(b"POST /follow HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"drain")
    writer.transport.abort()
    async with asyncio.timeout(30):
        await daemon.cut.wait()
    assert not daemon.done.is_set()


async def test_down_goes_on_when_who_asked_has_left(daemon: Daemon, tmp_path: Path) -> None:
    daemon.lines = [f"line {n}" for n in range(1000)]
    daemon.go_on.clear()
    reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_NAME)
    writer.write(b"POST /down HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"line 0")
    writer.transport.abort()
    daemon.go_on.set()
    async with asyncio.timeout(30):
        await daemon.done.wait()


async def test_down_that_fails_says_why(daemon: Daemon, tmp_path: Path) -> None:
    daemon.error = OrchdError("cannot reach Docker Engine", code=Code.ENGINE_UNAVAILABLE)
    with pytest.raises(OrchdError, match=r"^cannot reach Docker Engine$"):
        await asyncio.to_thread(ask_down, tmp_path, print)


async def test_a_daemon_that_ends_before_it_is_done_is_not_taken_for_done(tmp_path: Path) -> None:
    def serve(sock: socket.socket) -> None:
        peer, _ = sock.accept()
        with peer:
            while not peer.recv(65536).endswith(b"}"):  # Head and body come apart.
                pass
            peer.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"line": "1 runner drains"}\n')

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / SOCKET_NAME))
        sock.listen()
        server = threading.Thread(target=serve, args=(sock,))
        server.start()
        with pytest.raises(DaemonUnreachable, match="orchd ended before it said so"):
            await asyncio.to_thread(ask_down, tmp_path, print)
        server.join()


async def test_only_the_owner_may_use_the_socket(daemon: Daemon, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o600


async def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET_NAME))
    daemon = Daemon(tmp_path)
    await daemon.server.start()
    assert await asyncio.to_thread(ask_restart, tmp_path, "b") == "upscale/b"
    await daemon.server.close()
    assert not (tmp_path / SOCKET_NAME).exists()


async def test_a_state_directory_may_lie_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    daemon = Daemon(deep)
    await daemon.server.start()
    assert await asyncio.to_thread(ask_restart, deep, "b") == "upscale/b"
    await daemon.server.close()


@pytest.mark.parametrize("folder", [".", "missing"])
def test_no_daemon_is_said_so_with_the_way_out(folder: str, tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match=r"cannot reach orchd at .*control\.sock: .*--state-dir"):
        ask_restart(tmp_path / folder, "b")


def test_a_short_path_is_short_and_leads_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("here")
    with short_path(tmp_path / "x") as name:
        assert len(name) < 40
        assert Path(name).read_text() == "here"


async def test_a_socket_that_was_removed_is_made_again(daemon: Daemon, tmp_path: Path) -> None:
    assert daemon.server.is_there()
    (tmp_path / SOCKET_NAME).unlink()
    assert not daemon.server.is_there()
    await daemon.server.listen_again()
    assert daemon.server.is_there()
    assert await asyncio.to_thread(ask_restart, tmp_path, "b") == "upscale/b"
