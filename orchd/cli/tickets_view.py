"""What `orchd tickets` prints: what tickets came to, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from orchd.domain.money import in_eth
from orchd.text import BOLD, DIM, RED, YELLOW, Cell, TextStyle, cut_middle, printable, table
from orchd.tickets.ledger.read import LIVE_RUNNER, KeptWinner, Leftover, Movement, PayerHistory
from orchd.tickets.standing import ModelStanding, PayerStanding, TicketStanding, Winners, total
from orchd.tickets.statistics import Luck
from orchd.tickets.validation.credit import rounded

if TYPE_CHECKING:
    from orchd.tickets.ledger.reconcile import Difference, Reconciled

Json = dict[str, Any]

UNLIKELY = 0.01
"""Where chance explains a deviation as rarely as this, somebody should look."""
_KINDS = {"given_back": "given back"}
_STATES = {"open": "its session runs", "died": "orchd ended before its session did"}
_HEAD = ("MODEL, PAYER", "TICKETS", "EXPECTED", "WON", "OWED", "CHANCE", "")
"""The last column of a table is for text that may stand below its row."""
_CUT_PAYER = 17
"""Columns of a payer's address in a list on a terminal."""


def overview(
    models: Sequence[ModelStanding],
    left: Sequence[Leftover],
    winners: Sequence[KeptWinner],
    most: int,
    style: TextStyle,
) -> list[str]:
    """Return what tickets came to, what is left on sessions, and the newest winners.

    Args:
        most: payers of each model, and of what is left, that are listed.
    """
    if not models:
        return ["no ticket has been taken yet"]
    every = total(models)
    lines = [
        *(style.paint(line, BOLD) for line in style.hang(f"In all: {said(every)}")),
        *style.hang(_became(every)),
        "",
        *table(_HEAD, _rows(models, most), style),
    ]
    if left:
        lines += ["", *table(("LEFT ON SESSIONS, PAYER", "SESSIONS", "IN HAND"), _left_rows(left, most), style)]
    if winners:
        lines += ["", *winner_lines(winners, style)]
    return lines


def said(standing: TicketStanding) -> str:
    """Return `expected 0.0123 ETH, won 0.0119 ETH, p = 0.41`."""
    return f"expected {in_eth(standing.expected)}, won {in_eth(standing.won.wei)}, {standing.luck}"


def _became(standing: TicketStanding) -> str:
    parts = (*_no_longer_owed(standing), ("owed", standing.owed))
    told = ", ".join(
        f"{name} {in_eth(each.wei)} ({each.count})" for name, each in parts if each.count or name == "owed"
    )
    expected = float(standing.odds.expected)
    return f"{_several(standing.odds.tickets, 'ticket')}, {standing.won.count} won ({expected:.4g} expected): {told}"


def _rows(models: Iterable[ModelStanding], most: int) -> Iterable[list[Cell]]:
    for each in models:
        yield _row(printable(str(each.model)), each.standing)
        for payer in each.payers[:most]:
            yield _row(f"  {name_of(payer.payer)}", payer.standing)
        if left := each.payers[most:]:
            yield _row(f"  {len(left)} more payers", total(left))


def _left_rows(left: Sequence[Leftover], most: int) -> Iterable[list[Cell]]:
    def row(name: str, payers: Sequence[Leftover]) -> list[Cell]:
        wei = sum((each.wei for each in payers), Fraction())
        return [Cell(name), Cell(str(sum(each.sessions for each in payers))), Cell(in_eth(wei))]

    for each in left[:most]:
        yield row(name_of(each.payer), [each])
    if more := left[most:]:
        yield row(f"{len(more)} more payers", more)


def _row(name: str, standing: TicketStanding) -> list[Cell]:
    luck = standing.luck
    colour = None if luck.p is None or luck.p >= UNLIKELY else YELLOW
    return [
        Cell(name),
        Cell(str(standing.odds.tickets)),
        Cell(in_eth(standing.expected)),
        Cell(in_eth(standing.won.wei)),
        Cell(in_eth(standing.owed.wei)),
        Cell(_chance(luck), colour),
        Cell(", ".join(f"{name} {in_eth(each.wei)}" for name, each in _no_longer_owed(standing) if each.count)),
    ]


