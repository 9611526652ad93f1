"""Without uvloop and without splice, as off Linux, orchd does the same: the whole black-box suite passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.daemon import ROOT

SITECUSTOMIZE = """
import atexit, json, os, sys

if os.environ.get("PLAIN_LOOP") == "yes":
    sys.modules["uvloop"] = None  # Importing it fails.
    os.__dict__.pop("splice", None)


def tell():
    with open("/proc/self/maps") as maps:
        known = {"argv": sys.argv, "uvloop": "/uvloop/" in maps.read(), "splice": hasattr(os, "splice")}
    with open(os.environ["TELL"], "a") as told:
        print(json.dumps(known), file=told)


atexit.register(tell)
"""
"""Python runs it at the start of every process that has its folder on PYTHONPATH: tests, daemon and runner."""

BOUND_S = 600


def blackbox(folder: Path, plain: str, *tests: str) -> list[dict[str, Any]]:
    """Run these tests in a pytest of their own; return what each `orchd run` of theirs ran on."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    told = folder / "told"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}", *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "PLAIN_LOOP": plain, "TELL": str(told)},
        capture_output=True,
        text=True,
        timeout=BOUND_S,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    return [line for line in lines if "run" in line["argv"][1:2]]


def test_the_black_box_suite_passes_on_asyncios_own_loop_and_without_splice(tmp_path: Path) -> None:
    servers = blackbox(tmp_path / "plain", "yes", "tests/blackbox")
    assert servers
    assert [one for one in servers if one["uvloop"] or one["splice"]] == []


def test_where_they_are_there_both_are_used(tmp_path: Path) -> None:
    """What the other test does not find is to be found."""
    servers = blackbox(tmp_path / "usual", "no", "tests/blackbox/test_shutdown.py")
    assert servers
    assert all(one["uvloop"] and one["splice"] for one in servers)
