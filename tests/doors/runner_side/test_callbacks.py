"""What containers ask for their sessions, in the words of the recorded node, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from orchd.errors import StoreError
from orchd.sold.runner_side.runner_side import MOST_CHANNELS, MOST_PROXIES
from tests.doors.runner_side.containers import SESSION, ContainersBench
from tests.doubles.shared.recordings import load
from tests.jobs.messages import request
from tests.jobs.model import KEY
from tests.virtual_time import virtual_time

NODE = "http://127.0.0.1:8935"
SLUG = "orchd-two"
PLACEHOLDER = re.compile(r"<(?:channel|proxy)-\d+>")
OURS = {"/runner/", "/run/", "/proxy/"}
OTHER_TEXT = {"channels: GET"}
"""Steps in which only the text differs: the node's is Go's own."""
WITH_RUNNERS = {"proxy: call it", "proxy: bare", "proxy: under /proxy/ too"}
"""Calls that reach a runner: tests/jobs tries those."""


class Names:
    """Which random name of ours stands for which of the recording's."""

    def __init__(self, known: dict[str, str]) -> None:
        self._ours = known

    def ours(self, text: str) -> str:
        """Return recorded text with our names."""
        for theirs, our in self._ours.items():
            text = text.replace(theirs, our)
        return text

    def check(self, recorded: object, seen: object) -> None:
        """Check that an answer is the recorded one, learning the names in it."""
        if isinstance(recorded, dict) and isinstance(seen, dict):
            assert [*recorded] == [*seen] or {*recorded} == {*seen}
            for name, value in recorded.items():
                self.check(value, seen[name])
        elif isinstance(recorded, list) and isinstance(seen, list):
            assert len(recorded) == len(seen)
            for one, other in zip(recorded, seen, strict=True):
                self.check(one, other)
        elif isinstance(recorded, str) and isinstance(seen, str):
            self._check_text(self.ours(recorded), seen)
        else:
            assert recorded == seen

    def _check_text(self, recorded: str, seen: str) -> None:
        new = PLACEHOLDER.findall(recorded)
        pattern = re.escape(recorded)
        for name in new:
            pattern = pattern.replace(re.escape(name), "([a-z2-7]{16,26})", 1)
        found = re.fullmatch(pattern, seen)
        assert found is not None, (recorded, seen)
        self._ours.update(zip(new, found.groups(), strict=True))


def steps() -> list[dict[str, Any]]:
    """Return the recorded steps that a container takes."""
    found = [step for step in load("node-callbacks.json") if any(_target(step).startswith(ours) for ours in OURS)]
    return [
        step for step in found if step["step"] not in WITH_RUNNERS and not step["step"].startswith("proxy: call it")
    ]


def _target(step: dict[str, Any]) -> str:
    return str(step.get("request", {}).get("target", ""))


@virtual_time
async def test_containers_written_for_a_node_are_answered_as_by_it() -> None:
    bench = ContainersBench(service=NODE, inside=NODE)
    await bench.reserved()
    names = Names({"<session-1>": SESSION, "<secret-2>": bench.token(), SLUG: KEY.slug, "<proxy-3>": "a" * 26})
    played = steps()
    assert len(played) > 20
    for step in played:
        asked, recorded = step["request"], step["response"]
        headers = [(name, names.ours(value)) for name, value in asked["headers"].items()]
        target, body = names.ours(asked["target"]), names.ours(asked["body"]).encode()
        answer = await bench.answer_to(request(*headers, method=asked["method"], target=target, body=body))
        assert answer.status == recorded["status"], step["step"]
        assert answer.header("Content-Type") == "application/json"
        if step["step"] not in OTHER_TEXT:
            names.check(json.loads(recorded["body"]), json.loads(answer.body))
    await bench.idle()
    assert bench.sold.all() == []
    assert len(bench.channels.channels) == 0


@virtual_time
async def test_a_container_hears_of_its_channels_where_it_reaches_them_and_its_clients_where_they_do() -> None:
    bench = ContainersBench()
    await bench.reserved()
    answer = await bench.asked("channels", b'{"channels": [{"name": "in", "mime_type": "video/mp2t"}]}')
    (channel,) = json.loads(answer.body)["channels"]
    name = channel["channel_name"]
    assert channel == {
        "name": "in",
        "channel_name": name,
        "url": f"https://pay.example:8443/ai/ai/trickle/{name}",
        "internal_url": f"http://172.18.0.1:8739/ai/trickle/{name}",
        "mime_type": "video/mp2t",
    }
    proxy = json.loads((await bench.asked("proxy", b"{}")).body)
    assert proxy == {"proxy_id": proxy["proxy_id"], "url": f"https://pay.example:8443/ai/run/{proxy['proxy_id']}"}


@pytest.mark.parametrize("what", ["stop", "channels", "proxy"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"token": ""},
        {"token": "the other's"},
        {"slug": "other"},
        {"slug": "..", "id": SESSION},
        {"id": SESSION.upper()},
        {"id": f"{SESSION}%20"},
        {"id": "%73" + SESSION[1:]},
    ],
)
@virtual_time
async def test_nobody_speaks_for_a_session_without_its_token_and_its_whole_name(
    what: str, wrong: dict[str, str]
) -> None:
    bench = ContainersBench()
    await bench.reserved()
    await bench.reserved("session_b")
    if "token" in wrong:
        wrong = {"token": wrong["token"] and bench.token("session_b")}
    answer = await bench.asked(what, b"{}", **wrong)
    unknown = what == "stop" and "token" not in wrong
    assert (answer.status, json.loads(answer.body)) == (
        (404, {"error": "session not found"}) if unknown else (403, {"error": "invalid session token"})
    )
    assert {session.id for session in bench.sold.all()} == {SESSION, "session_b"}
    assert len(bench.channels.channels) == 0


