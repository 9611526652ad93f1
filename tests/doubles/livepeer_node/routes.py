"""The node's routes: Go's mux as far as they need it. Source: livepeer-node.md 4."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from tests.doubles.shared.answers import method_not_allowed, not_found

Handler = Callable[..., Awaitable[web.StreamResponse]]
"""Gets the request and the path's variables, in order; `{rest...}` stays as the caller escaped it."""


@dataclass(frozen=True)
class Route:
    pattern: re.Pattern[str]
    methods: tuple[str, ...]
    handler: Handler


def route(path: str, handler: Handler, *methods: str) -> Route:
    """`{name}` is one segment, `{rest...}` what is left, with its slash; no methods = all."""
    pattern = re.escape(path).replace(r"\{rest\.\.\.\}", "((?:/.*)?)")
    return Route(re.compile(re.sub(r"\\\{\w+\\\}", "([^/]+)", pattern)), methods, handler)


async def answer(routes: list[Route], request: web.Request, path: str) -> web.StreamResponse:
    """Answer by the routes whose path fits; `path` is as the caller escaped it."""
    allowed: set[str] = set()
    for one in routes:
        match = one.pattern.fullmatch(path)
        if match is None:
            continue
        if not one.methods or request.method in one.methods:
            found = [part if not part or part.startswith("/") else unquote(part) for part in match.groups()]
            return await one.handler(request, *found)
        allowed |= set(one.methods)
    return method_not_allowed(*allowed) if allowed else not_found()
