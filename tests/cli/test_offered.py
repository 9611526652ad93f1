"""What `orchd down` says and does about offers that a killed orchd has left at the node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchd.advertise.byoc import wire as byoc_wire
from orchd.advertise.byoc.kept import NAMES
from orchd.advertise.byoc.prices import ByocPrice
from orchd.advertise.byoc.registration import Capability
from orchd.advertise.live_runner import wire as live_wire
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.cli.offered import take_back_offers
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.money import Currency
from orchd.node.tables import SecretTable
from orchd.settings.tree import Settings
from tests.advertise.rig import livepeer_node, node
from tests.database.parts import opened_own
from tests.doubles.golivepeer.node import Node

PLANTED = "planted-5e1c"
CAPABILITY = Capability("llm/a", ModelKey("llm", "a"), 1, ByocPrice(1, 1, Currency.WEI), 0)
RUNNER = "orchd-orchd-llm-a-12345678"


class Left:
    """A store with what was left, and what is said of it."""

    def __init__(self, folder: Path, store: SecretTable) -> None:
        self.folder = folder
        self.store = store

    async def byoc(self, *names: str) -> None:
        """One has registered these with BYOC."""
        held = {name: Capability(name, CAPABILITY.key, 1, CAPABILITY.price, 0) for name in names}
        await self.store.save_secret(NAMES, byoc_wire.dump(held))

    async def live(self, secret: str = PLANTED) -> None:
        """One has registered a runner with Live Runner."""
        kept = live_wire.KeptRegistration(Secret(secret), None, RunnerRecord("llm/a", False, 1, None))
        await self.store.save_secret(live_wire.KEPT_NAME + RUNNER, live_wire.dump_kept(kept))

    async def said(self, service_url: str, secret: str = "s3cret") -> list[str]:
        file = self.folder / "secret"
        file.write_text(secret)
        rules: dict[str, Any] = {"service_url": service_url, "secret_file": str(file), "call_timeout_s": 5.0}
        lines: list[str] = []
        await take_back_offers(Settings.model_validate({"orchestrator": rules}), {}, self.store, lines.append)
        assert PLANTED not in str(lines)
        return lines


@asynccontextmanager
async def left(folder: Path) -> AsyncIterator[Left]:
    async with opened_own(folder) as database:
        yield Left(folder, SecretTable(database))


@asynccontextmanager
async def left_beside(folder: Path) -> AsyncIterator[tuple[Left, Node]]:
    async with left(folder) as found, node() as double:
        yield found, double


async def test_nothing_is_said_where_the_node_was_told_nothing(tmp_path: Path) -> None:
    async with left(tmp_path) as found:
        await found.byoc()
        assert await found.said("") == []


async def test_without_the_nodes_address_it_is_said_what_to_give(tmp_path: Path) -> None:
    async with left(tmp_path) as found:
        await found.byoc("llm/a")
        [line] = await found.said("")
        assert line.startswith("cannot take back what was offered at the node: orchestrator.service_url is not set")


async def test_a_node_that_is_away_is_named_and_what_it_was_told_stays_known(tmp_path: Path) -> None:
    async with left(tmp_path) as found:
        await found.byoc("llm/a", "llm/b")
        await found.live()
        byoc, live = await found.said("http://127.0.0.1:9")
        assert byoc.startswith("cannot unregister 'llm/a': cannot reach ")
        assert all(line.endswith("; the node may go on offering it (byoc)") for line in [byoc])
        assert live.endswith("; the node may go on offering it (live-runner)")
        assert sorted(byoc_wire.load(str(await found.store.secret(NAMES)))) == ["llm/a", "llm/b"]
        assert await found.store.secret(live_wire.KEPT_NAME + RUNNER)


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
@pytest.mark.parametrize("wrong", [False, True])
async def test_the_node_is_found_by_either_scheme_as_by_the_daemon(program: str, wrong: bool, tmp_path: Path) -> None:
    async with left(tmp_path) as found, livepeer_node() if program == "livepeer-node" else node() as double:
        scheme, _, address = double.service_url.partition("://")
        other = {"http": "https", "https": "http"}[scheme]
        await found.live()
        said = await found.said(f"{other}://{address}" if wrong else address)
        assert said == [f"withdrawn from the node: {RUNNER} (live-runner)"]


async def test_another_secret_is_said_plainly(tmp_path: Path) -> None:
    async with left_beside(tmp_path) as (found, double):
        await found.byoc("llm/a")
        [line] = await found.said(double.service_url, secret="another")
        assert "it refuses our secret; orchestrator.secret_file" in line


async def test_a_secret_that_can_not_be_read_is_said(tmp_path: Path) -> None:
    async with left(tmp_path) as found:
        await found.byoc("llm/a")
        [line] = await found.said("http://127.0.0.1:9", secret="")
        assert line.startswith("cannot take back what was offered at the node: cannot use the content of ")


async def test_what_the_node_knows_no_more_is_forgotten(tmp_path: Path) -> None:
    async with left_beside(tmp_path) as (found, double):
        await found.byoc("llm/a")
        await found.live()
        assert await found.said(double.service_url) == [
            "withdrawn from the node: llm/a (byoc)",
            f"withdrawn from the node: {RUNNER} (live-runner)",
        ]
        assert await found.said(double.service_url) == []
