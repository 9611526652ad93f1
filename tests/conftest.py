"""What a machine must have for all tests, and one line at the end on what it lacked.

With ORCHD_TEST_REQUIRE_ALL=1 (as `.ci/run` sets) a test that can't run fails; else it is left out and named.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests import lanes, soak
from tests.docker_images import BASE

# A shell ignores SIGINT for what it runs in the background, and so would all our children, `orchd` among them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

OF_ONE_RUN = re.compile(r" at 0x|[0-9]{9}\.[0-9]")
"""What differs from process to process: where an object lies, and the time."""
REQUIRE_ALL = os.environ.get("ORCHD_TEST_REQUIRE_ALL") == "1"

# The machines are shared and slow at times: no test depends on how long an example takes.
hypothesis_settings.register_profile("orchd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("orchd")

_left_out: Counter[str] = Counter()


def cannot_run(why: str) -> None:
    if REQUIRE_ALL:
        pytest.fail(f"this machine must be able to run everything, but has {why}")
    _left_out[why] += 1
    pytest.skip(why)


@cache
def _no_docker() -> str:
    """Why real containers can't be had; empty = they can."""
    try:
        client = docker.DockerClient(version="auto")
    except DockerException:
        return "no Docker Engine"
    try:
        with contextlib.closing(client):
            client.images.get(BASE)
    except DockerException:
        return f"no image {BASE} (see .ci/run)"
    return ""


@pytest.fixture(autouse=True)
def _docker_if_marked(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("docker") and (why := _no_docker()):
        cannot_run(why)


@pytest.fixture(scope="session")
def needs() -> Callable[[str], str]:
    """Return the path of a program; leaves the test out where it is missing."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            cannot_run(f"no {program}")
        assert path is not None
        return path

    return find


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB of the test's own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True).returncode:
        cannot_run("no right to mount a disk of its own")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Leave no room on a disk; return the file that takes it."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return filler


def pytest_configure(config: pytest.Config) -> None:
    """Have all processes of a run collect the same tests in the same order, those that are made from sets too."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault("PYTHONHASHSEED", str(secrets.randbelow(2**32)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # All processes of a run must collect the same names.
        assert not OF_ONE_RUN.search(item.nodeid), f"{item.nodeid}: give its parameters `ids`"
        if item.nodeid.startswith(lanes.SLOW):
            item.add_marker("slow")
        if isinstance(item, pytest.Function) and getattr(item.module, "examples", None) is soak.examples:
            item.add_marker("soak")
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: lanes.rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Spread the tests over processes as `lanes` says."""
    from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

    class Lanes(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return lanes.scope(nodeid)

    config.option.loadscopereorder = False
    return Lanes(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield
    if _left_out:
        what = "; ".join(f"{why}: {count} tests" for why, count in _left_out.most_common())
        terminalreporter.write_line(f"NOT RUN on this machine: {what}", yellow=True, bold=True)
