"""What a signer remembers: nothing. Its memory of a session travels with the client, signed. Pure."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from tests.doubles.shared import go_json
from tests.doubles.shared.answers import marshal
from tests.doubles.signer.rules import Rules
from tests.tickets.validation.sender import Signer

_NS_PER_S = 10**9


@dataclass(frozen=True, slots=True)
class State:
    """A session, as its signer left it.

    Attributes:
        id: random, kept as long as the session lives.
        commitment: of the terms last paid on.
        updated_ns: Unix time of the last payment.
        orchestrator: 20 bytes.
        nonce: of the last ticket on those terms.
        balance: wei paid in advance, exactly.
        first_price: of the session: wei, and units that it buys.
        type: `live`, `fixed` or `lv2v`.
        sequence: payments before this one.
    """

    id: str
    commitment: bytes
    updated_ns: int
    orchestrator: bytes
    app: str
    nonce: int
    balance: Fraction
    first_price: tuple[int, int]
    type: str
    sequence: int
    manifest: str

    def signed(self, rules: Rules, account: Signer) -> dict[str, str]:
        """Return it as the member of an answer."""
        values = {
            "StateID": self.id,
            "PMSessionID": "0x" + self.commitment.hex(),
            "LastUpdate": go_time(self.updated_ns),
            "OrchestratorAddress": "0x" + self.orchestrator.hex(),
            "App": self.app,
            "AuthExpiry": 0,
            "AuthPolicy": "",
            "AuthMaxPrice": "",
            "SenderNonce": self.nonce,
            "Balance": f"{self.balance.numerator}/{self.balance.denominator}",
            "InitialPricePerUnit": self.first_price[0],
            "InitialPixelsPerUnit": self.first_price[1],
            "Type": self.type,
            "SequenceNumber": self.sequence,
            "AuthID": "",
            "ManifestID": self.manifest,
        }
        text = marshal({name: values[name] for name in rules.state_fields}).encode()
        parts = (base64.b64encode(part).decode() for part in (text, account.sign(text)))
        return dict(zip(rules.state_names, parts, strict=True))


def read_state(found: Any, account: Signer) -> State | None:
    """Return the state of a request; None = this account has not signed it."""
    try:
        text, signature = (
            base64.b64decode(go_json.field(found, name) or "", validate=True) for name in ("state", "sig")
        )
    except (binascii.Error, AttributeError, TypeError):
        return None
    if account.sign(text) != signature:
        return None
    said = go_json.decode(text.decode())
    return State(
        id=said["StateID"],
        commitment=bytes.fromhex(said["PMSessionID"][2:]),
        updated_ns=unix_ns(said["LastUpdate"]),
        orchestrator=bytes.fromhex(said["OrchestratorAddress"][2:]),
        app=said["App"],
        nonce=int(said["SenderNonce"]),
        balance=Fraction(said["Balance"]),
        first_price=(int(said["InitialPricePerUnit"]), int(said["InitialPixelsPerUnit"])),
        type=said["Type"],
        sequence=int(said["SequenceNumber"]),
        manifest=said.get("ManifestID", ""),
    )


def go_time(ns: int) -> str:
    """Return Unix nanoseconds as Go writes a time: RFC 3339, no trailing zeros."""
    seconds, rest = divmod(ns, _NS_PER_S)
    fraction = f".{rest:09}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def unix_ns(text: str) -> int:
    """Return what `go_time` wrote."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * _NS_PER_S + int(fraction.ljust(9, "0") or 0)
