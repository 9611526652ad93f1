"""The signers answer as the recorded ones did: status, headers, and every payment and state to the byte."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from dataclasses import replace
from functools import cache

import pytest

from orchd.tickets.validation.messages import OrchestratorInfo, SegmentMessage
from orchd.tickets.validation.wire import decode
from tests.doubles.gateway.kit import ETH
from tests.doubles.gateway.purse import Funds
from tests.doubles.shared import caller
from tests.doubles.shared.clock import Clock
from tests.doubles.signer import recordings
from tests.doubles.signer.asked import Refused, read_asked
from tests.doubles.signer.paying import Limits, Payer
from tests.doubles.signer.recordings import EXTRACTS, FILES, SESSIONS, Exchange
from tests.doubles.signer.rules import GO_LIVEPEER, LIVEPEER_NODE
from tests.doubles.signer.signer import RemoteSigner, SignerSettings
from tests.doubles.signer.state import unix_ns
from tests.tickets.validation import recordings as payments
from tests.tickets.validation.recordings import ORIGINALS
from tests.tickets.validation.sender import Signer

PAYER_A = Signer("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
RECIPIENT = bytes.fromhex("70997970c51812dc3a010c7d01b50e0d17dc79c8")
RULES = dict(zip(FILES, (GO_LIVEPEER, LIVEPEER_NODE), strict=True))
LIMITS = {
    "paid-gl-signer": Limits(),
    "paid-node-signer": Limits(second_price=10**12, recipients=frozenset([RECIPIENT])),
}
"""Livepeer Node's ceiling in USD is not recorded, but for these: 1.9e12 wei a second are above it, 8.3e10 are not."""
LAG_BLOCKS = {"paid-gl-signer": 2, "paid-node-signer": 0}
"""How far the signer's own view of the chain was behind the block that was noted."""
CONTROL = "control: live, first payment"
NOT_PLAYED = {
    ("paid-node-signer", "discover-orchestrators"): "two runners of a real receiver: test_signer",
    ("paid-node-signer", "terms without ticket_params.seed"): "it sends on an empty field, which we leave out",
}
PLENTY, FAR = Funds(0, 4, b"\x11" * 32, 10 * ETH, 5 * ETH), 10**9
ALL = [(file, index) for file in FILES for index in range(len(recordings.load(file)))]


def state_of(exchange: Exchange) -> dict[str, object] | None:
    status, said, _ = exchange.answered
    if status != 200 or '"state"' not in said:
        return None
    found = {name.lower(): value for name, value in json.loads(said)["state"].items()}
    read: dict[str, object] = json.loads(base64.b64decode(found["state"]))
    return read


class Moment:
    """Time, block and randomness as they were at one exchange of a recording."""

    def __init__(self, file: str) -> None:
        (control,) = [each for each in recordings.load(file) if each.step == CONTROL]
        state = state_of(control)
        assert state is not None
        self._began_ns = unix_ns(str(state["LastUpdate"])) - int(control.t * 10**9)
        terms = decode(OrchestratorInfo, base64.b64decode(json.loads(control.body)["orchestrator"])).ticket_params
        assert terms is not None
        assert terms.expiration_params is not None
        self._round = terms.expiration_params
        self._block = int.from_bytes(terms.expiration_block, "big") - 40
        self._lag = LAG_BLOCKS[file]
        self.at(control)

    def at(self, exchange: Exchange) -> None:
        state = state_of(exchange)
        self._random: list[bytes] = []
        self.now_ns = self._began_ns + int(exchange.t * 10**9)
        self._l1_block = (exchange.block or self._block) - self._lag
        if state is not None:
            self.now_ns = unix_ns(str(state["LastUpdate"]))
            segment = decode(SegmentMessage, base64.b64decode(json.loads(exchange.answered[1])["segCreds"]))
            ids = (segment.manifest_id.decode(), str(state["StateID"]))
            self._random = [bytes.fromhex(each) for each in ids if not each.startswith("session_")]

    def new_id(self, length: int) -> bytes:
        made = self._random.pop(0)
        assert len(made) == length
        return made

    async def funds(self) -> Funds:
        return Funds(self._l1_block, self._round.creation_round, self._round.round_hash, 10 * ETH, 5 * ETH)


Answered = tuple[int, str, dict[str, str]]


@cache
def answers(file: str) -> list[Answered]:
    async def play() -> list[Answered]:
        moment, made = Moment(file), []
        settings = SignerSettings(RULES[file], PAYER_A, LIMITS[file])
        signer = RemoteSigner(settings, moment.funds, Clock(), lambda: moment.now_ns, moment.new_id)
        async with signer:
            for exchange in recordings.load(file):
                moment.at(exchange)
                made.append(await answer(signer, exchange))
        return made

    return asyncio.run(play())


async def answer(signer: RemoteSigner, exchange: Exchange) -> Answered:
    headers = {"Content-Type": "application/json"}
    got = await caller.call(signer.url, exchange.method, exchange.target, headers, exchange.body)
    kept = {name.title(): value for name, value in got.headers}
    return got.status, got.text, {name: kept[name] for name in exchange.answered[2] if name in kept}


@pytest.mark.parametrize(("file", "index"), ALL, ids=[f"{file}-{recordings.load(file)[i].step}" for file, i in ALL])
def test_the_answer_is_the_recorded_one_to_the_byte(file: str, index: int) -> None:
    exchange = recordings.load(file)[index]
    if (file, exchange.step) not in NOT_PLAYED:
        assert answers(file)[index] == exchange.answered


@pytest.mark.parametrize("file", SESSIONS)
async def test_a_whole_session_is_paid_with_the_recorded_payments(file: str) -> None:
    """Each turn has the state that the double itself gave in the turn before; at the end the balances agree."""
    turns = json.loads((EXTRACTS / f"{file}.json").read_text())
    recorded = {each.payment for each in payments.load(file)}
    began_ns = unix_ns(turns[0]["LastUpdate"]) - int(turns[0]["t"] * 10**9)
    state, asked = None, turns[0]["asked"]
    payer = Payer(GO_LIVEPEER if "gl" in file else LIVEPEER_NODE, PAYER_A, Limits(), PLENTY, 0, secrets.token_bytes)
    for turn in turns:
        asked = turn["asked"] or asked
        body = json.dumps(asked if turn["first"] else asked | {"state": state}).encode()
        now_ns = unix_ns(turn["LastUpdate"]) if "LastUpdate" in turn else began_ns + int(turn["t"] * 10**9)
        if turn["status"] != 200:
            # Of the chain nothing was noted but that the terms had expired for the signer when it said so.
            late = replace(payer, now_ns=now_ns, funds=replace(PLENTY, l1_block=FAR))
            with pytest.raises(Refused) as refused:
                late.pay(read_asked(body, payer.rules))
            assert refused.value.status == turn["status"]
            continue
        made = replace(payer, now_ns=now_ns).pay(read_asked(body, payer.rules))
        assert made["payment"] in recorded
        state = made["state"]
        said = {name.lower(): value for name, value in state.items()}
        assert json.loads(base64.b64decode(said["state"]))["Balance"] == turn["Balance"]


@pytest.mark.parametrize("file", [*FILES, *SESSIONS])
def test_the_extract_is_that_of_the_recording_where_it_is_at_hand(file: str) -> None:
    kept = (EXTRACTS / f"{file}.json").read_text()
    assert json.loads(kept)
    if ORIGINALS.is_dir():
        assert kept == recordings.text(ORIGINALS / f"{file}.json")
