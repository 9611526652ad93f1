"""`orchd tickets`: what is printed, on which stream, with which exit code; without a daemon."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchd.cli import main
from orchd.cli.candidates import candidates
from orchd.database.database import Database
from orchd.domain.ids import ModelKey
from orchd.locks import StateLock
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.ledger.read import KeptLedger
from orchd.tickets.ledger.values import WinnerState
from orchd.tickets.validation.signatures import signature_fault
from orchd.tickets.validation.tickets import TicketTerms, commitment_to, ticket_hash, wins
from orchd.tickets.validation.validate import Taken, Winner
from tests.tickets.ledger.kept import DAY_S, KEY, MODEL, PAYER, PRICE, Clock, S, World, paid, session, terms_of

VECTORS = Path(__file__).parents[1] / "data" / "protocol" / "vectors" / "real-payments.json"
OTHER_MODEL = ModelKey("llm", "acme/chat")
OTHER_KEY = LedgerKey("byoc", b"\x22" * 20, "chat")
NAME = f"0x{PAYER.hex()}"


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHD_CONFIG", os.devnull)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, clock=Clock(time.time() - 60))


def kept(world: World, *works: Callable[[Books], Any]) -> None:
    """Carry out each with the ledger open, while no daemon runs."""

    async def one_after_another() -> None:
        database = Database(world.folder / "orchd.db")
        await database.open()
        books = Books(database, world.folder, chain=world.chain.facts, clock=world.clock)
        try:
            await books.open()
            for work in works:
                await work(books)
            await books.close()
        finally:
            await database.close()

    asyncio.run(one_after_another())


async def two_payers(books: Books) -> None:
    """One pays for 10 tickets of which 2 win, and works 3 s; another one pays for one ticket."""
    terms = terms_of(books)
    await books.take(paid(terms, range(1, 11), winning=[3, 7]), KEY, MODEL)
    await books.take(paid(terms_of(books, 2), [1], payer=OTHER_KEY.payer), OTHER_KEY, OTHER_MODEL)
    books.begin(session())
    await books.end("job 1", 3 * S)


@pytest.fixture
def filled(world: World, capsys: pytest.CaptureFixture[str]) -> World:
    kept(world, two_payers)
    capsys.readouterr()  # What the database logged.
    return world


def typed(world: World, *words: str) -> int:
    return main(["tickets", *words, "--state-dir", str(world.folder)])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what was printed, with one space between columns and without times."""
    without = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", capsys.readouterr().out)
    return [" ".join(line.split()) for line in without.splitlines()]


