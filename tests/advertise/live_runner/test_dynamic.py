"""Live Runner by heartbeats, against the doubles of both node programs; what only one of them does has its own file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.advertise.live_runner import NAME
from orchd.advertise.live_runner.wire import read_discovery
from orchd.domain.details import Details, Gpu
from orchd.domain.model import Secret
from orchd.domain.money import Price
from orchd.errors import Code, StoreError
from orchd.node.ports import NodeAnswer
from tests.advertise.live_runner.world import (
    SECRET,
    WORLDS,
    World,
    a_hanging_or_failing_node_delays_and_breaks_nothing,
    key,
    offer,
    world,
)
from tests.advertise.rig import until
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.node import NodeSettings

ON_CHAIN = NodeSettings(orch_secret=SECRET, use_live_runners=True, plain_http=True, on_chain=Chain())


@pytest.fixture(params=WORLDS)
async def beside(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with WORLDS[request.param]() as found:
        yield found


@pytest.fixture
async def beside_go_livepeer() -> AsyncIterator[World]:
    async with world() as found:
        yield found


async def _registered(beside: World, **changes: object) -> None:
    """Offer one model and wait until the node lists it and orchd knows that."""
    beside.node_is_up()
    beside.post(offer(**changes))  # type: ignore[arg-type]
    await until("it is listed", lambda: beside.capacity() is not None)
    await until("it is known to be", lambda: beside.standing().published)


async def test_what_is_offered_is_listed_confirmed_and_shown(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
        runner = beside.runner()
        assert runner is not None
        assert runner.entry.app == "text-to-image/acme/xl"
        assert runner.entry.runner_url == (
            f"http://127.0.0.1:8737/live/{key().slug}/{beside.secrets.segment(key().slug).value}"
        )
        await until("it is confirmed", lambda: beside.standing().confirmed)
        standing = beside.standing()
        assert (standing.wanted, standing.published, standing.error) == (True, True, "")
        assert standing.price == "1.2 usd per hour"
        assert standing.since > 0


async def test_discovery_shows_what_clients_choose_by_and_a_change_of_it_at_once(beside: World) -> None:
    details = Details(Gpu("0", "NVIDIA L40S", 46068), "1.2", '{"max": "é"}')
    async with beside.orchd():
        await _registered(beside, details=details)
        await until("it is confirmed", lambda: beside.standing().confirmed)
        [listed] = read_discovery(json.loads(await beside.discovery())).values()
        assert listed.details == details
        beside.post(offer(details=Details(Gpu(name="NVIDIA T4"), "1.3")))
        await until("the version is listed", lambda: (found := beside.runner()) and found.entry.version == "1.3")
        [listed] = read_discovery(json.loads(await beside.discovery())).values()
        assert listed.details == Details(Gpu(name="NVIDIA T4"), "1.3")


async def test_nothing_is_said_before_the_node_was_seen(beside: World) -> None:
    async with beside.orchd():
        beside.post(offer())
        await until("it is shown as wanted", lambda: beside.standing().wanted)
        assert beside.runner() is None
        assert not beside.standing().published


async def test_a_change_is_told_at_once(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
        beside.post(offer(capacity=7))
        await until("it is listed with capacity 7", lambda: beside.capacity() == 7)
        beside.post(offer(capacity=7, persistent=False, app="other"))
        await until(
            "the whole record is replaced",
            lambda: (runner := beside.runner()) and runner.entry.app == "other" and not runner.persistent,
        )


async def test_what_is_no_longer_offered_is_unregistered(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
        beside.post(why_not=("xl",))
        await until("it is unregistered", lambda: beside.runner() is None)
        await until("it is shown as not published", lambda: not beside.standing().published)
        assert not beside.standing().wanted
        await until("its secret is forgotten", lambda: not any("orchd-test" in name for name in beside.store.secrets))
        beside.post(offer())
        await until("it is listed with capacity 2", lambda: beside.capacity() == 2)
        beside.post()
        await until("it is unregistered", lambda: beside.runner() is None)
        await until("it is no longer shown", lambda: key() not in beside.listings.published[NAME])


async def test_sessions_are_heard_of_as_they_begin_and_end(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
        sessions = beside.sessions
        # The subscription begins after the registration: events before it are told by heartbeats alone.
        first = beside.reserve()
        beside.post(offer(capacity=3))
        await until("the session is known", lambda: sessions.of(key()) == {first})
        beside.release(first)
        await until("the end of the session is heard", lambda: ("released", first) in sessions.told)
        second = beside.reserve()
        await until("the session is heard of", lambda: ("reserved", second) in sessions.told)
        assert sessions.of(key()) == {second}


async def test_sessions_whose_events_were_lost_are_told_by_the_next_answer(beside_go_livepeer: World) -> None:
    beside = beside_go_livepeer
    async with beside.orchd():
        await _registered(beside)
        beside.node.live_runners.events.lost = True
        session = beside.reserve()
        beside.post(offer(capacity=3))
        await until("the session is known", lambda: beside.sessions.of(key()) == {session})
        beside.release(session)
        beside.post(offer(capacity=4))
        await until("the session is over", lambda: not beside.sessions.of(key()))
        assert beside.sessions.told == []


async def test_single_shot_requests_are_no_sessions_of_ours(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside, persistent=False)
        beside.reserve()
        beside.post(offer(capacity=3, persistent=False))
        await until("it is listed with capacity 3", lambda: beside.capacity() == 3)
        assert not beside.sessions.of(key())


async def test_a_model_that_leaves_stays_without_a_free_slot_while_it_has_sessions(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside, capacity=5)
        session = beside.reserve()
        beside.post(why_not=("xl",))
        await until("it is listed with capacity 1", lambda: beside.capacity() == 1)
        await until("the session is known", lambda: beside.sessions.of(key()) == {session})
        beside.release(session)
        await until("it is unregistered", lambda: beside.runner() is None)


async def test_a_session_is_stopped_at_the_node(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
        session = beside.reserve()
        beside.post(why_not=("xl",))
        await until("it is listed with capacity 1", lambda: beside.capacity() == 1)
        await beside.registry.stop_session(key(), session)
        await until("it is unregistered", lambda: beside.runner() is None)
        await beside.registry.stop_session(key(), "no/such session")


async def test_a_restarted_node_gets_everything_again(beside: World) -> None:
    async with beside.orchd():
        beside.node_is_up()
        names = [f"m{number}" for number in range(10)]
        beside.post(*(offer(name) for name in names))
        await until("all are listed", lambda: all(beside.capacity(name) == 2 for name in names))
        await beside.node.restart()
        restarted_at = asyncio.get_running_loop().time()
        assert not beside.node.live_runners.offered()
        beside.node_is_up()
        await until("all are listed", lambda: all(beside.capacity(name) == 2 for name in names))
        assert all(taken_at < restarted_at for taken_at in beside.watch.lost), "nothing was lost twice"


async def test_whoever_hears_first_that_the_node_forgot_us_tells_the_watch(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
        await beside.node.restart()
        beside.post(offer(capacity=3))
        await until("it is listed with capacity 3", lambda: beside.capacity() == 3)
        assert len(beside.watch.lost) == 1


async def test_an_expired_runner_comes_back_when_the_node_has_swept_it(beside_go_livepeer: World) -> None:
    beside = beside_go_livepeer
    async with beside.orchd():
        await _registered(beside)
        await beside.node.clock.advance(4.0)  # Beats so late that its expiry is seen before the sweep.
        beside.post(offer(capacity=3))
        await until("it is listed with capacity 3", lambda: beside.capacity() == 3)
        await beside.node.clock.advance(20.5)
        beside.post(offer(capacity=4))
        await until("the error is shown", lambda: "sweep" in beside.standing().error)
        assert not beside.standing().published
        await beside.node.clock.advance(5.0)
        await until("it is listed with capacity 4", lambda: beside.capacity() == 4)
        await until("the error is over", lambda: beside.standing().error == "")


async def test_a_killed_orchd_finds_its_runner_and_sessions_again(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
        session = beside.reserve()
        before = beside.runner()
    async with beside.orchd():
        beside.node_is_up()
        beside.post(why_not=("xl",))  # Not ready yet: its container has to be looked at first.
        await until("the session is known", lambda: beside.sessions.of(key()) == {session})
        beside.post(offer())
        await until("it is listed with capacity 2", lambda: beside.capacity() == 2)
        assert beside.runner() is before
        beside.release(session)
        await until("the event channel is followed again", lambda: ("released", session) in beside.sessions.told)


async def test_what_left_while_orchd_was_away_is_unregistered(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
    async with beside.orchd():
        beside.node_is_up()
        beside.post(why_not=("xl",))
        await until("it is unregistered", lambda: beside.runner() is None)


async def test_without_its_secret_a_model_comes_back_when_the_old_record_has_expired(beside: World) -> None:
    async with beside.orchd():
        await _registered(beside)
    beside.store.secrets.clear()
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer(capacity=3))
        await until("the error is shown", lambda: "secret was lost" in beside.standing().error)
        assert beside.standing().code is Code.NODE_REFUSED
        assert beside.capacity() == 2
        await beside.node.clock.advance(36.0)
        beside.node_is_back()
        await until("it is listed with capacity 3", lambda: beside.capacity() == 3)


async def test_an_orderly_end_withdraws_what_has_no_sessions_and_fills_up_the_rest(beside: World) -> None:
    async with beside.orchd(withdraw=True):
        beside.node_is_up()
        beside.post(offer("idle"), offer("busy", capacity=5))
        await until("it is listed", lambda: beside.capacity("idle") and beside.capacity("busy"))
        await until("it is known to be", lambda: all(beside.standing(name).published for name in ("idle", "busy")))
        session = beside.reserve("busy")
    assert beside.runner("idle") is None
    assert beside.capacity("busy") == 1
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer("busy", capacity=5))
        await until("it is listed with capacity 5", lambda: beside.capacity("busy") == 5)
        assert beside.sessions.of(key("busy")) == {session}, "a new orchd takes its sessions over"


@pytest.mark.parametrize("mine", [None, "another secret"])
async def test_without_the_nodes_secret_it_is_said_what_to_do(beside: World, mine: str | None) -> None:
    beside.secret = Secret(mine) if mine else None
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("the error is shown", lambda: beside.standing().error)
        assert beside.standing().code is Code.NODE_SECRET
        assert "orchestrator.secret_file" in beside.standing().error
        assert "another secret" not in beside.standing().error


async def test_a_node_without_a_secret_is_said_to_need_one(tmp_path: Path) -> None:
    config = tmp_path / "runners.json"
    config.write_text('{"runners": []}')
    flags = NodeSettings(orch_secret=None, live_runner_config=config, plain_http=True)
    async with world(flags) as beside, beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("the error is shown", lambda: beside.standing().error)
        assert beside.standing().code is Code.NOT_SPOKEN
        assert "-orchSecret" in beside.standing().error


async def test_a_price_that_cannot_be_published_keeps_the_model_out() -> None:
    async with world(ON_CHAIN) as beside, beside.orchd():
        await _registered(beside)
        await until("it is confirmed", lambda: beside.standing().confirmed)
        assert beside.standing().price == "1.2 usd per hour"
        beside.post(offer(price=Price(Fraction(0))))
        await until("it is unregistered", lambda: beside.runner() is None)
        await until("the error is shown", lambda: beside.standing().code is Code.PRICE_UNPUBLISHABLE)
        await until("it is known", lambda: (beside.standing().wanted, beside.standing().published) == (True, False))


async def test_a_node_that_may_be_on_chain_is_believed_when_it_wants_a_price() -> None:
    async with world(ON_CHAIN) as beside, beside.orchd():
        beside.on_chain = None
        await _registered(beside)
        await until("it is confirmed", lambda: beside.standing().confirmed)
        assert beside.standing().price == "1.2 usd per hour"
        beside.post(offer(price=Price(Fraction(0))))
        await until("the error is shown", lambda: beside.standing().code is Code.PRICE_UNPUBLISHABLE)
        assert "no price of 0 on chain" in beside.standing().error
        assert "go-livepeer says 400" in beside.standing().error


async def test_a_node_off_chain_that_may_be_on_chain_lists_free_models_and_prices_that_it_does_not_show() -> None:
    async with world() as beside, beside.orchd():
        beside.on_chain = None
        await _registered(beside, price=Price(Fraction(0)))
        await until("it is confirmed", lambda: beside.standing().confirmed)
        beside.post(offer())
        await until("its price is sent", lambda: beside.standing().price == "1.2 usd per hour")
        await until("it is confirmed", lambda: beside.standing().confirmed)
        assert not beside.standing().error


async def test_what_the_node_refuses_is_said_in_its_words() -> None:
    async with world(ON_CHAIN) as beside, beside.orchd():
        beside.on_chain = False  # So no price is sent, which a node on chain refuses.
        beside.node_is_up()
        beside.post(offer(price=Price(Fraction(0))))
        await until("the error is shown", lambda: beside.standing().code is Code.NODE_REFUSED)
        assert "price_info" in beside.standing().error


async def test_what_the_node_does_not_list_is_not_confirmed_and_told_again() -> None:
    async with world(check_s=0.05) as beside, beside.orchd():
        await _registered(beside)
        await until("it is confirmed", lambda: beside.standing().confirmed)
        registry, seen_at = beside.node.live_runners.registry, beside.runner().seen_at  # type: ignore[union-attr]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry, "usable", lambda runner: False)
            await beside.node.clock.advance(1.0)
            await until("it is not confirmed", lambda: beside.standing().confirmed is False)
            assert "not listed" in beside.standing().error
            await until("it was told again", lambda: (runner := beside.runner()) and runner.seen_at > seen_at)
        await until("it is confirmed again", lambda: beside.standing().confirmed)
        assert beside.standing().error == ""


async def test_a_hanging_or_failing_node_delays_and_breaks_nothing() -> None:
    async with world(call_timeout_s=0.2) as beside, beside.orchd():
        await _registered(beside)
        await a_hanging_or_failing_node_delays_and_breaks_nothing(beside)


async def test_nothing_that_is_secret_is_shown_or_logged() -> None:
    with capture_logs() as logs:
        async with world(call_timeout_s=0.2) as beside:
            async with beside.orchd(withdraw=True):
                await _registered(beside)
                runner = beside.runner()
                assert runner is not None
                secrets = [
                    SECRET,
                    runner.heartbeat_secret,
                    runner.events_channel,
                    beside.secrets.segment(key().slug).value,
                ]
                beside.node.faults.fail = True
                beside.post(offer(capacity=3))
                await until("the error is shown", lambda: beside.standing().error)
                beside.node.faults.hang(True)
                beside.post(offer(capacity=4))
                await until("the error is shown", lambda: "no answer" in beside.standing().error)
                shown = repr((beside.listings.published, vars(beside.registry)))
                beside.node.faults.hang(False)
                beside.node.faults.fail = False
            shown += repr(logs)
    assert logs
    for secret in secrets:
        assert secret not in shown


async def test_models_do_not_wait_for_one_another(beside: World) -> None:
    async with beside.orchd():
        beside.node_is_up()
        names = [f"m{number}" for number in range(100)]
        beside.post(*(offer(name) for name in names))
        await until("all are listed", lambda: len(beside.node.live_runners.offered()) == 100)
        beside.post()
        await until("all are withdrawn", lambda: not beside.node.live_runners.offered())


async def test_what_the_node_shows_on_chain_is_the_price_that_was_asked() -> None:
    async with world(ON_CHAIN) as beside, beside.orchd():
        await _registered(beside, price=Price(Fraction(1200)))
        await until("it is confirmed", lambda: beside.standing().confirmed)
        [shown] = beside.node.live_runners.offered()
        assert shown["price_info"] == {"price": 1200, "currency": "wei", "unit": "seconds"}


async def test_a_node_without_a_rate_lists_no_price_and_so_confirms_nothing() -> None:
    chain = Chain(eth_usd=None)
    async with world(replace(ON_CHAIN, on_chain=chain), check_s=0.05) as beside, beside.orchd():
        await _registered(beside)
        await until("it is not confirmed", lambda: beside.standing().confirmed is False)
        assert "price feed" in beside.standing().error


async def test_a_store_that_cannot_be_written_keeps_nothing_from_being_listed(beside: World) -> None:
    async def fail(name: str, value: str) -> None:
        raise StoreError("cannot use the store /x: disk full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beside.store, "save_secret", fail)
        async with beside.orchd():
            await _registered(beside)
            await until("the error is shown", lambda: "disk full" in beside.standing().error)
            assert beside.standing().published


async def test_sessions_outlive_a_change_of_the_models_mode_and_single_shot_requests_never_become_sessions(
    beside: World,
) -> None:
    async with beside.orchd():
        await _registered(beside)
        session = beside.reserve()
        beside.post(offer(persistent=False, capacity=3))
        await until("it is listed with capacity 3", lambda: beside.capacity() == 3)
        request = beside.reserve()
        beside.post(offer(persistent=False, capacity=4))
        await until("it is listed with capacity 4", lambda: beside.capacity() == 4)
        assert beside.sessions.of(key()) == {session}
        beside.post(offer(capacity=5))
        await until("it is listed with capacity 5", lambda: beside.capacity() == 5)
        beside.release(session)
        beside.post(offer(capacity=6))
        await until("the session is over", lambda: not beside.sessions.of(key()))
        assert request in {each.session_id for each in beside.runner().sessions.values()}, "it still runs"  # type: ignore[union-attr]


async def test_a_model_that_its_clients_cannot_use_is_not_listed_and_the_reason_is_shown() -> None:
    async with world(ON_CHAIN) as beside, beside.orchd():
        beside.node_is_up()
        beside.post(replace(offer(), live_runner_gap="it is not made for that"))
        await until("the error is shown", lambda: beside.standing().code is Code.UNSERVABLE)
        assert beside.standing().error == "cannot serve Live Runner's clients: it is not made for that"
        assert (beside.standing().wanted, beside.standing().published) == (True, False)
        assert beside.runner() is None
        beside.post(offer())
        await until("it is registered", lambda: beside.runner() is not None)


async def test_a_refusal_that_quotes_what_it_was_sent_shows_no_credential(beside: World) -> None:
    """As a proxy for tests does."""
    async with beside.orchd():
        await _registered(beside)
        sent: list[str] = []
        ask = beside.client.service

        async def quoting(method: str, path: str, **rest: Any) -> NodeAnswer:
            secret: Secret | None = rest.get("authorization")
            if secret is None:
                return await ask(method, path, **rest)
            sent.append(secret.value)
            return NodeAnswer(400, f"Authorization: {secret.value}; {rest.get('body')}".encode(), "text/plain")

        beside.client.service = quoting  # type: ignore[method-assign]
        beside.post(offer(capacity=3))
        await until("the refusal is shown", lambda: "Authorization: ***" in beside.standing().error)
        assert sent[0] != SECRET
        shown, segment = beside.standing().error, beside.secrets.segment(key().slug).value
        assert not [secret for secret in (*sent, segment) if secret in shown]


@pytest.mark.parametrize("status", [200, 401])
async def test_a_web_page_in_place_of_an_answer_takes_no_session_and_no_registration(
    beside: World, status: int
) -> None:
    """Of a captive portal, or of a proxy whose own login has run out."""
    async with beside.orchd():
        await _registered(beside)
        session = beside.reserve()
        beside.post(offer(capacity=5))
        await until("it is heard of", lambda: session in beside.sessions.of(key()))
        ask = beside.client.service

        async def portal(method: str, path: str, **rest: Any) -> NodeAnswer:
            return NodeAnswer(status, b"<html>Sign in</html>", "text/html")

        beside.client.service = portal  # type: ignore[method-assign]
        beside.post(offer(capacity=3))
        await until("it is shown", lambda: "a web page is answered in its place" in beside.standing().error)
        assert beside.standing().published
        assert session in beside.sessions.of(key())
        beside.client.service = ask  # type: ignore[method-assign]
        beside.post(offer(capacity=4))
        await until("it is over", lambda: beside.capacity() == 4 and not beside.standing().error)
        assert session in beside.sessions.of(key())


async def test_a_model_that_was_refused_has_the_node_looked_at_with_each_try(beside: World) -> None:
    """Another program may stand in the place of the one that has refused it, and nothing else would show that."""
    beside.secret = Secret("another")
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("it is refused", lambda: beside.standing().error)
        before = beside.watch.suspicions
        beside.use_secret(SECRET)
        await until("it is listed", lambda: beside.standing().published)
        assert beside.watch.suspicions > before
