"""Requests that a door answers itself in pieces: channels over connections that the test holds, cut anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.channels.bounds import Bounds
from orchd.channels.store import ChannelStore
from orchd.doors.channels.door import ChannelsDoor
from orchd.doors.entrance import Entrance
from orchd.errors import Code
from tests.jobs.fakes import Bench
from tests.jobs.messages import refused
from tests.jobs.test_own import Arriving, FakeKeeper
from tests.relay.transport import FakeTransport
from tests.soak import examples
from tests.virtual_time import virtual_time

STALLED_S = 7
CHUNKED = ("Transfer-Encoding", "chunked")


class Trickle(Bench):
    """A listener that carries channels; `a` is there."""

    def __init__(self, bounds: Bounds | None = None, **options: Any) -> None:
        super().__init__(hooks=[Arriving()], between_bytes_timeout_s=STALLED_S, **options)
        self.store = ChannelStore(bounds or Bounds(), asyncio.get_running_loop().time)
        self.store.create("a", "video/mp2t", "s")
        self.own = FakeKeeper()
        self.entrance = Entrance((ChannelsDoor(self.store),), own=self.own)

    @property
    def under_way(self) -> int:
        return self.store.channels.requests

    async def get(self, word: object, room: int | None = None, method: str = "GET") -> FakeTransport:
        caller = self.caller(asked(f"a/{word}", method), room)
        await self.settle()
        return caller

    async def post(self, word: object, body: bytes = b"") -> FakeTransport:
        """Open an upload in chunks."""
        caller = self.caller(asked(f"a/{word}", "POST", CHUNKED) + (chunk(body) if body else b""))
        await self.settle()
        return caller

    async def say(self, caller: FakeTransport, data: bytes) -> None:
        caller.say(data)
        await self.settle()


def asked(path: str, method: str, *headers: tuple[str, str], version: str = "1.1") -> bytes:
    """Return the head of a request."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (("Host", "x"), *headers))
    return f"{method} /ai/trickle/{path} HTTP/{version}\r\n{lines}\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return the data in pieces of these sizes, the last one with the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [piece for piece in (*pieces, data[at:]) if piece]


sizes = st.lists(st.integers(1, 400), max_size=12)


@pytest.mark.soak
@settings(max_examples=examples(300), deadline=None)
@given(
    data=st.binary(min_size=1, max_size=1500),
    chunks=sizes,
    cuts=sizes,
    rooms=sizes,
    known_length=st.booleans(),
    late=st.booleans(),
)
def test_however_bytes_are_cut_on_their_way_the_reader_gets_the_segment(
    data: bytes, chunks: list[int], cuts: list[int], rooms: list[int], *, known_length: bool, late: bool
) -> None:
    @virtual_time
    async def run() -> None:
        bench = Trickle()
        reader = None if late else await bench.get(-1, room=0)
        if known_length:
            upload = asked("a/0", "POST", ("Content-Length", str(len(data)))) + data
        else:
            upload = asked("a/0", "POST", CHUNKED) + b"".join(map(chunk, cut(data, chunks))) + b"0\r\n\r\n"
        writer = bench.caller()
        for piece in cut(upload, cuts):
            await bench.say(writer, piece)
            if rooms and reader is not None:
                reader.take(rooms.pop())
                await bench.settle()
        reader = reader or await bench.get(0, room=0)
        for room in rooms:
            reader.take(room)
            await bench.settle()
        reader.take()
        await bench.settle()
        [told], [got] = writer.messages, reader.messages
        assert (told.status, told.header("Lp-Trickle-Seq")) == (200, "0")
        assert (got.status, got.header("Lp-Trickle-Seq"), got.body) == (200, "0", data)
        assert got.end is not None
        assert bench.under_way == 0
        assert not writer.over
        assert not reader.over

    run()


