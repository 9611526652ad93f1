"""A flag for each setting, made from the same descriptions as the file and the environment.

A command that only asks the daemon has flags for basic settings, and gets a `ClientSettings`: reading all settings
takes longer than the command itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from orchd.settings.basic import BASIC, BasicSetting
from orchd.settings.client import ClientSettings, load_client_settings
from orchd.settings.files import config_file
from orchd.settings.given import Given, SettingsFile, collect
from orchd.settings.names import RENAMED, flag_name

if TYPE_CHECKING:
    from orchd.settings.tree import Setting, Settings

Warn = Callable[[str], None]
"""Called with each warning, one line."""


def add_client_flags(parser: argparse.ArgumentParser, *settings: BasicSetting) -> None:
    """Give `parser` the flag `--config` and those of `settings`; its command gets a `ClientSettings`."""
    _add_flags(parser, BASIC, [one.name for one in settings])
    parser.set_defaults(settings_of=client_settings_of)


def add_settings_flags(
    parser: argparse.ArgumentParser, only: Iterable[str] | None = None, shown: Collection[str] | None = None
) -> None:
    """Give `parser` the flag `--config` and those of the settings named in `only`, or of all; it gets `Settings`.

    Args:
        shown: those that the help names; None = all that can be given.
    """
    from orchd.settings.tree import SETTINGS

    _add_flags(parser, SETTINGS, [*SETTINGS] if only is None else [*only], shown)
    parser.set_defaults(settings_of=settings_of)


def _add_flags(
    parser: argparse.ArgumentParser,
    of: Mapping[str, Setting] | Mapping[str, BasicSetting],
    names: Iterable[str],
    helped: Collection[str] | None = None,
) -> None:
    group = parser.add_argument_group("settings", "also read from the environment (ORCHD_...) and a file")
    group.add_argument("--config", metavar="PATH", help="settings file (default: $ORCHD_CONFIG, /etc/orchd/orchd.toml)")
    for name in names:
        shown = f"{of[name].description} (default: {of[name].default or 'empty'})".replace("%", "%%")
        if helped is not None and name not in helped:
            shown = argparse.SUPPRESS
        group.add_argument(flag_name(name), dest=f"setting:{name}", metavar="VALUE", help=shown, default=None)
    for former, name in RENAMED.items():
        if name in names:
            group.add_argument(flag_name(former), dest=f"setting:{former}", help=argparse.SUPPRESS, default=None)


def settings_of(args: argparse.Namespace, env: Mapping[str, str], warn: Warn = lambda _: None) -> Settings:
    """Return the settings for a command with `add_settings_flags`; `warn` and errors are those of `load_settings`."""
    from orchd.settings.load import load_settings

    return load_settings(argv=_flags_given(args), env=env, file=config_file(args.config, env), warn=warn)


def client_settings_of(args: argparse.Namespace, env: Mapping[str, str], warn: Warn = lambda _: None) -> ClientSettings:
    """Return those for a command with `add_client_flags`; all at their defaults for one that has no such flags."""
    if "config" not in args:
        return ClientSettings()
    return load_client_settings(argv=_flags_given(args), env=env, file=config_file(args.config, env), warn=warn)


def given_for(setting: BasicSetting, args: argparse.Namespace, env: Mapping[str, str]) -> Given | None:
    """Return what is given for a setting; None = nothing: it has its default."""
    file = config_file(args.config, env)
    given, _ = collect(
        {setting.name: setting.path}, argv=_flags_given(args), env=env, file=SettingsFile(file) if file else None
    )
    return given.get(setting.name)


def _flags_given(args: argparse.Namespace) -> dict[str, str]:
    """Return the values of the settings' flags, by the names of the settings."""
    given = {name.partition(":")[2]: value for name, value in vars(args).items() if name.startswith("setting:")}
    return {name: value for name, value in given.items() if value is not None}
