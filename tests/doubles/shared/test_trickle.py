"""The trickle server answers as the reference server does: the cases of trickle.md 13, and what else its text says."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from yarl import URL

from orchd.tasks import spawn
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.recordings import BOUND_S
from tests.doubles.shared.trickle_channel import Channel
from tests.doubles.shared.trickle_clients import CURRENT, Answer, Publisher, Upload, subscribe
from tests.doubles.shared.trickle_server import TrickleServer, serving

SEQ, LATEST, CLOSED = "Lp-Trickle-Seq", "Lp-Trickle-Latest", "Lp-Trickle-Closed"


class Read:
    """One GET, begun in the background."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.pieces: list[bytes] = []
        self.headers: dict[str, str] | None = None
        self.status = 0
        self.task = spawn(self._run(), name=f"get {url}")

    async def _run(self) -> None:
        async with self._session.get(self._url) as answer:
            self.status, self.headers = answer.status, dict(answer.headers)
            async for piece in answer.content.iter_any():
                self.pieces.append(piece)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    async def done(self) -> Read:
        await asyncio.wait_for(self.task, BOUND_S)
        return self


class Bench:
    """A server on loopback with the channel `a`, and short ways to use it."""

    def __init__(self, server: TrickleServer, clock: Clock, base: str, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.clock = clock
        self.session = session
        self.root = f"{base}/ai/trickle"
        self.url = f"{self.root}/a"

    @property
    def channel(self) -> Channel:
        channel = self.server.channels.get("a")
        assert channel is not None
        return channel

    async def ask(self, method: str, path: object, **kwargs: Any) -> tuple[int, dict[str, str], bytes]:
        url = self.url if path == "" else f"{self.url}/{path}"
        async with self.session.request(method, url, allow_redirects=False, **kwargs) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def get(self, seq: object) -> tuple[int, dict[str, str], bytes]:
        return await self.ask("GET", seq)

    async def post(self, seq: object, data: bytes, **kwargs: Any) -> tuple[int, dict[str, str], bytes]:
        return await self.ask("POST", seq, data=data, **kwargs)

    async def read(self, seq: object) -> Read:
        """Begin a GET and return once the server has it in hand."""
        before = self.watching(readers=True)
        read = Read(self.session, f"{self.url}/{seq}")
        await until(lambda: self.watching(readers=True) > before or read.task.done())
        return read

    def watching(self, *, readers: bool) -> int:
        """How many requests the server holds: readers watch with an event, writers without a byte with a function."""
        found = [watcher for segment in self.channel.segments() for watcher in segment.watchers]
        return sum(isinstance(getattr(watcher, "__self__", None), asyncio.Event) == readers for watcher in found)

    async def preconnect(self, seq: int, **headers: str) -> Upload:
        """Send a POST's head and return once the server has it in hand."""
        before = self.watching(readers=False)
        upload = await Upload.open(f"{self.url}/{seq}", headers=headers)
        await until(lambda: self.watching(readers=False) > before)
        return upload

    async def head(self) -> int:
        return int((await self.get("next"))[2])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not true():  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.005)


async def answer_of(upload: Upload) -> Answer:
    return await asyncio.wait_for(upload.answer(), BOUND_S)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = Clock()
    server = TrickleServer(clock)
    server.create("a", "video/mp2t")
    async with serving(server) as base, aiohttp.ClientSession() as session:
        yield Bench(server, clock, base, session)


async def test_case_1_a_fresh_channel_has_head_0_and_no_segment_ahead(bench: Bench) -> None:
    status, headers, body = await bench.get("next")
    assert (status, headers[LATEST], body) == (200, "0", b"0")
    status, headers, body = await bench.get(2)
    assert (status, headers[SEQ], headers[LATEST], body) == (470, "2", "0", b"Entry not found")
    waiting = await bench.read(-1)
    assert not waiting.task.done()
    await bench.post(0, b"x")
    assert (await waiting.done()).data == b"x"


async def test_case_2_a_head_without_a_body_moves_nothing(bench: Bench) -> None:
    waiting = await bench.read(-1)
    upload = await bench.preconnect(0)
    assert await bench.head() == 0
    assert waiting.headers is None
    await upload.write(b"x")
    await upload.finish()
    assert (await waiting.done()).headers is not None


