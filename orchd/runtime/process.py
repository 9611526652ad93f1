"""Runtime over child processes: Docker's rules where there is no Docker.

Each runner leads a session and process group of its own. What Docker remembers in labels is remembered in the
environment of the processes (`process_marks`), so a kill -9 of orchd leaves runners that the next start adopts. Only
what was prepared and never started lives in memory alone: nothing of it exists outside.

Every exit is seen through a pidfd, of our own children and of adopted ones alike. Children are reaped there and
nowhere else, so as long as a leader's descriptor is open its pid is not anybody else's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from orchd.domain.ids import Address, RunnerId
from orchd.domain.model import Model, ProcessLaunch, RunnerKind, StopSpec
from orchd.domain.ports import SightedAs, Sighting, StopReport
from orchd.errors import EngineUnavailable, LaunchError
from orchd.runtime.process_launch import check, environment_of, free_port, spawn
from orchd.runtime.process_logs import Logs
from orchd.runtime.process_marks import Marks, Process, end_of, lives, open_pidfd, send
from orchd.settings import ProcessSettings

KILL_WAIT_S = 5.0
"""A killed process ends within milliseconds, save one that hangs in the kernel: nobody can help that one."""


@dataclass(slots=True, eq=False)
class _Runner:
    """Attributes:
    launch: None if adopted.
    pid, port: 0 until started. `pidfd`: open as long as the leader lives.
    log_from: size of its log when it was started.
    """

    id: RunnerId
    launch: ProcessLaunch | None = None
    pid: int = 0
    port: int = 0
    pidfd: int | None = None
    child: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    log_from: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)


class ProcessRuntime:
    """`ports.Runtime` over child processes of one daemon.

    Args:
        state_dir: holds `logs/`; with `instance` it tells our processes from those of other daemons.
    """

    kind = RunnerKind.PROCESS

    def __init__(self, settings: ProcessSettings, *, instance: str, state_dir: Path) -> None:
        self._logs = Logs(state_dir / "logs", settings.log_max_mb * 1024 * 1024)
        self._marks = Marks(instance, state_dir)
        self._runners: dict[str, _Runner] = {}
        self._hurry: Callable[[], None] = _nobody

    async def open(self) -> None:
        """Make the folder for logs; the state directory's lock is the app's."""
        try:
            self._logs.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise EngineUnavailable(f"cannot make the folder for logs {self._logs.folder}: {exc.strerror}") from exc

    async def sightings(self) -> tuple[Sighting, ...]:
        """Look through /proc, adopt what is new there, and keep the logs within their bound."""
        seen: dict[str, list[Process]] = {}
        for process in await self._scan():
            seen.setdefault(process.runner.name, []).append(process)
        found = []
        for name, processes in seen.items():
            if name not in self._runners and not self._adopt(processes) and any(map(lives, processes)):
                found.append(Sighting(processes[0].runner, name, SightedAs.EXITED))  # Only a rest of it is left.
        paused = {process.pid for processes in seen.values() for process in processes if process.paused}
        found += [_sighting(name, runner, paused) for name, runner in self._runners.items()]
        await asyncio.to_thread(self._logs.bound, frozenset(sighting.handle for sighting in found))
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
        runner = _Runner(leader.runner, pid=leader.pid, port=leader.port)
        self._runners[leader.runner.name] = runner
        self._track(runner, pidfd)
        return True

    def _track(self, runner: _Runner, pidfd: int) -> None:
        runner.pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._exited, runner)

    def _exited(self, runner: _Runner) -> None:
        """The leader's descriptor became readable: it has ended."""
        self._let_go(runner)
        if runner.child is not None:
            runner.exit_code = runner.child.poll()
        runner.ended.set()
        self._hurry()

    def _let_go(self, runner: _Runner) -> None:
        if runner.pidfd is not None:
            asyncio.get_running_loop().remove_reader(runner.pidfd)
            os.close(runner.pidfd)
            runner.pidfd = None

    async def prepare(self, model: Model, runner: RunnerId, progress: Callable[[str], None]) -> str:
        """Check that the command can be run. Nothing runs yet."""
        launch = model.launch
        assert isinstance(launch, ProcessLaunch), "the planner sends processes here"
        if runner.name not in self._runners:
            await asyncio.to_thread(check, launch)
            self._runners.setdefault(runner.name, _Runner(runner, launch))
        return runner.name

    async def start(self, handle: str) -> Address:
        """Start it on a free loopback port. One that has run, even if it has ended since, is not started again."""
        runner = self._runners.get(handle)
        if runner is not None and runner.port:
            return runner.address
        if runner is None or runner.launch is None:
            raise LaunchError(f"cannot start {handle}: it was not prepared")
        # No await from here on: a process can't be started and then forgotten by a cancel.
        self._launch(handle, runner, runner.launch)
        return runner.address

    def _launch(self, handle: str, runner: _Runner, launch: ProcessLaunch) -> None:
        port = free_port({other.port for other in self._runners.values()})
        argv = [argument.replace("{port}", str(port)) for argument in launch.argv]
        environment = environment_of(launch) | {"PORT": str(port)} | self._marks.environment(runner.id, port)
        try:
            output, runner.log_from = self._logs.open_for(handle)
            try:
                child, pidfd = spawn(argv, launch.cwd, environment, output)
            finally:
                os.close(output)
        except OSError as exc:
            raise LaunchError(f"cannot start {launch.argv[0]!r} in {launch.cwd}: {exc.strerror}") from exc
        runner.child, runner.pid, runner.port = child, child.pid, port
        self._track(runner, pidfd)

    async def resume(self, handle: str) -> None:
        self._signal(handle, signal.SIGCONT)

    async def stop(self, handle: str, stop: StopSpec) -> StopReport:
        """Signal the whole group, and whoever of the runner left it; wait for all of them; kill what is left."""
        runner = self._runners.get(handle)
        if runner is None or runner.pidfd is None:
            return StopReport("already_gone", runner.exit_code if runner else None)
        number = signal.Signals[stop.signal]
        strays = [process for process in await self._processes(handle) if process.session != runner.pid]
        self._signal(handle, number)
        for process in strays:
            send(process, number)
        how = "signal"
        try:
            async with asyncio.timeout(stop.grace_s):
                await runner.ended.wait()
                await self._all_gone(handle)
        except TimeoutError:
            how = "killed"
            await self._kill(handle)
        return StopReport(how, runner.exit_code)

    async def remove(self, handle: str) -> None:
        """End whatever is left of it, and forget it. Its log stays until newer ones push it out."""
        await self._kill(handle)
        if runner := self._runners.pop(handle, None):
            self._let_go(runner)

    async def _kill(self, handle: str) -> None:
        self._signal(handle, signal.SIGKILL)
        try:
            async with asyncio.timeout(KILL_WAIT_S):
                if (runner := self._runners.get(handle)) and runner.pid:
                    await runner.ended.wait()
                await self._all_gone(handle, signal.SIGKILL)
        except TimeoutError:
            raise EngineUnavailable(f"cannot end {handle}: it hangs in the kernel; look at it with ps") from None

    def _signal(self, handle: str, number: signal.Signals) -> None:
        """Signal the leader's group, if the leader lives (and the group's id is still its own)."""
        runner = self._runners.get(handle)
        if runner is None or runner.pidfd is None:
            return
        try:
            signal.pidfd_send_signal(runner.pidfd, 0)
            os.killpg(runner.pid, number)
        except ProcessLookupError:
            pass  # Ended just now.
        except PermissionError as exc:
            raise EngineUnavailable(f"cannot send {number.name} to {handle}: it runs as another user") from exc

    async def _all_gone(self, handle: str, number: signal.Signals | None = None) -> None:
        """Wait until no process of the runner lives; with `number`, send it to each of them."""
        while processes := await self._processes(handle):
            for process in processes:
                if number is not None:
                    send(process, number)
                await end_of(process)

    async def _processes(self, handle: str) -> list[Process]:
        return [process for process in await self._scan() if process.runner.name == handle]

    async def _scan(self) -> list[Process]:
        try:
            return await asyncio.to_thread(self._marks.scan)
        except OSError as exc:
            raise EngineUnavailable(f"cannot look for processes in /proc: {exc.strerror}") from exc

    async def tail(self, handle: str, lines: int) -> tuple[str, ...]:
        runner = self._runners.get(handle)
        return await asyncio.to_thread(self._logs.tail, handle, lines, runner.log_from if runner else 0)

    async def watch(self, hurry: Callable[[], None]) -> None:
        """Call `hurry` at every exit, until cancelled."""
        self._hurry = hurry
        try:
            await asyncio.Event().wait()
        finally:
            self._hurry = _nobody

    async def close(self) -> None:
        """Let go; what runs goes on."""
        for runner in self._runners.values():
            self._let_go(runner)


def _sighting(name: str, runner: _Runner, paused: set[int]) -> Sighting:
    if not runner.port:
        return Sighting(runner.id, name, SightedAs.CREATED)
    if runner.ended.is_set():
        return Sighting(runner.id, name, SightedAs.EXITED, exit_code=runner.exit_code)
    status = SightedAs.PAUSED if runner.pid in paused else SightedAs.RUNNING
    return Sighting(runner.id, name, status, runner.address)


def _nobody() -> None:
    """Nobody watches."""
