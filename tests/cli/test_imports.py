"""A command imports what it needs: one that only asks the daemon needs no library, and none needs the job path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchd.cli import COMMANDS
from tests.cli.test_parser import needed

HEAVY = frozenset(
    {
        *("aiohttp", "coincurve", "docker", "httptools", "prometheus_client", "pydantic", "structlog", "uvloop"),
        *("watchfiles", "Crypto"),
    }
)

SETTINGS = {"pydantic", "structlog"}
"""What reading all settings takes."""

NOT_ONLY_ASKING = ("run", "check", "price", "export", "down", "schema", "demo")
"""Commands that do something themselves. All others only ask the daemon, and have to be quick."""

MAIN = """
import contextlib, sys
from orchd.cli import main

with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(*sys.modules)
"""


def asking() -> list[tuple[str, ...]]:
    """Return a command line for each command that only asks the daemon, with what it can't be without."""
    return [(name, *needed(name)) for name in COMMANDS if name not in NOT_ONLY_ASKING]


def imported_by(*argv: str, env: dict[str, str] | None = None) -> set[str]:
    """Return the packages that a command imports, and our own modules by their full names."""
    ran = subprocess.run(
        [sys.executable, "-c", MAIN, *argv],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **(env or {})},
    )
    names = ran.stdout.split()
    return {name for name in names if name.startswith("orchd.")} | {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_what_orchd_says_of_itself_needs_no_command_and_no_library(flag: str) -> None:
    found = imported_by(flag)
    assert not found & HEAVY
    assert not found & {f"orchd.cli.{name}" for name in COMMANDS}


@pytest.mark.parametrize("words", asking(), ids=" ".join)
def test_what_only_asks_the_daemon_imports_no_library_and_no_event_loop(words: tuple[str, ...], tmp_path: Path) -> None:
    """Without a daemon: what shows an answer may need more, such as the words of the models' states."""
    (tmp_path / "orchd.toml").write_text(f'admin.listen = "127.0.0.1:1"\nstate_dir = "{tmp_path}"\n')
    found = imported_by(*words, env={"ORCHD_CONFIG": str(tmp_path / "orchd.toml")})
    assert not found & (HEAVY | {"asyncio"})


@pytest.mark.parametrize(
    ("argv", "needed"),
    [
        (("status", "--help"), set()),
        (("restart", "--help"), set()),
        (("events", "--help"), set()),
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
    cheap |= {"orchd.reconcile.status_list", "orchd.reconcile.status_model"}
    assert daemon <= cheap
