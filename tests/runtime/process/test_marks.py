"""Processes are known by what they were given at exec, and never taken for others."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchd.runtime.process.marks import Marks, lives, open_pidfd, send
from tests.runtime.process_models import RUNNER, marked


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks("t-marks", tmp_path)


def test_only_processes_with_all_our_marks_are_found(marks: Marks, tmp_path: Path) -> None:
    own = marks.environment(RUNNER, 4711)
    others = [
        Marks("t-other", tmp_path).environment(RUNNER, 4711),
        Marks("t-marks", tmp_path / "other").environment(RUNNER, 4711),
        own | {"ORCHD_RUNNER": "not json"},
        own | {"ORCHD_RUNNER": "[1]"},
        own | {"ORCHD_PORT": "none"},
        {name: value for name, value in own.items() if name != "ORCHD_INSTANCE"},
    ]
    children = [marked(env, start_new_session=True) for env in [own, *others]]
    try:
        (found,) = marks.scan()
        assert (found.pid, found.session, found.runner, found.port) == (children[0].pid, children[0].pid, RUNNER, 4711)
        assert found.leads
        assert not found.paused
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert marks.scan() == []


def test_a_state_directory_is_the_same_by_any_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    real, link = Marks("t", tmp_path / "real"), Marks("t", tmp_path / "link")
    assert real.environment(RUNNER, 1) == link.environment(RUNNER, 1)


def test_a_zombie_is_not_a_runner(marks: Marks) -> None:
    child = subprocess.Popen(["true"], env=marks.environment(RUNNER, 1))
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert marks.scan() == []
    child.wait()


def test_a_later_process_with_the_same_pid_is_never_signalled(marks: Marks) -> None:
    child = marked(marks.environment(RUNNER, 1))
    try:
        (found,) = marks.scan()
        former = replace(found, started=found.started - 1)
        with pytest.raises(ProcessLookupError):
            open_pidfd(former)
        assert lives(found)
        assert not lives(former)
        send(former, signal.SIGKILL)
        assert child.poll() is None
        send(found, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()
