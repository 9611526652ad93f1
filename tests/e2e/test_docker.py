"""`orchd run` over a real Docker Engine: launch, edit, replace, heal, adopt, end."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from aiohttp import web

from orchd.tasks import spawn
from tests.docker_images import RUNNER
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import Runner, container

pytestmark = pytest.mark.docker

PATIENT = {"reconcile.drain_timeout_s": "90", "shutdown_drain_s": "90"}
"""A job that is held lasts as long as the test needs."""
PARKS_SOON = {"reconcile.failure_limit": "2", "reconcile.backoff_max_s": "0.2"}


def ours(api: docker.APIClient, instance: str) -> dict[str, str]:
    """Return the container ids of an instance by model id."""
    found = api.containers(all=True, filters={"label": f"orchd.instance={instance}"})
    assert len(found) == len({one["Labels"]["orchd.model_id"] for one in found}), f"some are there twice: {found}"
    return {one["Labels"]["orchd.model_id"]: one["Id"] for one in found}


def runner_of(daemon: Daemon, model: dict[str, Any], replica: int = 0) -> Runner:
    return Runner(model["runners"][replica]["address"], daemon.client)


@asynccontextmanager
async def held(daemon: Daemon, model_id: str) -> AsyncIterator[asyncio.Task[Any]]:
    """Hold a session open on a model that is ready, and check at the end that it was never touched."""
    runner = runner_of(daemon, await daemon.model(model_id))
    job = spawn(daemon.job(model_id, "/gate/held"), name="the held job")
    await runner.seen(waiting=1)
    yield job
    assert not job.done()
    await runner.open_gate("held")
    status, body, _ = await job
    assert (status, json.loads(body)["gate"]) == (200, "held")


# -- edits -----------------------------------------------------------------------------------------------------------


async def test_an_entry_becomes_a_container_that_answers_jobs(
    docked: Start, api: docker.APIClient, instance: str
) -> None:
    async with docked() as daemon:
        daemon.write(container("org/Modèle ü", env={"COLOUR": "green"}))
        model = await daemon.until_state("org/Modèle ü", "ready")
        status, body, _ = await daemon.job("org/Modèle ü", body=b"x" * 100_000)
        assert (status, json.loads(body)["length"]) == (200, 100_000)
        about = await runner_of(daemon, model).about()
        assert (about["env"]["COLOUR"], about["env"]["MODEL_ID"]) == ("green", "org/Modèle ü")
        [id] = ours(api, instance).values()
        assert model["runners"][0]["handle"] == id


async def test_an_edit_replaces_one_container_and_touches_no_other(
    docked: Start, api: docker.APIClient, instance: str
) -> None:
    """The new generation is prepared beside the old one, which drains first; a session elsewhere is held all along."""
    async with docked(settings=PATIENT) as daemon:
        bystander = container("bystander")
        daemon.write(bystander, container("edited"))
        await daemon.until_state("edited", "ready")
        await daemon.until_state("bystander", "ready")
        before = ours(api, instance)
        async with held(daemon, "bystander"):
            old = await daemon.model("edited")
            for version in ("1", "2"):
                draining = spawn(daemon.job("edited", "/gate/drain"), name="a job on the one that is replaced")
                old_runner = runner_of(daemon, old)
                await old_runner.seen(waiting=1)
                daemon.write(bystander, container("edited", env={"VERSION": version}))
                both = await daemon.until_model(
                    "edited",
                    "has its heir prepared while it drains",
                    lambda m: {r["state"] for r in m["runners"]} == {"draining", "prepared"},
                )
                assert both["sessions"]["active"] == 1
                assert not draining.done()
                await old_runner.open_gate("drain")
                assert (await draining)[0] == 200, "a session finishes on the container where it began"
                old = await daemon.until_model(
                    "edited",
                    "is the new one alone",
                    lambda m: m["ready"] and [r["wanted"] for r in m["runners"]] == [True],
                )
                assert old["generation"] == both["generation"]
                assert (await runner_of(daemon, old).about())["env"]["VERSION"] == version
                assert (await daemon.job("edited"))[0] == 200
            after = ours(api, instance)
            assert after["bystander"] == before["bystander"]
            assert after["edited"] != before["edited"]
            assert (await daemon.model("bystander"))["runners"][0]["restarts"] == 0


async def test_an_edit_of_the_offer_restarts_nothing(docked: Start, api: docker.APIClient, instance: str) -> None:
    async with docked() as daemon:
        daemon.write(container("m"))
        await daemon.until_state("m", "ready")
        before = ours(api, instance)
        async with held(daemon, "m"):
            assert (await daemon.job("m"))[0] == 503
            daemon.write(container("m", price_per_unit=7, maxSessions=2, health={"interval_s": 0.3}))
            await daemon.until_model("m", "costs 7", lambda m: (m["price"] or {}).get("per_unit") == "7")
            assert (await daemon.job("m"))[0] == 200, "the second slot is there"
            daemon.write(container("m", price_per_unit=7))
            await daemon.until_model("m", "has one slot again", lambda m: m["sessions"]["max"] == 1)
        assert ours(api, instance) == before
        history = (await daemon.model("m"))["history"]
        assert [one["after"] for one in history][-1] == "ready"
        assert [one["after"] for one in history].count("ready") == 1


async def test_a_removed_entry_is_drained_and_gone(docked: Start, api: docker.APIClient, instance: str) -> None:
    async with docked(settings=PATIENT) as daemon:
        daemon.write(container("stays"), container("goes"))
        runner = runner_of(daemon, await daemon.until_state("goes", "ready"))
        job = spawn(daemon.job("goes", "/gate/last"), name="the last job")
        await runner.seen(waiting=1)
        daemon.write(container("stays"))
        await daemon.until_state("goes", "draining")
        status, body, headers = await daemon.job("goes")
        assert (status, headers["Livepeer-Error"]) == (503, "draining")
        assert "no longer in aiModels.json" in json.loads(body)["message"]
        await runner.open_gate("last")
        assert (await job)[0] == 200
        await daemon.until_model("goes", "is gone", lambda m: not m)
        assert list(ours(api, instance)) == ["stays"]
        status, body, _ = await daemon.job("goes")
        assert status == 404
        assert "text-to-image/stays" in json.loads(body)["message"]


# -- what can't be launched ------------------------------------------------------------------------------------------


@pytest.fixture
async def empty_registry() -> AsyncIterator[str]:
    """host:port of a registry without any image."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/v2/":
            return web.json_response({})
        return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_typo_in_a_new_tag_leaves_the_old_one_serving(
    docked: Start, api: docker.APIClient, instance: str, empty_registry: str
) -> None:
    async with docked(settings=PARKS_SOON) as daemon:
        daemon.write(container("m"))
        await daemon.until_state("m", "ready")
        before = ours(api, instance)
        async with held(daemon, "m"):
            daemon.write(container("m", image=f"{empty_registry}/org/name:lastest", pull="missing", maxSessions=2))
            model = await daemon.until_model(
                "m", "has a failed heir", lambda m: [r["state"] for r in m["runners"] if r["wanted"]] == ["failed"]
            )
            assert model["ready"]
            [heir] = [r for r in model["runners"] if r["wanted"]]
            assert heir["detail"].startswith(
                f"cannot pull {empty_registry}/org/name:lastest: the registry has no such image or tag"
            )
            assert (await daemon.job("m"))[0] == 200
            _, page = await daemon.command("status", "m", *daemon.flags("admin.listen"))
            assert "the registry has no such image or tag" in " ".join(page.split())
            assert ours(api, instance) == before
            daemon.write(container("m", maxSessions=2))
            await daemon.until_model("m", "is as it was", lambda m: len(m["runners"]) == 1 and m["ready"])
        assert ours(api, instance) == before


