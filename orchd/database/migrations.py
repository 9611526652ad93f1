"""The numbered SQL scripts of each part: `migrations/NNN_name.sql` in its folder. Imports no part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAME = re.compile(r"(\d{3})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a part's schema. Never changed once it has been released.

    Attributes:
        number: counts from 1 in each part.
        script: SQL statements; the transaction around them is the database's own.
    """

    part: str
    number: int
    name: str
    script: str


Migrations = Mapping[str, tuple[Migration, ...]]
"""By part, in order of their numbers."""


def find_migrations(package: Traversable | None = None) -> Migrations:
    """Return the migrations of every part that has a folder `migrations`, wherever in the package its own folder is.

    Parts that are switched off are included: their tables cost nothing, and must not look like those of a newer orchd.

    Args:
        package: the folder of the package; None = orchd's own.

    Raises:
        ValueError: the numbers of a part are not 1, 2, 3 and so on, or two parts have one name.
    """
    found: dict[str, tuple[Migration, ...]] = {}
    for folder in _folders(package or files("orchd")):
        if (scripts := folder / "migrations").is_dir():
            if folder.name in found:
                raise ValueError(f"cannot use the migrations of {folder.name}: two parts have that name")
            found[folder.name] = _of_part(folder.name, scripts)
    return dict(sorted(found.items()))


def _folders(above: Traversable) -> Iterator[Traversable]:
    for folder in above.iterdir():
        if folder.is_dir() and folder.name != "migrations":
            yield folder
            yield from _folders(folder)


def _of_part(part: str, folder: Traversable) -> tuple[Migration, ...]:
    steps = [
        Migration(part, int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda each: each.name)
        if (match := _NAME.fullmatch(file.name)) is not None
    ]
    if [step.number for step in steps] != [*range(1, len(steps) + 1)]:
        raise ValueError(f"cannot use the migrations of {part}: they are not numbered 001, 002 and so on")
    return tuple(steps)
