"""The process runtime over real children."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from orchd.domain.ids import Address, RunnerId
from orchd.domain.model import RunnerKind, StopSpec
from orchd.domain.ports import Runtime, SightedAs, Sighting
from orchd.domain.runs import EndedRun, KeptRun
from orchd.domain.whereabouts import Whereabouts
from orchd.errors import EngineUnavailable, LaunchError
from orchd.runtime import out_of_memory
from orchd.runtime.kept_logs import FOLDER, KeptLogs
from orchd.runtime.process import runtime as process
from orchd.runtime.process.launch import free_port
from orchd.runtime.process.launch import spawn as spawn_child
from orchd.runtime.process.logs import Logs
from orchd.runtime.process.marks import Marks, Process, lives
from orchd.runtime.process.records import Records
from orchd.runtime.process.runtime import ProcessRuntime
from orchd.runtime.process.settings import ProcessSettings
from orchd.tasks import cancel, spawn
from tests.runners.local import BOUND_S, SCRIPTED, LocalRunner
from tests.runtime.process_models import KEY, PYTHON, RUNNER, model_of, scripted_model

TERM = StopSpec(grace_s=BOUND_S)
STOPPED = 20
TITLED = """
import ctypes, os, pathlib, signal

child = os.fork()
fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
begin, end = int(fields[47]), int(fields[48])
assert b"ORCHD_STATE" in ctypes.string_at(begin, end - begin)
ctypes.memset(begin, 0, end - begin)
os.write(1, b"titled ")
signal.pause()
"""
"""The place of its environment is in proc_pid_stat(5), fields 50 and 51."""
INSTANCE = f"t-process-{secrets.token_hex(4)}"


@asynccontextmanager
async def runtime_in(state_dir: Path, instance: str = INSTANCE) -> AsyncIterator[ProcessRuntime]:
    """A runtime that leaves nothing behind."""
    runtime: Runtime
    runtime = made = ProcessRuntime(ProcessSettings(), instance=instance, state_dir=state_dir)
    await runtime.open()
    try:
        yield made
    finally:
        for sighting in await made.sightings():
            await made.remove(sighting.handle)
        assert Marks(instance, state_dir).scan() == []
        await made.close()


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[ProcessRuntime]:
    async with runtime_in(tmp_path) as runtime:
        yield runtime


def text_of(kept: KeptRun) -> bytes:
    return Path(kept.file).read_bytes()[kept.log_at :]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so: for what nothing tells us of."""
    async with asyncio.timeout(BOUND_S):
        while not await true():  # noqa: ASYNC110 - /proc and files have no events
            await asyncio.sleep(0.005)


