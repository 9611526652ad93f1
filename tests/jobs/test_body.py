"""`model_id` in the first bytes of a body."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.jobs.body import READ_AHEAD_BYTES, model_id_in
from orchd.jobs.request import FORM

MULTIPART = 'multipart/form-data; boundary="b:1"'


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b:1\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "named"),
    [
        ("application/json", b'{"model_id": "org/one"}', "org/one"),
        ("application/json; charset=utf-8", b' \n{ "a" : [1, {"model_id": "in"}] , "model_id" : "out" } ', "out"),
        ("application/vnd.x+json", b'{"model_id": "\\u00e9\xc3\xa9"}', "éé"),
        ("application/json", b'{"model_id": "one", "model_id": "two"}', "two"),
        ("", b'{"model_id": "org/one"}', "org/one"),
        (FORM, b'{"model_id": "org/one"}', "org/one"),
        (FORM, b"prompt=x&model_id=org%2Fone+1", "org/one 1"),
        (FORM, b"model%5Fid=org/one", "org/one"),
        (MULTIPART, part("prompt", b"x") + part("model_id", b"org/one") + b"--b:1--\r\n", "org/one"),
        (MULTIPART, b"preamble\r\n" + part("model_id", "é".encode()) + b"--b:1--", "é"),
        ("application/json", b'{"model_id": "a\\ud800b"}', "a?b"),
        ("application/json", b'{"model_id": 7}', None),
        ("application/json", b'{"other": "x"}', None),
        ("application/json", b'["model_id"]', None),
        ("application/json", b"{}", None),
        ("application/json", b"", None),
        ("application/json", b'{"a" "model_id": "x"}', None),
        ("application/json", b"[" * 60000, None),
        ("application/octet-stream", b'{"model_id": "org/one"}', None),
        ("image/png", b"\x89PNG", None),
        (FORM, b"model=x", None),
        (MULTIPART, part("other", b"x") + b"--b:1--", None),
        ("multipart/form-data", part("model_id", b"x") + b"--b:1--", None),
    ],
)
def test_a_whole_body_names_its_model(kind: str, body: bytes, named: str | None) -> None:
    assert model_id_in(kind, body, complete=True) == named


@pytest.mark.parametrize(
    ("kind", "start", "named"),
    [
        ("application/json", b'{"model_id": "org/one", "image": "AAAA', "org/one"),
        ("application/json", b'{"model_id": "org/on', None),
        ("application/json", b'{"image": "AAAA', None),
        (FORM, b"model_id=org/one&image=AA", "org/one"),
        (FORM, b"a=b&model_id=org/on", None),
        (MULTIPART, part("model_id", b"org/one") + part("image", b"AAAA", '; filename="a"'), "org/one"),
        (MULTIPART, part("model_id", b"org/on"), None),
    ],
)
def test_of_a_body_that_goes_on_only_what_is_certain_counts(kind: str, start: bytes, named: str | None) -> None:
    assert model_id_in(kind, start, complete=False) == named


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["application/json", FORM, MULTIPART, "", "text/plain"]), st.booleans())
def test_no_body_is_too_odd(body: bytes, kind: str, complete: bool) -> None:
    model_id_in(kind, body, complete=complete)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5), st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists), max_size=4
    ),
    st.text(max_size=9),
)
def test_json_is_read_as_json_is(members: dict[str, object], model_id: str) -> None:
    members["model_id"] = model_id
    body = json.dumps(members).encode()
    assert model_id_in("application/json", body, complete=True) == model_id
    for cut in range(len(body)):
        assert model_id_in("application/json", body[:cut], complete=False) in (None, model_id)


def test_the_bound_is_64_kib() -> None:
    assert READ_AHEAD_BYTES == 65536
