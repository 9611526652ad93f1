"""The lock of a state directory."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchd.errors import AlreadyRunning, Code, SettingsError
from orchd.locks import StateLock

HOLDER = """
import sys
from pathlib import Path
from orchd.locks import StateLock

StateLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_daemon_is_refused_naming_the_first(tmp_path: Path) -> None:
    first = StateLock(tmp_path)
    first.acquire()
    with pytest.raises(AlreadyRunning, match=rf"cannot use .*pid {os.getpid()}\) runs on it") as caught:
        StateLock(tmp_path).acquire()
    assert caught.value.code is Code.ALREADY_RUNNING
    first.release()


def test_it_can_be_taken_again_after_release(tmp_path: Path) -> None:
    for _ in range(2):
        lock = StateLock(tmp_path)
        lock.acquire()
        lock.release()


def test_a_full_disk_takes_nothing_but_the_holders_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    first = StateLock(tmp_path)
    first.acquire()
    with pytest.raises(AlreadyRunning, match=r"another orchd \(pid unknown\) runs on it"):
        StateLock(tmp_path).acquire()
    first.release()


def test_kill_9_lets_go_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid}"):
            StateLock(tmp_path).acquire()
        holder.send_signal(signal.SIGKILL)
    lock = StateLock(tmp_path)
    lock.acquire()
    lock.release()


def test_the_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "deep" / "state")
    lock.acquire()
    lock.release()
    assert stat.S_IMODE((tmp_path / "deep" / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "deep" / "state" / "lock").stat().st_mode) == 0o600


def test_a_directory_that_cannot_be_made_is_named_with_the_flag(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot use state directory .*/file/state: .*--state-dir"):
        StateLock(tmp_path / "file" / "state").acquire()


def test_children_do_not_inherit_it(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    lock.acquire()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        lock.release()
        again = StateLock(tmp_path)
        again.acquire()
        again.release()
        child.kill()


@pytest.mark.parametrize("folder", [True, False])
def test_a_lock_whose_file_was_removed_is_taken_again(tmp_path: Path, folder: bool) -> None:
    state_dir = tmp_path / "state"
    lock = StateLock(state_dir)
    lock.acquire()
    assert not lock.keep()
    shutil.rmtree(state_dir) if folder else (state_dir / "lock").unlink()
    assert lock.keep()
    assert not lock.keep()
    with pytest.raises(AlreadyRunning):
        StateLock(state_dir).acquire()
    lock.release()


def test_a_lock_that_another_daemon_took_meanwhile_is_not_taken_from_it(tmp_path: Path) -> None:
    lock, other = StateLock(tmp_path), StateLock(tmp_path)
    lock.acquire()
    (tmp_path / "lock").unlink()
    other.acquire()
    with pytest.raises(AlreadyRunning):
        lock.keep()
    other.release()
    lock.release()
