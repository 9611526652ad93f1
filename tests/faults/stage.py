"""`orchd run` between the callers and the runner of these tests, and what must be so whenever nothing happens."""

from __future__ import annotations

import json
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.blackbox.conftest import until
from tests.e2e.daemon import Daemon
from tests.faults.caller import Caller
from tests.faults.case import Case
from tests.faults.raw_runner import RawRunner
from tests.faults.rules import ANSWER, End
from tests.faults.samples import SIZED

STEADY = 5
PATIENT_S = 60
PIPES = 2 * 64
"""Ends of pipes that orchd may keep for later: far fewer than there are faults in bodies that went through one."""


class Pages(Daemon):
    """Asks its pages on connections that end with the answer, so that none of them is counted as left over."""

    @property
    def client(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        return self._client


@dataclass(frozen=True)
class Quiet:
    """What orchd holds when nothing happens.

    Attributes:
        sessions: slots that are taken; of a patient stage only those of jobs that run. Where a connection was reset
            inside an answer, a slot lets go for as long as the runner has to answer, which is far longer than a test.
    """

    descriptors: Counter[str]
    connections: float
    sessions: float

    def beyond(self, base: Quiet) -> str:
        """Return what differs from `base`; empty = nothing that counts."""
        more, fewer = self.descriptors - base.descriptors, base.descriptors - self.descriptors
        if more["pipe"] <= PIPES:
            del more["pipe"]
        numbers = (self.connections, self.sessions), (base.connections, base.sessions)
        if more or fewer or numbers[0] != numbers[1]:
            return f"{dict(more)} more, {dict(fewer)} fewer descriptors, connections and sessions {numbers}"
        return ""


class Stage:
    """Attributes:
    ends: what the log says of each case's jobs; 0 = of those that are no case.
    odd: lines of the log that should not be there.
    sizes: by name of the sample, how long head and whole of its request are when the runner gets it.
    base: what orchd holds when nothing happens.
    """

    def __init__(self, daemon: Pages, runner: RawRunner, *, patient: bool) -> None:
        self.daemon, self.runner = daemon, runner
        self.patient = patient
        self.ends: defaultdict[int, list[End]] = defaultdict(list)
        self.odd: list[str] = []
        self.sizes: dict[str, tuple[int, int]] = {}
        self.base = Quiet(Counter(), 0, 0)
        self._read = 0

    def case(self, *args: Any) -> Case:
        case = Case(*args)
        self.runner.cases[case.number] = case
        return case

    def caller(self) -> Caller:
        return Caller(self.daemon.jobs_port)

    async def play(self, case: Case, first: Case | None = None) -> str:
        """Return what the caller of `case` sees, in the words of `rules`.

        Args:
            first: a proper exchange before, on the same connection.
        """
        try:
            async with self.caller() as caller:
                if first is not None and (seen := await caller.play(first)) != ANSWER:
                    return f"{seen} in the exchange before"
                return await caller.play(case)
        finally:
            case.over.set()

    async def proper_job(self) -> None:
        case = self.case(SIZED)
        assert await self.play(case) == ANSWER, case

    def descriptors(self) -> Counter[str]:
        """Return how many of each kind the process has open."""
        assert self.daemon.process is not None
        kinds: Counter[str] = Counter()
        for link in Path(f"/proc/{self.daemon.process.pid}/fd").iterdir():
            try:
                kinds[str(link.readlink()).partition(":")[0]] += 1
            except FileNotFoundError:
                continue  # Closed meanwhile.
        return kinds

    async def now(self) -> Quiet:
        status = await self.daemon.status()
        sessions = [model["sessions"] for model in status["models"]]
        active: float = sum(each["active"] for each in sessions) + await self.daemon.metric("orchd_sessions_active")
        if self.patient:
            active -= sum(each["letting_go"] for each in sessions)
            active -= await self.daemon.metric("orchd_sessions_letting_go")
        connections = await self.daemon.metric("orchd_connections")
        return Quiet(self.descriptors(), connections, active)

    async def steady(self) -> Quiet:
        """Wait until nothing changes any more, and return what is so then."""
        last, times = await self.now(), 0

        async def same() -> bool:
            nonlocal last, times
            now = await self.now()
            last, times = now, times + 1 if now == last and not self.runner.open else 0
            return times >= STEADY

        await self.daemon.until("nothing changes", same)
        return last

    async def until_quiet(self) -> None:
        """Wait until orchd holds what it held at first, and no more."""
        beyond = ""

        async def quiet() -> bool:
            nonlocal beyond
            beyond = (await self.now()).beyond(self.base)
            return not beyond and not self.runner.open

        try:
            await self.daemon.until("all is given back", quiet)
        except AssertionError:
            raise AssertionError(
                f"not given back: {beyond}; the runner has {len(self.runner.open)} connections"
            ) from None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """While this lasts, orchd sees nothing; then it sees at once all that has happened."""
        process = self.daemon.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: " T " in Path(f"/proc/{process.pid}/stat").read_text(), "orchd has stopped")
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    async def counted(self) -> Counter[str]:
        """Return how many of the model's jobs have ended with each outcome and each code, by the metrics."""
        for _ in range(2):  # A series that is new is at zero on its first page.
            async with self.daemon.client.get(f"http://127.0.0.1:{self.daemon.admin_port}/metrics") as answer:
                families = text_string_to_metric_families(await answer.text())
        words = {"orchd_jobs_total": "outcome", "orchd_job_errors_total": "code"}
        samples = [s for family in families for s in family.samples if s.name in words and s.labels["pipeline"]]
        return +Counter({sample.labels[words[sample.name]]: int(sample.value) for sample in samples})

    def logged(self) -> Counter[str]:
        """Take in what the log says by now, and return the same by it."""
        with self.daemon.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().rpartition(b"\n")[0].decode()
        self._read += len(lines.encode())
        for line in lines.splitlines():
            said = json.loads(line) if line.startswith("{") else {"level": "error"}
            if said.get("event") == "job_done":
                number = said["request_id"]
                self.ends[int(number) if number.isdigit() else 0].append((said["outcome"], said["code"]))
            elif line and said["level"] in ("error", "critical"):
                self.odd.append(line)
        return Counter(word for ends in self.ends.values() for end in ends for word in end if word)

    async def ended(self, case: Case) -> list[End]:
        """Return how the log says that the job ended, as soon as it does."""
        await self.daemon.until(f"the log tells of {case}", lambda: self.logged() and self.ends[case.number])
        return self.ends[case.number]


@asynccontextmanager
async def staged(folder: Path, answer_s: float = 600, **settings: str) -> AsyncIterator[Stage]:
    """Args:
    answer_s: until the runner must have begun to answer.
    settings: of orchd, such as `jobs__keepalive_s`.
    """
    runner = RawRunner()
    named = {name.replace("__", "."): value for name, value in settings.items()}
    daemon = Pages(folder, "t-faults", settings=named)
    daemon.write(entry(runner, answer_s))
    runner.start()
    try:
        async with daemon:
            stage = Stage(daemon, runner, patient=answer_s > PATIENT_S)
            await daemon.until_state("one", "ready")
            yield stage
        stage.logged()
        assert daemon.process is not None
        assert (daemon.process.returncode, stage.odd) == (0, [])
    finally:
        await runner.stop()


def entry(runner: RawRunner, answer_s: float = 600) -> dict[str, Any]:
    calm = {"interval_s": 3600, "failures": 1000}
    inference = {"path": "/x", "timeout_s": answer_s, "max_body_mb": 0}
    known = {"pipeline": "fault", "model_id": "one", "url": runner.url, "maxSessions": 100_000, "price_per_unit": 0}
    return known | {"health": calm, "inference": inference}
