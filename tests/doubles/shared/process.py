"""A double as a process of its own: it says that it is ready, is steered by its control port, and ends by a signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.doubles.shared.go_http import application
from tests.doubles.shared.listener import Listener


async def run(
    node: AbstractAsyncContextManager[Any],
    control_address: str,
    routes: list[web.RouteDef],
    ready_file: Path | None,
    addresses: Callable[[], dict[str, str]],
) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        routes: of the control port.
        addresses: what is said, as JSON, on standard output and in `ready_file` once all ports answer; control_url and
            pid are added.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    control = Listener(control_address)
    async with node:
        await control.open(application(routes), None)
        ready = {**addresses(), "control_url": f"http://{control.address}", "pid": os.getpid()}
        if ready_file is not None:
            partial = ready_file.with_suffix(".partial")
            partial.write_text(json.dumps(ready))
            partial.rename(ready_file)
        print(json.dumps(ready), flush=True)
        await stopped.wait()
        await control.close()
