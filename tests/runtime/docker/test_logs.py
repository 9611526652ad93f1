"""Logs of containers on a real Docker Engine: as they were written, bounded, cut when nobody reads, and kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import LogConfig
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.runs import EndedRun, KeptRun, LogView
from orchd.errors import EngineUnavailable, LogGone
from orchd.runtime.docker.container_log import BUFFER, Demultiplexer, Pipe
from orchd.runtime.docker.runtime import DockerRuntime
from orchd.runtime.docker.settings import DockerSettings
from orchd.runtime.kept_logs import FOLDER, LOG_BYTES, KeptLogs
from orchd.runtime.log_files import PIECE
from tests.runtime.bench import Bench, eventually, runner_of

ALL = LogView()
FOLLOW = LogView(follow=True)


@pytest.fixture
async def bench(
    client: docker.APIClient, instance: str, network: str, image: str, tmp_path: Path
) -> AsyncIterator[Bench]:
    settings = DockerSettings(network=network)
    runtime = DockerRuntime(settings, instance=instance, state_dir=str(tmp_path))
    await runtime.open()
    yield Bench(client, instance, settings, image, runtime, lambda **_: runtime)
    await runtime.close()


def run_raw(bench: Bench, *argv: str, driver: str = "json-file", **more: Any) -> str:
    """Start a container of any kind; return its id."""
    host = bench.client.create_host_config(log_config=LogConfig(type=driver))
    made = bench.client.create_container(
        bench.image, [*argv], host_config=host, labels={"orchd.instance": bench.instance}, **more
    )
    bench.client.start(made["Id"])
    return str(made["Id"])


async def read(bench: Bench, handle: str, view: LogView = ALL) -> bytes:
    async with aclosing(bench.runtime.log(handle, view)) as pieces:
        return b"".join([piece async for piece in pieces])


def text_of(kept: KeptRun) -> bytes:
    return Path(kept.file).read_bytes()[kept.log_at :]


def python(code: str) -> tuple[str, ...]:
    return ("python3", "-u", "-c", f"import sys, time; out = sys.stdout.buffer\n{code}")


@pytest.mark.docker
@pytest.mark.parametrize("tty", [False, True])
async def test_a_log_is_as_it_was_written(bench: Bench, tty: bool) -> None:
    text = b"\x00\xff\xfe caf\xc3\xa9 \xc3"
    handle = run_raw(bench, *python(f"out.write({text!r} + b'x' * 100_000 + {text!r})"), tty=tty)
    bench.client.wait(handle)
    # The engine itself replaces what is not UTF-8 before it writes its file.
    wanted = (text + b"x" * 100_000 + text).decode(errors="replace").encode()
    assert await read(bench, handle) == wanted


@pytest.mark.docker
async def test_a_line_of_10_mb_comes_whole_and_in_bounded_pieces(bench: Bench) -> None:
    handle = run_raw(bench, *python("out.write(b'y' * 10_000_000 + b'\\nend')"))
    bench.client.wait(handle)
    async with aclosing(bench.runtime.log(handle, ALL)) as pieces:
        sizes, last = [], b""
        async for piece in pieces:
            sizes.append(len(piece))
            last = piece
    assert sum(sizes) == 10_000_004
    assert max(sizes) <= BUFFER + PIECE
    assert last.endswith(b"end")


@pytest.mark.docker
async def test_the_last_lines_and_those_since_a_time_can_be_asked_for(bench: Bench) -> None:
    handle = run_raw(bench, *python("print(1); print(2); time.sleep(2); print(3)"))
    bench.client.wait(handle)
    assert await read(bench, handle, LogView(tail=2)) == b"2\n3\n"
    assert await read(bench, handle, LogView(tail=0)) == b""
    written = bench.client.logs(handle, timestamps=True).decode().splitlines()
    second, third = [datetime.fromisoformat(f"{line[:26]}+00:00").timestamp() for line in written[1:]]
    assert await read(bench, handle, LogView(since=(second + third) / 2)) == b"3\n"


@pytest.mark.docker
async def test_a_log_is_followed_until_the_run_ends(bench: Bench) -> None:
    handle = run_raw(bench, "sh", "-c", "echo a; while [ ! -e /go ]; do sleep 0.05; done; echo b")
    seen = b""
    async with aclosing(bench.runtime.log(handle, FOLLOW)) as pieces:
        async for piece in pieces:
            if not seen:
                bench.client.exec_start(bench.client.exec_create(handle, ["touch", "/go"])["Id"])
            seen += piece
    assert seen == b"a\nb\n"


@pytest.mark.docker
async def test_who_leaves_cuts_the_engines_connection(bench: Bench) -> None:
    handle = run_raw(bench, "sh", "-c", "echo a; exec sleep 600")
    for _ in range(70):  # More than may be open at the same time.
        async with aclosing(bench.runtime.log(handle, FOLLOW)) as pieces:
            assert await anext(pieces) == b"a\n"
    await eventually(lambda: not bench.runtime._engine._logs._running)


@pytest.mark.docker
async def test_a_flood_that_nobody_reads_waits_in_the_engine(bench: Bench) -> None:
    handle = run_raw(bench, *python("[out.write(b'z' * 99 + b'\\n') for _ in range(60_000)]"))
    async with aclosing(bench.runtime.log(handle, FOLLOW)) as pieces:
        first = await anext(pieces)
        bench.client.wait(handle)
        second = await anext(pieces)
        assert max(len(first), len(second)) <= BUFFER + PIECE
        rest = [len(piece) async for piece in pieces]
    # An engine may end a follower that is this far behind when the container ends; its log is whole all the same.
    assert len(first) + len(second) + sum(rest) <= 6_000_000
    assert len(await read(bench, handle)) == 6_000_000


@pytest.mark.docker
async def test_several_follow_at_the_same_time(bench: Bench) -> None:
    handle = run_raw(bench, "sh", "-c", "echo a; sleep 1; echo b")
    assert await asyncio.gather(*[read(bench, handle, FOLLOW) for _ in range(20)]) == [b"a\nb\n"] * 20


@pytest.mark.docker
async def test_a_log_driver_that_cannot_be_read_is_named(bench: Bench) -> None:
    handle = run_raw(bench, "echo", "a", driver="none")
    with pytest.raises(EngineUnavailable, match="Docker's log driver 'none', which it was made with, can't be read"):
        await read(bench, handle)


@pytest.mark.docker
async def test_one_that_is_gone_is_said_to_be_gone(bench: Bench) -> None:
    with pytest.raises(LogGone, match="it was removed"):
        await read(bench, "0" * 64)


@pytest.mark.docker
async def test_an_engine_that_is_away_is_said_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such.sock")
    runtime = DockerRuntime(DockerSettings(), instance="t", state_dir="/")
    with pytest.raises(EngineUnavailable):
        async with aclosing(runtime.log("0" * 64, ALL)) as pieces:
            await anext(pieces)
    await runtime.keep_log("0" * 64, EndedRun(runner_of(bench.model()), 1.0, "x"), ())


@pytest.mark.docker
async def test_the_last_of_a_log_is_kept_without_secrets(bench: Bench, tmp_path: Path) -> None:
    wanted = bench.model(args=python("[print('line %07d' % n) for n in range(200_000)]; print('it is hunter2.')"))
    handle = await bench.prepare(wanted)
    run = EndedRun(runner_of(wanted), 1000.0, "it exited with code 0")
    await bench.runtime.keep_log(handle, run, ("hunter2",))
    kept = KeptLogs(tmp_path / FOLDER)
    assert kept.runs(wanted.key) == []  # It never ran.
    bench.client.start(handle)
    bench.client.wait(handle)
    await bench.runtime.keep_log(handle, run, ("hunter2",))
    [found] = kept.runs(wanted.key)
    assert found.run == run
    text = text_of(found)
    assert text.endswith(b"line 0199999\nit is ***.\n")
    assert 100_000 < len(text) <= LOG_BYTES


@given(
    st.lists(st.tuples(st.integers(1, 2), st.binary(max_size=20)), max_size=8),
    st.lists(st.integers(0, 200), max_size=9),
)
def test_frames_may_be_cut_anywhere(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    sent = b"".join(bytes((kind, 0, 0, 0)) + len(text).to_bytes(4) + text for kind, text in frames)
    places = [0, *sorted(cut % (len(sent) + 1) for cut in cuts), len(sent)]
    demultiplexer = Demultiplexer()
    found = b"".join(demultiplexer.feed(sent[a:b]) for a, b in pairwise(places))
    assert found == b"".join(text for _, text in frames)


async def test_a_pipe_gives_all_that_was_put_before_its_end() -> None:
    pipe = Pipe(most=10)
    took: list[bool] = []
    loop = asyncio.get_running_loop()

    def put() -> None:
        took.extend(pipe.put(b"%03d" % n) for n in range(100))
        loop.call_soon_threadsafe(pipe.end)

    threading.Thread(target=put).start()
    found = []
    while piece := await pipe.get():
        assert len(piece) <= 12
        found.append(piece)
    assert b"".join(found) == b"".join(b"%03d" % n for n in range(100))
    assert (await pipe.get(), all(took)) == (b"", True)


async def test_a_pipe_that_is_closed_lets_its_thread_go() -> None:
    pipe = Pipe(most=10)
    full = threading.Event()
    took: list[bool] = []

    def put() -> None:
        pipe.put(b"x" * 10)
        full.set()
        took.append(pipe.put(b"y"))

    thread = threading.Thread(target=put)
    thread.start()
    await asyncio.to_thread(full.wait)
    pipe.close()
    await asyncio.to_thread(thread.join)
    assert took == [False]
