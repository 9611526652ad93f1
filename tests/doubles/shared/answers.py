"""What Go's router says, and JSON of structs: fields in the order given. Source: live-runner.md 1, the recordings."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.doubles.shared.go_http import json_text, text_error

_HTML_ESCAPES = {ord("&"): "\\u0026", ord("<"): "\\u003c", ord(">"): "\\u003e"}


def method_not_allowed(*allowed: str) -> web.Response:
    """The router's own 405. Handlers that check the method themselves send no `Allow`."""
    return text_error(405, "Method Not Allowed", {"Allow": ", ".join(sorted(allowed))})


def not_found() -> web.Response:
    return text_error(404, "404 page not found")


def marshal(value: Any) -> str:
    """`json.Marshal`: no spaces, `&`, `<` and `>` escaped, no newline at the end."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).translate(_HTML_ESCAPES)


def json_answer(value: Any) -> web.Response:
    return json_text(marshal(value))
