"""Under which name and at which price a model is sold, for its accounts. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from orchd.domain.model import Model
from orchd.domain.money import PriceUnit

if TYPE_CHECKING:
    from orchd.rate.ports import ExchangeRate

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


class TermsNow:
    """Names and prices of models at today's rate.

    Args:
        name: pattern of capability names, with {pipeline} and {model_id}.
        rate: between USD and ETH; None = prices in USD are not converted.
    """

    def __init__(self, name: str, rate: ExchangeRate | None) -> None:
        self._name = name
        self._rate = rate

    def __call__(self, model: Model, payer: str) -> Terms:
        """Return those of a model for a payer; an empty one is everybody."""
        return terms_of(model, payer, name=self._name, eth_usd=None if self._rate is None else self._rate.eth_usd)


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
