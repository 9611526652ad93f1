"""EDGE. May others change the code that orchd is about to run?

A module runs with all that orchd may do, so nobody but root and the user of orchd may be able to change it: not the
file, not what is imported beside it, and not a folder above, in which it could be exchanged.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from orchd.errors import HookError

MAX_FILES = 10_000
"""Files in a folder of hooks. A folder with more of them is not one that somebody made for hooks."""


def check_trusted(place: Path, what: str) -> None:
    """Check a file or folder, all that lies in it or that links in it lead to, and the folders above.

    Args:
        place: absolute.
        what: whose it is, for the error, such as `the hook paywall`.

    Raises:
        HookError: others can write there, or it can't be seen whether they can.
    """
    _check_all(place, what, set())


def _check_all(place: Path, what: str, checked: set[Path]) -> None:
    """Args:
    checked: folders whose content was checked, or is being checked: links may lead in a circle.
    """
    try:
        real = place.resolve(strict=True)
        for each in dict.fromkeys((*_above(place), *_above(real), real)):
            _check(each, what)
        if real.is_dir() and real not in checked:
            checked.add(real)
            inside = _inside(real, what, checked)
            for each in islice(inside, MAX_FILES):
                _check(each, what)
            if next(inside, None) is not None:
                raise HookError(
                    f"cannot load {what}: {real} holds more than {MAX_FILES} files, too many to check; give hooks a "
                    "folder of their own"
                )
    except OSError as exc:
        raise HookError(f"cannot load {what}: {exc.filename or place}: {exc.strerror}") from exc


def _above(place: Path) -> list[Path]:
    return [*reversed(place.parents)]


def _inside(folder: Path, what: str, checked: set[Path]) -> Iterator[Path]:
    def raised(exc: OSError) -> None:
        raise exc

    for parent, folders, files in os.walk(folder, onerror=raised):
        for name in (*folders, *files):
            found = Path(parent, name)
            if found.is_symlink():
                _check_all(found, what, checked)  # What it leads to lies elsewhere.
            else:
                yield found


def _check(place: Path, what: str) -> None:
    found = place.lstat()
    if stat.S_ISLNK(found.st_mode):
        return  # Its own mode says nothing; the folder that it lies in was checked, and so is what it leads to.
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX and found.st_uid == 0
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky  # As in /tmp: others can't replace ours.
    if found.st_uid not in (0, os.geteuid()):
        raise HookError(
            f"cannot load {what}: {place} belongs to user {found.st_uid}, who could change it; it must belong to root "
            f"or to user {os.geteuid()}: chown it"
        )
    if writable:
        who = "everybody" if found.st_mode & stat.S_IWOTH else f"group {found.st_gid}"
        raise HookError(
            f"cannot load {what}: {place} can be written by {who} (mode {stat.S_IMODE(found.st_mode):04o}), and orchd "
            "would run what they write: chmod go-w it"
        )
