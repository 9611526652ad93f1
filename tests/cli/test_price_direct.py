"""`orchd price` where orchd sells sessions itself: what their clients' signers can pay."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from orchd.cli import main
from orchd.cli.price_page import Rate, as_json, as_text, row_of
from orchd.text import TextStyle
from orchd.tickets.settings import TicketsSettings
from tests.catalog.helpers import entry, read

RATE = Fraction(3000)
Price = dict[str, Any]


def an_hour(usd: float) -> Price:
    return {"price_per_unit": usd, "currency": "USD", "price_unit": "hour"}


def once(usd: float) -> Price:
    return {"price_per_unit": usd, "currency": "USD", "price_unit": "fixed"}


def page(price: Price, *, rate: Fraction | None = RATE, value: int = 0, gap_s: int = 60, face: int = 0) -> str:
    """Return what is said of a model at this price."""
    tickets = TicketsSettings(value=value, longest_gap_s=gap_s, max_face_value=face)
    [model] = read(entry(**price)).models.values()
    return as_text([row_of(model, rate, tickets)], Rate(rate, "no rate"), TextStyle())


def row(text: str) -> list[str]:
    """Return the cells of the model's row in the last table."""
    below = text.partition("LONGEST GAP\n")[2].splitlines()[0]
    return [cell.strip() for cell in below.split("  ") if cell.strip()][1:]


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("warning: ") and "live-runner" in line]


def test_it_says_what_an_hour_costs_and_what_signers_can_pay_of_it() -> None:
    text = page(an_hour(0.9))
    assert row(text) == ["per hour", "0.0003 ETH", "0.9", "202 gwei, 2.42 s", "5 tickets", "239 s"]
    assert warnings(text) == []
    assert "LONGEST GAP is for how long a session may go without a payment" in text


def test_what_is_paid_once_has_no_gap() -> None:
    assert row(page(once(0.003))) == ["once", "1000 gwei", "0.003", "1000 gwei", "1 ticket", "—"]
    assert row(page(once(0.03))) == ["once", "0.00001 ETH", "0.03", "1000 gwei", "10 tickets", "—"]


def test_what_is_free_takes_no_ticket() -> None:
    assert row(page({"price_per_unit": 0})) == ["per hour", "0 ETH", "0", "—", "—", "—"]


def test_a_gap_that_is_shorter_than_asked_for_is_said_with_the_reason() -> None:
    text = page(an_hour(7.2))
    assert row(text)[-1] == "29 s"
    [warning] = warnings(text)
    assert "never paid for again after a gap of more than 29 s" in warning
    assert "although tickets.longest_gap_s is 60" in warning
    assert "less than 0.00002 ETH (0.06 USD) at once" in warning
    assert warnings(page(an_hour(7.2), gap_s=29)) == []


@pytest.mark.parametrize(
    ("price", "tickets", "said"),
    [
        (an_hour(21.6), {}, "ask for less than 0.0072 ETH (21.6 USD) an hour"),
        (once(0.08), {}, "a session costs 0.0000267 ETH (0.08 USD)"),
        (an_hour(500), {}, "ask for less than 0.0072 ETH (21.6 USD) an hour"),
        (once(5), {}, "a session costs 0.00167 ETH (5 USD)"),
        (an_hour(0.9), {"value": 8 * 10**9}, "a start takes 105 tickets"),
        (an_hour(0.9), {"value": 4 * 10**12}, "one ticket is worth more than 3000 gwei"),
        (an_hour(0.9), {"face": 10**9}, "raise it, or set it to 0"),
    ],
    ids=[
        "a start too dear",
        "a session too dear",
        "by far",
        "once, by far",
        "tickets too small",
        "a ticket too dear",
        "tickets that always win",
    ],
)
def test_a_price_that_no_signer_pays_is_said_with_what_to_change(
    price: Price, tickets: dict[str, Any], said: str
) -> None:
    text = page(price, **tickets)
    assert row(text)[-1] == "not payable"
    [warning] = warnings(text)
    assert said in warning


def test_tickets_that_run_out_before_their_terms_do_are_said() -> None:
    text = page(an_hour(0.9), value=8 * 10**10)
    assert row(text)[-1] == "95 s"
    [warning] = warnings(text)
    assert "may end within eight minutes" in warning
    assert "set tickets.value to 0" in warning


def test_what_can_not_be_sold_says_why() -> None:
    text = page(an_hour(0.9), rate=None)
    assert row(text) == ["—"] * 6
    assert "cannot sell llm/acme/small: its price is not known" in text


@pytest.mark.parametrize("doors", ["live-runner", "byoc"])
def test_it_is_said_where_the_door_is_open(
    doors: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHD_CONFIG", str(tmp_path / "orchd.toml"))
    (tmp_path / "orchd.toml").write_text(f"[public]\ndoors = ['{doors}']\n[tickets]\nlongest_gap_s = 300\n")
    (tmp_path / "aiModels.json").write_text(json.dumps([entry(**an_hour(0.9))]))
    assert main(["price", "--models-file", str(tmp_path / "aiModels.json"), "--eth-usd", "3000"]) == 0
    text = capsys.readouterr().out
    assert ("LONGEST GAP" in text) is (doors == "live-runner")
    assert len(warnings(text)) == (doors == "live-runner"), "signers pay for 239 s at once, and 300 were asked for"


@pytest.mark.parametrize("node", ["", "https://127.0.0.1:8935"])
def test_what_a_nodes_registries_make_of_a_price_is_said_where_there_is_a_node(
    node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHD_CONFIG", str(tmp_path / "orchd.toml"))
    (tmp_path / "orchd.toml").write_text(f"[public]\ndoors = ['live-runner']\n[orchestrator]\nservice_url = '{node}'\n")
    (tmp_path / "aiModels.json").write_text(json.dumps([entry(**once(0.03))]))
    assert main(["price", "--models-file", str(tmp_path / "aiModels.json"), "--eth-usd", "3000"]) == 0
    text = capsys.readouterr().out
    assert row(text) == ["once", "0.00001 ETH", "0.03", "1000 gwei", "10 tickets", "—"]
    for said in ("NODE REPORTS", "cannot publish to BYOC"):
        assert (said in text) is bool(node)


def test_a_script_gets_exact_amounts() -> None:
    [model] = read(entry(**an_hour(0.9))).models.values()

    def told(rate: Fraction | None, tickets: TicketsSettings | None) -> Any:
        [one] = as_json([row_of(model, rate, tickets)], Rate(rate))["models"]
        return one["sold_directly"]

    assert told(RATE, TicketsSettings()) == {
        "wei": "83333333334",
        "unit": "second",
        "usd": "125000000001/500000000000000",
        "ticket_wei": "202020202020",
        "tickets_at_start": 5,
        "longest_gap_s": 239,
        "bound": None,
        "warnings": [],
    }
    dear = told(RATE, TicketsSettings(value=4 * 10**12))
    assert dear["bound"] == "ticket"
    assert "one ticket is worth more than" in dear["warnings"][0]
    assert told(None, TicketsSettings())["reason"].startswith("cannot sell llm/acme/small")
    assert told(RATE, None) is None