@asynccontextmanager
async def talk(address: Address) -> AsyncIterator[LocalRunner]:
    """Wait until it answers, then talk to it."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(BOUND_S):
        while True:
            try:
                async with client.get(f"{address.url}/_env") as answer:
                    pid = (await answer.json())["pid"]
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)
        yield LocalRunner(address.port, client, pid)


async def start(runtime: ProcessRuntime, **script: object) -> Address:
    return await runtime.start(await runtime.prepare(scripted_model(**script), RUNNER, print))


async def sight(runtime: ProcessRuntime) -> Sighting:
    (sighting,) = await runtime.sightings()
    return sighting


async def ended(runtime: ProcessRuntime) -> Sighting:
    """Wait until it is seen to have ended."""
    await seen_as(runtime, SightedAs.EXITED)
    return await sight(runtime)


async def seen_as(runtime: ProcessRuntime, status: SightedAs) -> None:
    async def seen() -> bool:
        return (await sight(runtime)).status is status

    await until(seen)


async def logged(runtime: ProcessRuntime, line: str) -> None:
    async def said() -> bool:
        return line in await runtime.tail(RUNNER.name, 10)

    await until(said)


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


def descriptors(pid: int) -> dict[str, str]:
    return {link.name: str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}


# Prepare and start.


async def test_from_prepared_to_gone(runtime: ProcessRuntime) -> None:
    assert await runtime.sightings() == ()
    handle = await runtime.prepare(scripted_model(), RUNNER, print)
    assert handle == RUNNER.name
    assert await sight(runtime) == Sighting(RUNNER, handle, SightedAs.CREATED)
    address = await runtime.start(handle)
    assert await sight(runtime) == Sighting(RUNNER, handle, SightedAs.RUNNING, address)
    async with talk(address) as runner, runner.client.get(f"{runner.url}/health") as answer:
        assert await answer.json() == {"status": "ok"}
    report = await runtime.stop(handle, TERM)
    assert (report.how, report.exit_code) == ("signal", 0)
    assert await sight(runtime) == Sighting(RUNNER, handle, SightedAs.EXITED, exit_code=0)
    await runtime.remove(handle)
    assert await runtime.sightings() == ()


async def test_its_process_is_named_as_other_tools_name_it(runtime: ProcessRuntime) -> None:
    handle = await runtime.prepare(scripted_model(), RUNNER, lambda line: None)
    assert runtime.whereabouts(handle) is None
    address = await runtime.start(handle)
    whereabouts = runtime.whereabouts(handle)
    assert whereabouts is not None
    assert whereabouts == Whereabouts(pid=whereabouts.pid, port=address.port)
    async with talk(address):  # Else it may still be a copy of ours.
        assert f"PORT={address.port}" in environment_of(whereabouts.pid)
    await runtime.remove(handle)
    assert runtime.whereabouts(handle) is None


async def test_every_call_may_be_repeated(runtime: ProcessRuntime) -> None:
    address = await start(runtime)
    assert await start(runtime) == address
    async with talk(address):  # Before it answers, it may still be a copy of ours.
        assert len(Marks(INSTANCE, runtime._marks.state_dir).scan()) == 1
    for how in ("signal", "already_gone"):
        assert (await runtime.stop(RUNNER.name, TERM)).how == how
    for _ in range(2):
        await runtime.remove(RUNNER.name)
    assert (await runtime.stop(RUNNER.name, TERM)).how == "already_gone"


async def test_the_port_is_told_in_argument_and_environment(runtime: ProcessRuntime) -> None:
    model = model_of(PYTHON, str(SCRIPTED), "--port", "{port}", PORT="1", HOST="127.0.0.1")
    address = await runtime.start(await runtime.prepare(model, RUNNER, print))
    async with talk(address) as runner, runner.client.get(f"{runner.url}/_env") as answer:
        assert (await answer.json())["env"]["PORT"] == str(address.port)


async def test_the_child_gets_nothing_of_ours_but_what_a_program_needs(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ORCHD_SECRET", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "AWS_SECRET_ACCESS_KEY", "STATE_DIRECTORY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    model = model_of(PYTHON, str(SCRIPTED), COLOUR="green", ORCHD_RUNNER="forged")
    address = await runtime.start(await runtime.prepare(model, RUNNER, print))
    async with talk(address) as runner, runner.client.get(f"{runner.url}/_env") as answer:
        env = (await answer.json())["env"]
    assert "secret" not in env.values()
    assert (env["COLOUR"], env["CUDA_VISIBLE_DEVICES"], env["HOST"]) == ("green", "1", "127.0.0.1")
    assert json.loads(env["ORCHD_RUNNER"]) == [KEY.pipeline, KEY.model_id, 0, RUNNER.generation]
    allowed = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "HOST", "PORT", "COLOUR", "SPT_NOENV"}
    # LC_CTYPE is set by Python itself at start.
    assert not [
        name for name in env if not (name in allowed | {"LC_CTYPE"} or name.startswith(("ORCHD_", "CUDA_", "NVIDIA_")))
    ]


async def test_descriptors_of_ours_are_not_handed_down(runtime: ProcessRuntime) -> None:
    async with talk(await start(runtime)) as runner:
        opened = descriptors(runner.pid)
    log = str(runtime._logs.path(RUNNER.name))
    assert (opened.pop("0"), opened.pop("1"), opened.pop("2")) == ("/dev/null", log, log)
    # The rest is its own event loop's and listener's.
    assert not [target for target in opened.values() if not target.startswith(("socket:", "anon_inode:"))]


@pytest.mark.parametrize(
    ("argv", "cwd", "said"),
    [
        (("serve",), "/no/such/folder", "its folder /no/such/folder does not exist"),
        (("no-such-program",), "/", "no such program on PATH"),
        (("./no-such-file",), "/tmp", "there is no file /tmp/no-such-file"),
        (("/etc/passwd",), "/", "/etc/passwd is not executable"),
    ],
)
async def test_a_command_that_cannot_run_is_found_before_it_starts(
    runtime: ProcessRuntime, argv: tuple[str, ...], cwd: str, said: str
) -> None:
    with pytest.raises(LaunchError, match=r"^cannot run ") as caught:
        await runtime.prepare(model_of(*argv, cwd=cwd), RUNNER, print)
    assert said in caught.value.message
    assert await runtime.sightings() == ()


async def test_a_program_may_be_named_by_folder_or_by_the_entrys_own_path(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "own-program"
    program.write_text(f"#!{PYTHON}\nimport signal\nsignal.pause()\n")
    program.chmod(0o755)
    for number, model in enumerate(
        [
            model_of("./own-program", cwd=str(tmp_path / "bin")),
            model_of("own-program", PATH=str(tmp_path / "bin")),
        ]
    ):
        handle = await runtime.prepare(model, RUNNER._replace(replica=number), print)
        await runtime.start(handle)
    assert [sighting.status for sighting in await runtime.sightings()] == [SightedAs.RUNNING] * 2


async def test_a_program_that_vanished_since_it_was_checked_is_refused_in_plain_words(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("not a program")
    program.chmod(0o755)
    handle = await runtime.prepare(model_of(str(program)), RUNNER, print)
    with pytest.raises(LaunchError, match=r"^cannot start .*program' in /: Exec format error$"):
        await runtime.start(handle)
    program.unlink()
    with pytest.raises(LaunchError, match="No such file or directory"):
        await runtime.start(handle)
    assert (await sight(runtime)).status is SightedAs.CREATED


async def test_what_was_not_prepared_is_not_started(runtime: ProcessRuntime) -> None:
    with pytest.raises(LaunchError, match="was not prepared"):
        await runtime.start("unknown")


def test_a_port_is_not_given_twice() -> None:
    taken: set[int] = set()
    for _ in range(200):
        port = free_port(taken)
        assert port not in taken
        taken.add(port)


@pytest.mark.parametrize("folder", ["logs", "processes"])
async def test_files_that_cannot_be_kept_are_named_and_the_runner_runs_without(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).write_text("in the way")
    with capture_logs() as said:
        async with runtime_in(tmp_path) as runtime, talk(await start(runtime)):
            assert (await sight(runtime)).status is SightedAs.RUNNING
            assert (await runtime.stop(RUNNER.name, TERM)).how == "signal"
    event = {"logs": "runner_log_not_kept", "processes": "runner_record_not_kept"}[folder]
    named = [Path(entry["path"]) for entry in said if entry["event"] == event]
    assert [path.is_relative_to(tmp_path / folder) for path in named] == [True]


@pytest.mark.parametrize("folder", ["logs", "processes"])
async def test_folders_that_were_removed_are_made_again(runtime: ProcessRuntime, folder: str) -> None:
    state_dir = runtime._marks.state_dir
    for _ in range(2):
        await start(runtime, say=["hello"], open_after_s=-1)
        await logged(runtime, "hello")
        assert len([*(state_dir / folder).rglob("*.*")]) == 1
        await runtime.stop(RUNNER.name, TERM)
        await runtime.remove(RUNNER.name)
        shutil.rmtree(state_dir / folder)
        await runtime.sightings()


# Exits.


async def test_an_exit_is_seen_hurried_and_reaped(runtime: ProcessRuntime) -> None:
    hurried = asyncio.Event()
    watch = spawn(runtime.watch(hurried.set), name="watch")
    async with talk(await start(runtime, crash_after=1)) as runner:
        with pytest.raises(aiohttp.ClientError):
            await runner.client.post(f"{runner.url}/echo")
        await asyncio.wait_for(hurried.wait(), BOUND_S)
        with pytest.raises(ProcessLookupError):  # Not even a zombie.
            os.kill(runner.pid, 0)
    assert (await sight(runtime)).exit_code == 3
    await cancel(watch)


async def test_an_exit_by_signal_is_a_negative_code(runtime: ProcessRuntime) -> None:
    async with talk(await start(runtime)) as runner:
        os.kill(runner.pid, signal.SIGKILL)
    assert (await ended(runtime)).exit_code == -9


@pytest.mark.parametrize("kills", [0, 1])
async def test_one_that_the_kernel_killed_for_want_of_memory_is_seen_as_such(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    """The kernel counts its kills; a runner that was killed while they grew was most likely one of them."""
    async with talk(await start(runtime)) as runner:
        await runtime.sightings()
        counted = out_of_memory.oom_kills() + kills
        monkeypatch.setattr(out_of_memory, "oom_kills", lambda: counted)
        os.kill(runner.pid, signal.SIGKILL)
    assert (await ended(runtime)).oom_killed is bool(kills)


async def test_one_that_we_killed_did_not_run_out_of_memory(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talk(await start(runtime, term="ignore")):
        counted = out_of_memory.oom_kills() + 1
        monkeypatch.setattr(out_of_memory, "oom_kills", lambda: counted)
        assert (await runtime.stop(RUNNER.name, StopSpec(grace_s=0))).how == "killed"
    assert not (await sight(runtime)).oom_killed


async def test_one_that_ends_at_once_has_ended(runtime: ProcessRuntime) -> None:
    await start(runtime, exit_at_once=0)
    assert (await ended(runtime)).exit_code == 0
    await start(runtime)
    assert (await sight(runtime)).status is SightedAs.EXITED, "started a second time unasked"


async def test_one_stopped_by_hand_is_paused_and_resumed(runtime: ProcessRuntime) -> None:
    async with talk(await start(runtime)) as runner:
        os.kill(runner.pid, signal.SIGSTOP)
        await seen_as(runtime, SightedAs.PAUSED)
        assert (await sight(runtime)).address == runner.address
        await runtime.resume(RUNNER.name)
        assert (await runner.seen())["requests"] == 0
    assert (await sight(runtime)).status is SightedAs.RUNNING


# Stop.


async def test_the_profiles_signal_is_sent(runtime: ProcessRuntime) -> None:
    async with talk(await start(runtime, term="ignore")):
        report = await runtime.stop(RUNNER.name, StopSpec(signal="SIGINT", grace_s=BOUND_S))
    assert (report.how, report.exit_code) == ("signal", 130)


async def test_one_that_ignores_the_signal_is_killed_after_the_grace(runtime: ProcessRuntime) -> None:
    async with talk(await start(runtime, term="ignore")):
        report = await runtime.stop(RUNNER.name, StopSpec(grace_s=0.1))
    assert (report.how, report.exit_code) == ("killed", -9)


async def test_a_stop_that_was_cancelled_can_be_repeated(runtime: ProcessRuntime) -> None:
    async with talk(await start(runtime, term="ignore")):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await runtime.stop(RUNNER.name, TERM)
        assert (await sight(runtime)).status is SightedAs.RUNNING
        assert (await runtime.stop(RUNNER.name, StopSpec(grace_s=0.1))).how == "killed"


async def test_the_grace_is_also_that_of_the_leaders_children(runtime: ProcessRuntime) -> None:
    """A shell in front ends at once; the model behind it may finish its job."""
    model = scripted_model("sh", "-c", f"{PYTHON} {SCRIPTED} & wait", term="drain")
    handle = await runtime.prepare(model, RUNNER, print)
    shell_ended = asyncio.Event()
    watch = spawn(runtime.watch(shell_ended.set), name="watch")
    async with talk(await runtime.start(handle)) as runner:
        job = spawn(runner.client.post(f"{runner.url}/gate/a").__aenter__(), name="job")
        await runner.seen(waiting=1)
        stop = spawn(runtime.stop(handle, TERM), name="stop")
        await asyncio.wait_for(shell_ended.wait(), BOUND_S)
        await runner.open_gate("a")
        assert (await job).status == 200
        assert (await stop).how == "signal"
        assert runtime._marks.scan() == []
    await cancel(watch)


@pytest.mark.parametrize("setsid", [False, True])
async def test_a_stop_ends_what_the_runner_started_too(runtime: ProcessRuntime, setsid: bool) -> None:
    async def both() -> bool:
        return len(runtime._marks.scan()) == 2

    async with talk(await start(runtime, spawn=["sleep", "600"], spawn_setsid=setsid)):
        await until(both)
        assert (await runtime.stop(RUNNER.name, TERM)).how == "signal"
    assert runtime._marks.scan() == []


async def test_a_child_in_a_session_of_its_own_that_ignores_the_signal_is_killed(runtime: ProcessRuntime) -> None:
    ignores = [
        PYTHON,
        "-c",
        "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()",
    ]
    async with talk(await start(runtime, spawn=ignores, spawn_setsid=True)):
        await logged(runtime, "deaf")
        assert (await runtime.stop(RUNNER.name, StopSpec(grace_s=0.2))).how == "killed"
    assert runtime._marks.scan() == []


async def test_remove_ends_what_is_left_of_a_dead_runner(runtime: ProcessRuntime) -> None:
    async with talk(await start(runtime, spawn=["sleep", "600"])) as runner:
        os.kill(runner.pid, signal.SIGKILL)
    await ended(runtime)
    assert len(runtime._marks.scan()) == 1
    await runtime.remove(RUNNER.name)
    assert runtime._marks.scan() == []


async def test_remove_ends_one_that_runs(runtime: ProcessRuntime) -> None:
    async with talk(await start(runtime, term="ignore")):
        await runtime.remove(RUNNER.name)
    assert await runtime.sightings() == ()


async def test_runners_are_stopped_each_on_its_own(runtime: ProcessRuntime) -> None:
    other = RunnerId(KEY, 1, RUNNER.generation)
    address = await runtime.start(await runtime.prepare(scripted_model(), other, print))
    async with talk(address) as runner:
        await start(runtime)
        await runtime.stop(RUNNER.name, StopSpec(grace_s=0))
        await runtime.remove(RUNNER.name)
        assert (await runner.seen())["active"] == 0
    assert (await sight(runtime)).runner == other


# Logs.


async def test_what_it_prints_is_logged_and_only_this_runs_lines_are_shown(runtime: ProcessRuntime) -> None:
    await start(runtime, say=["first"], open_after_s=-1)
    await logged(runtime, "first")
    await runtime.remove(RUNNER.name)
    await start(runtime, say=["second", "third"], open_after_s=-1)
    await logged(runtime, "third")
    assert await runtime.tail(RUNNER.name, 10) == ("second", "third")
    assert runtime._logs.path(RUNNER.name).read_text() == "second\nthird\n"
    [former] = KeptLogs(runtime._marks.state_dir / FOLDER).runs(KEY)
    assert text_of(former) == b"first\n"


async def test_a_log_that_was_kept_before_a_kill_is_not_kept_again(runtime: ProcessRuntime) -> None:
    await start(runtime, say=["first"], open_after_s=-1)
    await logged(runtime, "first")
    await runtime.stop(RUNNER.name, TERM)
    path = runtime._logs.path(RUNNER.name)
    written = path.read_bytes()
    at = path.stat().st_mtime
    await runtime.keep_log(RUNNER.name, EndedRun(RUNNER, 1000.0, "x"), ())
    await runtime.remove(RUNNER.name)
    path.write_bytes(written)
    os.utime(path, (at, at))
    await start(runtime, say=["second"], open_after_s=-1)
    await logged(runtime, "second")
    assert path.read_bytes() == b"second\n"
    assert [text_of(kept) for kept in KeptLogs(runtime._marks.state_dir / FOLDER).runs(KEY)] == [b"first\n"]


async def test_a_look_keeps_the_logs_within_their_bound(runtime: ProcessRuntime) -> None:
    path = runtime._logs.path(RUNNER.name)
    path.parent.mkdir()
    path.write_bytes(b"line\n" * 3_000_000)
    await runtime.sightings()
    assert path.stat().st_size <= 5 * 1024 * 1024


# What is asked of /proc.


async def test_many_stops_at_once_share_their_looks_through_proc(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look costs as much as all processes of the machine: one for each stop was 43 s of CPU for 300 runners."""
    looks: list[object] = []
    scan = Marks.scan

    def counted(self: Marks, *known: Any) -> list[Process]:
        looks.append(known)
        return scan(self, *known)

    handles = [
        await runtime.prepare(model_of("sleep", "600"), RUNNER._replace(replica=replica), print)
        for replica in range(STOPPED)
    ]
    await asyncio.gather(*map(runtime.start, handles))
    monkeypatch.setattr(Marks, "scan", counted)

    async def take_down(handle: str) -> None:
        assert (await runtime.stop(handle, TERM)).how == "signal"
        await runtime.remove(handle)

    await asyncio.gather(*map(take_down, handles))
    assert len(looks) < STOPPED  # each on its own: at least three a runner
    assert await runtime.sightings() == ()


