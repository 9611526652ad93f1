"""Runtime over child processes: Docker's rules where there is no Docker.

Each runner leads a session and process group of its own. What Docker remembers in labels is remembered in the
environment of the processes (`marks.py`), so a kill -9 of orchd leaves runners that the next start adopts. Only
what was prepared and never started lives in memory alone: nothing of it exists outside.

Every exit is seen through a pidfd, of our own children and of adopted ones alike. Children are reaped there and
nowhere else, so as long as a leader's descriptor is open its pid is not anybody else's.

Whatever touches a disk or /proc has threads of its own, since both may hang: a program on a mount that does not answer
holds up neither the loop nor other runners.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from pathlib import Path

import structlog

from orchd import tasks
from orchd.domain.ids import Address, RunnerId
from orchd.domain.model import Model, ProcessLaunch, RunnerKind, StopSpec
from orchd.domain.ports import HostSeen, SightedAs, Sighting, StopReport
from orchd.domain.redact import secrets_of
from orchd.domain.runs import EndedRun, LogView
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.whereabouts import Whereabouts
from orchd.errors import EngineUnavailable, LaunchError, LogGone
from orchd.reasons import why
from orchd.runtime import listening
from orchd.runtime.keep import LogKeeper
from orchd.runtime.out_of_memory import OutOfMemory
from orchd.runtime.process.child import ChildRunner
from orchd.runtime.process.coalesced import Coalesced
from orchd.runtime.process.endings import Endings, signal_leader
from orchd.runtime.process.launch import check, environment_of, free_port, silent_disk, spawn
from orchd.runtime.process.logs import Logs
from orchd.runtime.process.marks import Marks, Process, lives, open_pidfd
from orchd.runtime.process.records import Leader, Records, stat_of
from orchd.runtime.process.run_logs import RunLogs
from orchd.runtime.process.settings import ProcessSettings
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.runtime")

CALL_TIMEOUT_S = 10.0
"""Looking through /proc, or at a program's file, takes milliseconds; longer means that a disk or the kernel hangs."""
LAUNCHES = 4
"""Programs that are started, or looked at before, at the same time."""


