"""How `orchd status` shows the listener for payers."""

from __future__ import annotations

import pytest

from orchd.domain.state import ClientsStatus, PublicStatus, Snapshot
from orchd.public.status import FACE, QUIET_S
from orchd.status_face import Position
from orchd.text import TextStyle

NOW = 1_800_000_000.0


def shown(clients: ClientsStatus | None) -> list[str]:
    public = PublicStatus(("0.0.0.0:8443",), "https://ai.example.org", "", ("live-runner",), None, clients=clients)
    assert FACE.whole is not None
    status = {**FACE.whole(Snapshot(public=public)), "at": NOW}
    first, *more = FACE.overview[Position.PUBLIC](status, TextStyle(width=200))
    assert first == "Public: https://ai.example.org at 0.0.0.0:8443: live-runner, without TLS"
    return more


@pytest.mark.parametrize(
    ("clients", "said"),
    [
        (
            ClientsStatus(NOW - 9999, NOW - 12, NOW - 180, NOW - 7300, 2),
            "Clients: asked what is sold 12s ago, asked for terms 3m ago, began to pay 2h ago; 2 payers",
        ),
        (
            ClientsStatus(NOW - 9999, NOW - 12, NOW - 180, NOW - 240, 1),
            "Clients: asked what is sold 12s ago, asked for terms 3m ago, began to pay 4m ago; 1 payer",
        ),
        (
            ClientsStatus(NOW - 60),
            "Clients: never asked what is sold, never asked for terms, never began to pay; 0 payers",
        ),
        (
            ClientsStatus(NOW - QUIET_S),
            "Clients: nobody has asked what is sold here for 1h; who is to find it must know its URL",
        ),
        (
            ClientsStatus(NOW - 99999, NOW - 7300, NOW - 7400, NOW - 7500, 1),
            "Clients: nobody has asked what is sold here for 2h; who is to find it must know its URL",
        ),
    ],
)
def test_it_says_whether_clients_come(clients: ClientsStatus, said: str) -> None:
    assert shown(clients) == [said]


def test_without_a_door_for_them_nothing_is_said_of_clients() -> None:
    assert shown(None) == []
