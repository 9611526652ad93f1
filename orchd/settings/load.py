"""Where the settings come from: flags, environment, file, default; and what is said when one can't be used."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from orchd.errors import SettingsError
from orchd.settings.files import CONFIG_ENV, call, reason
from orchd.settings.section import FreeTable
from orchd.settings.tree import FREE_TABLES, RENAMED, RENAMED_UNTIL, SETTINGS, Setting, Settings, env_name, flag_name

ENV_PREFIX = "ORCHD_"
TEST_ENV_PREFIX = "ORCHD_TEST_"
"""Steers the test suite; the daemon ignores it."""


@dataclass(frozen=True, slots=True)
class _Given:
    """Attributes:
    value: as TOML has it; text from a flag or the environment is already turned into the setting's type.
    origin: where it came from, for a person.
    """

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Said:
    """What is to be said about the settings that were given.

    Attributes:
        problems: why they can't be used, one line each.
        warnings: what should be changed in them although they can be used, one line each.
    """

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def current(self, name: str, former: str, origin: str, given: Container[str]) -> str | None:
        """Return the name under which the setting `name` is read now; None = it is given under that name as well.

        Args:
            former: the name as it was written: of a variable, a flag, or in the file.
            given: names that the same source gives.
        """
        now = RENAMED.get(name)
        if now is None:
            return name
        said = f"setting {former} ({origin}) is named {now} now"
        if now in given:
            self.warnings.append(f"{said}, and that one is used: remove {former}")
            return None
        self.warnings.append(f"{said}: rename it there, as the former name is read until version {RENAMED_UNTIL} only")
        return now


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
    said = Said()
    problems = said.problems
    given = _from_file(file, said) if file else {}
    given |= _from_env(env, said)
    given |= _from_flags(argv, said)
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
    for line in said.warnings:
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


def _from_file(file: Path, said: Said) -> dict[str, _Given]:
    try:
        text = call(lambda: file.read_text(encoding="utf-8"))
        tree = tomllib.loads(text)
    except (OSError, ValueError) as exc:
        why = reason(exc) if isinstance(exc, OSError) else exc
        raise SettingsError(f"cannot read settings file {file}: {why}") from exc
    sections = {name.partition(".")[0] for name in SETTINGS if "." in name}
    given: dict[str, _Given] = {}
    leaves = dict(_leaves(tree, sections))
    for written, value in leaves.items():
        origin = f"{file}{_line_of(written, text)}"
        if (name := said.current(written, written, origin, leaves)) is None:
            continue
        section, _, leaf = name.partition(".")
        if name not in SETTINGS and section in FREE_TABLES and leaf and isinstance(value, dict):
            tables = given.setdefault(f"{section}.{FREE_TABLES[section]}", _Given({}, origin))
            assert isinstance(tables.value, dict)
            origins = {each: f"{file}{_line_of(f'{name}.{each}', text)}" for each in value}
            tables.value[leaf] = FreeTable(value, origin, origins)
        elif name in SETTINGS:
            given[name] = _Given(tuple(value) if isinstance(value, list) else value, origin)
        elif name in sections:
            said.problems.append(f"cannot use {name} = {_shown(value)} ({origin}): [{name}] is a section")
        else:
            said.problems.append(_unknown(name, origin, [*SETTINGS, *sections]))
    return given


def _leaves(tree: Mapping[str, Any], sections: set[str]) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if name in sections and isinstance(value, dict):
            yield from ((f"{name}.{leaf}", inner) for leaf, inner in value.items())
        else:
            yield name, value


def _line_of(name: str, text: str) -> str:
    """Return `:line` of a setting or section in TOML `text`; empty where it is written in an unusual way."""
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = f"{found[1]}."
            if found[1] == name:
                return f":{number}"
        elif (found := re.match(r"\s*([\w.-]+)\s*=", line)) and section + found[1] == name:
            return f":{number}"
    return ""


def _from_env(env: Mapping[str, str], said: Said) -> dict[str, _Given]:
    by_env = {setting.env: setting.name for setting in SETTINGS.values()}
    former = {env_name(name): name for name in RENAMED}
    given: dict[str, _Given] = {}
    names = {by_env[variable] for variable in env if variable in by_env}
    for variable, text in env.items():
        if not variable.startswith(ENV_PREFIX) or variable == CONFIG_ENV or variable.startswith(TEST_ENV_PREFIX):
            continue
        written = by_env.get(variable) or former.get(variable)
        if written is None:
            said.problems.append(_unknown(variable, "environment", [*by_env, CONFIG_ENV]))
        elif (name := said.current(written, variable, "environment", names)) is not None:
            given[name] = _Given(_typed(SETTINGS[name], text), f"environment variable {variable}")
    return given


def _from_flags(argv: Mapping[str, str], said: Said) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for written, text in argv.items():
        flag = flag_name(written)
        if (name := said.current(written, flag, "flag", argv)) is not None:
            given[name] = _Given(_typed(SETTINGS[name], text), f"flag {flag}")
    return given


def _typed(setting: Setting, text: str) -> object:
    """Return `text` as the setting's type; unchanged where it can't be that, for validation to complain about."""
    kind = setting.field.annotation
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


def nearest_setting(name: str, known: Sequence[str]) -> str:
    """Return the one of `known` that `name` most likely means.

    Such as `--admin-listen` for `--admin`; and `jobs.hold_limit` for one in the wrong section, or in none.
    """
    words = _words(name)
    leaf = words[1:]
    by_worth = (
        [one for one in known if _words(one)[: len(words)] == words or _words(one)[-len(words) :] == words],
        difflib.get_close_matches(name, known, cutoff=0.9),
        [one for one in known if leaf and _words(one)[-len(leaf) :] == leaf],
    )
    return difflib.get_close_matches(name, next(filter(None, by_worth), known), n=1, cutoff=0.0)[0]


def _words(name: str) -> list[str]:
    return re.split(r"[._-]+", name.lower().strip("-").removeprefix(ENV_PREFIX.lower()))


def _unknown(name: str, origin: str, known: list[str]) -> str:
    return f"cannot use unknown setting {name} ({origin}): the nearest known one is {nearest_setting(name, known)}"


def _explain(loc: tuple[int | str, ...], message: str, given: Mapping[str, _Given]) -> str:
    """Return one line for one of pydantic's complaints."""
    message = re.sub(r"^(Input|String) ", "it ", message.removeprefix("Value error, "))
    name = ".".join(str(part) for part in loc[:2])
    if name not in given:  # an element of a list, or a rule about a whole section
        name = str(loc[0])
    if name not in given:
        return f"cannot use the settings of [{name}]: {message}"
    one = given[name]
    value = one.value
    if isinstance(value, tuple):  # As it was written: in TOML as a list, else as words with commas.
        value = ",".join(value) if one.origin.startswith(("flag ", "variable ")) else list(value)
    return f"cannot use {name} = {_shown(value)} ({one.origin}): {message} ({SETTINGS[name].description})"


def _shown(value: object) -> str:
    """Return a value for an error, without what may be secret: what tables hold, and credentials in a URL."""
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, list | tuple) and any(isinstance(each, dict | list | tuple) for each in value):
        return "[...]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, str) and "://" in value:
        value = re.sub(r"(?<=://)[^/?#]*@", "***@", value)
        value = re.sub(r"[?#].*", "?***", value, flags=re.DOTALL)
    return repr(value)
