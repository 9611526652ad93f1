"""The negative cases of docs/protocol/paid-live-runner.md, 14, that are decided where payments are taken; by number.

Each refused payment leaves nothing: the ledger is as it was before, and the same tickets, well made, pass afterwards.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.outcomes import Outcome
from orchd.errors import StoreError
from orchd.hooks.refusal import Refusal
from orchd.tickets.ledger.books import Books
from orchd.tickets.ledger.values import WinnerState
from orchd.tickets.payments import TicketRules
from orchd.tickets.validation.messages import ExpirationParams, PaymentMessage, QuotedPrice, SegmentMessage
from orchd.tickets.validation.signatures import u256
from tests.jobs.model import KEY
from tests.tickets.live_runner.counter import (
    FIXED,
    LIVE,
    PRICE,
    TICKET,
    Asked,
    Counter,
    Offer,
    a_counter,
    encoded,
    healing,
    told,
)
from tests.tickets.validation.made import NOTHING, OTHER, PAYER, ROUND
from tests.tickets.validation.receiver import FUNDED
from tests.tickets.validation.sender import Signer, header, high_s


@dataclass(frozen=True)
class Bad:
    """A payment that has something wrong.

    Attributes:
        answer: status and code.
    """

    case: int
    what: str
    change: Callable[[Offer, PaymentMessage, SegmentMessage], tuple[bytes, bytes]]
    answer: tuple[int, str]

    def __str__(self) -> str:
        return f"case {self.case}: {self.what}"


def payment(case: int, what: str, code: str, change: Callable[[PaymentMessage, Offer], PaymentMessage]) -> Bad:
    """A payment that is changed, and refused with 403."""
    return Bad(case, what, lambda offer, paid, sent: (header(change(paid, offer)), encoded(sent)), (403, code))


def terms(case: int, what: str, code: str, **changed: Any) -> Bad:
    """Terms that are changed, with tickets that are signed over them."""

    def change(paid: PaymentMessage, offer: Offer) -> PaymentMessage:
        said = {name: make(getattr(offer.terms, name)) for name, make in changed.items()}
        return PAYER.payment(replace(offer.terms, **said), [1, 2, 3, 4, 5], offer.price)

    return payment(case, what, code, change)


def segment(case: int, what: str, code: str, change: Callable[[SegmentMessage], SegmentMessage]) -> Bad:
    """Credentials that are changed, and refused with 403."""
    return Bad(case, what, lambda offer, paid, sent: (header(paid), encoded(change(sent))), (403, code))


def raw(case: int, what: str, status: int, code: str, change: Callable[[bytes], bytes]) -> Bad:
    """A payment's header that is changed."""
    return Bad(case, what, lambda offer, paid, sent: (change(header(paid)), encoded(sent)), (status, code))


def one_bad_signature(paid: PaymentMessage, _: Offer) -> PaymentMessage:
    *good, last = paid.ticket_sender_params
    return replace(paid, ticket_sender_params=(*good, replace(last, sig=OTHER.sign(b"x" * 32))))


def low_v(sent: SegmentMessage) -> SegmentMessage:
    return replace(sent, sig=sent.sig[:64] + bytes((sent.sig[64] - 27,)))


def forged(sent: SegmentMessage) -> SegmentMessage:
    assert sent.auth_token is not None
    return replace(sent, auth_token=replace(sent.auth_token, token=sent.auth_token.token[:-1] + b"x"))


def priced(wei: int, per: int = 1) -> Callable[[PaymentMessage, Offer], PaymentMessage]:
    return lambda paid, _: replace(paid, expected_price=QuotedPrice(wei, per))


def with_round(paid: PaymentMessage, inside: int | None, beside: int | None) -> PaymentMessage:
    assert paid.ticket_params is not None
    assert paid.expiration_params is not None
    hash = paid.expiration_params.round_hash
    made = [None if each is None else ExpirationParams(each, hash) for each in (inside, beside)]
    return replace(
        paid, ticket_params=replace(paid.ticket_params, expiration_params=made[0]), expiration_params=made[1]
    )


def tickets(*nonces: int) -> Callable[[PaymentMessage, Offer], PaymentMessage]:
    return lambda paid, offer: PAYER.payment(offer.terms, nonces, offer.price)


