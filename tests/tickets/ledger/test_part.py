"""The part writes charges by itself, and says if all terms that were out there are void."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchd import tasks
from orchd.chain.ports import ChainNow
from orchd.domain.chain import ChainFacts, TermsOf
from orchd.errors import SettingsError
from orchd.exposition import MetricsRegistry
from orchd.history.ports import Kind
from orchd.part import Context
from orchd.settings.tree import Settings
from orchd.tickets.ledger import part as part_module
from orchd.tickets.ledger.books import MARKER
from orchd.tickets.ledger.part import LedgerPart
from tests.advertise.rig import until
from tests.database.parts import opened_own
from tests.fakes.history import FakeHistory
from tests.tickets.ledger.kept import KEY, MODEL, PRICE, S, paid, session, terms_of


class Chain:
    """One that tests move.

    Attributes:
        l1_block: None = nothing is known.
    """

    l1_block: int | None = 100

    def now(self) -> ChainNow | None:
        if self.l1_block is None:
            return None
        return ChainNow(ChainFacts(self.l1_block, 3, active=True), TermsOf(self.l1_block, 3, b"h" * 32), 1, fresh=True)


@asynccontextmanager
async def living(
    folder: Path, chain: Chain, history: FakeHistory, **settings: dict[str, Any]
) -> AsyncIterator[LedgerPart]:
    """One life of the part, ended cleanly."""
    values = Settings.model_validate({"ledger": {"charge_every_s": 0.01}, **settings})
    context = cast(Context, SimpleNamespace(settings=values, state_dir=folder, env={}, metrics=MetricsRegistry()))
    async with opened_own(folder) as database:
        part = LedgerPart(
            context, cast(Any, SimpleNamespace(database=database)), history, 7, SimpleNamespace(chain=chain)
        )
        try:
            await part.open()
            roots = [tasks.spawn(work, name=name) for name, work in part.roots().items()]
            try:
                yield part
            finally:
                await tasks.cancel(*roots)
        finally:
            await part.close()


async def test_charges_are_written_without_being_asked_for(tmp_path: Path) -> None:
    async with living(tmp_path, Chain(), FakeHistory()) as part:
        part.ledger.begin(session())
        part.ledger.charge("job 1", 3 * S)
        await until("it is written", lambda: not part.ledger.view.unwritten)
        part.ledger.charge("job 1", 4 * S)
    async with living(tmp_path, Chain(), FakeHistory()) as part:
        assert part.ledger.balance(KEY).wei == -4 * PRICE, "what the end of orchd finds is written, too"


async def test_what_has_expired_is_dropped_without_being_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "TIDY_S", 0.01)
    chain = Chain()
    async with living(tmp_path, chain, FakeHistory()) as part:
        terms = terms_of(part.ledger)
        await part.ledger.take(paid(terms, [1]), KEY, MODEL)
        chain.l1_block = terms.expiration_block
        await until("its nonces are gone", lambda: not part.ledger.view.terms)


async def test_without_the_chain_it_goes_on_with_what_it_has_seen(tmp_path: Path) -> None:
    chain = Chain()
    async with living(tmp_path, chain, FakeHistory()) as part:
        await part.ledger.take(paid(terms_of(part.ledger), [1]), KEY, MODEL)
        chain.l1_block = None
        assert part.ledger.l1_block == 100


async def test_a_ledger_that_was_put_back_is_an_event(tmp_path: Path) -> None:
    history = FakeHistory()
    async with living(tmp_path, Chain(), history) as part:
        await part.ledger.take(paid(terms_of(part.ledger), [1]), KEY, MODEL)
    assert history.noted == []
    (tmp_path / MARKER).unlink()
    async with living(tmp_path, Chain(), history):
        pass
    assert [(each.kind, "all terms that payers hold are void" in each.why) for each in history.noted] == [
        (Kind.LEDGER_ROTATED, True)
    ]


async def test_a_key_file_that_is_not_there_keeps_orchd_from_starting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tickets\.key_file"):
        async with living(tmp_path, Chain(), FakeHistory(), tickets={"key_file": str(tmp_path / "none")}):
            pass


async def test_with_a_key_file_secrets_are_encrypted(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef" * 4 + "\n")
    async with living(tmp_path, Chain(), FakeHistory(), tickets={"key_file": str(key)}) as part:
        secret = part.ledger.terms_key.secret
    async with opened_own(tmp_path) as database:
        rows = await database.read(lambda sql: sql.rows("SELECT secret, sealed FROM ledger_keys"))
    assert [sealed for _, sealed in rows] == [1, 1]
    assert secret not in {stored for stored, _ in rows}
