"""EDGE. Serves as a provider's RPC server: at a URL with a key in its path, which must never be told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

KEY = "k3y-of-the-rpc-server"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, port: int = 0) -> AsyncIterator[str]:
    """Let `handler` answer what is posted to the URL that this gives, on loopback."""
    app = web.Application()
    app.router.add_post(f"/v2/{KEY}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v2/{KEY}"
    finally:
        await runner.cleanup()
