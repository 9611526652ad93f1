"""The life of a list of parts: whatever happens, what was begun is closed, in reverse, and failures are loud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd import tasks
from orchd.errors import OrchdError
from orchd.lifetime import Lifetime, Stage
from orchd.part import Part, Roots
from tests.virtual_time import run_virtual

Steps = list[str]


async def for_ever() -> None:
    await asyncio.Event().wait()


class Noted(Part):
    """Notes each call. `at` does something in a call, after it was noted."""

    def __init__(self, steps: Steps, name: str, at: dict[str, Callable[[], Coroutine[Any, Any, object]]]) -> None:
        self.steps = steps
        self.name = name  # type: ignore[misc]  # A name for each, since these parts differ by nothing else.
        self.at = at
        self.deadlines: list[float] = []

    async def _note(self, step: str) -> None:
        self.steps.append(f"{step} {self.name}")
        if step in self.at:
            await self.at[step]()

    async def open(self) -> None:
        await self._note("open")

    async def start(self) -> None:
        await self._note("start")

    def roots(self) -> Roots:
        return {f"{self.name}'s task": self._root()}

    async def _root(self) -> None:
        self.steps.append(f"root {self.name}")
        try:
            await self.at.get("root", for_ever)()
        finally:
            self.steps.append(f"root of {self.name} has ended")

    async def withdraw(self) -> None:
        await self._note("withdraw")

    async def drain(self, deadline: float) -> None:
        self.deadlines.append(deadline)
        await self._note("drain")

    async def close(self) -> None:
        await self._note("close")


class EndsFirst(Noted):
    roots_end_first = True


class House:
    """Three parts, and what happens to them. `at`: by part and step."""

    def __init__(self, kind: type[Noted] = Noted, **at: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self.steps: Steps = []
        self.stop = asyncio.Event()
        self.parts = [
            kind(self.steps, name, {step[2:]: work for step, work in at.items() if step[0] == name}) for name in "abc"
        ]
        self.life = Lifetime(self.parts, 7, self.steps.append)

    async def live(self) -> None:
        await self.life.run(self.stop)

    def closed(self) -> list[str]:
        return [step[-1] for step in self.steps if step.startswith("close")]


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def fails() -> None:
    raise ValueError("bad")


async def refuses() -> None:
    raise OrchdError("cannot do it")


async def returns() -> None: ...


async def is_cancelled() -> None:
    raise asyncio.CancelledError


async def test_parts_start_in_order_and_end_in_reverse() -> None:
    house = House()
    house.stop.set()
    await house.live()
    assert house.steps == [
        *("open a", "open b", "open c"),
        *("start a", "root a", "start b", "root b", "start c"),
        *(Stage.RUNNING, "root c", Stage.ENDING),
        *("withdraw c", "withdraw b", "withdraw a", "drain c", "drain b", "drain a"),
        *(Stage.CLOSING, "root of c has ended", "root of b has ended", "root of a has ended"),
        *("close c", "close b", "close a"),
    ]


async def test_a_part_starts_when_the_tasks_of_those_below_run() -> None:
    begun = asyncio.Event()

    async def begins() -> None:
        begun.set()
        await for_ever()

    house = House(a_root=begins, b_start=begun.wait)
    house.stop.set()
    async with asyncio.timeout(60):
        await house.live()
    assert Stage.RUNNING in house.steps


async def test_a_part_that_can_not_be_opened_ends_the_start_and_those_before_are_closed_in_reverse() -> None:
    house = House(b_open=refuses)
    with pytest.raises(OrchdError, match="cannot do it"):
        await house.live()
    assert house.steps == ["open a", "open b", "close b", "close a"]


async def test_a_part_that_can_not_start_has_all_closed() -> None:
    house = House(b_start=refuses)
    with pytest.raises(OrchdError, match="cannot do it"):
        await house.live()
    assert "start c" not in house.steps
    assert house.closed() == ["c", "b", "a"]
    assert "root of a has ended" in house.steps


@pytest.mark.parametrize("step", ["open", "start"])
async def test_a_cancellation_in_the_middle_of_the_start_closes_what_was_begun(step: str) -> None:
    house = House(Noted, **{f"b_{step}": for_ever})
    living = tasks.spawn(house.live(), name="living")
    await settle()
    assert house.steps[-1] in ("start b", "open b", "root a")
    await tasks.cancel(living)
    assert living.cancelled()
    assert house.closed() == (["b", "a"] if step == "open" else ["c", "b", "a"])


async def test_a_cancellation_while_it_lives_drains_and_closes() -> None:
    house = House()
    living = tasks.spawn(house.live(), name="living")
    await settle()
    await tasks.cancel(living)
    assert living.cancelled()
    assert house.closed() == ["c", "b", "a"]
    assert "drain a" in house.steps


async def test_a_cancellation_while_a_part_closes_closes_the_others_all_the_same() -> None:
    house = House(b_close=for_ever)
    house.stop.set()
    living = tasks.spawn(house.live(), name="living")
    await settle()
    assert house.steps[-1] == "close b"
    with capture_logs():
        await tasks.cancel(living)
    assert living.cancelled()
    assert house.closed() == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (returns, "cannot go on: orchd's task \"b's task\" ended; "),
        (is_cancelled, "cannot go on: orchd's task \"b's task\" was cancelled; "),
        (fails, r"cannot go on: orchd's task \"b's task\" failed: ValueError\('bad'\); "),
        (refuses, "cannot do it"),
    ],
)
async def test_a_root_task_that_ends_ends_all_with_words(
    ending: Callable[[], Coroutine[Any, Any, None]], said: str
) -> None:
    house = House(b_root=ending)
    with capture_logs(), pytest.raises(OrchdError, match=f"^{said}"):
        await house.live()
    assert house.closed() == ["c", "b", "a"]
    assert "drain a" in house.steps


async def test_a_root_task_that_ends_while_a_part_starts_breaks_the_start_off() -> None:
    house = House(a_root=fails, b_start=for_ever)
    with capture_logs(), pytest.raises(OrchdError, match=r"a's task.* failed"):
        async with asyncio.timeout(60):
            await house.live()
    assert Stage.RUNNING not in house.steps
    assert "start c" not in house.steps
    assert house.closed() == ["c", "b", "a"]


def test_all_parts_have_one_deadline_which_counts_from_when_all_have_withdrawn() -> None:
    async def main() -> None:
        house = House(c_withdraw=lambda: asyncio.sleep(5), c_drain=lambda: asyncio.sleep(3))
        house.stop.set()
        await house.live()
        assert [part.deadlines for part in house.parts] == [[5 + 7]] * 3

    run_virtual(main())


async def test_an_error_while_a_part_ends_keeps_no_other_from_ending_and_is_raised_at_last() -> None:
    house = House(c_withdraw=fails, b_drain=fails, b_close=refuses)
    house.stop.set()
    with capture_logs() as logs, pytest.raises(ValueError, match="bad"):
        await house.live()
    assert [(line["part"], line["stage"]) for line in logs if line["event"] == "part_failed"] == [
        *(("c", Stage.ENDING), ("b", Stage.ENDING)),
        ("b", Stage.CLOSING),
    ]
    assert "drain a" in house.steps
    assert house.closed() == ["c", "b", "a"]


async def test_an_error_while_parts_close_does_not_hide_the_one_that_ended_them() -> None:
    house = House(a_root=fails, b_close=refuses)
    with capture_logs(), pytest.raises(OrchdError, match=r"a's task.* failed"):
        await house.live()
    assert house.closed() == ["c", "b", "a"]


async def test_only_the_parts_above_one_are_drained_and_may_be_drained_once_more() -> None:
    """`orchd down` drains what uses the runners, ends the runners itself, and then stops the daemon."""
    house = House()
    living = tasks.spawn(house.live(), name="living")
    await settle()
    await house.life.drain(above=house.parts[0])
    assert [step for step in house.steps if step.startswith("drain")] == ["drain c", "drain b"]
    assert house.life.stage is Stage.DRAINING
    house.stop.set()
    await living
    drained = [step for step in house.steps if step.startswith("drain")]
    assert drained == ["drain c", "drain b", "drain c", "drain b", "drain a"]


async def test_tasks_that_would_take_a_withdrawal_back_end_before_it_without_ending_the_daemon() -> None:
    house = House(EndsFirst)
    living = tasks.spawn(house.live(), name="living")
    await settle()
    await house.life.drain(above=house.parts[1])
    assert house.steps.index("root of c has ended") < house.steps.index("withdraw c")
    assert "root of b has ended" not in house.steps
    await settle()
    assert not living.done()
    house.stop.set()
    await living


async def test_a_task_that_fails_after_its_part_has_withdrawn_ends_the_daemon_all_the_same() -> None:
    fail = asyncio.Event()

    async def fails_later() -> None:
        await fail.wait()
        raise ValueError("bad")

    house = House(c_root=fails_later)
    living = tasks.spawn(house.live(), name="living")
    await settle()
    await house.life.drain(above=house.parts[1])
    fail.set()
    with capture_logs(), pytest.raises(OrchdError, match=r"c's task.* failed"):
        await living


async def test_what_is_waited_for_is_told_at_each_stage() -> None:
    house = House(b_start=for_ever, c_drain=for_ever)
    assert house.life.waits_for() == "its start, which goes first"
    living = tasks.spawn(house.live(), name="living")
    await settle()
    assert (house.life.stage, house.life.waits_for()) == (Stage.STARTING, "its start, which goes first")
    await tasks.cancel(living)

    class Busy(Noted):
        def waits_for(self) -> str:
            return f"{self.name}'s two jobs"

    for kind, said in ((Noted, "b to end"), (Busy, "b's two jobs")):
        again = asyncio.Event()
        house = House(kind, b_drain=again.wait)
        house.stop.set()
        living = tasks.spawn(house.live(), name="living")
        await settle()
        assert house.life.waits_for() == said
        again.set()
        await living
        assert (house.life.stage, house.life.waits_for()) == (Stage.CLOSING, "its connections to be closed")
