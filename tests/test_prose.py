"""Comments, docstrings and messages are in plain English. What docstrings must hold besides: test_architecture.py."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "orchd"
FILES = sorted(PACKAGE.rglob("*.py"))

NOT_PLAIN = {
    r"\banew\b": "again",
    r"\bshall\b": "must, is to, or the present",
    r"\bsave (for|that|by|of|where|when|in|pulls)\b|, save [a-z]": "except",
    r"\bit is none\b|\b(is|are) no (regular|list|number|sentence|error)\b": "it is not a ...",
    r"\b(whoever|thereby)\b": "anybody who, what, so",
    r"\bso long\b(?! (as|that))|\bso long as\b": "this long, while, as long as",
    r"\b(elder|elders|heir|heirs)\b": "former, successor",
    r"\btime-outs?\b": "timeout",
    r"\blook(s|ed|ing)? before (it|they|we) sleep|\blook before sleeping\b": "busy-poll before blocking",
    r"\bwho is late\b": "which timeout has passed",
    r"\bparked\b": "failed, given up",
    r"\bWorld\b|\bHands\b|\bEars\b": "what they do",
}
"""Words of a private dialect, and what to write for them."""
PAGES = sorted(page for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if page.parent.name != "protocol")
OTHERS = [*PAGES, ROOT / "config" / "orchd.toml", ROOT / "Makefile", *sorted((ROOT / "deploy").iterdir())]

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield comments, docstrings and other literal text, with the line where each begins."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def not_plain(text: str) -> list[str]:
    """Return what of the text is private dialect, and what to write instead."""
    return [
        f"{match[0].strip()!r}: write {instead}"
        for pattern, instead in NOT_PLAIN.items()
        for match in re.finditer(pattern, text)
    ]


@each_file
def test_comments_docstrings_and_messages_are_plain_english(path: Path) -> None:
    assert [(line, found) for line, text in prose(path) for found in not_plain(text)] == []


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_and_files_that_operators_read_are_plain_english(path: Path) -> None:
    assert not_plain(path.read_text()) == []


def test_the_dialect_is_noticed() -> None:
    assert not_plain("made anew, save for what shall stay")
    assert not not_plain("made again, except for what must stay; orchd saves it")
