"""Logs on a terminal steer nothing; elsewhere they are as they were written."""

from __future__ import annotations

import base64
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.cli import log_text
from orchd.cli.log_text import LogPrinter, TerminalText


def on_terminal(*pieces: bytes) -> str:
    text = TerminalText()
    return "".join(text.feed(piece) for piece in pieces) + text.feed(b"", last=True)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"a\tb\r\n", "a\tb\r\n"),
        (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        (b"\x1b[2J\x1b[H", "^[[2J^[[H"),
        (b"\x1b]0;title\x07", "^[]0;title^G"),
        (b"\x00\x08\x7f", "^@^H^?"),
        ("\x9b31m".encode(), "\\x9b31m"),
        (b"\xff\xfe caf\xc3\xa9", "\\xff\\xfe café"),
        (b"\x1b", "^["),
        ("a \u202eb\u2066".encode(), "a \\u202eb\\u2066"),
    ],
)
def test_on_a_terminal_colours_stay_and_what_steers_it_is_made_visible(written: bytes, shown: str) -> None:
    assert on_terminal(written) == shown


@given(st.lists(st.sampled_from([b"\x1b", b"[", b"1;3", b"m", b"J", b"\xc3", b"\xa9", b"x", b"\x9b"]), max_size=12))
def test_it_does_not_matter_where_a_log_is_cut(pieces: list[bytes]) -> None:
    whole = on_terminal(b"".join(pieces))
    assert on_terminal(*pieces) == whole
    left = log_text._KEPT.sub("", whole)
    assert left.isprintable()


class Output(io.TextIOWrapper):
    def __init__(self, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def written(self) -> bytes:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


def data(replica: int, text: bytes) -> dict[str, object]:
    return {"replica": replica, "data": base64.b64encode(text).decode()}


def printed(monkeypatch: pytest.MonkeyPatch, *news: dict[str, object], terminal: bool = False) -> bytes:
    output = Output(terminal)
    monkeypatch.setattr(sys, "stdout", output)
    printer = LogPrinter()
    for one in news:
        printer.take(one)
    printer.end()
    return output.written()


def test_piped_a_log_is_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"\x1b[2J\xff\x00 half"
    assert printed(monkeypatch, {"several": False}, data(0, text), data(0, b" a line")) == text + b" a line"


def test_lines_of_several_replicas_are_never_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = printed(
        monkeypatch, {"several": True}, data(0, b"a"), data(1, b"b\nc"), data(0, b"aa\n"), data(1, b"cc"), data(0, b"d")
    )
    assert sorted(found.splitlines()) == [b"#0 aaa", b"#0 d", b"#1 b", b"#1 ccc"]
    assert found.endswith(b"\n")


def test_a_line_without_end_is_shown_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_text, "LONGEST_LINE", 4)
    assert printed(monkeypatch, {"several": True}, data(1, b"abcdefghij")) == b"#1 abcd\n#1 efgh\n#1 ij\n"


def test_where_a_log_ends_is_said_apart_from_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended: dict[str, object] = {"model": "llm/a", "replica": 0, "at": 0.0, "ended": "it exited with code 3"}
    assert printed(monkeypatch, data(0, b"half"), ended) == b"half"
    assert printed(monkeypatch, data(0, b"\x1b[31mhalf"), ended, terminal=True) == b"\x1b[31mhalf\x1b[0m\n"
    said = capfd.readouterr().err.splitlines()
    assert [line.startswith("orchd: llm/a#0 ended ") for line in said] == [True, True]
    assert said[0].endswith(": it exited with code 3")
