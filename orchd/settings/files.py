"""Where the settings file and the state directory are; and how a file is read within a time limit.

A file may lie on a network mount that hangs; that must not hang orchd.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from orchd.call_within import call_within
from orchd.errors import SettingsError, reason_of

T = TypeVar("T")

CONFIG_ENV = "ORCHD_CONFIG"
CONFIG_FILE = Path("/etc/orchd/orchd.toml")
READ_TIMEOUT_S = 10.0
"""Timeout for the settings file and each file with a secret."""


def config_file(flag: str | None, env: Mapping[str, str]) -> Path | None:
    """Return the settings file: `flag`, else $ORCHD_CONFIG, else /etc/orchd/orchd.toml if it exists.

    Raises:
        SettingsError: it can't be seen whether that file exists.
    """
    if named := flag or env.get(CONFIG_ENV):
        return Path(named)
    try:
        return CONFIG_FILE if call(CONFIG_FILE.exists) else None
    except OSError as exc:
        raise SettingsError(
            f"cannot look for the settings file {CONFIG_FILE}: {reason(exc)}; run this as the user of orchd "
            "(sudo -u orchd orchd ...), or name a file that you can read: --config PATH"
        ) from exc


def resolve_state_dir(state_dir: str, env: Mapping[str, str]) -> Path:
    """Return the state directory (absolute; it may not exist yet).

    `state_dir` (the setting), else the first of $STATE_DIRECTORY (systemd), else /var/lib/orchd where we may write
    there, else ~/.local/state/orchd.

    Raises:
        SettingsError: a home is needed, and this user has none; or no path can be so.
    """
    if "\0" in state_dir:
        raise SettingsError(f"cannot use the setting state_dir {state_dir!r}: no path has a NUL character")
    if state_dir:
        return tidy(_at_home(state_dir).absolute())
    if given := env.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(given)
    system = Path("/var/lib/orchd")
    if os.access(system if system.exists() else system.parent, os.W_OK | os.X_OK):
        return system
    return _at_home("~/.local/state/orchd")


def tidy(path: Path) -> Path:
    """Return a full path without `..`, to be shown; as it is where a link on the way makes that another place."""
    shown = Path(os.path.normpath(path))
    if shown == path:
        return path
    try:
        return shown if call(lambda: os.path.realpath(shown) == os.path.realpath(path)) else path
    except OSError:
        return path


def _at_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise SettingsError(
            f"cannot find the home in {path}: user {os.geteuid()} has none here; set state_dir to a folder that this "
            "user may write to, or HOME"
        ) from exc


def call(work: Callable[[], T]) -> T:
    """Return what `work`, which reads a file, returns.

    Raises:
        OSError: what `work` raises; TimeoutError, which is one, if its file system does not answer.
    """
    return call_within(work, READ_TIMEOUT_S)


def reason(exc: OSError) -> str:
    """Return in words why a file can't be read."""
    if isinstance(exc, TimeoutError) and not exc.errno:
        return f"its file system has not answered for {READ_TIMEOUT_S:g} s (a network mount that hangs?)"
    if isinstance(exc, PermissionError):
        return f"{reason_of(exc)} (as user {os.geteuid()}, for it or its folder)"
    return reason_of(exc)
