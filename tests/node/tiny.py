"""A tiny node in memory, either program: what the watch has to cope with, on the virtual clock.

The real wire is that of `tests.doubles`. Source: docs/protocol/livepeer-node.md, 3; docs/protocol/go-livepeer-cli.md.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from orchd.domain.model import Secret
from orchd.domain.offer import NodeProgram
from orchd.node.ports import NodeAnswer, NodeError, StreamedAnswer

CALL_S = 0.003


class TinyNode:
    """`ports.NodeConnection`; `start` makes another process of it.

    Attributes:
        reachable: its ports answer.
        known: runners that this process knows, by id; the value is their credential.
        certificate: as it is shown now; None = plain HTTP.
        starts: processes so far.
    """

    def __init__(self) -> None:
        self.secret: Secret | None = None
        self.base = "http://127.0.0.1:8935"
        self.reachable = True
        self.known: dict[str, int] = {}
        self.certificate: str | None = None
        self.starts = 0
        self._prices: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._program, self._live, self._cli = NodeProgram.LIVEPEER_NODE, True, False

    def start(self, program: NodeProgram, *, live: bool = True, tls: bool = False, cli: bool = False) -> None:
        """Be a new process of this kind. A certificate of Livepeer Node's is a proxy's, and stays."""
        self.starts += 1
        proxy = "proxy" if program is NodeProgram.LIVEPEER_NODE else f"certificate {self.starts}"
        self.certificate = proxy if tls else None
        self.known, self._prices = {}, {}
        self._program, self._live, self._cli = program, live, cli and program is NodeProgram.GO_LIVEPEER

    def switch_scheme(self) -> bool:
        return False

    async def register(self, runner: str) -> int | None:
        """Return a new credential; None = the node does not answer."""
        await asyncio.sleep(CALL_S)
        if not self.reachable or not self._live:
            return None
        self.known[runner] = credential = next(self._numbers)
        return credential

    async def beat(self, runner: str, credential: int) -> bool | None:
        """Return whether the node knows the runner; None = it does not answer."""
        await asyncio.sleep(CALL_S)
        return self.known.get(runner) == credential if self.reachable else None

    async def service(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        authorization: Secret | None = None,
    ) -> NodeAnswer:
        await self._answers()
        go = self._program is NodeProgram.GO_LIVEPEER
        match path:
            case "/runners/heartbeat" if not self._live:
                return _text(404, "live runners are not supported")
            case "/runners/heartbeat":
                return _text(400, "invalid runner_url") if go else _json(401, {"error": "invalid runner credential"})
            case "/discovery" if self._live:
                return _json(200, [{"address": "", "runners": sorted(self.known)}])
            case "/healthz" if go:
                return _text(200, "")
        return _text(404, "404 page not found")

    async def cli(
        self, method: str, path: str, *, form: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> NodeAnswer:
        await self._answers()
        if not self._cli:
            raise NodeError("cannot reach the CLI port")
        match path:
            case "/status":
                return _json(200, {"BroadcasterPrices": self._prices, "Version": "0.9.x"})
            case "/setPriceForBroadcaster":
                assert form is not None
                self._prices[form["broadcasterEthAddr"]] = form["pricePerUnit"]
                return _text(200, "")
        return _text(200, "0")

    def stream(self, url: Secret, *, headers: Mapping[str, str] = {}) -> AbstractAsyncContextManager[StreamedAnswer]:
        raise NotImplementedError

    async def fingerprint(self) -> str | None:
        await self._answers()
        return self.certificate

    async def _answers(self) -> None:
        await asyncio.sleep(CALL_S)
        if not self.reachable:
            raise NodeError("cannot reach the node")


def _text(status: int, text: str) -> NodeAnswer:
    return NodeAnswer(status, f"{text}\n".encode(), "text/plain")


def _json(status: int, said: object) -> NodeAnswer:
    return NodeAnswer(status, json.dumps(said).encode(), "application/json")