@pytest.mark.parametrize("what", ["stop", "channels", "proxy"])
@virtual_time
async def test_a_pending_session_has_no_container_that_speaks_for_it(what: str) -> None:
    bench = ContainersBench()
    await bench.reserved()
    session = bench.sold.find(SESSION)
    assert session is not None
    session.pending = True
    assert (await bench.asked(what, b"{}")).status == 403
    assert not session.ending


@pytest.mark.parametrize(
    ("what", "method", "body", "status", "error"),
    [
        ("channels", "POST", b"[]", 400, "invalid channels request"),
        ("channels", "POST", b"null", 200, ""),
        ("channels", "POST", b'{"channels": null}', 200, ""),
        ("channels", "POST", b'{"channels": {}}', 400, "invalid channels request"),
        ("channels", "POST", b'{"channels": ["in"]}', 400, "invalid channels request"),
        ("channels", "POST", b'{"channels": [{"name": 1}]}', 400, "invalid channels request"),
        ("channels", "POST", b'{"channels": [{}]}', 400, "channel name required"),
        (
            "channels",
            "POST",
            b'{"channels": [{"name": "a", "mime_type": "x\\r\\ny"}]}',
            400,
            "invalid channels request",
        ),
        ("channels", "POST", b'{"channels": [{"name": "a", "mime_type": []}]}', 400, "invalid channels request"),
        ("channels", "POST", b'{"channels": [{"name": "\\ud800"}]}', 400, "invalid channels request"),
        ("channels", "POST", b"[" * 60_000, 400, "invalid channels request"),
        ("channels", "POST", b'{"channels": []} x', 400, "invalid channels request"),
        ("channels", "DELETE", b'{"channels": [1]}', 400, "invalid channels request"),
        ("channels", "DELETE", b"{}", 200, ""),
        ("proxy", "POST", b"null", 200, ""),
        ("proxy", "POST", b'{"target_url": null}', 200, ""),
        ("proxy", "POST", b'{"target_url": ""}', 200, ""),
        ("proxy", "POST", b'{"target_url": 1}', 400, "invalid proxy JSON"),
        ("proxy", "POST", b'"x"', 400, "invalid proxy JSON"),
        (
            "proxy",
            "POST",
            b'{"target_url": "file:///etc/passwd"}',
            400,
            "destination must be an absolute HTTP or HTTPS URL",
        ),
        ("proxy", "PUT", b"{}", 405, "method not allowed"),
        ("stop", "GET", b"", 405, "method not allowed"),
        ("stop/", "POST", b"", 404, "not found"),
        ("", "POST", b"", 404, "not found"),
        ("payment", "POST", b"", 404, "not found"),
    ],
)
@virtual_time
async def test_what_can_t_be_read_is_refused(what: str, method: str, body: bytes, status: int, error: str) -> None:
    bench = ContainersBench()
    await bench.reserved()
    answer = await bench.asked(what, body, method=method)
    assert (answer.status, json.loads(answer.body).get("error", "")) == (status, error)
    assert answer.header("Allow") == ("POST" if status == 405 else None)


@virtual_time
async def test_a_body_beyond_bounds_is_refused_unread() -> None:
    bench = ContainersBench()
    await bench.reserved()
    assert (await bench.asked("channels", b" " * (64 * 1024 + 1))).status == 413


@virtual_time
async def test_what_is_too_many_is_told_and_the_token_stays_good() -> None:
    bench = ContainersBench()
    await bench.reserved()
    for first in range(0, MOST_CHANNELS, 16):
        wanted = [{"name": str(number)} for number in range(first, first + 16)]
        assert (await bench.asked("channels", json.dumps({"channels": wanted}).encode())).status == 200
    refused = await bench.asked("channels", b'{"channels": [{"name": "one more"}]}')
    assert (refused.status, json.loads(refused.body)["error"]) == (503, "too many channels")
    for _ in range(MOST_PROXIES):
        assert (await bench.asked("proxy", b"{}")).status == 200
    refused = await bench.asked("proxy", b"{}")
    assert refused.status == 403
    assert json.loads(refused.body)["error"].startswith("too many proxies")
    assert (await bench.asked("stop")).status == 200


@pytest.mark.parametrize(("what", "method"), [("channels", "POST"), ("channels", "DELETE"), ("proxy", "POST")])
@virtual_time
async def test_where_nothing_can_be_kept_the_trouble_is_ours(what: str, method: str) -> None:
    bench = ContainersBench()
    await bench.reserved()
    await bench.asked("channels", b'{"channels": [{"name": "in"}]}')
    bench.rows.broken = StoreError("cannot write /var/lib/orchd/orchd.db: the disk is full")
    body = b'{"channels": [{"name": "new"}]}' if method == "POST" else b'{"channels": ["in"]}'
    answer = await bench.asked(what, body, method=method)
    assert (answer.status, json.loads(answer.body)) == (503, {"error": "store unavailable"})
    assert answer.header("Retry-After") == "1"
    assert len(bench.channels.channels) == 1


@virtual_time
async def test_no_hook_is_asked_about_a_container_and_its_answers_are_counted_as_the_door_s() -> None:
    bench = ContainersBench()
    await bench.reserved()
    await bench.asked("channels", b"{}")
    await bench.asked("proxy", b"{}")
    await bench.asked("stop")
    assert [len(hook.identified) for hook in bench.hooks] == [1]  # The reservation.
    assert bench.answers.counted == [
        ("runner-side", "channels", 200),
        ("runner-side", "proxies", 200),
        ("runner-side", "stop", 200),
    ]
