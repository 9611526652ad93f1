"""The caller of one case over a bare socket: sends as many bytes as the case says, and judges what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable
from typing import Self

from tests.faults.case import Case
from tests.faults.message import END, Malformed, Message, parse
from tests.faults.rules import ANSWER, BROKEN, NOTHING, Fault, How, Where, refusal

BOUND_S = 30.0
PIECE = 1 << 20
RECEIVE_BUFFER = 64 * 1024  # Of fixed size, so that what a caller does not take soon shows on the other side.
CONTINUE = 100
RESET = struct.pack("ii", 1, 0)
NAMELESS = ("header_timeout", "bad_request", "header_too_large")
"""Codes of refusals whose request was not read far enough to know its id."""


def judged(case: Case, data: bytes, *, closed: bool) -> str:
    """Return what the caller got, in the words of `rules`; anything else is wrong, and says why.

    Args:
        closed: the connection was closed behind `data`, not reset.
    """
    sample, name = case.sample, f"{case.number:06d}"
    if not data:
        return NOTHING
    try:
        message = parse(data)
        if message is None:
            return BROKEN
        code, of = message.header("Livepeer-Error"), message.header("Livepeer-Request-Id")
    except Malformed as exc:
        return f"not HTTP: {exc}"
    if of != name and code not in NAMELESS:
        return f"the answer to {of}"
    if message.end is not None and message.end < len(data) and not sample.tunnel:
        return f"{data[message.end :][:60]!r} behind the answer"
    if code is not None:
        if message.end is None:
            return BROKEN
        said = json.loads(message.body)
        return refusal(code) if (said["error"], said["request_id"]) == (code, of) else f"two answers in one: {said}"
    # An answer without length is whole wherever the runner ends it.
    cut = case.at(Where.ANSWERING) if sample.until_close else None
    meant = sample.answered(case.number, cut)
    body = data[message.end :] if sample.tunnel else message.body
    if message.status != meant.status or not meant.body.startswith(body):
        return f"not the runner's answer: {message.first!r}, {body[:60]!r}"
    if not (len(body) == len(meant.body) if sample.tunnel else message.end or (message.until_close and closed)):
        return BROKEN
    if (body, message.trailers) != (meant.body, meant.trailers):
        return f"looks whole and is not: {len(body)} of {len(meant.body)} bytes, trailers {message.trailers}"
    return ANSWER


class Caller:
    """One connection to orchd, for one exchange after the other. `async with` opens and closes it."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._socket = socket.socket()
        self._got = bytearray()
        self._closed = False
        self._ended = False

    async def __aenter__(self) -> Self:
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        await self._loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def play(self, case: Case) -> str:
        """Return what came, in the words of `rules`; empty if the case is that the caller resets."""
        try:
            async with asyncio.timeout(BOUND_S):
                await self.ask(case)
                return await self.answer(case)
        except TimeoutError:
            return f"no end, behind {bytes(self._got)[-60:]!r}"

    async def ask(self, case: Case) -> None:
        """Send the request, as far as the case says."""
        sample, request, head = case.sample, case.sample.request(case.number), len(case.sample.ask)
        sending, midway = case.at(Where.SENDING), case.at(Where.MIDWAY)
        self._got.clear()
        await self._send(request[: head if sending is None else min(head, sending)])
        if sending is not None and (sending < head or (sending == head and not sample.tunnel)):
            return
        fault = case.fault
        never = fault is not None and fault.where is Where.TAKING and not fault.inside  # The tunnel does not open.
        if sample.waits and not (sample.tunnel and never):
            await self._take(lambda: _read(bytes(self._got)) is not None)
            if _status(bytes(self._got)) != sample.waits:
                return
        if midway is not None:
            await self._send(request[head : head + midway])
            await case.at_fault.wait()
        await self._send(request[head + (midway or 0) : sending])

    async def answer(self, case: Case) -> str:
        """Do what the fault is, if it is the caller's, and return as `play`."""
        fault = case.fault
        if fault is not None and fault.where is Where.TAKING:
            await self._take_until(case, fault)
        if fault is not None and fault.where in (Where.SENDING, Where.TAKING):
            if fault.how is How.RESET:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self._socket.close()
                return ""
            if fault.how is How.CLOSE:
                # The same on the wire as closing, and shows what comes nevertheless.
                self._socket.shutdown(socket.SHUT_WR)
                await self._take(lambda: False)
        await self._take(lambda: _whole(case, _final(case, self._got)))
        return judged(case, _final(case, self._got), closed=self._closed)

    async def _take_until(self, case: Case, fault: Fault) -> None:
        if fault.how is How.STALL:
            await self._take(lambda: len(self._got) >= fault.n, fault.n)
            await case.served.wait()
            return
        await case.at_fault.wait()
        if fault.inside:
            enough = len(case.sample.answered(case.number, fault.n).body)
            await self._take(lambda: _body(case, _final(case, self._got)) >= enough)

    async def _send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # What was answered tells why it is not wanted.
            await self._loop.sock_sendall(self._socket, data)

    async def _take(self, enough: Callable[[], bool], most: int = PIECE) -> None:
        """Read at most `most` bytes at a time until it is enough, or the connection has ended."""
        while not self._ended and not enough():
            try:
                data = await self._loop.sock_recv(self._socket, most)
            except ConnectionError:
                self._ended = True
                return
            self._ended = self._closed = not data
            self._got += data


def _read(data: bytes) -> Message | None:
    try:
        return parse(data)
    except Malformed:
        return None


def _status(data: bytes) -> int:
    return message.status if (message := _read(data)) is not None else 0


def _final(case: Case, got: bytes | bytearray) -> bytes:
    """Return what came without the interim answer that the sample waits for."""
    data = bytes(got)
    if case.sample.waits == CONTINUE and _status(data) == CONTINUE:
        return data.partition(END)[2]
    return data


def _body(case: Case, final: bytes) -> int:
    """Return how much of the body is there; -1 = not even its head is."""
    if (message := _read(final)) is None:
        return -1
    return len(final) - (message.end or 0) if case.sample.tunnel else len(message.body)


def _whole(case: Case, final: bytes) -> bool:
    message = _read(final)
    if message is None or message.end is None:
        return False
    if case.sample.tunnel and message.status == case.sample.waits:
        return _body(case, final) >= len(case.sample.say_rest)
    return len(final) >= message.end