async def test_case_3_readers_get_what_is_there_and_then_each_piece_as_it_comes(bench: Bench) -> None:
    first = await bench.read(-1)
    upload = await bench.preconnect(0)
    await upload.write(b"one")
    await until(lambda: first.data == b"one")
    assert first.headers is not None
    assert LATEST not in first.headers
    assert first.headers[SEQ] == "0"
    assert await bench.head() == 1
    late = await bench.read(CURRENT)
    await until(lambda: late.data == b"one")
    assert late.headers is not None
    assert late.headers[LATEST] == "1"
    ahead = await bench.read(-1)
    await upload.write(b"two")
    await until(lambda: (first.data, late.data) == (b"onetwo", b"onetwo"))
    answer = await upload.finish()
    assert (answer.status, answer.headers[SEQ]) == (200, "0")
    assert "Connection" not in answer.headers
    await first.done()
    await late.done()
    assert ahead.headers is None
    await bench.post(1, b"three")
    assert (await ahead.done()).data == b"three"


async def test_case_4_five_segments_are_held_and_one_ahead_can_be_waited_for(bench: Bench) -> None:
    for seq in range(8):
        await bench.post(seq, b"%d" % seq)
    assert (await bench.get(2))[0] == 470
    assert (await bench.get(3))[2] == b"3"
    waiting = await bench.read(8)
    assert not waiting.task.done()
    status, headers, _ = await bench.get(9)
    assert (status, headers[LATEST]) == (470, "8")
    await bench.post(8, b"8")
    assert (await waiting.done()).data == b"8"


async def test_case_5_a_preconnect_evicts_the_oldest(bench: Bench) -> None:
    for seq in range(7):
        await bench.post(seq, b"%d" % seq)
    assert (await bench.get(2))[2] == b"2"
    upload = await bench.preconnect(7)
    assert (await bench.get(2))[0] == 470
    assert (await bench.get(3))[2] == b"3"
    upload.abort()


async def test_case_6_an_empty_segment_counts_and_is_read_as_empty(bench: Bench) -> None:
    status, headers, _ = await bench.post(0, b"")
    assert (status, headers["Connection"], headers[SEQ]) == (200, "close", "0")
    status, headers, body = await bench.get(0)
    assert (status, headers[SEQ], headers[LATEST], headers["Content-Length"], body) == (200, "0", "1", "0", b"")
    assert not {CLOSED, "Content-Type"} & set(headers)
    assert (await bench.post(-1, b"x"))[1][SEQ] == "1"


async def test_case_7_deleting_the_channel_ends_whoever_waits(bench: Bench) -> None:
    upload, waiting = await bench.preconnect(0), await bench.read(0)
    assert (await bench.ask("DELETE", ""))[0] == 200
    answer, read = await answer_of(upload), await waiting.done()
    assert (answer.status, answer.headers[CLOSED], answer.headers["Connection"]) == (200, "terminated", "close")
    assert read.headers is not None
    assert (read.status, read.data, read.headers[CLOSED]) == (200, b"", "terminated")
    assert (await bench.get(0))[0::2] == (404, b"Stream not found\n")
    assert (await bench.ask("DELETE", ""))[0::2] == (400, b"Invalid stream\n")


async def test_case_7_deleting_a_segment_ends_whoever_waits_for_it_and_moves_the_head(bench: Bench) -> None:
    upload, waiting = await bench.preconnect(0), await bench.read(0)
    assert (await bench.ask("DELETE", 0))[0] == 200
    answer, read = await answer_of(upload), await waiting.done()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert CLOSED not in answer.headers
    assert read.headers is not None
    assert (read.status, read.data) == (200, b"")
    assert CLOSED not in read.headers
    assert await bench.head() == 1


async def test_case_8_a_broken_upload_is_gone_on_with_by_the_next_post(bench: Bench) -> None:
    upload = await bench.preconnect(0)
    await upload.write(b"one")
    waiting = await bench.read(0)
    await until(lambda: waiting.data == b"one")
    upload.abort()
    await bench.post(0, b"two")
    assert (await waiting.done()).data == b"onetwo"
    assert (await bench.get(0))[2] == b"onetwo"


async def test_case_9_a_reset_ends_the_readers_of_lower_segments(bench: Bench) -> None:
    upload = await bench.preconnect(0)
    await upload.write(b"one")
    waiting = await bench.read(0)
    await until(lambda: waiting.data == b"one")
    assert (await bench.post(-1, b"new", headers={"Lp-Trickle-Reset": "1"}))[1][SEQ] == "1"
    assert (await waiting.done()).data == b"one"
    assert (await bench.get(0))[2] == b"one"
    assert (await bench.get(1))[2] == b"new"
    upload.abort()