async def test_an_image_that_is_missing_is_said_and_tried_again_on_restart(
    docked: Start, api: docker.APIClient
) -> None:
    repository, tag = "orchd-test-missing", secrets.token_hex(4)
    image = f"{repository}:{tag}"
    async with docked(settings=PARKS_SOON) as daemon:
        try:
            daemon.write(container("m", image=image))
            model = await daemon.until_state("m", "failed")
            assert f"cannot use {image}: it is not on this machine and the entry says `pull`: never" in model["reason"]
            api.tag(RUNNER, repository, tag)
            assert (await daemon.command("restart", "m", *daemon.flags("state_dir")))[0] == 0
            await daemon.until_state("m", "ready")
            assert (await daemon.job("m"))[0] == 200
            daemon.write()
            await daemon.until_model("m", "is gone", lambda m: not m)
        finally:
            api.remove_image(image, force=True)


async def test_arguments_that_docker_refuses_are_said(docked: Start) -> None:
    async with docked(settings=PARKS_SOON) as daemon:
        daemon.write(container("m", entrypoint="/no/such/program"))
        model = await daemon.until_state("m", "failed")
        assert "its program can't be run; check `entrypoint`, `args` and `user`" in model["reason"]
        assert "/no/such/program" in model["reason"]


# -- what dies -------------------------------------------------------------------------------------------------------