def _no_longer_owed(standing: TicketStanding) -> tuple[tuple[str, Winners], ...]:
    return ("redeemed", standing.redeemed), ("expired", standing.expired), ("exported", standing.exported)


def _chance(luck: Luck) -> str:
    """Return it for a narrow column."""
    return luck.unclear.removesuffix(" to tell") if luck.unclear else str(luck).removeprefix("p ").removeprefix("= ")


def winner_lines(winners: Iterable[KeptWinner], style: TextStyle) -> list[str]:
    """Return a line for each winner, the newest last."""
    rows = [
        [
            Cell(when(each.at), DIM),
            Cell(in_eth(each.face_value)),
            Cell(each.state),
            Cell(name_of(each.payer) if style.width is None else cut_middle(name_of(each.payer), _CUT_PAYER)),
            Cell(printable(str(each.model))),
        ]
        for each in winners
    ]
    return table(("WON AT", "PAYS", "STATE", "PAYER", "MODEL"), rows, style)


def history_lines(history: PayerHistory, style: TextStyle) -> list[str]:
    """Return what a payer has in hand, and what has changed it."""
    rows = [
        [Cell(printable(each.work)), Cell(each.scheme), Cell(in_eth(each.wei), RED if each.wei < 0 else None)]
        for each in history.balances
    ]
    if history.left is not None:
        rows.append(
            [Cell(_several(history.left.sessions, "session")), Cell(LIVE_RUNNER), Cell(in_eth(history.left.wei))]
        )
    lines = table(("WORK", "SCHEME", "IN HAND"), rows, style)
    if history.movements:
        lines += ["", *(_movement_line(each, style) for each in history.movements)]
    return lines


def _movement_line(each: Movement, style: TextStyle) -> str:
    of = f"{each.units} at {in_eth(each.price)}" if each.units else ""
    if each.tickets:
        of = _several(each.tickets, "ticket")
    state = "" if each.state == "done" else f"({_STATES.get(each.state, each.state)})"
    said = "  ".join(filter(None, (printable(each.work), of, state)))
    return f"{style.paint(when(each.at), DIM)}  {_KINDS.get(each.kind, each.kind):<10}  {signed(each.wei):>14}  {said}"


def reconcile_lines(found: Reconciled) -> list[str]:
    """Return whether the ledger agrees with its journal, and where not."""
    looked = f"{_several(found.accounts, 'balance')}, {found.entries} credits and charges"
    if not found.differences:
        return [f"{looked}: no difference"]
    return [f"{looked}: {_several(len(found.differences), 'difference')}", *map(_difference_line, found.differences)]


def _difference_line(each: Difference) -> str:
    if each.key is None or each.kept is None:
        return f"rows of no balance, {each.computed} wei in all"
    who = f"{name_of(each.key.payer)}  {printable(each.key.work)} ({each.key.scheme})"
    return f"{who}: kept is {each.kept} wei, its rows come to {each.computed} wei"


def signed(wei: Fraction) -> str:
    """Return an amount that is added or taken."""
    return f"{'+' if wei > 0 else ''}{in_eth(wei)}"


def name_of(payer: bytes) -> str:
    return f"0x{payer.hex()}"


def when(at: float) -> str:
    return datetime.fromtimestamp(at).isoformat(sep=" ", timespec="seconds")  # noqa: DTZ006 - local time


# -- JSON: amounts are texts, since many programs read numbers as floats -----------------------------------------------


