"""Calls that block have threads of their own: one that hangs keeps neither other calls nor the exit waiting."""

import asyncio
import contextvars
import subprocess
import sys
import threading
from functools import partial

import pytest

from orchd.tasks import spawn
from orchd.threads import DaemonThreads

HANGS = """
import asyncio, threading
from orchd.threads import DaemonThreads

async def main():
    try:
        await DaemonThreads("driver").run(threading.Event().wait, 0.01)
    except TimeoutError:
        print("gave up", flush=True)

asyncio.run(main())
"""


class Gate:
    """A call that blocks until it is opened, and counts."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.calls = 0

    def pass_through(self) -> int:
        self.calls += 1
        self.entered.release()
        self.open.wait()
        return self.calls

    async def is_entered(self) -> None:
        await asyncio.to_thread(self.entered.acquire)


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def test_returns_what_the_call_returns_and_raises_what_it_raises() -> None:
    threads = DaemonThreads("test")
    assert await threads.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="cannot finish the call: it raised StopIteration"):
        await threads.run(lambda: next(iter(())))
    assert await threads.run(lambda: 8) == 8  # the thread has survived


async def test_the_call_sees_the_callers_context_and_runs_on_a_named_daemon_thread() -> None:
    name = contextvars.ContextVar("name", default="")
    name.set("caller")
    seen, thread = await DaemonThreads("driver").run(lambda: (name.get(), threading.current_thread()))
    assert (seen, thread.name, thread.daemon) == ("caller", "driver-1", True)


async def test_one_at_a_time_in_order(gate: Gate) -> None:
    threads = DaemonThreads("test")
    order: list[str] = []
    first = spawn(threads.run(gate.pass_through), name="call")
    await gate.is_entered()
    others = [spawn(threads.run(partial(order.append, name)), name="call") for name in "abc"]
    await asyncio.sleep(0)
    assert order == []
    gate.open.set()
    await asyncio.gather(first, *others)
    assert order == ["a", "b", "c"]


async def test_as_many_at_once_as_it_is_given_threads(gate: Gate) -> None:
    threads = DaemonThreads("test", most=2)
    running = [spawn(threads.run(gate.pass_through), name="call") for _ in range(3)]
    await gate.is_entered()
    await gate.is_entered()
    assert gate.calls == 2
    gate.open.set()
    await asyncio.gather(*running)
    assert gate.calls == 3


async def test_a_hung_call_is_given_up_and_the_next_caller_told_at_once(gate: Gate) -> None:
    threads = DaemonThreads("test")
    with pytest.raises(TimeoutError):
        await threads.run(gate.pass_through, 0.01)
    assert threads.stuck
    with pytest.raises(TimeoutError):
        await threads.run(gate.pass_through, 1e9)  # at once, or the test would hang
    assert gate.calls == 1  # nothing has piled up behind it


async def test_threads_that_come_back_are_used_again(gate: Gate) -> None:
    threads = DaemonThreads("test")
    with pytest.raises(TimeoutError):
        await threads.run(gate.pass_through, 0.01)
    gate.open.set()
    assert await threads.run(lambda: "works") == "works"  # without a timeout it waits for its turn
    assert not threads.stuck


async def test_a_hung_call_holds_up_only_its_own_purpose(gate: Gate) -> None:
    with pytest.raises(TimeoutError):
        await DaemonThreads("driver").run(gate.pass_through, 0.01)
    assert await DaemonThreads("disk").run(lambda: 7, 1e9) == 7


async def test_a_timeout_of_the_call_itself_is_not_a_hang() -> None:
    threads = DaemonThreads("test")

    def times_out() -> None:
        raise TimeoutError("the engine's")

    with pytest.raises(TimeoutError, match="the engine's"):
        await threads.run(times_out, 1e9)
    assert await threads.run(lambda: 7, 1e9) == 7


async def test_a_call_that_was_given_up_before_it_began_is_never_made(gate: Gate) -> None:
    threads = DaemonThreads("test")
    first = spawn(threads.run(gate.pass_through), name="call")
    await gate.is_entered()
    second = spawn(threads.run(gate.pass_through), name="call")
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.open.set()
    await first
    await threads.run(lambda: None)
    assert gate.calls == 1


async def test_a_cancelled_call_does_not_count_as_hung(gate: Gate) -> None:
    threads = DaemonThreads("test")
    call = spawn(threads.run(gate.pass_through), name="call")
    await gate.is_entered()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not threads.stuck
    gate.open.set()
    assert await threads.run(lambda: 7, 1e9) == 7


async def test_close_waits_for_nobody(gate: Gate) -> None:
    threads = DaemonThreads("test")
    hangs = spawn(threads.run(gate.pass_through), name="call")
    await gate.is_entered()
    waits = spawn(threads.run(lambda: 7), name="call")
    await asyncio.sleep(0)
    threads.close()
    with pytest.raises(asyncio.CancelledError):
        await waits
    with pytest.raises(RuntimeError, match="closed"):
        await threads.run(lambda: 7)
    gate.open.set()
    assert await hangs == 1


def test_a_call_that_never_returns_does_not_keep_the_process_from_ending() -> None:
    child = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60)
    assert (child.returncode, child.stdout) == (0, "gave up\n")
