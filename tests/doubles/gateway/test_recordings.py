"""The gateway does as the recorded one did: what it sends, to the byte, and what its caller gets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from aiohttp import web

from orchd.tickets.validation.messages import PaymentMessage
from orchd.tickets.validation.payment import read_payment
from orchd.tickets.validation.wire import decode
from tests.doubles.gateway.credentials import Identity, Job
from tests.doubles.gateway.gateway import Gateway, GatewaySettings
from tests.doubles.gateway.kit import ETH, FUNDED, GW, S2, Answering, Orchestrator, gateway_before
from tests.doubles.gateway.purse import MAX_TICKETS, CannotPay, Funds, Purse
from tests.doubles.gateway.tokens import read_token
from tests.doubles.golivepeer.replay import Replay, Stage
from tests.doubles.shared import caller
from tests.doubles.shared.recordings import headers_of, load
from tests.tickets.validation import recordings
from tests.tickets.validation.vectors import REAL

# The whole way, off-chain: caller, gateway, orchestrator, worker.


class _Front:
    """A gateway as the recorded one was: its crashes taken out, and with an account."""

    def __init__(self, replay: GatewayReplay) -> None:
        self._replay = replay

    async def start(self) -> None:
        node = self._replay.node
        settings = GatewaySettings((node.service_url,), Purse(GW), crashes=False)
        self.gateway = await Gateway(settings, self._replay.clock).__aenter__()
        self._replay.to_theirs[node.service_url] = "https://127.0.0.1:8935"

    async def stop(self) -> None:
        await self.gateway.__aexit__(None, None, None)


class GatewayReplay(Replay):
    """Plays `gateway-job.json`."""

    def __init__(self) -> None:
        super().__init__("gateway-job.json", Stage({"service_uri": None}))
        self.front = _Front(self)
        self.parts.append(self.front)

    def url_of(self, listener: str) -> str:
        return self.front.gateway.url if listener == "gateway" else super().url_of(listener)


@cache
def outcomes() -> list[str | None]:
    return asyncio.run(GatewayReplay().run(load("gateway-job.json"), lambda _step: False))


@pytest.mark.parametrize("index", range(len(load("gateway-job.json"))))
def test_a_caller_gets_and_a_worker_sees_what_they_did(index: int) -> None:
    assert outcomes()[index] is None


# What stock gateways bought with the recorded keys.


def funds_at(block: int) -> Funds:
    return Funds(block, 3, b"\x11" * 32, 10 * ETH, 5 * ETH)


@pytest.mark.parametrize("recorded", REAL["payments"], ids=lambda recorded: recorded["step"])
def test_the_headers_are_the_recorded_ones_to_the_byte(recorded: Mapping[str, Any]) -> None:
    said = json.loads(base64.b64decode(recorded["livepeer"]))
    names = ("id", "request", "parameters", "capability", "timeout_seconds")
    job = Job(*(said[name] for name in names))
    token = read_token(json.dumps(recorded["token"]))
    identity = Identity(GW)
    assert identity.job_header(job) == recorded["livepeer"]
    asker = json.loads(base64.b64decode(identity.token_headers(job.capability)["Livepeer-Eth-Address"]))
    assert asker == recorded["token"]["sender_address"]
    paid = Purse(GW).payment(token, job.timeout_s, funds_at(recorded["last_l1_block"] or 0))
    assert paid == recorded["livepeer_payment"]


async def test_a_job_goes_out_with_the_recorded_requests() -> None:
    """Method, path, headers; the address is ours."""
    recorded = REAL["payments"][0]
    said = json.loads(base64.b64decode(recorded["livepeer"]))
    orchestrator = Orchestrator(recorded["token"])
    async with gateway_before(orchestrator, funds=funds_at(recorded["last_l1_block"])) as before:
        names = ("request", "parameters", "capability", "timeout_seconds")
        answer = await before.job(recorded["route"] + "?seed=7", **{name: said[name] for name in names})
    assert answer.status == 200
    (asked,), (job,) = orchestrator.asked, orchestrator.jobs
    agent = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
    assert asked.path_qs == "/process/token"
    assert dict(asked.headers) == {"Host": asked.host, **Identity(GW).token_headers("pay/a"), **agent}
    assert job.path_qs == recorded["route"]
    assert dict(job.headers) == {
        "Host": asked.host,
        "Content-Length": "2",
        "Content-Type": "application/json",
        "Livepeer": recorded["livepeer"],
        "Livepeer-Payment": recorded["livepeer_payment"],
        **agent,
    }


@pytest.mark.parametrize("step", ["control: one valid ticket", "balance below 60 s: one ticket at price 1010000000"])
def test_the_payment_of_another_account_is_the_recorded_one(step: str) -> None:
    (recorded,) = [each for each in recordings.load("onchain-payments") if each.step == step]
    assert recorded.token is not None
    assert recorded.job is not None
    token = read_token(json.dumps(recorded.token))
    timeout_s = 60 if "control" in step else 7
    assert Purse(S2).payment(token, timeout_s, funds_at(recorded.block or 0)) == recorded.payment


# Tokens.

TICKETS = {
    "token: funded sender (deposit 10 ETH, reserve 5 ETH), price 2500000": 1,
    "token: same again (fresh seed and commitment)": 1,
    "token: capacity 0": 1,
    "token: price 100/3 wei per second": 1,
    "token: price int64 max": MAX_TICKETS,
    "token: price 9e15": MAX_TICKETS,
    "token: sig with 0x": 1,
    "token: lower-case address, signature over the lower-case text": 1,
}
"""How many a gateway would buy on recorded tokens for 60 s; on those that are not named, none."""


@pytest.mark.parametrize("file", ["onchain-token.json", "onchain-token-noadjust.json"])
def test_every_recorded_token_is_read_and_paid_for_what_it_asks(file: str) -> None:
    given = [step for step in load(file) if step.get("request", {}).get("target") == "/process/token"]
    bought = {}
    for step in given:
        if step["response"]["status"] == 200:
            token = read_token(step["response"]["body"])
            paid = Purse(GW).payment(token, 60, FUNDED)
            if paid is not None:
                bought[step["step"]] = len(read_payment(paid.encode()).tickets)
                sent = decode(PaymentMessage, base64.b64decode(paid))
                said = json.loads(step["response"]["body"])["ticket_params"]
                assert sent.ticket_params is not None
                assert base64.b64encode(sent.ticket_params.seed).decode() == said["seed"]
    assert given
    if file == "onchain-token.json":
        assert bought == TICKETS
    else:
        assert set(bought.values()) == {1, MAX_TICKETS}


# Its limits.

LIMITS = load("onchain-gateway-limits.json")
FLAGS = {"-maxTicketEV": "max_ticket_ev", "-maxTotalEV": "max_total_ev", "-depositMultiplier": "deposit_multiplier"}
DEPOSIT = 9_983_200_000_000_000_000
"""What the recorded gateway had left by then: its text names a hundred-thousandth of it."""


@pytest.mark.parametrize("recorded", LIMITS, ids=lambda recorded: recorded["step"])
async def test_terms_are_refused_by_the_recorded_limits_in_the_recorded_words(recorded: Mapping[str, Any]) -> None:
    flags = dict(zip(recorded["flags"][::2], map(int, recorded["flags"][1::2]), strict=True))
    purse = Purse(S2, **{FLAGS[flag]: value for flag, value in flags.items()})
    # The token was recorded after the job: with the balance that the job has left.
    orchestrator = Orchestrator({**recorded["token"], "balance": 0}, _answered(recorded["response"]))
    livepeer = next(line.partition("req=")[2] for line in recorded["gateway_log"] if "req=" in line)
    async with gateway_before(orchestrator, purse=purse, funds=Funds(1320, 6, b"\x11" * 32, DEPOSIT, ETH)) as before:
        target, headers = "/process/request/x", {"Livepeer": livepeer, "Content-Type": "application/json"}
        answer = await caller.call(before.gateway.url, "POST", target, headers, "{}")
    expected = headers_of(recorded["response"]["headers"])
    if "x-orchestrator-url" in expected:
        expected["x-orchestrator-url"] = orchestrator.url
    assert (answer.status, answer.text) == (200, recorded["response"]["body"])
    assert headers_of([list(pair) for pair in answer.headers]) == expected
    refused = [line for line in recorded["gateway_log"] if "Unable to create ticket batch err=" in line]
    assert before.gateway.log == [line.partition("err=")[2] for line in refused]
    assert len(orchestrator.jobs) == (not refused)


def _answered(response: Mapping[str, Any]) -> Answering:
    named = dict(response["headers"])
    kept = {name: named[name] for name in ("Livepeer-Balance", "X-Metadata") if name in named}
    return lambda _request: web.Response(body=response["body"].encode(), headers=kept)


def test_a_payment_is_not_made_without_terms() -> None:
    with pytest.raises(CannotPay, match="no terms"):
        Purse(GW).payment(read_token('{"price": {"pricePerUnit": 1, "pixelsPerUnit": 1}}'), 60, FUNDED)
