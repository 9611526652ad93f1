"""What can happen, each as a coroutine of the world and a number that picks among what there is.

It returns whether it did happen: some need what may not be there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tests.chaos.entries import BATCH, CAM, COLD
from tests.chaos.world import AGAIN_S, AWAY_S, SLOTS_S, World

T = TypeVar("T")
Step = Callable[[World, int], Awaitable[bool]]

STEPS: dict[str, Step] = {}
"""By name."""


def step(call: Step) -> Step:
    STEPS[call.__name__] = call
    return call


def _one(of: Sequence[T], pick: int) -> T:
    return of[pick % len(of)]


# The node.


@step
async def node_restarts(world: World, pick: int) -> bool:
    world.node.faults.hang(False)
    world.node.faults.fail = False
    if world.away_since is not None:
        await node_returns(world, pick)
    was_true = world.orchd.app is not None and world.true()
    if was_true:
        await asyncio.sleep(1)  # Or a call that is under way would be cut, and repeated.
        was_true = world.true()
    await world.node.stop()
    await asyncio.sleep(_one((0, 1.5, 40), pick))
    await world.node.start()
    if was_true and not world.shelf.sick:
        await world.until("all is registered again", world.true, AGAIN_S)
        again = world.node.byoc.registrations
        assert set(again.values()) == {1}, f"registered more than once: {again}"
    return True


@step
async def node_hangs(world: World, pick: int) -> bool:
    world.node.faults.hang(True)
    await asyncio.sleep(_one((1, 12, 35), pick))
    return True


@step
async def node_answers_500(world: World, pick: int) -> bool:
    world.node.faults.fail = True
    await asyncio.sleep(_one((1, 12, 35), pick))
    return True


@step
async def node_is_absent(world: World, _: int) -> bool:
    """For ten minutes: those that are left pass when it returns."""
    if world.away_since is not None:
        return False
    await world.node.leave()
    world.away_since = world.now
    return True


@step
async def node_returns(world: World, _: int) -> bool:
    if world.well:
        return False
    world.node.faults.hang(False)
    world.node.faults.fail = False
    if world.away_since is not None:
        await asyncio.sleep(max(0.0, world.away_since + AWAY_S - world.now))
        await world.node.come_back()
        world.away_since = None
    return True


@step
async def node_changes_its_certificate(world: World, _: int) -> bool:
    world.node.change_certificate()
    return True


@step
async def node_loses_a_capability(world: World, pick: int) -> bool:
    """As it does when it makes a mess of a job: the job has been there. On chain, orchd can't know by anything else."""
    taken = await _a_short_job(world)
    name = str(BATCH) if world.on_chain else _one(list(world.entries.values()), pick).name
    if name not in world.node.byoc.capabilities or (world.on_chain and not taken):
        return False
    world.node.byoc.remove(name)
    return True


@step
async def node_leaks_slots(world: World, pick: int) -> bool:
    taken = await _a_short_job(world)
    record = world.node.byoc.capabilities.get(str(BATCH))
    if record is None or (world.on_chain and not taken):
        return False
    record.load += 1 + pick % 3
    return True


async def _a_short_job(world: World) -> bool:
    """Return whether it was done."""
    taken = await world.gateway.begin_job(BATCH)
    await world.gateway.end_job(BATCH)
    return taken


# orchd.


@step
async def orchd_is_killed(world: World, pick: int) -> bool:
    await world.orchd.kill()
    await asyncio.sleep(_one((0, 3, 50), pick))
    await world.orchd.start()
    return True


@step
async def orchd_is_restarted(world: World, pick: int) -> bool:
    await world.orchd.stop()
    if world.well:
        for registry, found in world.open_offers().items():
            assert not found, f"orchd has ended, and {registry} still offers {found}"
    await asyncio.sleep(_one((0, 3, 50), pick))
    await world.orchd.start()
    return True


@step
async def orchd_restarts_with_the_node(world: World, pick: int) -> bool:
    await world.orchd.kill()
    await node_restarts(world, pick)
    await world.orchd.start()
    return True


# Models.


@step
async def container_dies(world: World, pick: int) -> bool:
    return await world.shelf.crash(_one(list(world.entries), pick))


@step
async def model_flaps(world: World, pick: int) -> bool:
    key = _one((BATCH, CAM), pick)
    for _ in range(3):
        world.shelf.sick.add(key)
        await asyncio.sleep(_one((2, 11, 25), pick))
        world.shelf.sick.discard(key)
        await asyncio.sleep(_one((6, 1), pick))
    return True


@step
async def model_falls_ill(world: World, pick: int) -> bool:
    world.shelf.sick.add(_one((BATCH, CAM), pick))
    return True


@step
async def models_recover(world: World, _: int) -> bool:
    ill = bool(world.shelf.sick)
    world.shelf.sick.clear()
    return ill


@step
async def price_is_edited(world: World, pick: int) -> bool:
    entry = _one(list(world.entries.values()), pick)
    entry.wei = entry.wei * 2 or 1000
    await world.write()
    return True


@step
async def sessions_are_edited(world: World, pick: int) -> bool:
    entry = world.entries.get(BATCH)
    if entry is None:
        return False
    entry.most = 1 + (entry.most + pick % 2) % 3
    await world.write()
    return True


@step
async def entry_is_taken_out(world: World, pick: int) -> bool:
    key = _one(list(world.entries), pick)
    world.missing[key] = world.entries.pop(key)
    await world.write()
    return True


@step
async def entry_is_put_back(world: World, _: int) -> bool:
    out = bool(world.missing)
    world.entries |= world.missing
    world.missing.clear()
    await world.write()
    return out


# Gateways.


@step
async def job_begins(world: World, pick: int) -> bool:
    return await world.gateway.begin_job(_one((BATCH, COLD), pick))


@step
async def jobs_end(world: World, _: int) -> bool:
    """As the other ends below: one is begun first if there is none."""
    found = any(map(world.shelf.work, (BATCH, COLD))) or await world.gateway.begin_job(BATCH)
    for key in (BATCH, COLD):
        while any(container.jobs for container in world.shelf.of(key)):
            await world.gateway.end_job(key)
            await asyncio.sleep(0.1)
    return found


@step
async def stream_starts(world: World, _: int) -> bool:
    return await world.gateway.start_stream(CAM) == 200


@step
async def stream_stops(world: World, _: int) -> bool:
    if not world.gateway.streams:
        await world.gateway.start_stream(CAM)
    before = len(world.gateway.streams)
    for name in list(world.gateway.streams)[:1]:
        await world.gateway.stop_stream(name)
    return len(world.gateway.streams) < before


@step
async def session_is_reserved(world: World, _: int) -> bool:
    return world.well and await world.gateway.hold(CAM)


@step
async def session_is_let_go(world: World, _: int) -> bool:
    if not world.gateway.held and world.well:
        await world.gateway.hold(CAM)
    for name in list(world.gateway.held)[:1]:
        await world.gateway.let_go(name)
        return True
    return False


@step
async def everything_ends(world: World, _: int) -> bool:
    """All sessions, so that what comes next is checked down to the last slot."""
    if not world.well:
        return False
    await world.until("orchd counts the sessions that there are", world.slots_true, SLOTS_S)
    await world.end_everything()
    return True


TWICE = ("job_begins", "stream_starts", "session_is_reserved")
"""Where there are sessions, the rest is harder."""
