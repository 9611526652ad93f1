"""Runners that may be at work for callers who have left: nothing waits for them, and nothing is held against them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import Model
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.session import Session
from tests.fakes.models import container_model
from tests.reconcile.world import World
from tests.virtual_time import virtual_time

EVER = 1e5
"""Far longer than any grace period."""


def lets_go(world: World, session: Session, seconds: float = EVER) -> None:
    loop = asyncio.get_running_loop()
    letting_go = LettingGo(world.table, loop.time, loop.call_later)
    letting_go.cut(session, seconds, watched=True)
    letting_go.end(session, Outcome.CLIENT_GONE)


def asked_to_restart(world: World, model: Model) -> None:
    world.restart(model.key)


def edited(world: World, model: Model) -> None:
    world.want(container_model(model.key.model_id, "image:2", max_sessions=model.max_sessions))


def removed(world: World, model: Model) -> None:
    world.want()


def dies(world: World, model: Model) -> None:
    world.runtime.kill(world.running()[0].handle)


@pytest.mark.parametrize("happens", [asked_to_restart, edited, removed, dies])
def test_nobody_waits_for_what_lets_go_and_its_slot_is_free_when_its_runner_is_gone(
    happens: Callable[[World, Model], None],
) -> None:
    @virtual_time
    async def run() -> None:
        async with World().orchd(a := container_model(max_sessions=2)) as world:
            await world.until_quiet()
            container = world.running()[0]
            lets_go(world, world.begin(a))
            assert (world.table.active(a.key), world.status(a).letting_go, world.runners(a)[0].letting_go) == (1, 1, 1)
            happens(world, a)
            grace = 2 * world.settings.reconcile.period_s
            await world.until("it is gone", grace, holds=lambda: container.handle not in world.runtime.containers)
            await world.until("its slot is free", grace, holds=lambda: world.table.active(a.key) == 0)
            if happens is not removed:
                await world.until(
                    "it is back", holds=lambda: [r.state for r in world.status(a.key).runners] == [S.READY]
                )
                assert world.table.active(a.key) == 0

    run()


@virtual_time
async def test_an_idle_model_is_stopped_though_it_lets_go() -> None:
    async with World().orchd(a := container_model(warm=False, idle_timeout_s=50.0)) as world:
        await world.until_quiet()
        session = await world.wait_for(a)
        assert isinstance(session, Session)
        await world.until_states(a, [S.READY])
        lets_go(world, session)
        await world.until("it is stopped", 60, holds=lambda: world.states(a) == [S.COLD])
        assert world.table.active(a.key) == 0


@pytest.mark.parametrize("unhealthy_before", [False, True])
def test_a_runner_that_lets_go_is_not_given_up_until_its_time_is_over(unhealthy_before: bool) -> None:
    @virtual_time
    async def run() -> None:
        async with World().orchd(a := container_model(max_sessions=2)) as world:
            await world.until_quiet()
            container = world.running()[0]
            assert container.address is not None
            session = world.begin(a)
            if not unhealthy_before:
                lets_go(world, session, 300.0)
            world.prober.words[container.address] = ProbeWord.FAILED
            if unhealthy_before:
                await world.until_states(a, [S.UNHEALTHY])
                lets_go(world, session, 300.0)
            await asyncio.sleep(290)
            assert world.running() == [container]
            assert world.states(a) == [S.UNHEALTHY if unhealthy_before else S.READY]
            await world.until("replaced", 60, holds=lambda: container.handle not in world.runtime.containers)

    run()
