"""Where the settings come from: flags, environment, file, default; and what is said when one can't be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from orchd.errors import SettingsError
from orchd.settings.basic import IsPath
from orchd.settings.files import CONFIG_ENV
from orchd.settings.given import Given, SettingsFile, collect, sections_of, shown, wrong
from orchd.settings.names import ENV_PREFIX, RENAMED, env_name, nearest_name
from orchd.settings.section import FreeTable
from orchd.settings.tree import FREE_TABLES, SETTINGS, Setting, Settings

PATHS: Mapping[str, IsPath | None] = {
    name: next((mark for mark in setting.field.metadata if isinstance(mark, IsPath)), None)
    for name, setting in SETTINGS.items()
}
"""Every setting, and which paths it holds."""
_SECTIONS = sections_of(SETTINGS)

TEST_ENV_PREFIX = "ORCHD_TEST_"
"""Steers the test suite; the daemon ignores it."""


def load_settings(
    *,
    argv: Mapping[str, str],
    env: Mapping[str, str],
    file: Path | None,
    warn: Callable[[str], None] = lambda _: None,
) -> Settings:
    """Return the settings; each from the first of `argv`, `env` and `file` that has it, else its default.

    Args:
        argv: flag values by the setting's name, such as `jobs.listen`.
        env: the environment; of it `ORCHD_...` is read.
        file: a TOML file, or None.
        warn: called with one line for each setting that is given under a former name.

    Raises:
        SettingsError: with one line for each setting that is unknown or can't be used, saying where it stands.
    """
    text = SettingsFile(file) if file else None
    problems = [*_unknown_in_file(text), *_unknown_in_env(env)]
    found, warnings = collect(PATHS, argv=argv, env=env, file=text)
    given = {name: _typed(SETTINGS[name], one) for name, one in found.items()} | _free_tables(text)
    tree: dict[str, Any] = {}
    for name, one in given.items():
        section, _, leaf = name.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[leaf] = one.value
    try:
        settings = Settings.model_validate(tree, strict=True)
    except ValidationError as exc:
        problems += [_explain(error["loc"], error["msg"], given) for error in exc.errors(include_url=False)]
    if problems:
        raise SettingsError("\n".join(problems))
    for line in warnings:
        warn(line)
    return settings


def value_of(settings: Settings, name: str) -> object:
    """Return the value of a setting by its name, such as `jobs.listen`."""
    section, _, leaf = name.rpartition(".")
    owner: BaseModel = getattr(settings, section) if section else settings
    return getattr(owner, next(attr for attr, field in type(owner).model_fields.items() if leaf in (attr, field.alias)))


def differences(before: Settings, after: Settings) -> list[str]:
    """Return the names of the settings that are not the same in both."""
    found = [name for name in SETTINGS if value_of(before, name) != value_of(after, name)]
    for section, tables in FREE_TABLES.items():
        old, new = (_values(value_of(settings, f"{section}.{tables}")) for settings in (before, after))
        found += [f"{section}.{name}" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return found


def _values(tables: Any) -> dict[str, Mapping[str, Any]]:
    """Return what free tables hold, wherever it stands in the file."""
    return {name: table.values for name, table in tables.items()}


def _unknown_in_file(file: SettingsFile | None) -> Iterator[str]:
    """Yield a line for each name in the file that nothing is known of."""
    for name, value in file.leaves(_SECTIONS) if file else ():
        if name in SETTINGS or name in RENAMED or _is_free_table(name, value):
            continue
        assert file
        if name in _SECTIONS:
            yield f"cannot use {name} = {shown(value)} ({file.origin(name)}): [{name}] is a section"
        else:
            yield _unknown(name, file.origin(name), [*SETTINGS, *_SECTIONS])


def _unknown_in_env(env: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable that looks like a setting of ours and is none."""
    known = [setting.env for setting in SETTINGS.values()]
    taken = {*known, *map(env_name, RENAMED), CONFIG_ENV}
    for variable in env:
        if variable.startswith(ENV_PREFIX) and variable not in taken and not variable.startswith(TEST_ENV_PREFIX):
            yield _unknown(variable, "environment", [*known, CONFIG_ENV])


def _free_tables(file: SettingsFile | None) -> dict[str, Given]:
    """Return the free tables of the file, by the name of the field that holds those of a section."""
    given: dict[str, Given] = {}
    for name, value in file.leaves(_SECTIONS) if file else ():
        if _is_free_table(name, value):
            assert file
            section, _, leaf = name.partition(".")
            field = f"{section}.{FREE_TABLES[section]}"
            tables = given.setdefault(field, Given({}, name, file.origin(name))).value
            assert isinstance(tables, dict)
            tables[leaf] = FreeTable(value, file.origin(name), {each: file.origin(f"{name}.{each}") for each in value})
    return given


def _is_free_table(name: str, value: object) -> bool:
    section, _, leaf = name.partition(".")
    return name not in SETTINGS and section in FREE_TABLES and bool(leaf) and isinstance(value, dict)


def _typed(setting: Setting, one: Given) -> Given:
    """Return it with its value as the setting's type; unchanged where it can't be that, for validation to complain."""
    if isinstance(one.value, list):
        return one._replace(value=tuple(one.value))
    if one.is_text and isinstance(one.value, str):
        return one._replace(value=_of_type(setting.field.annotation, one.value))
    return one


def _of_type(kind: Any, text: str) -> object:
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def _unknown(name: str, origin: str, known: list[str]) -> str:
    return f"cannot use unknown setting {name} ({origin}): the nearest known one is {nearest_name(name, known)}"


def _explain(loc: tuple[int | str, ...], message: str, given: Mapping[str, Given]) -> str:
    """Return one line for one of pydantic's complaints."""
    message = re.sub(r"^(Input|String) ", "it ", message.removeprefix("Value error, "))
    name = ".".join(str(part) for part in loc[:2])
    if name not in given:  # an element of a list, or a rule about a whole section
        name = str(loc[0])
    if name not in given:
        return f"cannot use the settings of [{name}]: {message}"
    return wrong(name, given[name], message, SETTINGS[name].description)