@pytest.mark.soak
@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["say", "end", "lose", "finish", "stall", "take", "remove"])))
)
def test_whoever_leaves_when_gives_its_place_back(story: list[tuple[int, str]]) -> None:
    @virtual_time
    async def run() -> None:
        bench = Trickle()
        peers = [await bench.get(-1), await bench.get(-2), await bench.get(0, 0), await bench.post(0, b"x")]
        peers += [await bench.post(1), await bench.get(-1, method="HEAD")]
        for number, what in story:
            peer = peers[number]
            match what:
                case "say" | "end" if number in (3, 4) and not peer.broken:
                    peer.say(chunk(bytes(50)) if what == "say" else b"0\r\n\r\n")
                case "lose":
                    peer.lose()
                case "finish":
                    peer.finish()
                case "stall":
                    peer.take(0)
                case "take":
                    peer.take()
                case "remove":
                    bench.store.remove("a")
            await bench.settle()
        for peer in peers:
            peer.take()
            peer.lose()
        await bench.settle()
        assert bench.under_way == 0
        bench.store.remove("a")
        assert bench.store.channels.size == 0
        assert len(bench.server.callers) == 0

    run()


@virtual_time
async def test_no_hook_is_asked_and_no_job_is_counted_but_each_answer_is() -> None:
    bench = Trickle()
    await bench.post(0, b"x")
    await bench.get(0)
    await bench.get(9)
    (hook,) = bench.hooks
    assert hook.identified == []
    assert bench.outcomes == []
    assert bench.own.counted == [("channels", "channel", 470)]
    bench.store.remove("a")
    await bench.settle()
    assert [status for *_, status in bench.own.counted] == [470, 200]


@virtual_time
async def test_who_asks_too_often_for_what_is_not_there_is_refused() -> None:
    bench = Trickle()
    bench.store.remove("a")
    assert (await bench.get(0)).messages[0].status == 404
    bench.own.limited.add("192.0.2.1")
    assert refused((await bench.get(0)).messages[0]) is Code.RATE_LIMITED
    bench.store.create("a", "video/mp2t", "s")
    assert (await bench.get("next")).messages[0].status == 200


@virtual_time
async def test_a_wait_has_no_end_but_who_takes_no_byte_is_cut_off() -> None:
    bench = Trickle()
    waiting, writer = await bench.get(1), await bench.post(0, b"x" * 5000)
    stalled = await bench.get(0, room=100)
    await asyncio.sleep(STALLED_S - 1)
    assert bench.under_way == 3
    await asyncio.sleep(2)
    assert (stalled.lost, stalled.socket.resets, bench.under_way) == (True, True, 2)
    await asyncio.sleep(1000)
    assert bench.under_way == 2
    assert not waiting.over
    await bench.say(writer, b"0\r\n\r\n")
    assert writer.messages[0].status == 200


@virtual_time
async def test_an_upload_that_finds_no_room_is_not_read_and_goes_on_when_there_is_some() -> None:
    bench = Trickle(Bounds(segment_bytes=10, channel_bytes=10, all_bytes=10))
    full, waiting = await bench.post(0, b"1234567890"), await bench.post(1, b"abc")
    await bench.say(waiting, chunk(b"def"))
    assert bench.store.channels.size == 10
    assert not waiting.reading
    await bench.say(full, b"0\r\n\r\n")
    await bench.say(waiting, b"0\r\n\r\n")
    assert waiting.messages[0].status == 200
    assert (await bench.get(1)).messages[0].body == b"abcdef"


@virtual_time
async def test_an_upload_that_finds_no_room_for_long_is_refused_while_its_body_is_open() -> None:
    bench = Trickle(Bounds(segment_bytes=10, channel_bytes=10, all_bytes=10))
    await bench.post(0, b"1234567890")
    waiting = await bench.post(1, b"abc")
    for _ in range(6):
        await asyncio.sleep(1)
        bench.store.tick()
        await bench.settle()
    [told] = waiting.messages
    assert (told.status, told.header("Connection"), waiting.ended) == (503, "close", True)
    assert bench.under_way == 1