class ProcessRuntime:
    """`ports.Runtime` over child processes of one daemon.

    Args:
        state_dir: holds `logs/`; with `instance` it tells our processes from those of other daemons.
    """

    id = RuntimeId(RunnerKind.PROCESS)
    host_seen = HostSeen("127.0.0.1")

    def __init__(self, settings: ProcessSettings, *, instance: str, state_dir: Path) -> None:
        self._logs = Logs(state_dir / "logs", settings.log_max_mb * 1024 * 1024)
        self._marks = Marks(instance, state_dir)
        self._records = Records(state_dir / "processes" / instance)
        self._runners: dict[str, ChildRunner] = {}
        self._hurry: Callable[[], None] = _nobody
        self._looks = DaemonThreads("process-looks")
        self._disk = DaemonThreads("process-logs")
        self._launches = DaemonThreads("process-launch", LAUNCHES)
        self._keeper = LogKeeper(state_dir)
        self._run_logs = RunLogs(self._logs, self._keeper, self._disk, CALL_TIMEOUT_S)
        self._scans = Coalesced(self._look, "look for processes")
        self._endings = Endings(self._runners, self._scans.get)
        self._out_of_memory = OutOfMemory()

    async def open(self) -> None:
        """Read what an earlier orchd kept of its runners; the state directory's lock is the app's."""
        try:
            await self._looks.run(self._records.load, CALL_TIMEOUT_S)
        except (OSError, TimeoutError) as exc:
            log.warning("runner_records_not_read", error=why(exc))
        with contextlib.suppress(TimeoutError):  # The looks that follow say so.
            for one in await self._looks.run(self._marks.elsewhere, CALL_TIMEOUT_S):
                log.warning(
                    "stray_found",
                    kind=str(self.id),
                    runner=one.model,
                    handle=one.pid,
                    why="it belongs to another state directory, so another orchd may have it",
                    next="it is left alone; if that directory is the right one, restart orchd with it, else `orchd "
                    "down` with it removes it",
                )

    async def sightings(self) -> tuple[Sighting, ...]:
        """Look through /proc, adopt what is new there, and keep the logs within their bound."""
        seen: dict[str, list[Process]] = {}
        self._out_of_memory.look()
        for process in await self._scans.get():
            seen.setdefault(process.runner.name, []).append(process)
        found = []
        for name, processes in seen.items():
            if name not in self._runners and not self._adopt(processes) and any(map(lives, processes)):
                found.append(Sighting(processes[0].runner, name, SightedAs.EXITED))  # Only a rest of it is left.
        paused = {process.pid for processes in seen.values() for process in processes if process.paused}
        found += [runner.sighting(name, paused) for name, runner in self._runners.items()]
        await self._run_logs.bound(frozenset(sighting.handle for sighting in found))
        return tuple(found)

    def _adopt(self, processes: list[Process]) -> bool:
        """Take over a runner from before our start; its leader is the oldest that leads a session."""
        leader = next((process for process in processes if process.leads), None)
        if leader is None:
            return False
        try:
            pidfd = open_pidfd(leader)
        except ProcessLookupError:
            return False
        runner = ChildRunner(leader.runner, pid=leader.pid, port=leader.port, reserved=leader.port)
        self._runners[leader.runner.name] = runner
        self._track(runner, pidfd)
        return True

    def _track(self, runner: ChildRunner, pidfd: int) -> None:
        runner.pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._exited, runner)

    def _exited(self, runner: ChildRunner) -> None:
        """The leader's descriptor became readable: it has ended."""
        self._let_go(runner)
        if runner.child is not None:
            runner.exit_code = runner.child.poll()
        if runner.exit_code == -signal.SIGKILL and not runner.killed:
            runner.out_of_memory = self._out_of_memory.lately()
        runner.ended.set()
        self._hurry()

    def _let_go(self, runner: ChildRunner) -> None:
        if runner.pidfd is not None:
            asyncio.get_running_loop().remove_reader(runner.pidfd)
            os.close(runner.pidfd)
            runner.pidfd = None

    async def prepare(self, model: Model, runner: RunnerId, progress: Callable[[str], None]) -> str:
        """Check that the command can be run. Nothing runs yet."""
        launch = model.launch
        assert isinstance(launch, ProcessLaunch), "the planner sends processes here"
        if runner.name not in self._runners:
            await self.check(model, progress)
            self._runners.setdefault(runner.name, ChildRunner(runner, launch, secrets=secrets_of(model)))
        return runner.name

    async def check(self, model: Model, progress: Callable[[str], None]) -> None:
        launch = model.launch
        assert isinstance(launch, ProcessLaunch), "the planner sends processes here"
        try:
            await self._launches.run(lambda: check(launch), CALL_TIMEOUT_S)
        except TimeoutError as exc:
            raise LaunchError(silent_disk(launch)) from exc

    async def start(self, handle: str) -> Address:
        """Start it on a free loopback port. One that has run, even if it has ended since, is not started again."""
        runner = self._runners.get(handle)
        if runner is not None and runner.port:
            return runner.address
        if runner is None or runner.launch is None:
            raise LaunchError(f"cannot start {handle}: it was not prepared")
        launch = runner.launch
        if runner.launching is None:
            runner.launching = tasks.spawn(self._launch(handle, runner, launch), name=f"start {runner.id}")
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                # Who is cancelled meanwhile can't make it forget what it has started.
                failure = await asyncio.shield(runner.launching)
        except TimeoutError as exc:
            raise LaunchError(silent_disk(launch)) from exc
        if failure is not None:
            raise LaunchError(f"cannot start {launch.argv[0]!r} in {launch.cwd}: {failure.strerror}") from failure
        return runner.address

    async def _launch(self, handle: str, runner: ChildRunner, launch: ProcessLaunch) -> OSError | None:
        """Run its program, and return why that can't be done."""
        port = runner.reserved = free_port({other.reserved for other in self._runners.values()})
        argv = [argument.replace("{port}", str(port)) for argument in launch.argv]
        environment = environment_of(launch) | {"PORT": str(port)} | self._marks.environment(runner.id, port)

        def work() -> tuple[subprocess.Popen[bytes], int, int]:
            output, log_from = self._logs.open_for(handle)
            try:
                child, pidfd = spawn(argv, launch.cwd, environment, output)
            finally:
                os.close(output)
            self._records.keep(Leader(child.pid, stat_of(child.pid)[2], port, runner.id))
            return child, pidfd, log_from

        try:
            await self._run_logs.keep_left(runner.id, runner.secrets)
            child, pidfd, log_from = await self._launches.run(work)
        except OSError as exc:
            runner.reserved = 0
            return exc
        finally:
            runner.launching = None
        runner.child, runner.pid, runner.port, runner.log_from = child, child.pid, port, log_from
        self._track(runner, pidfd)
        if self._runners.get(handle) is not runner:  # It was removed while its program's disk did not answer.
            signal_leader(runner, signal.SIGKILL)
        return None

    async def resume(self, handle: str) -> None:
        self._endings.signal_group(handle, signal.SIGCONT)

    async def stop(self, handle: str, stop: StopSpec) -> StopReport:
        return await self._endings.stop(handle, stop)

    async def remove(self, handle: str) -> None:
        """End whatever is left of it, and forget it. A log that was not kept stays until newer ones push it out."""
        await self._endings.kill(handle)
        if runner := self._runners.pop(handle, None):
            self._let_go(runner)
        try:
            await self._disk.run(lambda: self._records.forget(handle), CALL_TIMEOUT_S)
        except TimeoutError:
            log.warning("runner_record_not_removed", runner=handle, error="the disk does not answer")

    async def _look(self) -> list[Process]:
        """Look through /proc: for all who ask at the same time together, since it costs as much as all processes."""
        known = self._records.leaders()
        try:
            found = await self._looks.run(lambda: self._marks.scan(known), CALL_TIMEOUT_S)
        except TimeoutError as exc:
            raise EngineUnavailable("cannot look for processes in /proc: it does not answer") from exc
        except OSError as exc:
            raise EngineUnavailable(f"cannot look for processes in /proc: {exc.strerror}") from exc
        members: dict[str, dict[int, Process]] = {}
        for process in found:
            members.setdefault(process.runner.name, {})[process.pid] = process
        for name, seen in members.items():
            if (runner := self._runners.get(name)) is not None:
                runner.members = seen
        return found

    async def tail(self, handle: str, lines: int) -> tuple[str, ...]:
        runner = self._runners.get(handle)
        return await self._run_logs.tail(handle, runner.log_from if runner else 0, lines)

    async def log(self, handle: str, view: LogView) -> AsyncGenerator[bytes, None]:
        runner = self._runners.get(handle)
        if runner is None or not runner.port:
            raise LogGone(f"cannot find a log of {handle}: it does not run")
        async with aclosing(self._run_logs.read(handle, runner.log_from, view, runner.ended)) as pieces:
            async for piece in pieces:
                yield piece

    async def keep_log(self, handle: str, run: EndedRun, secrets: Collection[str]) -> None:
        runner = self._runners.get(handle)
        if runner is None or runner.port:
            await self._run_logs.keep(run, runner.log_from if runner else 0, secrets)

    def whereabouts(self, handle: str) -> Whereabouts | None:
        runner = self._runners.get(handle)
        return Whereabouts(pid=runner.pid, port=runner.port) if runner is not None and runner.pid else None

    async def why_unreachable(self, handle: str, model: Model, address: Address) -> str:
        runner = self._runners.get(handle)
        if runner is None or not runner.pid:
            return ""
        return listening.of_process(address.port, listening.of_tree(runner.pid))

    async def watch(self, hurry: Callable[[], None]) -> None:
        """Call `hurry` at every exit, until cancelled."""
        self._hurry = hurry
        try:
            await asyncio.Event().wait()
        finally:
            self._hurry = _nobody

    async def close(self) -> None:
        """Let go; what runs goes on."""
        await self._scans.close()
        for runner in self._runners.values():
            self._let_go(runner)
        for threads in (self._looks, self._disk, self._launches, self._keeper):
            threads.close()


def _nobody() -> None:
    """Nobody watches."""
