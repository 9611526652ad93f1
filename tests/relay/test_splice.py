"""Bytes from socket to socket inside the kernel: all of them, in order, and no descriptor is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest

from orchd.relay.splice import Pipes, SinkBroke, SourceEnded, Splice
from orchd.tasks import spawn

BOUND_S = 30
SIZE = 5_000_000
DATA = bytes(range(256)) * (SIZE // 256)


@pytest.fixture(autouse=True)
def _kernel_of_fakes() -> None:
    """The kernel itself."""


class Line:
    """sender -> source =splice=> sink -> receiver; all four are non-blocking sockets."""

    def __init__(self) -> None:
        self.sender, self.source = socket.socketpair()
        self.sink, self.receiver = socket.socketpair()
        self.pipes = Pipes()
        self.moved = 0
        self.ends: list[Exception | None] = []
        self.ended = asyncio.Event()
        self.changed = asyncio.Event()
        for sock in (self.sender, self.source, self.sink, self.receiver):
            sock.setblocking(False)

    def splice(self, left: int = len(DATA)) -> Splice:
        splice = Splice(
            self.pipes,
            self.source.fileno(),
            self.sink.fileno(),
            left,
            moved=self.has_moved,
            blocked=self.changed.set,
            done=self.is_done,
        )
        splice.start()
        return splice

    def has_moved(self, size: int) -> None:
        self.moved += size

    def is_done(self, why: Exception | None) -> None:
        self.ends.append(why)
        self.ended.set()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sender, data)

    async def receive(self, size: int, piece: int = 65536) -> bytes:
        got = bytearray()
        while len(got) < size and (more := await asyncio.get_running_loop().sock_recv(self.receiver, piece)):
            got += more
        return bytes(got)

    def close(self) -> None:
        for sock in (self.sender, self.source, self.sink, self.receiver):
            sock.close()
        self.pipes.close()


def descriptors() -> set[str]:
    return {link.name for link in Path("/proc/self/fd").iterdir()}


@pytest.fixture
async def line() -> Line:
    return Line()


@pytest.mark.parametrize("piece", [1000, 65536, 10_000_000])
async def test_all_bytes_arrive_in_order_and_not_one_more_is_taken(line: Line, piece: int) -> None:
    splice = line.splice()
    async with asyncio.timeout(BOUND_S):
        sending = asyncio.gather(line.send(DATA + b"what follows"), line.receive(len(DATA), piece))
        _, got = await sending
        await line.ended.wait()
    assert got == DATA
    assert line.ends == [None]
    assert line.moved == len(DATA)
    assert line.source.recv(100) == b"what follows"
    splice.stop()
    line.close()


async def test_a_sink_that_is_full_is_waited_for_and_named(line: Line) -> None:
    splice = line.splice()
    sending = spawn(line.send(DATA), name="sending")
    async with asyncio.timeout(BOUND_S):
        await line.changed.wait()
        assert splice.waits_for_sink
        assert line.ends == []
        assert await line.receive(len(DATA), 777) == DATA
        await sending
        await line.ended.wait()
    assert line.ends == [None]
    line.close()


async def test_a_pipe_that_is_full_of_small_pieces_waits_for_the_sink_alone(line: Line) -> None:
    with contextlib.suppress(BlockingIOError):
        while line.sink.send(bytes(65536)):
            pass
    for _ in range(100):
        line.sender.send(b"x" * 100)
    splice = line.splice()
    assert splice.waits_for_sink
    assert not asyncio.get_running_loop().remove_reader(line.source.fileno())
    splice.stop()
    line.close()


async def test_a_source_that_ends_early_is_told(line: Line) -> None:
    line.splice()
    await line.send(b"abc")
    line.sender.close()
    async with asyncio.timeout(BOUND_S):
        await line.ended.wait()
        assert await line.receive(3) == b"abc"
    assert isinstance(line.ends[0], SourceEnded)
    assert line.moved == 3
    line.close()


async def test_a_sink_that_breaks_is_told(line: Line) -> None:
    line.splice()
    line.receiver.close()
    await line.send(b"abc")
    async with asyncio.timeout(BOUND_S):
        await line.ended.wait()
    assert len(line.ends) == 1
    assert isinstance(line.ends[0], SinkBroke)
    line.close()


@pytest.mark.parametrize("when", ["before", "with bytes in the pipe", "from within", "after"])
async def test_stopping_tells_nobody_and_leaves_no_descriptor(when: str) -> None:
    known = descriptors()
    line = Line()
    splice = line.splice()
    async with asyncio.timeout(BOUND_S):
        if when == "from within":
            line.has_moved = lambda size: splice.stop()  # type: ignore[method-assign]
            splice._moved = line.has_moved
            await line.send(b"abc")
            assert await line.receive(3) == b"abc"
        elif when == "with bytes in the pipe":
            sending = spawn(line.send(DATA), name="sending")
            await line.changed.wait()
            assert splice.waits_for_sink
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        elif when == "after":
            await asyncio.gather(line.send(DATA), line.receive(len(DATA)))
            await line.ended.wait()
    splice.stop()
    splice.stop()
    await line.send(b"more")
    await asyncio.sleep(0)
    assert line.ends == ([None] if when == "after" else [])
    line.close()
    assert descriptors() == known


async def test_pipes_are_used_again_if_they_are_empty_and_only_so_many_are_kept() -> None:
    pipes = Pipes(most=2)
    known = descriptors()
    ends = [pipes.take() for _ in range(3)]
    for pair in ends:
        pipes.give_back(pair, empty=True)
    assert len(descriptors() - known) == 4
    again = pipes.take()
    assert again in ends
    os.write(again[1], b"left over")
    pipes.give_back(again, empty=False)
    assert len(descriptors() - known) == 2
    pipes.close()
    assert descriptors() == known


async def test_small_pieces_take_no_more_rounds_of_a_turn_than_big_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    line, real, turn, most = Line(), os.splice, [0], 0

    def one_byte(source: int, sink: int, count: int, *, flags: int) -> int:
        nonlocal most
        turn[0] += 1
        most = max(most, turn[0])
        return real(source, sink, min(count, 1), flags=flags)

    step = Splice._step

    def counted(splice: Splice) -> None:
        turn[0] = 0
        step(splice)

    monkeypatch.setattr(os, "splice", one_byte)
    monkeypatch.setattr(Splice, "_step", counted)
    await line.send(DATA[:5000])
    line.splice(5000)
    assert await line.receive(5000) == DATA[:5000]
    await line.ended.wait()
    assert line.ends == [None]
    assert 0 < most <= 128
    line.close()
