"""What the history is told of an edit: once, by the names of what has changed, and never a value."""

from __future__ import annotations

from dataclasses import replace

from orchd.catalog.told import EditsTold
from orchd.domain.ids import ModelKey
from orchd.domain.model import ContainerLaunch, Model, ProcessLaunch, Secret
from orchd.domain.state import DesiredState, Problem, Severity
from orchd.errors import Code
from orchd.history.ports import Kind
from tests.fakes.history import FakeHistory, Noted
from tests.fakes.models import container_model, external_model

A, B = container_model("a"), external_model("b")


def desired(
    *models: Model, problems: tuple[Problem, ...] = (), held: frozenset[ModelKey] = frozenset()
) -> DesiredState:
    return DesiredState({m.key: m for m in models}, problems, held, file_hash=str(hash((models, problems))))


def problem(key: ModelKey | None, entry: int | None = 0) -> Problem:
    return Problem(Severity.ERROR, Code.ENTRY_INVALID, "cannot use price", "aiModels.json", 3, entry=entry, key=key)


async def test_what_was_added_changed_and_removed_is_told_by_name() -> None:
    history = FakeHistory()
    told = EditsTold(history, {B.key: B})
    edited = replace(A, launch=ContainerLaunch("image:2"), token=Secret("planted"), replicas=2)
    await told.tell(desired(A, B))
    await told.tell(desired(edited))
    assert history.noted == [
        Noted(Kind.ADDED, "image:1", A.key),
        Noted(Kind.FILE_APPLIED, "models: 2; 1 added"),
        Noted(Kind.CHANGED, "image, replicas, token", A.key),
        Noted(Kind.REMOVED, "", B.key),
        Noted(Kind.FILE_APPLIED, "models: 1; 1 changed, 1 removed"),
    ]


async def test_what_was_changed_is_told_as_the_models_file_calls_it() -> None:
    history = FakeHistory()
    before = replace(A, launch=ProcessLaunch(("serve",), "/"))
    told = EditsTold(history, {A.key: before})
    await told.tell(desired(replace(before, launch=ProcessLaunch(("serve", "--fast"), "/"))))
    assert history.noted[0] == Noted(Kind.CHANGED, "command", A.key)


async def test_another_kind_of_runner_is_a_change_of_its_launch() -> None:
    history = FakeHistory()
    told = EditsTold(history, {A.key: A})
    await told.tell(desired(replace(A, launch=B.launch)))
    assert history.noted[0] == Noted(Kind.CHANGED, "launch", A.key)


async def test_a_file_that_is_read_again_without_a_change_is_not_told() -> None:
    history = FakeHistory()
    told = EditsTold(history, {})
    await told.tell(desired(A))
    history.noted.clear()
    await told.tell(desired(A))
    assert history.noted == []


async def test_a_bad_entry_is_told_with_its_problem_until_another_comes() -> None:
    history = FakeHistory()
    told = EditsTold(history, {A.key: A, B.key: B})
    bad = desired(A, B, problems=(problem(A.key),), held=frozenset({A.key}))
    await told.tell(bad)
    await told.tell(replace(bad, file_hash="next"))
    assert history.kinds() == [Kind.EDIT_REFUSED, Kind.HELD_OVER, Kind.FILE_APPLIED, Kind.FILE_APPLIED]
    refused = history.noted[0]
    assert refused.about == A.key
    assert refused.why == "aiModels.json:3: entry 1 (text-to-image/a): cannot use price"


async def test_a_file_that_can_not_be_used_is_told_once_and_not_for_each_model() -> None:
    history = FakeHistory()
    told = EditsTold(history, {A.key: A, B.key: B})
    unusable = DesiredState({A.key: A, B.key: B}, (problem(None, None),), frozenset({A.key, B.key}), "")
    await told.tell(unusable)
    assert history.kinds() == [Kind.FILE_REFUSED]
    await told.tell(desired(A, B, problems=(problem(A.key),), held=frozenset({A.key})))
    assert history.kinds(A.key) == [Kind.EDIT_REFUSED, Kind.HELD_OVER]
