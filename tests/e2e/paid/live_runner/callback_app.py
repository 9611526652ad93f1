"""A container's program that speaks for its session, with Livepeer's Python SDK, in `environments.SDK`; on $PORT.

`POST /make` makes a channel and a proxy for the session, and writes the segment 0 of the channel. `POST /behind` is
what the proxy leads to. `POST /end` ends the session.
"""

from __future__ import annotations

import os

import aiohttp
from aiohttp import web
from livepeer_gateway import create_proxy, create_trickle_channels  # type: ignore[import-not-found]


async def health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def make(request: web.Request) -> web.Response:
    [channel] = await create_trickle_channels(request, [{"name": "out", "mime_type": "text/plain"}], timeout=60)
    proxy = await create_proxy(request, timeout=60)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{channel['internal_url']}/0", data=b"hello", headers={"Content-Type": "text/plain"}) as answer,
    ):
        token = request.headers["Livepeer-Session-Token"]  # No client is told that, but our test has to know it.
        said = {"channel": channel["url"], "proxy": proxy.url, "written": answer.status, "token": token}
        return web.json_response(said)


async def behind(request: web.Request) -> web.Response:
    return web.json_response({"session": request.headers["Livepeer-Session-Id"]})


async def end(request: web.Request) -> web.Response:
    token = {"Livepeer-Session-Token": request.headers["Livepeer-Session-Token"]}
    url = f"{request.headers['Livepeer-Session-Control']}/stop"
    async with aiohttp.ClientSession() as session, session.post(url, headers=token) as answer:
        return web.json_response({"stopped": answer.status})


if __name__ == "__main__":
    app = web.Application()
    app.add_routes(
        [web.get("/health", health), web.post("/make", make), web.post("/behind", behind), web.post("/end", end)]
    )
    web.run_app(app, host=os.environ.get("HOST", "0.0.0.0"), port=int(os.environ["PORT"]), print=None)
