"""The arguments of `orchd logs`."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from orchd.cli import build_parser
from orchd.cli.logs import asked_for
from orchd.errors import OrchdError

NOW = 1_800_000_000.0


def asked(*words: str) -> dict[str, object]:
    return asked_for(build_parser().commands["logs"].parse_args(["m", *words]), NOW)


def test_all_replicas_and_all_lines_are_shown_unless_less_is_asked_for() -> None:
    assert asked() == {
        "model": "m", "follow": False, "previous": False, "replica": None, "since": None, "tail": None
    }  # fmt: skip
    assert asked("-f", "--replica", "1", "--tail", "20") == {**asked(), "follow": True, "replica": 1, "tail": 20}
    assert asked("-p", "--tail", "all") == {**asked(), "previous": True}


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("1.5h", 5400)]
)
def test_since_may_be_a_length_of_time(text: str, ago: float) -> None:
    assert asked("--since", text)["since"] == NOW - ago


def test_since_may_be_a_time_which_is_local_without_a_zone() -> None:
    assert asked("--since", "2026-11-30T21:00:00Z")["since"] == datetime(2026, 11, 30, 21, tzinfo=UTC).timestamp()
    local = time.mktime((2026, 11, 30, 21, 0, 0, 0, 0, -1))
    assert asked("--since", "2026-11-30 21:00")["since"] == local


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--since", "yesterday"), "cannot use --since 'yesterday': it should be a length of time (90s, 10m, 2h, 1d)"),
        (("--since", "-5m"), "cannot use --since '-5m'"),
        (("--since", "2999-01-01"), "cannot use --since '2999-01-01': that time has not come yet"),
        (("--tail", "-1"), "cannot use --tail '-1': it should be a number of lines, or all"),
        (("--tail", "²"), "cannot use --tail '²'"),
        (("--replica", "x"), "cannot use --replica 'x': it should be the number of a replica: 0, 1, ..."),
        (("-f", "-p"), "cannot use --follow with --previous: that run has ended"),
    ],
)
def test_a_wrong_value_is_refused_in_words(words: tuple[str, ...], says: str) -> None:
    joined = [f"{words[0]}={words[1]}"] if len(words) == 2 and words[0].startswith("--") else [*words]
    with pytest.raises(OrchdError) as caught:
        asked(*joined)
    assert caught.value.message.startswith(says)
