"""The chain in `/status` and `orchd status`, in words for who is woken by it."""

from __future__ import annotations

from dataclasses import replace

from orchd.chain.status import FACE
from orchd.domain.chain import ChainStatus, RpcStatus
from orchd.domain.state import Snapshot
from orchd.status_face import Position
from orchd.text import TextStyle

GOOD = ChainStatus(
    id=42161,
    orchestrator="0x1",
    servers=(RpcStatus("a.example", up=True), RpcStatus("b.example", up=True)),
    l1_block=23_500_000,
    round=4321,
    read_at=90.0,
    active=True,
    fresh=True,
    usable=True,
    usable_until=690.0,
)
DOWN = RpcStatus("b.example", up=False, why="no answer within 5 s")


def shown(chain: ChainStatus | None) -> str:
    status = {"at": 100.0, **FACE.whole(Snapshot(chain=chain))}
    return "\n".join(FACE.overview[Position.CHAIN](status, TextStyle(width=200)))


def test_a_chain_that_is_well_is_one_line() -> None:
    assert shown(GOOD) == "Arbitrum One: round 4321, L1 block 23500000, read 10s ago, 2 of 2 RPC servers answer"


def test_a_server_that_fails_is_named_with_the_reason() -> None:
    text = shown(replace(GOOD, servers=(GOOD.servers[0], DOWN)))
    assert "1 of 2 RPC servers answer\n    b.example: no answer within 5 s" in text


def test_an_outage_says_what_it_means_for_payers() -> None:
    assert "only known payers are served, for 9m more" in shown(replace(GOOD, fresh=False))
    assert "only known payers are served, and not for long" in shown(replace(GOOD, fresh=False, usable_until=None))
    assert "too old to go by, so paid jobs are refused" in shown(replace(GOOD, fresh=False, usable=False))
    assert "not active, so tickets are refused" in shown(replace(GOOD, active=False))
    never = ChainStatus(31337, "0x1", (DOWN,))
    assert shown(never).startswith("chain 31337: not read yet, so paid jobs are refused, 0 of 1 RPC servers answer")


def test_nothing_is_shown_where_no_chain_is_read_or_the_daemon_is_older() -> None:
    assert shown(None) == ""
    assert FACE.overview[Position.CHAIN]({"at": 0.0}, TextStyle()) == []
    assert FACE.changes({"at": 0.0}) == {}


def test_what_changes_does_not_change_by_the_clock() -> None:
    before = FACE.changes(FACE.whole(Snapshot(chain=GOOD)))
    assert before == FACE.changes(FACE.whole(Snapshot(chain=replace(GOOD, read_at=99.0, l1_block=23_500_001))))
    assert before != FACE.changes(FACE.whole(Snapshot(chain=replace(GOOD, fresh=False))))
