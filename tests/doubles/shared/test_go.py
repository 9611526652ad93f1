"""The double's Go: JSON, URLs and paths as Go's standard library has them, and the clock that tests move."""

from __future__ import annotations

import asyncio

import pytest

from orchd.tasks import spawn
from tests.doubles.shared import go_http, go_json, go_url
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.go_json import GoJsonError


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ('{"a"', "unexpected end of JSON input"),
        ('"a', "unexpected end of JSON input"),
        ("tru", "unexpected end of JSON input"),
        ("nope", "invalid character 'o' in literal null (expecting 'u')"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        ('{"a" 1', "invalid character '1' after object key"),
        ('{"a":1 "', "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{} '", r"invalid character '\'' after top-level value"),
        ("-x", "invalid character 'x' in numeric literal"),
        ('"\n"', r"invalid character '\n' in string literal"),
        (r'"\x"', "invalid character 'x' in string escape code"),
    ],
)
def test_bad_json_is_refused_in_go_s_words(text: str, error: str) -> None:
    with pytest.raises(GoJsonError) as found:
        go_json.decode(text)
    assert str(found.value) == error


@pytest.mark.parametrize(("text", "error"), [("", "EOF"), (" ", "EOF"), ("{", "unexpected EOF")])
def test_a_json_stream_ends_otherwise(text: str, error: str) -> None:
    with pytest.raises(GoJsonError) as found:
        go_json.decode(text, stream=True)
    assert str(found.value) == error
    assert go_json.decode("{} x", stream=True) == {}


def test_json_is_written_sorted_and_html_safe() -> None:
    value = go_json.decode('{"b": [1.0, 2.5, null], "a": "<&>é", "c": 1e3}')
    assert go_json.encode(value) == r'{"a":"\u003c\u0026\u003eé","b":[1,2.5,null],"c":1000}'


@pytest.mark.parametrize(
    ("url", "request_uri"),
    [
        ("http://h", "/"),
        ("http://h?a=b c", "/?a=b c"),
        ("http://h/a b", "/a%20b"),
        ("http://h/a%2Fb", "/a%2Fb"),
        ("http://h//a#f", "//a"),
        ("http://h/é", "/%C3%A9"),
    ],
)
def test_a_url_is_escaped_as_go_does(url: str, request_uri: str) -> None:
    assert go_url.parse(url).request_uri == request_uri


@pytest.mark.parametrize("url", ["", "h/a", "ftp://h", "http://", "http://h:x/", "http://h/\n", "http://h/%g0"])
def test_what_go_does_not_call_is_refused(url: str) -> None:
    with pytest.raises(go_url.BadUrl):
        go_url.parse(url)


@pytest.mark.parametrize(
    ("path", "clean"),
    [("/", "/"), ("//", "/"), ("/a//b", "/a/b"), ("/a/./b/../c/", "/a/c/"), ("/../a", "/a"), ("/a/", "/a/")],
)
def test_a_path_is_cleaned_as_go_does(path: str, clean: str) -> None:
    assert go_http.cleaned(path) == clean


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a": 1}', "text/plain; charset=utf-8"),
        (b" <!doctype html >", "text/html; charset=utf-8"),
        (b"\x00\x01", "application/octet-stream"),
    ],
)
def test_a_body_without_a_type_is_guessed(body: bytes, kind: str) -> None:
    assert go_http.content_type(body) == kind


async def test_time_passes_timer_by_timer() -> None:
    clock = Clock()
    seen: list[tuple[str, float]] = []

    async def tick(name: str, period_s: float) -> None:
        while True:
            await clock.sleep(period_s)
            seen.append((name, clock.now()))

    tasks = [spawn(tick("a", 2), name="a"), spawn(tick("b", 3), name="b")]
    await clock.advance(6)
    assert seen == [("a", 2), ("b", 3), ("a", 4), ("b", 6), ("a", 6)]
    for task in tasks:
        task.cancel()


async def test_a_time_limit_is_on_the_clock() -> None:
    clock = Clock()

    async def limited() -> str:
        try:
            async with clock.timeout(5):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "in time"

    task = spawn(limited(), name="limited")
    await clock.advance(4.9)
    assert not task.done()
    await clock.advance(0.1)
    assert await task == "late"


async def test_time_waits_for_what_is_busy_but_not_for_ever() -> None:
    clock = Clock()
    order: list[str] = []

    async def work(real_s: float) -> None:
        with clock.busy():
            await asyncio.sleep(real_s)
        order.append("done")

    task = spawn(work(0.05), name="short")
    clock.call_later(1, lambda: order.append("timer"))
    await clock.advance(1)
    assert order == ["done", "timer"]
    await task
    hanging = spawn(work(3600), name="hanging")
    clock.call_later(1, lambda: order.append("timer"))
    await clock.advance(1)
    assert order == ["done", "timer", "timer"]
    hanging.cancel()
