"""How what clients do wrong, or have happen to them, is tried: paid-live-runner.md 14, by number.

Each case is played over real connections with a whole orchd. "Nothing" in that table means no credit, no nonce used and
no slot kept, which `nothing_kept` tries: the same nonces, well signed, pass afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.chaos.jumping import run_jumping
from tests.doubles.shared.caller import Answer
from tests.e2e.paid.live_runner.inside import Shop, shop
from tests.e2e.paid.live_runner.models import LIVE, path_of
from tests.e2e.paid.live_runner.payer import Offered, Payer, Paying, read_offer

PLAYED: set[int] = set()
"""The numbers that are played."""


def case(
    number: int, more: dict[str, Any] | None = None, **fields: Any
) -> Callable[[Callable[[Shop], Awaitable[None]]], Callable[[Path], None]]:
    """Make a test of what plays the case of this number, or a part of it.

    Args:
        more, fields: as of `whole`.
    """
    PLAYED.add(number)
    return whole(more, **fields)


def whole(
    more: dict[str, Any] | None = None, **fields: Any
) -> Callable[[Callable[[Shop], Awaitable[None]]], Callable[[Path], None]]:
    """Make a test of what is played with a whole orchd.

    Args:
        more: settings by section.
        fields: of each entry of aiModels.json.
    """

    def test_of(played: Callable[[Shop], Awaitable[None]]) -> Callable[[Path], None]:
        async def story(folder: Path) -> None:
            async with shop(folder, more or {}, **fields) as at:
                await played(at)

        def test(tmp_path: Path) -> None:
            run_jumping(story(tmp_path))

        test.__doc__ = played.__doc__
        return test

    return test_of


def error(answer: Answer) -> str:
    """Return the text of an answer's error, which every refusal has."""
    said = json.loads(answer.text)["error"]
    text = said["message"] if isinstance(said, dict) else said
    assert isinstance(text, str)
    assert text
    return text


def refused(answer: Answer, status: int) -> None:
    """See that it is a refusal of this status, without a challenge."""
    assert answer.status == status, (answer.status, answer.text)
    assert "payment_params" not in answer.text
    assert error(answer)


def challenged(answer: Answer) -> Offered:
    """Return the whole challenge that an answer must be."""
    assert answer.status == 402, (answer.status, answer.text)
    return read_offer(answer)


async def nothing_kept(shop: Shop, payer: Payer, good: Paying, name: str = LIVE) -> None:
    """See that what was refused has left no slot, no credit and no nonce: the payment is good as it is meant."""
    assert shop.active(name) == 0
    assert shop.tickets() == 0
    answer = await payer.send(path_of(name), good)
    assert answer.status == 200, answer.text
    assert shop.tickets() == len(good.payment.ticket_sender_params)


async def each_refused(shop: Shop, wrong: Callable[[Paying], dict[str, Paying]], status: int) -> None:
    """See that each of these is refused with this status, and that none leaves anything."""
    payer = shop.payer()
    offered = await payer.offer(path_of(LIVE))
    good = payer.pay(offered, range(1, offered.tickets_for(10) + 1))
    for what, paying in wrong(good).items():
        answer = await payer.send(path_of(LIVE), paying)
        assert answer.status == status, (what, answer.status, answer.text)
        refused(answer, status)
    await nothing_kept(shop, payer, good)
