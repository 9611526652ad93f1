"""Logs of runs that have ended: whole or not at all, for their owner alone, and never too many."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import tempfile
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.runs import EndedRun
from orchd.runtime import kept_logs
from orchd.runtime.keep import LogKeeper
from orchd.runtime.kept_logs import FOLDER, LOG_BYTES, KeptLogs

KEY = ModelKey("llm", "org/a")


def run_of(replica: int = 0, at: float = 1000.0, key: ModelKey = KEY, generation: str = "0123456789ab") -> EndedRun:
    return EndedRun(RunnerId(key, replica, generation), at, "it exited with code 3")


def logs_of(kept: KeptLogs, key: ModelKey = KEY) -> list[bytes]:
    return [Path(run.file).read_bytes()[run.log_at :] for run in kept.runs(key)]


def test_what_is_kept_is_found_again_as_it_was(tmp_path: Path) -> None:
    kept = KeptLogs(tmp_path / "a" / "logs")
    assert kept.runs(KEY) == []
    run = run_of(key=ModelKey("ünï", 'côdé "1"\n{}'))
    kept.keep(run, b"\xff\x00 half a line")
    [found] = kept.runs(run.runner.key)
    assert found.run == run
    assert logs_of(kept, run.runner.key) == [b"\xff\x00 half a line"]
    assert kept.models() == {run.runner.key}


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        KeptLogs(tmp_path / "logs").keep(run_of(), b"x")
    finally:
        os.umask(before)
    [file] = (tmp_path / "logs").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_clock_that_was_set_back_does_not_change_the_order(tmp_path: Path) -> None:
    kept = KeptLogs(tmp_path)
    kept.keep(run_of(at=2000.0), b"first")
    kept.keep(run_of(at=1000.0), b"second")
    assert logs_of(kept) == [b"first", b"second"]
    assert kept.newest(KEY, 0) == kept.runs(KEY)[-1].number
    assert kept.newest(KEY, 1) == 0


Run = tuple[int, int, int]
"""Model, replica, size."""


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 300)), max_size=30))
def test_the_bounds_hold_and_the_newest_is_always_there(runs: list[Run]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept = KeptLogs(Path(folder), per_replica=2, all_bytes=1500, all_files=6)
        for at, (model, replica, size) in enumerate(runs):
            key = ModelKey("p", f"m{model}")
            kept.keep(run_of(replica, 1000.0 + at, key), b"x" * size)
            files = [*Path(folder).iterdir()]
            sizes = [file.stat().st_size for file in files]
            assert len(files) <= 6
            assert sum(sizes) <= 1500
            of_replica = [run for run in kept.runs(key) if run.run.runner.replica == replica]
            assert len(of_replica) <= 2
            assert of_replica[-1].run.ended_at == 1000.0 + at
            assert Path(of_replica[-1].file).stat().st_size == of_replica[-1].log_at + size


def test_of_several_the_oldest_goes_first(tmp_path: Path) -> None:
    kept = KeptLogs(tmp_path, per_replica=2)
    for at in range(4):
        kept.keep(run_of(at=1000.0 + at), b"%d" % at)
    assert logs_of(kept) == [b"2", b"3"]


def test_what_a_kill_has_left_half_written_is_no_log_and_goes(tmp_path: Path) -> None:
    kept = KeptLogs(tmp_path)
    kept.keep(run_of(), b"whole")
    [whole] = tmp_path.iterdir()
    half = whole.with_suffix(".new")
    half.write_bytes(whole.read_bytes()[:10])
    assert logs_of(kept) == [b"whole"]
    kept.keep(run_of(at=1001.0), b"next")
    assert not half.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]\n", b'{"runner": ["llm", "org/a", 1, "x"]}\n', b"\xff\n", b"[" * 9999]
)
def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path, content: bytes) -> None:
    kept = KeptLogs(tmp_path)
    kept.keep(run_of(), b"good")
    (tmp_path / f"{KEY.slug}-0.000000000000001.log").write_bytes(content)
    assert logs_of(kept) == [b"good"]


@pytest.mark.parametrize("ended_at", ["NaN", "1e300", "Infinity"])
def test_a_run_that_ended_at_no_time_is_left_out(tmp_path: Path, ended_at: str) -> None:
    kept = KeptLogs(tmp_path)
    kept.keep(run_of(), b"x")
    [file] = tmp_path.iterdir()
    file.write_text(file.read_text().replace("1000.0", ended_at))
    assert kept.runs(KEY) == []


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    kept = KeptLogs(tmp_path, per_replica=1)
    loop, folder = (tmp_path / f"{KEY.slug}-0.00000000000000{number}.log" for number in (1, 2))
    loop.symlink_to(loop)
    folder.mkdir()
    for log in (b"a", b"b"):
        kept.keep(run_of(), log)
    assert logs_of(kept) == [b"b"]
    assert loop.is_symlink()
    assert folder.is_dir()


async def pieces(*texts: bytes) -> AsyncGenerator[bytes, None]:
    for text in texts:
        yield text


async def test_the_last_of_a_flood_is_kept_beginning_with_a_whole_line(tmp_path: Path) -> None:
    keeper = LogKeeper(tmp_path)
    lines = [b"line %07d\n" % n for n in range(1_000_000)]
    assert await keeper.keep(run_of(), (), pieces(*(b"".join(lines[at : at + 5000]) for at in range(0, 10**6, 5000))))
    [log] = logs_of(KeptLogs(tmp_path / FOLDER))
    assert LOG_BYTES - 20 < len(log) <= LOG_BYTES
    assert log.startswith(b"line ")
    assert log.endswith(lines[-1])
    keeper.close()


async def test_a_huge_line_is_cut_to_its_end(tmp_path: Path) -> None:
    keeper = LogKeeper(tmp_path)
    assert await keeper.keep(run_of(), (), pieces(*[b"x" * 2**20] * 10, b"end"))
    [log] = logs_of(KeptLogs(tmp_path / FOLDER))
    assert len(log) == LOG_BYTES
    assert log.endswith(b"xend")
    keeper.close()


async def test_secrets_are_not_kept_even_where_they_lie_across_two_pieces(tmp_path: Path) -> None:
    keeper = LogKeeper(tmp_path)
    assert await keeper.keep(run_of(), ("hunter2-hunter2",), pieces(b"it is hunter2-h", b"unter2.\n", b"hunter2-hun"))
    assert logs_of(KeptLogs(tmp_path / FOLDER)) == [b"it is ***.\n***"]
    keeper.close()


async def test_a_full_disk_loses_the_log_and_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_logs, "ROOM_BYTES", 2**62)
    keeper = LogKeeper(tmp_path)
    with capture_logs() as said:
        assert not await keeper.keep(run_of(), (), pieces(b"x"))
    assert [(entry["event"], entry["error"]) for entry in said] == [("ended_log_not_kept", os.strerror(errno.ENOSPC))]
    assert [*(tmp_path / FOLDER).iterdir()] == []
    keeper.close()


async def test_a_source_that_hangs_holds_nothing_up(tmp_path: Path) -> None:
    async def hung() -> AsyncGenerator[bytes, None]:
        yield b"x"
        await asyncio.Event().wait()

    keeper = LogKeeper(tmp_path, timeout_s=0.01)
    with capture_logs() as said:
        assert not await keeper.keep(run_of(), (), hung())
    assert [entry["event"] for entry in said] == ["ended_log_not_kept"]
    keeper.close()


async def test_a_disk_that_hangs_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(KeptLogs, "keep", lambda *_: never.wait())
    keeper = LogKeeper(tmp_path, timeout_s=0.01)
    try:
        with capture_logs() as said:
            for _ in range(3):  # The second does not even wait: the thread is stuck.
                assert not await keeper.keep(run_of(), (), pieces(b"x"))
        assert [entry["event"] for entry in said] == ["ended_log_not_kept"] * 3
    finally:
        never.set()
        keeper.close()
