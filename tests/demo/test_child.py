"""The demo's daemon gets the ports that were chosen for it, whatever else starts meanwhile."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import pytest

from orchd.demo.child import held_port
from tests.public.rig import LOOPS


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_held_port_is_the_servers_that_it_is_for_and_nobody_elses(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def run() -> None:
        with held_port() as held, socket.socket() as other:
            port = held.getsockname()[1]
            with pytest.raises(OSError, match="in use") as refused:
                other.bind(("127.0.0.1", port))
            assert refused.value.errno == errno.EADDRINUSE
            async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())
