"""What could stand at the end of a command line that is being typed: commands, flags, choices, files, models.

It never raises and never takes long: somebody waits at a prompt, who did not ask for an error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from orchd.call_within import call_within
from orchd.cli import build_parser
from orchd.cli.client import get_status
from orchd.errors import OrchdError
from orchd.settings.basic import BASIC
from orchd.settings.client import ClientSettings, load_client_settings
from orchd.settings.files import CONFIG_FILE, config_file, resolve_state_dir

FILES = (":files",)
"""Tells the shell's script to complete files, which shells do better."""
ASK_S = 0.5
"""Timeout for the daemon and for the models file."""
_PATHS = ("PATH", "FILE")
_SAFE = re.compile(r"[\w./:@+=,-]+")
"""Names that no shell takes for anything else. Others have to be typed."""


def candidates(line: str) -> Sequence[str]:
    """Return what could stand in place of the last word of `line`, or `FILES`."""
    try:
        before, word = _words(line)
        flag, equals, value = word.partition("=")
        if equals and flag.startswith("--"):
            found = _for([*before, flag], value)
            return found if found is FILES else [f"{flag}={each}" for each in found]
        return _for(before, word)
    except (OrchdError, SystemExit):
        return ()


def _words(line: str) -> tuple[list[str], str]:
    """Return the words after `orchd` that are complete, and the one that is being typed."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # A quote is open.
        return [], line
    word = "" if not words or line[-1:].isspace() else words.pop()
    start = max((number for number, each in enumerate(words) if Path(each).name == "orchd"), default=-1)
    return words[start + 1 :], word


def _for(before: Sequence[str], word: str) -> Sequence[str]:
    """Return what begins like `word` and could stand after the words `before`."""
    parser = build_parser()
    command = parser.commands.get(next((each for each in before if not each.startswith("-")), ""))
    if command is None:
        return _beginning(word, parser.flags() if word.startswith("-") else parser.commands)
    arguments = command.arguments()
    by_flag = {name: action for action in arguments for name in action.option_strings}
    last = by_flag.get(before[-1])
    if last is not None and last.nargs != 0:
        return _beginning(word, _values(last, word))
    if word.startswith("-"):
        shown = (name for name, action in by_flag.items() if action.help is not argparse.SUPPRESS)
        return _beginning(word, (name for name in shown if name.startswith("--")))
    positions = [action for action in arguments if not action.option_strings]
    if not positions:
        return ()
    position = positions[min(_words_of_its_own(before, by_flag), len(positions) - 1)]
    return _beginning(word, _payers(before) if position.metavar == "PAYER" else _values(position, word))


def _words_of_its_own(before: Sequence[str], by_flag: Mapping[str, argparse.Action]) -> int:
    """Return how many of the words are neither flags, nor their values, nor the command's name."""
    pairs = zip(["", *before], before, strict=False)
    takes_value = {name for name, action in by_flag.items() if action.nargs != 0}
    return sum(not word.startswith("-") and former not in takes_value for former, word in pairs) - 1


def _beginning(word: str, found: Iterable[str]) -> Sequence[str]:
    return FILES if found is FILES else [each for each in found if each.startswith(word)]


def _values(action: argparse.Action, word: str) -> Iterable[str]:
    """Return what an argument may be."""
    if action.choices is not None:
        return map(str, action.choices)
    if action.dest.startswith("setting:"):
        return _of_setting(action.dest.partition(":")[2])
    if action.metavar == "MODEL":
        return _models(word)
    return FILES if action.metavar in _PATHS else ()


def _of_setting(name: str) -> Iterable[str]:
    if name in BASIC:
        return FILES if BASIC[name].path else ()
    from orchd.settings.load import PATHS
    from orchd.settings.tree import SETTINGS

    if PATHS.get(name):
        return FILES
    kind = SETTINGS[name].field.annotation if name in SETTINGS else None
    if get_origin(kind) is Literal:
        return map(str, get_args(kind))
    return ("false", "true") if kind is bool else ()


def _models(word: str) -> Iterable[str]:
    """Return the models by their full names; by their model ids, if that is how `word` begins."""
    settings = load_client_settings(argv={}, env=os.environ, file=config_file(None, os.environ))
    keys = [key for key in _known(settings) if all(_SAFE.fullmatch(part) for part in key)]
    names = sorted({f"{pipeline}/{model_id}" for pipeline, model_id in keys})
    if any(name.startswith(word) for name in names):
        return names
    return sorted({model_id for _, model_id in keys})


def _payers(before: Sequence[str]) -> Iterable[str]:
    """Return the addresses of those who have paid with tickets, where one may stand."""
    if "show" not in before:
        return ()
    from orchd.tickets.ledger.read import KeptLedger

    settings = load_client_settings(argv={}, env=os.environ, file=config_file(None, os.environ))
    kept = KeptLedger(resolve_state_dir(settings.state_dir, os.environ))
    try:
        return [f"0x{payer.hex()}" for payer in call_within(kept.payers, ASK_S)]
    except (OrchdError, OSError):
        return ()


def _known(settings: ClientSettings) -> list[tuple[str, str]]:
    """Return pipeline and model id of what the daemon has; without one, of what the models file names."""
    try:
        return _keys(call_within(lambda: get_status(settings.admin.listen), ASK_S)["models"])
    except (OrchdError, OSError, LookupError, TypeError):
        pass
    for path in (Path(settings.models_file), CONFIG_FILE.parent / settings.models_file):
        try:
            return _keys(call_within(lambda path=path: json.loads(path.read_bytes()), ASK_S))  # type: ignore[misc]
        except (OSError, ValueError):
            continue
    return []


def _keys(entries: Any) -> list[tuple[str, str]]:
    if not isinstance(entries, list):
        return []
    found = [(each.get("pipeline"), each.get("model_id")) for each in entries if isinstance(each, dict)]
    return [(one, other) for one, other in found if isinstance(one, str) and isinstance(other, str)]
