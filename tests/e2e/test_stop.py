"""`orchd stop`, `start` and `restart` as an operator gives them, over real containers, processes and the node."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import docker

from orchd.tasks import spawn
from tests.e2e.beside import NodeProcess, orchd_beside
from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, ROOT, Daemon
from tests.e2e.scripts import PIPELINE, Runner, container, process
from tests.runners.local import scripted


async def order(daemon: Daemon, *words: str) -> tuple[int, list[str]]:
    code, text = await daemon.command(*words, *daemon.flags("state_dir"))
    return code, text.splitlines()


async def runner_of(daemon: Daemon, model_id: str) -> Runner:
    return Runner((await daemon.model(model_id))["runners"][0]["address"], daemon.client)


async def test_a_stopped_container_is_gone_its_jobs_are_told_and_it_stays_so_until_it_is_started(
    docked: Start, api: docker.APIClient, instance: str
) -> None:
    def ours() -> list[str]:
        return [one["Id"] for one in api.containers(all=True, filters={"label": f"orchd.instance={instance}"})]

    async with docked() as daemon:
        daemon.write(container("m"), process("other"))
        await daemon.until_state("m", "ready")
        await daemon.until_state("other", "ready")
        job = spawn(daemon.job("m", "/gate/g"), name="job at a gate")
        runner = await runner_of(daemon, "m")
        await runner.seen(waiting=1)

        code, [line] = await order(daemon, "stop", "m")
        assert code == 0
        assert line.startswith(f"{PIPELINE}/m: stopping; 1 job may go on until ")
        status, body, headers = await daemon.job("m")
        assert (status, headers["Livepeer-Error"], headers["Retry-After"]) == (503, "stopped", "300")
        assert "an operator has stopped it" in json.loads(body)["message"]
        assert len(ours()) == 1, "its job goes on"
        await runner.open_gate("g")
        assert (await job)[0] == 200
        stopped = await daemon.until_state("m", "stopped")
        assert not ours()

        ready, page = await daemon.get("/readyz")
        assert (ready, page["models"]) == (200, {"wanted": 1, "can_serve": 1})
        assert await daemon.metric("orchd_model_stopped", model_id="m") == 1
        assert await daemon.metric("orchd_job_errors_total", code="stopped") == 1
        code, text = await daemon.command("status", *daemon.flags("admin.listen"))
        assert code == 0
        assert f"{stopped['stopped']['by']} (" in text
        code, text = await daemon.command("status", "m", *daemon.flags("admin.listen"))
        assert code == 0, "it is not wanted"
        assert f"orchd start {PIPELINE}/m" in text

        await daemon.kill()
        daemon.write(container("m", price_per_unit=5), process("other"))
        await daemon.start()
        await daemon.until_state("other", "ready")
        assert (await daemon.until_state("m", "stopped"))["stopped"] == stopped["stopped"]
        assert not ours()

        code, lines = await order(daemon, "start", "m", "--wait")
        assert (code, lines[-1]) == (0, f"{PIPELINE}/m: ready")
        assert (await daemon.job("m"))[0] == 200
        assert (await daemon.model("m"))["price"]["per_unit"] == "5"


async def test_orchd_that_is_killed_in_the_middle_of_a_stop_goes_on_with_it(make: Start) -> None:
    async with make() as daemon:
        daemon.write(process("m"))
        await daemon.until_state("m", "ready")
        job = await daemon.begin_job("m", "/gate/g")
        await (await runner_of(daemon, "m")).seen(waiting=1)
        assert (await order(daemon, "stop", "m"))[0] == 0
        await daemon.kill()
        job.close()
        await daemon.start()
        await daemon.until_state("m", "stopped")


async def test_several_names_and_patterns_are_stopped_together_and_a_wrong_name_stops_none(make: Start) -> None:
    async with make() as daemon:
        daemon.write(process("org/a"), process("org/b"), process("c"))
        for name in ("org/a", "org/b", "c"):
            await daemon.until_state(name, "ready")
        code, lines = await order(daemon, "stop", "org/*", "d")
        assert (code, len(lines)) == (2, 1)
        assert lines[0].startswith("orchd: cannot find model 'd': ")
        assert {model["stopped"] for model in (await daemon.status())["models"]} == {None}
        code, lines = await order(daemon, "stop", "org/*", "--wait")
        assert (code, lines.pop()) == (0, "2 models stopped")
        assert {line.split(": ")[0] for line in lines} == {f"{PIPELINE}/org/a", f"{PIPELINE}/org/b"}
        assert [(await daemon.model(name))["state"] for name in ("org/a", "org/b", "c")] == [
            "stopped",
            "stopped",
            "ready",
        ]
        code, lines = await order(daemon, "start", "--all", "--wait")
        assert code == 0
        assert {(await daemon.model(name))["state"] for name in ("org/a", "org/b", "c")} == {"ready"}


async def test_a_start_that_fails_ends_with_1_and_the_reason(make: Start, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.touch()
    start = ["sh", "-c", f'test -e {weights} || {{ echo no weights; exit 3; }}; exec "$@"', "sh"]
    entry = process("m")
    entry["command"] = [*start, *entry["command"]]
    async with make() as daemon:
        daemon.write(entry)
        await daemon.until_state("m", "ready")
        assert (await order(daemon, "stop", "m", "--wait"))[0] == 0
        weights.unlink()
        code, lines = await order(daemon, "start", "m", "--wait")
        assert code == 1
        assert lines[-1].startswith(f"{PIPELINE}/m: could not be started: ")
        assert "code 3" in lines[-1]
        assert f"`orchd logs {PIPELINE}/m`" in lines[-1]


async def test_restart_all_goes_one_after_another(make: Start) -> None:
    async with make() as daemon:
        daemon.write(process("a"), process("b"), process("cold", warm=False))
        for name in ("a", "b"):
            await daemon.until_state(name, "ready")
        before = {name: (await (await runner_of(daemon, name)).about())["pid"] for name in ("a", "b")}
        code, lines = await order(daemon, "restart", "--all", "--wait")
        assert code == 0
        assert lines[0] == f"{PIPELINE}/cold: cold: its first job starts it; there is nothing to restart"
        assert [line for line in lines if line.endswith(": ready")] == [f"{PIPELINE}/{n}: ready" for n in ("a", "b")]
        after = {name: (await (await runner_of(daemon, name)).about())["pid"] for name in ("a", "b")}
        assert all(before[name] != after[name] for name in before)
        moves = [line for line in daemon.events("runner_state") if line["state"] == "draining"]
        ready = [line for line in daemon.events("runner_state") if line["state"] == "ready"]
        assert [line["model_id"] for line in moves] == ["a", "b"]
        assert [line["model_id"] for line in ready[-2:]] == ["a", "b"]


async def test_a_stop_is_withdrawn_from_the_node_before_its_drain_ends_and_a_start_registers_it_again(
    tmp_path: Path,
) -> None:
    async with (
        NodeProcess(tmp_path / "node", "--use-live-runners") as node,
        orchd_beside(
            node, tmp_path / "orchd", f"t-node-{secrets.token_hex(4)}", process("m"), orchestrator__check_s="1"
        ) as daemon,
    ):

        async def offered(count: int) -> Any:
            async def so() -> bool:
                try:
                    return len(await node.capabilities()) == len(await node.runners()) == count
                except aiohttp.ClientError:
                    return False

            await daemon.until(f"the node offers {count}", so)

        await offered(1)
        runner = await runner_of(daemon, "m")
        job = spawn(node.job(f"{PIPELINE}/m", "gate/g"), name="job at a gate")
        await runner.seen(waiting=1)
        assert (await order(daemon, "stop", "m"))[0] == 0

        async def byoc_gone() -> bool:
            return not await node.capabilities()

        await daemon.until("it is withdrawn", byoc_gone)
        assert (await daemon.model("m"))["state"] == "draining"
        assert (await daemon.model("m"))["not_offered"] == "an operator has stopped it"
        await runner.open_gate("g")
        assert (await job)[0] == 200
        await daemon.until_state("m", "stopped")
        await offered(0)
        assert (await order(daemon, "start", "m", "--wait"))[0] == 0
        await offered(1)


async def test_who_no_longer_waits_leaves_the_order_standing_and_is_told_so(make: Start) -> None:
    async with make() as daemon:
        daemon.write(process("m"))
        await daemon.until_state("m", "ready")
        job = spawn(daemon.job("m", "/gate/g"), name="job at a gate")
        runner = await runner_of(daemon, "m")
        await runner.seen(waiting=1)
        words = ["stop", "m", "--wait", *daemon.flags("state_dir")]
        waiting = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "orchd", *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert waiting.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            assert b"1 job may go on" in await waiting.stdout.readline()
            waiting.send_signal(signal.SIGINT)
            told, _ = await waiting.communicate()
        assert (waiting.returncode, told) == (130, b"no longer waiting; the models are stopped all the same\n")
        await runner.open_gate("g")
        assert (await job)[0] == 200
        await daemon.until_state("m", "stopped")


async def test_an_outside_server_is_drained_refused_and_left_alone_until_it_is_started(make: Start) -> None:
    async with make() as daemon, scripted() as runner:
        daemon.write({"pipeline": PIPELINE, "model_id": "m", "url": runner.url, "health": {"interval_s": 0.2}})
        await daemon.until_state("m", "ready")
        job = spawn(daemon.job("m", "/gate/g"), name="job at a gate")
        await runner.seen(waiting=1)
        assert (await order(daemon, "stop", "m"))[0] == 0
        status, _, headers = await daemon.job("m")
        assert (status, headers["Livepeer-Error"]) == (503, "stopped")
        await runner.open_gate("g")
        assert (await job)[0] == 200
        await daemon.until_state("m", "stopped")
        probes = await daemon.metric("orchd_probes_total", model_id="m")
        daemon.write(
            {"pipeline": PIPELINE, "model_id": "m", "url": runner.url, "health": {"interval_s": 0.1}}, process("clock")
        )
        await daemon.until_state("clock", "ready")  # Longer than some probes would take.
        assert await daemon.metric("orchd_probes_total", model_id="m") == probes
        code, lines = await order(daemon, "start", "m", "--wait")
        assert (code, lines[-1]) == (0, f"{PIPELINE}/m: ready")
        assert (await daemon.job("m"))[0] == 200
