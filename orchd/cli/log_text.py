"""Prints logs: bytes as they were written where they go to a file or a pipe; on a terminal nothing that steers it."""

from __future__ import annotations

import base64
import codecs
import re
import sys
import time
from typing import Any

from orchd.text import printable

Json = dict[str, Any]

LONGEST_LINE = 65536
"""Bytes; of several replicas, a longer line is broken up, so that one that never ends is shown, too."""
_KEPT = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(r"\x1b\[[0-9;:]*m|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""With what turns the direction of text, which would show words in another order than they stand."""
_BEGUN = re.compile(r"\x1b(?:\[[0-9;:]{0,64})?\Z")
_RESET = "\x1b[0m"


class TerminalText:
    """Turns bytes that come in pieces into text that may be shown on a terminal: colours stay, control does not."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""

    def feed(self, piece: bytes, *, last: bool = False) -> str:
        """Return what can be shown by now; `last`: nothing more comes."""
        text = self._held + self._decoder.decode(piece, last)
        begun = None if last else _BEGUN.search(text)
        at = begun.start() if begun else len(text)
        self._held = text[at:]
        return _CONTROL.sub(_shown, text[:at])


def _shown(found: re.Match[str]) -> str:
    """Return a colour as it is, and another control character as `cat -v` shows it."""
    text = found[0]
    if _KEPT.fullmatch(text):
        return text
    code = ord(text[0])
    if code > 0xFF:
        return f"\\u{code:04x}"
    return f"\\x{code:02x}" if code >= 0x80 else f"^{chr(code ^ 0x40)}"


class LogPrinter:
    """Takes what the daemon tells, line by line (`control/logs.py`), and prints it."""

    def __init__(self) -> None:
        self._several = False
        self._open: dict[int, bytes] = {}
        self._texts: dict[int, TerminalText] = {}
        self._terminal = sys.stdout.isatty()
        self._in_line = self._coloured = False

    def take(self, news: Json) -> None:
        """Print one of the daemon's lines."""
        if "data" in news:
            self._data(int(news["replica"]), base64.b64decode(news["data"]))
        elif "ended" in news:
            self._flush(int(news["replica"]))
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(news["at"])))
            self.note(f"{news['model']}#{news['replica']} ended {at}: {news['ended']}")
        elif "note" in news:
            self.note(str(news["note"]))
        elif "several" in news:
            self._several = bool(news["several"])

    def note(self, text: str) -> None:
        """Say something that is no part of a log, on stderr."""
        self._whole_line()
        sys.stdout.flush()
        print(f"orchd: {printable(text)}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Print what is left of lines that have no end."""
        for replica in [*self._open, *self._texts]:
            self._flush(replica)
        self._whole_line()
        sys.stdout.flush()

    def _data(self, replica: int, piece: bytes) -> None:
        if not self._several:
            self._write(replica, piece)
            return
        lines = (self._open.pop(replica, b"") + piece).split(b"\n")
        rest = lines.pop()
        while len(rest) > LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        if rest:
            self._open[replica] = rest
        if lines:
            self._write(replica, b"".join(b"#%d %s\n" % (replica, line) for line in lines))

    def _flush(self, replica: int) -> None:
        """Print the rest of a log that has ended."""
        if rest := self._open.pop(replica, b""):
            self._write(replica, b"#%d %s\n" % (replica, rest))
        if text := self._texts.pop(replica, None):
            self._print(text.feed(b"", last=True))

    def _write(self, replica: int, piece: bytes) -> None:
        if self._terminal:
            self._print(self._texts.setdefault(replica, TerminalText()).feed(piece))
        else:
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()

    def _print(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            self._in_line = not text.endswith("\n")
            self._coloured = self._coloured or "\x1b" in text

    def _whole_line(self) -> None:
        """On a terminal, begin a new line in its own colour."""
        if self._terminal:
            sys.stdout.write((_RESET if self._coloured else "") + ("\n" if self._in_line else ""))
            self._in_line = self._coloured = False
