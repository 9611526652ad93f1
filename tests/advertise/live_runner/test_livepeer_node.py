"""Live Runner by heartbeats beside Livepeer Node: what only that program does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fractions import Fraction

import pytest

from orchd.advertise.live_runner.dialects import spoken_by
from orchd.advertise.live_runner.known_pace import KnownPace
from orchd.advertise.live_runner.plan import Pace
from orchd.domain.model import Secret
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.offer import NodeProgram, NodeStatus
from orchd.errors import Code
from orchd.settings.secrets import ENDS_IN_A_NEWLINE
from tests.advertise.live_runner.world import SECRET, LivepeerNodeWorld, key, livepeer_node_world, offer
from tests.advertise.rig import until
from tests.doubles.livepeer_node.entries import Entry
from tests.doubles.livepeer_node.registry import MAX_RUNNERS, Runner
from tests.doubles.livepeer_node.settings import NodeSettings
from tests.fakes.stored import FakeSecretStore

LIVEPEER_NODE = spoken_by(NodeStatus(program=NodeProgram.LIVEPEER_NODE))


@pytest.fixture
async def beside() -> AsyncIterator[LivepeerNodeWorld]:
    async with livepeer_node_world(check_s=0.05) as found:
        yield found


async def _registered(beside: LivepeerNodeWorld, **changes: object) -> None:
    beside.node_is_up()
    beside.post(offer(**changes))  # type: ignore[arg-type]
    await until("it is confirmed", lambda: beside.standing().confirmed)


async def test_a_wrong_secret_is_said_to_be_wrong_and_a_mended_one_is_used_at_once(beside: LivepeerNodeWorld) -> None:
    beside.secret = Secret("another")
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("the error is shown", lambda: beside.standing().error)
        assert beside.standing().code is Code.NODE_SECRET
        assert "BootstrapSecretFile" in beside.standing().error
        assert "printf %s" in beside.standing().error
        beside.use_secret(SECRET)
        await until("it is listed", lambda: beside.shown())
        await until("the error is over", lambda: not beside.standing().error)


async def test_a_secret_file_that_ends_in_a_newline_is_fatal_at_the_node_and_named() -> None:
    flags = NodeSettings(bootstrap_secret=f"{SECRET}\n".encode())
    async with livepeer_node_world(flags) as beside:
        beside.secret_file.path = "/etc/orchd/the secret"
        beside.secret_file.around = ENDS_IN_A_NEWLINE
        async with beside.orchd():
            beside.node_is_up()
            beside.post(offer())
            await until("the error is shown", lambda: beside.standing().error)
            assert "its file ends in a newline" in beside.standing().error
            assert "printf %s \"$(cat '/etc/orchd/the secret')\" > '/etc/orchd/the secret'" in beside.standing().error


async def test_a_newline_in_our_file_alone_does_no_harm(beside: LivepeerNodeWorld) -> None:
    beside.secret_file.around = ENDS_IN_A_NEWLINE
    async with beside.orchd():
        await _registered(beside)
        assert not beside.standing().error


async def test_a_record_whose_secret_was_lost_is_waited_for_and_the_file_is_not_blamed(
    beside: LivepeerNodeWorld,
) -> None:
    async with beside.orchd():
        await _registered(beside)
    beside.store.secrets.clear()
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer(capacity=3))
        await until("the error is shown", lambda: "held until it expires, by " in beside.standing().error)
        assert beside.standing().code is Code.NODE_REFUSED
        assert "secret_file" not in beside.standing().error
        await beside.node.clock.advance(36.0)
        beside.node_is_back()
        await until("it is listed with capacity 3", lambda: beside.capacity() == 3)
        await until("the error is over", lambda: not beside.standing().error)


async def test_an_expired_runner_that_was_not_swept_is_revived_by_its_own_secret(beside: LivepeerNodeWorld) -> None:
    async with beside.orchd():
        await _registered(beside)
        runner = beside.runner()
        assert runner is not None
        runner.seen_at -= 30.5
        assert beside.capacity() is None
        beside.post(offer(capacity=3))
        await until("it is listed with capacity 3", lambda: beside.capacity() == 3)
        assert beside.runner() is runner


@pytest.mark.parametrize("persistent", [True, False])
async def test_a_full_runner_is_not_listed_and_in_no_doubt(beside: LivepeerNodeWorld, persistent: bool) -> None:
    async with beside.orchd():
        await _registered(beside, persistent=persistent)
        sessions = [beside.reserve(), beside.reserve()]
        beside.active[key()] = 2
        assert not beside.shown()
        await beside.looked_again()
        assert (beside.standing().error, beside.standing().confirmed) == ("", True)
        assert beside.watch.suspicions == 0
        beside.release(sessions[0])
        assert beside.shown()


async def test_a_model_that_is_missing_though_a_slot_is_free_is_doubted_when_it_is_seen_twice(
    beside: LivepeerNodeWorld,
) -> None:
    async with beside.orchd():
        await _registered(beside)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(beside.livepeer_node.live_runners.registry, "usable", lambda runner: False)
            await until("it is doubted", lambda: "it is not listed" in beside.standing().error)
            assert beside.standing().confirmed is False
        await until("it is confirmed", lambda: beside.standing().confirmed)


async def test_a_single_shot_model_that_leaves_is_hidden_while_its_jobs_go_on(beside: LivepeerNodeWorld) -> None:
    async with beside.orchd():
        await _registered(beside, persistent=False)
        jobs = [beside.reserve(), beside.reserve()]
        beside.post(why_not=("xl",))
        await until("it is hidden", lambda: (runner := beside.runner()) and runner.entry.status != "ready")
        beside.release(jobs[0])
        assert not beside.shown()
        assert list(beside.runner().sessions) == [jobs[1]], "it goes on"  # type: ignore[union-attr]
        beside.release(jobs[1])
        assert not beside.shown()
        await until("it is unregistered", lambda: beside.runner() is None)


async def test_a_persistent_model_that_leaves_is_not_listed_again_when_the_first_of_its_sessions_ends(
    beside: LivepeerNodeWorld,
) -> None:
    async with beside.orchd():
        await _registered(beside, capacity=4)
        sessions = [beside.reserve() for _ in range(3)]
        beside.post(why_not=("xl",))
        await until("it has no free slot", lambda: beside.capacity() == 1)
        runner = beside.runner()
        assert runner is not None
        assert runner.entry.status == "ready", "its sessions would be locked out and charged on"
        for session in sessions[:2]:
            beside.release(session)
            assert not beside.shown()
        beside.release(sessions[2])
        await until("it is unregistered", lambda: beside.runner() is None)


async def test_the_most_runners_that_the_node_takes_are_said_in_plain_words(beside: LivepeerNodeWorld) -> None:
    registry = beside.livepeer_node.live_runners.registry
    for number in range(MAX_RUNNERS):
        name = f"other-{number}"
        registry.add(Runner(name, Entry(name, "x/y", "http://127.0.0.1:1"), static=True))
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("the error is shown", lambda: beside.standing().error)
        assert "Livepeer Node says 503, 'runner capacity reached' (it takes 256 runners" in beside.standing().error
        other = registry.known("other-0")
        assert other is not None
        registry.remove(other)
        beside.node_is_back()
        await until("it is listed", lambda: beside.shown())


async def test_a_busy_node_keeps_what_it_has_and_is_asked_again(beside: LivepeerNodeWorld) -> None:
    async with beside.orchd():
        await _registered(beside)
        beside.livepeer_node.places.occupied["control"] = 64
        beside.post(offer(capacity=3))
        await until("the error is shown", lambda: "64 places" in beside.standing().error)
        assert beside.standing().published
        beside.livepeer_node.places.occupied["control"] = 0
        await until("it is listed with capacity 3", lambda: beside.capacity() == 3)


async def test_a_free_model_is_listed_and_nothing_is_said_of_the_chain(beside: LivepeerNodeWorld) -> None:
    async with beside.orchd():
        await _registered(beside, price=Price(Fraction(0)))
        beside.eth_usd = None
        beside.post(offer(price=Price(Fraction(1200))))
        await until("its price is dropped", lambda: beside.standing().price == "no price")
        await until("it is confirmed", lambda: beside.standing().confirmed)
        assert not beside.standing().error


async def test_a_price_per_720p_is_refused_in_words(beside: LivepeerNodeWorld) -> None:
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer(price=Price(Fraction(1), 1, Currency.USD, PriceUnit.VIDEO_720P)))
        await until("the error is shown", lambda: beside.standing().code is Code.PRICE_UNPUBLISHABLE)
        assert "Livepeer Node takes no price per hour of 720p video" in beside.standing().error
        assert beside.runner() is None


async def test_the_pace_that_a_node_has_told_outlives_orchd() -> None:
    store = FakeSecretStore()
    assert await KnownPace(store).of(LIVEPEER_NODE) == Pace(5.0, 30.0), "35 s if none is known"
    await KnownPace(store).tell(LIVEPEER_NODE, Pace(2.0, 60.0))
    assert await KnownPace(store).of(LIVEPEER_NODE) == Pace(2.0, 60.0)
    assert await KnownPace(store).of(spoken_by(NodeStatus())) == Pace(5.0, 20.0), "that of another program is its own"
    await store.save_secret("heartbeat pace of Livepeer Node", "[60, 2]")
    assert await KnownPace(store).of(LIVEPEER_NODE) == Pace(5.0, 30.0)
