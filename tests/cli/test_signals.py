"""What each signal does, without a daemon; the real thing is in tests/e2e/test_signals.py."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchd.cli.signals import FAULTS, OTHER_FAULTS, Signals, handled, signal_name
from orchd.loops import fast_loop


class Daemon:
    def __init__(self) -> None:
        self.done: list[str] = []
        self.stopping = False

    def stop(self, why: str) -> None:
        self.done.append(f"stop: {why}")
        self.stopping = True

    def reload(self) -> None:
        self.done.append("reload")

    def waiting_for(self) -> str:
        return "a job"


async def after(*numbers: int) -> tuple[list[str], list[str]]:
    """Return what was done, and what was said, after these signals; `end` where it would have ended at once."""
    daemon = Daemon()
    signals = Signals(daemon, asyncio.get_running_loop(), lambda: daemon.done.append("end"))
    with capture_logs() as logs:
        for number in numbers:
            signals.arrived(number)
            await asyncio.sleep(0)
    return daemon.done, [f"{line['event']} {line['signal']}" for line in logs]


INT, TERM, QUIT, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP


@pytest.mark.parametrize(
    ("numbers", "done"),
    [
        ((HUP,), ["reload"]),
        ((TERM,), ["stop: SIGTERM"]),
        ((INT, INT), ["stop: SIGINT"]),
        ((INT, INT, INT), ["stop: SIGINT", "end"]),
        ((TERM, INT, INT), ["stop: SIGTERM", "end"]),
        ((TERM, TERM, TERM, TERM), ["stop: SIGTERM"]),
        ((QUIT, TERM, INT), ["stop: SIGQUIT"]),
        ((INT, HUP, INT, HUP), ["stop: SIGINT", "reload", "reload"]),
        ((signal.SIGUSR1, INT), ["stop: SIGINT"]),
    ],
)
async def test_only_a_third_ctrl_c_ends_it_at_once(numbers: tuple[int, ...], done: list[str]) -> None:
    assert (await after(*numbers))[0] == done


async def test_whatever_comes_while_it_stops_is_answered_with_what_it_waits_for() -> None:
    said = (await after(TERM, TERM, INT, signal.SIGUSR2))[1]
    assert said == ["still_stopping SIGTERM", "still_stopping SIGINT", "signal_ignored SIGUSR2"]


def test_all_signals_are_accounted_for() -> None:
    """Each that ends a program by default is handled or is a fault of its own; both Python's names and the nameless."""
    harmless = {"SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"}
    never_ours = {"SIGKILL", "SIGPIPE", "SIGXFSZ"}
    left = {signal_name(n) for n in signal.valid_signals() - {*handled(), *FAULTS, *OTHER_FAULTS}}
    assert left == harmless | never_ours
    assert all(signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGPIPE, signal.SIGXFSZ))
    assert signal_name(int(signal.SIGRTMIN) + 3) == "SIGRTMIN+3"


def in_a_child(folder: Path, *numbers: int) -> tuple[int, str]:
    """Install the handlers in a child and send it these signals; return how it ended, and its stderr."""
    said = folder / "said"
    if (pid := os.fork()) == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY), 2)
            sys.stderr = os.fdopen(2, "w")

            async def live() -> None:
                Signals(Daemon(), asyncio.get_running_loop()).install()
                for number in numbers:
                    os.kill(os.getpid(), number)

            asyncio.Runner(loop_factory=fast_loop()).run(live())
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said.read_text()


@pytest.mark.parametrize("number", [*FAULTS, *OTHER_FAULTS])
def test_a_fault_of_its_own_ends_it_and_says_where_it_was(tmp_path: Path, number: signal.Signals) -> None:
    code, said = in_a_child(tmp_path, number)
    assert code == -number
    assert 'test_signals.py", line' in said, said


def test_the_third_ctrl_c_ends_it_though_the_loop_does_not_turn(tmp_path: Path) -> None:
    """No await between the three: only Python's own handlers can see them."""
    code, said = in_a_child(tmp_path, INT, INT, INT)
    assert code == 130
    assert said.startswith("orchd: ends at once, at the third Ctrl-C; ")
    assert in_a_child(tmp_path, INT, INT)[0] == 0


@pytest.mark.parametrize("factory", [fast_loop(), asyncio.SelectorEventLoop])
def test_a_loop_that_sleeps_wakes_by_a_signal(factory: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever loop it is: the handlers are not the loop's own."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # pytest's fault handler stays as it is
    before = {number: signal.getsignal(number) for number in handled()}

    async def live() -> list[str]:
        daemon, woken = Daemon(), asyncio.Event()
        daemon.reload = woken.set  # type: ignore[method-assign]
        Signals(daemon, asyncio.get_running_loop()).install()
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), HUP)
        async with asyncio.timeout(30):
            await woken.wait()
        return daemon.done

    try:
        with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]
            assert runner.run(live()) == []
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


BURST = """
import os, signal, sys
from orchd.cli.signals import Signals, handled

class Nobody:
    stopping = False
    def call_soon_threadsafe(self, *args): pass

Signals(Nobody(), Nobody()).install()
ours = [number for number in handled() if number not in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)]
signal.pthread_sigmask(signal.SIG_BLOCK, ours)
for number in ours:
    os.kill(os.getpid(), number)
signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)  # All of them at once: each interrupts the handler of another.
print("alive")
"""


def test_all_signals_at_once_do_not_end_it() -> None:
    """Their handlers interrupt each other, on one stack."""
    done = subprocess.run([sys.executable, "-c", BURST], stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n")
