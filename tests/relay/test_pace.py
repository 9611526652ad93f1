"""How slow a caller may send its body, and a reader take its answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec
from orchd.errors import Code
from orchd.jobs.settings import JobsSettings
from orchd.relay.pace import BodyPace, is_paced
from orchd.relay.wire import Batch, Wire
from tests.jobs.fakes import Bench
from tests.jobs.messages import SWITCHED, UPGRADE, answer, refused, request
from tests.jobs.model import KEY, a_model
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

BIG = 100_000
ACKED = Wire.acked  # Before it is replaced by that of the fakes.


async def drip(bench: Bench, caller: FakeTransport, every_s: float, size: int, seconds: float) -> float:
    """Send so many bytes that often, until they are refused or the time is over; return when it ended."""
    began = asyncio.get_running_loop().time()
    while (passed := asyncio.get_running_loop().time() - began) < seconds and not caller.over and not bench.codes:
        caller.say(b"z" * size)
        await asyncio.sleep(every_s)
    return passed


@pytest.mark.parametrize("way", ["sized", "chunked", "names its model"])
@pytest.mark.parametrize(("every_s", "size", "slow"), [(5, 1, True), (1, 200, True), (1, 241, False), (5, 1300, False)])
def test_a_body_that_drips_is_refused_behind_the_grace_and_gives_its_slot_back(
    way: str, every_s: float, size: int, slow: bool
) -> None:
    @virtual_time
    async def run() -> None:
        two = a_model(ModelKey("image", "org/two"))
        models = (a_model(), two) if way == "names its model" else (a_model(),)
        bench = Bench(models=models, between_bytes_timeout_s=60)
        sized = request(("Content-Type", "application/json"), body=b"z" * BIG)[:-BIG]
        caller = bench.caller(request(chunks=[b"z" * BIG])[: -BIG - 7] if way == "chunked" else sized)
        ended = await drip(bench, caller, every_s, size, 100)
        if slow:
            assert bench.codes == [Code.BODY_TOO_SLOW]
            assert bench.outcomes == ["timeout"]
            assert refused(caller.messages[0]) is Code.BODY_TOO_SLOW
            assert 30 <= ended <= 37
            assert bench.table.running(KEY) == 0
            for end in bench.network.ends:
                end.finish()  # The runner has seen that nobody waits for it.
            await bench.settle()
            assert bench.table.active(KEY) == 0
        else:
            assert bench.codes == []
        caller.lose()
        await bench.idle()

    run()


@pytest.mark.parametrize("settings", [{"min_body_rate": 0}, {"min_body_grace_s": 500}])
def test_it_can_be_switched_off_and_the_grace_be_longer(settings: dict[str, Any]) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(between_bytes_timeout_s=60, **settings)
        caller = bench.caller(request(body=b"z" * BIG)[:-BIG])
        assert await drip(bench, caller, 10, 1, 300) >= 300
        caller.lose()
        await bench.idle()

    run()


@pytest.mark.parametrize(
    "kind", ["audio/wav", "Video/mp4; x=y", "text/event-stream", "multipart/x-mixed-replace; boundary=a"]
)
def test_sound_pictures_and_events_come_as_they_happen(kind: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(between_bytes_timeout_s=60, body_timeout_s=50)
        caller = bench.caller(request(("Content-Type", kind), body=b"z" * BIG)[:-BIG])
        assert await drip(bench, caller, 10, 1, 300) >= 300
        caller.lose()
        await bench.idle()

    run()


@virtual_time
async def test_a_tunnel_may_be_as_slow_as_it_likes() -> None:
    bench = Bench(between_bytes_timeout_s=60, body_timeout_s=50)
    bench.network.reply = SWITCHED
    caller = bench.caller(UPGRADE)
    await bench.settle()
    assert await drip(bench, caller, 10, 1, 300) >= 300
    caller.lose()
    await bench.idle()


@virtual_time
async def test_nobody_is_slow_while_orchd_does_not_read() -> None:
    bench = Bench(models=(a_model(inference=InferenceSpec("/image", timeout_s=900)),), body_timeout_s=50)
    bench.network.reply, bench.network.room = None, 0
    caller = bench.caller(request(body=b"z" * 400_000))
    await asyncio.sleep(300)
    assert not caller.over
    assert bench.codes == []
    bench.network.end.take()
    await bench.settle()
    bench.network.end.say(answer())
    await bench.idle()
    assert bench.outcomes == ["ok"]


@virtual_time
async def test_nor_while_it_waits_for_a_model_and_has_not_asked_for_the_body() -> None:
    bench = Bench(is_open=False, hold_timeout_s=200)
    bench.cold()
    caller = bench.caller(request(("Expect", "100-continue"), body=b"z" * 100)[:-100])
    await asyncio.sleep(150)
    assert not caller.over
    bench.open()
    await bench.settle()
    caller.say(b"z" * 100)
    await bench.idle()
    assert bench.outcomes == ["ok"]


@virtual_time
async def test_a_body_may_have_a_time_as_a_whole() -> None:
    bench = Bench(between_bytes_timeout_s=60, body_timeout_s=50)
    caller = bench.caller(request(body=b"z" * BIG)[:-BIG])
    ended = await drip(bench, caller, 1, 1000, 300)
    assert bench.codes == [Code.BODY_TOO_SLOW]
    assert 50 <= ended <= 53
    await bench.idle()


def test_what_was_fast_allows_a_pause_but_no_dripping_for_ever() -> None:
    settings = JobsSettings(min_body_rate=100, min_body_grace_s=10, between_bytes_timeout_s=60)
    pace = BodyPace(0, waits=True)
    assert not pace.look(1, 10_000_000, settings, waits=True)
    assert not pace.look(59, 10_000_000, settings, waits=True)
    why = ""
    for now in range(60, 70):
        why = why or pace.look(now, 10_000_000 + now, settings, waits=True)
    assert "less than 100 bytes/s (jobs.min_body_rate): it sent 10000062 bytes in 62 s" in why


def test_only_time_in_which_the_caller_is_waited_for_counts() -> None:
    settings = JobsSettings(min_body_rate=100, min_body_grace_s=10)
    pace = BodyPace(0, waits=True)
    for now in range(1, 1000):
        assert not pace.look(now, 0, settings, waits=now % 2 == 0), "never at both ends of a second"
    assert pace.waited_s == 0


def test_time_in_which_orchd_stood_still_counts_against_nobody() -> None:
    settings = JobsSettings(min_body_rate=100, min_body_grace_s=10)
    pace = BodyPace(0, waits=True)
    pace.skip(500)
    assert not pace.look(501, 0, settings, waits=True)
    assert pace.waited_s == 1


@pytest.mark.parametrize(
    ("kind", "paced"),
    [(None, True), (b"", True), (b"application/json", True), (b" AUDIO/ogg", False), (b"image/png", True)],
)
def test_which_bodies_have_a_pace(kind: bytes | None, paced: bool) -> None:
    assert is_paced(kind) is paced


@pytest.mark.parametrize("side", ["caller", "runner", "waiting answers"])
def test_who_takes_its_bytes_slowly_but_steadily_is_not_late(side: str) -> None:
    @virtual_time
    async def run() -> None:
        inference = InferenceSpec("/image", timeout_s=7)
        bench = Bench(models=(a_model(inference=inference),), between_bytes_timeout_s=7)
        if side == "runner":
            bench.network.reply, bench.network.room = None, 0
            caller = bench.caller(request(body=b"x" * 300_000))
            await bench.settle()
            end = bench.network.end
        else:
            bench.network.reply = answer(b"x" * 300_000)
            caller = end = bench.caller(room=0)
            caller.say(request() if side == "caller" else request(("X-Model-Id", "org/none")) * 200)
            await bench.settle()
        for _ in range(20):
            await asyncio.sleep(5)
            end.take(100)
        assert not end.over
        assert set(bench.codes) <= {Code.UNKNOWN_MODEL}
        await asyncio.sleep(10)
        # What its caller has left of it at the runner lets go first, for as long as its job might have taken.
        assert end.over is (side != "runner"), "who takes nothing more is"
        await asyncio.sleep(7)
        assert end.over
        if side != "waiting answers":
            assert bench.codes == [Code.BACKEND_TIMEOUT if side == "runner" else Code.CALLER_STALLED]
        caller.lose()
        await bench.idle()

    run()


class Idle(Wire):
    def pause_writing(self) -> None:
        self.paused = True

    def data_received(self, data: bytes) -> None:
        pass


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_the_kernel_says_what_was_taken(family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "acked", ACKED)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        if family == socket.AF_UNIX:
            ours, theirs = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as server:
                ours = socket.create_connection(server.getsockname())
                theirs, _ = server.accept()
        wire: Any
        _, wire = await loop.create_connection(lambda: Idle(Batch(0)), sock=ours)
        while not wire.paused:
            wire.send(b"x" * 1_000_000)
        before = wire.taken()
        assert before is not None
        assert wire.taken() == before, "nothing is taken"
        theirs.setblocking(False)
        while wire.taken() <= before:
            with contextlib.suppress(BlockingIOError):
                theirs.recv(1_000_000)
            await asyncio.sleep(0.01)
        theirs.close()
        wire.abort()

    asyncio.run(run())
