"""How commands talk to the running daemon: admin pages over HTTP, orders over the unix socket."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from orchd.control.server import SOCKET_NAME, short_path
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.http_client import why
from orchd.settings.section import split_listen

T = TypeVar("T")
Json = dict[str, Any]

ANSWER_TIMEOUT_S = 10.0


def get_status(listen: str, model: str | None = None) -> Json:
    """Return `/status` of the daemon whose admin pages are at `listen`; of one model if named.

    Raises:
        DaemonUnreachable: nothing answers there, or something that isn't orchd.
        OrchdError: `unknown_target`: no such model.
    """
    return asyncio.run(_get_status(listen, model))


def ask_restart(state_dir: Path, model: str) -> str:
    """Order the restart of a model; return its full name.

    Raises:
        DaemonUnreachable, OrchdError: as the daemon says it.
    """
    return asyncio.run(_ask_restart(state_dir, model))


def ask_down(state_dir: Path, tell: Callable[[str], None]) -> None:
    """Order the daemon to stop and remove all of its runners and to end; return when they are gone.

    Args:
        tell: is given one line whenever there is news.

    Raises:
        DaemonUnreachable: no daemon runs on that directory, or it ended before it was done.
    """
    asyncio.run(_ask_down(state_dir, tell))


async def _get_status(listen: str, model: str | None) -> Json:
    host, port = split_listen(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - that is what we turn into loopback
    url = f"http://[{host}]:{port}/status" if ":" in host else f"http://{host}:{port}/status"

    async def ask() -> Json:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, params={"model": model} if model else None) as response,
        ):
            return await _body(response)

    return await _reaching(f"orchd at {url}", "name its admin address with --admin-listen", ask())


async def _ask_restart(state_dir: Path, model: str) -> str:
    async def ask(session: aiohttp.ClientSession) -> str:
        async with session.post("http://orchd/restart", json={"model": model}) as response:
            return str((await _body(response))["model"])

    return await _at_socket(state_dir, ask)


async def _ask_down(state_dir: Path, tell: Callable[[str], None]) -> None:
    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post("http://orchd/down") as response:
            async for line in response.content:
                news = json.loads(line)
                if "error" in news:
                    raise OrchdError(news["message"], code=Code(news["error"]))
                if "done" in news:
                    return
                tell(news["line"])
        raise DaemonUnreachable("cannot tell whether all runners are gone: orchd ended before it said so")

    return await _at_socket(state_dir, ask)


async def _at_socket(state_dir: Path, ask: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, T]]) -> T:
    async def connected() -> T:
        with short_path(state_dir / SOCKET_NAME) as name:
            async with aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(name), timeout=aiohttp.ClientTimeout(total=None)
            ) as session:
                return await ask(session)

    return await _reaching(
        f"orchd at {state_dir / SOCKET_NAME}",
        "run this as the user that runs orchd, and name its state directory with --state-dir",
        connected(),
    )


async def _reaching(what: str, advice: str, call: Coroutine[Any, Any, T]) -> T:
    try:
        return await call
    except (aiohttp.ClientError, OSError, ValueError) as exc:  # TimeoutError is an OSError
        # By number, where there is one: asyncio's own text for it is not a sentence.
        number = exc.errno if isinstance(exc, OSError) else None
        reason = os.strerror(number) if number and number > 0 else why(exc)
        raise DaemonUnreachable(f"cannot reach {what}: {reason}; is it running? If so, {advice}") from exc


async def _body(response: aiohttp.ClientResponse) -> Json:
    body = await response.json(content_type=None)
    if not isinstance(body, dict):
        raise ValueError("what answers there is not orchd")
    if response.ok:
        return body
    try:
        raise OrchdError(body["message"], code=Code(body["error"]))
    except KeyError:
        raise ValueError("what answers there is not orchd") from None
