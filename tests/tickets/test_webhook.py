"""The hook `webhook`, before a real server that answers, denies, lies, hangs and dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.money import PriceUnit
from orchd.errors import Code, JobRefused
from orchd.hooks.hook import HookHost
from orchd.hooks.job import Job, PayerLimits
from orchd.hooks.refusal import Refusal
from orchd.hooks.terms import Terms
from orchd.names import Names
from orchd.tasks import spawn
from orchd.tickets.webhook import ASKED_AT_ONCE, FACTS, WebhookHook, WebhookOptions
from orchd.tickets.webhook_answer import BadAnswer, WebhookAnswer, read_answer
from orchd.tickets.webhook_client import MOST_BYTES
from tests.advertise.rig import until

KEY = ModelKey("image", "org/one")
NO_HOST: HookHost = None  # type: ignore[assignment]
YES = {"allow": True}


@dataclass
class Policy:
    """An operator's server.

    Attributes:
        answer: what it says; a function is called with the request.
        asked: the documents, and the headers beside.
    """

    answer: object = field(default_factory=lambda: YES)
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    url: str = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.headers.append(request.headers)
        if callable(self.answer):
            answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.answer
            return await answer(request)
        return web.Response(body=json.dumps(self.answer).encode())


@asynccontextmanager
async def a_policy(answer: object = YES) -> AsyncIterator[Policy]:
    policy = Policy(answer)
    app = web.Application()
    app.router.add_post("/job", policy.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    policy.url = f"http://127.0.0.1:{runner.addresses[0][1]}/job"
    try:
        yield policy
    finally:
        await runner.cleanup()


@asynccontextmanager
async def a_hook(url: str, secret: str = "", **options: Any) -> AsyncIterator[WebhookHook]:
    hook = WebhookHook(WebhookOptions(url=url, **options), Secret(secret) if secret else None, Names())
    await hook.open(NO_HOST)
    try:
        yield hook
    finally:
        await hook.close()


def a_job(payer: str = "", peer: str = "10.0.0.1", price: Fraction | None = Fraction(7, 2)) -> Job:
    terms = Terms("image/org/one", price, PriceUnit.SECOND)
    job = Job(
        SimpleNamespace(
            head=SimpleNamespace(method=b"POST"),
            peer=peer,
            key=KEY,
            door_name="direct",
            of_node=False,
            terms_for=lambda payer: terms,
        )
    )
    if payer:
        job.set_payer(payer)
    return job


async def asks(hook: WebhookHook, job: Job | None = None) -> Job:
    job = job or a_job()
    if (waits := hook.identify(job)) is not None:
        await waits
    return job


async def refused(hook: WebhookHook, job: Job | None = None) -> JobRefused:
    with pytest.raises(JobRefused) as caught:
        await asks(hook, job)
    return caught.value


async def test_it_is_told_the_facts_that_are_named_and_no_more_with_the_secret() -> None:
    async with a_policy() as policy, a_hook(policy.url, "s3cret", facts=list(FACTS)) as hook:
        await asks(hook, a_job("acme"))
    assert policy.asked == [
        {
            "payer": "acme",
            "address": "10.0.0.1",
            "pipeline": "image",
            "model_id": "org/one",
            "capability": "image/org/one",
            "door": "direct",
            "method": "POST",
            "price": "7/2",
            "unit": "second",
        }
    ]
    assert policy.headers[0]["Authorization"] == "Bearer s3cret"


async def test_it_may_name_payer_price_and_limit() -> None:
    said = {**YES, "payer": "acme", "price": {"wei": "10/3", "unit": "hour"}, "limit": 2}
    async with a_policy(said) as policy, a_hook(policy.url) as hook:
        job = await asks(hook)
    assert (job.payer, job.limits) == ("acme", PayerLimits(of_model=2))
    assert job.terms == Terms("image/org/one", Fraction(10, 3), PriceUnit.HOUR)


async def test_it_may_deny_with_status_and_reason() -> None:
    said = {"allow": False, "status": 451, "reason": "not_here", "message": "cannot serve you: it is not legal there"}
    async with a_policy(said) as policy, a_hook(policy.url) as hook:
        for _ in range(2):
            refusal = await refused(hook)
            assert isinstance(refusal, Refusal)
            assert (refusal.status, refusal.word, refusal.message) == (451, "not_here", said["message"])
    assert len(policy.asked) == 1, "a no is remembered, too"


async def test_a_denial_without_more_is_a_403() -> None:
    async with a_policy({"allow": False}) as policy, a_hook(policy.url) as hook:
        refusal = await refused(hook)
    assert (refusal.status, refusal.word) == (403, "webhook_denied")


# The cache.


async def test_an_answer_serves_all_jobs_with_the_same_facts_and_no_others() -> None:
    async with a_policy() as policy, a_hook(policy.url, facts=["payer"]) as hook:
        for payer, peer in (("a", "10.0.0.1"), ("a", "10.0.0.2"), ("b", "10.0.0.1")):
            await asks(hook, a_job(payer, peer))
    assert policy.asked == [{"payer": "a"}, {"payer": "b"}]


async def test_without_a_cache_each_job_asks() -> None:
    async with a_policy() as policy, a_hook(policy.url, cache_s=0) as hook:
        for _ in range(3):
            await asks(hook)
    assert len(policy.asked) == 3


async def test_an_answer_that_is_too_old_is_asked_for_again() -> None:
    async with a_policy() as policy, a_hook(policy.url, cache_s=60) as hook:
        await asks(hook)
        hook._answers = type(hook._answers)((facts, (said, 0.0)) for facts, (said, _) in hook._answers.items())
        policy.answer = {"allow": False}
        await refused(hook)


async def test_the_cache_is_bounded() -> None:
    async with a_policy() as policy, a_hook(policy.url, facts=["payer"], cache_size=2) as hook:
        for payer in ("a", "b", "c", "b", "c", "a"):
            await asks(hook, a_job(payer))
        assert len(hook._answers) == 2
    assert [each["payer"] for each in policy.asked] == ["a", "b", "c", "a"]


async def test_who_asks_the_same_at_the_same_time_shares_one_question_and_may_leave() -> None:
    gate = asyncio.Event()

    async def waiting(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.json_response(YES)

    async with a_policy(waiting) as policy, a_hook(policy.url, timeout_s=60) as hook:
        asking = [spawn(asks(hook), name="ask") for _ in range(3)]
        await until("it is asked", lambda: policy.asked)
        asking[0].cancel()
        gate.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, Job, Job]
    assert len(policy.asked) == 1


# A server that is no good.


async def raw(body: bytes, status: int = 200) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return answer


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 200, "its answer is not JSON"),
        (b"[]", 200, 'no member "allow"'),
        (b'{"allow": "yes"}', 200, 'no member "allow"'),
        (b'{"allow": true}', 500, "it answered 500"),
        (b'{"allow": true}', 302, "it answered 302"),
        (b'{"allow": true}' + b" " * MOST_BYTES, 200, "its answer is longer than 64 KiB"),
        (b'{"allow": true, "price": {"wei": 1.5}}', 200, "price.wei"),
        (b'{"allow": true, "price": {"wei": "1e999999999"}}', 200, "price.wei"),
        (b'{"allow": true, "price": {"wei": -1}}', 200, "price.wei"),
        (b'{"allow": true, "price": {"wei": 1, "unit": "fortnight"}}', 200, "fortnight"),
        (b'{"allow": true, "limit": -1}', 200, "limit"),
        (b'{"allow": false, "status": 200}', 200, "cannot refuse with status 200"),
        (b'{"allow": false, "reason": "Not Here"}', 200, "cannot refuse with the reason"),
        (b"[" * 100_000, 200, "64 KiB"),
        (b"[" * 60_000, 200, "its answer is not JSON"),
    ],
)
async def test_a_server_that_lies_lets_nobody_in(body: bytes, status: int, said: str) -> None:
    async with a_policy(await raw(body, status)) as policy, a_hook(policy.url) as hook:
        refusal = await refused(hook)
        assert (refusal.code, refusal.status) == (Code.HOOK_FAILED, 503)
        assert said in refusal.message
        policy.answer = YES
        await asks(hook)


async def test_a_server_that_hangs_lets_nobody_in() -> None:
    async def hangs(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with a_policy(hangs) as policy, a_hook(policy.url, timeout_s=0.05) as hook:
        refusal = await refused(hook)
    assert (refusal.code, refusal.status) == (Code.HOOK_FAILED, 503)
    assert "no answer within 0.05 s" in refusal.message


async def test_a_server_that_dies_in_the_middle_lets_nobody_in() -> None:
    async def dies(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with a_policy(dies) as policy, a_hook(policy.url) as hook:
        assert (await refused(hook)).code is Code.HOOK_FAILED


async def test_a_server_that_is_not_there_lets_nobody_in_and_its_url_is_not_told() -> None:
    async with a_policy() as policy:
        url = policy.url
    async with a_hook(url) as hook:
        refusal = await refused(hook)
    assert refusal.code is Code.HOOK_FAILED
    assert url not in refusal.message


async def test_only_so_many_questions_are_under_way() -> None:
    gate = asyncio.Event()

    async def waiting(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.json_response(YES)

    async with a_policy(waiting) as policy, a_hook(policy.url, facts=["payer"], timeout_s=60) as hook:
        asking = [spawn(asks(hook, a_job(f"p{n}")), name="ask") for n in range(ASKED_AT_ONCE)]
        await until("all are asked", lambda: len(policy.asked) == ASKED_AT_ONCE)
        assert "questions wait for an answer already" in (await refused(hook, a_job("more"))).message
        gate.set()
        await asyncio.gather(*asking)


# What is understood.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["allow", "status", "reason", "message", "payer", "price", "limit", "wei", "unit"])


@given(st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=3), max_size=6) | JSON)
def test_whatever_it_says_is_used_whole_or_not_at_all(said: object) -> None:
    try:
        answer = read_answer(json.dumps(said).encode())
    except BadAnswer:
        return
    assert isinstance(said, dict)
    assert bool(answer.status) is not said["allow"]
    if answer.status:
        assert isinstance(answer.refusal(), Refusal)


@pytest.mark.parametrize("wei", [0, 10**70, "7", "7/2", "0"])
def test_prices_are_exact(wei: int | str) -> None:
    answer = read_answer(json.dumps({**YES, "price": {"wei": wei}}).encode())
    assert answer == WebhookAnswer(price=(Fraction(wei), PriceUnit.SECOND))
