"""Commands write to whatever they are given: an encoding without our characters, a reader who leaves, no rights."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchd.cli import main
from orchd.settings import files as settings_files
from tests.catalog.helpers import entry

MODELS = [entry(model_id=f"日本/モデル-{number}", price_per_unit=0.1, currency="USD") for number in range(200)]


@pytest.fixture
def models_file(tmp_path: Path) -> str:
    path = tmp_path / "aiModels.json"
    path.write_text(json.dumps([*MODELS, entry(replicas=0)]))
    return str(path)


def command(name: str, models_file: str) -> tuple[list[str], int]:
    """Return a command that needs no daemon, and its exit code."""
    return {
        "check": (["check", models_file], 1),
        "price": (["price", "--models-file", models_file], 1),
        "schema": (["schema"], 0),
        "help": (["run", "--help"], 0),
    }[name]


def outcome(args: list[str]) -> int:
    """Return the exit code, as the program would end with it."""
    try:
        return main(args)
    except SystemExit as end:
        return int(end.code or 0)


COMMANDS = ["check", "price", "schema", "help"]


@pytest.mark.parametrize("name", COMMANDS)
def test_any_encoding_is_fine(models_file: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    args, code = command(name, models_file)
    assert outcome(args) == code
    out = sys.stdout.buffer.getvalue()  # type: ignore[union-attr]
    assert out.isascii()
    if name == "price":
        assert b" -  " in out
        assert rb"\u65e5" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_who_leaves_is_fine_and_changes_no_exit_code(
    models_file: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        args, code = command(name, models_file)
        assert outcome(args) == code


def test_a_real_pipe_that_breaks_leaves_no_word_behind(models_file: str) -> None:
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    args = [sys.executable, "-m", "orchd", "check", models_file]
    with subprocess.Popen(args, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


def test_a_full_disk_is_no_traceback(models_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for args in (["check", models_file], ["price", "--models-file", models_file], ["schema"], ["demo"]):
        err = io.StringIO()
        with Path("/dev/full").open("w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            monkeypatch.setattr(sys, "stderr", err)
            assert outcome(args) == 2
            assert "No space left on device" in err.getvalue()
            assert "Errno" not in err.getvalue()


def test_a_closed_stream_is_fine(models_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert outcome(["check", models_file]) == 1
    sys.stdout.close()
    sys.stderr.close()


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may read anything: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder as /etc/orchd is with mode 0750 for a user who is not of its group."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "orchd.toml").touch()
    (folder / "aiModels.json").write_text("[]")
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize("command", [["check", "f.json"], ["price"], ["status"], ["run"], ["down"], ["restart", "x"]])
def test_a_settings_folder_that_is_closed_to_us_is_named_with_the_way_out(
    closed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str], nobody: None
) -> None:
    monkeypatch.setattr(settings_files, "CONFIG_FILE", closed / "orchd.toml")
    monkeypatch.delenv("ORCHD_CONFIG", raising=False)
    assert main(command) == 2
    err = capsys.readouterr().err
    assert f"{closed}/orchd.toml: Permission denied" in err
    assert "--config PATH" in err
    assert main([*command, "--config", str(closed / "orchd.toml")]) == 2
    assert f"cannot read settings file {closed}/orchd.toml: Permission denied" in capsys.readouterr().err


def test_a_models_file_that_is_closed_to_us_is_named(
    closed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nobody: None
) -> None:
    monkeypatch.setattr(settings_files, "CONFIG_FILE", Path("/no/such/file"))
    file = str(closed / "aiModels.json")
    assert main(["check", file]) == 1
    assert f"{file}: cannot read the file: Permission denied (as user {os.geteuid()}" in capsys.readouterr().out
    assert main(["price", "--models-file", file]) == 1
    assert file in capsys.readouterr().err


def test_a_state_directory_that_is_closed_to_us_is_no_error(
    closed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nobody: None
) -> None:
    """What a daemon has kept is only a help to `orchd check`."""
    monkeypatch.setattr(settings_files, "CONFIG_FILE", Path("/no/such/file"))
    monkeypatch.setenv("ORCHD_STATE_DIR", str(closed))
    assert main(["check", str(closed / "aiModels.json")]) == 1
    assert "aiModels.json: cannot read the file" in capsys.readouterr().out


def test_nobody_needs_rights_for_the_schema(
    closed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nobody: None
) -> None:
    monkeypatch.setattr(settings_files, "CONFIG_FILE", closed / "orchd.toml")
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)