BAD = [
    raw(4, "not base64", 400, "payment_base64", lambda sent: b"{}"),
    raw(4, "URL-safe base64", 400, "payment_base64", lambda sent: b"_-__" + sent),
    raw(4, "no padding", 400, "payment_base64", lambda sent: base64.b64encode(b"12").rstrip(b"=")),
    raw(4, "too long", 431, "header_length", lambda sent: b"A" * 1_048_576),
    raw(4, "truncated", 400, "payment_protobuf", lambda sent: base64.b64encode(base64.b64decode(sent)[:-1])),
    Bad(5, "segment not base64", lambda offer, paid, sent: (header(paid), b"{}"), (403, "segment_base64")),
    segment(5, "no auth token", "auth_missing", lambda sent: replace(sent, auth_token=None)),
    segment(5, "empty signature", "segment_signature", lambda sent: replace(sent, sig=b"")),
    segment(6, "signed by another key", "segment_signature", lambda sent: replace(sent, sig=OTHER.sign(b"x" * 32))),
    segment(6, "v 0 or 1", "segment_signature", low_v),
    segment(6, "high s", "segment_signature", lambda sent: replace(sent, sig=high_s(sent.sig))),
    segment(
        6,
        "without the inner keccak",
        "segment_signature",
        lambda sent: replace(sent, sig=PAYER.sign(sent.manifest_id + u256(0) + NOTHING)),
    ),
    segment(7, "not the token's session", "manifest_differs", lambda sent: replace(sent, manifest_id=b"session_b")),
    segment(
        7,
        "wrong HMAC",
        "auth_token",
        forged,
    ),
    payment(11, "no ticket", "tickets_missing", tickets()),
    payment(11, "sender only", "terms_missing", lambda paid, _: PaymentMessage(sender=paid.sender)),
    payment(11, "no sender", "sender_missing", lambda paid, _: replace(paid, sender=b"")),
    payment(11, "101 tickets", "tickets_too_many", tickets(*range(1, 102))),
    payment(11, "no expected_price", "price_missing", lambda paid, _: replace(paid, expected_price=None)),
    payment(11, "a wei more", "price_differs", priced(PRICE + 1)),
    payment(11, "a wei less", "price_differs", priced(PRICE - 1)),
    payment(11, "denominator 2", "price_denominator", priced(2 * PRICE, 2)),
    terms(12, "face value", "commitment_differs", face_value=lambda of: of ^ 1),
    terms(12, "probability", "commitment_differs", win_prob=lambda of: of ^ 1),
    terms(12, "seed", "commitment_differs", seed=lambda of: of ^ 1),
    terms(12, "expiry", "commitment_differs", expiration_block=lambda of: of + 1),
    terms(12, "round", "commitment_differs", creation_round=lambda of: of - 1),
    terms(12, "round hash", "commitment_differs", round_hash=lambda of: of[:-1] + bytes((of[-1] ^ 1,))),
    terms(12, "another recipient", "recipient_differs", recipient=lambda of: OTHER.address),
    payment(13, "nonce 0", "nonce_range", tickets(0)),
    payment(13, "nonce 600", "nonce_range", tickets(600)),
    payment(13, "a nonce twice", "nonce_seen", tickets(1, 2, 1)),
    payment(14, "one bad signature of five", "signer_differs", one_bad_signature),
    terms(16, "round hash zero", "commitment_differs", round_hash=lambda of: bytes(32)),
    payment(32, "no expiry terms", "expiration_missing", lambda paid, _: with_round(paid, None, None)),
    payment(32, "two different expiry terms", "expiration_differs", lambda paid, _: with_round(paid, ROUND, 1)),
]  # fmt: skip


def books(counter: Counter) -> tuple[Any, ...]:
    """Return all that a payment may change."""
    assert isinstance(counter.ledger, Books)
    view = counter.ledger.view
    return (
        dict(view.accounts),
        dict(view.terms),
        dict(view.reserved),
        dict(view.owed),
        dict(view.manifests),
        view.state,
    )


