"""kill -9 of orchd before and after every runtime call and store write; the next start takes up where it ended.

A model is launched, replaced and removed again and again, and each time orchd dies at another moment (`crashing` lists
them). Beside it a bystander runs that nothing of this may touch. Each edit makes a definition that was never there
before, so that the whole run can be judged at its end as well: whatever orchd brought to life was started once, in all
lives of orchd together. Two machines of one daemon each share the moments, to be done in half the time.
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
from types import TracebackType
from typing import Any, Protocol, Self

import docker
import pytest

from orchd.runtime.process.marks import Marks, send
from tests.docker_images import runner_image
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.runners.local import SCRIPTED

PIPELINE = "text-to-image"
BYSTANDER, MODEL = "bystander", "model"
LAUNCH, REPLACEMENT, STOP = "launch", "replacement", "stop"
TIDIED = "after:forget_generations:1"
"""The last call of a step."""


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
        """Return how many daemons hold the instance on the engine, or once held it."""

    def leave(self) -> None:
        """Remove what is left, whoever failed."""


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
        self._started = state.parent / "started"
        self._marks = Marks(instance, state)

    def entry(self, model_id: str, version: int) -> dict[str, Any]:
        noted = 'echo "$ORCHD_RUNNER" >> "$1"; shift; exec "$@"'
        command = ["sh", "-c", noted, "sh", str(self._started), sys.executable, "-u", str(SCRIPTED)]
        return entry_of(model_id, version, command=command)

    def beings(self) -> set[Being]:
        return {Being(p.runner.name, f"{p.pid} {p.started}") for p in self._marks.scan()}

    def starts(self) -> Counter[str]:
        return Counter(self._started.read_text().splitlines())

    def claims(self) -> int:
        return 0

    def leave(self) -> None:
        for process in self._marks.scan():
            send(process, signal.SIGKILL)


class Containers:
    docker = True

    def __init__(self, instance: str, state: Path) -> None:
        self.settings = {"docker.network": instance}
        self._api = docker.APIClient(version="auto")
        self._mine = {"label": f"orchd.instance={instance}"}
        self._image = runner_image()
        self._starts: Counter[str] = Counter()
        self._stream = self._api.events(decode=True, filters={**self._mine, "type": "container", "event": "start"})
        self._listener = threading.Thread(target=self._listen, daemon=True)
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
        self._api.close()


class Trial:
    """One machine: edits the file of a daemon that dies at a chosen moment, and judges what the next one makes of it.

    `async with` starts the daemon with a bystander, and ends everything.

    Attributes:
        versions: definitions of the model so far.
    """

    def __init__(self, make: type[Containers] | type[Processes], folder: Path) -> None:
        instance = f"t-kill-{secrets.token_hex(4)}"
        self._folder = folder / "kill"
        self._folder.mkdir(parents=True)
        self._ground: Ground = make(instance, folder / "state")
        self.daemon = Daemon(
            folder,
            instance,
            docker=self._ground.docker,
            settings=self._ground.settings,
            env={"ORCHD_TEST_KILL": str(self._folder)},
            main=("tests.e2e.crashing",),
        )
        self.versions = 0
        self._lines = itertools.count()
        self._known: dict[str, Being] = {}

    async def __aenter__(self) -> Self:
        self.arm("never")
        self.daemon.write(self._ground.entry(BYSTANDER, 0))
        await self.daemon.start()
        await self._settled(STOP, "never")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.daemon.__aexit__(kind, failure, trace)
        self._ground.leave()

    def arm(self, moment: str) -> None:
        draft = self._folder / "draft"
        draft.write_text(f"{next(self._lines)} {moment}")
        draft.rename(self._folder / "armed")

    def passed(self) -> list[str]:
        """Return the moments since `arm`."""
        return (self._folder / "passed").read_text().rpartition("\n")[0].split()

    async def moments(self, step: str) -> list[str]:
        """Take one step without a death, and return the moments at which there could have been one."""
        await self.edit(step)
        await self.daemon.until("looked and tidied", lambda: {"after:sightings:2", TIDIED} <= set(self.passed()))
        return [moment for moment in self.passed() if moment.endswith((":1", ":sightings:2"))]

    async def edit(self, step: str, moment: str = "never") -> None:
        """Take one step, with a death at `moment`, and check what comes of it."""
        self.arm(moment)
        self._write(step)
        if moment == "never":
            await self._settled(step, moment)
        else:
            await self._killed(step, moment)

    async def come_back(self, step: str, moment: str) -> None:
        """As `edit`, but orchd was dead before, and dies at `moment` of its start."""
        await self.daemon.kill()
        self.arm(moment)
        self._write(step)
        await self.daemon.start(wait=False)
        await self._killed(step, moment)

    async def take_down(self) -> None:
        """Kill it, and have `orchd down` clean up; judge the whole run."""
        await self.daemon.kill()
        code, said = await self.daemon.command("down", *self.daemon.flags())
        assert code == 0, said
        assert not self._ground.beings()
        assert not self._ground.claims()
        starts = self._ground.starts()
        assert set(starts.values()) == {1}, f"something was started twice: {starts}"
        assert len(starts) == 1 + self.versions

    def _write(self, step: str) -> None:
        self.versions += step != STOP
        models = [] if step == STOP else [self._ground.entry(MODEL, self.versions)]
        self.daemon.write(self._ground.entry(BYSTANDER, 0), *models)

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
        case = f"{step}, {moment}"
        digest = hashlib.sha256(self.daemon.models.read_bytes()).hexdigest()[:12]

        async def reached() -> dict[str, Any] | None:
            status = await self.daemon.status()
            return status if status["converged"] and status["file"]["hash"] == digest else None

        status = await self.daemon.until(f"converged after {case}", reached)
        runners = {model["model_id"]: model["runners"] for model in status["models"]}
        assert set(runners) == ({BYSTANDER} if step == STOP else {BYSTANDER, MODEL}), case
        assert all([r["state"] for r in each] == ["ready"] for each in runners.values()), f"{case}: {runners}"
        beings = self._ground.beings()
        assert all(being.life for being in beings), f"{case}: {beings}"
        assert sorted(b.handle for b in beings) == sorted(r["handle"] for (r,) in runners.values()), case
        by_handle = {being.handle: being for being in beings}
        known = {model_id: by_handle[runner["handle"]] for model_id, (runner,) in runners.items()}
        if self._known:
            assert known[BYSTANDER] == self._known[BYSTANDER], f"{case}: the bystander was touched"
        assert self._ground.claims() <= 1, case
        for model_id, version in {BYSTANDER: 0, MODEL: self.versions}.items():
            await self._answers(model_id, version if model_id in known else None, case)
        self._known = known
        return beings

    async def _answers(self, model_id: str, version: int | None, case: str) -> None:
        """A job on the model is answered by this version of it; None = it is not known."""
        async with self.daemon.client.get(f"{self.daemon.url}/models/{PIPELINE}/{model_id}/_env") as answer:
            if version is None:
                assert answer.status == 404, case
                return
            assert answer.status == 200, f"{case}: {await answer.text()}"
            assert (await answer.json())["env"]["VERSION"] == str(version), case


async def die_at_every_moment(make: type[Containers] | type[Processes], folder: Path) -> None:
    async with Trial(make, folder / "0") as first, Trial(make, folder / "1") as second:
        launches, replacements, stops = [await first.moments(step) for step in (LAUNCH, REPLACEMENT, STOP)]
        assert both("save_models", "prepare", "start") <= set(launches)
        assert both("save_models", "prepare", "stop", "remove", "start", "forget_generations") <= set(replacements)
        assert both("save_models", "stop", "remove", "forget_generations") <= set(stops)
        rounds = list(itertools.zip_longest(launches, replacements, stops, fillvalue="never"))

        async def live(trial: Trial, mine: list[tuple[str, str, str]], starts: set[str]) -> None:
            for launch, replacement, stop in mine:
                await trial.edit(LAUNCH, launch)
                await trial.edit(REPLACEMENT, replacement)
                await trial.edit(STOP, stop)
            for start in sorted(starts):
                await trial.come_back(LAUNCH, start)
                await trial.edit(STOP)
            await trial.take_down()

        async with asyncio.TaskGroup() as group:
            for trial, mine, starts in ((first, rounds[::2], both("open")), (second, rounds[1::2], both("models"))):
                group.create_task(live(trial, mine, starts))


def both(*calls: str) -> set[str]:
    return {f"{when}:{call}:1" for when in ("before", "after") for call in calls}


@pytest.mark.docker
async def test_containers_survive_a_death_of_orchd_at_every_moment(tmp_path: Path) -> None:
    await die_at_every_moment(Containers, tmp_path)


async def test_processes_survive_a_death_of_orchd_at_every_moment(tmp_path: Path) -> None:
    await die_at_every_moment(Processes, tmp_path)
