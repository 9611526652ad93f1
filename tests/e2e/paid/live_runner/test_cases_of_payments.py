"""What is wrong with a payment, or only looks so: paid-live-runner.md 14, by number."""

from __future__ import annotations

import asyncio
import base64
import shutil
from dataclasses import replace

from orchd.tickets.validation.messages import ExpirationParams, QuotedPrice
from orchd.tickets.validation.signatures import keccak256, u256
from orchd.tickets.validation.wire import encode
from tests.e2e.paid.chain import GATEWAY, OTHER
from tests.e2e.paid.live_runner.cases import case, challenged, each_refused, nothing_kept, refused
from tests.e2e.paid.live_runner.inside import Shop
from tests.e2e.paid.live_runner.models import (
    FIXED,
    FIXED_JOB,
    LIVE,
    LIVE_JOB,
    path_of,
)
from tests.e2e.paid.live_runner.payer import NOTHING, Paying
from tests.tickets.validation.sender import high_s


@case(1)
async def test_01_no_payer(shop: Shop) -> None:
    for name in (LIVE, FIXED, LIVE_JOB, FIXED_JOB):
        refused(await shop.payer().call(path_of(name)), 402)


@case(2)
async def test_02_no_usable_payer(shop: Shop) -> None:
    for address in ("0x" + "22" * 19, "0x" + "zz" * 20, "0x0", "0x" + "00" * 20, "22" * 21):
        refused(await shop.payer().call(path_of(LIVE), {"Livepeer-Payer-Address": address}), 402)


@case(3)
async def test_03_one_payment_header_alone(shop: Shop) -> None:
    payer = shop.payer()
    good = payer.pay(await payer.offer(path_of(LIVE)), range(1, 6))
    named = {"Livepeer-Payer-Address": payer.address}
    for name, value in good.headers.items():
        for other in ({}, {each: "" for each in good.headers if each != name}):
            challenged(await payer.call(path_of(LIVE), {**named, name: value, **other}))
    await nothing_kept(shop, payer, good)


@case(4)
async def test_04_unreadable_payments(shop: Shop) -> None:
    def wrong(good: Paying) -> dict[str, Paying]:
        raw = encode(good.payment)
        unpadded = next(raw + extra for extra in (b"", b"\x78\x01") if (len(raw) + len(extra)) % 3)
        odd = raw + b"\x7a\x05\xff\xfe\xff\xfe\xff"  # A field that nobody knows; its base64 has both odd letters.
        texts = {
            "not base64": "not base64!",
            "URL-safe base64": base64.urlsafe_b64encode(odd).decode(),
            "no padding": base64.b64encode(unpadded).decode().rstrip("="),
            "cut protobuf": base64.b64encode(raw[:-3]).decode(),
        }
        assert set("-_") & set(texts["URL-safe base64"])
        return {what: replace(good, header=text) for what, text in texts.items()}

    await each_refused(shop, wrong, 400)


@case(4)
async def test_04_payments_that_are_too_long(shop: Shop) -> None:
    payer = shop.payer()
    good = payer.pay(await payer.offer(path_of(LIVE)), range(1, 6))
    answer = await payer.send(path_of(LIVE), replace(good, header="A" * (1 << 20)))
    assert answer.status == 431
    await nothing_kept(shop, payer, good)


@case(5)
async def test_05_unreadable_segments(shop: Shop) -> None:
    def wrong(good: Paying) -> dict[str, Paying]:
        return {
            "no auth token": good.with_segment(auth_token=None),
            "empty signature": good.with_segment(sig=b""),
        }

    await each_refused(shop, wrong, 403)


@case(5)
async def test_05_segments_that_are_none(shop: Shop) -> None:
    payer = shop.payer()
    good = payer.pay(await payer.offer(path_of(LIVE)), range(1, 6))
    for text in ("not base64!", "////"):
        refused(await payer.send(path_of(LIVE), good, **{"Livepeer-Segment": text}), 403)
    await nothing_kept(shop, payer, good)


@case(6)
async def test_06_segments_signed_wrongly(shop: Shop) -> None:
    def wrong(good: Paying) -> dict[str, Paying]:
        segment = good.segment
        flat = segment.manifest_id + u256(0) + NOTHING
        low = segment.sig[:64] + bytes((segment.sig[64] - 27,))
        return {
            "another key": good.with_segment(sig=OTHER.sign(keccak256(flat))),
            "v of 0 or 1": good.with_segment(sig=low),
            "high s": good.with_segment(sig=high_s(segment.sig)),
            "no inner hash": good.with_segment(sig=GATEWAY.sign(flat)),
        }

    await each_refused(shop, wrong, 403)


