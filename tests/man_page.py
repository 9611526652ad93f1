"""Makes the man page from the help, for `python -m tests.reference_pages`: `deploy/orchd.1`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from orchd import __version__
from orchd.cli import GROUPS, build_parser
from orchd.settings.tree import SETTINGS

ROOT = Path(__file__).parents[1]
MAN_PAGE = ROOT / "deploy" / "orchd.1"
DATE = "2026-11-30"
"""Of the version: a man page has one."""
ENVIRONMENT = {
    "ORCHD_CONFIG": "Settings file, if --config names none.",
    "ORCHD_...": "Each setting; see SETTINGS.",
    "STATE_DIRECTORY": "Folder of durable state, if the setting state_dir is empty; systemd sets it.",
    "CREDENTIALS_DIRECTORY": "Where files with secrets are looked for first; systemd sets it.",
    "DOCKER_HOST": "Address of Docker Engine; default unix:///var/run/docker.sock.",
    "NO_COLOR": "If it is set, there are no colours.",
}
FILES = {
    "/etc/orchd/orchd.toml": "Settings file, if neither --config nor ORCHD_CONFIG names another one. Relative paths in "
    "it are relative to its folder.",
    "/etc/orchd/aiModels.json": "Models file of the service; see the setting models_file.",
    "/var/lib/orchd": "Durable state of the service; see the setting state_dir.",
}


def man_page() -> str:
    """Return the man page, in the macros of man(7)."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    parser = build_parser()
    yield f'.TH ORCHD 1 "{DATE}" "orchd {__version__}" "orchd"'
    yield from (".nh", ".ad l")  # Names are not to be hyphenated.
    yield from (".SH NAME", r"orchd \- keep the AI models of a Livepeer orchestrator running, and serve their jobs")
    yield from (".SH SYNOPSIS", r".B orchd", r".I COMMAND", "[arguments]")
    yield from (".SH DESCRIPTION", _text(parser.description or ""))
    yield ".SH COMMANDS"
    for title, commands in GROUPS.items():
        yield f".SS {_text(title[0].upper() + title[1:])}"
        for name in commands:
            first, *more = (parser.commands[name].filled().description or "").split("\n\n")
            yield from _item(name, first)
            for paragraph in more:
                yield from (".IP", _text(" ".join(paragraph.split())))
            arguments = [row for action in parser.commands[name].arguments() if (row := _argument(action))]
            if arguments:
                yield ".RS"
                for title_of, meaning in arguments:
                    yield from _item(title_of, meaning)
                yield ".RE"
    yield ".SH SETTINGS"
    yield _text(
        "Each is a flag of the commands that need it, an environment variable, and a name in the settings file:"
    )
    yield _text("a flag wins over the environment, which wins over the file.")
    for setting in SETTINGS.values():
        names = f"{setting.name}, {setting.flag}, {setting.env}"
        yield from _item(names, f"{setting.description} Default: {setting.default or 'empty'}.")
    for section, entries in (("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        yield f".SH {section}"
        for name, meaning in entries.items():
            yield from _item(name, meaning)
    yield from (".SH EXIT STATUS", _text(_exit_codes()))
    yield from (".SH SEE ALSO", r".BR systemctl (1),", r".BR journalctl (1)")


def _argument(action: argparse.Action) -> tuple[str, str] | None:
    if action.dest.startswith("setting:") or action.help is argparse.SUPPRESS or action.dest == "help":
        return None
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    if action.option_strings and action.nargs != 0:
        name += f" {action.metavar or '|'.join(map(str, action.choices or [action.dest.upper()]))}"
    return name, (action.help or "").replace("%%", "%")


def _item(name: str, meaning: str) -> Iterator[str]:
    yield from (".TP", f".B {_text(name)}", _text(meaning))


def _exit_codes() -> str:
    """Return what the reference page says of them."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    found = re.search(r"^Exit codes: (.*?)\n\n", page, re.DOTALL | re.MULTILINE)
    assert found
    return " ".join(found[1].replace("`", "").split())


def _text(text: str) -> str:
    """Return one line of text for roff."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    print(man_page(), end="")
