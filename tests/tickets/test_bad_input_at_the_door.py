"""Whatever comes to BYOC's public door over a real socket: each fault has its code, and none costs a slot."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.domain.ids import Address
from orchd.domain.money import Price
from orchd.relay.listener import JobListener
from orchd.relay.settings import RelaySettings
from orchd.tickets.validation.faults import Fault
from orchd.tickets.validation.schemes import BYOC
from orchd.tickets.validation.wire import encode
from tests.jobs.messages import answer, request
from tests.jobs.model import KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.tickets.till import PAID, Till
from tests.tickets.validation.made import PAYER, PRICE, good, terms
from tests.tickets.validation.sender import header
from tests.tickets.validation.test_bad_input import JOB, PAYMENTS, RAW_PAYMENTS
from tests.tickets.validation.test_bad_input import job as livepeer
from tests.virtual_time import run_virtual

PAINT = replace(PAID, capability="paint", price=Price(PRICE))
JOBS: Mapping[Fault, bytes] = {
    Fault.JOB_MISSING: b"",
    Fault.JOB_BASE64: b"{}",
    Fault.JOB_JSON: base64.b64encode(b"[1"),
    Fault.JOB_MEMBER: livepeer(capability=None),
    Fault.JOB_TIMEOUT: livepeer(timeout_seconds=0),
    Fault.JOB_REQUEST: livepeer(request="[]"),
    Fault.JOB_SENDER: livepeer(sender="0x12"),
    Fault.JOB_SIGNATURE: livepeer(sig="0x" + "00" * 65),
}
BYOC_PAYMENTS = {fault: change for fault, (scheme, change) in PAYMENTS.items() if scheme is BYOC}


@dataclass
class Desk:
    """A real listener with the door, before a real runner.

    Attributes:
        seen: requests that the runner got.
    """

    till: Till
    port: int
    seen: list[bytes]

    async def say(self, data: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return int(head[0].split()[1]), headers, body

    async def work(self, payment: bytes = b"", job: bytes = livepeer()) -> tuple[int, str]:
        """Return status and code of the answer to a request for work; the code is empty for the runner's."""
        headers = [("Livepeer", job.decode("latin-1"))] if job else []
        headers += [("Livepeer-Payment", payment.decode("latin-1"))] if payment else []
        status, told, body = await self.say(request(*headers, target="/process/request/x", body=b"{}"))
        if told.get("content-type") != "application/json":
            return status, ""
        said = json.loads(body)
        assert told["livepeer-error"] == said["error"]
        assert said["message"].startswith("cannot ")
        return status, said["error"]


@contextlib.asynccontextmanager
async def desk(at_once: int = 600) -> AsyncIterator[Desk]:
    seen: list[bytes] = []

    serving: set[asyncio.Task[None] | None] = set()

    async def runner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                seen.append(await reader.readuntil(b"{}"))
                writer.write(answer(b"made"))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(runner, "127.0.0.1", 0)
    till = Till(PAINT, is_open=False, at_once=at_once)
    del asyncio.get_running_loop().create_connection  # The fake network's.
    till.table.open(runner_of(KEY), Address("127.0.0.1", server.sockets[0].getsockname()[1]), None)
    given = RelaySettings(listen=("127.0.0.1:0",), max_header_kb=256)
    callers = await till.server.open_listener(JobListener("public", given, till.entrance))
    await callers.take_connections()
    try:
        yield Desk(till, callers.port, seen)
    finally:
        await till.server.close()
        server.close()
        await asyncio.gather(*(task for task in serving if task is not None))


