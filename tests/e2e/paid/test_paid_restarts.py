"""What has been paid stays paid, and what was spent stays spent: whatever ends orchd, and whatever is put back."""

from __future__ import annotations

import shutil

from tests.e2e.conftest import Start
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.kit import Payer, refusal, selling


async def test_a_kill_loses_no_credit_and_lets_no_payment_in_again(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain) as shop:
        payer = Payer(chain.gateway, shop.url)
        token = await payer.token()
        payment = payer.tickets(token, [1, 2, 3])
        assert (await payer.send(payment)).status == 200
        before = (await payer.token()).balance
        await shop.daemon.kill()
        await shop.daemon.start()
        await shop.ready(chain)
        assert (await payer.token()).balance == before
        assert refusal(await payer.send(payment)) == (402, "nonce_seen")
        assert (await payer.send(payer.tickets(token, [4]))).status == 200, "its terms are still good"
        code, printed = await shop.daemon.command("tickets", "reconcile", *shop.daemon.flags("state_dir"))
        assert code == 0, printed


async def test_a_store_that_is_put_back_makes_all_terms_void(make: Start, chain: PaidChain) -> None:
    async with selling(make, chain) as shop:
        payer, daemon = Payer(chain.gateway, shop.url), shop.daemon
        token = await payer.token()
        await daemon.end()
        kept = daemon.folder / "backup"
        shutil.copytree(daemon.state, kept, symlinks=True)
        await daemon.start()
        await shop.ready(chain)
        spent = payer.tickets(token, [1])
        assert (await payer.send(spent)).status == 200
        await daemon.end()
        for file in kept.glob("*.db*"):
            shutil.copy(file, daemon.state / file.name)
        await daemon.start()
        await shop.ready(chain)
        assert refusal(await payer.send(spent)) == (503, "commitment_key")
        assert (await payer.send(payer.tickets(await payer.token(), [1]))).status == 200