async def test_case_10_readers_get_the_channels_type_never_the_posts(bench: Bench) -> None:
    await bench.post(0, b"x", headers={"Content-Type": "text/other"})
    assert (await bench.get(0))[1]["Content-Type"] == "video/mp2t"


async def test_case_11_a_slow_reader_keeps_what_it_holds(bench: Bench) -> None:
    big = bytes(3_000_000)
    await bench.ask("POST", 0, data=io.BytesIO(big))
    async with bench.session.get(f"{bench.url}/0") as slow:
        for seq in range(1, 8):
            await bench.post(seq, b"x")
        assert await slow.read() == big
    assert (await bench.get(0))[0] == 470


async def test_case_12_a_post_to_a_closed_segment_is_dropped_and_rewinds_the_head(bench: Bench) -> None:
    for seq in range(3):
        await bench.post(seq, b"old")
    status, headers, _ = await bench.post(1, b"new")
    assert (status, headers[SEQ]) == (200, "1")
    assert (await bench.get(1))[2] == b"old"
    assert await bench.head() == 2


async def test_two_writers_of_one_segment_append_and_the_first_end_closes_it(bench: Bench) -> None:
    one, two = await bench.preconnect(0), await bench.preconnect(0)
    await one.write(b"1")
    await until(lambda: bench.channel.head == 1)
    await two.write(b"2")
    reader = await bench.read(0)
    await until(lambda: reader.data == b"12")
    await one.finish()
    assert (await reader.done()).data == b"12"
    await two.write(b"3")
    await two.finish()
    assert (await bench.get(0))[2] == b"123"


async def test_bytes_after_a_delete_of_the_segment_show_to_new_readers_only(bench: Bench) -> None:
    upload = await bench.preconnect(0)
    await upload.write(b"1")
    reader = await bench.read(0)
    await bench.ask("DELETE", 0)
    assert (await reader.done()).data == b"1"
    await upload.write(b"2")
    assert (await upload.finish()).status == 200
    assert (await bench.get(0))[2] == b"12"


async def test_an_upload_that_had_begun_ends_normally_after_its_channel_died(bench: Bench) -> None:
    upload = await bench.preconnect(0)
    await upload.write(b"1")
    reader = await bench.read(0)
    await until(lambda: reader.data == b"1")
    await bench.ask("DELETE", "")
    assert (await reader.done()).data == b"1"
    await upload.write(b"2")
    answer = await upload.finish()
    assert (answer.status, CLOSED in answer.headers) == (200, False)


async def test_a_publisher_that_starts_anew_takes_over_and_rewinds(bench: Bench) -> None:
    for seq in range(7):
        await bench.post(seq, b"old")
    await bench.post(0, b"new")
    assert await bench.head() == 1
    assert (await bench.get(CURRENT))[2] == b"new"
    assert (await bench.get(5))[0] == 470


async def test_a_seq_far_ahead_evicts_only_its_own_slot(bench: Bench) -> None:
    for seq in range(5):
        await bench.post(seq, b"%d" % seq)
    await bench.post(101, b"far")
    assert await bench.head() == 102
    assert (await bench.get(0))[2] == b"0"
    assert (await bench.get(1))[0] == 470


async def test_a_writer_with_headers_only_hears_that_somebody_is_there(bench: Bench) -> None:
    upload = await bench.preconnect(0)
    await bench.clock.advance(25)
    await upload.write(b"x")
    assert (await upload.finish()).interims == 2


async def test_a_reader_that_leaves_is_noticed(bench: Bench) -> None:
    waiting = await bench.read(0)
    segment = bench.channel.held(0)
    assert segment is not None
    assert segment.watchers
    waiting.task.cancel()
    await until(lambda: not segment.watchers)
    assert bench.channel.held(0) is segment


async def test_idle_channels_are_swept_after_five_minutes_but_not_private_ones(bench: Bench) -> None:
    bench.server.create("_own", "text/plain")
    await bench.clock.advance(120)
    await bench.post(0, b"x")
    await bench.clock.advance(300)
    assert bench.server.channels.names() == ("a", "_own")
    waiting = await bench.read(1)
    await bench.clock.advance(60)
    assert bench.server.channels.names() == ("_own",)
    read = await waiting.done()
    assert read.headers is not None
    assert CLOSED in read.headers


async def test_one_endless_segment_is_swept_in_its_middle(bench: Bench) -> None:
    upload = await bench.preconnect(0)
    for _ in range(7):
        await upload.write(b"x")
        await bench.clock.advance(60)
    assert bench.server.channels.names() == ()
    assert (await upload.finish()).status == 200


