"""Where the settings come from: flags, environment, file, default; and what is said when one can't be used."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from orchd.domain.model import Secret
from orchd.errors import Code, SettingsError, reason_of
from orchd.settings import SETTINGS, Setting, Settings
from orchd.threads import call_within

T = TypeVar("T")

CONFIG_ENV = "ORCHD_CONFIG"
CONFIG_FILE = Path("/etc/orchd/orchd.toml")
ENV_PREFIX = "ORCHD_"
TEST_ENV_PREFIX = "ORCHD_TEST_"
"""Steers the test suite; the daemon ignores it."""
READ_TIMEOUT_S = 10.0
"""For the settings file and each file with a secret."""


@dataclass(frozen=True, slots=True)
class _Given:
    """Attributes:
    value: as TOML has it; text from a flag or the environment is already turned into the setting's type.
    origin: where it came from, for a person.
    """

    value: object
    origin: str


def config_file(flag: str | None, env: Mapping[str, str]) -> Path | None:
    """Return the settings file: `flag`, else $ORCHD_CONFIG, else /etc/orchd/orchd.toml if it exists.

    Raises:
        SettingsError: it can't be seen whether that file exists.
    """
    if named := flag or env.get(CONFIG_ENV):
        return Path(named)
    try:
        return CONFIG_FILE if _call(CONFIG_FILE.exists) else None
    except OSError as exc:
        raise SettingsError(
            f"cannot look for the settings file {CONFIG_FILE}: {_reason(exc)}; run this as the user of orchd "
            "(sudo -u orchd orchd ...), or name a file that you can read: --config PATH"
        ) from exc


def load_settings(*, argv: Mapping[str, str], env: Mapping[str, str], file: Path | None) -> Settings:
    """Return the settings; each from the first of `argv`, `env` and `file` that has it, else its default.

    Args:
        argv: flag values by the setting's name, such as `jobs.listen`.
        env: the environment; of it `ORCHD_...` is read.
        file: a TOML file, or None.

    Raises:
        SettingsError: with one line for each setting that is unknown or can't be used, saying where it stands.
    """
    problems: list[str] = []
    given = _from_file(file, problems) if file else {}
    given |= _from_env(env, problems)
    given |= {name: _Given(_typed(SETTINGS[name], text), f"flag {SETTINGS[name].flag}") for name, text in argv.items()}
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
    return settings


def value_of(settings: Settings, name: str) -> object:
    """Return the value of a setting by its name, such as `jobs.listen`."""
    section, _, leaf = name.rpartition(".")
    owner: BaseModel = getattr(settings, section) if section else settings
    return getattr(owner, next(attr for attr, field in type(owner).model_fields.items() if leaf in (attr, field.alias)))


def differences(before: Settings, after: Settings) -> list[str]:
    """Return the names of the settings that are not the same in both."""
    return [name for name in SETTINGS if value_of(before, name) != value_of(after, name)]


def resolve_state_dir(settings: Settings, env: Mapping[str, str]) -> Path:
    """Return the state directory (absolute; it may not exist yet).

    The setting, else the first of $STATE_DIRECTORY (systemd), else /var/lib/orchd where we may write there, else
    ~/.local/state/orchd.

    Raises:
        SettingsError: a home is needed, and this user has none.
    """
    if settings.state_dir:
        return _at_home(settings.state_dir).absolute()
    if given := env.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(given)
    system = Path("/var/lib/orchd")
    if os.access(system if system.exists() else system.parent, os.W_OK | os.X_OK):
        return system
    return _at_home("~/.local/state/orchd")


def _at_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise SettingsError(
            f"cannot find the home in {path}: user {os.geteuid()} has none here; set state_dir to a folder that this "
            "user may write to, or HOME"
        ) from exc


def read_secret(name: str, file: str, env: Mapping[str, str]) -> Secret | None:
    """Return the content of a secret's file, trimmed; None where none is named.

    Args:
        name: of the setting, for the error.
        file: absolute, or a name in $CREDENTIALS_DIRECTORY (systemd), or relative to the working directory.

    Raises:
        SettingsError: SECRET_UNREADABLE; the daemon does not start.
    """
    if not file:
        return None
    credentials = env.get("CREDENTIALS_DIRECTORY")
    path = Path(credentials) / file if credentials else Path(file)
    try:
        if not _call(path.exists):
            path = Path(file)
        text = _call(lambda: path.read_text(encoding="utf-8")).strip()
    except (OSError, ValueError) as exc:
        reason = _reason(exc) if isinstance(exc, OSError) else "it is not text"
        raise SettingsError(
            f"cannot read the file that {name} names, {path}: {reason}", code=Code.SECRET_UNREADABLE
        ) from exc
    if not text or any(not character.isprintable() for character in text):
        raise SettingsError(
            f"cannot use the content of {path} ({name}): it should be one line of text", code=Code.SECRET_UNREADABLE
        )
    return Secret(text)


def _call(work: Callable[[], T]) -> T:
    """Call `work`, which looks at a file; one on a mount that hangs must not hang us.

    Raises:
        OSError: what `work` raises; TimeoutError, which is one, if its file system does not answer.
    """
    return call_within(work, READ_TIMEOUT_S)


def _reason(exc: OSError) -> str:
    if isinstance(exc, TimeoutError) and not exc.errno:
        return f"its file system has not answered for {READ_TIMEOUT_S:g} s (a network mount that hangs?)"
    if isinstance(exc, PermissionError):
        return f"{reason_of(exc)} (as user {os.geteuid()}, for it or its folder)"
    return reason_of(exc)


def _from_file(file: Path, problems: list[str]) -> dict[str, _Given]:
    try:
        text = _call(lambda: file.read_text(encoding="utf-8"))
        tree = tomllib.loads(text)
    except (OSError, ValueError) as exc:
        reason = _reason(exc) if isinstance(exc, OSError) else exc
        raise SettingsError(f"cannot read settings file {file}: {reason}") from exc
    sections = {name.partition(".")[0] for name in SETTINGS if "." in name}
    given: dict[str, _Given] = {}
    for name, value in _leaves(tree, sections):
        origin = f"{file}{_line_of(name, text)}"
        if name in SETTINGS:
            given[name] = _Given(tuple(value) if isinstance(value, list) else value, origin)
        elif name in sections:
            problems.append(f"cannot use {name} = {value!r} ({origin}): [{name}] is a section")
        else:
            problems.append(_unknown(name, origin, [*SETTINGS, *sections]))
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


def _from_env(env: Mapping[str, str], problems: list[str]) -> dict[str, _Given]:
    by_env = {setting.env: setting for setting in SETTINGS.values()}
    given: dict[str, _Given] = {}
    for variable, text in env.items():
        if not variable.startswith(ENV_PREFIX) or variable == CONFIG_ENV or variable.startswith(TEST_ENV_PREFIX):
            continue
        if setting := by_env.get(variable):
            given[setting.name] = _Given(_typed(setting, text), f"environment variable {variable}")
        else:
            problems.append(_unknown(variable, "environment", [*by_env, CONFIG_ENV]))
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
    return f"cannot use {name} = {value!r} ({one.origin}): {message} ({SETTINGS[name].description})"
