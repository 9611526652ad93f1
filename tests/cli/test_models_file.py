"""`orchd check` and `orchd price` find the service's models file, and say which one they read and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchd.cli import main, models_file
from orchd.settings import files
from tests.catalog.helpers import entry


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is `/etc/orchd` here; the working directory is another one."""
    etc, here = tmp_path / "etc", tmp_path / "here"
    etc.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("ORCHD_CONFIG", raising=False)
    monkeypatch.delenv("ORCHD_MODELS_FILE", raising=False)
    monkeypatch.setenv("ORCHD_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(files, "CONFIG_FILE", etc / "orchd.toml")
    monkeypatch.setattr(models_file, "SERVICE_FILE", etc / "aiModels.json")
    return etc


def models(path: Path, name: str) -> None:
    path.write_text(json.dumps([entry(model_id=name)]))


def read(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> tuple[str, str]:
    """Return what was read (its models, as text) and what was said of it."""
    main([command, *words])
    said = capsys.readouterr()
    return said.out, said.err


@pytest.mark.parametrize("command", ["check", "price"])
def test_the_settings_file_of_the_service_names_it(command: str, etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (etc / "orchd.toml").write_text("\nmodels_file = 'm/models.json'\n")
    (etc / "m").mkdir()
    models(etc / "m/models.json", "org/service")
    models(etc.parent / "here/aiModels.json", "org/here")
    out, err = read(capsys, command)
    assert "org/service" in out
    assert err == f"orchd: reading {etc}/m/models.json, as {etc}/orchd.toml:2 says\n"


@pytest.mark.parametrize("command", ["check", "price"])
def test_without_a_setting_it_is_the_one_here_or_else_the_services(
    command: str, etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models(etc / "aiModels.json", "org/service")
    out, err = read(capsys, command)
    assert "org/service" in out
    assert (
        err == f"orchd: reading {etc}/aiModels.json, where the service has it; there is none in the working directory\n"
    )
    models(etc.parent / "here/aiModels.json", "org/here")
    out, err = read(capsys, command)
    assert "org/here" in out
    assert err == "orchd: reading aiModels.json, in the working directory\n"


def test_where_there_is_none_both_places_are_named(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = read(capsys, "check")
    assert "cannot read the file" in out
    assert err == f"orchd: reading aiModels.json, in the working directory; there is no {etc}/aiModels.json either\n"


def test_a_variable_names_it(etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    models(etc / "other.json", "org/other")
    monkeypatch.setenv("ORCHD_MODELS_FILE", str(etc / "other.json"))
    assert (
        read(capsys, "check")[1] == f"orchd: reading {etc}/other.json, as environment variable ORCHD_MODELS_FILE says\n"
    )


@pytest.mark.parametrize("words", [["check", "{}"], ["check", "--models-file", "{}"], ["price", "--models-file={}"]])
def test_nothing_is_said_of_a_file_that_the_command_line_names(
    words: list[str], etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models(etc / "other.json", "org/other")
    out, err = read(capsys, *(word.format(etc / "other.json") for word in words))
    assert "org/other" in out
    assert err == ""


def test_where_there_is_none_the_one_here_is_missed(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "aiModels.json: cannot read the file: No such file" in read(capsys, "check")[0]
