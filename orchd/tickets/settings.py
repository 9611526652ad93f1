"""The section `[tickets]`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchd.settings.section import SecretFile, Section

Wei = Annotated[int, Field(ge=0, lt=1 << 63)]


class TicketsSettings(Section):
    """How orchd is paid by those who talk to it directly."""

    key_file: SecretFile = Field(
        "",
        description="File with one line of at least 32 characters, such as openssl rand -hex 32 prints: the secrets "
        "that terms of payment are made of are encrypted with it in the database. Empty = they are kept as they are, "
        "in a file that only the user of orchd can read.",
    )
    value: Wei = Field(
        0,
        description="Wei that one ticket should be worth. 0 = by the price: at BYOC's door what must be in hand to "
        "begin (the price of 60 seconds), so that one ticket is enough for that; in Live Runner the price of 2.4 "
        "seconds, or of a whole session; at most 3e12, which is what gateways of go-livepeer 0.9 and signers take.",
    )
    longest_gap_s: Annotated[int, Field(ge=1, le=480)] = Field(
        60,
        description="Seconds between two payments of a Live Runner session, such as while its client or the client's "
        "signer stands still, after which the signer can still pay for all of them at once: from 240 on tickets are "
        "worth more than by the price. Above 3.6 USD an hour at 3,000 USD per ETH the signers' own limits allow less "
        "than 60; orchd price shows how much. Terms end after 480 seconds, and new ones are made for the time that has "
        "passed.",
    )
    former_price_s: Annotated[int, Field(ge=0, le=86_400)] = Field(
        1_800,
        description="For this many seconds new Live Runner sessions begin at the former price, after it was raised by "
        "more than 1.2 %, be it by a rate that has moved or over a restart: clients pay what their directory says, and "
        "directories are up to 25 minutes old. A lower price holds at once. 0 = a raise holds at once, too.",
    )
    max_face_value: Wei = Field(
        0, description="Most wei that a winning ticket may pay; 0 = what its payer's deposit and reserve cover."
    )
    redeem_gas: Annotated[int, Field(ge=21_000, le=30_000_000)] = Field(
        1_200_000,
        description="Gas that redeeming a winning ticket takes; the default is that of go-livepeer 0.9 for Arbitrum.",
    )
    cost_multiplier: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        100,
        description="A winning ticket pays this many times the cost of redeeming it, as far as its payer's reserve "
        "covers that; at 100, 1 % of what is earned goes into redeeming.",
    )
    off_chain: Literal["refuse", "trust"] = Field(
        "refuse",
        description="What happens, while chain.id is 0, to jobs at the public listener for models that have a price: "
        "refuse = 503, and only free models are served; trust = they are served without payment to anybody, so set "
        "it only where nobody but your own gateways reaches that listener.",
    )