def overview_json(
    models: Sequence[ModelStanding], left: Sequence[Leftover], winners: Iterable[KeptWinner], most: int
) -> Json:
    return {
        "total": standing_json(total(models)),
        "models": [
            {
                "pipeline": each.model.pipeline,
                "model_id": each.model.model_id,
                **standing_json(each.standing),
                "payers": [payer_json(payer) for payer in each.payers[:most]],
                "more_payers": max(0, len(each.payers) - most),
            }
            for each in models
        ],
        "left": [{"payer": name_of(each.payer), **_left_json(each)} for each in left[:most]],
        "more_left": max(0, len(left) - most),
        "winners": [winner_json(each) for each in winners],
    }


def payer_json(row: PayerStanding) -> Json:
    return {"payer": name_of(row.payer), **standing_json(row.standing)}


def standing_json(standing: TicketStanding) -> Json:
    luck = standing.luck
    return {
        "tickets": standing.odds.tickets,
        "expected_winners": float(standing.odds.expected),
        "expected_wei": str(rounded(standing.expected)),
        "expected_exact": str(standing.expected),
        "won": winners_json(standing.won),
        "redeemed": winners_json(standing.redeemed),
        "expired": winners_json(standing.expired),
        "exported": winners_json(standing.exported),
        "owed": winners_json(standing.owed),
        "p": luck.p,
        "p_error": luck.error,
        "p_unclear": luck.unclear,
    }


def winners_json(winners: Winners) -> Json:
    return {"count": winners.count, "wei": str(winners.wei)}


def winner_json(winner: KeptWinner) -> Json:
    return {
        "hash": f"0x{winner.hash.hex()}",
        "at": winner.at,
        "state": winner.state,
        "payer": name_of(winner.payer),
        "pipeline": winner.model.pipeline,
        "model_id": winner.model.model_id,
        "face_value": str(winner.face_value),
    }


def history_json(history: PayerHistory) -> Iterator[Json]:
    """Yield one object for each balance, one for what is left on sessions, then one for each credit and charge."""
    for each in history.balances:
        yield {
            "kind": "balance",
            "at": each.changed_at,
            "scheme": each.scheme,
            "work": each.work,
            **_amount(each.wei),
        }
    if history.left is not None:
        yield {"kind": "left", "scheme": LIVE_RUNNER, **_left_json(history.left)}
    for row in history.movements:
        yield {
            "kind": row.kind,
            "began_at": row.began_at,
            "at": row.at,
            "scheme": row.scheme,
            "work": row.work,
            "pipeline": row.model.pipeline,
            "model_id": row.model.model_id,
            **_amount(row.wei),
            "tickets": row.tickets,
            "units": row.units,
            "price_wei": str(row.price),
            "state": row.state,
        }


def _left_json(left: Leftover) -> Json:
    return {"sessions": left.sessions, **_amount(left.wei)}


def _amount(wei: Fraction) -> Json:
    return {"wei": str(rounded(wei)), "exact": str(wei)}


def export_json(winner: KeptWinner) -> Json:
    """Return a winner with what its redemption asks for: the ticket, its signature, the random number."""
    aux = winner.creation_round.to_bytes(32, "big") + winner.round_hash
    return {
        **winner_json(winner),
        "scheme": winner.scheme,
        "work": winner.work,
        "expiration_block": winner.expiration_block,
        "ticket": {
            "recipient": name_of(winner.recipient),
            "sender": name_of(winner.payer),
            "faceValue": str(winner.face_value),
            "winProb": str(winner.win_prob),
            "senderNonce": str(winner.nonce),
            "recipientRandHash": f"0x{winner.commitment.hex()}",
            "auxData": f"0x{aux.hex() if any(aux) else ''}",
        },
        "sig": f"0x{winner.sig.hex()}",
        "recipientRand": str(int.from_bytes(winner.rand, "big")),
    }


def reconcile_json(found: Reconciled) -> Json:
    return {
        "accounts": found.accounts,
        "entries": found.entries,
        "differences": [
            {
                "scheme": each.key.scheme if each.key else None,
                "payer": name_of(each.key.payer) if each.key else None,
                "work": each.key.work if each.key else None,
                "kept_exact": None if each.kept is None else str(each.kept),
                "computed_exact": str(each.computed),
            }
            for each in found.differences
        ],
    }


def _several(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"
