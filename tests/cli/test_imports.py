"""A command imports what it needs: `orchd status` does not wait for the job path or for Docker's client."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchd.cli import COMMANDS

HEAVY = frozenset(
    {"aiohttp", "docker", "httptools", "prometheus_client", "pydantic", "structlog", "uvloop", "watchfiles"}
)

SETTINGS = {"pydantic", "structlog"}
"""What reading the settings takes."""

MAIN = """
import contextlib, sys
from orchd.cli import main

with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(*sys.modules)
"""


def imported_by(*argv: str) -> set[str]:
    """Return the packages that a command imports, and our own modules by their full names."""
    ran = subprocess.run([sys.executable, "-c", MAIN, *argv], capture_output=True, text=True, check=True)
    names = ran.stdout.split()
    return {name for name in names if name.startswith("orchd.")} | {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_what_orchd_says_of_itself_needs_no_command_and_no_library(flag: str) -> None:
    found = imported_by(flag)
    assert not found & HEAVY
    assert not found & {f"orchd.cli.{name}" for name in COMMANDS}


@pytest.mark.parametrize(
    ("argv", "needed"),
    [
        (("status", "--help"), SETTINGS | {"aiohttp"}),
        (("restart", "--help"), SETTINGS | {"aiohttp"}),
        (("schema",), SETTINGS),
        (("check", "--help"), SETTINGS | {"watchfiles"}),
        (("price", "--help"), SETTINGS | {"aiohttp", "watchfiles"}),
        (("demo", "--help"), SETTINGS | {"docker"}),
    ],
)
def test_a_command_imports_no_other_and_not_the_daemon(argv: tuple[str, ...], needed: set[str]) -> None:
    found = imported_by(*argv)
    assert found & HEAVY <= needed
    assert found & {f"orchd.cli.{name}" for name in COMMANDS} == {f"orchd.cli.{argv[0]}"}
    daemon = {name for name in found if name.startswith(("orchd.app", "orchd.jobs.", "orchd.reconcile."))}
    cheap = {f"orchd.{part}.{face}" for part in ("jobs", "reconcile") for face in ("settings", "status")}
    assert daemon <= cheap
