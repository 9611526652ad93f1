"""What a path means to servers that read it more generously than orchd does. Pure, and linear in its length.

orchd passes paths on byte for byte. The server that gets one may decode it once or several times, take a backslash
for a slash, merge slashes, resolve dot segments, and drop `;parameters`. Where that matters (a base path must not be
left, a stream route must not be reached by a plain job), the strictest of all these readings counts, so that nothing
depends on which server it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from orchd.domain.model import Model
from orchd.doors.routes import PATH_SAFE
from orchd.realtime.routes import PREFIXES, START_ALIASES, Learnt, StreamCall, call_of, has_streams, stream_routes

MAX_PATH_LENGTH = 2048
"""Longest path that is read in all these ways; longer ones are refused, as reading them would hold up other jobs."""
_HEX = frozenset("0123456789abcdefABCDEF")
_OVERLONG = (("\xc0\xae", "."), ("\xc0\xaf", "/"), ("\xc1\x9c", "\\"))
"""Forbidden UTF-8 for characters that matter here; decoders that take it have let paths climb before."""
_PARAMETERS = re.compile(r";[^/\\]*")
_SLASHES = re.compile(r"[/\\]")
_FINEST = re.compile(r"[/\\?#]")
_NOT_SEEN = "".join(map(chr, range(0x21)))
"""Blanks and control characters, which some servers cut off a segment's end."""

Names = tuple[str, ...]


def decoded(text: str) -> str:
    """Return `text` with its percent-escapes undone, again and again until none is left."""
    if "%" not in text and "\xc0" not in text and "\xc1" not in text:
        return text
    out: list[str] = []
    for char in text:
        out.append(char)
        while len(out) >= 3 and out[-3] == "%" and out[-2] in _HEX and out[-1] in _HEX:
            out[-3:] = [chr(int(out[-2] + out[-1], 16))]
    plain = "".join(out)
    for overlong, meant in _OVERLONG:
        plain = plain.replace(overlong, meant)
    return plain


def climbs(path: str) -> bool:
    """Return whether some server would take this path for one above its root.

    `..` counts however it is written. Only a plain segment between plain slashes counts as a step down, so that what
    is one segment to some servers and several to others can't pay for a step up.
    """
    if not any(mark in path for mark in ("..", "%", "\xc0")):
        return False
    depth = 0
    for segment in path.split("/"):
        pieces = _FINEST.split(decoded(segment))
        names = _names(pieces)
        if ups := names.count(".."):
            depth -= ups
            if depth < 0:
                return True
        elif names and _names(pieces[:1]):  # Else servers that cut off parameters may find nothing in it: `;%3fa`.
            depth += 1
    return False


def dotted(path: str) -> bool:
    """Return whether some server would find a segment `.` or `..` in a path.

    One that is too long to be read in all ways counts as such.
    """
    if "." not in path and "%" not in path and "\xc0" not in path:
        return False
    if len(path) > MAX_PATH_LENGTH and ("%" in path or "\xc0" in path):
        return True
    names = (piece.partition(";")[0].strip(_NOT_SEEN) for piece in _FINEST.split(decoded(path)))
    return any(name in (".", "..") for name in names)


def stream_route(model: Model, method: bytes, path: str) -> bool:
    """Return whether some server would take this request to the model's runner for a call about a stream.

    That is whatever lies below `/stream/` and `/api/stream/` (and below the entry's own prefix), the update path of its
    profile, and a POST to where one starts a stream. Case does not matter.
    """
    if not has_streams(model.stream):
        return False
    below, exact = _routes(model, method)
    # To servers that split a path before they decode it, `/stream/%2f` is something in `/stream/`.
    for pieces in (path.split("/"), _SLASHES.split(path)):
        split_first = [decoded(piece).strip(_NOT_SEEN) or piece for piece in pieces]
        if any(_is_below(route, split_first) for route in below):
            return True
    return any(_is_route(read, below, exact) for read in _readings(path))


def meant(model: Model, method: bytes, path: str) -> StreamCall | None:
    """Return which call about a stream a path means that is spelled in some other way than callers spell it."""
    found: list[str] = []
    for name in _names(_SLASHES.split(_before_query(decoded(path)))):
        if name != "..":
            found.append(name)
        elif found:
            found.pop()
    return call_of(model, method, "/" + "/".join(found))


def _is_route(read: str, below: Sequence[Names], exact: Sequence[Names]) -> bool:
    finest = _names(_FINEST.split(read))
    if ".." in finest:
        # What dot segments leave over depends on the server, but it is always some of these, in this order.
        return any(_in_order(route, finest) for route in (*below, *exact))
    # To servers that take a backslash for a letter, `/stream/\` is something in `/stream/`.
    for pieces in (split(each) for each in (read, _before_query(read)) for split in (_SLASHES.split, _by_slash)):
        if _names(pieces) in exact or any(_is_below(route, pieces) for route in below):
            return True
    return False


def _is_below(folder: Names, pieces: Iterable[str]) -> bool:
    """Return whether a path leads to something in a folder.

    There, a piece counts that other readings leave out: a server that resolves dot segments before it decodes the path
    takes `/stream/%2e` for something in `/stream/`.
    """
    wanted = list(reversed(folder))
    for piece in pieces:
        if not wanted:
            if piece:
                return True
        elif (names := _names([piece])) and names[0] != wanted.pop():
            return False
    return False


def _routes(model: Model, method: bytes) -> tuple[list[Names], list[Names]]:
    """Return the folders in which everything is a stream route, and the routes beside them."""
    own = model.stream.route_prefix
    prefixes = {*PREFIXES, *({own} if own not in (None, "auto") else ())}
    below = [f"{prefix}/stream" for prefix in prefixes]
    exact = (
        [place.path for call in StreamCall for place in stream_routes(model, call, Learnt())] if own is not None else []
    )
    if model.stream.post_starts_stream and method == b"POST":
        exact += [quote(model.inference.path, safe=PATH_SAFE), *START_ALIASES]
    return list(map(_of, below)), list(map(_of, exact))


def _of(path: str) -> Names:
    return _names(_SLASHES.split(_before_query(decoded(path))))


def _readings(path: str) -> Iterable[str]:
    yield decoded(path)
    if ";" in path:
        yield decoded(_PARAMETERS.sub("", path))


def _by_slash(path: str) -> list[str]:
    return path.split("/")


def _before_query(path: str) -> str:
    return re.split(r"[?#]", path, maxsplit=1)[0]


def _names(pieces: Iterable[str]) -> Names:
    """Return the names in a path, folded; empty ones and `.` are left out."""
    return tuple(
        name for piece in pieces if (name := piece.partition(";")[0].strip(_NOT_SEEN).casefold()) not in ("", ".")
    )


def _in_order(wanted: Names, among: Names) -> bool:
    """Return whether all of `wanted` are there, in this order, whatever stands between them."""
    rest = iter(among)
    return all(name in rest for name in wanted)