@pytest.mark.parametrize("bad", BAD, ids=str)
async def test_a_bad_payment_leaves_nothing_and_its_tickets_pass_when_they_are_well_made(
    tmp_path: Path, bad: Bad
) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        before = books(counter)
        paid, sent = bad.change(offer, offer.payment([1, 2, 3, 4, 5]), offer.segment())
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer, payment=paid, segment=sent)
        assert told(refused.value) == bad.answer
        assert refused.value.body is None
        assert books(counter) == before
        at = await counter.reserve(offer)

        before = books(counter)
        paid, sent = bad.change(offer, offer.payment([6, 7]), offer.segment())
        with pytest.raises(Refusal) as refused:
            await counter.top_up(offer, [], payment=paid, segment=sent)
        assert told(refused.value) == bad.answer
        assert books(counter) == before
        await counter.top_up(offer, [6, 7])
        await counter.settle(at)


@pytest.mark.parametrize(
    ("case", "sent", "code"),
    [
        (1, b"", "payer_missing"),
        (2, b"0x" + b"1" * 38, "payer_address"),
        (2, b"1" * 40, "payer_address"),
        (2, b"0x0", "payer_address"),
        (2, b"0x" + b"0" * 40, "payer_zero"),
    ],
)
async def test_cases_1_and_2_who_names_no_payer_gets_no_challenge(
    tmp_path: Path, case: int, sent: bytes, code: str
) -> None:
    async with a_counter(tmp_path) as counter:
        job = counter.job(payer=None, **{"payer-address": sent})
        with pytest.raises(Refusal) as refused:
            await counter.desk.challenge(Asked(job), LIVE)
        assert (*told(refused.value), refused.value.body) == (402, code, None)


async def test_case_7_an_expired_auth_token_is_answered_with_a_new_challenge(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        counter.now += 3600
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer)
        assert refused.value.word == "auth_expired"
        again = healing(refused.value)
        assert again.manifest != offer.manifest
        at = await counter.reserve(again)
        counter.now += 3600
        with pytest.raises(Refusal) as refused:
            await counter.top_up(again, [6])
        assert told(refused.value) == (503, "auth_expired")
        await counter.top_up(await counter.refresh(again.manifest), [1])
        await counter.settle(at)


@pytest.mark.parametrize("named", [None, OTHER], ids=["nobody", "another"])
async def test_a_new_challenge_is_for_who_pays_whomever_the_header_names(tmp_path: Path, named: Signer | None) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        counter.now += 3600
        with pytest.raises(Refusal) as refused:
            await counter.begin(counter.job(payer=named, **counter.paid(offer, [1, 2, 3, 4, 5])))
        await counter.settle(await counter.reserve(healing(refused.value)))


async def test_who_pays_with_nothing_that_can_be_read_is_told_terms_by_the_header(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        job = counter.job(payer=PAYER, **counter.paid(await counter.challenge(), [1]) | {"payment": b"!"})
        assert isinstance(counter.ledger, Books)
        await counter.ledger.rotate()
        with pytest.raises(Refusal) as refused:
            await counter.begin(job)
        assert refused.value.word == "auth_key"
        await counter.settle(await counter.reserve(healing(refused.value)))


async def test_case_8_a_manifest_of_another_runner_or_payer_is_answered_with_a_new_challenge(tmp_path: Path) -> None:
    other = replace(LIVE, key=ModelKey("image", "org/other"))
    async with a_counter(tmp_path, LIVE, other) as counter:
        offer = await counter.challenge()
        stolen = encoded(offer.segment(OTHER))
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer, payer=OTHER, segment=stolen)
        assert refused.value.word == "manifest_foreign"
        assert healing(refused.value).manifest != offer.manifest
        counter.model = other
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer)
        assert refused.value.word == "manifest_foreign"
        assert f"/apps/{other.key.slug}/" in healing(refused.value).challenge["payment_url"]
        at = await counter.reserve(healing(refused.value))
        await counter.settle(at)


async def test_a_manifest_of_a_job_is_none_of_a_session_once_the_entry_was_edited(tmp_path: Path) -> None:
    async with a_counter(tmp_path, replace(LIVE, persistent=False)) as counter:
        offer = await counter.challenge()
        counter.model = counter.models[LIVE.key] = LIVE
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer)
        assert refused.value.word == "manifest_foreign"
        await counter.settle(await counter.reserve(healing(refused.value)))


