"""The file on a real file system: however it changes, its content is noticed; never anything else, never a crash."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from orchd.catalog import files
from orchd.catalog.files import Content, host_lacks, mounted_alone, read_models_file, side_reader
from orchd.catalog.parse import MAX_BYTES
from orchd.catalog.reload import read_file
from orchd.catalog.watch import ModelsFile, Places
from orchd.domain.state import Problem, Severity
from orchd.errors import Code
from orchd.mounts import Mount

NEVER_S = 3600.0
"""A poll that does not come within the test: what is noticed was reported."""
AT_MOST_S = 20.0


class Follower:
    """Takes what `changes` yields, one after another."""

    def __init__(self, file: ModelsFile) -> None:
        self.file = file
        self.stream = file.changes()

    async def until(self, wanted: bytes | Code) -> None:
        """Wait until the file was seen with this content, or unreadable for this reason."""
        async with asyncio.timeout(AT_MOST_S):
            async for seen in self.stream:
                if (seen.data if isinstance(seen, Content) else seen.code) == wanted:
                    return
        raise AssertionError("the stream ended")


@pytest.fixture(params=["inotify", "poll"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> ModelsFile:
    """The file of a folder that may not be there yet, by each of the two ways to notice a change."""
    path = tmp_path / "conf" / "aiModels.json"
    return ModelsFile(path, NEVER_S) if request.param == "inotify" else ModelsFile(path, 0.02, silent)


async def silent(_: Places) -> AsyncIterator[object]:
    await asyncio.Event().wait()
    yield None


async def watched(file: ModelsFile, content: bytes | None = b"one") -> Follower:
    """Return a follower that is past the first content, so that each later one is a change."""
    if content is not None:
        file.path.parent.mkdir(exist_ok=True)
        file.path.write_bytes(content)
    follower = Follower(file)
    await follower.until(content if content is not None else Code.FILE_UNREADABLE)
    return follower


async def test_an_in_place_write_is_noticed(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        file.path.write_bytes(b"two")
        await follower.until(b"two")


async def test_it_is_given_again_on_request_though_nothing_changed(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        file.again()
        await follower.until(b"one")
        file.again()
        await follower.until(b"one")


async def test_an_atomic_rename_is_noticed(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        for content in (b"two", b"three"):
            new = file.path.with_suffix(".tmp")
            new.write_bytes(content)
            new.replace(file.path)
            await follower.until(content)


async def test_torn_writes_end_in_the_whole_content(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        with file.path.open("wb", buffering=0) as out:
            for piece in (b"tw", b"o-an", b"d-more"):
                out.write(piece)
                await asyncio.sleep(0)
        await follower.until(b"two-and-more")


async def test_a_symlink_swap_is_noticed(file: ModelsFile) -> None:
    folder = file.path.parent
    folder.mkdir()
    for name in ("v1", "v2"):
        (folder / name).write_bytes(name.encode())
    file.path.symlink_to("v1")
    follower = Follower(file)
    async with aclosing(follower.stream):
        await follower.until(b"v1")
        (folder / "new").symlink_to("v2")
        (folder / "new").replace(file.path)
        await follower.until(b"v2")
        (folder / "v2").write_bytes(b"edited behind the link")
        await follower.until(b"edited behind the link")


async def test_a_swap_two_links_away_is_noticed(file: ModelsFile) -> None:
    """As Kubernetes mounts a ConfigMap: aiModels.json -> ..data/aiModels.json, ..data -> ..2024_1."""
    folder = file.path.parent
    for name in ("..2024_1", "..2024_2"):
        (folder / name).mkdir(parents=True)
        (folder / name / file.path.name).write_bytes(name.encode())
    (folder / "..data").symlink_to("..2024_1")
    file.path.symlink_to(f"..data/{file.path.name}")
    follower = Follower(file)
    async with aclosing(follower.stream):
        await follower.until(b"..2024_1")
        (folder / "..data_tmp").symlink_to("..2024_2")
        (folder / "..data_tmp").replace(folder / "..data")
        await follower.until(b"..2024_2")


async def test_delete_and_re_create_are_noticed(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        file.path.unlink()
        await follower.until(Code.FILE_UNREADABLE)
        file.path.write_bytes(b"two")
        await follower.until(b"two")


async def test_a_folder_that_appears_later_is_noticed(file: ModelsFile) -> None:
    follower = await watched(file, content=None)
    async with aclosing(follower.stream):
        file.path.parent.mkdir()
        file.path.write_bytes(b"late")
        await follower.until(b"late")


async def test_a_folder_that_goes_and_comes_back_is_noticed(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        file.path.unlink()
        file.path.parent.rmdir()
        await follower.until(Code.FILE_UNREADABLE)
        file.path.parent.mkdir()
        file.path.write_bytes(b"back")
        await follower.until(b"back")


async def test_a_folder_replaced_by_another_is_noticed(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        file.path.parent.rename(file.path.parent.with_name("old"))
        file.path.parent.mkdir()
        file.path.write_bytes(b"other")
        await follower.until(b"other")


async def test_a_folder_in_place_of_the_file_is_a_problem_and_passes(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        file.path.unlink()
        file.path.mkdir()
        await follower.until(Code.FILE_UNREADABLE)
        file.path.rmdir()
        file.path.write_bytes(b"two")
        await follower.until(b"two")


async def test_ten_megabytes_of_garbage_pass_by(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        file.path.write_bytes(b"\xff{" * 5_000_000)
        await follower.until(Code.FILE_UNREADABLE)
        file.path.write_bytes(b"two")
        await follower.until(b"two")


async def test_only_changes_of_content_are_told(file: ModelsFile) -> None:
    follower = await watched(file)
    async with aclosing(follower.stream):
        file.path.touch()
        file.path.write_bytes(b"one")
        (file.path.parent / "other.json").write_bytes(b"x")
        file.path.write_bytes(b"two")
        async with asyncio.timeout(AT_MOST_S):
            seen = await anext(follower.stream)
        # In between it may have been seen empty, as a write in place leaves it for a moment.
        while isinstance(seen, Content) and seen.data in (b"", b"one"):
            seen = await anext(follower.stream)
        assert seen == Content(b"two")


async def test_what_was_read_before_is_no_change(file: ModelsFile) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(b"one")
    assert await file.read() == Content(b"one")
    file.path.write_bytes(b"two")
    follower = Follower(file)
    async with aclosing(follower.stream), asyncio.timeout(AT_MOST_S):
        assert await anext(follower.stream) == Content(b"two")


async def test_a_watcher_that_fails_leaves_the_polling(tmp_path: Path) -> None:
    async def broken(_: Places) -> AsyncIterator[object]:
        raise OSError(28, "inotify watch limit reached")
        yield None

    follower = await watched(ModelsFile(tmp_path / "aiModels.json", 0.02, broken))
    async with aclosing(follower.stream):
        follower.file.path.write_bytes(b"two")
        await follower.until(b"two")


@pytest.mark.parametrize("name", ["loop", "pipe", "no/such/folder", "file/below", "nul\0", "x" * 300, ".."])
def test_whatever_stands_there_is_a_problem_and_no_crash(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    problem = read_models_file(tmp_path / name)
    assert isinstance(problem, Problem)
    assert problem.message.startswith("cannot read")


@pytest.mark.parametrize("name", ["loop/x", "loop", "nul\0", "x" * 300])
async def test_whatever_stands_there_can_be_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    follower = Follower(ModelsFile(tmp_path / name, NEVER_S))
    async with aclosing(follower.stream):
        await follower.until(Code.FILE_UNREADABLE)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    """A terabyte with a hole in it: reading it would not end within anybody's memory."""
    path = tmp_path / "huge"
    with path.open("wb") as out:
        out.truncate(2**40)
    problem = read_models_file(path)
    assert isinstance(problem, Problem)
    assert "larger than 4 MiB" in problem.message
    path.write_bytes(b" " * MAX_BYTES)
    assert isinstance(read_models_file(path), Content)