@case(7)
async def test_07_another_manifest_than_the_auth_tokens(shop: Shop) -> None:
    def wrong(good: Paying) -> dict[str, Paying]:
        segment = good.segment
        auth = segment.auth_token
        assert auth is not None
        other = b"session_aaaaaaaaaaaaaaaa"
        signed = GATEWAY.sign(keccak256(other + u256(0) + NOTHING))
        flipped = auth.token[:-1] + bytes((auth.token[-1] ^ 1,))
        return {
            "manifest": good.with_segment(manifest_id=other, sig=signed),
            "both": good.with_segment(
                manifest_id=other, sig=signed, auth_token=replace(auth, session_id=other.decode())
            ),
            "auth token": good.with_segment(auth_token=replace(auth, token=flipped)),
            "expiration": good.with_segment(auth_token=replace(auth, expiration=auth.expiration + 1)),
        }

    await each_refused(shop, wrong, 403)


@case(7)
async def test_07_an_auth_token_that_has_expired(shop: Shop) -> None:
    payer = shop.payer()
    offered = await payer.offer(path_of(LIVE))
    assert offered.auth.expiration - shop.unix_time() >= 3600
    shop.step_clock(offered.auth.expiration - shop.unix_time() + 1)
    again = challenged(await payer.send(path_of(LIVE), payer.pay(offered, range(1, 6))))
    assert again.manifest != offered.manifest
    assert shop.active(LIVE) == shop.tickets() == 0


@case(8)
async def test_08_manifests_of_others(shop: Shop) -> None:
    payer, other = shop.payer(), shop.payer(OTHER)
    offered = await payer.offer(path_of(LIVE))
    good = payer.pay(offered, range(1, 6))
    assert challenged(await payer.send(path_of(FIXED), good)).manifest != offered.manifest
    assert challenged(await other.send(path_of(LIVE), other.pay(offered, range(1, 6)))).manifest != offered.manifest
    assert shop.active(FIXED) == 0
    await nothing_kept(shop, payer, good)


@case(8)
async def test_08_manifests_of_a_store_that_is_gone(shop: Shop) -> None:
    payer = shop.payer()
    offered = await payer.offer(path_of(LIVE))
    await shop.stop()
    shutil.rmtree(shop.folder / "state")
    await shop.start()
    again = challenged(await payer.send(path_of(LIVE), payer.pay(offered, range(1, 6))))
    assert again.manifest != offered.manifest
    assert (await payer.send(path_of(LIVE), payer.pay(again, range(1, 6)))).status == 200


@case(9)
async def test_09_a_manifest_whose_session_lives(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE))
    answer = await session.payer.send(path_of(LIVE), session.payer.pay(session.offered, range(10, 15)))
    refused(answer, 409)
    assert (await session.app()).status == 200
    assert shop.active(LIVE) == 1
    assert shop.tickets() == session.paid


@case(10)
async def test_10_a_live_manifest_goes_on_with_what_was_left(shop: Shop) -> None:
    payer = shop.payer()
    session = await payer.begin(path_of(LIVE), seconds=30)
    await asyncio.sleep(5.5)
    assert (await session.stop()).status == 200
    left = shop.credit(session.offered.manifest)
    await asyncio.sleep(100)
    again = await payer.send(path_of(LIVE), payer.pay(session.offered, [session.paid + 1]))
    assert again.status == 200, again.text
    assert shop.credit(session.offered.manifest) == left + session.offered.terms.expected_value


@case(10)
async def test_10_a_fixed_manifest_is_good_once(shop: Shop) -> None:
    payer = shop.payer()
    session = await payer.begin(path_of(FIXED), seconds=1)
    assert (await session.stop()).status == 200
    taken = shop.tickets()
    fresh = range(session.paid + 1, 2 * session.paid + 1)
    again = challenged(await payer.send(path_of(FIXED), payer.pay(session.offered, fresh)))
    assert again.manifest != session.offered.manifest
    assert (shop.tickets(), shop.active(FIXED)) == (taken, 0)


@case(11)
async def test_11_payments_of_too_little_or_too_much(shop: Shop) -> None:
    payer = shop.payer()
    offered = await payer.offer(path_of(LIVE))

    def wrong(good: Paying) -> dict[str, Paying]:
        price = good.payment.expected_price
        assert price is not None
        dearer, cheaper = (QuotedPrice(price.price_per_unit + by, 1) for by in (1, -1))
        return {
            "no tickets": good.changed(ticket_sender_params=()),
            "sender alone": good.changed(
                ticket_params=None, expiration_params=None, ticket_sender_params=(), expected_price=None
            ),
            "101 tickets": payer.pay(offered, range(1, 102)),
            "no price": good.changed(expected_price=None),
            "a wei more": good.changed(expected_price=dearer),
            "a wei less": good.changed(expected_price=cheaper),
            "of two": good.changed(expected_price=QuotedPrice(2 * price.price_per_unit, 2)),
        }

    await each_refused(shop, wrong, 403)


