"""Where the door does as a recorded node does, and where it does better."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import unquote

import pytest

from orchd.domain.details import Details, Gpu
from orchd.doors.own import OwnAnswer
from orchd.doors.public_live_runner.answers import reserved
from orchd.doors.public_live_runner.discovery import OnSale, as_runner
from orchd.doors.routes import ToRunner
from orchd.errors import JobRefused
from orchd.tickets.prices import WorkPrice
from tests.doors.public_live_runner.fakes import ONCE, Rig
from tests.doubles.shared.recordings import load

APP = "/apps/orchd-one/app"
SERVICE = "http://127.0.0.1:8935"
NODE_CLEANS = {"/%2F%2Flead"}
"""Decoded, these have empty segments, which the node takes out; orchd passes them on as they come."""


def recorded_paths() -> Iterator[tuple[str, int, str | None]]:
    """Yield a path below `app`, the status, and what the recorded node's worker got of it; None = nothing."""
    for step, after in pairwise(load("node-single-shot.json")):
        target = step.get("request", {}).get("target", "")
        if target.startswith(f"{APP}/") and "worker_path" in after:
            (got,) = after["worker_path"] or [None]
            yield target.removeprefix(APP), step["response"]["status"], got


PATHS = [*recorded_paths()]


def test_the_recording_has_the_paths_that_matter() -> None:
    assert {status for _, status, _ in PATHS} == {200, 307, 400}
    assert len(PATHS) > 20


@pytest.mark.parametrize(("path", "status", "got"), PATHS)
def test_a_path_means_the_same_to_the_runner_as_behind_a_node(path: str, status: int, got: str | None) -> None:
    target = f"/apps/{ONCE.slug}/app{path}"
    if status == 400:
        with pytest.raises(JobRefused) as caught:
            Rig().route(target, paid=True)
        assert caught.value.status == status
        return
    way = Rig().route(target, paid=True)
    if isinstance(way, OwnAnswer):
        assert (way.name, status) == ("redirect", 307)
        return
    assert isinstance(way, ToRunner)
    assert got is not None
    assert way.target == path, "byte for byte"
    if path not in NODE_CLEANS:
        assert unquote(way.target) == unquote(got)


def test_a_reserved_session_is_told_with_the_recorded_members_and_urls() -> None:
    recorded = next(step for step in load("node-session.json") if step["step"] == "reserve")["response"]
    answer = reserved(f"{SERVICE}/apps/orchd-two", "<session-1>")
    assert (answer.status, json.loads(answer.body)) == (recorded["status"], json.loads(recorded["body"]))


def test_a_model_is_told_with_the_recorded_members() -> None:
    listed = next(step for step in load("node-discovery.json") if "two listed" in step["step"])
    one, two = json.loads(listed["response"]["body"])[0]["runners"]
    gpu, free = Details(Gpu("0", "NVIDIA L40S", 46068), "1", '{"a":1}'), WorkPrice(0)
    assert as_runner(SERVICE, OnSale("orchd-one", "echo/one", False, free, 0, 2, gpu)) == one
    assert as_runner(SERVICE, OnSale("orchd-two", "echo/two", True, free, 0, 1, Details(version="1"))) == two
