"""What is remembered of clients that came."""

from __future__ import annotations

from dataclasses import replace

from orchd.domain.state import ClientsStatus
from orchd.doors.public_live_runner.clients import MOST_PAYERS, ClientsSeen
from tests.doors.public_live_runner.fakes import Rig


def test_the_last_time_of_each_kind_counts_and_each_payer_once() -> None:
    now = [100.0]
    seen, session = ClientsSeen(lambda: now[0]), Rig().begin("a")
    assert seen.status == ClientsStatus(100.0)
    for at, came in ((101.0, seen.discovered), (102.0, seen.challenged), (103.0, seen.discovered)):
        now[0] = at
        came()
    for at, payer in ((104.0, "0xa"), (105.0, "0xb"), (106.0, "0xa"), (107.0, "")):
        now[0] = at
        seen.began(replace(session, payer=payer))
    assert seen.status == ClientsStatus(100.0, 103.0, 102.0, 106.0, 2)


def test_payers_are_counted_in_bounded_memory() -> None:
    seen, session = ClientsSeen(lambda: 1.0), Rig().begin("a")
    for payer in range(2 * MOST_PAYERS):
        seen.began(replace(session, payer=f"0x{payer}"))
    assert seen.status.payers == MOST_PAYERS
