"""Containers and volumes that bear our labels with nonsense in them: named, left alone, and nothing else is lost."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import ContainerLaunch
from orchd.domain.ports import Sighting
from orchd.errors import AlreadyRunning
from orchd.runtime.docker import claim, spec
from orchd.runtime.docker.claim import Claim, Holder
from orchd.runtime.docker.runtime import DockerRuntime
from orchd.runtime.docker.settings import DockerSettings

RUNNER = RunnerId(ModelKey("text-to-image", "org/good"), 0, "0123456789ab")
LABELS = spec.labels("t", RUNNER, ContainerLaunch("image"), ())
GOOD = {
    "Id": "a" * 64,
    "Names": ["/other/alias", f"/{spec.container_name('t', RUNNER)}"],
    "State": "running",
    "Labels": LABELS,
    "NetworkSettings": {"Networks": {"orchd": {"IPAddress": "10.0.0.2"}}},
}
NONSENSE = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["-1", "0", "٣", "1e9", "9" * 5000, "70000", "[]", "nan", ",,,", "../..", "x" * 10_000]),
)


class FakeEngine:
    """Answers with what it is given, whatever that is."""

    local, where = True, "fake"

    def __init__(self, entries: list[Any] | None = None, volumes: list[Any] | None = None) -> None:
        self.entries, self.stored = entries or [], volumes or []
        self.asked: list[str] = []

    async def containers(self, label: str) -> list[Any]:
        return self.entries

    async def volumes(self, label: str) -> list[Any]:
        return self.stored

    async def create_volume(self, name: str, labels: dict[str, str]) -> None:
        self.stored.append({"Name": name, "Labels": labels})

    async def remove_volume(self, name: str) -> None:
        self.stored = [volume for volume in self.stored if volume["Name"] != name]

    async def inspect(self, which: str) -> None:
        self.asked.append(which)


def looked(entries: list[Any]) -> tuple[tuple[Sighting, ...], list[Any]]:
    """Return what one look at these shows, and what a second one has logged."""
    runtime: Any = DockerRuntime(DockerSettings(network="orchd"), instance="t", state_dir="/s")
    runtime._engine = runtime._sightings._engine = FakeEngine(entries)
    runtime._claim = claim_on(FakeEngine())
    found = asyncio.run(runtime.sightings())
    with capture_logs() as said:
        assert asyncio.run(runtime.sightings()) == found
    return found, said


def claim_on(engine: FakeEngine, *, state_dir: str = "/s") -> Claim:
    return Claim(engine, "t", state_dir, container_id="", container_started_at="")  # type: ignore[arg-type]


@given(
    st.dictionaries(st.sampled_from(sorted(LABELS)), NONSENSE | st.none(), min_size=1),
    st.sampled_from(["running", "created", "exited", "new state"]),
)
def test_labels_with_nonsense_in_them_take_nothing_from_the_others(odd: dict[str, str | None], state: str) -> None:
    labels = {name: value for name, value in (LABELS | odd).items() if value is not None}
    found, said = looked([{**GOOD, "Id": "b" * 64, "State": state, "Labels": labels}, GOOD])
    assert [sighting.handle for sighting in found if sighting.handle == GOOD["Id"]] == [GOOD["Id"]]
    assert found[-1].address is not None
    assert said == [], "it is told once, not at every look"


@pytest.mark.parametrize(
    "odd",
    [{"Labels": None}, {"Names": None}, {"Names": []}, {"State": None}, {"NetworkSettings": 3}, {"Names": ["/a/b"]}],
)
def test_answers_with_parts_missing_take_nothing_from_the_others(odd: dict[str, Any]) -> None:
    found, _ = looked([{**GOOD, "Id": "b" * 64, **odd}, GOOD])
    assert GOOD["Id"] in [sighting.handle for sighting in found]


@given(st.dictionaries(st.sampled_from(sorted(Holder.of({}).labels())), NONSENSE))
def test_a_volume_with_nonsense_in_its_labels_refuses_in_words_or_is_left_alone(labels: dict[str, str]) -> None:
    engine = FakeEngine(volumes=[{"Name": "orchd-claim.t.3", "Labels": labels}])
    taking = claim_on(engine).take()
    if labels.get("orchd.claim.nonce"):
        with pytest.raises(AlreadyRunning, match=r"docker volume rm orchd-claim\.t\.3"):
            asyncio.run(taking)
    else:
        asyncio.run(taking)
    assert engine.stored[0]["Name"] == "orchd-claim.t.3", "who made it may remove it"
    assert not [asked for asked in engine.asked if not asked.isalnum()]


def test_a_daemon_that_proc_hides_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc with `hidepid` shows other users' processes to nobody; a signal tells that there is one."""
    engine = FakeEngine()
    first = claim_on(engine)
    hidden = os.getppid()
    first._me = replace(first._me, pid=str(hidden), start_ticks=claim.start_ticks_of(str(hidden)))
    asyncio.run(first.take())
    with pytest.raises(AlreadyRunning, match="holds it"):
        asyncio.run(claim_on(engine).take())

    monkeypatch.setattr(claim, "start_ticks_of", lambda _: "")
    monkeypatch.setattr(claim, "is_hidden", lambda pid: pid == hidden)
    with pytest.raises(AlreadyRunning, match="may hold it: from here it can't be seen"):
        asyncio.run(claim_on(engine).take())


def test_who_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not claim.is_hidden(os.getpid())

    def refuse(*_: object) -> None:
        raise PermissionError

    def nobody(*_: object) -> None:
        raise ProcessLookupError

    monkeypatch.setattr("os.kill", refuse)
    assert claim.is_hidden(2**22 + 1)  # above all pids, so that /proc does not show it
    monkeypatch.setattr("os.kill", nobody)
    assert not claim.is_hidden(2**22 + 1)