async def test_case_9_a_manifest_whose_session_lives_is_refused(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer)
        before = books(counter)
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer, [6])
        assert told(refused.value) == (409, "session_lives")
        assert books(counter) == before
        await counter.settle(at)


async def test_case_10_a_used_manifest_is_good_again_for_seconds_and_a_new_challenge_for_a_fixed_price(
    tmp_path: Path,
) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        await counter.settle(await counter.reserve(offer))
        left = counter.credit(offer.manifest)
        await counter.settle(await counter.reserve(offer, [6]))
        assert counter.credit(offer.manifest) == left * 6 / 5
        counter.models[KEY] = FIXED
        offer = await counter.challenge()
        await counter.settle(await counter.reserve(offer, range(1, 7)))
        before = books(counter)
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer, range(7, 13))
        assert refused.value.word == "manifest_used"
        assert books(counter) == before
        assert healing(refused.value).manifest != offer.manifest
    async with a_counter(tmp_path, FIXED) as counter:
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer, range(7, 13))
        assert refused.value.word == "manifest_used", "after a restart, too"


async def test_case_13_a_nonce_is_good_once_over_a_restart_too(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer)
        with pytest.raises(Refusal) as refused:
            await counter.top_up(offer, [5, 6])
        assert told(refused.value) == (403, "nonce_seen")
        await counter.settle(at)
    async with a_counter(tmp_path) as counter:
        before = books(counter)
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer)
        assert told(refused.value) == (403, "nonce_seen")
        assert books(counter) == before


async def test_cases_15_and_16_stale_terms_are_a_new_challenge_for_a_reserve_and_503_for_a_top_up(
    tmp_path: Path,
) -> None:
    async with a_counter(tmp_path) as counter:
        first, offer = await counter.challenge(), await counter.challenge()
        at = await counter.reserve(offer)
        for facts, code in [
            (replace(counter.chain.facts, l1_block=offer.terms.expiration_block), "terms_expired"),
            (replace(counter.chain.facts, round=counter.chain.facts.round + 2), "round_passed"),
        ]:
            was, counter.chain.facts = counter.chain.facts, facts
            before = books(counter)
            with pytest.raises(Refusal) as refused:
                await counter.top_up(offer, [6])
            assert told(refused.value) == (503, code)
            with pytest.raises(Refusal) as refused:
                await counter.reserve(first)
            assert refused.value.word == code
            assert healing(refused.value).manifest not in (first.manifest, offer.manifest)
            assert books(counter) == before
            counter.chain.facts = was
        counter.chain.facts = replace(counter.chain.facts, round=counter.chain.facts.round + 1)
        await counter.top_up(offer, [6])
        await counter.settle(at)


@pytest.mark.parametrize(
    ("what", "facts", "code"),
    [
        ("deposit 0", replace(FUNDED, deposit=0), "sender_funds"),
        ("reserve 0", replace(FUNDED, reserve=0), "sender_funds"),
        ("withdrawal due next round", replace(FUNDED, withdraw_round=1), "sender_unlocking"),
    ],
)
async def test_case_17_a_payer_without_funds_is_refused(tmp_path: Path, what: str, facts: Any, code: str) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer)
        counter.chain.payers[PAYER.address] = facts
        before = books(counter)
        with pytest.raises(Refusal) as refused:
            await counter.top_up(offer, [6])
        assert told(refused.value) == (400, code)
        with pytest.raises(Refusal) as refused:
            await counter.challenge()
        assert told(refused.value) == (400, code)
        assert books(counter) == before
        await counter.settle(at)


