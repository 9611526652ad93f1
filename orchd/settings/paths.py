"""Paths in the settings file: a relative one is relative to that file, wherever orchd is started.

Those of flags and variables are relative to the working directory, as everywhere on a command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchd.settings.basic import IsPath
from orchd.settings.files import call, tidy
from orchd.settings.names import FORMER_UNTIL


def from_file(text: str, rule: IsPath, file: Path, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the path that `text`, of settings file `file`, means; and what is to be said about it, empty = nothing.

    What 0.1.0 found in the working directory is found there for one more version, if nothing is beside the file.
    """
    prefix = next((each for each in rule.prefixes if text.startswith(each)), None)
    if prefix is None:
        return text, ""
    path = text.removeprefix(prefix)
    if not path or path.startswith(("/", "~")):
        return text, ""
    credentials = env.get("CREDENTIALS_DIRECTORY") if rule.credential else None
    if credentials and _is_there(Path(credentials) / path):
        return text, ""
    beside, before = file.absolute().parent / path, Path(path).absolute()
    if rule.moved and not _is_there(beside) and _is_there(before):
        return str(before), (
            f"is relative to the settings file now, and there is no {beside}: {before} is used, as before. Write that "
            f"path in full, since it is looked for there until version {FORMER_UNTIL} only"
        )
    return f"{prefix}{tidy(beside)}", ""


def _is_there(path: Path) -> bool:
    """Return whether it exists; one that can't be looked for is said to be there, and its reader says why not."""
    try:
        return call(path.exists)
    except OSError:
        return True
