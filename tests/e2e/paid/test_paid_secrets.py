"""Nothing that an orchd with payers says shows what its terms are made of, or what works in a payer's name."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from orchd.database.database import Database
from orchd.domain.model import Secret
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.sealing import Seal
from tests.doubles.gateway.credentials import Identity
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.kit import PAID, Payer, refusal, selling

KEY = "k3y-of-the-ledgers-secrets-" + "0123456789abcdef" * 2


def spellings(secret: bytes) -> Iterator[str]:
    """Yield how bytes may be written."""
    yield secret.hex()
    yield base64.b64encode(secret).decode().rstrip("=")
    yield str(int.from_bytes(secret, "big"))


async def kept(daemon: Daemon) -> list[bytes]:
    """Return the secrets in a ledger that nobody has open: keys, winners' random numbers and their signatures."""
    database = Database(daemon.state / "orchd.db")
    await database.open()
    books = Books(database, daemon.state, Seal(Secret(KEY)))
    try:
        assert await books.open() == ""
        keys = [key.secret for key in books.terms_keys.by_id.values()]
        keys += [key.secret for key in books.auth_keys.values()]
        winners = await database.read(lambda sql: sql.rows("SELECT rand, sig FROM ledger_winners"))
        assert winners
        return [*keys, *(each for row in winners for each in row)]
    finally:
        await books.close()
        await database.close()


async def test_no_log_line_no_page_and_no_command_shows_a_secret(make: Start, chain: PaidChain) -> None:
    key_file = chain.folder / "ledger-key"
    key_file.write_text(KEY + "\n")
    key_file.chmod(0o600)
    ticket = 4 * 10**16  # Most of what the payer's reserve covers, so that most tickets win.
    more = {"tickets.value": str(ticket), "tickets.key_file": str(key_file), "log.level": "debug"}
    async with selling(make, chain, price=ticket // 60, settings=more) as shop:
        daemon, payer = shop.daemon, Payer(chain.gateway, shop.url)
        payment = payer.tickets(await payer.token(), range(1, 11))
        assert (await payer.send(payment)).status == 200
        assert refusal(await payer.send(payment)) == (402, "nonce_seen")
        assert refusal(await Payer(chain.other, shop.url).send(payment)) == (403, "sender_differs")
        assert refusal(await payer.send(payment[:-8])) == (400, "payment_protobuf")
        async with daemon.client.get(f"http://127.0.0.1:{daemon.admin_port}/metrics") as answer:
            said = [json.dumps(await daemon.status()), await answer.text()]
        state = daemon.flags("state_dir")
        show = ("tickets", "show", "0x" + chain.gateway.address.hex())
        for words in (("tickets",), ("tickets", "--json"), show, (*show, "--json"), ("events",)):
            code, printed = await daemon.command(*words, *state)
            assert code == 0, printed
            said.append(printed)
    said.append(daemon.log_text())
    signed = Identity(chain.gateway).token_headers(PAID)["Livepeer-Eth-Address"]
    secrets = [KEY, payment[:200], signed, *(word for each in await kept(daemon) for word in spellings(each))]
    assert [secret for secret in secrets if any(secret in text for text in said)] == []
    assert PAID in said[-1], "this test sees what is logged"
