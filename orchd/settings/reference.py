"""The settings as people read them: the table of the reference pages, and `config/orchd.toml`. Pure.

`python -m orchd.settings.reference` prints the file.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from pydantic import BaseModel

from orchd.settings.tree import SETTINGS, Setting, Settings

INTRODUCTION = """\
# Every setting of orchd with its default. Nothing here is needed: without a file, these are in effect.
# Keep only the lines that you change: a default that stands in a file stays as it is when orchd's changes.
#
# orchd reads the file named by --config, else by $ORCHD_CONFIG, else /etc/orchd/orchd.toml if it exists.
# Relative paths in this file are relative to the folder that it is in; those of flags and variables, and the default of
# models_file, to the working directory.
# A flag (--jobs-listen) wins over the environment (ORCHD_JOBS_LISTEN), which wins over this file.
"""
WIDTH = 110


def settings_table() -> str:
    """Return all settings as a Markdown table, for the reference pages."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for setting in SETTINGS.values():
        default = f"`{setting.default}`" if setting.default else "(empty)"
        rows.append(f"| `{setting.name}` | {default} | {setting.description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def shipped_file() -> str:
    """Return the text of `config/orchd.toml`."""
    return INTRODUCTION + "".join(_lines())


def _lines() -> Iterator[str]:
    section = ""
    for setting in SETTINGS.values():
        name, _, leaf = setting.name.rpartition(".")
        if name != section:
            section = name
            kind = Settings.model_fields[section].annotation
            assert isinstance(kind, type)
            assert issubclass(kind, BaseModel)
            yield f"\n{_comment((kind.__doc__ or '').splitlines()[0])}[{section}]\n"
        else:
            yield "\n"
        yield f"{_comment(setting.description)}{leaf} = {_toml(setting)}\n"


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False))


def _toml(setting: Setting) -> str:
    value = setting.field.default
    return json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    print(shipped_file(), end="")
