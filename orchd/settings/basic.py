"""The settings that a command needs which only asks the daemon, each described once. Pure.

The parts' sections take default, description and check from here, and so does `client`, which reads these few without
pydantic: importing that takes longer than such a command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from orchd.settings.addresses import split_listen


def _any_text(_: str) -> None:
    """Each text will do."""


def _check_instance(instance: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", instance):
        raise ValueError("it should be 1 to 32 characters of a-z, 0-9 and -, and not begin with -")


class IsPath(NamedTuple):
    """Marks a setting that is a path or a list of them: a relative one of the settings file is relative to that file.

    Attributes:
        prefixes: what stands before the path; other values are no paths.
        credential: it is looked for in $CREDENTIALS_DIRECTORY first.
        listed: it is a list, which may also be one text with commas.
        moved: 0.1.0 took it as relative to the working directory.
    """

    prefixes: tuple[str, ...] = ("",)
    credential: bool = False
    listed: bool = False
    moved: bool = False


class BasicSetting(NamedTuple):
    """One setting whose value is text.

    Attributes:
        check: raises ValueError for a value that can't be used; see `checked`.
        path: None = it is not a path.
    """

    name: str
    default: str
    description: str
    check: Callable[[str], object] = _any_text
    path: IsPath | None = None

    def checked(self, value: str) -> str:
        """Return `value`, if it can be used.

        Raises:
            ValueError: what it should be.
        """
        self.check(value)
        return value


MODELS_FILE = BasicSetting(
    "models_file",
    "aiModels.json",
    "Path of aiModels.json, the one file that the operator edits.",
    path=IsPath(moved=True),
)
STATE_DIR = BasicSetting(
    "state_dir",
    "",
    "Folder of durable state; empty = the first of $STATE_DIRECTORY, /var/lib/orchd and ~/.local/state/orchd that can "
    "be used.",
    path=IsPath(moved=True),
)
INSTANCE = BasicSetting(
    "instance",
    "orchd",
    "Label of everything that orchd creates; each daemon on a machine needs its own.",
    _check_instance,
)
ADMIN_LISTEN = BasicSetting(
    "admin.listen",
    "127.0.0.1:8738",
    "Address (host:port) of the admin pages. The default is loopback: they are not authenticated.",
    split_listen,
)

BASIC: Mapping[str, BasicSetting] = {one.name: one for one in (MODELS_FILE, STATE_DIR, INSTANCE, ADMIN_LISTEN)}
"""In the order of all settings."""
