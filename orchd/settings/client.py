"""The settings of a command that only asks the daemon: the few basic ones, read without pydantic.

The same flags, variables and file as `load` reads, with the same precedence and the same words for a wrong value: tests
hold the two together. What else is in the file is the daemon's business, which `orchd check` looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from orchd.errors import SettingsError
from orchd.settings.basic import ADMIN_LISTEN, BASIC, INSTANCE, MODELS_FILE, STATE_DIR, BasicSetting
from orchd.settings.given import SettingsFile, collect, wrong

PATHS = {name: setting.path for name, setting in BASIC.items()}


class ClientAdminSettings(NamedTuple):
    """Of the section `[admin]`."""

    listen: str = ADMIN_LISTEN.default


class ClientSettings(NamedTuple):
    """Named as in `Settings`, of which it is a part."""

    models_file: str = MODELS_FILE.default
    state_dir: str = STATE_DIR.default
    instance: str = INSTANCE.default
    admin: ClientAdminSettings = ClientAdminSettings()


def load_client_settings(
    *,
    argv: Mapping[str, str],
    env: Mapping[str, str],
    file: Path | None,
    warn: Callable[[str], None] = lambda _: None,
) -> ClientSettings:
    """Return the settings; see `load_settings`, which takes the same.

    Raises:
        SettingsError: with one line for each of these settings that can't be used.
    """
    given, warnings = collect(PATHS, argv=argv, env=env, file=SettingsFile(file) if file else None)
    problems: list[str] = []
    values = {name: setting.default for name, setting in BASIC.items()}
    for name, setting in BASIC.items():
        if name in given:
            try:
                values[name] = _text(setting, given[name].value)
            except ValueError as exc:
                problems.append(wrong(name, given[name], str(exc), setting.description))
    if problems:
        raise SettingsError("\n".join(problems))
    for line in warnings:
        warn(line)
    listen = values.pop(ADMIN_LISTEN.name)
    return ClientSettings(**values, admin=ClientAdminSettings(listen))


def _text(setting: BasicSetting, value: object) -> str:
    """Return `value`, if the setting can have it; what is wrong with it is said as pydantic would."""
    if not isinstance(value, str):
        raise ValueError("it should be a valid string")
    return setting.checked(value)
