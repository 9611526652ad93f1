"""kill -9 of orchd before and after every runtime call and store write; the next start takes up where it ended.

One daemon lives through all of it: its model is launched, replaced and removed again and again, and each time orchd
dies at another moment (`crashing` lists them). Beside it a bystander runs that nothing of this may touch. Each edit
makes a definition that was never there before, so that the whole run can be judged at its end as well: whatever orchd
brought to life was started once, in all lives of orchd together.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import docker
import pytest

from orchd.runtime.process_marks import Marks
from tests.docker_images import runner_image
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.runners.local import SCRIPTED

PIPELINE = "text-to-image"
BYSTANDER, MODEL = "bystander", "model"
AGAIN_AND_AGAIN = {"sightings": 2}
"""Calls without end, of which so many are tried."""

LAUNCH, REPLACEMENT, STOP = "launch", "replacement", "stop"


@dataclass(frozen=True)
class Being:
    """A container or process. `life`: another one after each start; empty = never started."""

    handle: str
    life: str


class Ground(Protocol):
    """Where runners live, seen past orchd."""

    docker: bool
    settings: dict[str, str]

    def entry(self, model_id: str, version: int) -> dict[str, Any]: ...

    def beings(self) -> set[Being]: ...

    def starts(self) -> Counter[str]:
        """Return how often each handle was started, ever."""

    def claims(self) -> int:
        """Return how many daemons hold the instance."""


def entry_of(model_id: str, version: int, **launch: Any) -> dict[str, Any]:
    return {
        "pipeline": PIPELINE,
        "model_id": model_id,
        "warm": True,
        "price_per_unit": 0,
        "health": {"interval_s": 0.2},
        "env": {"VERSION": str(version)},
        **launch,
    }


class Processes:
    docker = False

    def __init__(self, instance: str, state: Path) -> None:
        self.settings: dict[str, str] = {}
        self._state = state
        self._marks = Marks(instance, state)

    def entry(self, model_id: str, version: int) -> dict[str, Any]:
        return entry_of(model_id, version, command=[sys.executable, "-u", str(SCRIPTED)])

    def beings(self) -> set[Being]:
        return {Being(p.runner.name, f"{p.pid} {p.started}") for p in self._marks.scan()}

    def starts(self) -> Counter[str]:
        logs = (self._state / "logs").glob("*.log")
        return Counter({log.stem: log.read_text().count("scripted: listening") for log in logs})

    def claims(self) -> int:
        return 1


class Containers:
    docker = True

    def __init__(self, instance: str, api: docker.APIClient, events: docker.APIClient) -> None:
        self.settings = {"docker.network": instance}
        self._api = api
        self._events = events
        self._mine = {"label": f"orchd.instance={instance}"}
        self._image = runner_image()
        self._starts: Counter[str] = Counter()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._stream = events.events(decode=True, filters={**self._mine, "type": "container", "event": "start"})
        self._listener.start()

    def _listen(self) -> None:
        for event in self._stream:
            self._starts[event["id"]] += 1

    def entry(self, model_id: str, version: int) -> dict[str, Any]:
        return entry_of(model_id, version, image=self._image)

    def beings(self) -> set[Being]:
        return set(self._beings())

    def _beings(self) -> Iterator[Being]:
        for listed in self._api.containers(all=True, filters=self._mine):
            with contextlib.suppress(docker.errors.NotFound):
                state = self._api.inspect_container(listed["Id"])["State"]
                yield Being(listed["Id"], "" if state["Status"] == "created" else state["StartedAt"])

    def starts(self) -> Counter[str]:
        return self._starts.copy()

    def claims(self) -> int:
        return len(self._api.volumes(filters=self._mine)["Volumes"] or ())

    def leave(self) -> None:
        self._stream.close()
        self._listener.join(PATIENCE_S)
        for container in self._api.containers(all=True, filters=self._mine):
            self._api.remove_container(container["Id"], force=True)
        for volume in self._api.volumes(filters=self._mine)["Volumes"] or ():
            self._api.remove_volume(volume["Name"])
        for network in self._api.networks(filters=self._mine):
            self._api.remove_network(network["Id"])


@pytest.fixture
def instance() -> str:
    return f"t-kill-{secrets.token_hex(4)}"


@pytest.fixture
def processes(instance: str, tmp_path: Path) -> Processes:
    return Processes(instance, tmp_path / "state")


@pytest.fixture
def containers(instance: str) -> Iterator[Containers]:
    with docker.APIClient(version="auto") as api, docker.APIClient(version="auto", timeout=PATIENCE_S) as events:
        ground = Containers(instance, api, events)
        yield ground
        ground.leave()


class Trial:
    """Edits the file of a daemon that dies at a chosen moment, and judges what the next one makes of it."""

    def __init__(self, daemon: Daemon, ground: Ground, folder: Path) -> None:
        self.daemon = daemon
        self._ground = ground
        self._folder = folder
        self._numbers = itertools.count()
        self._known: dict[str, Being] = {}
        self.versions = 0

    def arm(self, moment: str) -> None:
        draft = self._folder / "draft"
        draft.write_text(f"{next(self._numbers)} {moment}")
        draft.rename(self._folder / "armed")

    def passed(self) -> list[str]:
        """Return the moments since `arm`."""
        return (self._folder / "passed").read_text().split()

    def write(self, step: str) -> None:
        self.versions += step != STOP
        models = [] if step == STOP else [self._ground.entry(MODEL, self.versions)]
        self.daemon.write(self._ground.entry(BYSTANDER, 0), *models)

    async def edit(self, step: str, moment: str = "never") -> None:
        """Take one step, with a death at `moment`, and check what comes of it."""
        self.arm(moment)
        self.write(step)
        if moment == "never":
            await self._settled(step, moment)
        else:
            await self._killed(step, moment)

    async def come_back(self, step: str, moment: str) -> None:
        """As `edit`, but orchd was dead before, and dies at `moment` of its start."""
        await self.daemon.kill()
        self.arm(moment)
        self.write(step)
        await self.daemon.start(wait=False)
        await self._killed(step, moment)

    async def _killed(self, step: str, moment: str) -> None:
        assert self.daemon.process is not None
        async with asyncio.timeout(PATIENCE_S):
            code = await self.daemon.process.wait()
        assert code == -signal.SIGKILL, f"{step}, {moment}: orchd ended with {code}: {self.daemon.log_text()[-2000:]}"
        new = {being for being in self._ground.beings() if being.life} - set(self._known.values())
        self.arm("never")
        await self.daemon.start()
        now = await self._settled(step, moment)
        assert new <= now, f"{step}, {moment}: {new} ran when orchd died, and was not adopted: {now}"

    async def _settled(self, step: str, moment: str) -> set[Being]:
        """Wait for the end of the step; check it, remember it, and return what there is."""
        digest = hashlib.sha256(self.daemon.models.read_bytes()).hexdigest()[:12]

        async def reached() -> dict[str, Any] | None:
            status = await self.daemon.status()
            return status if status["converged"] and status["file"]["hash"] == digest else None

        case = f"{step}, {moment}"
        status = await self.daemon.until(f"converged after {case}", reached)
        runners = {model["model_id"]: model["runners"] for model in status["models"]}
        assert set(runners) == ({BYSTANDER} if step == STOP else {BYSTANDER, MODEL}), case
        assert all([r["state"] for r in each] == ["ready"] for each in runners.values()), f"{case}: {runners}"
        beings = self._ground.beings()
        assert sorted(b.handle for b in beings) == sorted(r["handle"] for (r,) in runners.values()), case
        by_handle = {being.handle: being for being in beings}
        known = {model_id: by_handle[runner["handle"]] for model_id, (runner,) in runners.items()}
        assert all(being.life for being in beings), f"{case}: {beings}"
        if BYSTANDER in self._known:
            assert known[BYSTANDER] == self._known[BYSTANDER], f"{case}: the bystander was touched"
        assert self._ground.claims() == 1, case
        await self._answers(BYSTANDER, 0, case)
        if step != STOP:
            await self._answers(MODEL, self.versions, case)
        self._known = known
        return beings

    async def _answers(self, model_id: str, version: int, case: str) -> None:
        """A job on the model is answered, by this version of it."""
        async with self.daemon.client.get(f"{self.daemon.url}/models/{PIPELINE}/{model_id}/_env") as answer:
            assert answer.status == 200, f"{case}: {await answer.text()}"
            assert (await answer.json())["env"]["VERSION"] == str(version), case

    async def moments(self, step: str) -> list[str]:
        """Take one step without a death, and return the moments at which there could have been one."""
        await self.edit(step)
        await self.daemon.until("looked and tidied", lambda: {"after:sightings:2", TIDIED} <= set(self.passed()))
        return [m for m in dict.fromkeys(self.passed()) if number(m) <= AGAIN_AND_AGAIN.get(m.split(":")[1], 9)]


TIDIED = "after:forget_generations:1"


def number(moment: str) -> int:
    return int(moment.split(":")[2])


async def die_at_every_moment(ground: Ground, instance: str, folder: Path) -> None:
    kill = folder / "kill"
    kill.mkdir()
    daemon = Daemon(
        folder,
        instance,
        docker=ground.docker,
        settings=ground.settings,
        env={"ORCHD_TEST_KILL": str(kill)},
        main=("tests.e2e.crashing",),
    )
    trial = Trial(daemon, ground, kill)
    trial.arm("never")
    daemon.write(ground.entry(BYSTANDER, 0))
    async with daemon:
        await trial.daemon.until("the bystander runs", lambda: len(ground.beings()) == 1)
        moments = {step: await trial.moments(step) for step in (LAUNCH, REPLACEMENT, STOP)}
        launch = [f"{when}:{call}:1" for call in ("save_models", "prepare", "start") for when in ("before", "after")]
        assert set(launch) <= set(moments[LAUNCH])
        assert {"before:stop:1", "after:remove:1", "after:start:1"} <= set(moments[REPLACEMENT])
        assert {"before:stop:1", "after:remove:1", TIDIED} <= set(moments[STOP])
        for launching, replacing, stopping in itertools.zip_longest(*moments.values(), fillvalue="never"):
            await trial.edit(LAUNCH, launching)
            await trial.edit(REPLACEMENT, replacing)
            await trial.edit(STOP, stopping)
        for moment in ("before:open:1", "after:open:1", "before:models:1", "after:models:1"):
            await trial.come_back(LAUNCH, moment)
            await trial.edit(STOP)
        await daemon.kill()
        code, said = await daemon.command("down", *daemon.flags())
        assert code == 0, said
        assert not ground.beings()
        assert set(ground.starts().values()) == {1}, "something was started twice"
        assert len(ground.starts()) == 1 + trial.versions


@pytest.mark.docker
async def test_containers_survive_a_death_of_orchd_at_every_moment(
    containers: Containers, instance: str, tmp_path: Path
) -> None:
    await die_at_every_moment(containers, instance, tmp_path)


async def test_processes_survive_a_death_of_orchd_at_every_moment(
    processes: Processes, instance: str, tmp_path: Path
) -> None:
    await die_at_every_moment(processes, instance, tmp_path)
