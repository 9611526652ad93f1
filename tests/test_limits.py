"""orchd raises its own limit of open files; what it starts gets the original one."""

import json
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchd.limits import PER_CALLER, RESERVED, most_connections

ROOT = Path(__file__).parents[1]
SCRIPT = """
import json, os, resource, sys
from orchd.limits import raise_open_files
from orchd.runtime.process.launch import spawn

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
first = raise_open_files() if sys.argv[1] == "raise" else None
again = raise_open_files() if sys.argv[1] == "raise" else None
told = "until [ -e started ]; do sleep 0.01; done; ulimit -Sn; ulimit -Hn"  # The limit is set right after the exec.
process, pidfd = spawn(["sh", "-c", told], os.getcwd(), dict(os.environ), 1)
open("started", "w").close()
process.wait()
print(json.dumps([hard, first and [first.original, first.now], again and [again.original, again.now]]))
"""


def run(how: str, folder: Path) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, how]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split("\n")


def test_children_get_the_original_soft_limit(tmp_path: Path) -> None:
    soft, hard, told, _ = run("raise", tmp_path)
    was_hard, first, again = json.loads(told)
    assert (soft, hard) == ("300", str(was_hard) if was_hard >= 0 else "unlimited")
    assert first == again == [300, was_hard]


def test_a_limit_that_was_not_raised_is_left_alone(tmp_path: Path) -> None:
    soft, *_ = run("leave", tmp_path)
    assert soft == "300"


@given(st.integers(1, 100_000), st.integers(0, 1_000_000) | st.none())
def test_callers_are_bounded_so_that_no_job_runs_out_of_descriptors(wanted: int, open_files: int | None) -> None:
    most = most_connections(wanted, open_files)
    assert 1 <= most <= wanted
    if open_files is None:
        assert most == wanted
    elif most > 1:
        assert most * PER_CALLER + RESERVED <= open_files
    if open_files is not None and wanted * PER_CALLER + RESERVED <= open_files:
        assert most == wanted
