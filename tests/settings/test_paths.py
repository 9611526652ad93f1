"""Relative paths of the settings file are relative to it; those of flags and variables to the working directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchd.errors import SettingsError
from orchd.settings.client import PATHS as CLIENT_PATHS
from orchd.settings.client import load_client_settings
from orchd.settings.files import resolve_state_dir
from orchd.settings.load import PATHS, load_settings, value_of
from orchd.settings.tree import Settings

HOLD_PATHS = {
    "models_file": ("m/a.json", "{}/m/a.json"),
    "state_dir": ("state", "{}/state"),
    "orchestrator.secret_file": ("secret", "{}/secret"),
    "chain.rpc_url_file": ("../rpc", "{0.parent}/rpc"),
    "orchestrator.certificate": ("pin:node/cert.pem", "pin:{}/node/cert.pem"),
    "public.certificate": ("tls/chain.pem", "{}/tls/chain.pem"),
    "public.key": ("tls/key.pem", "{}/tls/key.pem"),
    "hooks.path": (["hooks", "/opt/hooks"], ("{}/hooks", "/opt/hooks")),
    "tickets.key_file": ("key", "{}/key"),
    "jobs.listen": (["unix:run/jobs.sock", "127.0.0.1:0"], ("unix:{}/run/jobs.sock", "127.0.0.1:0")),
}
"""Every setting that holds paths, with relative ones and what they mean, {} = the folder of the settings file."""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """The folder of the settings file."""
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def read(text: str, etc: Path, **sources: dict[str, str]) -> tuple[Settings, list[str]]:
    (etc / "orchd.toml").write_text(text)
    warnings: list[str] = []
    given: Any = {"argv": {}, "env": {}, **sources, "file": etc / "orchd.toml"}
    settings = load_settings(**given, warn=warnings.append)
    few_warnings: list[str] = []
    few = load_client_settings(**given, warn=few_warnings.append)
    assert (few.models_file, few.state_dir) == (settings.models_file, settings.state_dir)
    assert few_warnings == [line for line in warnings if "models_file" in line or "state_dir" in line]
    return settings, warnings


def test_every_setting_that_holds_paths_is_known_here() -> None:
    assert {name for name, rule in PATHS.items() if rule} == set(HOLD_PATHS)
    assert {name: PATHS[name] for name in CLIENT_PATHS} == CLIENT_PATHS


@pytest.mark.parametrize("name", HOLD_PATHS)
def test_a_relative_path_of_the_file_is_relative_to_the_file(name: str, etc: Path, here: Path) -> None:
    written, meant = HOLD_PATHS[name]
    settings, warnings = read(f"{name} = {written!r}", etc)
    full = meant.format(etc) if isinstance(meant, str) else tuple(each.format(etc) for each in meant)
    assert (value_of(settings, name), warnings) == (full, [])


def test_a_path_beside_the_file_is_shown_without_dots_unless_a_link_makes_that_another_place(
    etc: Path, here: Path
) -> None:
    assert read("state_dir = '../state'", etc)[0].state_dir == f"{etc.parent}/state"
    assert resolve_state_dir("../state", {}) == etc.parent / "state"
    (etc / "link").symlink_to(here)
    assert read("state_dir = 'link/../state'", etc)[0].state_dir == f"{etc}/link/../state"


def test_a_list_may_be_one_text_with_commas(etc: Path, here: Path) -> None:
    settings, _ = read("hooks.path = 'a, /b'", etc)
    assert settings.hooks.path == (f"{etc}/a", "/b")


@pytest.mark.parametrize("text", ["", "/full/a.json", "~/a.json"])
def test_what_is_no_relative_path_stays(text: str, etc: Path, here: Path) -> None:
    assert read(f"models_file = {text!r}", etc)[0].models_file == text


def test_those_of_flags_and_variables_stay_relative_to_the_working_directory(etc: Path, here: Path) -> None:
    (here / "a.json").touch()
    assert read("models_file = 'b'", etc, env={"ORCHD_MODELS_FILE": "a.json"})[0].models_file == "a.json"
    settings, warnings = read("models_file = 'a.json'", etc, argv={"models_file": "a.json"})
    assert (settings.models_file, warnings) == ("a.json", [])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("jobs.listen", "unix:run/x.sock", "absolute path"), ("orchestrator.certificate", "pin:cert.pem", "pin:/PATH")],
)
def test_a_flag_needs_a_full_path_for_a_socket_and_a_certificate(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(argv={name: value}, env={}, file=None)


def test_a_settings_file_that_is_named_relatively_makes_full_paths(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (etc / "orchd.toml").write_text("models_file = 'a.json'")
    monkeypatch.chdir(etc)
    assert load_settings(argv={}, env={}, file=Path("orchd.toml")).models_file == f"{etc}/a.json"


def test_what_is_only_in_the_working_directory_is_found_with_a_warning_that_names_both_places(
    etc: Path, here: Path
) -> None:
    (here / "a.json").touch()
    settings, (warning,) = read("models_file = 'a.json'", etc)
    assert settings.models_file == f"{here}/a.json"
    assert warning.startswith(f"setting models_file = 'a.json' ({etc}/orchd.toml:1) is relative to the settings file")
    assert f"no {etc}/a.json: {here}/a.json is used" in warning
    assert "until version 0.3 only" in warning
    (etc / "a.json").touch()
    assert read("models_file = 'a.json'", etc) == (Settings(models_file=f"{etc}/a.json"), [])


def test_code_is_never_taken_from_the_working_directory(etc: Path, here: Path) -> None:
    (here / "hooks").mkdir()
    settings, warnings = read("hooks.path = ['hooks']", etc)
    assert (settings.hooks.path, warnings) == ((f"{etc}/hooks",), [])


def test_a_credential_is_looked_for_by_its_name(etc: Path, here: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    text = "[orchestrator]\nsecret_file = 'secret'\n\n[chain]\nrpc_url_file = 'rpc'\n"
    settings = read(text, etc, env=env)[0]
    assert (settings.orchestrator.secret_file, settings.chain.rpc_url_file) == ("secret", f"{etc}/rpc")