async def test_a_crash_loop_is_parked_with_its_last_words_and_healed_by_restart(docked: Start, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    start = "test -f /weights/ok || { echo no weights in /weights; exit 3; }; exec python3 -u /scripted.py"
    entry = container("m", entrypoint=["/bin/sh", "-c"], args=[start], volumes=[f"{folder}:/weights:ro"])
    async with docked(settings=PARKS_SOON) as daemon:
        daemon.write(entry)
        model = await daemon.until_state("m", "failed")
        [runner] = model["runners"]
        assert re.fullmatch("it exited with code 3|.* it ended at once with exit code 3", runner["detail"])
        assert runner["last_log"] == ["no weights in /weights"]
        assert [one["after"] for one in model["history"]].count("backoff") == 1
        status, body, _ = await daemon.job("m")
        assert status == 503
        assert "code 3" in json.loads(body)["message"]

        (folder / "ok").touch()
        assert (await daemon.command("restart", "m", *daemon.flags("state_dir")))[0] == 0
        await daemon.until_state("m", "ready")
        assert (await daemon.job("m"))[0] == 200


async def test_one_that_a_job_drives_out_of_memory_is_started_anew(docked: Start) -> None:
    async with docked() as daemon:
        daemon.write(container("m", memory="64m"))
        await daemon.until_state("m", "ready")
        status, _, headers = await daemon.job("m", "/leak?mb=500")
        assert (status, headers["Livepeer-Error"]) == (502, "backend_broke")
        model = await daemon.until_model("m", "is back", lambda m: m["ready"] and m["runners"][0]["restarts"] == 1)
        assert any("because it used more memory than it may" in one["why"] for one in model["history"])
        assert (await daemon.job("m"))[0] == 200


async def test_what_somebody_does_by_hand_is_healed(docked: Start, api: docker.APIClient, instance: str) -> None:
    """Paused: goes on, the same container. Killed or removed: started anew."""
    async with docked() as daemon:
        daemon.write(container("m"))
        await daemon.until_state("m", "ready")
        first = ours(api, instance)["m"]

        api.pause(first)
        await daemon.until("it was unpaused", lambda: daemon.events("runner_unpaused"))
        await daemon.until_state("m", "ready")
        assert (await daemon.job("m"))[0] == 200
        assert ours(api, instance)["m"] == first

        api.kill(first)
        model = await daemon.until_model("m", "is back", lambda m: m["ready"] and m["runners"][0]["handle"] != first)
        assert any("it exited with code 137" in one["why"] for one in model["history"])
        assert (await daemon.job("m"))[0] == 200

        second = ours(api, instance)["m"]
        api.remove_container(second, force=True)
        model = await daemon.until_model(
            "m", "is back", lambda m: m["ready"] and m["runners"][0]["handle"] not in (None, second)
        )
        assert model["runners"][0]["restarts"] == 2
        assert (await daemon.job("m"))[0] == 200
        assert len(ours(api, instance)) == 1


# -- sessions --------------------------------------------------------------------------------------------------------


async def test_two_replicas_share_the_sessions_and_never_hold_more_than_max_sessions(docked: Start) -> None:
    async with docked() as daemon:
        daemon.write(container("m", replicas=2, maxSessions=3))
        model = await daemon.until_model(
            "m", "has two ready replicas", lambda m: [r["state"] for r in m.get("runners", ())] == ["ready"] * 2
        )
        jobs = [spawn(daemon.job("m", "/gate/g"), name=f"job {n}") for n in range(3)]
        full = await daemon.until_model("m", "is full", lambda m: m["sessions"]["active"] == 3)
        assert sorted(r["sessions"] for r in full["runners"]) == [1, 2]
        refused = await asyncio.gather(*(daemon.job("m") for _ in range(5)))
        assert {(status, headers["Livepeer-Error"]) for status, _, headers in refused} == {(503, "capacity_exhausted")}
        assert all(headers["Retry-After"] and headers["Livepeer-Backoff"] for _, _, headers in refused)
        for replica in range(2):
            await runner_of(daemon, model, replica).open_gate("g")
        assert [status for status, _, _ in await asyncio.gather(*jobs)] == [200] * 3
        assert (await daemon.job("m"))[0] == 200


async def test_a_cold_model_starts_on_its_first_job_and_stops_when_idle(
    docked: Start, api: docker.APIClient, instance: str
) -> None:
    async with docked() as daemon:
        daemon.write(container("m", warm=False, idle_timeout_s=0.5, maxSessions=4))
        model = await daemon.until_model("m", "can be started", lambda m: m["startable"])  # The engine was seen.
        assert (model["state"], model["ready"]) == ("cold", False)
        assert ours(api, instance) == {}
        answers = await asyncio.gather(*(daemon.job("m", body=b"x" * 1000) for _ in range(4)))
        assert [(status, json.loads(body)["length"]) for status, body, _ in answers] == [(200, 1000)] * 4
        model = await daemon.until_state("m", "cold")
        assert model["runners"][0]["last_stop"].startswith("it ended on SIG")
        assert ours(api, instance) == {}
        assert (await daemon.job("m"))[0] == 200, "and again"


# -- the daemon's own end --------------------------------------------------------------------------------------------


async def test_containers_outlive_a_stop_and_the_next_start_adopts_them(
    docked: Start, api: docker.APIClient, instance: str
) -> None:
    daemon = docked()
    daemon.write(container("a"), container("b"), container("c"))
    async with daemon:
        for name in "abc":
            await daemon.until_state(name, "ready")
        before = ours(api, instance)
        starts = {name: api.inspect_container(id)["State"]["StartedAt"] for name, id in before.items()}
        assert await daemon.end() == 0
        assert ours(api, instance) == before
        assert not api.volumes(filters={"label": f"orchd.instance={instance}"})["Volumes"], "the instance is free"

        daemon.write(container("a"), container("b", env={"NEW": "1"}))  # edited while orchd was away
        await daemon.start()
        await daemon.until_model(
            "b", "is the new one", lambda m: m["ready"] and [r["handle"] != before["b"] for r in m["runners"]] == [True]
        )
        await daemon.until("c is gone", lambda: "c" not in ours(api, instance))
        await daemon.until_state("a", "ready")
        after = ours(api, instance)
        assert after["a"] == before["a"]
        assert api.inspect_container(after["a"])["State"]["StartedAt"] == starts["a"]
        assert after["b"] != before["b"]
        assert (await daemon.job("a"))[0] == 200


async def test_on_stop_stop_removes_them(docked: Start, api: docker.APIClient, instance: str) -> None:
    async with docked(settings={**PATIENT, "on_stop": "stop"}) as daemon:
        daemon.write(container("m"))
        runner = runner_of(daemon, await daemon.until_state("m", "ready"))
        job = spawn(daemon.job("m", "/gate/g"), name="a job that runs")
        await runner.seen(waiting=1)
        ending = spawn(daemon.end(), name="stop")
        await daemon.until("it stops", lambda: daemon.events("orchd_stopping"))
        await runner.open_gate("g")
        assert (await job)[0] == 200, "the job is drained first"
        assert await ending == 0
        assert ours(api, instance) == {}


async def test_down_takes_everything_and_the_daemon(docked: Start, api: docker.APIClient, instance: str) -> None:
    daemon = docked()
    daemon.write(container("a"), container("b"))
    async with daemon:
        await daemon.until_state("a", "ready")
        await daemon.until_state("b", "ready")
        code, said = await daemon.command("down", *daemon.flags())
        assert (code, said.splitlines()[-1]) == (0, "all runners are gone"), said
        assert daemon.process is not None
        assert await daemon.process.wait() == 0
        assert ours(api, instance) == {}


async def test_down_without_a_daemon_takes_what_it_left(docked: Start, api: docker.APIClient, instance: str) -> None:
    daemon = docked()
    daemon.write(container("a"), container("b"))
    async with daemon:
        await daemon.until_state("a", "ready")
        await daemon.until_state("b", "ready")
        await daemon.kill()
        assert sorted(ours(api, instance)) == ["a", "b"]
        code, said = await daemon.command("down", *daemon.flags())
        assert code == 0, said
        assert ours(api, instance) == {}
        assert not api.volumes(filters={"label": f"orchd.instance={instance}"})["Volumes"]
        assert "removed text-to-image/a (signal)" in said
        assert said.splitlines()[-1] == "all runners are gone"


# -- others ----------------------------------------------------------------------------------------------------------


async def test_a_second_daemon_is_refused_before_it_touches_anything(
    docked: Start, api: docker.APIClient, instance: str
) -> None:
    """By the state directory's lock, and by the instance's, whatever the state directory."""
    async with docked() as daemon:
        daemon.write(container("m"))
        await daemon.until_state("m", "ready")
        before = ours(api, instance)
        async with held(daemon, "m"):
            same = docked("same", settings={"state_dir": str(daemon.state)})
            await same.start(wait=False)
            assert same.process is not None
            assert await same.process.wait() == 2
            last = same.log_text().strip().splitlines()[-1]
            assert last.startswith(f"orchd: cannot use state directory {daemon.state}: another orchd (pid ")
            assert f"(pid {daemon.process.pid if daemon.process else ''})" in last

            other = docked("other")
            other.write(container("another"))
            await other.start(wait=False)
            assert other.process is not None
            assert await other.process.wait() == 2
            last = other.log_text().strip().splitlines()[-1]
            assert last.startswith(f"orchd: cannot run the instance {instance} on Docker Engine at ")
            assert f"with the state directory {daemon.state} holds it" in last
            assert ours(api, instance) == before
            code, said = await other.command("down", *other.flags())
            assert (code, "holds it" in said) == (2, True), said
        assert ours(api, instance) == before
        assert (await daemon.job("m"))[0] == 200


async def test_what_is_not_ours_is_not_touched(
    docked: Start, api: docker.APIClient, instance: str, network: str
) -> None:
    """Containers of another instance, of nobody, and one that was committed from ours and bears our labels."""
    mine = {"orchd.instance": instance, "orchd.pipeline": "text-to-image", "orchd.model_id": "m", "orchd.replica": "0"}
    kinds: dict[str, dict[str, str]] = {
        "nobodys": {},
        "anothers": {**mine, "orchd.instance": f"{instance}-2", "orchd.generation": "0" * 12, "orchd.port": "8000"},
        "alike": {**mine, "orchd.generation": "0" * 12, "orchd.port": "8000"},
    }
    host = api.create_host_config(network_mode=network)
    made = {}
    try:
        for kind, labels in kinds.items():
            made[kind] = api.create_container(RUNNER, labels=labels, name=f"{instance}-{kind}", host_config=host)["Id"]
            api.start(made[kind])
        async with docked(settings={"on_stop": "stop"}) as daemon:
            daemon.write(container("m"))
            await daemon.until_state("m", "ready")
            assert (await daemon.job("m"))[0] == 200
            assert (await daemon.command("down", *daemon.flags()))[0] == 0
        assert [one["why"] for one in daemon.events("container_not_ours")] == ["its name and our labels do not agree"]
        for kind, id in made.items():
            assert api.inspect_container(id)["State"]["Running"], kind
    finally:
        for id in made.values():
            api.remove_container(id, force=True)
