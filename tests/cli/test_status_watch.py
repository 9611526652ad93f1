"""`orchd status --watch` on a terminal: what is drawn, and that the screen is given back however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from http.server import HTTPServer
from pathlib import Path

import pytest

from orchd.cli.screen import ENTER, HOME, LEAVE
from orchd.domain.ids import ModelKey
from orchd.status_view import status
from orchd.text import cells
from tests.cli.answering import answering, serving
from tests.cli.test_commands import PATIENCE_S, Daemon
from tests.fakes.snapshots import snapshot
from tests.ports import free_port

GREEN = "live/video-to-video/green-tint-cpu"
WITH_THIS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "orchd", *sys.argv[1:]])
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


class Terminal:
    """A terminal of which the command is the foreground program, and all that was written to it."""

    def __init__(self) -> None:
        self._ours, self.theirs = os.openpty()
        self.resize(80, 24)
        self.written = ""
        self.ended = False

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def read(self) -> None:
        """Take what comes next; fails if nothing comes for long."""
        assert select.select([self._ours], [], [], PATIENCE_S)[0], (
            f"nothing more was written after {self.written[-2000:]!r}"
        )
        try:
            text = os.read(self._ours, 65536)
        except OSError:  # EIO: the command has ended
            text = b""
        self.ended = not text
        self.written += text.decode(errors="replace")

    def until(self, text: str, after: int = 0) -> int:
        """Read until `text` has been written, and return where what follows begins."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.written[after:]:
            assert not self.ended, f"it has ended before it wrote {text!r}: {self.written[-2000:]!r}"
            assert time.monotonic() < deadline, f"it did not write {text!r}: {self.written[-2000:]!r}"
            self.read()
        return self.written.index(text, after) + len(text)

    def rest(self) -> str:
        """Read until the command has ended, and return all."""
        while not self.ended:
            self.read()
        return self.written

    @property
    def frames(self) -> list[list[str]]:
        """What was drawn and is complete, as the lines that a person sees."""
        whole = [frame for frame in self.written.split(HOME)[1:] if frame.endswith("\x1b[J")]
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).split("\r\n") for frame in whole]

    def close(self) -> None:
        os.close(self._ours)


@contextmanager
def watched(listen: str, *words: str, term: str = "xterm") -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    terminal = Terminal()
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = subprocess.Popen(
        [sys.executable, "-c", WITH_THIS_TERMINAL, "status", *words, "--watch", "--admin-listen", listen],
        stdin=terminal.theirs,
        stdout=terminal.theirs,
        stderr=terminal.theirs,
        start_new_session=True,
        env={**env, "TERM": term},
    )
    os.close(terminal.theirs)
    try:
        yield terminal, command
    finally:
        command.kill()
        command.wait()
        terminal.close()


def test_it_is_drawn_in_the_alternate_screen_as_large_as_the_window(daemon: Daemon) -> None:
    with watched(daemon.listen) as (terminal, _):
        terminal.until("\x1b[J")
        assert terminal.written.startswith(ENTER)
        first, *_ = terminal.frames
        assert first[0].startswith("orchd 0.9.0")
        assert any(line.startswith(GREEN) for line in first)
        assert len(first) <= 24
        assert max(map(cells, first)) <= 80
        assert "\x1b[2J" not in terminal.written, "nothing is blank in between"


def test_on_a_terminal_that_knows_no_escape_sequences_what_changes_is_printed(daemon: Daemon) -> None:
    with watched(daemon.listen, term="dumb") as (terminal, _):
        terminal.until(": ready, sessions 1/4, replicas 1/1\r\n")
        assert "\x1b" not in terminal.written


def test_it_follows_what_happens_and_the_size_of_the_window(daemon: Daemon) -> None:
    one = daemon.snapshot.models[ModelKey("live/video-to-video", "green-tint-cpu")]
    many = {key: one for n in range(60) for key in [ModelKey("llm", f"m-{n}")]}
    shown = {key: replace(one, model=replace(one.model, key=key)) for key, one in many.items()}
    daemon.snapshot = replace(daemon.snapshot, problems=(), runtimes=(), models=shown)
    with watched(daemon.listen) as (terminal, _):
        end = terminal.until("more (")
        end = terminal.until("\x1b[J", end)
        assert len(terminal.frames[-1]) == 24
        assert re.fullmatch(r"\d+ more \(\d+ ready\); see `orchd status \| less`", terminal.frames[-1][-1])
        terminal.resize(100, 12)
        end = terminal.until("\x1b[J", terminal.until(HOME, end))
        while len(terminal.frames[-1]) != 12:
            end = terminal.until("\x1b[J", terminal.until(HOME, end))
        daemon.snapshot = snapshot()
        terminal.until("5 models", end)


def test_a_model_that_is_gone_is_waited_for(daemon: Daemon) -> None:
    taken = daemon.snapshot
    with watched(daemon.listen, GREEN) as (terminal, command):
        end = terminal.until("ready")
        daemon.snapshot = replace(taken, models={})
        end = terminal.until("No models", end)
        daemon.snapshot = taken
        terminal.until("ready", end)
        assert command.poll() is None


def served(port: int) -> AbstractContextManager[None]:
    """Serve `/status` of the sample snapshot."""
    body = json.dumps(status(snapshot())).encode()
    return serving(HTTPServer(("127.0.0.1", port), answering(200, body)))


def test_a_daemon_that_goes_away_and_comes_back_is_waited_for() -> None:
    port = free_port()
    with ExitStack() as first:
        first.enter_context(served(port))
        with watched(f"127.0.0.1:{port}") as (terminal, command):
            end = terminal.until("5 models")
            first.close()
            end = terminal.until("cannot reach orchd at ", end)
            with served(port):
                terminal.until("5 models", end)
                assert command.poll() is None


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)]
)
def test_however_it_ends_the_screen_is_given_back_and_nothing_is_said(
    daemon: Daemon, number: signal.Signals, code: int
) -> None:
    with watched(daemon.listen) as (terminal, command):
        terminal.until("\x1b[J")
        command.send_signal(number)
        written = terminal.rest()
        assert command.wait(PATIENCE_S) == code
    assert written.count(ENTER) == written.count(LEAVE) == 1
    assert written.endswith(LEAVE)


def test_ctrl_c_on_the_keyboard_ends_it(daemon: Daemon) -> None:
    with watched(daemon.listen) as (terminal, command):
        terminal.until("\x1b[J")
        terminal.press(b"\x03")
        assert terminal.rest().endswith(LEAVE)
        assert command.wait(PATIENCE_S) == 130


def test_what_ends_it_with_an_error_is_said_on_the_screen_of_before(daemon: Daemon) -> None:
    with watched(daemon.listen, "no-such-model") as (terminal, command):
        written = terminal.rest()
        assert command.wait(PATIENCE_S) == 2
    before, _, after = written.partition(LEAVE)
    assert "cannot find model" not in before
    assert after.startswith("orchd: cannot find model 'no-such-model'")


def test_while_it_is_stopped_by_the_keyboard_the_screen_is_the_shells(daemon: Daemon) -> None:
    with watched(daemon.listen) as (terminal, command):
        end = terminal.until("\x1b[J")
        command.send_signal(signal.SIGTSTP)  # It goes on at once: its shell, which would continue it, is not there.
        end = terminal.until(LEAVE, end)
        end = terminal.until(ENTER, end)
        terminal.until("\x1b[J", end)
