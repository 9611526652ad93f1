"""`--since TIME`, as all commands understand it."""

from __future__ import annotations

import time

import pytest

from orchd.cli.since import since_of
from orchd.errors import OrchdError

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800), ("1h30m", 5400), ("0s", 0)]
)
def test_a_length_of_time_is_ago(text: str, ago: float) -> None:
    assert since_of(text, NOW) == NOW - ago


def test_a_date_without_a_zone_is_local_time() -> None:
    assert since_of("1970-01-01T00:00:10Z", NOW) == 10
    assert since_of("1970-01-01T01:00:10+01:00", NOW) == 10
    assert since_of("1970-01-05", NOW) == time.mktime((1970, 1, 5, 0, 0, 0, 0, 0, -1))


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 m", "now", "9" * 400 + "s", "\u0665s", "1970-13-01"])
def test_what_can_not_be_understood_is_refused_with_examples(text: str) -> None:
    with pytest.raises(OrchdError, match=r"^cannot use --since .*: it should be a length of time \(90s, 10m, 2h, 1d\)"):
        since_of(text, NOW)


def test_what_has_not_come_yet_is_refused() -> None:
    with pytest.raises(OrchdError, match=r"^cannot use --since '1970-02-01': that time has not come yet"):
        since_of("1970-02-01", NOW)
