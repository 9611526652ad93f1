"""Which models file `orchd check` and `orchd price` read: the service's, unless another one is named."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from orchd.cli.flags import given_for
from orchd.settings.basic import MODELS_FILE
from orchd.settings.files import CONFIG_FILE, call
from orchd.settings.tree import Settings

SERVICE_FILE = CONFIG_FILE.parent / MODELS_FILE.default
"""The service's: it runs in the folder of its settings file."""

WHICH_FILE = """\
It reads the file that the setting models_file names. Where nothing sets that, it is aiModels.json in the working
directory, else the service's: /etc/orchd/aiModels.json. It says on stderr which one it reads."""
ERRORS = "Exit codes: 0 = no errors; 1 = the file has errors; 2 = the command or the settings are wrong."


def find_models_file(args: argparse.Namespace, settings: Settings, env: Mapping[str, str]) -> Path:
    """Return the file that the settings name; without that, the default here or else in the service's folder.

    Which one it is and why is said on stderr, unless the command line names it.
    """
    given = given_for(MODELS_FILE, args, env)
    path, why = Path(settings.models_file), f"as {given.origin} says" if given else "in the working directory"
    if given is None and not _is_there(path):
        if _is_there(SERVICE_FILE):
            path, why = SERVICE_FILE, "where the service has it; there is none in the working directory"
        else:
            why += f"; there is no {SERVICE_FILE} either"
    if given is None or not given.is_flag:
        print(f"orchd: reading {path}, {why}", file=sys.stderr)
    return path


def _is_there(path: Path) -> bool:
    try:
        return call(path.exists)
    except OSError:  # Its reader says why.
        return True