def test_who_else_can_read_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    for mode, others in ((0o644, True), (0o640, False), (0o600, False)):
        path.chmod(mode)
        content = read_models_file(path)
        assert isinstance(content, Content)
        assert content.readable_by_others is others


def test_named_files_are_found_among_the_credentials_first(tmp_path: Path) -> None:
    folder, credentials = tmp_path / "conf", tmp_path / "cred"
    for place in (folder, credentials):
        place.mkdir()
        (place / "both").write_text(place.name)
    (folder / "one").write_text("conf")
    read = side_reader(folder, credentials)
    assert (read("both"), read("one")) == ("cred", "conf")
    assert side_reader(folder, None)("both") == "conf"
    assert read(str(folder / "both")) == "conf"
    for name in ("none", "..", "nul\0"):
        with pytest.raises(OSError):  # noqa: PT011 - any of its kind
            read(name)
    (folder / "latin").write_bytes(b"\xe9")
    with pytest.raises(ValueError, match="utf-8"):
        read("latin")


def test_what_the_host_lacks_is_known_where_its_files_are_ours(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    (tmp_path / "link").symlink_to("gone/too")
    lacks = host_lacks({}, contained=False)
    assert lacks(str(tmp_path / "there")) is None
    assert lacks(str(tmp_path)) is None
    assert lacks(str(tmp_path / "no" / "x")) == str(tmp_path / "no" / "x")
    assert lacks(str(tmp_path / "there" / "x")) == str(tmp_path / "there" / "x")
    assert lacks(str(tmp_path / "link")) == str(tmp_path / "gone" / "too")
    assert host_lacks({"DOCKER_HOST": "unix:///run/docker.sock"}, contained=False)("/no/x") == "/no/x"
    for env, contained in (({}, True), ({"DOCKER_HOST": "tcp://h:2375"}, False), ({"DOCKER_HOST": "ssh://h"}, False)):
        assert host_lacks(env, contained=contained)("/no/x") is None


def test_a_file_that_is_mounted_by_itself_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "aiModels.json"
    path.write_text("[]")
    (tmp_path / "link").symlink_to(path)
    assert mounted_alone(path) is None
    alone = Mount("/srv/aiModels.json", str(path), "ext4")
    monkeypatch.setattr(files, "read_mounts", lambda: (Mount("/", "/", "ext4"), alone))
    for name in (path, tmp_path / "link"):
        problem = mounted_alone(name)
        assert problem
        assert problem.severity is Severity.WARNING
        assert "mount the folder" in problem.message
        assert read_file(name, None, strict=False).problems == (problem,)
    assert mounted_alone(tmp_path / "other") is None
