"""How sold sessions are counted and shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.state import Snapshot, SoldCount
from orchd.sold.status import FACE
from orchd.sold.tally import by_mode, by_state
from orchd.status_face import Position
from orchd.text import TextStyle
from tests.jobs.model import KEY
from tests.sold.test_live import a_session

OTHER = ModelKey("z", "other")


def shown(*sold: SoldCount) -> list[str]:
    """Return the lines of `orchd status`."""
    return FACE.overview[Position.SOLD](FACE.whole(Snapshot(sold=sold)), TextStyle())


def test_they_are_counted_by_model_mode_and_who_pays() -> None:
    paid, free, pending, ending, job, elsewhere = (a_session(f"m{number}") for number in range(6))
    for each in (paid, pending, ending, job):
        each.payer = "0x12"
    for each in (paid, free, ending, job, elsewhere):
        each.pending = False
    ending.ending, job.persistent = True, False
    elsewhere.key = OTHER
    sessions = [elsewhere, job, paid, free, pending, ending]
    assert by_mode(sessions) == (
        SoldCount(KEY, persistent=False, paid=1),
        SoldCount(KEY, persistent=True, paid=2, free=1, pending=1),
        SoldCount(OTHER, persistent=True, free=1),
    )
    assert by_state(sessions) == {
        KEY: {"pending": 1, "active": 3, "ending": 1},
        OTHER: {"pending": 0, "active": 1, "ending": 0},
    }


def test_status_has_a_row_for_each_model_and_mode() -> None:
    assert FACE.whole(Snapshot(sold=(SoldCount(KEY, persistent=False, paid=2, free=1, pending=3),))) == {
        "sold": [
            {
                "pipeline": KEY.pipeline,
                "model_id": KEY.model_id,
                "mode": "single-shot",
                "paid": 2,
                "free": 1,
                "pending": 3,
            }
        ]
    }
    assert FACE.whole(Snapshot()) == {"sold": None}


@pytest.mark.parametrize(
    ("sold", "said"),
    [
        ((), []),
        ((SoldCount(KEY, persistent=True, paid=1),), ["Sold here: 1 session (1 paid)"]),
        (
            (
                SoldCount(KEY, persistent=False, free=1),
                SoldCount(KEY, persistent=True, paid=2, pending=1),
                SoldCount(OTHER, persistent=True, paid=1, free=1),
            ),
            ["Sold here: 5 sessions (3 paid, 1 free, 1 pending) and 1 job (1 free)"],
        ),
    ],
)
def test_the_command_has_one_line_of_all(sold: tuple[SoldCount, ...], said: list[str]) -> None:
    assert shown(*sold) == said


def test_a_model_s_page_has_its_own() -> None:
    here = SoldCount(KEY, persistent=True, paid=2)
    status = FACE.whole(Snapshot(sold=(here, replace(here, key=OTHER, paid=5))))
    model = {"pipeline": KEY.pipeline, "model_id": KEY.model_id}
    assert FACE.facts(model, status) == {"sold": "2 sessions (2 paid)"}
    assert FACE.facts({**model, "model_id": "none"}, status) == {"sold": ""}
