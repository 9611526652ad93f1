"""Which registries there are: every folder beside this file is one. None of them is imported before it is used.

A registry's folder has these modules, and nothing else in orchd names it:

    __init__.py     `ABOUT`: its title, and the error codes that only it knows
    registry.py     `make`: builds it; `spoken`: does the node have it?
    left_behind.py  `left`, `take_back`: what an orchd that was killed has told it, for `orchd down`
    prices.py       `HEADING`, `describe`, `remarks`: what it is told of a price, for `orchd price`
    export.py       `export`: a file for the node in place of registrations; only where `ABOUT` says so
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from orchd.errors import Code


@dataclass(frozen=True, slots=True)
class AboutRegistry:
    """What is said of a registry where it does not run: metrics, status, commands.

    Attributes:
        title: for people, such as `Live Runner`.
        codes: error codes of its calls beside those that every registry has.
        exports: it can be given to the node as a file, too: the folder has a module `export`.
    """

    title: str
    codes: tuple[Code, ...] = ()
    exports: bool = False


@cache
def names() -> tuple[str, ...]:
    """Return the registries' names as settings, metrics and `/status` have them, such as `live-runner`."""
    return tuple(sorted(_name(each.name) for each in pkgutil.iter_modules([str(Path(__file__).parent)]) if each.ispkg))


def about(name: str) -> AboutRegistry:
    """Return what is said of a registry."""
    found = import_module(_package(name)).ABOUT
    assert isinstance(found, AboutRegistry)
    return found


def module(name: str, which: str) -> ModuleType:
    """Return a module of a registry's folder, such as `prices`; it is imported now if it was not yet."""
    return import_module(f"{_package(name)}.{which}")


def _name(folder: str) -> str:
    return folder.replace("_", "-")


def _package(name: str) -> str:
    return f"{__package__}.{name.replace('-', '_')}"
