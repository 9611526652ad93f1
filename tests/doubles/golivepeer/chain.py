"""What an on-chain node knows of the chain, as far as its answers show it. `None` in the settings = off-chain.

The defaults are those of the recorded node: anvil, chain 31337, the accounts of `transcripts/onchain-token.json`.
"""

from __future__ import annotations

import base64
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

# Prices with an overhead are fixed-point numbers of three places in an int64.
_FIXED = 1000
_INT64_MAX = 2**63 - 1

FUNDED = "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f"
FUNDED_TOO = "0xb595b18c88b1f651ca387489067f855b5c8e6720"


class ChainRefusal(Exception):
    """The chain's state forbids it; the text is the node's."""


def _base64(number: int) -> str:
    return base64.b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode()


@dataclass
class Chain:
    """Addresses are lower-case hex with 0x."""

    chain_id: int = 31337
    orchestrator: str = "0x17c5185167401eD00cF5F5b2fc97D9BBfDb7D025"
    """Checksummed; also the ticket recipient."""
    key: str = "0x" + "42" * 32
    """The orchestrator's own key: a throw-away one."""

    eth_usd: Fraction | None = Fraction(3000)
    """Dollars per ETH; None = the price feed fails."""
    auto_adjust_price: bool = True
    base_price: Fraction | None = Fraction(1)
    """Wei per pixel for everybody (`-pricePerUnit`)."""
    overheads: Mapping[str, Fraction] = field(
        default_factory=lambda: {FUNDED: Fraction(1, 100), FUNDED_TOO: Fraction(1, 100)}
    )
    """1/txCostMultiplier of each sender with a reserve that is large enough; the others have none."""

    block: int = 524
    round: int = 2
    round_block_hash: str = "0x0a73c2ac48c46f00061491891de114538b150098b4d49b094075fc94e7b6e9ce"
    face_value: int = 2_400_000_000_000_000
    win_prob: int = 385973630791053984745236616695626359510899948885468546798191952000000000
    validity_blocks: int = 40

    initialized: bool = True
    """Whether the current round is: `round` is the last initialized one, the current one after it if not."""
    eth_balance: int = 999998891744992242215
    """Wei of the orchestrator's account."""
    uri: str | None = None
    """The account's entry in the service registry; None = what the node calls itself."""
    reward_cut: int = 100_000
    fee_share: int = 500_000
    """Both in parts per million."""
    block_time_s: float = 0.0
    """Seconds, on the node's clock, until a transaction is mined."""

    def adjusted(self, sender: str, base: Fraction) -> Fraction:
        """Return the price for `sender`: `base` and the sender's overhead, as a fixed-point number of three places.

        Raises:
            ChainRefusal: the sender has no reserve for the overhead to be computed from.

        Source: byoc.md 3.2; saturation from onchain-token.json.
        """
        if not self.auto_adjust_price or base == 0:
            return base
        if sender.lower() not in self.overheads:
            raise ChainRefusal("insufficient sender reserve")
        fixed = base * (1 + self.overheads[sender.lower()]) * _FIXED
        whole = min(abs(fixed.numerator) // fixed.denominator, _INT64_MAX)
        return Fraction(whole if fixed >= 0 else -whole, _FIXED)

    def price(self, sender: str, base: Fraction) -> int:
        """Return whole wei per unit for `sender`, as tokens do; for a negative price see onchain-price.json.

        Raises:
            ChainRefusal: as `adjusted`.
        """
        price = self.adjusted(sender, base)
        return math.trunc(price) if self.auto_adjust_price else math.floor(price)

    def ticket_params(self, sender: str, price: int) -> dict[str, Any]:
        """Return the terms in the token, fresh each time.

        Raises:
            ChainRefusal: the price is above 0 and the sender has no reserve.
        """
        if price > 0 and sender.lower() not in self.overheads:
            raise ChainRefusal("insufficient sender reserve")
        paid = {"face_value": _base64(self.face_value), "win_prob": _base64(self.win_prob)} if price > 0 else {}
        return {
            "recipient": base64.b64encode(bytes.fromhex(self.orchestrator[2:])).decode(),
            **paid,
            "recipient_rand_hash": base64.b64encode(secrets.token_bytes(32)).decode(),
            "seed": base64.b64encode(secrets.token_bytes(32)).decode(),
            "expiration_block": _base64(self.block + self.validity_blocks),
            "expiration_params": {
                "creation_round": self.round,
                "creation_round_block_hash": base64.b64encode(bytes.fromhex(self.round_block_hash[2:])).decode(),
            },
        }

    def accept(self, payment: bytes, sender: str) -> int:
        """Return the wei that a payment adds to the sender's credit. The double knows no tickets and refuses them all.

        Raises:
            ChainRefusal: the payment is no good.
        """
        raise ChainRefusal("invalid ticket")
