"""Under which name and at which price a model is sold, for its accounts. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from orchd.domain.model import Model
from orchd.domain.money import PriceUnit

CAPABILITY = "{pipeline}/{model_id}"


class Terms(NamedTuple):
    """On which terms a model is sold.

    Attributes:
        capability: the name under which clients ask for the model.
        price: wei per `unit`; None = the entry has none, or it can't be converted now.
        unit: what the price is for.
    """

    capability: str
    price: Fraction | None
    unit: PriceUnit


def terms_of(model: Model, payer: str = "", *, name: str = CAPABILITY, eth_usd: Fraction | None = None) -> Terms:
    """Return the terms of a model for this payer.

    Args:
        payer: gets the price that the entry has for a gateway of this address, in any case; else the entry's own.
        name: pattern of capability names, with {pipeline} and {model_id}.
        eth_usd: USD that an ETH costs; None = not known.
    """
    capability = model.name_for_gateways(name)
    wanted = payer.lower()
    price = next((price for gateway, price in model.gateway_prices if gateway.lower() == wanted), model.price)
    if price is None:
        return Terms(capability, None, PriceUnit.SECOND)
    return Terms(capability, price.wei(eth_usd), price.unit)
