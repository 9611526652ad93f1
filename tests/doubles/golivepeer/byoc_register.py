"""`/capability/register` and `/capability/unregister`. Source: byoc.md 2."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from aiohttp import web

from tests.doubles.golivepeer.byoc import Byoc, Capability
from tests.doubles.shared import go_json
from tests.doubles.shared.go_http import Dropped, json_text, text_error
from tests.doubles.shared.go_json import GoJsonError

if TYPE_CHECKING:
    from tests.doubles.golivepeer.chain import Chain

WEI_PER_ETH = 10**18


def routes(byoc: Byoc) -> list[web.RouteDef]:
    async def register(request: web.Request) -> web.StreamResponse:
        if refusal := _unauthorised(byoc, request):
            return refusal
        body = await request.read()
        try:
            capability = _capability(body.decode("utf-8", "replace"), byoc.node.settings.on_chain)
        except GoJsonError as error:
            return json_text(f"Error registering capability: {error}", status=400)
        byoc.capabilities[capability.name] = capability
        byoc.prices[capability.name] = capability.price
        byoc.registrations[capability.name] += 1
        return json_text("ok")

    async def unregister(request: web.Request) -> web.StreamResponse:
        if refusal := _unauthorised(byoc, request):
            return refusal
        name = (await request.read()).decode("utf-8", "replace")
        byoc.remove(name)
        byoc.unregistrations[name] += 1
        return json_text("ok")

    return [web.route("*", "/capability/register", register), web.route("*", "/capability/unregister", unregister)]


def _unauthorised(byoc: Byoc, request: web.Request) -> web.Response | None:
    if request.method != "POST":
        return text_error(405, "Method not allowed")
    if request.headers.get("Authorization", "") != (byoc.node.settings.orch_secret or ""):
        return text_error(400, "invalid authorization")
    return None


def _capability(text: str, chain: Chain | None) -> Capability:
    found = go_json.decode(text)
    if found is None:
        found = {}
    if not isinstance(found, dict):
        raise GoJsonError(f"json: cannot unmarshal {go_json.kind(found)} into Go value of type core.ExternalCapability")

    def words(name: str) -> str:
        return go_json.string(go_json.field(found, name), f"ExternalCapability.{name}")

    def number(name: str, go_type: str = "int64") -> int:
        return go_json.integer(go_json.field(found, name), f"ExternalCapability.{name}", go_type=go_type)

    capacity, load = number("capacity", "int"), number("Load", "int")
    amount = Fraction(number("price_per_unit"), number("price_scaling") or 1)
    currency = words("currency")
    return Capability(
        name=words("name"),
        description=words("description"),
        url=words("url"),
        capacity=capacity,
        load=load,
        price=wei(amount, currency, chain),
        currency=currency,
        token=words("token"),
    )


def wei(amount: Fraction, currency: str, chain: Chain | None) -> Fraction:
    """Return `amount` in wei.

    Raises:
        Dropped: a currency that is unknown, or a feed that isn't there or fails; the node's handler panics.
    """
    if currency.lower() in ("", "wei"):
        return amount
    if currency.lower() == "eth":
        return amount * WEI_PER_ETH
    if currency.upper() == "USD" and chain is not None and chain.eth_usd is not None:
        return amount / chain.eth_usd * WEI_PER_ETH
    raise Dropped