def test_it_shows_what_tickets_came_to_by_model_and_payer_and_the_winners(
    filled: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(filled) == 0
    assert lines(capsys) == [
        "In all: expected 0.000044 ETH, won 0.072 ETH, too few to tell",
        "11 tickets, 2 won (0.001222 expected): owed 0.072 ETH (2)",
        "",
        "MODEL, PAYER TICKETS EXPECTED WON OWED CHANCE",
        "text-to-image/org/paint 10 0.00004 ETH 0.072 ETH 0.072 ETH too few",
        f"{NAME} 10 0.00004 ETH 0.072 ETH 0.072 ETH too few",
        "llm/acme/chat 1 4000 gwei 0 ETH 0 ETH too few",
        f"0x{'22' * 20} 1 4000 gwei 0 ETH 0 ETH too few",
        "",
        "WON AT PAYS STATE PAYER MODEL",
        f"TIME 0.036 ETH won {NAME} text-to-image/org/paint",
        f"TIME 0.036 ETH won {NAME} text-to-image/org/paint",
    ]


def test_as_json_amounts_are_exact(filled: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(filled, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    paint = told["models"][0]
    win_prob = (1 << 256) // 9000 + 1
    assert paint["model_id"] == "org/paint"
    assert paint["won"] == {"count": 2, "wei": str(72 * 10**15)}
    numerator, denominator = map(int, paint["expected_exact"].split("/"))
    assert numerator * (2**256 - 1) == 10 * 36 * 10**15 * win_prob * denominator
    assert [each["payer"] for each in paint["payers"]] == [NAME]
    assert (paint["p"], paint["p_unclear"]) == (None, "too few to tell")
    assert len(told["winners"]) == 2
    assert "rand" not in json.dumps(told)


async def four_sessions(books: Books) -> None:
    """Two payers pay for sessions of Live Runner's: one for three, of which one is used up."""
    for number, payer in enumerate([PAYER, PAYER, PAYER, OTHER_KEY.payer], 1):
        key = LedgerKey("live-runner", payer, f"session_{number}")
        await books.take(paid(terms_of(books, number), [1], payer=payer), key, MODEL)
    used_up = LedgerKey("live-runner", PAYER, "session_3")
    books.begin(session("job 1", used_up, books.balance(used_up).wei, None))
    await books.end("job 1", S)


def test_what_is_left_on_sessions_is_shown_by_payer_and_not_by_session(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(world, four_sessions)
    capsys.readouterr()
    assert typed(world) == 0
    shown = lines(capsys)
    at = shown.index("LEFT ON SESSIONS, PAYER SESSIONS IN HAND")
    assert shown[at + 1 : at + 3] == [f"{NAME} 2 8000 gwei", f"0x{'22' * 20} 1 4000 gwei"]
    assert typed(world, "--tail", "1") == 0
    assert "1 more payers 1 4000 gwei" in lines(capsys)
    assert typed(world, "show", NAME) == 0
    assert "2 sessions live-runner 8000 gwei" in lines(capsys)
    assert typed(world, "--json", "--tail", "1") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["payer"], each["sessions"]) for each in told["left"]] == [(NAME, 2)]
    assert told["more_left"] == 1
    assert typed(world, "show", NAME, "--json") == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (first["kind"], first["sessions"], first["wei"]) == ("left", 2, told["left"][0]["wei"])


def test_what_is_shown_is_bounded_and_says_how_to_see_more(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    async def many(books: Books) -> None:
        for number in range(1, 31):
            payer = number.to_bytes(20, "big")
            terms = terms_of(books, number)
            await books.take(paid(terms, [number], winning=[number], payer=payer), KEY._replace(payer=payer), MODEL)

    kept(world, many)
    capsys.readouterr()
    assert typed(world) == 0
    out, err = capsys.readouterr()
    assert out.count("0x00") == 20 + 20
    assert "10 more payers" in out
    assert "`--tail 40` shows more" in err
    assert typed(world, "--tail", "40") == 0
    out, err = capsys.readouterr()
    assert out.count("0x00") == 30 + 30
    assert err == ""


def test_before_any_ticket_it_says_so(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    kept(world)
    capsys.readouterr()
    assert typed(world) == 0
    assert capsys.readouterr().out == "no ticket has been taken yet\n"
    assert typed(world, "export") == 0
    assert capsys.readouterr().out == ""


def test_a_payer_s_credits_and_charges_of_the_last_day_are_shown(
    filled: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(filled, "show", NAME.upper().replace("0X", "0x")) == 0
    assert lines(capsys) == [
        "WORK SCHEME IN HAND",
        "paint byoc 0.00004 ETH",
        "",
        "TIME credit +0.00004 ETH paint 10 tickets",
        "TIME charge -0.0075 gwei paint 3 at 0.0025 gwei",
    ]
    assert typed(filled, "show", NAME, "--json", "--tail", "1") == 0
    out, err = capsys.readouterr()
    balance, charge = map(json.loads, out.splitlines())
    assert balance["kind"] == "balance"
    assert (charge["kind"], charge["wei"], charge["units"], charge["state"]) == ("charge", "-7500000", 3, "done")
    assert "`--tail 2` shows more" in err


def test_a_payer_may_be_named_by_how_its_address_begins(filled: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(filled, "show", "0x4646") == 0
    assert "paint" in capsys.readouterr().out

    async def alike(books: Books) -> None:
        key = KEY._replace(payer=PAYER[:-1] + b"\x00")
        await books.take(paid(terms_of(books, 3), [9], payer=key.payer), key, MODEL)

    kept(filled, alike)
    capsys.readouterr()
    assert typed(filled, "show", "4646") == 2
    assert f"several payers begin so: 0x{'46' * 19}00, {NAME}" in capsys.readouterr().err


def test_payers_are_completed_where_one_is_shown(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHD_STATE_DIR", str(filled.folder))
    assert candidates("orchd tickets show 0x4") == [NAME]
    assert candidates("orchd tickets --json show ") == [f"0x{'22' * 20}", NAME]
    assert candidates("orchd tickets rotate ") == []


def test_a_winner_shows_its_random_number_to_nobody_but_who_exports_it(filled: World) -> None:
    [first, _] = KeptLedger(filled.folder).owed_winners()
    assert first.rand.hex() not in repr(first)
    assert repr(first.rand) not in repr(first)


def test_what_is_older_than_a_day_is_left_out_of_what_a_payer_did(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.clock.now -= 2 * 86_400
    kept(world, two_payers)
    capsys.readouterr()
    assert typed(world, "show", NAME) == 0
    assert lines(capsys) == ["WORK SCHEME IN HAND", "paint byoc 0.00004 ETH"]
    assert typed(world, "show", NAME, "--since", "3d") == 0
    assert len(lines(capsys)) == 5


def real_winners() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())["winning_tickets"]
    return found


def terms_in(ticket: dict[str, Any]) -> TicketTerms:
    return TicketTerms(
        bytes.fromhex(ticket["recipient"][2:]),
        int(ticket["faceValue"], 16),
        int(ticket["winProb"], 16),
        bytes.fromhex(ticket["recipientRandHash"][2:]),
        0,
        ticket["paramsExpirationBlock"],
        ticket["creationRound"],
        bytes.fromhex(ticket["creationRoundBlockHash"][2:]),
    )


def taken_from(tickets: Sequence[dict[str, Any]], books: Books) -> Taken:
    """Return tickets of one commitment as a payment; its seed is one of ours, which the ledger asks for."""
    terms = terms_in(tickets[0])
    payer = bytes.fromhex(tickets[0]["sender"][2:])
    nonces = tuple(each["senderNonce"] for each in tickets)
    winners = tuple(
        Winner(
            each["senderNonce"],
            bytes.fromhex(each["sig"]),
            ticket_hash(terms, payer, each["senderNonce"]),
            int(each["recipientRand"], 16),
        )
        for each in tickets
    )
    booked = replace(terms, seed=books.terms_key.seed(bytes(28)))
    return Taken(payer, booked, PRICE, nonces, winners, terms.expected_value * len(nonces))


def test_what_is_exported_can_be_redeemed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Tickets that a go-livepeer orchestrator has won and redeemed come out with all that its contract asks for."""
    recorded = real_winners()
    by_terms: dict[str, list[dict[str, Any]]] = {}
    for ticket in recorded:
        by_terms.setdefault(ticket["recipientRandHash"], []).append(ticket)

    async def take(books: Books) -> None:
        for tickets in by_terms.values():
            taken = taken_from(tickets, books)
            await books.take(taken, KEY._replace(payer=taken.payer), MODEL)

    world.chain.l1_block = 1
    kept(world, take)
    capsys.readouterr()
    assert typed(world, "export") == 0
    exported = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(each["ticket"]["recipientRandHash"], each["ticket"]["senderNonce"]) for each in exported} == {
        (each["recipientRandHash"], str(each["senderNonce"])) for each in recorded
    }
    for line in exported:
        ticket, aux = line["ticket"], bytes.fromhex(line["ticket"]["auxData"][2:])
        assert len(aux) == 64  # The contract refuses any other length.
        terms = TicketTerms(
            bytes.fromhex(ticket["recipient"][2:]),
            int(ticket["faceValue"]),
            int(ticket["winProb"]),
            bytes.fromhex(ticket["recipientRandHash"][2:]),
            0,
            line["expiration_block"],
            int.from_bytes(aux[:32], "big"),
            aux[32:],
        )
        sender, sig, rand = bytes.fromhex(ticket["sender"][2:]), bytes.fromhex(line["sig"][2:]), line["recipientRand"]
        hashed = ticket_hash(terms, sender, int(ticket["senderNonce"]))
        assert line["hash"] == f"0x{hashed.hex()}"
        assert signature_fault(hashed, sig, sender) is None
        assert commitment_to(int(rand)) == terms.commitment
        assert wins(sig, int(rand), terms.win_prob)


def test_an_export_marks_nothing_unless_it_is_asked_to(filled: World, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert typed(filled, "export", "--new") == 0
        assert len(lines(capsys)) == 2
    assert typed(filled, "export", "--mark") == 0
    assert len(lines(capsys)) == 2
    assert typed(filled, "export", "--new") == 0
    assert lines(capsys) == []
    assert typed(filled, "export") == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["state"] for each in again] == ["exported", "exported"]
    assert typed(filled) == 0
    assert "owed 0.072 ETH (2)" in capsys.readouterr().out


def test_what_was_exported_is_owed_no_more_once_its_time_is_over(
    filled: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(filled, "export", "--mark") == 0
    filled.chain.round += 2
    kept(filled, lambda books: books.tidy(DAY_S))
    capsys.readouterr()
    assert typed(filled, "export") == 0
    assert capsys.readouterr().out == ""
    assert typed(filled) == 0
    shown = lines(capsys)
    assert shown[1] == "11 tickets, 2 won (0.001222 expected): exported 0.072 ETH (2), owed 0 ETH (0)"
    assert shown[4].endswith("0.072 ETH 0 ETH too few exported 0.072 ETH")


def test_what_was_redeemed_and_what_has_expired_is_shown_of_each_model(
    filled: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async def redeem_one(books: Books) -> None:
        [first, _] = books.view.owed
        await books.mark([first], WinnerState.REDEEMED)
        filled.chain.round += 2
        await books.tidy(DAY_S)

    kept(filled, redeem_one)
    capsys.readouterr()
    assert typed(filled) == 0
    shown = lines(capsys)
    assert shown[1].endswith("redeemed 0.036 ETH (1), expired 0.036 ETH (1), owed 0 ETH (0)")
    assert shown[5].endswith("redeemed 0.036 ETH, expired 0.036 ETH")


def test_a_ledger_in_order_reconciles(filled: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(filled, "reconcile") == 0
    assert lines(capsys) == ["2 balances, 3 credits and charges: no difference"]


def test_a_balance_that_was_changed_by_hand_is_named(filled: World, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(filled.folder / "orchd.db")) as db, db:
        db.execute("UPDATE ledger_accounts SET balance = '5' WHERE payer = ?", (OTHER_KEY.payer,))
    assert typed(filled, "reconcile") == 1
    first, second = lines(capsys)
    assert first == "2 balances, 3 credits and charges: 1 difference"
    assert second.startswith(f"0x{'22' * 20} chat (byoc): kept is 5 wei, its rows come to ")
    assert typed(filled, "reconcile", "--json") == 1
    [difference] = json.loads(capsys.readouterr().out)["differences"]
    assert (difference["payer"], difference["kept_exact"]) == (f"0x{'22' * 20}", "5")


def test_new_secrets_make_terms_void_and_leave_balances(filled: World, capsys: pytest.CaptureFixture[str]) -> None:
    keys, balances = [], []

    async def look(books: Books) -> None:
        keys.append({*books.terms_keys.by_id, *books.auth_keys})
        balances.append(books.balance(KEY))

    kept(filled, look)
    capsys.readouterr()
    assert typed(filled, "rotate") == 0
    assert "Balances stay" in capsys.readouterr().out
    kept(filled, look)
    assert not keys[0] & keys[1]
    assert balances[0] == balances[1]


def test_new_secrets_forget_an_l1_block_that_was_a_lie(filled: World) -> None:
    with closing(sqlite3.connect(filled.folder / "orchd.db")) as store:
        store.execute("INSERT INTO l1_blocks (chain_id, l1_block, seen_at) VALUES (42161, 400000000, 5.0)")
        store.commit()
        assert typed(filled, "rotate") == 0
        assert store.execute("SELECT * FROM l1_blocks").fetchall() == []


def test_nothing_is_changed_here_while_a_daemon_starts(filled: World, capsys: pytest.CaptureFixture[str]) -> None:
    lock = StateLock(filled.folder)
    lock.acquire()
    try:
        assert typed(filled, "rotate") == 2
    finally:
        lock.release()
    assert "another orchd" in capsys.readouterr().err


def test_files_of_another_user_are_not_touched(
    filled: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert typed(filled, "rotate") == 2
    assert "run this as that user: sudo -u " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show"], "name one"),
        (["show", "0x12"], "40 hexadecimal digits"),
        (["show", "0x12..34"], "40 hexadecimal digits"),
        (["show", f"0x{'33' * 20}"], "no such payer has paid here"),
        (["sho"], "did you mean show?"),
        (["export", "--json"], "it belongs to `orchd tickets` or `orchd tickets show` or `orchd tickets reconcile`"),
        (["rotate", NAME], "cannot use PAYER here"),
        (["--since", "1d"], "it belongs to `orchd tickets show`"),
        (["--mark"], "it belongs to `orchd tickets export`"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_words(
    filled: World, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = typed(filled, *words)
    except SystemExit as exc:
        code = exc.code  # type: ignore[assignment]
    assert code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["show", NAME], ["export"], ["reconcile"], ["rotate"]])
def test_where_there_is_no_ledger_it_says_where_it_looked(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(World(tmp_path), *words) == 2
    assert str(tmp_path) in capsys.readouterr().err
