"""What two readings of /status differ by: nothing is lost, and nothing is told twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.cli.status_changes import news, told
from orchd.cli.status_pages import states
from orchd.domain.state import RuntimeStatus, Snapshot
from orchd.status_view import status
from tests.fakes.snapshots import NODE, NODE_DOWN, NOW, beside, snapshot


def seen(of: Snapshot, at: float = NOW) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps({**status(of), "at": at}))
    return result


def test_the_first_reading_is_all_news() -> None:
    assert news(None, seen(snapshot())) == seen(snapshot())


def test_time_that_passes_is_no_news() -> None:
    later = seen(snapshot(), NOW + 60)
    for model in later["models"]:
        for runner in model["runners"]:
            runner["since"] += 0.4  # reckoned from another clock
    assert news(seen(snapshot()), later) is None


def test_a_start_that_moves_is_news() -> None:
    later = seen(snapshot())
    later["models"][0]["runners"][0]["since"] += 30
    changed = news(seen(snapshot()), later)
    assert changed is not None
    assert [model["model_id"] for model in changed["models"]] == ["green-tint-cpu"]


SNAPSHOTS = st.builds(
    lambda of, left, problems, up: replace(
        of,
        models={key: one for number, (key, one) in enumerate(of.models.items()) if number in left},
        problems=of.problems[:problems],
        runtimes=(RuntimeStatus("container", up, "" if up else "it is away"),),
    ),
    st.sampled_from([snapshot(), snapshot(green_sessions=2), beside(NODE), beside(NODE_DOWN)]),
    st.frozensets(st.integers(0, 4)),
    st.integers(0, 2),
    st.booleans(),
)


@given(st.lists(st.tuples(SNAPSHOTS, st.floats(0, 100)), min_size=1, max_size=6))
def test_whoever_adds_up_the_news_knows_the_status(readings: list[tuple[Snapshot, float]]) -> None:
    """Each part that is given replaces the former, models by name; what is gone is taken out."""
    before, known = None, dict[str, Any]()
    models: dict[tuple[str, str], Any] = {}
    for of, at in readings:
        now = seen(of, NOW + at)
        if (changed := news(before, now)) is not None:
            known |= {name: part for name, part in changed.items() if name not in ("models", "gone")}
            models |= {(model["pipeline"], model["model_id"]): model for model in changed.get("models", ())}
            models = {key: model for key, model in models.items() if "/".join(key) not in changed.get("gone", ())}
            assert changed["at"] == now["at"]
            assert before is None or changed.keys() != {"at"}
        assert {**known, "at": 0} == {name: part for name, part in {**now, "at": 0}.items() if name != "models"}
        assert models == {(model["pipeline"], model["model_id"]): model for model in now["models"]}
        before = now


@given(SNAPSHOTS, SNAPSHOTS)
def test_every_change_is_told_in_words(one: Snapshot, other: Snapshot) -> None:
    before, now = states(seen(one)), states(seen(other))
    lines = told(before, now)
    assert (lines == []) == (before == now)
    gone = [str(key) for key in one.models if key not in other.models]
    assert [line for line in lines if line.endswith(": gone") and line != "node: gone"] == [
        f"{name}: gone" for name in gone
    ]
    mended = {str(problem) for problem in one.problems} - {str(problem) for problem in other.problems}
    assert len([line for line in lines if line.startswith("mended: ")]) == len(mended)
    was_down, is_up = not one.runtimes[0].up, other.runtimes[0].up
    assert any(line.startswith("the container runtime is up again") for line in lines) == (was_down and is_up)


def test_a_runtime_that_goes_down_is_told_with_the_reason() -> None:
    up = replace(snapshot(), runtimes=(RuntimeStatus("container", True),))
    [line] = told(states(seen(up)), states(seen(snapshot())))
    assert line.startswith("the container runtime is down: cannot reach Docker Engine at ")


@pytest.mark.parametrize("ok", [True, False])
def test_a_file_that_applies_again_is_told(ok: bool) -> None:
    [line] = told(states(seen(replace(snapshot(), reload_ok=not ok))), states(seen(replace(snapshot(), reload_ok=ok))))
    assert line.startswith("Models file: applied" if ok else "Models file: the newest does not apply")
