"""EDGE. What is judged before any route, and how errors look. Source: livepeer-node.md 4.

In order: the header's size, `..`, the proxy template, the base path, a free place; then the routes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import web

from tests.doubles.livepeer_node.registry import Refused
from tests.doubles.shared.answers import marshal
from tests.doubles.shared.go_http import Dropped

MAX_HEADER_BYTES = (1 << 20) + 4096
MAX_HEADER_VALUES = 128
MAX_BODY_BYTES = 1 << 20
_UNCHUNKED_BYTES = 2048
_TOO_LARGE = "431 Request Header Fields Too Large"


def said(value: Any, status: int = 200, *, close: bool = False) -> web.Response:
    """A JSON answer; longer ones are chunked."""
    text = marshal(value) + "\n"
    response = web.Response(status=status, body=text.encode(), headers={"Content-Type": "application/json"})
    if len(text.encode()) > _UNCHUNKED_BYTES:
        response.enable_chunked_encoding()
    if close:
        response.headers["Connection"] = "close"
        response.force_close()
    return response


def error(refused: Refused) -> web.Response:
    return said({"error": str(refused)}, refused.status, close=refused.close)


def check_size(request: web.Request) -> None:
    """Raises Dropped, with the refusal written."""
    # Every header counts, Host and Connection among them.
    size = len(request.raw_path) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
    if size > MAX_HEADER_BYTES or len(request.raw_headers) > MAX_HEADER_VALUES:
        plain = "Content-Type: text/plain; charset=utf-8"
        lines = [f"HTTP/1.1 {_TOO_LARGE}", plain, "Connection: close", "", _TOO_LARGE]
        if request.transport is not None:
            request.transport.write("\r\n".join(lines).encode())
        raise Dropped


def path_of(request: web.Request) -> str:
    """The path of the target as the caller escaped it. Raises Refused for one that climbs."""
    path = request.raw_path.partition("?")[0]
    if "://" in path:
        path = urlsplit(path).path or "/"
    if ".." in unquote(path).split("/"):
        raise Refused(400, "invalid path")
    return path


def query_of(request: web.Request) -> str | None:
    """None = there was no question mark."""
    _, mark, query = request.raw_path.partition("?")
    return query if mark else None


@dataclass(frozen=True)
class Bases:
    """The paths of the two URLs that the node calls itself by."""

    service_url: str
    runner_service_url: str

    def strip(self, path: str) -> str:
        """Take the base path off. Raises Refused where none fits and one is needed."""
        bases = {urlsplit(url).path.rstrip("/") for url in (self.service_url, self.runner_service_url)}
        for base in sorted(bases, key=len, reverse=True):
            if base and (path == base or path.startswith(base + "/")):
                return path.removeprefix(base) or "/"
        if "" not in bases:
            raise Refused(404, "route not found")
        return path


@dataclass(frozen=True)
class ProxyTemplate:
    """`{proxy}` is a whole label of the host, and then there is no path; or the last segment of the path."""

    template: str

    @property
    def in_host(self) -> bool:
        return "{proxy}" in urlsplit(self.template).netloc

    def url(self, proxy_id: str) -> str:
        return self.template.replace("{proxy}", proxy_id)

    def match(self, host: str, path: str) -> tuple[str, str] | None:
        """Return proxy id and the path behind it; None if the request is for something else."""
        parts = urlsplit(self.template)
        if self.in_host:
            before, _, after = parts.netloc.lower().partition("{proxy}")
            label = host.lower().removeprefix(before).removesuffix(after)
            fits = host.lower() == before + label + after and label and "." not in label
            return (label, path) if fits else None
        prefix = parts.path.removesuffix("{proxy}")
        if host.lower() != parts.netloc.lower() or not path.startswith(prefix):
            return None
        proxy_id, slash, rest = path.removeprefix(prefix).partition("/")
        return (unquote(proxy_id), slash + rest) if proxy_id else None