@pytest.mark.parametrize("what", ["looks", "logs", "programs"])
async def test_a_disk_or_proc_that_hangs_is_named_and_holds_up_nothing_else(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Nor the end: the threads that hang are nobody's."""
    monkeypatch.setattr(process, "CALL_TIMEOUT_S", 0.5)  # What does not hang takes less, on a busy machine too.
    never = threading.Event()
    hung = {"looks": (Marks, "scan"), "logs": (Logs, "bound"), "programs": (process, "check")}[what]

    def hang(*_: object) -> None:
        never.wait()

    try:
        with monkeypatch.context() as patch, capture_logs() as said:
            patch.setattr(Marks, "scan", lambda *_: [])
            patch.setattr(*hung, hang)
            if what == "looks":
                for _ in range(2):
                    with pytest.raises(EngineUnavailable, match="in /proc: it does not answer"):
                        await runtime.sightings()
            elif what == "logs":
                for _ in range(2):
                    assert await runtime.sightings() == ()
                assert [entry["event"] for entry in said] == ["runner_logs_not_bounded"]
            else:
                with pytest.raises(LaunchError, match="does not answer"):
                    await runtime.prepare(scripted_model(), RUNNER, print)
                assert await runtime.sightings() == ()
    finally:
        never.set()
    monkeypatch.undo()
    async with talk(await start(runtime)):
        assert (await sight(runtime)).status is SightedAs.RUNNING


async def test_a_program_that_starts_after_all_does_not_outlive_its_removal(
    runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk did not answer; when it does, nobody wants the program any more."""
    answers = threading.Event()

    def late(*arguments: Any) -> Any:
        answers.wait()
        return spawn_child(*arguments)

    monkeypatch.setattr(process, "spawn", late)
    handle = await runtime.prepare(model_of("sleep", "600"), RUNNER, print)
    monkeypatch.setattr(process, "CALL_TIMEOUT_S", 0.05)
    with pytest.raises(LaunchError, match=r"cannot start 'sleep' in /: the disk .* does not answer"):
        await runtime.start(handle)
    launching = runtime._runners[handle].launching
    assert launching is not None
    monkeypatch.setattr(process, "CALL_TIMEOUT_S", BOUND_S)
    await runtime.remove(handle)
    answers.set()
    await launching

    async def gone() -> bool:
        return runtime._marks.scan() == []

    await until(gone)


# After a kill -9 of orchd.


@asynccontextmanager
async def killed_daemon(state_dir: Path, *argv: str, instance: str = INSTANCE, **script: object) -> AsyncIterator[None]:
    """A daemon that started one runner (by `argv` if that is given) and was killed."""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.runtime.process_daemon",
        instance,
        str(state_dir),
        json.dumps(script),
        *argv,
        stdout=asyncio.subprocess.PIPE,
    )
    assert daemon.stdout is not None
    async with asyncio.timeout(BOUND_S):
        assert await daemon.stdout.readline() == b"started\n"
    daemon.kill()
    await daemon.communicate()
    try:
        yield
    finally:
        async with runtime_in(state_dir, instance):
            pass  # It ends whatever is left.


async def test_a_runner_is_adopted_as_it_is(tmp_path: Path) -> None:
    async with killed_daemon(tmp_path, say=["hello"], spawn=["sleep", "600"]), runtime_in(tmp_path) as runtime:
        found = await sight(runtime)
        assert (found.runner, found.handle, found.status) == (RUNNER, RUNNER.name, SightedAs.RUNNING)
        assert found.address is not None
        async with talk(found.address) as runner:
            assert await start(runtime) == found.address, "started a second one"
            assert (await sight(runtime)) == found
            async with runner.client.get(f"{runner.url}/_env") as answer:
                assert (await answer.json())["pid"] == runner.pid
        assert (await runtime.tail(RUNNER.name, 10))[0] == "hello"
        report = await runtime.stop(RUNNER.name, TERM)
        assert (report.how, report.exit_code) == ("signal", None)
        assert runtime._marks.scan() == []


async def test_one_that_writes_its_title_over_its_environment_is_adopted_and_ended_all_the_same(tmp_path: Path) -> None:
    """As nginx, PostgreSQL and Perl's $0 do, with a child that does so too and outlives it."""
    async with killed_daemon(tmp_path, PYTHON, "-c", TITLED), runtime_in(tmp_path) as runtime:

        async def titled() -> bool:
            return "titled titled" in " ".join(await runtime.tail(RUNNER.name, 10))

        await until(titled)
        assert Marks(INSTANCE, tmp_path).scan() == [], "they can be told by what they were given"
        found = await sight(runtime)
        assert (found.handle, found.status) == (RUNNER.name, SightedAs.RUNNING)
        processes = await runtime._endings._processes(RUNNER.name)
        assert len(processes) == 2
        leader = next(each for each in processes if each.leads)
        os.kill(leader.pid, signal.SIGKILL)
        await ended(runtime)
        await runtime.remove(RUNNER.name)
        assert not any(map(lives, processes))
        assert await runtime.sightings() == ()


async def test_a_record_of_a_process_that_is_gone_is_nobodys(tmp_path: Path) -> None:
    async with killed_daemon(tmp_path), runtime_in(tmp_path) as runtime:
        (record,) = (tmp_path / "processes" / INSTANCE).iterdir()
        kept = json.loads(record.read_text())
        changes: list[dict[str, object]] = [
            {"started": kept["started"] - 1},
            {"machine": "another boot"},
            {"runner": [None]},
        ]
        for wrong in ["[]", "{", *(json.dumps(kept | change) for change in changes)]:
            record.write_text(wrong)
            records = Records(record.parent)
            records.load()
            assert records.leaders() == {}
            assert not record.exists()
        assert (await sight(runtime)).status is SightedAs.RUNNING  # by its markers


async def test_the_exit_of_an_adopted_runner_is_seen(tmp_path: Path) -> None:
    async with killed_daemon(tmp_path), runtime_in(tmp_path) as runtime:
        hurried = asyncio.Event()
        watch = spawn(runtime.watch(hurried.set), name="watch")
        address = (await sight(runtime)).address
        assert address is not None
        async with talk(address) as runner:
            os.kill(runner.pid, signal.SIGKILL)
        await asyncio.wait_for(hurried.wait(), BOUND_S)
        assert await sight(runtime) == Sighting(RUNNER, RUNNER.name, SightedAs.EXITED)
        await cancel(watch)


async def test_a_rest_without_its_leader_counts_as_exited_and_is_ended(tmp_path: Path) -> None:
    async with killed_daemon(tmp_path, spawn=["sleep", "600"]), runtime_in(tmp_path) as runtime:
        address = (await sight(runtime)).address
        assert address is not None
        async with talk(address) as runner:
            os.kill(runner.pid, signal.SIGKILL)
        await ended(runtime)
        async with runtime_in(tmp_path) as later:
            assert await sight(later) == Sighting(RUNNER, RUNNER.name, SightedAs.EXITED)
            assert (await later.stop(RUNNER.name, TERM)).how == "already_gone"
            await later.remove(RUNNER.name)
            assert await later.sightings() == ()


async def test_runners_under_another_state_directory_are_named_and_left_alone(tmp_path: Path) -> None:
    """It was moved, lost, or named wrongly: what runs there is neither adopted nor in anybody's view."""
    (tmp_path / "other").mkdir()
    async with killed_daemon(tmp_path / "other"):
        with capture_logs() as logs:
            async with runtime_in(tmp_path):
                pass
        async with runtime_in(tmp_path / "other") as theirs:
            assert (await sight(theirs)).status is SightedAs.RUNNING
    [line] = [line for line in logs if line["event"] == "stray_found"]
    assert (line["kind"], line["runner"]) == (RunnerKind.PROCESS, str(RUNNER.key))
    assert "another state directory" in line["why"]


@pytest.mark.parametrize("other", ["instance", "state_dir"])
async def test_runners_of_others_are_neither_seen_nor_touched(tmp_path: Path, other: str) -> None:
    (tmp_path / "other").mkdir()
    instance, state_dir = (INSTANCE + "-x", tmp_path) if other == "instance" else (INSTANCE, tmp_path / "other")
    async with killed_daemon(state_dir, instance=instance), runtime_in(tmp_path) as runtime:
        assert await runtime.sightings() == ()
        assert (await runtime.stop(RUNNER.name, StopSpec(grace_s=0))).how == "already_gone"
        await runtime.remove(RUNNER.name)
        async with runtime_in(state_dir, instance) as theirs:
            assert (await sight(theirs)).status is SightedAs.RUNNING


async def test_closing_leaves_the_runners_alone(tmp_path: Path) -> None:
    first = ProcessRuntime(ProcessSettings(), instance=INSTANCE, state_dir=tmp_path)
    await first.open()
    address = await start(first)
    await first.close()
    async with runtime_in(tmp_path) as second:
        assert await sight(second) == Sighting(RUNNER, RUNNER.name, SightedAs.RUNNING, address)
    # The child is still the first one's to reap.
    child = first._runners[RUNNER.name].child
    assert child is not None
    assert child.wait(BOUND_S) is not None
