"""The door for Live Runner's clients: what each request leads to, and what it is answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from orchd.domain.ids import Address
from orchd.domain.outcomes import Outcome
from orchd.doors.entrance import Entrance
from orchd.doors.own import Dropped, OwnAnswer
from orchd.doors.public_live_runner.door import DROP_S, MIB
from orchd.doors.routes import Reserve, ToRunner
from orchd.errors import JOB_ANSWERS, Code, JobRefused
from orchd.hooks.refusal import Refusal
from orchd.http1.rules import AnswerHead, RequestHead
from tests.doors.public_live_runner.fakes import CHALLENGE, ONCE, PERSISTENT, SERVICE, Rig

RESERVE, APP = f"/apps/{PERSISTENT.slug}/session", f"/apps/{ONCE.slug}/app"
SESSION = f"{RESERVE}/session_a"


def said(body: bytes) -> Any:
    return json.loads(body)


@pytest.mark.parametrize("target", [RESERVE, APP, f"{APP}/a/b?c=d"])
def test_a_request_without_payment_is_told_what_it_costs_and_its_body_is_dropped(target: str) -> None:
    rig = Rig()
    answer = asyncio.run(rig.ask(target))
    assert (answer.status, said(answer.body)) == (402, CHALLENGE)
    assert rig.clients.counts == {"discovered": 0, "challenged": 1}
    way = rig.route(target)
    assert isinstance(way, OwnAnswer)
    assert way.drops == ((50 if target != RESERVE else 64) * MIB, DROP_S)
    assert way.body_bytes == 0


@pytest.mark.parametrize("missing", ["Livepeer-Payment", "Livepeer-Segment"])
@pytest.mark.parametrize("target", [RESERVE, APP])
def test_one_payment_header_alone_or_an_empty_one_is_no_payment(target: str, missing: str) -> None:
    headers = {"Livepeer-Payment": "x", "Livepeer-Segment": "y"}
    for given in ({**headers, missing: ""}, {name: value for name, value in headers.items() if name != missing}):
        assert isinstance(Rig().route(target, headers=given), OwnAnswer)
    assert not isinstance(Rig().route(target, headers=headers), OwnAnswer)


def test_a_paid_reserve_and_a_free_one_begin_a_session_with_urls_of_its_own() -> None:
    rig = Rig("/ai")
    ways = [rig.route(RESERVE, paid=True)]
    rig.desk.free.add(PERSISTENT)
    ways.append(rig.route(RESERVE))
    for way in ways:
        assert isinstance(way, Reserve)
        assert (way.key, way.slug) == (PERSISTENT, PERSISTENT.slug)
        answer = way.answer("session_b")
        assert answer.status == 200
        control = f"{SERVICE}/ai/apps/{PERSISTENT.slug}/session/session_b"
        assert said(answer.body) == {"session_id": "session_b", "app_url": f"{control}/app", "control_url": control}


@pytest.mark.parametrize(
    ("rest", "target"),
    [
        *(("", "/image"), ("/", "/image"), ("/x/y", "/x/y"), ("/a%2Fb%20?q=%2e&r=//", "/a%2Fb%20?q=%2e&r=//")),
        *(("/price%2525", "/price%2525"), ("/%41", "/%41"), ("/\xe9;b", "/\xe9;b"), ("/trail/", "/trail/")),
    ],
)
def test_a_paid_job_goes_to_the_runner_byte_for_byte(rest: str, target: str) -> None:
    rig = Rig()
    way = ToRunner(ONCE, target, ONCE.slug, drops=Dropped(50 * MIB, DROP_S))
    assert rig.route(APP + rest, "PATCH", paid=True) == way
    rig.desk.free.add(ONCE)
    assert rig.route(APP + rest) == way


def test_a_request_within_a_session_needs_no_payment_of_its_own() -> None:
    rig = Rig()
    rig.begin("session_a")
    way = ToRunner(PERSISTENT, "/ws?x", PERSISTENT.slug, session="session_a")
    assert rig.route(f"{SESSION}/app/ws?x", "GET") == way
    assert rig.door.in_session(rig.served.models[PERSISTENT])


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        (f"{APP}//a/./b?c=//d", f"{APP}/a/b?c=//d"),
        (f"{SESSION}/app//lead", f"{SESSION}/app/lead"),
        (f"{APP}/a/.", f"{APP}/a/"),
    ],
)
def test_empty_and_dot_segments_are_redirected_as_at_a_node(target: str, leads: str) -> None:
    rig = Rig("/ai")
    rig.begin("session_a")
    answer = asyncio.run(rig.ask(target))
    assert (answer.status, answer.body, answer.headers) == (307, b"", ((b"Location", f"/ai{leads}".encode()),))


@pytest.mark.parametrize(
    ("target", "method", "code"),
    [
        ("/apps/nobody/session", "POST", Code.UNKNOWN_MODEL),
        ("/apps/nobody/app", "GET", Code.UNKNOWN_MODEL),
        (f"/apps/{ONCE.slug}/session", "POST", Code.BAD_REQUEST),
        (f"/apps/{PERSISTENT.slug}/app", "POST", Code.BAD_REQUEST),
        (f"{SESSION}/app", "POST", Code.STREAM_UNKNOWN),
        (f"{SESSION}/stop", "POST", Code.STREAM_UNKNOWN),
        (f"{APP}/%2e%2e/up", "POST", Code.BAD_REQUEST),
        (f"{APP}/a/..", "POST", Code.BAD_REQUEST),
    ],
)
def test_what_leads_nowhere_is_refused(target: str, method: str, code: Code) -> None:
    with pytest.raises(JobRefused) as caught:
        asyncio.run(Rig().ask(target, method))
    assert caught.value.code is code


def test_a_session_is_found_under_the_path_of_its_own_model_alone() -> None:
    rig = Rig()
    rig.begin("session_a")
    rig.begin("session_b", ONCE)
    for target in (
        f"/apps/{ONCE.slug}/session/session_a/app",
        f"/apps/{ONCE.slug}/session/session_a/stop",
        f"/apps/{ONCE.slug}/session/session_b/app",
        "/apps/nobody/session/session_a/app",
    ):
        with pytest.raises(JobRefused) as caught:
            asyncio.run(rig.ask(target))
        assert caught.value.code is Code.STREAM_UNKNOWN, target


def test_a_request_in_a_session_whose_model_is_not_known_now_is_never_told_that_there_is_none() -> None:
    rig = Rig()
    rig.begin("session_a")
    rig.served = type(rig.served)({})
    with pytest.raises(JobRefused) as caught:
        rig.route(f"{SESSION}/app")
    assert caught.value.status == 503


@pytest.mark.parametrize("id", ["session_a", "session_over"])
def test_a_stop_is_200_for_a_session_that_lives_and_for_one_that_is_over(id: str) -> None:
    rig = Rig()
    ends: list[tuple[str, Outcome, str]] = []
    session = rig.begin("session_a")

    def end(outcome: Outcome, why: str, word: str = "") -> None:
        ends.append((session.id, outcome, word))

    session.end = end
    rig.desk.paid.add("session_over")
    answer = asyncio.run(rig.ask(f"{RESERVE}/{id}/stop"))
    assert (answer.status, said(answer.body)) == (200, {"ok": True})
    assert ends == ([("session_a", Outcome.OK, "session_stopped")] if id == "session_a" else [])
    assert rig.sold.forgot == (["session_a"] if id == "session_a" else []), "it can't come back after a restart"


def test_top_ups_and_refreshes_go_to_the_desk_under_all_their_paths() -> None:
    rig = Rig()
    answer = asyncio.run(rig.ask(f"{SESSION}/payment"))
    assert (answer.status, said(answer.body)["manifest_id"]) == (200, "session_a")
    assert rig.desk.topped_up == [(PERSISTENT.slug, "session_a")]
    for target in ("/refresh-payment", f"{SESSION}/payment/refresh-payment"):
        answer = asyncio.run(rig.ask(target, body=b"asked"))
        assert (answer.status, said(answer.body)["manifest_id"]) == (200, "asked")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_discovery_is_told_to_everybody_by_the_query(method: str) -> None:
    rig = Rig()
    answer = asyncio.run(rig.ask("/discovery?app=x", method))
    assert (answer.status, answer.body) == (200, b"[app=x]")
    assert rig.clients.counts["discovered"] == 1


@pytest.mark.parametrize(
    ("target", "method", "allowed"),
    [
        ("/discovery", "POST", b"GET, HEAD"),
        (RESERVE, "GET", b"POST"),
        (f"{SESSION}/stop", "DELETE", b"POST"),
        (f"{SESSION}/payment", "PUT", b"POST"),
        ("/refresh-payment", "GET", b"POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(target: str, method: str, allowed: bytes) -> None:
    rig = Rig()
    with pytest.raises(Refusal) as caught:
        rig.route(target, method)
    status, headers, _ = rig.door.refusal(caught.value, "id")
    assert (status, dict(headers)[b"Allow"]) == (405, allowed)


def test_no_terms_are_told_while_nothing_could_begin() -> None:
    rig = Rig()
    rig.ready = (False, "it loads")
    with pytest.raises(JobRefused, match="it loads") as caught:
        asyncio.run(rig.ask(RESERVE))
    assert caught.value.status == 503
    assert rig.clients.counts["challenged"] == 0


# Refusals.


def told(why: JobRefused) -> tuple[int, dict[bytes, bytes], Any]:
    status, headers, body = Rig().door.refusal(why, "r1")
    return status, dict(headers), said(body)


def test_a_refusal_is_worded_so_that_clients_show_its_sentence() -> None:
    status, headers, body = told(JobRefused(Code.BODY_TOO_LARGE, "cannot take it: too long"))
    assert (status, headers[b"Livepeer-Error"]) == (413, b"body_too_large")
    assert body == {"error": {"code": "body_too_large", "message": "cannot take it: too long"}, "request_id": "r1"}


def test_a_402_without_a_whole_challenge_never_goes_out_unless_nobody_could_pay() -> None:
    assert told(Refusal(402, "cannot go on: pay", body=CHALLENGE))[0::2] == (402, CHALLENGE)
    assert told(Refusal(402, "cannot tell terms: no payer", reason="payer_missing"))[0] == 402
    assert told(Refusal(402, "cannot go on: pay"))[0] == 403
    assert told(Refusal(402, "cannot go on: pay", body={"error": "pay"}))[0] == 403


@pytest.mark.parametrize("status", [480, 482])
def test_the_signers_words_never_go_out(status: int) -> None:
    assert told(Refusal(status, "cannot go on"))[0] == 403


def test_full_is_409_and_our_own_trouble_is_503_with_a_time_to_come_again() -> None:
    assert told(JobRefused(Code.CAPACITY_EXHAUSTED, "cannot begin: full"))[0] == 409
    for code in (Code.INTERNAL, Code.NOT_READY, Code.HOOK_FAILED, Code.ANSWER_LATE, Code.SHUTTING_DOWN):
        status, headers, _ = told(JobRefused(code, "cannot serve"))
        assert (status, headers[b"Retry-After"]) == (503, b"1")


def test_no_code_of_orchds_own_looks_like_payment() -> None:
    assert not {told(JobRefused(code, "cannot serve"))[0] for code in JOB_ANSWERS} & {401, 402, 480, 482, 500}


# What passes to a runner and back.


def test_payment_payer_and_what_names_a_session_never_reach_a_runner() -> None:
    passing = Rig().door.passing
    for name in ("Livepeer-Payment", "livepeer-segment", "Livepeer-Payer-Address", "Livepeer_Payment", "Livepeer"):
        assert not passing[name.encode()]
    for name in ("Livepeer-Session-Id", "Livepeer-Session-Token", "Livepeer-Session-Control", "Livepeer-Runner-Route"):
        assert not passing[name.encode()]
    for name in ("X-Forwarded-For", "X_Forwarded_Host", "x-forwarded-proto", "Forwarded", "Connection", "Host"):
        assert not passing[name.encode()]
    for name in ("Authorization", "Cookie", "User-Agent", "Content-Type", "X-Real-Ip", "Accept-Encoding"):
        assert passing[name.encode()]


def test_a_runner_is_told_whose_request_it_is_by_orchd_alone() -> None:
    head = RequestHead(b"POST", APP.encode(), "1.1", [(b"Host", b"ai.example.org"), (b"X-Forwarded-For", b"9.9.9.9")])
    lines = b"X-Forwarded-Host: ai.example.org\r\nX-Forwarded-Proto: https\r\n"
    assert Rig().door.forwarded(head, "192.0.2.1", "https") == b"X-Forwarded-For: 192.0.2.1\r\n" + lines
    assert Rig().door.forwarded(head, "", "https") == lines


@pytest.mark.parametrize("status", [402, 480, 482])
def test_a_runners_word_about_payment_is_a_fault_of_the_runners(status: int) -> None:
    rig, way = Rig(), ToRunner(ONCE, "/x", ONCE.slug)
    head = RequestHead(b"POST", APP.encode(), "1.1", [(b"Host", b"h")])
    with pytest.raises(JobRefused) as caught:
        rig.door.shape(AnswerHead(status, b"", "1.1", [], method=b"POST"), head, way, Address("127.0.0.1", 9000))
    assert rig.door.told_status(caught.value) == 502


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        (f"/ai{APP}", b"app/there?x"),
        (f"/ai{APP}/", b"./there?x"),
        (f"/ai{APP}/a", b"./there?x"),
        (f"/ai{APP}/a/b?c=/d", b"../there?x"),
        (f"http://h/ai{APP}/a/b", b"../there?x"),
    ],
)
def test_where_a_runner_leads_is_below_the_clients_own_url(target: str, leads: bytes) -> None:
    rig, way = Rig("/ai"), ToRunner(ONCE, "/x", ONCE.slug)
    head = RequestHead(b"GET", target.encode(), "1.1", [(b"Host", b"h")])
    answer = AnswerHead(307, b"", "1.1", [(b"Location", b"/there?x")], method=b"GET")
    assert rig.door.shape(answer, head, way, Address("127.0.0.1", 9000)).extra == b"Location: " + leads + b"\r\n"


def test_where_a_runner_leads_within_a_session_is_below_that() -> None:
    rig, way = Rig(), ToRunner(PERSISTENT, "/x", PERSISTENT.slug, session="session_a")
    head = RequestHead(b"GET", f"{SESSION}/app/a/b".encode(), "1.1", [(b"Host", b"h")])
    answer = AnswerHead(302, b"", "1.1", [(b"Location", b"/")], method=b"GET")
    assert rig.door.shape(answer, head, way, Address("127.0.0.1", 9000)).extra == b"Location: ../\r\n"


# Where it is.


def test_refreshes_are_served_at_the_root_too_where_all_else_is_below_a_base_path() -> None:
    door = Rig("/ai").door
    entrance = Entrance((door,), "/ai")
    for target in ("/ai/refresh-payment", "/refresh-payment", "/refresh-payment?x", "http://h/refresh-payment"):
        assert entrance.enter(entrance.below(target)) is door
    for target in ("/discovery", RESERVE, "/refresh-payment/"):
        with pytest.raises(JobRefused) as caught:
            entrance.below(target)
        assert caught.value.code is Code.UNKNOWN_MODEL
