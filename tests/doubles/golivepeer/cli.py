"""The CLI port: no authentication, no method checks, parameters from anywhere. What needs a chain is in `onchain`.

Source: go-livepeer-cli.md; cli.json.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.doubles.golivepeer.price import BadPrice
from tests.doubles.shared.go_http import Dropped, json_text, sniffed, text_error

if TYPE_CHECKING:
    from tests.doubles.golivepeer.node import Node

# Endpoints that need the chain; off-chain each answers 500.
ETH_PATHS = (
    "/ethAddr", "/ethBalance", "/tokenBalance", "/currentRound", "/roundInitialized", "/orchestratorInfo",
    "/registeredOrchestrators", "/contractAddresses", "/senderInfo", "/protocolParameters", "/delegatorInfo",
    "/unbondingLocks", "/maxGasPrice", "/minGasPrice", "/setMaxGasPrice", "/setMinGasPrice", "/setOrchestratorConfig",
    "/signMessage",
)  # fmt: skip


async def parameters(request: web.Request) -> dict[str, str]:
    """Return the form's and the query's parameters; the form wins. Bytes that aren't UTF-8 are surrogate-escaped."""
    found = _pairs(request.raw_path.partition("?")[2])
    kind = request.headers.get("Content-Type", "")
    if kind.startswith("application/x-www-form-urlencoded"):
        found |= _pairs((await request.read()).decode("latin-1"))
    elif kind.startswith("multipart/form-data"):
        found |= {name: str(value) for name, value in (await request.post()).items()}
    return found


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        pairs.setdefault(name, value)
    return pairs


class Missing(Exception):
    """A required parameter is absent or empty."""


async def required(request: web.Request, *names: str) -> list[str]:
    """Return the values of `names`. Raises Missing."""
    found = await parameters(request)
    for name in names:
        if not found.get(name):
            raise Missing(name)
    return [found[name] for name in names]


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


def exact(path: str, answer: Answering) -> web.RouteDef:
    """A route of the CLI port: any method; a missing parameter is 400."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except Missing as missing:
            return text_error(400, f"missing form param: {missing}")

    return web.route("*", path, handle)


def text(body: str) -> web.Response:
    return sniffed(200, body.encode())


def routes(node: Node) -> list[web.RouteDef]:
    answers = _Answers(node)
    shared = {
        "/status": answers.status,
        "/IsOrchestrator": answers.is_orchestrator,
        "/getLogLevel": answers.log_level,
        "/setLogLevel": answers.set_log_level,
        "/EthChainID": answers.chain_id,
        "/currentBlock": answers.current_block,
        "/getNetworkCapabilities": answers.network_capabilities,
        "/setPriceForBroadcaster": answers.set_price,
        "/setMaxSessions": answers.set_max_sessions,
        "/setMaxFaceValue": answers.set_max_face_value,
        "/debug/pprof/cmdline": answers.command_line,
    }
    if node.settings.monitor:
        shared["/metrics"] = answers.metrics
    if node.settings.on_chain is None:
        shared |= dict.fromkeys(ETH_PATHS, answers.no_chain)
    return [exact(path, answer) for path, answer in shared.items()]


class _Answers:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.level = 6

    async def status(self, _request: web.Request) -> web.StreamResponse:
        status: dict[str, Any] = {
            "Manifests": {},
            "InternalManifests": {},
            "StreamInfo": {},
            "OrchestratorPool": [],
            "OrchestratorPoolInfos": None,
            "Version": self.node.settings.version,
            "GolangRuntimeVersion": "go1.26.8",
            "GOArch": "amd64",
            "GOOS": "linux",
            "RegisteredTranscodersNumber": 0,
            "RegisteredTranscoders": [],
            "LocalTranscoding": False,
            "BroadcasterPrices": self.node.base_prices.shown(),
        }
        return json_text(json.dumps(status, separators=(",", ":")))

    async def is_orchestrator(self, _request: web.Request) -> web.StreamResponse:
        return text("true")

    async def log_level(self, _request: web.Request) -> web.StreamResponse:
        return text(str(self.level))

    async def set_log_level(self, request: web.Request) -> web.StreamResponse:
        (level,) = await required(request, "loglevel")
        try:
            self.level = int(level)
        except ValueError:
            return text_error(400, f'strconv.Atoi: parsing "{level}": invalid syntax')
        return web.Response()

    async def chain_id(self, _request: web.Request) -> web.StreamResponse:
        chain = self.node.settings.on_chain
        return text("0" if chain is None else str(chain.chain_id))

    async def current_block(self, _request: web.Request) -> web.StreamResponse:
        chain = self.node.settings.on_chain
        if chain is None:
            raise Dropped
        body = chain.block.to_bytes((chain.block.bit_length() + 7) // 8, "big")
        return web.Response(body=body, headers={"Content-Type": "application/octet-stream"})

    async def network_capabilities(self, _request: web.Request) -> web.StreamResponse:
        return text_error(400, "Node must be gateway node to get network capabilities")

    async def set_price(self, request: web.Request) -> web.StreamResponse:
        names = ("pricePerUnit", "pixelsPerUnit", "broadcasterEthAddr")
        per_unit, units, address = await required(request, *names)
        currency = (await parameters(request)).get("currency", "")
        try:
            self.node.base_prices.set(address, per_unit, units, currency, self.node.settings.on_chain)
        except BadPrice as error:
            return text_error(400, str(error))
        return text(f"Price per pixel set to {per_unit} wei for {units} pixels for broadcaster {address}\n")

    async def set_max_sessions(self, request: web.Request) -> web.StreamResponse:
        (sessions,) = await required(request, "maxSessions")
        if sessions != "auto" and not (sessions.isdigit() and int(sessions) > 0):
            return text_error(400, "maxSessions must be > 0")
        # With `auto` and no transcoder the limit is 0.
        self.node.max_sessions = 0 if sessions == "auto" else int(sessions)
        return text(f"Max sessions set to {sessions}\n")

    async def set_max_face_value(self, request: web.Request) -> web.StreamResponse:
        (value,) = await required(request, "maxfacevalue")
        if not value.isdigit():
            return text_error(400, "maxfacevalue not set to number")
        if self.node.settings.on_chain is None:
            raise Dropped
        return text("ticket max face value set")

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"# TYPE process_start_time_seconds gauge\n")
        await response.write(b"process_start_time_seconds %f\n" % self.node.started_at)
        await response.write_eof()
        return response

    async def command_line(self, _request: web.Request) -> web.StreamResponse:
        return text("livepeer\0-orchestrator\0-orchSecret\0" + (self.node.settings.orch_secret or ""))

    async def no_chain(self, _request: web.Request) -> web.StreamResponse:
        return text_error(500, "missing ETH client")