@pytest.mark.parametrize("seq", ["-1x", "x", "-3", "-5", "1.0"])
async def test_a_number_that_is_no_word_is_refused(bench: Bench, seq: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert (await bench.ask(method, seq))[0::2] == (400, b"Invalid idx\n")


async def test_words_of_readers_are_no_words_of_writers(bench: Bench) -> None:
    assert (await bench.post(CURRENT, b"x"))[0] == 400
    assert (await bench.ask("DELETE", -1))[0] == 400
    assert (await bench.ask("DELETE", 3))[0::2] == (400, b"Nonexistent segment\n")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "0", "DELETE, GET, HEAD, POST"),
        ("GET", "", "DELETE, POST"),
        ("PATCH", "next", "DELETE, GET, HEAD, POST"),
    ],
)
async def test_other_methods_are_405_with_allow(bench: Bench, method: str, path: str, allow: str) -> None:
    status, headers, _ = await bench.ask(method, path)
    assert (status, headers["Allow"]) == (405, allow)


async def test_head_is_answered_as_get_without_a_body(bench: Bench) -> None:
    await bench.post(0, b"x")
    status, headers, body = await bench.ask("HEAD", 0)
    assert (status, headers[SEQ], headers["Content-Type"], body) == (200, "0", "video/mp2t", b"")
    assert (await bench.get(0))[2] == b"x"


async def test_channels_are_not_made_by_callers(bench: Bench) -> None:
    async with bench.session.post(f"{bench.root}/new") as answer:
        assert (answer.status, await answer.text()) == (404, "Stream not found\n")
    async with bench.session.post(f"{bench.root}/new/0", data=b"x") as answer:
        assert (answer.status, answer.headers["Connection"]) == (404, "close")
    assert (await bench.ask("POST", "", headers={"Expect-Content": "text/other"}))[0] == 200
    assert bench.channel.mime_type == "video/mp2t"


async def test_with_autocreate_callers_make_channels() -> None:
    server = TrickleServer(Clock(), autocreate=True)
    async with serving(server) as base, aiohttp.ClientSession() as session:
        async with session.post(f"{base}/ai/trickle/one", headers={"Expect-Content": "text/a"}) as answer:
            assert answer.status == 200
        async with session.post(f"{base}/ai/trickle/two/0", data=b"x", headers={"Content-Type": "text/b"}) as answer:
            assert answer.status == 200
    assert [(name, made.mime_type) for name in ("one", "two") if (made := server.channels.get(name))] == [
        ("one", "text/a"),
        ("two", "text/b"),
    ]


async def test_an_escaped_slash_is_part_of_the_name_and_an_empty_part_is_redirected(bench: Bench) -> None:
    bench.server.create("b/c", "text/plain")
    bench.server.channels.publish("b/c", b"x")
    async with bench.session.get(URL(f"{bench.root}/b%2Fc/0", encoded=True)) as answer:
        assert await answer.read() == b"x"
    async with bench.session.get(f"{bench.root}/a//0", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (307, "/ai/trickle/a/0")


async def test_the_changefeed_tells_of_itself_and_of_others() -> None:
    server = TrickleServer(Clock(), changefeed=True)
    server.create("one", "text/plain")
    server.close("one")
    async with serving(server) as base, aclosing(subscribe(f"{base}/ai/trickle/_changes", 0)) as changes:
        seen = [(await anext(changes))[1] for _ in range(3)]
    assert seen == [b'{"added":["_changes"]}', b'{"added":["one"]}', b'{"removed":["one"]}']


async def test_the_test_clients_pass_a_stream_on_to_its_end(bench: Bench) -> None:
    async def collect() -> list[tuple[int, bytes]]:
        return [segment async for segment in subscribe(bench.url)]

    collecting = spawn(collect(), name="collect")
    async with Publisher(bench.url) as publisher:
        await publisher.publish(b"a", b"b")
        await publisher.publish()
        await publisher.publish(b"c")
        await until(lambda: bench.watching(readers=True) == 1)
    assert await asyncio.wait_for(collecting, BOUND_S) == [(0, b"ab"), (2, b"c")]


async def test_a_subscriber_that_is_late_jumps_to_the_head(bench: Bench) -> None:
    for seq in range(9):
        await bench.post(seq, b"%d" % seq)
    async with aclosing(subscribe(bench.url, 1)) as segments:
        reading = spawn(anext(segments), name="read")
        await until(lambda: bench.watching(readers=True) == 1)
        await bench.post(9, b"9")
        assert await asyncio.wait_for(reading, BOUND_S) == (9, b"9")
