"""Makes what the code knows better than a writer: `python -m tests.reference_pages` writes it into the pages.

Between `<!-- name -->` and `<!-- /name -->` of a page stands what a function here returns; tests/test_docs.py fails
where the two differ.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from orchd import daemon_metrics
from orchd.cli import COMMANDS, build_parser
from orchd.history.ports import Kind
from orchd.metric_lines import Family
from orchd.parts import faces
from orchd.settings.reference import settings_table
from tests.man_page import MAN_PAGE, man_page

DOCS = Path(__file__).parents[1] / "docs"


def commands() -> str:
    """Return every command with its arguments, in Markdown; flags that all settings have are left out."""
    parser = build_parser()
    text = []
    for name in COMMANDS:
        command = parser.commands[name].filled()
        text.append(f"## orchd {name}\n\n{command.description}\n")
        rows = [row for action in command._actions if (row := _row(action))]
        if rows:
            text.append("\n".join(["| argument | meaning |", "|---|---|", *rows]) + "\n")
        if settings := [action for action in command._actions if str(action.dest).startswith("setting:")]:
            shown = [action for action in settings if action.help is not argparse.SUPPRESS]
            what = "Every setting is a flag of it" if len(shown) > 10 else "Settings that it reads"
            flags = "" if len(shown) > 10 else ": " + ", ".join(f"`{action.option_strings[0]}`" for action in shown)
            text.append(f"{what}{flags} ([settings](settings.md)).\n")
    return "\n".join(text)


def _row(action: argparse.Action) -> str:
    if str(action.dest).startswith("setting:") or action.help is argparse.SUPPRESS or action.dest == "help":
        return ""
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    if action.option_strings and action.nargs != 0:
        name += f" {action.metavar or '{' + ','.join(action.choices or [action.dest.upper()]) + '}'}"
    return f"| `{name}` | {(action.help or '').replace('%%', '%').replace('|', chr(92) + '|')} |"


def metrics() -> str:
    """Return every metric, by part, in Markdown."""
    text = []
    for module in (daemon_metrics, *faces("metrics")):
        families = [value for value in vars(module).values() if isinstance(value, Family) and value.name]
        about = (module.__doc__ or "").splitlines()[0]
        rows = [
            f"| `{one.name}` | {one.type} | {', '.join(f'`{label}`' for label in one.labels)} | {one.unit} "
            f"| {one.help} | {one.good_for} |"
            for one in sorted({*families}, key=lambda family: family.name)
        ]
        head = ("| metric | type | labels | unit | meaning | good for |", "|---|---|---|---|---|---|")
        text.append("\n".join([f"{about}\n", *head, *rows]) + "\n")
    return "\n".join(text)


def kinds() -> str:
    """Return every kind of event, in Markdown."""
    rows = [f"| `{kind}` | {kind.meaning} |" for kind in Kind]
    return "\n".join(["| kind | meaning |", "|---|---|", *rows]) + "\n"


PAGES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "reference/settings.md": ("settings", settings_table),
    "reference/metrics.md": ("metrics", metrics),
    "reference/cli.md": ("commands", commands),
    "reference/events.md": ("kinds", kinds),
}


def with_made(page: str, text: str) -> str:
    """Return the page's text with what is made for it."""
    name, made = PAGES[page]
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    found = re.sub(f"{begin}.*?{end}", lambda _: begin + made() + end, text, flags=re.DOTALL)
    assert begin in found, f"{page} has no {begin}"
    return found


if __name__ == "__main__":
    for page in PAGES:
        path = DOCS / page
        path.write_text(with_made(page, path.read_text()))
    MAN_PAGE.write_text(man_page())
