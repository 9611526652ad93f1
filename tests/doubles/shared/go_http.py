"""How Go's HTTP server speaks, where it differs from aiohttp's: error texts, cleaned paths, dropped connections.

Source: byoc.md 1; headers as in the recordings.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Set on a response whose Server header is a worker's: Go's server sends none of its own.
KEEP_SERVER = web.ResponseKey("keep_server", bool)


class Dropped(Exception):
    """The handler panicked: the connection is closed without an answer."""


def text_error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """`http.Error`: the message and a newline, as plain text."""
    said = {**(headers or {}), "Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, body=message.encode() + b"\n", headers=said)


def sniffed(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    """A body written without a Content-Type: Go guesses one from the first 512 bytes; none for an empty body."""
    said = dict(headers or {})
    if body:
        said["Content-Type"] = content_type(body)
    return web.Response(status=status, body=body, headers=said)


def json_text(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": "application/json"})


def content_type(body: bytes) -> str:
    """`http.DetectContentType`, as far as text, HTML and binary go."""
    start = body[:512]
    if re.match(rb"[\t\n\x0c\r ]*<(!DOCTYPE HTML|HTML|HEAD|SCRIPT|BODY)[ >]", start, re.IGNORECASE):
        return "text/html; charset=utf-8"
    if re.search(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]", start):
        return "application/octet-stream"
    return "text/plain; charset=utf-8"


def decoded_path(request: web.Request) -> str:
    """Go's `r.URL.Path`: the target without its query, percent-decoded once. Bytes that aren't UTF-8 survive."""
    return unquote_to_bytes(request.raw_path.partition("?")[0]).decode("utf-8", "surrogateescape")


def cleaned(path: str) -> str:
    """Go's `cleanPath` for the target of a request."""
    clean = posixpath.normpath("/" + path.lstrip("/")) if path else "/"
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def requoted(path: str) -> str:
    """Go cleans the escaped path and escapes it again."""
    return quote(path, safe="/$&+,:;=@~")


@web.middleware
async def go_manners(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Redirect to the cleaned path, answer 404 in Go's words, and close the connection for `Dropped`."""
    path, mark, query = request.raw_path.partition("?")
    if cleaned(path) != path:
        return web.Response(status=307, headers={"Location": requoted(cleaned(path)) + mark + query})
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return text_error(404, "404 page not found")
    except Dropped:
        if request.transport is not None:
            request.transport.close()
        return web.Response()


async def go_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """What aiohttp adds and Go doesn't: Server, and a Content-Type for nothing."""
    if not response.get(KEEP_SERVER, False):
        response.headers.pop("Server", None)
    if response.content_length == 0 and response.headers.get("Content-Type") == "application/octet-stream":
        del response.headers["Content-Type"]


def application(
    routes: list[web.RouteDef], *middlewares: Callable[..., Awaitable[web.StreamResponse]]
) -> web.Application:
    """Return an application that speaks as Go does; bodies have no size limit."""
    app = web.Application(client_max_size=0, middlewares=[*middlewares, go_manners])
    app.add_routes(routes)
    app.on_response_prepare.append(go_headers)
    return app
