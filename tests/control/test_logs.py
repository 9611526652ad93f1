"""What `orchd logs` is told: whose log, what was kept, how it ended; and what a reader who is slow costs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchd.control import log_sources
from orchd.control.logs import ShowLogs
from orchd.control.orders import Asker, Json
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import Model, Secret
from orchd.domain.runs import EndedRun, KeptRun, LogView
from orchd.domain.state import ModelStatus, RunnerStatus, Snapshot
from orchd.errors import Code, EngineUnavailable, LogGone, OrchdError
from orchd.reconcile.ports import Reconciler
from orchd.runtime.ports import Runtimes
from tests.fakes.models import container_model, external_model
from tests.fakes.runtime import DOCKER

Pieces = Callable[[LogView], AsyncGenerator[bytes, None]]


class World:
    """Reconciler, runtimes and kept runs in one.

    Attributes:
        logs: by handle.
        closed: handles whose log was let go of.
    """

    def __init__(self, wanted: Model) -> None:
        self.wanted = wanted
        self.key = wanted.key
        self.runners: list[RunnerStatus] = []
        self.runs_kept: list[KeptRun] = []
        self.logs: dict[str, Pieces] = {}
        self.closed: list[str] = []
        self.gone = False
        self.turn = 0
        self._turned = asyncio.Event()
        self.loop = SimpleNamespace(models=self.models, model_of=lambda _: self.wanted)
        self.snapshots = self
        self.by_id = {DOCKER: self}
        self.kept = SimpleNamespace(runs=self.runs, models=self.kept_models, read=self.read)
        self.show = ShowLogs(cast(Reconciler, self), cast(Runtimes, self))

    def models(self) -> dict[ModelKey, Model]:
        return {} if self.gone else {self.key: self.wanted}

    async def fresh(self) -> Snapshot:
        status = ModelStatus(self.wanted, False, False, "", 0, 0, tuple(self.runners), ())
        return Snapshot(models={} if self.gone else {self.key: status})

    async def turned(self, after: int) -> None:
        while self.turn <= after:
            await self._turned.wait()

    def step(self) -> None:
        self.turn += 1
        self._turned.set()
        self._turned = asyncio.Event()

    async def runs(self, key: ModelKey) -> list[KeptRun]:
        return [kept for kept in self.runs_kept if kept.run.runner.key == key]

    async def kept_models(self) -> set[ModelKey]:
        return {kept.run.runner.key for kept in self.runs_kept}

    async def read(self, kept: KeptRun, lines: int | None) -> AsyncGenerator[bytes, None]:
        yield kept.file.encode()

    async def log(self, handle: str, view: LogView) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self.logs[handle](view)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.closed.append(handle)

    def runs_now(self, handle: str | None, state: S = S.READY, replica: int = 0, detail: str = "") -> None:
        id = RunnerId(self.key, replica, self.wanted.generation)
        self.runners = [r for r in self.runners if r.runner != id]
        self.runners.append(RunnerStatus(id, state, 0.0, wanted=True, handle=handle, detail=detail))
        self.step()

    def keep(self, text: str, how: str, replica: int = 0, at: float = 1000.0) -> None:
        run = EndedRun(RunnerId(self.key, replica, "old"), at, how)
        self.runs_kept.append(KeptRun(run, len(self.runs_kept) + 1, text, 0))

    async def told(self, **order: Any) -> list[Json]:
        return [one async for one in self.show.run({"model": "a", **order}, Asker(0))]


@pytest.fixture
async def world() -> World:
    return World(container_model())


def says(*texts: bytes) -> Pieces:
    async def pieces(_: LogView) -> AsyncGenerator[bytes, None]:
        for text in texts:
            yield text

    return pieces


def text_in(news: list[Json]) -> bytes:
    return b"".join(base64.b64decode(one["data"]) for one in news if "data" in one)


def notes(news: list[Json]) -> list[str]:
    return [one["note"] for one in news if "note" in one]


async def test_secrets_are_taken_out_even_across_two_pieces() -> None:
    world = World(container_model(token=Secret("hunter2-hunter2")))
    world.runs_now("h")
    world.logs["h"] = says(b"it is hunter2-h", b"unter2.\n")
    assert text_in(await world.told()) == b"it is ***.\n"


async def test_a_log_whose_secrets_are_not_known_any_more_is_not_shown(world: World) -> None:
    world.runs_now("h")
    world.logs["h"] = says(b"it is hunter2-hunter2.\n")
    world.keep("it is ***.", "a")
    world.loop.model_of = lambda _: None
    assert text_in(await world.told()) == b"it is ***."


async def test_of_one_that_is_down_the_last_run_is_shown_and_before_that_the_one_before(world: World) -> None:
    world.runs_now(None, S.BACKOFF, detail="it exited with code 3")
    world.keep("one", "a")
    world.keep("two", "b")
    news = await world.told()
    assert text_in(news) == b"two"
    assert notes(news) == [f"{world.key}#0 does not run now (backoff: it exited with code 3); this is its last run"]
    assert news[-1] == {"model": str(world.key), "replica": 0, "at": 1000.0, "ended": "b"}
    assert text_in(await world.told(previous=True)) == b"one"
    world.runs_now("h")
    assert text_in(await world.told(previous=True)) == b"two"


async def test_one_that_ended_before_since_is_said_and_not_shown(world: World) -> None:
    world.keep("old", "a", at=1000.0)
    assert text_in(await world.told(since=1001.0)) == b""
    assert text_in(await world.told(since=999.0)) == b"old"


async def test_one_that_is_removed_just_now_is_shown_from_what_was_kept(world: World) -> None:
    async def gone(_: LogView) -> AsyncGenerator[bytes, None]:
        world.keep("kept", "a")
        raise LogGone("it was removed")
        yield b""

    world.runs_now("h", S.STOPPING)
    world.logs["h"] = gone
    assert text_in(await world.told()) == b"kept"


async def test_a_replica_that_cannot_be_read_hides_no_other(world: World) -> None:
    async def broken(_: LogView) -> AsyncGenerator[bytes, None]:
        raise EngineUnavailable("cannot reach it")
        yield b""

    world.runs_now("a", replica=0)
    world.runs_now("b", replica=1)
    world.logs = {"a": broken, "b": says(b"well")}
    news = await world.told()
    assert (text_in(news), notes(news)) == (b"well", ["cannot reach it"])
    with pytest.raises(EngineUnavailable, match="cannot reach it"):
        await world.told(replica=0)


async def test_a_model_that_has_left_the_file_is_found_by_what_was_kept(world: World) -> None:
    world.gone = True
    world.keep("old", "it left aiModels.json")
    assert text_in(await world.told()) == b"old"
    with pytest.raises(OrchdError, match="cannot find model 'other'"):
        await world.told(model="other")


@pytest.mark.parametrize(
    "order", [{"tail": -1}, {"tail": "x"}, {"replica": True}, {"since": "x"}, {"replica": 1.5}, {"model": 3}]
)
async def test_an_order_that_cannot_be_read_is_refused(world: World, order: dict[str, Any]) -> None:
    with pytest.raises(OrchdError, match="cannot read the order") as caught:
        await world.told(**order)
    assert caught.value.code is Code.BAD_REQUEST


async def test_an_external_model_has_no_log_here() -> None:
    world = World(external_model())
    with pytest.raises(OrchdError, match=r"cannot show logs of .*: orchd does not run it; look where it runs \(http"):
        await world.told(model=world.key.model_id)


async def test_no_more_logs_are_read_at_once_than_there_are_threads_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_sources, "MOST_OPEN", 1)
    world.runs_now("a", replica=0)
    world.runs_now("b", replica=1)
    never = asyncio.Event()

    async def quiet(_: LogView) -> AsyncGenerator[bytes, None]:
        yield b"x"
        await never.wait()

    world.logs = {"a": quiet, "b": quiet}
    async with aclosing(world.show.run({"model": "a", "follow": True, "replica": 0}, Asker(0))) as news:
        assert [await anext(news), text_in([await anext(news)])] == [{"several": False}, b"x"]
        with pytest.raises(OrchdError, match="cannot show one more log: 1 are being shown now") as caught:
            await world.told(replica=1)
        assert caught.value.code is Code.CAPACITY_EXHAUSTED
    assert world.closed == ["a"]


async def test_a_reader_who_does_not_read_holds_the_source_and_leaves_nothing(world: World) -> None:
    made = 0

    async def endless(_: LogView) -> AsyncGenerator[bytes, None]:
        nonlocal made
        while True:
            made += 1
            yield b"x" * 1000

    world.runs_now("h")
    world.logs["h"] = endless
    async with aclosing(world.show.run({"model": "a", "follow": True}, Asker(0))) as news:
        assert [await anext(news), text_in([await anext(news)])] == [{"several": False}, b"x" * 1000]
        for _ in range(100):
            await asyncio.sleep(0)
        assert 1 < made <= 5
    assert world.closed == ["h"]


async def test_a_follower_goes_through_ends_and_starts_and_is_told_each_once(world: World) -> None:
    go = {"h": asyncio.Event(), "i": asyncio.Event()}

    def until_told(handle: str) -> Pieces:
        async def pieces(view: LogView) -> AsyncGenerator[bytes, None]:
            assert view.follow
            yield handle.encode()
            await go[handle].wait()

        return pieces

    world.logs = {handle: until_told(handle) for handle in go}
    world.runs_now("h")
    async with aclosing(world.show.run({"model": "a", "follow": True}, Asker(0))) as news:
        assert [await anext(news), text_in([await anext(news)])] == [{"several": False}, b"h"]
        go["h"].set()
        world.runs_now("h", S.STOPPING)
        world.keep("h", "first end")
        world.step()
        assert (await anext(news))["ended"] == "first end"
        world.step()  # It is being removed, and is not shown again.
        world.runs_now(None, S.PULLING)
        world.keep("too quick", "second end")
        world.runs_now(None, S.BACKOFF)
        assert text_in([await anext(news)]) == b"too quick"
        assert (await anext(news))["ended"] == "second end"
        assert (await anext(news))["note"] == f"{world.key}#0 is down (backoff); waiting for its next run"
        world.runs_now("i")
        assert text_in([await anext(news)]) == b"i"
        go["i"].set()
        world.runs_now(None, S.BACKOFF)
        assert (await anext(news))["note"] == f"{world.key}#0 has ended; its log could not be kept"
        world.gone = True
        world.step()
        left = [one async for one in news]
    assert notes(left)[-1] == f"{world.key}#0 is gone: its entry left aiModels.json"


async def test_an_engine_that_goes_away_is_said_and_followed_again(world: World) -> None:
    tries: list[LogView] = []

    async def breaks(view: LogView) -> AsyncGenerator[bytes, None]:
        tries.append(view)
        yield b"x"
        if len(tries) == 1:
            raise EngineUnavailable("cannot reach Docker")
        await asyncio.Event().wait()

    world.runs_now("h")
    world.logs["h"] = breaks
    async with aclosing(world.show.run({"model": "a", "follow": True}, Asker(0))) as news:
        told = [await anext(news) for _ in range(3)]
        assert len(tries) == 1
        world.step()
        told.append(await anext(news))
    assert "cannot be followed now, and some lines may be missing: cannot reach Docker" in notes(told)[0]
    assert text_in(told) == b"xx"
    assert tries[0].since is None
    assert tries[1].since is not None
