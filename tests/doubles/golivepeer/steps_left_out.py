"""The recorded steps that are not replayed, and why. `test_replay` holds the list to be exact.

An on-chain step with a `Livepeer-Payment` header is left out by rule: tickets belong to the double of the payments.
"""

from __future__ import annotations

from tests.doubles.golivepeer.replay import paid
from tests.doubles.shared.recordings import Step

PAYMENT = "carries tickets, which this double doesn't judge"
GROUND = "says on what ground the file was recorded; not a step"
TWICE = "the same request as the step before it, recorded without its request"

CREDIT = "shows credit that payments of the steps before it brought"
TERMS = "shows how ticket terms follow from a limit, which belongs to the double of the payments"
CHAIN = "done to the chain, not to the node; what it changed is read from the step"
START = "a start of the real program; the double has no contracts to find missing"
OTHER_NODE = "a gateway's CLI port"

# File and label of the step.
LEFT_OUT: dict[tuple[str, str], str] = {
    ("onchain-ai-registry.json", "start with no code at the AI registry address"): START,
    ("onchain-ai-registry.json", "start with code, nothing registered"): START,
    (
        "onchain-ai-registry.json",
        "anvil_setCode: run-time code of the ServiceRegistry target (protocol repository, branch delta, solc 0.8.9) at "
        "0x04C0b249740175999E5BF5c9ac1dA92431EF34C5",
    ): CHAIN,
    ("onchain-cli.json", "gateway node: senderInfo and others on ITS cli port 7946"): OTHER_NODE,
    ("onchain-cli.json", "token after setMaxFaceValue 1e14"): TERMS,
    ("onchain-rounds.json", "token while the current round is not initialized"): CREDIT,
    ("onchain-rounds.json", "initializeRound by somebody else"): CHAIN,
    ("onchain-rounds.json", "fresh token"): CREDIT,
    ("onchain-token.json", "register echo/paid price 2500000"): TWICE,
}


def reason(file: str, step: Step) -> str | None:
    """Why a step is left out; None = it is replayed."""
    if paid(file, step):
        return PAYMENT
    if step["step"] == "ground":
        return GROUND
    return LEFT_OUT.get((file, step["step"]))
