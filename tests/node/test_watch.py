"""The watch over the node: a new start is seen by whatever the deployment shows, once, and only when it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from fractions import Fraction
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.domain.offer import NodeProgram
from orchd.errors import Code, StoreError
from orchd.node.cli_port import ADDRESS_NAME
from orchd.node.ports import NodeAnswer, Probed
from orchd.node.starts import BURST
from orchd.node.tables import PROGRAM_NAME
from orchd.node.watch import NodeWatch
from orchd.tasks import cancel, spawn
from tests.advertise.rig import CountingListings, Jobs, client_of, livepeer_node, node, settings_for, until
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.node import Node
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.fakes.stored import FakeSecretStore

BYOC, LIVE = "byoc", "live-runner"


async def _is_go_livepeer(found: Probed) -> bool:
    return found.program is NodeProgram.GO_LIVEPEER


async def _has_live_runner(found: Probed) -> bool:
    return found.live_runner


@asynccontextmanager
async def watching(
    double: Node | LivepeerNode, *, cli: bool = True, store: FakeSecretStore | None = None, **changes: Any
) -> AsyncIterator[tuple[CountingListings, NodeWatch]]:
    """Run a watch; leave when it was cancelled."""
    settings = settings_for(double, cli=cli, **changes)
    listings = Jobs().listings()
    async with client_of(settings) as client:
        watch = NodeWatch(client, store or FakeSecretStore(), settings)
        watch.ask(BYOC, _is_go_livepeer)
        watch.ask(LIVE, _has_live_runner)
        watch.polled.connect(listings.set_node)
        task = spawn(watch.run(), name="watch")
        try:
            yield listings, watch
            assert not task.done()
        finally:
            await cancel(task)


async def looks(listings: CountingListings, count: int = 3) -> None:
    """Wait until the watch has looked that often from now on; the first of them may have begun before."""
    enough = listings.looks + count
    await until("the watch looks", lambda: listings.looks >= enough)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_first_sight_of_the_node() -> None:
    async with node(version="0.9.2", use_live_runners=True) as double, watching(double) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        status = listings.node
        assert (status.epoch, status.on_chain, status.version) == (1, False, "0.9.2")
        assert (status.registries, status.error, status.code) == ((BYOC, LIVE), "", None)
        assert status.since > 1_600_000_000
        assert status.program is NodeProgram.GO_LIVEPEER


async def test_first_sight_of_livepeer_node() -> None:
    async with livepeer_node() as double, watching(double) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        status = listings.node
        assert (status.epoch, status.on_chain, status.version) == (1, None, "")
        assert (status.registries, status.error, status.code) == ((LIVE,), "", None)
        assert status.program is NodeProgram.LIVEPEER_NODE
        await looks(listings)
        assert listings.node.epoch == 1


async def test_a_node_without_a_free_place_is_alive_and_the_same() -> None:
    async with livepeer_node() as double, watching(double) as (listings, watch):
        await until("it is up", lambda: listings.node.up)
        before = listings.node
        double.places.occupied["control"] = 64
        watch.suspect()
        await looks(listings)
        assert listings.node == before


async def test_a_node_that_is_busy_at_first_sight_is_known_once_it_is_not() -> None:
    async with livepeer_node() as double:
        double.places.occupied["control"] = 64
        async with watching(double) as (listings, _):
            await until("it is told", lambda: "server busy" in listings.node.error)
            assert not listings.node.up
            double.places.occupied["control"] = 0
            await until("it is up", lambda: listings.node.up)
            assert listings.node.epoch == 1


async def test_a_cli_url_beside_livepeer_node_is_a_note_and_nobody_is_asked_there() -> None:
    """A go-livepeer may still run there, and is not the node."""
    async with (
        node() as former,
        livepeer_node() as double,
        watching(double, cli_url=former.cli_url) as (listings, _),
    ):
        await until("it is up", lambda: listings.node.up)
        assert listings.node.notes == ("orchestrator.cli_url is not used: Livepeer Node has no CLI port",)
        assert (listings.node.error, listings.node.on_chain, listings.node.version) == ("", None, "")
        assert not former.base_prices.shown()


async def test_a_cli_port_that_does_not_answer_is_a_note_until_it_does() -> None:
    async with node() as double:
        await double._cli.close()
        async with watching(double) as (listings, _):
            await until("it is up", lambda: listings.node.up)
            [note] = listings.node.notes
            assert note.startswith(f"orchestrator.cli_url is not used: cannot reach the node at {double.cli_url}: ")
            await double._open_cli()
            await until("all is well", lambda: not listings.node.notes)


async def test_a_base_path_that_is_missing_is_told() -> None:
    async with livepeer_node(service_url="http://127.0.0.1:8935/base") as double, watching(double) as (listings, _):
        await until("it is told", lambda: listings.node.error)
        assert "'route not found'" in listings.node.error
        assert not listings.node.up


async def test_on_chain_is_seen() -> None:
    async with node(on_chain=Chain(eth_usd=Fraction(3000))) as double, watching(double) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        assert listings.node.on_chain is True


async def test_without_a_cli_port_the_chain_is_not_known() -> None:
    async with node() as double, watching(double, cli=False) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        assert listings.node.on_chain is None
        assert listings.node.version == ""


async def test_registries_that_the_node_speaks() -> None:
    async with node(use_live_runners=False) as double, watching(double) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        assert listings.node.registries == (BYOC,)


@pytest.mark.parametrize(
    ("plain_http", "cli"),
    [(False, True), (False, False), (True, True), (True, False)],
    ids=["certificate and sentinel", "certificate", "sentinel", "neither"],
)
async def test_a_restart_is_one_new_epoch(plain_http: bool, cli: bool) -> None:
    """Blind as the last one is, it has seen the node go."""
    async with node(plain_http=plain_http) as double, watching(double, cli=cli) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        await looks(listings)
        assert listings.node.epoch == 1
        await double.stop()
        await until("it is down", lambda: not listings.node.up)
        await double.start()
        await until("it is up again", lambda: listings.node.up)
        await looks(listings)
        assert listings.node.epoch == 2


@pytest.mark.parametrize(("plain_http", "cli"), [(False, True), (False, False), (True, True)])
async def test_a_restart_that_nobody_saw_is_one_new_epoch(plain_http: bool, cli: bool) -> None:
    """The node was back before the next look."""
    async with node(plain_http=plain_http) as double, watching(double, cli=cli, poll_s=0.3) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        await double.restart()
        await until("a new epoch", lambda: listings.node.epoch == 2)
        await looks(listings)
        assert listings.node.epoch == 2


async def test_a_node_that_was_only_absent_is_the_same() -> None:
    async with node() as double, watching(double) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        await double.leave()
        await until("it is down", lambda: not listings.node.up)
        assert listings.node.code is Code.NODE_UNREACHABLE
        assert listings.node.registries == (BYOC,), "what it spoke is not forgotten"
        await double.come_back()
        await until("it is up", lambda: listings.node.up)
        assert (listings.node.epoch, listings.node.error) == (1, "")


async def test_another_certificate_alone_is_no_new_start_where_the_sentinel_is_seen() -> None:
    """A proxy before the node may change its own; nothing was lost."""
    async with node() as double, watching(double) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        double.change_certificate()
        await looks(listings)
        assert listings.node.epoch == 1


async def test_another_certificate_is_a_new_start_where_there_is_no_sentinel() -> None:
    async with node() as double, watching(double, cli=False) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        double.change_certificate()
        await until("a new epoch", lambda: listings.node.epoch == 2)
        await looks(listings)
        assert listings.node.epoch == 2


@pytest.mark.parametrize("fault", ["fail", "hang"])
async def test_a_node_that_fails_or_hangs_is_down_and_then_the_same(fault: str) -> None:
    async with node() as double, watching(double, call_timeout_s=0.2) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        switch: Callable[[bool], None] = (
            double.faults.hang if fault == "hang" else lambda on: setattr(double.faults, "fail", on)
        )
        switch(True)
        await until("it is down", lambda: not listings.node.up)
        assert listings.node.error.startswith("cannot ")
        switch(False)
        await until("it is up", lambda: listings.node.up)
        assert listings.node.epoch == 1


async def test_a_node_that_fails_while_it_starts_counts_when_it_is_well() -> None:
    async with node() as double:
        double.faults.fail = True
        async with watching(double) as (listings, _):
            await looks(listings)
            assert (listings.node.up, listings.node.epoch) == (False, 0)
            double.faults.fail = False
            await until("it is up", lambda: listings.node.up)
            assert listings.node.epoch == 1


async def test_a_cli_port_that_is_ahead_of_the_service_port_is_no_start() -> None:
    """On chain there are minutes between them (docs/protocol/go-livepeer-cli.md, 3.1)."""
    async with node(plain_http=True) as double, watching(double) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        await double.stop()
        await until("it is down", lambda: not listings.node.up)
        double._reset()
        await double._open_cli()
        await looks(listings)
        assert (listings.node.up, listings.node.epoch) == (False, 1)
        assert not double.base_prices.shown(), "no sentinel before the gate"
        await double._open_service()
        await until("it is up", lambda: listings.node.up)
        assert listings.node.epoch == 2


async def test_a_cli_port_that_comes_late_gets_its_sentinel_without_a_new_epoch() -> None:
    async with node(plain_http=True) as double:
        await double._cli.close()
        async with watching(double) as (listings, _):
            await until("it is up", lambda: listings.node.up)
            assert (listings.node.epoch, listings.node.on_chain) == (1, None)
            await double._open_cli()
            await until("the chain is known", lambda: listings.node.on_chain is False)
            await looks(listings)
            assert listings.node.epoch == 1
            assert len(double.base_prices.shown()) == 1
            await double.restart()
            await until("a new epoch", lambda: listings.node.epoch == 2)


async def test_the_sentinels_address_is_kept_and_its_price_is_new() -> None:
    store = FakeSecretStore()
    async with node() as double:
        found = []
        for _ in range(2):
            async with watching(double, store=store) as (listings, _):
                await until("it is up", lambda listings=listings: listings.node.up)  # type: ignore[misc]
                found.append(dict(double.base_prices.shown()))
        [first], [second] = found
        assert first == second == store.secrets["sentinel address"]
        assert found[0][first] != found[1][second]


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
async def test_what_the_node_has_forgotten_is_a_new_epoch_where_nothing_can_be_seen_once(program: str) -> None:
    """Several writers may hear of the same loss, and some of them late; the next loss may come right after it."""
    async with (
        livepeer_node() if program == "livepeer-node" else node(plain_http=True) as double,
        watching(double, cli=False, poll_s=60.0) as (listings, watch),
    ):
        await until("it is up", lambda: listings.node.up)
        taken_at = now()
        watch.suspect(taken_at)
        watch.suspect(taken_at)
        await until("a new epoch", lambda: listings.node.epoch == 2)
        watch.suspect(taken_at)
        watch.suspect()
        await looks(listings, 1)
        assert listings.node.epoch == 2
        watch.suspect(now())
        await until("a new epoch", lambda: listings.node.epoch == 3)
        watch.suspect()
        await looks(listings, 1)
        assert listings.node.epoch == 3


@pytest.mark.parametrize("first", ["go-livepeer", "livepeer-node"])
async def test_a_node_that_is_replaced_by_the_other_program_is_noticed_at_once(first: str) -> None:
    """Even within the pause between two looks, and with the same runners listed by chance."""
    async with AsyncExitStack() as stack:
        here: Node | LivepeerNode = await stack.enter_async_context(
            node(plain_http=True, use_live_runners=True) if first == "go-livepeer" else livepeer_node()
        )
        address = here.service_url.removeprefix("http://")
        listings, watch = await stack.enter_async_context(watching(here, cli=False, poll_s=60.0))
        await until("it is up", lambda: listings.node.up)
        assert listings.node.program == first
        await here.kill()
        other: Node | LivepeerNode = await stack.enter_async_context(
            livepeer_node(listen=address)
            if first == "go-livepeer"
            else node(plain_http=True, use_live_runners=True, service=address)
        )
        assert other.service_url == here.service_url
        watch.suspect()
        await until("it is noticed", lambda: listings.node.program not in (first, None))
        assert listings.node.epoch == 2
        assert listings.node.registries == ((LIVE,) if first == "go-livepeer" else (BYOC, LIVE))


async def test_a_program_without_a_cli_port_in_place_of_one_that_has_it_is_noticed_though_no_runner_is_missed() -> None:
    """As with static runners, which no heartbeat keeps; and the node is away for less than a look."""
    async with node(plain_http=True, use_live_runners=True) as here, watching(here, poll_s=0.5) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        await here.kill()
        async with livepeer_node(listen=here.service_url.removeprefix("http://")):
            await until("it is noticed", lambda: listings.node.program is NodeProgram.LIVEPEER_NODE)
            assert listings.node.registries == (LIVE,)


async def test_certificates_that_are_shown_in_turns_are_one_new_epoch_each() -> None:
    async with node() as double, watching(double, cli=False) as (listings, _):
        await until("it is up", lambda: listings.node.up)
        first = (double.datadir / "cert.pem").read_bytes(), (double.datadir / "key.pem").read_bytes()
        double.change_certificate()
        await until("a new epoch", lambda: listings.node.epoch == 2)
        assert double._tls is not None
        for name, content in zip(("cert.pem", "key.pem"), first, strict=True):
            (double.datadir / name).write_bytes(content)
        double._tls.load_cert_chain(double.certificate_path, double.datadir / "key.pem")
        await looks(listings)
        assert listings.node.epoch == 2


async def test_no_more_starts_are_counted_than_a_crash_loop_has() -> None:
    async with livepeer_node() as double, watching(double) as (listings, watch):
        await until("it is up", lambda: listings.node.up)
        for _ in range(3 * BURST):
            watch.suspect(now())
            await looks(listings, 1)
        assert listings.node.epoch <= 1 + BURST + 2


async def test_suspicion_is_looked_into_at_once_and_proves_nothing_by_itself() -> None:
    async with node() as double, watching(double, poll_s=60.0) as (listings, watch):
        await until("it is up", lambda: listings.node.up)
        watch.suspect()
        await looks(listings, 1)
        assert listings.node.epoch == 1
        await double.restart()
        watch.suspect()
        await until("a new epoch", lambda: listings.node.epoch == 2)


async def test_changes_are_logged_once() -> None:
    with capture_logs() as logs:
        async with node() as double, watching(double) as (listings, _):
            await until("it is up", lambda: listings.node.up)
            await double.leave()
            await until("it is down", lambda: not listings.node.up)
            await looks(listings)
            await double.come_back()
            await until("it is up", lambda: listings.node.up)
            await looks(listings)
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == [
        "node_started",
        "node_down",
        "node_back",
    ]


class FullStore(FakeSecretStore):
    """`full`: nothing can be kept."""

    full = False

    async def save_secret(self, name: str, value: str) -> None:
        if self.full:
            raise StoreError("cannot write: the disk is full")
        await super().save_secret(name, value)


async def test_a_store_that_is_full_ends_no_watch_and_the_program_is_kept_once_it_is_not() -> None:
    store = FullStore()
    await store.save_secret(ADDRESS_NAME, "0x" + "12" * 20)
    store.full = True
    with capture_logs() as logs:
        async with livepeer_node() as double, watching(double, store=store) as (listings, _):
            await until("it is up", lambda: listings.node.up)
            await looks(listings)
            assert [line["event"] for line in logs].count("node_program_not_kept") == 1
            store.full = False
            await until("it is kept", lambda: store.secrets.get(PROGRAM_NAME) == NodeProgram.LIVEPEER_NODE)


async def test_a_captive_portal_that_answers_everything_with_a_page_is_no_node() -> None:
    async with livepeer_node() as double, watching(double) as (listings, watch):
        await until("it is up", lambda: listings.node.up)
        client: Any = watch._client
        ask = client.service

        async def portal(method: str, path: str, **rest: Any) -> NodeAnswer:
            return NodeAnswer(200, b"<html>Sign in</html>", "text/html")

        client.service = portal
        await until("it is down", lambda: not listings.node.up)
        both = (
            "cannot use what answers as a node: /runners/heartbeat answered 200, '<html>Sign in</html>', "
            "/discovery answered 200, '<html>Sign in</html>'"
        )
        assert listings.node.error == both
        await looks(listings)
        assert listings.node.error == both, "it is the same at each look"
        client.service = ask
        await until("it is up", lambda: listings.node.up)
        assert listings.node.epoch == 1, "it is the same one"
