"""A bad edit stops nothing that runs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchd.catalog.keep import merge
from orchd.catalog.reading import Reading
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.state import Severity
from tests.catalog.helpers import entry, errors, read, read_text

NAMES = ("a", "b", "c")


def key(name: str) -> ModelKey:
    return ModelKey("llm", name)


def running(*names: str) -> dict[ModelKey, Model]:
    return dict(read(*(entry(model_id=name) for name in names)).models)


def test_a_bad_file_changes_nothing() -> None:
    state = merge(read_text("[{"), running("a", "b"), "0123456789ab")
    assert set(state.models) == state.held_over == {key("a"), key("b")}
    assert state.file_hash == "0123456789ab"
    assert state.problems


def test_a_bad_entry_goes_on_from_its_last_good_definition() -> None:
    last = running("a", "b")
    state = merge(read(entry(model_id="a", replicas=0), entry(model_id="b", image="new:2")), last)
    assert state.models[key("a")] == last[key("a")]
    assert state.models[key("b")] != last[key("b")]
    assert state.held_over == {key("a")}


def test_a_bad_entry_that_never_was_good_is_absent() -> None:
    state = merge(read(entry(model_id="a", replicas=0)), {})
    assert not state.models
    assert not state.held_over


def test_what_the_file_no_longer_has_is_gone() -> None:
    assert set(merge(read(entry(model_id="b")), running("a", "b")).models) == {key("b")}


def test_a_model_left_to_go_livepeer_on_purpose_is_gone() -> None:
    last = running("a", "b")
    rows = entry(model_id="a", image=..., run=False), entry(model_id="b", run=False)
    assert not merge(read(*rows, last_good=last), last).models


def test_a_model_that_runs_is_not_left_to_go_livepeer_by_accident() -> None:
    last = running("a")
    state = merge(read(entry(model_id="a", image=...), last_good=last), last)
    assert state.held_over == {key("a")}
    [problem] = [problem for problem in state.problems if problem.severity is Severity.ERROR]
    assert '"run": false' in problem.message


def test_an_entry_without_a_key_could_be_any_model_that_is_missing() -> None:
    state = merge(read(entry(model_id=["a"]), entry(model_id="b")), running("a", "b", "c"))
    assert set(state.models) == {key("a"), key("b"), key("c")}
    assert state.held_over == {key("a"), key("c")}
    [told] = [problem for problem in state.problems if "not removed" in problem.message]
    assert "llm/a, llm/c" in told.message
    assert (told.entry, told.severity) == (0, Severity.WARNING)


def test_a_bad_duplicate_holds_nothing_over() -> None:
    state = merge(read(entry(model_id="a", image="new:2"), entry(model_id="a")), running("a"))
    assert not state.held_over
    assert state.models[key("a")] != running("a")[key("a")]


rows = st.one_of(
    st.builds(lambda name: entry(model_id=name), st.sampled_from(NAMES)),
    st.builds(lambda name: entry(model_id=name, image="new:2"), st.sampled_from(NAMES)),
    st.builds(lambda name: entry(model_id=name, replicas=0), st.sampled_from(NAMES)),
    st.builds(lambda name: entry(model_id=name, image=...), st.sampled_from(NAMES)),
    st.builds(lambda name: entry(model_id=name, run=False), st.sampled_from(NAMES)),
    st.builds(lambda name, slip: entry(model_id=name, image=..., **{slip: "x"}), st.sampled_from(NAMES), st.text()),
    st.sampled_from([3, {}, {"pipeline": "llm"}, {"model_id": "a", "image": "x"}]),
)


@given(st.lists(rows, max_size=5) | st.none(), st.sets(st.sampled_from(NAMES)))
def test_nothing_that_runs_is_lost_to_a_mistake(entries: list[Any] | None, names: set[str]) -> None:
    """A running model goes only if the file is readable, every entry's key too, and no entry is its, or run: false."""
    last = running(*names)
    reading: Reading = read_text("[torn") if entries is None else read(*entries, last_good=last)
    state = merge(reading, last)
    bad = {problem.key for problem in errors(reading)}
    for gone in last.keys() - state.models.keys():
        assert reading.usable
        assert None not in bad
        assert gone not in bad
        theirs = [row for row in entries or [] if isinstance(row, dict) and row.get("model_id") == gone.model_id]
        assert all(row["run"] is False for row in theirs if row.get("pipeline"))
    for held in state.held_over:
        assert state.models[held] is last[held]
    assert {k: m for k, m in state.models.items() if k not in state.held_over} == dict(reading.models)
