"""The few settings of a command that only asks the daemon are read as the daemon reads them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.errors import SettingsError
from orchd.settings import names
from orchd.settings.basic import BASIC
from orchd.settings.client import ClientSettings, load_client_settings
from orchd.settings.load import load_settings, value_of
from orchd.settings.names import env_name
from orchd.settings.tree import SETTINGS, Settings

FORMER = {"dir_of_state": "state_dir", "admin.address": "admin.listen"}
"""Former names, as there may be some in another version."""

TEXTS = st.sampled_from(
    ["", "orchd", "two", "Big One", "a" * 33, "[::1]:8", "127.0.0.1:1", "nowhere", "x\n", "a\udce9"]
)
IN_FILE = st.one_of(TEXTS.filter(lambda text: text.isprintable()), st.sampled_from([7, True, ["a"], {"a": "b"}, []]))


def in_toml(value: object) -> str:
    return '{a = "b"}' if isinstance(value, dict) else json.dumps(value)


def toml(values: Mapping[str, object], *, as_sections: bool) -> str:
    top = [f"{name} = {in_toml(value)}" for name, value in values.items() if "." not in name]
    inner = [(name.partition("."), in_toml(value)) for name, value in values.items() if "." in name]
    if not as_sections:
        return "\n".join(top + [f"{''.join(name)} = {value}" for name, value in inner])
    return "\n".join([*top, "[admin]", *(f"{leaf} = {value}" for (_, _, leaf), value in inner)])


def outcome(read: Any, **given: Any) -> tuple[str, list[object], list[str]]:
    """Return the error, the basic settings' values, and the warnings."""
    warnings: list[str] = []
    try:
        settings = read(**given, warn=warnings.append)
    except SettingsError as exc:
        return exc.message, [], warnings
    return "", [value(settings, name) for name in BASIC], warnings


def value(settings: Settings | ClientSettings, name: str) -> object:
    return settings.admin.listen if name == "admin.listen" else getattr(settings, name)


def a_source(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys([*BASIC, *FORMER], values))


@given(in_file=a_source(IN_FILE), in_env=a_source(TEXTS), in_flags=a_source(TEXTS), as_sections=st.booleans())
def test_both_ways_give_the_same_values_errors_and_warnings(
    in_file: dict[str, object], in_env: dict[str, str], in_flags: dict[str, str], as_sections: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, patch.dict(names.RENAMED, FORMER):
        file = Path(folder) / "orchd.toml"
        file.write_text(toml(in_file, as_sections=as_sections))
        env = {env_name(name): text for name, text in in_env.items()}
        whole, few = (
            outcome(read, argv=in_flags, env=env, file=file) for read in (load_settings, load_client_settings)
        )
    assert few == whole


def test_each_basic_setting_is_described_once_and_is_where_all_settings_have_it() -> None:
    assert [name for name in SETTINGS if name in BASIC] == [*BASIC]
    for name, setting in BASIC.items():
        assert (SETTINGS[name].default, SETTINGS[name].description) == (setting.default, setting.description)
        assert value(ClientSettings(), name) == value_of(Settings(), name) == value(Settings(), name)


def test_what_else_is_in_the_file_and_the_environment_is_the_daemons_business(tmp_path: Path) -> None:
    file = tmp_path / "orchd.toml"
    file.write_text('nonsense = 1\nadmin.listen = "127.0.0.1:1"\n[jobs]\nlook_us = "x"\nhold_limit = "many"\n[x]\n')
    env = {"ORCHD_NONSENSE": "1", "ORCHD_JOBS_LISTEN": "nowhere", "ORCHD_INSTANCE": "two"}
    warnings: list[str] = []
    settings = load_client_settings(argv={}, env=env, file=file, warn=warnings.append)
    assert (settings.admin.listen, settings.instance, warnings) == ("127.0.0.1:1", "two", [])


def test_a_file_that_cannot_be_read_is_told_in_the_same_words(tmp_path: Path) -> None:
    file = tmp_path / "orchd.toml"
    for make in (lambda: None, lambda: file.write_text("a = = 1"), lambda: file.write_bytes(b"a = '\xff'")):
        make()
        whole, few = (outcome(read, argv={}, env={}, file=file) for read in (load_settings, load_client_settings))
        assert few == whole
        assert few[0].startswith(f"cannot read settings file {file}: ")


def test_an_instance_that_cannot_be_one_says_what_can(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="it should be 1 to 32 characters of a-z, 0-9 and -, and not begin with -"):
        load_client_settings(argv={"instance": "-a"}, env={}, file=None)
