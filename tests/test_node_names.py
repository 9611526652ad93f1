"""A text for users says "go-livepeer" only where it can't be Livepeer Node; else it names both, or says "the node"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME = "go-livepeer"
ITS_OWN = (
    "BYOC",
    "gRPC",
    "byoc_",
    "CLI port",
    "cert.pem",
    "-orchSecret",
    "-liveRunnerConfig",
    "go-livepeer 0.",
    "certificate",
)
"""What Livepeer Node does not have: a text that speaks of one of these is about go-livepeer."""
ABOUT_IT = {
    "orchd/advertise/byoc": "BYOC",
    "orchd/advertise/live_runner/dialects/golivepeer.py": "its Live Runner; Livepeer Node's is beside it",
    "orchd/advertise/live_runner/static.py": "runners that its CLI port lists",
    "orchd/node/cli_port.py": "Livepeer Node has no CLI port",
    "orchd/catalog": "it reads aiModels.json too, which Livepeer Node does not",
    "docs/reference/aiModels.md": "likewise",
    "docs/how-to/day-two.md": "likewise: shows a message of orchd/catalog",
    "docs/how-to/from-go-livepeer-to-livepeer-node.md": "names both in its title",
}
PAGES = [
    *(ROOT / name for name in ("README.md", "config/orchd.toml", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("deploy/*")),
    *(
        page
        for folder in ("how-to", "tutorial", "reference", "explanation")
        for page in ROOT.glob(f"docs/{folder}/*.md")
    ),
]


def told(source: str) -> Iterator[str]:
    """Yield each text of a module that is no docstring, that of an f-string with … for what is filled in."""
    tree = ast.parse(source)
    silent = {
        id(part)
        for node in ast.walk(tree)
        for part in ast.walk(node)
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) or isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.value


def paragraphs(text: str) -> Iterator[str]:
    """Yield each paragraph, row of a table, item of a list, or comment."""
    for block in re.split(r"\n(?:#?\s*\n|(?=\s*[-|*] |#? *[a-z_.]+ = |#+ ))", text):
        yield " ".join(block.split())


def means_either(text: str) -> bool:
    """Return whether a text may be read beside Livepeer Node, and says the other name."""
    return NAME in text and text != NAME and "Livepeer Node" not in text and not any(each in text for each in ITS_OWN)


def is_about_it(path: Path) -> bool:
    name = str(path.relative_to(ROOT))
    return any(name == each or name.startswith(f"{each}/") for each in ABOUT_IT)


@pytest.mark.parametrize("path", sorted(ROOT.glob("orchd/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_settings_and_log_lines_name_the_program_that_they_mean(path: Path) -> None:
    source = path.read_text()
    if NAME in source and not is_about_it(path):
        assert [text for text in told(source) if means_either(text)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_alerts_and_units_name_the_program_that_they_mean(path: Path) -> None:
    if not is_about_it(path):
        assert [text for text in paragraphs(path.read_text()) if means_either(text)] == []


@pytest.mark.parametrize("name", ABOUT_IT)
def test_what_is_about_go_livepeer_alone_still_speaks_of_it(name: str) -> None:
    path = ROOT / name
    assert any(NAME in file.read_text() for file in ([path] if path.is_file() else path.glob("**/*.py")))


def test_a_text_that_may_mean_either_is_found() -> None:
    source = f'"""{NAME}"""\nx = f"{NAME} is not {{y}}" "!"\nz = "{NAME} and Livepeer Node"\nt = "{NAME} has BYOC"\n'
    assert [text for text in told(source) if means_either(text)] == [f"{NAME} is not …!"]
