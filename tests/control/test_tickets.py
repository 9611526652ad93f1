"""`orchd tickets rotate` and `orchd tickets export --mark` while a daemon has the ledger open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchd.cli import main
from orchd.cli.client import order
from orchd.control.orders import Order
from orchd.control.server import ControlServer
from orchd.control.tickets import KeepsTickets, MarkExported, RotateSecrets
from orchd.database.database import Database
from orchd.errors import OrchdError
from orchd.history.ports import Kind
from orchd.tickets.ledger.books import Books
from tests.history.kept import history
from tests.tickets.ledger.kept import KEY, MODEL, paid, terms_of


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHD_CONFIG", "/dev/null")


@asynccontextmanager
async def daemon(folder: Path, choose: Callable[[Books], KeepsTickets | None]) -> AsyncIterator[Books]:
    """Take orders about a ledger, or (`choose` returns None) have none."""
    database = Database(folder / "orchd.db")
    await database.open()
    books = Books(database, folder)
    await books.open()
    async with history(database) as kept:
        ledger = choose(books)
        orders = {
            "tickets_mark": Order(MarkExported(ledger).run, goes_on=True),
            "tickets_rotate": Order(RotateSecrets(ledger, kept).run, goes_on=True),
        }
        server = ControlServer(folder, orders)
        await server.start()
        yield books
        await server.close()
    await books.close()
    await database.close()


async def typed(folder: Path, *words: str) -> int:
    return await asyncio.to_thread(main, [*words, "--state-dir", str(folder)])


async def test_the_daemon_makes_new_secrets_and_says_who_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    async with daemon(tmp_path, lambda books: books) as books:
        terms, former = terms_of(books), {*books.terms_keys.by_id, *books.auth_keys}
        balance = await books.take(paid(terms, [1]), KEY, MODEL)
        assert await typed(tmp_path, "tickets", "rotate") == 0
        assert not former & {*books.terms_keys.by_id, *books.auth_keys}
        with pytest.raises(OrchdError, match="void"):
            await books.take(paid(terms, [2]), KEY, MODEL)
        assert books.balance(KEY) == balance
    assert await typed(tmp_path, "events") == 0
    out = capsys.readouterr().out
    assert Kind.LEDGER_ROTATED in out
    assert "by alice" in out


async def test_the_daemon_marks_what_was_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with daemon(tmp_path, lambda books: books) as books:
        terms = terms_of(books)
        await books.take(paid(terms, [1, 2], winning=[1]), KEY, MODEL)
        capsys.readouterr()
        assert await typed(tmp_path, "tickets", "export", "--mark") == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
        assert await typed(tmp_path, "tickets", "export", "--new") == 0
        assert capsys.readouterr().out == ""
        assert books.book_facts(terms.commitment).published  # Its random number has been seen by others.


async def test_a_daemon_that_takes_no_tickets_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with daemon(tmp_path, lambda books: None):
        assert await typed(tmp_path, "tickets", "rotate") == 2
    assert "`tickets` is not in its hooks.order" in capsys.readouterr().err


@pytest.mark.parametrize("hashes", [None, [], "00", [7], ["00"], ["zz" * 32], [None, "00" * 32]])
async def test_an_order_that_names_no_tickets_is_refused(hashes: Any, tmp_path: Path) -> None:
    def give() -> None:
        for _ in order(tmp_path, "tickets_mark", {"hashes": hashes}):
            pass

    async with daemon(tmp_path, lambda books: books):
        with pytest.raises(OrchdError, match="of another version"):
            await asyncio.to_thread(give)
