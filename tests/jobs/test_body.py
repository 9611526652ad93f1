"""`model_id` in the first bytes of a body."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.doors.routes import READ_AHEAD_BYTES
from orchd.jobs import body as reading
from orchd.jobs.body import (
    FORM,
    LONGEST_BOUNDARY,
    MAX_MEMBERS,
    MAX_PARAMETERS,
    MAX_PART_LINES,
    MAX_PARTS,
    model_id_in,
    parameter,
    text_member,
)

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


class Counting:
    """A pattern that notes how many characters it has taken, all calls together."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.calls = self.taken = 0

    def match(self, text: str, at: int) -> re.Match[str] | None:
        found = self.pattern.match(text, at)
        self.calls += 1
        self.taken += 0 if found is None else found.end() - at
        return found


HOSTILE_PARAMETERS = [
    'x="' + ";" * 60_000 + '"',
    'x="' + ";" * 60_000,
    "x;" * 30_000,
    ";" * 60_000,
    'x="";' * 12_000,
    'x=";' * 15_000,
    'x="\\"' * 10_000,
    'x="' + '\\"' * 30_000,
    "x=" * 30_000,
    " " * 60_000,
    "x" + " " * 30_000 + "=" + " " * 30_000,
    '"' * 60_000,
]


@pytest.mark.parametrize("text", HOSTILE_PARAMETERS)
@pytest.mark.parametrize("where", ["Content-Type", "Content-Disposition"])
def test_no_character_of_a_parameter_list_is_looked_at_twice(
    text: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(reading._PARAMETER)
    monkeypatch.setattr(reading, "_PARAMETER", counting)
    if where == "Content-Type":
        content_type, body = f"multipart/form-data; {text}", b""
    else:
        content_type, body = MULTIPART, b"--b:1\r\nContent-Disposition: form-data; " + text.encode() + b"\r\n\r\n"
    assert model_id_in(content_type, body, complete=True) is None
    assert counting.calls > 0
    assert counting.taken <= len(content_type) + len(body)
    assert counting.calls <= 2 * MAX_PARAMETERS


def test_a_pattern_that_reads_what_callers_send_never_tries_again() -> None:
    """Two neighbours that may take the same character, and can give it back, make a search quadratic."""
    for pattern in (reading._PARAMETER, reading._IN_FORM):
        text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode()
        assert (
            re.search(r"[*+](?![+])", re.sub(r"\\.|\[[^\]]*\]", "", text).replace("*+", "").replace("++", "")) is None
        )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('multipart/form-data; Boundary = "a;b\\"c" ; x=y', 'a;b"c'),
        ('multipart/form-data; x="boundary=no; boundary=no"; boundary=yes', "yes"),
        ("multipart/form-data;boundary=a;boundary=b", "a"),
        ("multipart/form-data; x; ; boundary=abc def", "abc"),
        ("boundary=abc", ""),
        ("multipart/form-data; xboundary=abc", ""),
        ("multipart/form-data; boundary", ""),
        ("multipart/form-data; boundary=", ""),
        ("multipart/form-data" + "; x=y" * (MAX_PARAMETERS - 1) + "; boundary=abc", "abc"),
        ("multipart/form-data" + "; x=y" * MAX_PARAMETERS + "; boundary=abc", ""),
    ],
)
def test_a_parameter_is_a_token_or_a_quoted_string(value: str, found: str) -> None:
    assert parameter(value, "boundary") == found


@settings(deadline=None)
@given(st.text(alphabet='ab;="\\ \t\r\n\x00é', max_size=80))
def test_no_parameter_list_is_too_odd(text: str) -> None:
    parameter(text, "a")


@pytest.mark.parametrize(("size", "named"), [(LONGEST_BOUNDARY, "org/one"), (LONGEST_BOUNDARY + 1, None)])
def test_a_boundary_has_at_most_70_bytes(size: int, named: str | None) -> None:
    mark = "b" * size
    body = f'--{mark}\r\nContent-Disposition: form-data; name="model_id"\r\n\r\norg/one\r\n--{mark}--'.encode()
    assert model_id_in(f"multipart/form-data; boundary={mark}", body, complete=True) == named


def test_only_so_many_members_and_parts_are_looked_at() -> None:
    for more, named in ((-2, "x"), (1, None)):
        members = ",".join('"a":0' for _ in range(MAX_MEMBERS + more))
        assert text_member(f'{{{members},"model_id":"x"}}'.encode(), "model_id") == named
        parts = part("a", b"") * (MAX_PARTS + more)
        assert model_id_in(MULTIPART, parts + part("model_id", b"x") + b"--b:1--", complete=True) == named


@pytest.mark.parametrize(
    "unit",
    [
        b"Content-Disposition: " + b";" * 200 + b"\r\n",
        b"Content-Disposition:;a\r\n" * 10,
        b"Content-Disposition: x; name=model_i\r\n",
        b":\r\n" * 80,
    ],
)
def test_all_parts_together_take_few_steps(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(reading._PARAMETER)
    monkeypatch.setattr(reading, "_PARAMETER", counting)
    body = (b"--b:1\r\n" + unit + b"\r\n\r\nx\r\n") * 1000
    assert model_id_in(MULTIPART, body[:READ_AHEAD_BYTES], complete=False) is None
    assert counting.calls <= 2048
    assert MAX_PARTS * MAX_PART_LINES <= 2048
    assert 2 * MAX_MEMBERS <= 512, "each member is two calls, and some work between them"


def test_of_a_long_json_document_only_the_first_bytes_are_read() -> None:
    far = b'{"a": "' + b"x" * READ_AHEAD_BYTES + b'", "gateway_request_id": "x"}'
    assert text_member(far, "gateway_request_id") is None
    assert text_member(b'{"gateway_request_id": "x", ' + far[1:], "gateway_request_id") == "x"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "model_id", "model%5fid", "%6Dodel_id", "xmodel_id", "model_idx"]),
            st.sampled_from(["", "=", "=v", "=v%41+", "=a=b"]),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_a_form_is_read_pair_by_pair(pairs: list[tuple[str, str]], complete: bool) -> None:
    """The same as by splitting it, which takes a step for each pair."""
    values = {"": "", "=": "", "=v": "v", "=v%41+": "vA ", "=a=b": "a=b"}
    certain = pairs if complete else pairs[:-1]
    meant = [values[value] for name, value in certain if name in ("model_id", "model%5fid", "%6Dodel_id")]
    body = "&".join(name + value for name, value in pairs).encode()
    assert model_id_in(FORM, body, complete=complete) == (meant[0] if meant else None)
