"""EDGE. The node's reverse proxy before a runner. Source: livepeer-node.md 9; node-single-shot.json, node-streams.json.

What is under way ends with its session: before the runner's header with a 502, in the body by cutting the connection.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, unquote_to_bytes, urlsplit

from aiohttp import web
from multidict import CIMultiDict

from orchd.tasks import cancel
from tests.doubles.livepeer_node.grants import Grants
from tests.doubles.livepeer_node.headers import asks_for_gzip, canonical, towards_runner, without_hops
from tests.doubles.livepeer_node.registry import Refused, Session
from tests.doubles.livepeer_node.transport import (
    Answer,
    Broken,
    Connection,
    Headers,
    Target,
    Transport,
    Unreachable,
    read_answer,
    request_head,
)
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.go_http import KEEP_SERVER, Dropped
from tests.doubles.shared.pump import Pump

HEADER_S = 60.0
UNREACHABLE = "runner destination unavailable"
NO_TYPE = web.ResponseKey("no_type", bool)
"""Set on an answer without a Content-Type: the node adds none."""

_NOT_WITH = {204: {"content-length"}, 304: {"content-length", "content-type"}}
_UNESCAPED = "$&+,/:;=@-._~"  # what Go leaves alone in a path


class Ended(Exception):
    """The session is over."""


def target_of(base_url: str, rest: str, query: str | None) -> Target:
    """Return where a request goes: the base's path and `rest`, decoded once and encoded again; both queries.

    Args:
        rest: what the path held behind the app's, as the caller escaped it.
        query: the caller's; None = there was no question mark.
    """
    base = urlsplit(base_url)
    decoded = unquote_to_bytes(rest).lstrip(b"/")
    path = quote(unquote_to_bytes(base.path.rstrip("/")) + b"/" + decoded, safe=_UNESCAPED)
    both = "&".join(part for part in (base.query, query) if part)
    return Target.of(base_url, path + (f"?{both}" if both or query is not None else ""))


class Forwarder:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._transport = Transport(clock)

    def close(self) -> None:
        self._transport.close()

    async def forward(
        self, request: web.Request, session: Session, target: Target, grants: Grants, added: dict[str, str]
    ) -> web.StreamResponse:
        """Answer with what the target answers.

        Raises:
            Refused: there was no answer, or the session ended before its header.
            Dropped: the answer broke off after its header, by either side or the session's end.
        """
        way = _Way(request, target, towards_runner(request, added))
        try:
            async with _while_it_lasts(session):
                return await self._exchange(way, grants)
        except (Unreachable, Broken, Ended, zlib.error) as error:
            if way.begun:
                raise Dropped from error
            raise Refused(502, UNREACHABLE) from error

    async def _exchange(self, way: _Way, grants: Grants) -> web.StreamResponse:
        undo_gzip = asks_for_gzip(way.request, way.headers)
        connection = await self._transport.connect(way.target, grants)
        sending = asyncio.get_running_loop().create_task(_send(way, connection))
        try:
            answer = await self._head(way, connection, sending)
            response = await self._relay(way, answer, undo_gzip=undo_gzip)
            if sending.done() and answer.reusable:
                self._transport.keep(connection)
            else:
                connection.close()
            return response
        except BaseException:
            connection.close()
            raise
        finally:
            await cancel(sending)

    async def _head(self, way: _Way, connection: Connection, sending: asyncio.Task[None]) -> Answer:
        """Return the answer once its header is there. Raises Unreachable."""
        reading = asyncio.get_running_loop().create_task(_answer(way.request, connection))
        try:
            await asyncio.wait([reading, sending], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # A runner that closes its ear may answer all the same.
                with suppress(ConnectionError):
                    sending.result()
                async with self._clock.timeout(HEADER_S):
                    return await reading
            return reading.result()
        except (TimeoutError, web.RequestPayloadError) as error:
            raise Unreachable from error
        finally:
            await cancel(reading)

    async def _relay(self, way: _Way, answer: Answer, *, undo_gzip: bool) -> web.StreamResponse:
        """Raises Broken, Dropped."""
        headers = CIMultiDict(without_hops(answer.headers))
        for name in _NOT_WITH.get(answer.status, ()):
            headers.popall(name, None)
        pieces = answer.body()
        if undo_gzip and headers.get("Content-Encoding", "").lower() == "gzip":
            headers.popall("Content-Encoding")
            headers.popall("Content-Length", None)
            pieces = _gunzipped(pieces)
        way.begun = True
        if answer.status == 101:
            await _tunnel(way.request, answer)
        if answer.header("Trailer"):
            await _with_trailers(way.request, answer, headers)
        response = web.StreamResponse(status=answer.status, reason=_reason(answer.status), headers=headers)
        response[KEEP_SERVER] = "Server" in headers
        response[NO_TYPE] = "Content-Type" not in headers
        await response.prepare(way.request)
        async for piece in pieces:
            await response.write(piece)
        return response


@dataclass
class _Way:
    """One request on its way; `begun` once anything of the answer may have gone to the caller."""

    request: web.Request
    target: Target
    headers: Headers
    begun: bool = False


@asynccontextmanager
async def _while_it_lasts(session: Session) -> AsyncIterator[None]:
    """Raises Ended inside as soon as the session is over."""
    loop = asyncio.get_running_loop()
    if session.ended:
        raise Ended
    try:
        async with asyncio.timeout(None) as scope:
            with session.watched(lambda: scope.reschedule(loop.time())):
                yield
    except TimeoutError as error:
        raise Ended from error


async def _send(way: _Way, connection: Connection) -> None:
    connection.writer.write(request_head(way.request.method, way.target, way.headers))
    chunked = ("Transfer-Encoding", "chunked") in way.headers
    async for piece in way.request.content.iter_any():
        connection.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await connection.writer.drain()
    if chunked:
        connection.writer.write(b"0\r\n\r\n")
    await connection.writer.drain()


async def _answer(request: web.Request, connection: Connection) -> Answer:
    def interim(status: int, headers: Headers) -> None:
        if request.transport is not None:
            request.transport.write(_head(f"HTTP/1.1 {status} {_reason(status)}", headers))

    return await read_answer(connection, request.method, interim)


def _reason(status: int) -> str:
    """Go's words, whatever the runner's were."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status code {status}"


