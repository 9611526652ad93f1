"""What `orchd check` says of hooks: options that can't be used, files that are missing. Opens none of them."""

from __future__ import annotations

from collections.abc import Iterator

from orchd.errors import HookError
from orchd.hooks.entries import HookEntry, check_one_takes_payment, entries
from orchd.hooks.hook import HookOptions
from orchd.hooks.settings import WITH_OPTIONS, HooksSettings


def hooks_refused(settings: HooksSettings) -> tuple[str, ...]:
    """Return why hooks can't be loaded, a line each; nothing is opened. The modules of one's own hooks are imported."""
    try:
        named = entries(settings)
        taking = [entry.name for entry in named if _takes_payment(entry, settings)]
        for entry in named:
            _built_in_options(entry, settings)
        check_one_takes_payment(taking)
    except HookError as exc:
        return tuple(exc.message.splitlines())
    return ()


def hook_files(settings: HooksSettings) -> Iterator[tuple[str, str]]:
    """Yield the name of each option of a hook that comes with orchd and names a file, and that file."""
    try:
        for entry in entries(settings):
            options = _built_in_options(entry, settings)
            for name in type(options).model_fields if options else ():
                if name.endswith("_file"):
                    yield f"hooks.{entry.name}.{name}", str(getattr(options, name))
    except HookError:
        return  # `hooks_refused` says why.


def _takes_payment(entry: HookEntry, settings: HooksSettings) -> bool:
    if not entry.module:
        return entry.name == "tickets"
    from orchd.hooks.loader import load_hook  # Only who has hooks pays for what they need.

    return load_hook(entry, settings).takes_payment


def _built_in_options(entry: HookEntry, settings: HooksSettings) -> HookOptions | None:
    """Return the options of a hook that comes with orchd; None = it has none.

    Raises:
        HookError: they can't be used.
    """
    if entry.name not in WITH_OPTIONS:
        return None
    from orchd.hooks.loader import options_of
    from orchd.tickets.built_in import type_of

    return options_of(type_of(entry.name).Options, settings.tables.get(entry.name), entry.name)
