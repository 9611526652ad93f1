"""What an answer of /health means, without a network."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.model import HealthKind, HealthSpec
from orchd.domain.ports import ProbeWord
from orchd.health.reading import EVIDENCE_CHARS, classify, status_word


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"status":"ok"}', "ok"),
        (b'{"status": " IDLE "}', "idle"),
        (b'\xef\xbb\xbf{"status":"ok"}', "ok"),
        (b'"OK"', "ok"),
        (b"OK\n", "ok"),
        (b"not-ready", "not-ready"),
        (b"", None),
        (b"{}", None),
        (b'{"status": true}', None),
        (b'{"status": ""}', None),
        (b'{"Status": "ok"}', None),
        (b'["ok"]', None),
        (b"null", None),
        (b"<html>It works!</html>", None),
        (b'{"status":"ok"', None),
        (b"\xff\xfe\x00", None),
        (b"[" * 60000, None),
        (b"9" * 60000, None),
    ],
)
def test_a_status_word_is_found_leniently(body: bytes, word: str | None) -> None:
    assert status_word(body, "status") == word


def test_the_status_word_may_stand_in_another_field() -> None:
    body = b'{"status":"error","state":"ready"}'
    assert classify(200, body, HealthSpec(status_field="state"), early=False)[0] is ProbeWord.READY


def test_words_are_looked_up_in_the_order_error_loading_ready_busy() -> None:
    health = HealthSpec(error=("a",), loading=("a", "b"), ready=("a", "b", "c"), busy=("a", "b", "c", "d"))
    words = [classify(200, word.encode(), health, early=False)[0] for word in "abcde"]
    assert words == [ProbeWord.ERROR, ProbeWord.LOADING, ProbeWord.READY, ProbeWord.BUSY, ProbeWord.UNKNOWN]


def test_a_loading_code_is_looked_at_before_anything_else() -> None:
    health = HealthSpec(ok_codes=(200, 503), loading_codes=(503,))
    assert classify(503, b'{"status":"ok"}', health, early=False)[0] is ProbeWord.LOADING


def test_an_early_loading_code_means_loading_only_in_the_start_window() -> None:
    health = HealthSpec(early_loading_codes=(500,))
    assert classify(500, b"", health, early=True)[0] is ProbeWord.LOADING
    assert classify(500, b"", health, early=False)[0] is ProbeWord.FAILED


@pytest.mark.parametrize("code", [201, 204, 301, 401, 404, 500, 503])
def test_a_code_that_is_not_ok_fails_whatever_the_body_says(code: int) -> None:
    assert classify(code, b'{"status":"ok"}', HealthSpec(), early=True)[0] is ProbeWord.FAILED


def test_by_status_code_the_body_does_not_matter() -> None:
    assert classify(200, b'{"status":"ERROR"}', HealthSpec(kind=HealthKind.HTTP_STATUS), early=False)[0] is (
        ProbeWord.READY
    )


def test_the_evidence_is_code_and_body_in_one_short_line() -> None:
    _, evidence = classify(200, b'{"status":\r\n "\x1b[31mok"}' + b"x" * 1000, HealthSpec(), early=False)
    assert evidence.startswith('200 {"status": "[31mok"}xxx')
    assert len(evidence) == len("200 ") + EVIDENCE_CHARS
    assert classify(500, b"", HealthSpec(), early=False)[1] == "500"


@given(st.integers(100, 599), st.binary(max_size=300), st.booleans())
def test_any_bytes_have_a_meaning_and_printable_evidence(code: int, body: bytes, early: bool) -> None:
    word, evidence = classify(code, body, HealthSpec(), early=early)
    assert word in ProbeWord
    assert evidence.isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_has_a_meaning(value: object) -> None:
    assert classify(200, json.dumps(value).encode(), HealthSpec(), early=False)[0] in ProbeWord
