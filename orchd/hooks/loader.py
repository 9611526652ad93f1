"""EDGE. Finds, imports and makes the hooks that the settings name. Each error says where, what, and what to do."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from pydantic import ValidationError

from orchd.domain.redact import scrub
from orchd.errors import HookError
from orchd.hooks.entries import HookEntry, meant
from orchd.hooks.hook import HookOptions, JobHook
from orchd.hooks.settings import HooksSettings
from orchd.hooks.trust import check_trusted
from orchd.settings.section import FreeTable

OptionsT = TypeVar("OptionsT", bound=HookOptions)


def load_hook(entry: HookEntry, settings: HooksSettings) -> JobHook:
    """Import an operator's hook and make it with its options.

    Raises:
        HookError.
    """
    what = f"the hook {entry.name}"
    folders = [_folder(each, what) for each in settings.path]
    module = _import(entry.module, folders, what)
    made: object = getattr(module, entry.type_name, None)
    if made is None:
        raise HookError(
            f"cannot load {what}: {module.__file__} has no {entry.type_name}{meant(entry.type_name, vars(module))}"
        )
    if not (isinstance(made, type) and issubclass(made, JobHook)):
        raise HookError(
            f"cannot load {what}: {entry.type_name} in {module.__file__} is no class derived from "
            "orchd.hooks.api.JobHook"
        )
    options = options_of(made.Options, settings.tables.get(entry.name), entry.name)
    try:
        return made(options)
    except BaseException as exc:
        raise HookError(f"cannot load {what}: making {entry.type_name} failed: {_told(exc)}") from exc


def _folder(path: str, what: str) -> Path:
    folder = Path(path)
    if not folder.is_absolute():
        raise HookError(f"cannot load {what}: hooks.path names {path!r}; give an absolute folder")
    if not folder.is_dir():
        raise HookError(f"cannot load {what}: hooks.path names {path}, which is no folder; create it, or correct it")
    return folder


def _import(name: str, folders: list[Path], what: str) -> ModuleType:
    """Import a module from one of the folders, else from what is installed."""
    file = next((found for folder in folders for found in _candidates(folder, name) if found.is_file()), None)
    if file is not None:
        folder = next(folder for folder in folders if file.is_relative_to(folder))
        check_trusted(folder, what)
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # At the end: nothing of ours or of Python's is taken for a hook's.
        importlib.invalidate_caches()
    else:
        where = f"is in none of {', '.join(map(str, folders))}" if folders else "is not in hooks.path, which is empty,"
        top = name.partition(".")[0]
        installed = _spec(top)
        if installed is None or installed.origin is None:
            raise HookError(
                f"cannot load {what}: the module {name} {where} and is not installed; put "
                f"{name.replace('.', '/')}.py there, or correct hooks.order or hooks.path"
            )
        check_trusted(Path(installed.origin).parent if _is_package(installed.origin) else Path(installed.origin), what)
    try:
        module = importlib.import_module(name)
    except BaseException as exc:
        raise HookError(f"cannot load {what}: importing {file or name} failed: {_told(exc)}") from exc
    if file is not None and Path(module.__file__ or "").resolve() != file.resolve():
        raise HookError(
            f"cannot load {what}: Python finds another module named {name} first ({module.__file__}); rename {file}"
        )
    return module


def _spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except ValueError:  # A module that says nothing of where it is from, such as __main__.
        return None


def _is_package(origin: str) -> bool:
    return Path(origin).name == "__init__.py"


def _candidates(folder: Path, name: str) -> tuple[Path, Path]:
    base = folder.joinpath(*name.split("."))
    return base.with_name(f"{base.name}.py"), base / "__init__.py"


def options_of(options: type[OptionsT], table: FreeTable | None, name: str) -> OptionsT:
    """Return the options that a hook's table holds.

    Raises:
        HookError: they can't be used; each with its line.
    """
    values: Mapping[str, object] = {} if table is None else table.values
    try:
        return options.model_validate(dict(values))
    except ValidationError as exc:
        lines = []
        for error in exc.errors(include_url=False, include_input=False):
            option = str(error["loc"][0]) if error["loc"] else ""
            where = "" if table is None else f" ({table.origins.get(option, table.origin)})"
            known = options.model_fields
            if error["type"] == "extra_forbidden":
                lines.append(
                    f"cannot use unknown option hooks.{name}.{option}{where}{meant(option, known)}; the hook has "
                    f"{', '.join(known) or 'none'}"
                )
            else:
                shown = f"hooks.{name}.{option}" if option else f"[hooks.{name}]"
                lines.append(f"cannot use {shown}{where}: {error['msg'].removeprefix('Value error, ')}")
        raise HookError("\n".join(lines)) from exc
    except Exception as exc:
        raise HookError(f"cannot load the hook {name}: checking its options failed: {_told(exc)}") from exc


def _told(exc: BaseException) -> str:
    """Return what was raised and where, in one line."""
    frames = traceback.extract_tb(exc.__traceback__)
    if isinstance(exc, SyntaxError):
        where = f"{exc.filename}:{exc.lineno}"
    else:
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(exc).__name__}: {scrub(str(exc))[:300]}" + (f" at {where}" if where else "")
