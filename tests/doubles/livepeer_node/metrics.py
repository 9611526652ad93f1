"""The metrics port. Source: livepeer-node.md 3; the recordings."""

from __future__ import annotations

from aiohttp import web

from tests.doubles.livepeer_node.registry import Registry


def routes(registry: Registry) -> list[web.RouteDef]:
    """Runners that are hidden, or silent and not yet swept, count too."""

    async def numbers(_request: web.Request) -> web.StreamResponse:
        runners = sum(1 for _ in registry.runners())
        text = f"livepeer_runners {runners}\nlivepeer_sessions {registry.session_count}\n"
        return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def healthz(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="ready\n")

    return [web.get("/metrics", numbers), web.get("/healthz", healthz), web.get("/readyz", readyz)]
