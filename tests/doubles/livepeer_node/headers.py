"""PURE. Which headers the node passes on, drops and sets on the way to a runner. Source: livepeer-node.md 9.1."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from tests.doubles.livepeer_node.transport import Headers

_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_SET_BY_NODE = {"host", "content-length", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}


def without_hops(headers: Iterable[tuple[str, str]]) -> Headers:
    pairs = list(headers)
    named = {part.strip().lower() for name, value in pairs if name.lower() == "connection" for part in value.split(",")}
    return [(name, value) for name, value in pairs if name.lower() not in _HOP_BY_HOP | named]


def canonical(name: str) -> str:
    """Go's spelling of a header's name."""
    return "-".join(part.capitalize() for part in name.split("-"))


def towards_runner(request: web.Request, added: dict[str, str]) -> Headers:
    """Return the headers in the order in which Go's client sends them."""
    overwritten = {name.lower() for name in added} | _SET_BY_NODE
    kept = [(canonical(n), v) for n, v in without_hops(request.headers.items()) if n.lower() not in overwritten]
    if "trailers" in request.headers.get("TE", "").lower():
        kept.append(("Te", "trailers"))
    upgrade = request.headers.get("Upgrade", "")
    if upgrade and "upgrade" in request.headers.get("Connection", "").lower():
        kept += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
    kept += added.items()
    kept += [
        ("X-Forwarded-For", request.remote or ""),
        ("X-Forwarded-Host", _host(request)),
        ("X-Forwarded-Proto", "http"),
    ]
    return _framing(request) + sorted(kept)


def _framing(request: web.Request) -> Headers:
    """What says how long the body is; trailers are announced, and never come."""
    if request.headers.get("Content-Length", "0") != "0":
        return [("Content-Length", request.headers["Content-Length"])]
    if request.can_read_body:
        trailers = request.headers.get("Trailer")
        return [("Transfer-Encoding", "chunked"), *([("Trailer", trailers)] if trailers else [])]
    return [("Content-Length", "0")] if request.method in ("POST", "PUT", "PATCH") else []


def _host(request: web.Request) -> str:
    """The absolute form of a target goes before the Host header; without either it is empty."""
    if "://" in request.raw_path.partition("?")[0]:
        return urlsplit(request.raw_path).netloc
    return request.headers.get("Host", "")


def asks_for_gzip(request: web.Request, headers: Headers) -> bool:
    """Go's client asks for gzip where the caller asked for nothing, and undoes it."""
    names = {name.lower() for name, _ in headers}
    if {"accept-encoding", "range"} & names or request.method == "HEAD":
        return False
    headers.append(("Accept-Encoding", "gzip"))
    return True
