"""Several RPC servers as one: those that answer are asked first, in the order of their file, and the next if one fails.

A server that fails is asked last for a minute; one that says that it was asked too often is left alone for as long as
it wants. Where something reads the chain all the time, `check` asks those as well that nobody needs now, so that it is
known beforehand whether they would do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog

from orchd.rpc.client import RpcClient
from orchd.rpc.ports import Call, RpcFault, RpcUnanswered
from orchd.rpc.server import RpcServer
from orchd.rpc.urls import RpcUrl

log = structlog.get_logger("orchd.rpc")

T = TypeVar("T")

CHECK_S = 30.0
"""How often a server is asked at least, while something reads the chain; less than `server.FAILED_S`, so that one which
hangs delays nobody."""
ALONE = "no other server works now; more can be named in chain.rpc_url_file"
_ANYTHING = Call("eth_blockNumber")


class RpcServers:
    """After `ports.Rpc`.

    Args:
        client: sends the requests.
        chain_id: which each server must be on; 0 = any.
        timeout_s: seconds, for each server.
        now: a clock in seconds; None = the event loop's.

    Attributes:
        servers: in the order of the file.
    """

    def __init__(
        self,
        urls: Sequence[RpcUrl],
        client: RpcClient,
        chain_id: int,
        timeout_s: float,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._chain_id = chain_id
        self._timeout_s = timeout_s
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self.servers: tuple[RpcServer, ...] = ()
        self.use(urls)

    def use(self, urls: Sequence[RpcUrl]) -> None:
        """Ask these from now on. What is known of those that stay is kept."""
        known = {server.url: server for server in self.servers}
        self.servers = tuple(known.get(url) or RpcServer(url, self._client, self._chain_id, self._now) for url in urls)

    async def ask(self, calls: Sequence[Call], read: Callable[[Sequence[Any]], T], timeout_s: float | None = None) -> T:
        """As `ports.Rpc.ask`."""
        tried: list[tuple[str, str]] = []
        for server in sorted(self.servers, key=lambda server: server.last):
            if server.left_alone:
                tried.append((server.name, server.why))
                continue
            try:
                return await self._ask(server, calls, read, timeout_s)
            except RpcFault as fault:
                tried.append((server.name, str(fault)))
        raise RpcUnanswered(tried)

    async def ask_each(
        self, calls: Sequence[Call], read: Callable[[Sequence[Any]], T], timeout_s: float | None = None
    ) -> Sequence[tuple[str, T]]:
        """As `ports.Rpc.ask_each`."""

        async def one(server: RpcServer) -> list[tuple[str, T]]:
            try:
                return [(server.name, await self._ask(server, calls, read, timeout_s))]
            except RpcFault:
                return []

        asked = [one(server) for server in self.servers if not server.left_alone]
        return [answer for answers in await asyncio.gather(*asked) for answer in answers]

    def distrust(self, server: str, why: str) -> None:
        """As `ports.Rpc.distrust`."""
        for each in self.servers:
            if each.name == server:
                before = each.why
                each.fail(why)
                self._tell(each, before)

    async def check(self) -> None:
        """Ask, for ever, each server that nobody has asked for a while, or that has failed."""
        while True:
            await asyncio.sleep(CHECK_S)
            since = self._now() - CHECK_S
            idle = [each for each in self.servers if not each.left_alone and _idle(each, since)]
            await asyncio.gather(*map(self._check_one, idle))

    async def _check_one(self, server: RpcServer) -> None:
        try:
            await self._ask(server, [_ANYTHING], lambda results: None, None)
        except RpcFault:
            return  # It is noted.

    async def _ask(
        self, server: RpcServer, calls: Sequence[Call], read: Callable[[Sequence[Any]], T], timeout_s: float | None
    ) -> T:
        before = server.why
        try:
            return await server.ask(calls, read, timeout_s or self._timeout_s)
        finally:
            self._tell(server, before)

    def _tell(self, server: RpcServer, before: str) -> None:
        """Log when a server begins or ends to fail, and when it fails for another reason."""
        if server.why and server.why != before:
            others = [each.name for each in self.servers if each is not server and not each.why]
            then = f"orchd asks {others[0]} instead" if others else ALONE
            log.warning("rpc_server_failed", server=server.name, reason=server.why, next=then)
        elif before and not server.why:
            log.info("rpc_server_back", server=server.name)


def _idle(server: RpcServer, since: float) -> bool:
    return bool(server.why) or server.answered_at is None or server.answered_at <= since
