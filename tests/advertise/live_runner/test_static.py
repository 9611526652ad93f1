"""Live Runner by the CLI port, against the double of the node, which asks a health URL of ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from orchd.advertise.live_runner.registry import spoken
from orchd.advertise.live_runner.wire import read_discovery
from orchd.domain.details import Details, Gpu
from orchd.domain.offer import NodeProgram
from orchd.errors import Code
from orchd.node.ports import NodeError, Probed
from tests.advertise.live_runner.world import (
    SECRET,
    World,
    a_hanging_or_failing_node_delays_and_breaks_nothing,
    key,
    offer,
    world,
)
from tests.advertise.rig import client_of, node, settings_for, until
from tests.doubles.golivepeer.node import NodeSettings

FLAGS = NodeSettings(orch_secret=SECRET, use_live_runners=True, plain_http=True)


@asynccontextmanager
async def static(flags: NodeSettings = FLAGS, **settings: object) -> AsyncIterator[World]:
    """The node, and our listener with nothing but health answers."""
    asked: list[World] = []

    async def health(request: web.Request) -> web.Response:
        beside = asked[0]
        for name in ("xl", "other", *(f"m{number}" for number in range(40))):
            found = key(name)
            if request.match_info["slug"] == found.slug and beside.secrets.knows_segment(
                found.slug, request.match_info["segment"].encode()
            ):
                return web.Response(status=200 if found in beside.healthy else 503)
        return web.Response(status=503)

    app = web.Application()
    app.router.add_get("/live/{slug}/{segment}/health", health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with world(flags, live_runner="static", callback_url=f"http://{host}:{port}", **settings) as beside:
            asked.append(beside)
            yield beside
    finally:
        await runner.cleanup()


@pytest.fixture
async def beside() -> AsyncIterator[World]:
    async with static() as found:
        yield found


async def _listed(beside: World, **changes: object) -> None:
    beside.node_is_up()
    beside.post(offer(**changes))  # type: ignore[arg-type]
    await until("it is listed", lambda: beside.capacity() is not None)


async def test_what_is_offered_is_listed_under_a_name_of_this_orchd_and_confirmed(beside: World) -> None:
    async with beside.orchd():
        await _listed(beside)
        assert beside.registry.runner_id(key()) == f"orchd-test-{key().slug}-{beside.secrets.tag}"
        await until("it is confirmed", lambda: beside.standing().confirmed)
        assert beside.standing().error == ""
        assert beside.standing().price == "1.2 usd per hour"
        await beside.node.clock.advance(60.0)
        assert beside.capacity() == 2, "our health answer keeps it there"


async def test_a_change_is_told_and_sessions_survive_it(beside: World) -> None:
    async with beside.orchd():
        await _listed(beside)
        session = beside.reserve()
        beside.post(offer(capacity=5))
        await until("it is listed with capacity 5", lambda: beside.capacity() == 5)
        assert session in beside.runner().sessions  # type: ignore[union-attr]


async def test_what_is_no_longer_offered_is_hidden_before_the_nodes_next_look(beside: World) -> None:
    async with beside.orchd():
        await _listed(beside)
        beside.post(why_not=("xl",))
        await until("it is hidden", lambda: beside.capacity() is None)
        assert key() not in beside.healthy
        await until("it is shown as not published", lambda: not beside.standing().published)
        beside.post(offer())
        await until("it is listed again", lambda: beside.capacity() == 2)
        beside.post()
        await until("it is hidden", lambda: beside.capacity() is None)


async def test_a_model_that_leaves_stays_healthy_without_a_free_slot_while_it_has_sessions(beside: World) -> None:
    async with beside.orchd():
        await _listed(beside, capacity=5)
        session = beside.reserve()
        beside.active[key()] = 3  # Two of them came by another registry.
        beside.post(why_not=("xl",))
        await until("it is listed with capacity 1", lambda: beside.capacity() == 1)
        await beside.node.clock.advance(30.0)
        assert session in beside.runner().sessions  # type: ignore[union-attr]
        await beside.registry.stop_session(key(), session)
        await until("it is hidden", lambda: beside.capacity() is None)


async def test_a_session_that_was_never_used_keeps_nothing_listed(beside: World) -> None:
    async with beside.orchd():
        await _listed(beside)
        beside.reserve()
        beside.post(why_not=("xl",))
        await until("it is hidden", lambda: beside.capacity() is None)


async def test_a_model_that_comes_back_while_it_drains_loses_no_session(beside: World) -> None:
    async with beside.orchd():
        await _listed(beside, capacity=5)
        session = beside.reserve()
        beside.active[key()] = 1
        beside.post(why_not=("xl",))
        await until("it is listed with capacity 1", lambda: beside.capacity() == 1)
        beside.post(offer(capacity=5))
        await until("it is listed with capacity 5", lambda: beside.capacity() == 5)
        assert session in beside.runner().sessions  # type: ignore[union-attr]


async def test_a_restarted_node_gets_everything_again_but_what_was_hidden(beside: World) -> None:
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer(), offer("other"))
        await until("both are listed", lambda: beside.capacity() and beside.capacity("other"))
        beside.post(offer(), why_not=("other",))
        await until("one is hidden", lambda: beside.capacity("other") is None)
        await beside.node.restart()
        beside.node_is_up()
        await until("it is listed again", lambda: beside.capacity() == 2)
        assert beside.runner("other") is None


async def test_the_sessions_of_a_node_that_has_ended_are_over_and_those_of_one_that_was_away_are_not(
    beside: World,
) -> None:
    """The static way names no session: nothing else would give their slots back."""
    async with beside.orchd():
        await _listed(beside)
        beside.sessions.reserved(key(), "cam1")
        beside.node_is_back()
        beside.post(offer(capacity=3))
        await until("the node's return was noticed", lambda: beside.capacity() == 3)
        assert beside.sessions.of(key()) == {"cam1"}
        await beside.node.restart()
        beside.node_is_up()
        await until("it is over", lambda: not beside.sessions.of(key()))


async def test_a_loss_that_nobody_noticed_is_found() -> None:
    async with static(check_s=0.05) as beside, beside.orchd():
        await _listed(beside)
        await beside.node.restart()
        await until("it is listed again", lambda: beside.capacity() == 2)


async def test_one_bad_entry_keeps_none_of_the_others_out(beside: World) -> None:
    async with beside.orchd():
        beside.node_is_up()
        beside.post(offer("m1"), offer("xl", app=" "), offer("m2"))
        await until("the good ones are listed", lambda: beside.capacity("m1") and beside.capacity("m2"))
        await until("the error is shown", lambda: beside.standing().error)
        assert beside.standing().code is Code.NODE_REFUSED
        assert "app must be trimmed" in beside.standing().error
        assert beside.standing("m1").error == ""
        beside.post(offer("m1"), why_not=("xl", "m2"))
        await until("it is hidden", lambda: beside.capacity("m2") is None)
        beside.post(offer("m1"), offer("xl"))
        await until("the mended one is listed", lambda: beside.capacity() == 2)


async def test_a_node_that_cannot_reach_us_is_said_to_be_so() -> None:
    async with world(FLAGS, live_runner="static", callback_url="http://127.0.0.1:9") as beside, beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("the error is shown", lambda: beside.standing().error)
        assert beside.standing().code is Code.NODE_REFUSED
        assert "orchestrator.callback_url" in beside.standing().error
        assert not beside.standing().published


@pytest.mark.parametrize("cli", [True, False])
async def test_without_the_registry_or_the_cli_port_it_is_said_what_is_missing(cli: bool) -> None:
    flags = NodeSettings(orch_secret=SECRET, plain_http=True)
    async with static(flags, **({} if cli else {"cli_url": ""})) as beside, beside.orchd():
        beside.node_is_up()
        beside.post(offer())
        await until("the error is shown", lambda: beside.standing().error)
        assert beside.standing().code is Code.NOT_SPOKEN
        assert ("-useLiveRunners" if cli else "orchestrator.cli_url") in beside.standing().error


async def test_a_hanging_or_failing_node_delays_and_breaks_nothing() -> None:
    async with static(call_timeout_s=0.2) as beside, beside.orchd():
        await _listed(beside)
        await a_hanging_or_failing_node_delays_and_breaks_nothing(beside)


async def test_many_models_are_told_and_hidden_together(beside: World) -> None:
    async with beside.orchd():
        beside.node_is_up()
        names = [f"m{number}" for number in range(40)]
        beside.post(*(offer(name) for name in names))
        await until("all are listed", lambda: len(beside.node.live_runners.offered()) == 40)
        beside.post(why_not=tuple(names))
        await until("all are hidden", lambda: not beside.node.live_runners.offered())


async def test_an_orderly_end_hides_everything(beside: World) -> None:
    async with beside.orchd(withdraw=True):
        await _listed(beside)
    assert beside.capacity() is None


async def test_nothing_that_is_secret_is_shown_or_logged() -> None:
    with capture_logs() as logs:
        async with static(check_s=0.05) as beside, beside.orchd():
            await _listed(beside, app="x")
            secret = beside.secrets.segment(key().slug).value
            assert secret in beside.runner().entry.runner_url  # type: ignore[union-attr]
            beside.post(offer(app=" "))
            await until("the error is shown", lambda: beside.standing().error)
            shown = repr((beside.listings.published, logs))
    assert secret not in shown


@pytest.mark.parametrize(("program", "live"), list(product(NodeProgram, (False, True))))
async def test_by_heartbeats_it_is_spoken_where_the_node_has_it(program: NodeProgram, live: bool) -> None:
    async with node() as double, client_of(settings_for(double)) as client:
        assert await spoken(client, settings_for(double), Probed(program, live_runner=live)) is live


@pytest.mark.parametrize("live", [False, True])
async def test_static_is_spoken_where_there_is_a_cli_port(live: bool) -> None:
    async with node() as double, client_of(settings_for(double)) as client:
        seen = Probed(NodeProgram.GO_LIVEPEER, live_runner=live)
        assert await spoken(client, settings_for(double, live_runner="static"), seen) is live


@pytest.mark.parametrize(
    ("program", "cli", "why"),
    [
        (NodeProgram.LIVEPEER_NODE, True, "Livepeer Node has no CLI port; write dynamic"),
        (NodeProgram.GO_LIVEPEER, False, r"orchestrator\.cli_url is empty"),
    ],
)
async def test_static_without_a_cli_port_is_an_error_by_name(program: NodeProgram, cli: bool, why: str) -> None:
    async with node() as double, client_of(settings_for(double)) as client:
        settings = settings_for(double, cli=cli, live_runner="static")
        with pytest.raises(NodeError, match=rf"orchestrator\.live_runner = static\): {why}") as caught:
            await spoken(client, settings, Probed(program, live_runner=True))
        assert caught.value.code is Code.NOT_SPOKEN


async def test_discovery_shows_what_clients_choose_by() -> None:
    details = Details(Gpu("0", "NVIDIA L40S", 46068), "1.2", "x")
    async with static() as beside, beside.orchd():
        beside.node_is_up()
        beside.post(offer(details=details))
        await until("it is confirmed", lambda: beside.standing().confirmed)
        [listed] = read_discovery(json.loads(await beside.discovery())).values()
        assert listed.details == details
