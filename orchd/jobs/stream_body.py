"""Reads the body of a call about a stream, and checks that every container can read it. Pure; bounded in time."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from orchd.errors import Code, JobRefused

MAX_PARSED_BYTES = 256 * 1024
"""Longest body that is parsed, since parsing holds up other jobs. Of a longer one only both ends are checked."""
MAX_VALUES = 20_000
"""Most values in the JSON of a start, for the same reason. Commas are counted, those within texts too."""
MAX_DEPTH = 100
"""Most levels of arrays and objects in it: common parsers stop at a few hundred."""
MAX_ID_BYTES = 256
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def check_start(body: bytes) -> dict[str, Any]:
    """Return what the body of a start says; an empty dict if there is no body, or one too long to be parsed here.

    Raises:
        JobRefused: BAD_REQUEST: it is not a JSON object that every container can read.
    """
    if not body:
        return {}
    if len(body) > MAX_PARSED_BYTES:
        if body[:64].lstrip().startswith(b"{") and body[-64:].rstrip().endswith(b"}"):
            return {}
        raise JobRefused(Code.BAD_REQUEST, "cannot read the body of the stream's start: it is no JSON object")
    try:
        document = _read(body)
    except (ValueError, RecursionError) as exc:
        why = "it is nested too deep" if isinstance(exc, RecursionError) else str(exc)
        raise JobRefused(
            Code.BAD_REQUEST, f"cannot read the body of the stream's start as a JSON object: {why}"
        ) from exc
    if not isinstance(document, dict):
        raise JobRefused(
            Code.BAD_REQUEST,
            f"cannot read the body of the stream's start: it must be a JSON object, not {_kind(document)}",
        )
    return document


def said_id(body: bytes) -> str:
    """Return the `gateway_request_id` of a body that may be anything; empty = it has none, or is too long.

    Raises:
        JobRefused: BAD_REQUEST: it can't name a stream.
    """
    if len(body) > MAX_PARSED_BYTES:
        return ""
    try:
        return id_in(_read(body))
    except (ValueError, RecursionError):
        return ""


def id_in(document: object) -> str:
    """As `said_id`, of a body that was read."""
    named = document.get("gateway_request_id") if isinstance(document, dict) else None
    if not isinstance(named, str):
        return ""
    return stream_id(named, "gateway_request_id")


def stream_id(name: str, where: str) -> str:
    """Return the name of a stream as it is.

    Raises:
        JobRefused: BAD_REQUEST: it would not reach the container as it is.
    """
    if not name:
        return ""
    if len(name) > MAX_ID_BYTES or len(name.encode("utf-8", "replace")) > MAX_ID_BYTES:
        raise JobRefused(Code.BAD_REQUEST, f"cannot take {where}: it is longer than {MAX_ID_BYTES} bytes")
    if name != name.strip() or any(
        char < " " or "\x7f" <= char < "\xa0" or "\ud800" <= char < "\ue000" for char in name
    ):
        raise JobRefused(
            Code.BAD_REQUEST,
            f"cannot take {where}: it must be text without control characters, and without blanks around it",
        )
    return name


def _read(body: bytes) -> Any:
    """Return the JSON of a body.

    Raises:
        ValueError, RecursionError: it is not JSON, or can't be parsed in a short time.
    """
    opened = body.count(b"[") + body.count(b"{")
    if opened + body.count(b",") > MAX_VALUES:
        raise ValueError(f"it holds more than {MAX_VALUES} values")
    document = json.loads(body.decode("utf-8-sig"), parse_constant=_no_number)
    if opened > MAX_DEPTH and _is_deeper(document, MAX_DEPTH):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if _SURROGATE.search(body):
        json.dumps(document, ensure_ascii=False).encode()  # A lone surrogate is no text: many readers break on it.
    return document


def _is_deeper(document: object, most: int) -> bool:
    level = [document]
    for _ in range(most):
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner += [value for value in each.values() if isinstance(value, dict | list)]
            elif isinstance(each, list):
                inner += [value for value in each if isinstance(value, dict | list)]
        if not inner:
            return False
        level = inner
    return True


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _kind(document: object) -> str:
    match document:
        case None:
            return "null"
        case list():
            return "an array"
        case str():
            return "a text"
    return "a number, true or false"
