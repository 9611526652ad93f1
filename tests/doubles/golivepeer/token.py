"""`GET /process/token`: price, ticket terms, free slots; for any name.

Source: byoc.md 3, 4.3.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.doubles.golivepeer import byoc_creds
from tests.doubles.golivepeer.byoc import Byoc
from tests.doubles.golivepeer.byoc_creds import BadCreds
from tests.doubles.golivepeer.chain import ChainRefusal
from tests.doubles.shared.go_http import json_text, text_error

_NO_ADDRESS = "Must have eth address and signature on address in Livepeer-Eth-Address header"
_NO_NAME = "Job capabilities not provided, must provide comma separated capabilities in Livepeer-Capability header"

# A sender without a reserve is told to come back (503); other refusals are 400.
_NO_RESERVE = "insufficient sender reserve"


def routes(byoc: Byoc) -> list[web.RouteDef]:
    async def token(request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return text_error(405, "Method not allowed")
        return _token(byoc, request)

    return [web.route("*", "/process/token", token)]


def _token(byoc: Byoc, request: web.Request) -> web.Response:
    node = byoc.node
    chain = node.settings.on_chain
    header = request.headers.get("Livepeer-Eth-Address", "")
    if not header:
        return text_error(400, _NO_ADDRESS)
    try:
        asker = byoc_creds.asker(header, chain)
    except BadCreds:
        return text_error(400, "Invalid eth address header ")
    name = request.headers.get("Livepeer-Capability", "")
    if not name:
        return text_error(400, _NO_NAME)
    try:
        price = byoc.price(asker.address, name)
    except ChainRefusal as refusal:
        return text_error(503 if str(refusal) == _NO_RESERVE else 400, f"Could not get price err={refusal}")
    answer: dict[str, Any] = {"sender_address": {"addr": asker.address, "sig": asker.signature}}
    if chain is not None:
        try:
            answer["ticket_params"] = chain.ticket_params(asker.address, price)
        except ChainRefusal as refusal:
            return text_error(400, f"Could not get ticket params err={refusal}")
    credit = byoc.credit.get((asker.address.lower(), name), 0)
    free = byoc.capabilities[name].free if name in byoc.capabilities else 0
    shown = {
        "balance": credit.numerator // credit.denominator,
        "price": ({"pricePerUnit": price} if price else {}) | {"pixelsPerUnit": 1},
        "service_addr": node.service_uri,
        "available_capacity": free,
    }
    answer |= {key: value for key, value in shown.items() if value} | {"LastNonce": 0}
    return json_text(json.dumps(answer, separators=(",", ":")) + "\n")