async def test_case_18_who_is_not_active_makes_no_challenge(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        counter.chain.facts = replace(counter.chain.facts, active=False)
        with pytest.raises(Refusal) as refused:
            await counter.challenge()
        assert (*told(refused.value), refused.value.body) == (503, "recipient_inactive", None)


async def test_case_19_without_an_rpc_server_top_ups_and_refreshes_go_on_and_nothing_new_begins(
    tmp_path: Path,
) -> None:
    async with a_counter(tmp_path) as counter:
        offer, unused = await counter.challenge(), await counter.challenge()
        at = await counter.reserve(offer)
        counter.chain.fresh = False
        await counter.top_up(offer, [6])
        await counter.top_up(await counter.refresh(offer.manifest), [1])
        before = books(counter)
        for asked in (counter.challenge(), counter.reserve(unused)):
            with pytest.raises(Refusal) as refused:
                await asked
            assert (*told(refused.value), refused.value.body) == (503, "chain_unknown", None)
        counter.chain.told = False
        for asked in (counter.top_up(offer, [7]), counter.refresh(offer.manifest)):
            with pytest.raises(Refusal) as refused:
                await asked
            assert told(refused.value) == (503, "chain_unknown")
        assert books(counter) == before
        await counter.settle(at)


async def test_case_20_of_two_paid_reserves_with_one_manifest_at_once_one_passes(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        found = await asyncio.gather(counter.reserve(offer), counter.reserve(offer), return_exceptions=True)
        refused = [each for each in found if isinstance(each, Refusal)]
        assert [each.status for each in refused] == [409]
        assert round(counter.credit(offer.manifest)) == 10**12, "credited once"


async def test_case_21_who_gets_no_slot_has_used_up_nothing(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        before = books(counter)
        counter.full = True
        with pytest.raises(Refusal):
            await counter.reserve(offer)
        assert books(counter) == before
        counter.full = False
        await counter.settle(await counter.reserve(offer))


async def test_case_22_a_first_payment_that_is_short_is_kept_and_answered_with_new_terms_of_its_manifest(
    tmp_path: Path,
) -> None:
    async with a_counter(tmp_path, FIXED) as counter:
        offer = await counter.challenge()
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer)
        assert refused.value.word == "credit_short"
        assert "cannot begin: 1 wei of 1000000000000 are missing" in refused.value.message
        again = healing(refused.value)
        assert again.manifest == offer.manifest
        assert again.terms.commitment != offer.terms.commitment
        kept = counter.credit(offer.manifest)
        assert kept > 0
    async with a_counter(tmp_path, FIXED) as counter:
        assert counter.credit(offer.manifest) == kept
        await counter.settle(await counter.reserve(again, [1]))
        assert counter.credit(offer.manifest) == kept * 6 / 5 - 10**12


async def test_case_23_a_top_up_is_for_the_session_of_its_path_and_of_its_segment(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer, other = await counter.challenge(), await counter.challenge()
        at, beside = await counter.reserve(offer), await counter.reserve(other)
        before = books(counter)
        with pytest.raises(Refusal) as refused:
            await counter.top_up(other, [6], path=offer.manifest)
        assert told(refused.value) == (403, "manifest_differs")
        assert books(counter) == before
        with pytest.raises(Refusal) as refused:
            await counter.desk.top_up(Asked(counter.job()), "another", offer.manifest)
        assert told(refused.value) == (404, "session_unknown")
        await counter.settle(at)
        with pytest.raises(Refusal) as refused:
            await counter.top_up(offer, [6])
        assert told(refused.value) == (404, "session_unknown")
        await counter.settle(beside)


async def test_case_24_new_terms_are_for_those_who_have_paid(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        for payer, manifest in ((PAYER, offer.manifest), (PAYER, "session_unknown")):
            with pytest.raises(Refusal) as refused:
                await counter.refresh(manifest, payer)
            assert told(refused.value) == (404, "session_unknown")
        await counter.settle(await counter.reserve(offer))
        with pytest.raises(Refusal) as refused:
            await counter.refresh(offer.manifest, OTHER)
        assert told(refused.value) == (404, "session_unknown")
        assert (await counter.refresh(offer.manifest)).price == offer.price, "after its end, too"
        for body in (
            b"",
            b"{}",
            b"[]",
            b'{"sender": 1, "manifest_id": "x"}',
            b'{"sender": "0x12", "manifest_id": "x"}',
        ):
            with pytest.raises(Refusal) as refused:
                await counter.desk.refresh(Asked(counter.job(), body))
            assert told(refused.value) == (400, "refresh_body")


async def test_cases_27_and_36_what_cannot_be_kept_is_not_credited(tmp_path: Path, monkeypatch: Any) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        before = books(counter)
        take = counter.ledger.take

        async def broken(*_: Any, **__: Any) -> Any:
            raise StoreError("cannot write the store: the disk is full")

        monkeypatch.setattr(counter.ledger, "take", broken)
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer)
        assert told(refused.value) == (503, "store_busy")
        assert counter.sold.live == {}
        assert books(counter) == before
        monkeypatch.setattr(counter.ledger, "take", take)
        at = await counter.reserve(offer)
        monkeypatch.setattr(counter.ledger, "take", broken)
        with pytest.raises(Refusal) as refused:
            await counter.top_up(offer, [6])
        assert told(refused.value) == (503, "store_busy")
        monkeypatch.setattr(counter.ledger, "take", take)
        await counter.settle(at)


async def test_case_28_terms_whose_random_number_may_be_known_are_not_taken_any_more(tmp_path: Path) -> None:
    half_of_them_win = TicketRules(value=TICKET, redeem_gas=21_000, cost_multiplier=1)
    async with a_counter(tmp_path, rules=half_of_them_win) as counter:
        assert isinstance(counter.ledger, Books)
        offer = await counter.challenge()
        for nonces in ([each] for each in range(1, 600)):
            at = await counter.reserve(offer, nonces)
            if counter.ledger.view.owed:
                break
            await counter.settle(at)
        assert counter.ledger.view.owed
        await counter.ledger.mark(list(counter.ledger.view.owed), WinnerState.EXPORTED)
        with pytest.raises(Refusal) as refused:
            await counter.top_up(offer, [599])
        assert told(refused.value) == (503, "commitment_published")
        await counter.settle(at)
        with pytest.raises(Refusal) as refused:
            await counter.reserve(offer, [599])
        assert healing(refused.value).manifest != offer.manifest


async def test_case_30_challenges_write_nothing_and_are_not_remembered(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        before, asked = books(counter), list(counter.chain.asked)
        await counter.challenge()
        first_asked = len(counter.chain.asked)
        offers = [await counter.challenge() for _ in range(200)]
        assert len({offer.manifest for offer in offers}) == 200
        assert books(counter) == before
        assert len(counter.chain.asked) == first_asked == len(asked) + 1, "the payer is asked about once"


@pytest.mark.parametrize("inside", [True, False])
async def test_case_32_expiry_terms_may_stand_in_either_place(tmp_path: Path, inside: bool) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        round = offer.terms.creation_round
        paid = with_round(offer.payment([1]), round if inside else None, None if inside else round)
        await counter.settle(await counter.reserve(offer, payment=header(paid)))


async def test_case_33_tickets_on_another_challenge_of_the_same_payer_are_credited_to_the_segments_manifest(
    tmp_path: Path,
) -> None:
    async with a_counter(tmp_path) as counter:
        offer, other = await counter.challenge(), await counter.challenge()
        at = await counter.reserve(offer, payment=header(other.payment([1])))
        assert counter.credit(offer.manifest) > 0
        assert counter.credit(other.manifest) == 0
        before = counter.credit(offer.manifest)
        await counter.top_up(offer, [], payment=header(other.payment([2])))
        assert counter.credit(offer.manifest) == before * 2
        await counter.settle(at)


async def test_case_34_the_payments_sender_counts_and_not_the_header(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.begin(counter.job(payer=OTHER, **counter.paid(offer, [1])))
        assert at.job.payer == f"0x{PAYER.address.hex()}"
        await counter.settle(at)


async def test_case_38_a_reserve_whose_client_is_gone_keeps_its_credit(tmp_path: Path) -> None:
    async with a_counter(tmp_path, FIXED) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer, range(1, 7))
        paid = counter.credit(offer.manifest) + 10**12
        await counter.settle(at, Outcome.CLIENT_GONE)
        assert counter.credit(offer.manifest) == paid
        await counter.settle(await counter.reserve(offer, [7]))


async def test_case_40_any_unseen_nonce_is_good(tmp_path: Path) -> None:
    async with a_counter(tmp_path) as counter:
        offer = await counter.challenge()
        at = await counter.reserve(offer, [3, 1])
        await counter.top_up(offer, [599, 17, 2])
        await counter.settle(at)
