"""What flags, environment and settings file give, by the names of the settings; nobody has checked the values yet.

Both readers stand on it: `load`, for all settings, and `client`, for the few of a command that only asks the daemon.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchd.errors import SettingsError
from orchd.settings.basic import IsPath
from orchd.settings.files import call, reason
from orchd.settings.names import FORMER_UNTIL, RENAMED, env_name, flag_name
from orchd.settings.paths import from_file

FLAG, ENVIRONMENT = "flag", "environment"


class Given(NamedTuple):
    """One value as it was given.

    Attributes:
        value: as TOML has it; text from a flag or the environment.
        spelled: the setting's name as it was written: of the flag, of the variable, or in the file.
        place: `FLAG`, `ENVIRONMENT`, or the file and line.
    """

    value: object
    spelled: str
    place: str

    @property
    def is_flag(self) -> bool:
        """It stands on the command line."""
        return self.place == FLAG

    @property
    def is_text(self) -> bool:
        """It comes from where all values are text."""
        return self.place in (FLAG, ENVIRONMENT)

    @property
    def origin(self) -> str:
        """Where it came from, for a person."""
        return {FLAG: f"flag {self.spelled}", ENVIRONMENT: f"environment variable {self.spelled}"}.get(
            self.place, self.place
        )


class SettingsFile:
    """The settings file, read once.

    Raises:
        SettingsError: it can't be read, or is no TOML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._text = call(lambda: path.read_text(encoding="utf-8"))
            self._tree = tomllib.loads(self._text)
        except (OSError, ValueError) as exc:
            why = reason(exc) if isinstance(exc, OSError) else exc
            raise SettingsError(f"cannot read settings file {path}: {why}") from exc

    def leaves(self, sections: Container[str]) -> Iterator[tuple[str, Any]]:
        """Yield every name with its value; what stands in one of `sections` as `section.name`."""
        for name, value in self._tree.items():
            if name in sections and isinstance(value, dict):
                yield from ((f"{name}.{leaf}", inner) for leaf, inner in value.items())
            else:
                yield name, value

    def origin(self, name: str) -> str:
        """Return file and line of a setting or section; only the file where it is written in an unusual way."""
        section = ""
        for number, line in enumerate(self._text.splitlines(), start=1):
            if found := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
                section = f"{found[1]}."
                if found[1] == name:
                    return f"{self.path}:{number}"
            elif (found := re.match(r"\s*([\w.-]+)\s*=", line)) and section + found[1] == name:
                return f"{self.path}:{number}"
        return str(self.path)


def sections_of(names: Iterable[str]) -> set[str]:
    """Return the sections in which settings of these names stand."""
    return {name.partition(".")[0] for name in names if "." in name}


def collect(
    names: Mapping[str, IsPath | None], *, argv: Mapping[str, str], env: Mapping[str, str], file: SettingsFile | None
) -> tuple[dict[str, Given], list[str]]:
    """Return what is given for settings of these names, each from the first of `argv`, `env` and `file` that has it.

    Args:
        names: and which paths each holds; None = none.
        argv: flag values by the setting's name, such as `jobs.listen`.
        env: the environment; of it `ORCHD_...` is read.

    Returns:
        The values by the names of now, relative paths of the file in full; and warnings: of former names, and of files
        that are where they were looked for formerly.
    """
    known = {*names, *(former for former, name in RENAMED.items() if name in names)}
    by_env = {env_name(name): name for name in known}
    in_file = file.leaves(sections_of(names)) if file else ()
    sources = (
        {name: Given(value, name, file.origin(name)) for name, value in in_file if file and name in known},
        {by_env[spelled]: Given(text, spelled, ENVIRONMENT) for spelled, text in env.items() if spelled in by_env},
        {name: Given(text, flag_name(name), FLAG) for name, text in argv.items() if name in known},
    )
    given: dict[str, Given] = {}
    warnings: list[str] = []
    for source in sources:
        given |= _by_names_of_now(source, warnings)
    for name, one in given.items():
        rule = names[name]
        if file and rule and not one.is_text:
            given[name] = _with_paths(name, one, rule, file.path, env, warnings)
    return given, warnings


def _with_paths(name: str, one: Given, rule: IsPath, file: Path, env: Mapping[str, str], warnings: list[str]) -> Given:
    """Return what the file gives with its paths in full."""

    def full(text: object) -> object:
        if not isinstance(text, str):
            return text  # Whoever checks the values complains.
        path, doubt = from_file(text, rule, file, env)
        if doubt:
            warnings.append(f"setting {name} = {text!r} ({one.place}) {doubt}")
        return path

    value = one.value
    if rule.listed and isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    return one._replace(value=[full(each) for each in value] if isinstance(value, list) else full(value))


def _by_names_of_now(source: Mapping[str, Given], warnings: list[str]) -> dict[str, Given]:
    """Return what one source gives by the names of now; of one that is given under both names, the one of now."""
    found: dict[str, Given] = {}
    for name, one in source.items():
        now = RENAMED.get(name)
        if now is None:
            found[name] = one
            continue
        said = f"setting {one.spelled} ({one.place}) is named {now} now"
        if now in source:
            warnings.append(f"{said}, and that one is used: remove {one.spelled}")
        else:
            warnings.append(f"{said}: rename it there, as the former name is read until version {FORMER_UNTIL} only")
            found[now] = one
    return found


def wrong(name: str, one: Given, why: str, description: str) -> str:
    """Return the line that says that a value can't be used, where it stands, and what the setting is for."""
    value = one.value
    if isinstance(value, tuple):  # As it was written: in TOML as a list, else as words with commas.
        value = ",".join(value) if one.is_text else list(value)
    return f"cannot use {name} = {shown(value)} ({one.origin}): {why} ({description})"


def shown(value: object) -> str:
    """Return a value for an error, without what may be secret: what tables hold, and credentials in a URL."""
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, list | tuple) and any(isinstance(each, dict | list | tuple) for each in value):
        return "[...]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, str) and "://" in value:
        value = re.sub(r"(?<=://)[^/?#]*@", "***@", value)
        value = re.sub(r"[?#].*", "?***", value, flags=re.DOTALL)
    return repr(value)
