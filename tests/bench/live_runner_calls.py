"""Requests of many clients at once, each on a connection of its own, and the payments that some of them bring."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.doubles.shared.caller import Answer, unverified
from tests.e2e.paid.live_runner.models import LIVE, path_of
from tests.e2e.paid.live_runner.payer import Payer, read_offer

LIMIT_S = 120.0
"""Longest time for all of them together; then the bench fails."""


@dataclass(frozen=True, slots=True)
class Client:
    """One that sends requests one after the other.

    Attributes:
        requests: whole, as bytes.
        reconnects: each has a connection of its own.
    """

    url: str
    requests: Sequence[bytes]
    reconnects: bool = False

    async def send(self, expected: int) -> list[Answer]:
        """Return the answers, which must have this status."""
        answers: list[Answer] = []
        connection = await self._connect()
        for request in self.requests:
            if self.reconnects and answers:
                connection[1].close()
                connection = await self._connect()
            answers.append(await _ask(*connection, request))
            if answers[-1].status != expected:
                raise RuntimeError(f"cannot measure: {expected} was to come, not {answers[-1]}")
        connection[1].close()
        return answers

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.url)
        tls = unverified() if parts.scheme == "https" else None
        return await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)


async def all_sent(clients: Sequence[Client], expected: int) -> list[list[Answer]]:
    """Let all send at once, and return their answers."""
    async with asyncio.timeout(LIMIT_S):
        return list(await asyncio.gather(*(client.send(expected) for client in clients)))


def challenge_request(payer: Payer) -> bytes:
    """Return what asks for a challenge."""
    return _request({"Livepeer-Payer-Address": payer.address})


def reserve_request(payer: Payer, challenge: Answer, seconds: int) -> bytes:
    """Return what answers a challenge: a payment for so many seconds."""
    offered = read_offer(challenge)
    paying = payer.pay(offered, range(1, offered.tickets_for(seconds) + 1))
    return _request({"Livepeer-Payer-Address": payer.address, **paying.headers})


def _request(headers: Mapping[str, str]) -> bytes:
    said = {"Host": "orchd.example", "Accept": "*/*", "Content-Type": "application/json", "Content-Length": "2"}
    lines = [f"POST {path_of(LIVE)} HTTP/1.1", *(f"{name}: {value}" for name, value in {**said, **headers}.items())]
    return "\r\n".join([*lines, "", "{}"]).encode()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Answer:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)]
    answer = Answer(int(head[0].split()[1]), fields)
    answer.body = await reader.readexactly(int(answer.header("Content-Length") or 0))
    return answer
