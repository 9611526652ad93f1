"""The section `[chain]`: which chain is read, by which servers, and who we are on it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from orchd.settings.section import NotNegative, Positive, SecretFile, Section


def _check_address(text: str) -> str:
    if text and not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise ValueError("it should be an address: 0x and 40 hexadecimal digits")
    return text


Address = Annotated[str, AfterValidator(_check_address)]


class ChainSettings(Section):
    """The chain that backs tickets: which one, the servers that tell of it, and our address on it."""

    id: Annotated[int, Field(ge=0, lt=2**53)] = Field(
        0, description="Id of the chain whose deposits back the tickets, 42161 = Arbitrum One; 0 = no chain is read."
    )
    rpc_url_file: SecretFile = Field(
        "",
        description="File with the URLs of Ethereum RPC servers of that chain (they may hold keys), one a line, the "
        "best first, looked for in $CREDENTIALS_DIRECTORY first; orchestrator.eth_usd = feed uses it too, and alone it "
        "switches nothing else on. It is read again on reload; empty = none.",
    )
    controller: Address = Field(
        "",
        description="Address of Livepeer's Controller contract, which names the others; empty = that of Arbitrum One, "
        "and needed on any other chain.",
    )
    orchestrator: Address = Field(
        "",
        description="Address of the orchestrator as it is registered, to which all tickets are paid; needed where "
        "chain.id is set.",
    )
    max_stale_s: NotNegative = Field(
        600.0,
        description="For how many seconds after the last answer of any RPC server payments of known payers are still "
        "taken; the default bridges a short outage, and risks what a payer can spend elsewhere in that time.",
    )
    poll_s: Positive = Field(
        10.0, description="How often, in seconds, the chain is read; the default is less than the 12 s of an L1 block."
    )
    payer_poll_s: Positive = Field(
        30.0, description="How often, in seconds, the deposit and reserve of a payer are read while its tickets come."
    )
    call_timeout_s: Positive = Field(5.0, description="Timeout in seconds of one call to one RPC server.")
