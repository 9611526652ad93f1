"""Completion in the shells themselves: commands, flags, choices, files and the models of the moment."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchd.cli import COMMANDS, main
from orchd.cli.candidates import FILES, candidates
from tests.cli.test_commands import Daemon

PATIENCE_S = 60.0
MODELS = [
    {"pipeline": "text-to-image", "model_id": "acme/paint"},
    {"pipeline": "llm", "model_id": "acme/chat:7b"},
    {"pipeline": "llm", "model_id": "$(touch pwned)"},
    {"pipeline": "llm", "model_id": 7},
    "no entry",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a models file; no daemon runs. `orchd` is found in it."""
    (tmp_path / "aiModels.json").write_text(json.dumps(MODELS))
    program = tmp_path / "bin" / "orchd"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchd "$@"\n')
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ORCHD_CONFIG", os.devnull)
    monkeypatch.setenv("ORCHD_ADMIN_LISTEN", "127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "dumb")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("orchd sta", ["status", "start"]),
        ("sudo -u orchd /usr/bin/orchd vers", ["version"]),
        ("orchd --v", ["--version"]),
        ("orchd status --js", ["--json"]),
        ("orchd status --admin-listen ", []),
        ("orchd status ", ["llm/acme/chat:7b", "text-to-image/acme/paint"]),
        ("orchd status --json t", ["text-to-image/acme/paint"]),
        ("orchd status acme/", ["acme/chat:7b", "acme/paint"]),
        ("orchd status --config ", FILES),
        ("orchd status --config=", FILES),
        ("orchd check ", FILES),
        ("orchd run --models-file x", FILES),
        ("orchd run --log-level ", ["debug", "info", "warning", "error"]),
        ("orchd run --log-level=d", ["--log-level=debug"]),
        ("orchd run --docker-enabled ", ["false", "true"]),
        ("orchd demo --runtime d", ["docker"]),
        ("orchd help co", ["completion"]),
        ("orchd completion ", ["bash", "zsh", "fish"]),
        ("orchd nonsense ", [*COMMANDS]),
        ('orchd status "', []),
        ("orchd schema ", ()),
        ("orchd tickets ", ["show", "export", "reconcile", "rotate"]),
        ("orchd tickets --tail 5 re", ["reconcile"]),
        ("orchd tickets show ", []),
        ("orchd stop acme/paint --config x acme/c", ["acme/chat:7b"]),
    ],
)
def test_what_could_stand_there(line: str, found: list[str]) -> None:
    assert candidates(line) == found


def test_former_names_of_flags_are_not_offered() -> None:
    assert "--jobs-busy-poll-us" in candidates("orchd run --jobs-")
    assert "--jobs-look-us" not in candidates("orchd run --jobs-")


def test_models_are_those_of_the_running_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Daemon(tmp_path) as daemon:
        monkeypatch.setenv("ORCHD_ADMIN_LISTEN", daemon.listen)
        assert candidates("orchd status live") == ["live/video-to-video/green-tint-cpu"]


@pytest.mark.parametrize("broken", ["not json", '{"a": 1}', "[1, null]", ""])
def test_whatever_is_broken_there_is_no_error_at_the_prompt(
    broken: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "aiModels.json").write_text(broken)
    assert main(["completion", "bash", "--line=orchd status "]) == 0
    monkeypatch.setenv("ORCHD_ADMIN_LISTEN", "nonsense")
    assert main(["completion", "bash", "--line=orchd status "]) == 0
    monkeypatch.setenv("ORCHD_CONFIG", "/nowhere")
    assert main(["completion", "bash", "--line=orchd status "]) == 0
    assert capsys.readouterr() == ("", "")


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, argv: list[str], setup: str) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execvp(argv[0], argv)
        self.type(f"{setup}; PS1='> '; echo READY-$((1 + 1))\n")
        self.wait_for("READY-2")

    def type(self, text: str) -> None:
        self._seen = ""
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until the terminal shows it; fail if it never does, or the shell ends."""
        ends = time.monotonic() + PATIENCE_S
        while text not in self._seen:
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, ends - time.monotonic()))
            assert ready, f"it shows only {self._seen!r}"
            self._seen += os.read(self._terminal, 65536).decode(errors="replace")

    def close(self) -> None:
        os.close(self._terminal)  # It gets a hang-up.
        os.waitpid(self._pid, 0)


SHELLS = {
    "bash": (["bash", "--norc", "-i"], "source <(orchd completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(orchd completion zsh)"),
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    argv, setup = SHELLS[request.param]
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not here")
    found = Shell(argv, setup)
    yield found
    found.close()


def test_a_shell_completes_what_is_typed(shell: Shell, folder: Path) -> None:
    for typed, shown in (
        ("vers", "orchd version "),
        ("status tex", "orchd status text-to-image/acme/paint "),
        ("status llm/acme/chat:", "llm/acme/chat:7b "),
        ("run --log-level=de", "--log-level=debug "),
        ("check --config=aiM", "--config=aiModels.json "),
        ("check aiM", "check aiModels.json "),
    ):
        shell.type(f"\x15orchd {typed}\t")  # ^U: an empty line
        shell.wait_for(shown)
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("vers", {"version"}),
        ("status ", {"text-to-image/acme/paint", "llm/acme/chat:7b"}),
        ("status llm/acme/chat:", {"llm/acme/chat:7b"}),
        ("run --log-level=de", {"--log-level=debug"}),
        ("check --config=aiM", {"--config=aiModels.json"}),
        ("check aiM", {"aiModels.json"}),
    ],
)
def test_fish_completes_what_is_typed(typed: str, found: set[str], folder: Path) -> None:
    if not shutil.which("fish"):
        pytest.skip("fish is not here")
    script = f"orchd completion fish | source; complete -C 'orchd {typed}'"
    ran = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert {line.partition("\t")[0] for line in ran.stdout.splitlines()} == found
    assert (ran.stderr, (folder / "pwned").exists()) == ("", False)
