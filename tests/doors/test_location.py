"""A runner that names itself in `Location` names what its caller can reach."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest

from orchd.domain.ids import Address, ModelKey
from orchd.doors.listed import DOORS
from orchd.doors.live_runner.door import LiveRunnerDoor
from orchd.doors.plain.door import PlainDoor
from orchd.doors.routes import Served, ToRunner
from orchd.errors import Code, JobRefused
from orchd.http1.rules import AnswerHead, RequestHead
from tests.jobs.fakes import Bench
from tests.jobs.messages import ONE, answer, refused, request
from tests.jobs.model import ADDRESS, KEY, a_model
from tests.virtual_time import virtual_time

APP = "http://node.test:8935/apps/orchd-one/session/s1/app"
LIVE = f"/live/{KEY.slug}/s3cret"
BASED = Address("runner.test", 443, "https", "/base")


def led(location: str, rest: str, *, address: Address = ADDRESS, status: int = 307) -> str | None:
    """Return where a client of Live Runner goes that asked for `rest` below its `app_url`."""
    door = LiveRunnerDoor()
    head = RequestHead(b"POST", f"{LIVE}{rest}".encode(), "1.1", [(b"Host", b"x")])
    way = door.route(head, head.target.decode(), Served({KEY: a_model()}))
    assert isinstance(way, ToRunner)
    said = AnswerHead(status, b"", "1.1", [(b"locAtion", location.encode()), (b"Content-Length", b"0")], method=b"POST")
    shape = door.shape(said, head, way, address)
    if not shape.extra:
        return None
    assert shape.without == {b"location"}
    name, _, value = shape.extra.decode().partition(": ")
    assert (name, value[-2:]) == ("Location", "\r\n")
    return urljoin(APP + (rest or "/"), value[:-2])


@pytest.mark.parametrize("rest", ["", "/", "/a", "/a/", "/a/b/c?x=/y"])
@pytest.mark.parametrize(
    "location",
    ["/docs/", "http://127.0.0.1:9000/docs/", "HTTP://127.0.0.1:9000/docs/", "http://localhost:8000/docs/"],
)
def test_the_runners_own_path_is_below_the_clients_app_url(location: str, rest: str) -> None:
    assert led(location, rest) == f"{APP}/docs/"


@pytest.mark.parametrize(
    "location",
    [
        "docs/",
        "../up",
        "",
        "https://elsewhere.test/file",
        "//elsewhere.test/x",
        "http://127.0.0.1.test:9000/x",
        "mailto:x",
    ],
)
def test_what_is_relative_or_elsewhere_passes_as_it_is(location: str) -> None:
    assert led(location, "/a/b") is None


def test_what_was_made_is_found_where_the_runner_says() -> None:
    assert led("/jobs/7?full=1#x", "/jobs", status=201) == f"{APP}/jobs/7?full=1#x"
    assert led("/a:b", "") == f"{APP}/a:b"


def test_a_base_path_is_the_runners_and_what_leads_out_of_it_is_refused() -> None:
    assert led("/base/docs", "/a/b", address=BASED) == f"{APP}/docs"
    assert led("https://runner.test/base/docs", "/a", address=BASED) == f"{APP}/docs"
    assert led("https://RUNNER.test:443/base", "/a", address=BASED) == f"{APP}/"
    for out in ("/login", "/based", "https://runner.test/"):
        with pytest.raises(JobRefused, match="leads out of the base path") as caught:
            led(out, "/a", address=BASED)
        assert (caught.value.code, caught.value.status) == (Code.BACKEND_UNUSABLE, 502)


def test_a_direct_caller_finds_it_below_the_models_base_url() -> None:
    key = ModelKey("a/b", "org/ö")
    way = ToRunner(key, "/x")
    head = RequestHead(b"POST", b"/a-b", "1.1", [(b"Host", b"x")])
    said = AnswerHead(302, b"", "1.1", [(b"Location", b"/docs"), (b"Content-Length", b"0")], method=b"POST")
    shape = PlainDoor().shape(said, head, way, ADDRESS)
    assert shape.extra == b"Location: /models/a%2Fb/org%2F%C3%B6/docs\r\n"


@virtual_time
async def test_the_caller_gets_one_location_and_the_same_head_else() -> None:
    bench = Bench()
    bench.network.reply = answer(b"x", ("X-A", "1"), ("Location", "/docs"), ("Location", "/other"), status=307)
    for target, leads in ((f"{ONE}/a", "/models/image/org%2Fone/docs"), (f"{LIVE}/a/b", "../docs")):
        got = (await bench.serve(request(target=target))).messages[0]
        assert (got.status, got.body, got.header("X-A"), got.header("Location")) == (307, b"x", "1", leads)
        assert sum(name.lower() == "location" for name, _ in got.headers) == 1


@pytest.mark.parametrize("status", [402, 480, 482])
@virtual_time
async def test_what_clients_of_live_runner_take_for_the_nodes_words_is_502(status: int) -> None:
    bench = Bench()
    bench.network.reply = answer(b"pay", status=status)
    got = (await bench.serve(request(target=f"{LIVE}/a", body=b"x"))).messages[0]
    assert (got.status, refused(got)) == (502, Code.BACKEND_UNUSABLE)
    assert str(status) in got.body.decode()
    for target in (f"{ONE}/a", f"/byoc/{KEY.slug}/a"):
        got = (await bench.serve(request(target=target, body=b"x"))).messages[0]
        assert (got.status, got.body) == (status, b"pay")


PAYMENT = ("Livepeer-Payment", "Livepeer-Segment", "Livepeer-Payer-Address")


@pytest.mark.parametrize("target", [f"{ONE}/a", "/image", f"/byoc/{KEY.slug}/a", f"{LIVE}/a"])
@virtual_time
async def test_no_door_lets_payment_reach_a_runner(target: str) -> None:
    """Nor a header that CGI servers take for one, nor a trailer."""
    assert len(DOORS) == 3, "name a path of the new door here"
    bench = Bench()
    spelled = [text for name in PAYMENT for text in (name, name.lower(), name.replace("-", "_"))]
    trailers = b"".join(f"{name}: s3cret\r\n".encode() for name in spelled)
    headers = [(name, "s3cret") for name in (*spelled, "Authorization", "Livepeer")]
    head = request(*headers, ("X-A", "b"), ("Trailer", "Livepeer-Payment"), target=target, chunks=[b"x"])
    (await bench.serve(head[: -len(b"\r\n")] + trailers + b"\r\n"))
    (got,) = bench.network.requests
    assert (got.header("X-A"), got.body) == ("b", b"x")
    assert b"s3cret" not in b"".join(bytes(end.sent) for end in bench.network.ends)
