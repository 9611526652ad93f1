"""One RPC server: asks it, checks that it is on our chain, and remembers whether it can be used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from orchd.rpc.client import RpcClient, RpcReply
from orchd.rpc.message import LIMIT_WAIT_S, NoBatch, body_of, results_of
from orchd.rpc.ports import Call, RpcFault
from orchd.rpc.urls import RpcUrl
from orchd.rpc.words import quantity_of

T = TypeVar("T")

FAILED_S = 60.0
"""How many seconds a server that has failed is asked after all others."""
_CHAIN_ID = Call("eth_chainId")
_OK, _TOO_MANY, _BUSY = 200, 429, 503
_NO_BATCH = (400, 413)


class RpcServer:
    """One server, and what is known of it.

    Args:
        chain_id: which it must be on; 0 = any.
        now: a clock in seconds.

    Attributes:
        url: and its name.
        why: it can't be used, in one line; empty = it answered the last time, or was never asked.
        asked, failed: how often.
        answered_at: when it last gave an answer that could be used; None = never.
    """

    def __init__(self, url: RpcUrl, client: RpcClient, chain_id: int, now: Callable[[], float]) -> None:
        self.url = url
        self._client = client
        self._chain_id = chain_id
        self._now = now
        self._one_by_one = False
        self._last_until = 0.0
        self._left_alone_until = 0.0
        self.why = ""
        self.asked = self.failed = 0
        self.answered_at: float | None = None

    @property
    def name(self) -> str:
        return self.url.name

    @property
    def works(self) -> bool:
        """It has answered the last time."""
        return self.answered_at is not None and not self.why

    @property
    def last(self) -> bool:
        """It is asked after those that work."""
        return bool(self.why) and self._now() < self._last_until

    @property
    def left_alone(self) -> bool:
        """It does not want to be asked now."""
        return self._now() < self._left_alone_until

    async def ask(self, calls: Sequence[Call], read: Callable[[Sequence[Any]], T], timeout_s: float) -> T:
        """Return what `read` makes of its results.

        Raises:
            RpcFault: it gives none, is on another chain, or makes no sense to `read`.
        """
        self.asked += 1
        try:
            answer = read(await self._results(calls, timeout_s))
        except RpcFault as fault:
            self.failed += 1
            self.fail(str(fault), fault.wait_s)
            raise
        self.why, self.answered_at = "", self._now()
        return answer

    def fail(self, why: str, wait_s: float = 0.0) -> None:
        """Note that it can't be used now.

        Args:
            wait_s: seconds for which it wants not to be asked.
        """
        self.why, self._last_until = why, self._now() + FAILED_S
        self._left_alone_until = self._now() + wait_s

    async def _results(self, calls: Sequence[Call], timeout_s: float) -> list[Any]:
        try:
            async with asyncio.timeout(timeout_s):
                if not self._chain_id:
                    return await self._send(calls)
                # With each request: behind one name may stand servers of several chains.
                chain, *results = await self._send([_CHAIN_ID, *calls])
        except TimeoutError:
            raise RpcFault(f"no answer within {timeout_s:g} s") from None
        if (told := quantity_of(chain, "chain id")) != self._chain_id:
            raise RpcFault(f"it is on chain {told}, and not on {self._chain_id} as chain.id says")
        return results

    async def _send(self, calls: Sequence[Call]) -> list[Any]:
        if not self._one_by_one:
            try:
                return await self._post(calls)
            except NoBatch as fault:
                if fault.wait_s:
                    raise
        results = [result for call in calls for result in await self._post([call])]
        self._one_by_one = True  # Only now: else it has refused for another reason.
        return results

    async def _post(self, calls: Sequence[Call]) -> list[Any]:
        reply = await self._client.post(self.url.url, body_of(calls))
        if reply.status == _OK:
            return results_of(reply.body, len(calls))
        if reply.status in _NO_BATCH and len(calls) > 1:
            raise NoBatch(f"the RPC server answers with HTTP {reply.status}")
        raise _refusal(reply)


def _refusal(reply: RpcReply) -> RpcFault:
    if reply.status == _TOO_MANY:
        return RpcFault("it was asked too often (HTTP 429)", reply.retry_after_s or LIMIT_WAIT_S)
    wait_s = reply.retry_after_s if reply.status == _BUSY else 0.0
    return RpcFault(f"the RPC server answers with HTTP {reply.status}", wait_s)