@case(12)
async def test_12_terms_that_are_not_those_issued(shop: Shop) -> None:
    def wrong(good: Paying) -> dict[str, Paying]:
        sent = good.payment.ticket_params
        assert sent is not None
        assert sent.expiration_params is not None

        def off(value: bytes) -> bytes:
            return value[:-1] + bytes((value[-1] ^ 1,))

        found = {
            name: good.with_terms(**{name: off(getattr(sent, name))})
            for name in ("recipient", "face_value", "win_prob", "recipient_rand_hash", "seed", "expiration_block")
        }
        expires = sent.expiration_params
        for what, other in {
            "round": replace(expires, creation_round=expires.creation_round ^ 1),
            "hash": replace(expires, round_hash=off(expires.round_hash)),
        }.items():
            found[what] = good.with_terms(expiration_params=other).changed(expiration_params=other)
        return found

    await each_refused(shop, wrong, 403)


@case(13)
async def test_13_nonces_out_of_range_or_seen(shop: Shop) -> None:
    payer = shop.payer()
    offered = await payer.offer(path_of(LIVE))

    def wrong(_good: Paying) -> dict[str, Paying]:
        lists = ([0, 1, 2], [598, 599, 600], [7, 8, 7])
        return {str(nonces): payer.pay(offered, nonces) for nonces in lists}

    await each_refused(shop, wrong, 403)


@case(13)
async def test_13_nonces_repeated_later_and_after_a_restart(shop: Shop) -> None:
    session = await shop.payer().begin(path_of(LIVE), seconds=60)
    payer, taken = session.payer, shop.tickets()
    for nonces in ([1], [session.paid + 1, session.paid]):
        refused(await payer.top_up(session.offered, payer.pay(session.offered, nonces)), 403)
    assert shop.tickets() == taken
    await shop.kill()
    await shop.start()
    refused(await payer.top_up(session.offered, payer.pay(session.offered, [1])), 403)
    assert (await session.top_up()).status == 200


@case(14)
async def test_14_one_bad_signature_among_good_tickets(shop: Shop) -> None:
    def wrong(good: Paying) -> dict[str, Paying]:
        tickets = list(good.payment.ticket_sender_params)
        tickets[-1] = replace(tickets[-1], sig=tickets[0].sig)
        return {"the last": good.changed(ticket_sender_params=tuple(tickets))}

    await each_refused(shop, wrong, 403)


@case(32)
async def test_32_the_round_in_either_place(shop: Shop) -> None:
    payer = shop.payer()
    for at in range(2):
        offered = await payer.offer(path_of(LIVE))
        good = payer.pay(offered, range(1, 6))
        paying = good.changed(expiration_params=None) if at else good.with_terms(expiration_params=None)
        assert (await payer.send(path_of(LIVE), paying)).status == 200
    offered = await payer.offer(path_of(LIVE))
    differs = ExpirationParams(shop.chain.round - 1, shop.chain.hashes[shop.chain.round - 1].to_bytes(32, "big"))
    refused(await payer.send(path_of(LIVE), payer.pay(offered, range(1, 6)).changed(expiration_params=differs)), 403)
    assert (shop.tickets(), shop.active(LIVE)) == (10, 2)


@case(33)
async def test_33_terms_of_another_challenge(shop: Shop) -> None:
    payer = shop.payer()
    one, two = await payer.offer(path_of(LIVE)), await payer.offer(path_of(LIVE))
    mixed = payer.pay(one, range(1, 6), manifest=two.manifest).with_segment(auth_token=two.auth)
    assert (await payer.send(path_of(LIVE), mixed)).status == 200
    assert shop.credit(two.manifest) > 0
    assert shop.credit(one.manifest) == 0


@case(34)
async def test_34_a_payer_header_of_somebody_else(shop: Shop) -> None:
    payer = shop.payer()
    good = payer.pay(await payer.offer(path_of(LIVE)), range(1, 6))
    answer = await payer.send(path_of(LIVE), good, **{"Livepeer-Payer-Address": shop.payer(OTHER).address})
    assert answer.status == 200
    assert shop.active(LIVE) == 1
