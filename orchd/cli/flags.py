"""A flag for each setting, made from the same schema as the file and the environment."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchd.settings.files import config_file
from orchd.settings.load import load_settings
from orchd.settings.tree import RENAMED, SETTINGS, Settings, flag_name


def add_settings_flags(parser: argparse.ArgumentParser, only: Iterable[str] = tuple(SETTINGS)) -> None:
    """Give `parser` the flag `--config` and those of the settings named in `only`."""
    group = parser.add_argument_group("settings", "also read from the environment (ORCHD_...) and a file")
    group.add_argument("--config", metavar="PATH", help="settings file (default: $ORCHD_CONFIG, /etc/orchd/orchd.toml)")
    for name in only:
        setting = SETTINGS[name]
        shown = f"{setting.description} (default: {setting.default or 'empty'})"
        group.add_argument(
            setting.flag, dest=f"setting:{name}", metavar="VALUE", help=shown.replace("%", "%%"), default=None
        )
    for former, name in RENAMED.items():
        if name in only:
            group.add_argument(flag_name(former), dest=f"setting:{former}", help=argparse.SUPPRESS, default=None)


def settings_of(
    args: argparse.Namespace, env: Mapping[str, str], warn: Callable[[str], None] = lambda _: None
) -> Settings:
    """Return the settings for a command; all at their defaults for one that has no settings flags.

    Args:
        warn: see `load_settings`.

    Raises:
        SettingsError: see `load_settings`.
    """
    given: dict[str, Any] = vars(args)
    if "config" not in given:
        return Settings()
    argv = {
        name.removeprefix("setting:"): value
        for name, value in given.items()
        if name.startswith("setting:") and value is not None
    }
    return load_settings(argv=argv, env=env, file=config_file(given["config"], env), warn=warn)
