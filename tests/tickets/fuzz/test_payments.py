"""The fuzzer finds nothing, within bounds."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import soak
from tests.conftest import cannot_run

RUNS = 80_000


@pytest.mark.soak
def test_whatever_comes_is_read_or_refused_with_a_code(tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        cannot_run("no atheris, which has wheels for Linux on x86_64 alone")
    flags = [f"-runs={soak.examples(RUNS)}", "-seed=16", "-max_len=700", f"-artifact_prefix={tmp_path}/found-"]
    (corpus := tmp_path / "corpus").mkdir()
    command = [sys.executable, "-m", "tests.tickets.fuzz.payments", str(corpus), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
    assert len([*corpus.iterdir()]) > 20, "inputs that reach new lines were found"