def _head(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


async def _gunzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    async for piece in pieces:
        if data := unpacker.decompress(piece):
            yield data
    if data := unpacker.flush():
        yield data


async def _with_trailers(request: web.Request, answer: Answer, headers: CIMultiDict[str]) -> None:
    """Pass on an answer with trailers, which aiohttp can't send. The connection ends with it: raises Dropped."""
    caller = request.transport
    if caller is None:
        raise Dropped
    framing = [("Trailer", answer.header("Trailer")), ("Transfer-Encoding", "chunked")]
    caller.write(_head(f"HTTP/1.1 {answer.status} {_reason(answer.status)}", [*headers.items(), *framing]))
    async for piece in answer.body():
        caller.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    caller.write(_head("0", answer.trailers))
    raise Dropped


async def _tunnel(request: web.Request, answer: Answer) -> None:
    """Pass bytes both ways until either side ends. Raises Dropped, always."""
    caller, runner = request.transport, answer.connection
    if caller is None:
        raise Dropped
    headers = sorted((canonical(name), value) for name, value in answer.headers if name.lower() != "date")
    caller.write(_head(f"HTTP/1.1 101 {_reason(101)}", headers))
    ended = asyncio.Event()
    request.protocol.set_parser(Pump(runner.writer.write, ended))  # type: ignore[arg-type]
    there = asyncio.get_running_loop().create_task(_to_caller(runner.reader, caller))
    back = asyncio.get_running_loop().create_task(ended.wait())
    try:
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(there, back)
        runner.close()
    raise Dropped


async def _to_caller(reader: asyncio.StreamReader, caller: asyncio.WriteTransport) -> None:
    while piece := await reader.read(1 << 16):
        caller.write(piece)