async def test_each_bad_payment_and_job_is_told_what_is_wrong_and_costs_nothing() -> None:
    async with desk() as at:
        told: dict[Fault, tuple[int, str]] = {}
        for fault, change in BYOC_PAYMENTS.items():
            told[fault] = await at.work(header(change(good())))
        for fault, raw in RAW_PAYMENTS.items():
            told[fault] = await at.work(raw)
        for fault, job in JOBS.items():
            told[fault] = await at.work(header(good()), job)
        assert told == {fault: (BYOC.status(fault.blame), fault.value) for fault in told}
        assert len(told) > 30
        assert at.till.table.begun(KEY) == 0
        assert at.seen == []
        assert not any(each.wei for each in at.till.ledger.balances.values())
        refused = {reason for reason, count in at.till.counts._refused.items() if count}
        assert refused == {fault.value for fault in told}
        assert await at.work(header(good())) == (200, ""), "the good one then passes"
        assert at.till.table.active(KEY) == 0


async def test_many_tickets_are_judged_and_booked_whole() -> None:
    async with desk(at_once=16) as at:
        sent = PAYER.payment(terms(), range(1, 601), PRICE)
        assert await at.work(header(sent)) == (200, "")
        assert await at.work(header(sent)) == (402, "nonce_seen")
        more = PAYER.payment(terms(), range(601, 602), PRICE)
        assert await at.work(header(more)) == (402, "nonces_used_up")
        spoilt = PAYER.payment(terms(number=1), range(1, 601), PRICE)
        last = replace(spoilt.ticket_sender_params[-1], sig=bytes(65))
        spoilt = replace(spoilt, ticket_sender_params=(*spoilt.ticket_sender_params[:-1], last))
        assert (await at.work(header(spoilt)))[1] == "signature_v"


def test_the_good_job_is_good() -> None:
    """So that what is refused above is refused for what was changed."""
    assert json.loads(base64.b64decode(livepeer())) == JOB


MUTATED = st.one_of(
    st.binary(max_size=80).map(base64.b64encode),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=80).map(str.encode),
    st.tuples(st.integers(0, 600), st.integers(0, 255)).map(lambda at: _changed(encode(good()), *at)),
    st.dictionaries(
        st.sampled_from(sorted(JOB)),
        st.none() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2),
        max_size=3,
    ).map(lambda changes: livepeer(**changes)),
)


def _changed(data: bytes, at: int, value: int) -> bytes:
    changed = bytearray(data)
    changed[at % len(data)] = value
    return base64.b64encode(changed)


@given(MUTATED, MUTATED, st.sampled_from(["/process/request/x", "/process/token", "/ai/stream/start"]))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_is_answered_and_no_slot_is_lost(job: bytes, payment: bytes, target: str) -> None:
    headers = [("Livepeer", job), ("Livepeer-Payment", payment), ("Livepeer-Eth-Address", job)]
    given_headers = [(name, value.decode("latin-1")) for name, value in headers]
    method = "GET" if target.endswith("token") else "POST"

    async def play() -> tuple[FakeTransport, Till]:
        till = Till(PAINT)
        caller = await till.served(request(*given_headers, target=target, method=method))
        await till.server.close()
        return caller, till

    caller, till = run_virtual(play())
    (message,) = caller.messages
    assert message.status in (200, 400, 402, 403, 503)
    if message.status != 200:
        said = json.loads(message.body)
        assert said["message"].startswith("cannot ")
        assert said["error"] != "internal_error"
        assert not said["error"].startswith("hook_failed")
    assert till.table.active(KEY) == 0
    assert till.ledger.running == {}
    assert sum((each.wei for each in till.ledger.balances.values()), Fraction()) >= 0


@pytest.mark.parametrize("model", [PAINT, a_model(capability="paint", price=Price(Fraction(0)))])
def test_what_is_good_passes_there_too(model: object) -> None:
    assert isinstance(model, type(PAINT))

    async def play() -> int:
        till = Till(model)
        headers = [("Livepeer", livepeer().decode()), ("Livepeer-Payment", header(good()).decode())]
        caller = await till.served(request(*headers, target="/process/request/x", body=b"{}"))
        return caller.messages[0].status

    assert run_virtual(play()) == 200
