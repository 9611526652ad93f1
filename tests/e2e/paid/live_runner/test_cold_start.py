"""A model that no process serves yet: who pays for a session of it is what starts it."""

from __future__ import annotations

import json

from orchd.domain.ids import ModelKey
from tests.e2e.conftest import Start
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.live_runner.models import PRICE
from tests.e2e.paid.live_runner.outside import Seller, seller_settings
from tests.e2e.scripts import PIPELINE, process

COLD = "cold"
PATH = f"/apps/{ModelKey(PIPELINE, COLD).slug}/session"


async def test_a_reserve_starts_a_cold_model_and_the_same_payment_is_good_once_it_is_ready(
    make: Start, chain: PaidChain
) -> None:
    settings = seller_settings(chain) | {"public.offer_cold": "true"}
    daemon = make("orchd", settings=settings)
    daemon.write(process(COLD, warm=False, mode="persistent", price_unit="second", price_per_unit=PRICE))
    async with daemon:
        shop = Seller(daemon, chain, settings["public.url"])
        await shop.listens()
        await daemon.until_state(COLD, "cold")

        async def is_known() -> bool:
            return (await shop.payer.ask(PATH)).status == 402

        await daemon.until("the payer is known", is_known)
        offered = await shop.payer.offer(PATH)
        await daemon.until_state(COLD, "cold")  # Terms cost nothing, so they start nothing.

        async def is_listed() -> bool:
            [listed] = json.loads((await shop.payer.call("/discovery", method="GET", body="")).text)
            return [runner["url"] for runner in listed["runners"]] == [shop.url + PATH]

        await daemon.until("clients find it", is_listed)
        paying = shop.payer.pay(offered, range(1, 1 + offered.tickets_for(10)))
        refused = await shop.payer.send(PATH, paying)
        assert (refused.status, refused.header("Retry-After")) == (503, "5"), refused.text
        assert "it is being started" in json.loads(refused.text)["error"]["message"]
        assert (await daemon.status())["money"]["earned_wei"] == "0"

        await daemon.until_state(COLD, "ready")
        reserved = await shop.payer.send(PATH, paying)
        assert reserved.status == 200, reserved.text
        app = json.loads(reserved.text)["app_url"].removeprefix(shop.url)
        assert (await shop.payer.call(f"{app}/echo")).status == 200
        [sold] = (await daemon.status())["sold"]
        assert (sold["model_id"], sold["mode"], sold["paid"]) == (COLD, "persistent", 1)
        control = json.loads(reserved.text)["control_url"].removeprefix(shop.url)
        assert (await shop.payer.call(f"{control}/stop", body="")).status == 200
