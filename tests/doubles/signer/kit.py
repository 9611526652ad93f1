"""For tests of the signers: terms of the example in paid-live-runner.md 11, and who asks for payments on them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from orchd.tickets.validation.messages import AuthToken, OrchestratorInfo, QuotedPrice
from orchd.tickets.validation.signatures import MAX_U256
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.wire import encode
from tests.doubles.gateway.kit import ETH
from tests.doubles.gateway.purse import Funds
from tests.doubles.shared import caller
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.clock import Clock
from tests.doubles.signer.paying import Limits
from tests.doubles.signer.rules import LIVEPEER_NODE, Rules
from tests.doubles.signer.signer import RemoteSigner, SignerSettings
from tests.tickets.validation.sender import Signer

PAYER = Signer("22" * 32)
RECIPIENT = b"\x11" * 20
PRICE = 83_333_333_334
"""Wei a second: 0.90 USD an hour at 3,000 USD per ETH, rounded up."""
BEGAN = 1_795_000_000
"""Unix time at which the clock of a test begins."""
TERMS = TicketTerms(
    recipient=RECIPIENT,
    face_value=4 * 10**11,
    win_prob=MAX_U256 // 2 + 1,
    commitment=b"\x44" * 32,
    seed=5,
    expiration_block=23950140,
    creation_round=4210,
    round_hash=b"\x9a\xb3" * 16,
)
MANIFEST = "session_k3vhq2m7x5t4wnbz"


def challenge(
    terms: TicketTerms = TERMS, manifest: str = MANIFEST, price: int = PRICE, url: str = "https://r.example:8935"
) -> str:
    """Return the `payment_params` of a challenge."""
    info = OrchestratorInfo(
        transcoder=url,
        ticket_params=terms.on_wire(),
        price_info=QuotedPrice(price, 1),
        address=terms.recipient,
        auth_token=AuthToken(b"\x77" * 32, manifest, BEGAN + 86_400),
    )
    return base64.b64encode(encode(info)).decode()


@dataclass
class Client:
    """Asks a signer, and gives it its state back."""

    signer: RemoteSigner
    clock: Clock
    state: dict[str, str] | None = None
    made: dict[str, Any] = field(default_factory=dict)

    async def ask(self, **said: Any) -> Answer:
        """Ask for a payment; members of the request as named, None leaves one out."""
        asked = {"orchestrator": challenge(), "type": "live", "ManifestID": MANIFEST, "app": "a/b", "state": self.state}
        body = json.dumps({name: value for name, value in (asked | said).items() if value is not None})
        got = await caller.call(self.signer.url, "POST", "/generate-live-payment", {}, body)
        if got.status == 200:
            self.made = json.loads(got.text)
            self.state = self.made["state"]
        return got

    def remembered(self) -> dict[str, Any]:
        """Return what the state says."""
        assert self.state is not None
        said = {name.lower(): value for name, value in self.state.items()}
        read: dict[str, Any] = json.loads(base64.b64decode(said["state"]))
        return read


FUNDED = Funds(l1_block=23950100, round=4210, round_hash=b"\x9a\xb3" * 16, deposit=10 * ETH, reserve=5 * ETH)


@asynccontextmanager
async def signer_of(
    rules: Rules = LIVEPEER_NODE, funds: Funds = FUNDED, limits: Limits | None = None, receivers: tuple[str, ...] = ()
) -> AsyncIterator[Client]:
    """Start a signer on a clock that stands still."""

    async def seen() -> Funds:
        return funds

    clock = Clock()
    settings = SignerSettings(rules, PAYER, limits or Limits(), receivers)
    signer = RemoteSigner(settings, seen, clock, lambda: int((BEGAN + clock.now()) * 10**9))
    async with signer:
        yield Client(signer, clock)