@virtual_time
async def test_a_segment_that_is_too_long_is_refused_at_once() -> None:
    bench = Trickle(Bounds(segment_bytes=10, channel_bytes=100, all_bytes=100))
    long = await bench.post(0, b"12345678901")
    [told] = long.messages
    assert (told.status, told.header("Connection"), long.ended) == (413, "close", True)


@virtual_time
async def test_a_reader_whose_bytes_were_needed_is_cut_off_so_that_nothing_looks_complete() -> None:
    bench = Trickle(Bounds(segment_bytes=600_000, channel_bytes=600_000, all_bytes=600_000))
    bench.store.publish("a", bytes(500_000))
    slow = await bench.get(0, room=500)
    bench.store.publish("a", bytes(500_000))
    await bench.settle()
    slow.take()
    await bench.settle()
    assert slow.socket.resets
    assert slow.messages[0].end is None
    assert bench.under_way == 0


@virtual_time
async def test_a_body_that_is_no_chunks_ends_the_upload_and_the_segment_may_be_resumed() -> None:
    bench = Trickle()
    broken = await bench.post(0, b"one")
    await bench.say(broken, b"no chunk\r\n")
    assert refused(broken.messages[0]) is Code.BAD_REQUEST
    reader = await bench.get(0)
    assert reader.messages[0].end is None
    again = await bench.post(0, b"two")
    await bench.say(again, b"0\r\n\r\n")
    assert reader.messages[0].body == b"onetwo"


@virtual_time
async def test_a_client_of_http_1_0_reads_to_the_end_of_the_connection() -> None:
    bench = Trickle()
    bench.store.publish("a", b"data")
    caller = bench.caller(asked("a/0", "GET", version="1.0"))
    await bench.settle()
    head, _, body = bytes(caller.sent).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert (body, caller.ended) == (b"data", True)


@virtual_time
async def test_head_waits_and_gets_no_body_and_the_connection_goes_on() -> None:
    bench = Trickle()
    caller = await bench.get(0, method="HEAD")
    assert caller.sent == bytearray()
    bench.store.publish("a", b"data")
    await bench.settle()
    head = bytes(caller.sent)
    assert head.startswith(b"HTTP/1.1 200")
    assert head.endswith(b"\r\n\r\n")
    assert b"Content-Type: video/mp2t" in head
    await bench.say(caller, asked("a/next", "GET"))
    assert bytes(caller.sent)[len(head) :].endswith(b"\r\n\r\n1")


@virtual_time
async def test_a_writer_that_asks_first_is_told_to_go_on_at_once() -> None:
    bench = Trickle()
    caller = bench.caller(asked("a/0", "POST", CHUNKED, ("Expect", "100-continue")))
    await bench.settle()
    assert bytes(caller.sent) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert bench.under_way == 1


@virtual_time
async def test_requests_follow_one_another_on_a_connection() -> None:
    bench = Trickle()
    posted = b"".join(
        asked(f"a/{seq}", "POST", ("Content-Length", "3")) + b"abc" + asked(f"a/{seq}", "GET") for seq in range(3)
    )
    caller = bench.caller(posted)
    await bench.settle()
    assert [(message.status, message.body) for message in caller.messages] == [(200, b""), (200, b"abc")] * 3


@virtual_time
async def test_who_waits_holds_up_no_shutdown_and_is_told_of_it() -> None:
    bench = Trickle()
    waiting, reading = await bench.get(1), await bench.post(0, b"x")
    reader = await bench.get(0)
    async with asyncio.timeout(0.5):
        await bench.server.drain(1000)
    assert bench.under_way == 3
    await bench.server.close()
    assert refused(waiting.messages[0]) is Code.SHUTTING_DOWN
    assert refused(reading.messages[0]) is Code.SHUTTING_DOWN
    assert reader.messages[0].end is None
    assert bench.under_way == 0
