"""What `[hooks] order` says: which hooks there are, and under which names. Pure; nothing is imported."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchd.errors import HookError
from orchd.hooks.settings import BUILT_IN, WITH_OPTIONS, HooksSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.IGNORECASE)
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class HookEntry:
    """One entry of `[hooks] order`.

    Attributes:
        name: of the hook, and of its table `[hooks.NAME]`.
        module, type_name: where its class is; empty = it is built in.
    """

    name: str
    module: str = ""
    type_name: str = ""


def entries(settings: HooksSettings) -> tuple[HookEntry, ...]:
    """Return the hooks in their order.

    Raises:
        HookError: an entry can't be read, a name stands twice, or a table belongs to no hook that has options.
    """
    found: dict[str, HookEntry] = {}
    for text in settings.order:
        entry = _entry(text)
        if entry.name in found:
            raise HookError(
                f"cannot use hooks.order: two hooks are named {entry.name}; give one another name, such as "
                f"{entry.name}2={entry.module or 'module'}:{entry.type_name or 'Class'}"
            )
        found[entry.name] = entry
    for name, table in settings.tables.items():
        if name not in found:
            raise HookError(
                f"cannot use [hooks.{name}] ({table.origin}): hooks.order names no hook {name}{meant(name, found)}"
            )
        if table.values and not found[name].module and name not in WITH_OPTIONS:
            raise HookError(
                f"cannot use [hooks.{name}] ({table.origin}): {name} comes with orchd and has no options; take them out"
            )
    return tuple(found.values())


def check_one_takes_payment(names: Sequence[str]) -> None:
    """Check that at most one hook takes payment.

    Args:
        names: of those that do.

    Raises:
        HookError: there are several.
    """
    if len(names) > 1:
        raise HookError(
            f"cannot use hooks.order: {' and '.join(names)} take payment, and a job is paid for once; leave one of "
            "them in it"
        )


def _entry(text: str) -> HookEntry:
    named, equals, where = text.rpartition("=")
    module, colon, type_name = where.partition(":")
    if not colon:
        if equals or text not in BUILT_IN:
            raise HookError(
                f"cannot use hooks.order: there is no hook {text!r}{meant(text, BUILT_IN)}; your own are named as "
                "module:Class"
            )
        return HookEntry(text)
    name = named if equals else module.rpartition(".")[2]
    if not _MODULE.fullmatch(module) or not type_name.isidentifier() or not _NAME.fullmatch(name):
        raise HookError(f"cannot use hooks.order: {text!r} is no hook; write module:Class or NAME=module:Class")
    if name in BUILT_IN or name in HooksSettings.model_fields:
        raise HookError(f"cannot use hooks.order: the name {name} is taken; write NAME={module}:{type_name}")
    return HookEntry(name, module, type_name)


def meant(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, [each for each in known if not each.startswith("_")], n=1)
    return f" (did you mean {near[0]}?)" if near else ""
