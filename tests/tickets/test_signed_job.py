"""The hook `signed-job`: the sender's signature, and the operator's lists, which may change while orchd runs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError

from orchd.errors import HookError
from orchd.hooks.hook import HookHost
from orchd.tasks import cancel, spawn
from orchd.tickets.signed_job import SignedJob, SignedJobOptions
from tests.advertise.rig import until
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import ONE, request
from tests.jobs.model import KEY
from tests.tickets.validation.sender import Signer, checksummed
from tests.virtual_time import virtual_time

SENDER, OTHER = Signer(b"\x46" * 32), Signer(b"\x47" * 32)
ADDRESS, ELSE = checksummed(SENDER.address), checksummed(OTHER.address)
NO_HOST: HookHost = None  # type: ignore[assignment]


def job_header(signer: Signer = SENDER, **changed: Any) -> str:
    said: dict[str, Any] = {
        "id": "j1",
        "request": '{"run":"echo"}',
        "parameters": "{}",
        "capability": "image/org/one",
        "timeout_seconds": 30,
        "sender": checksummed(signer.address),
        "sig": "0x" + signer.sign_text('{"run":"echo"}{}').hex(),
    }
    return base64.b64encode(json.dumps(said | changed).encode()).decode()


def address_header(signer: Signer = SENDER) -> str:
    address = checksummed(signer.address)
    return base64.b64encode(
        json.dumps({"addr": address, "sig": "0x" + signer.sign_text(address).hex()}).encode()
    ).decode()


async def answered(
    options: SignedJobOptions, *headers: tuple[str, str], target: str = f"{ONE}/x"
) -> tuple[int, str | None, str]:
    """Return status and reason of the answer, and the payer."""
    bench = Bench(hooks=[FakeHook()], real_hooks=[SignedJob(options)])
    caller = await bench.serve(request(*headers, target=target, body=b"x"))
    (message,) = caller.messages
    payer = bench.hooks[0].identified[0].payer if bench.hooks[0].identified else ""
    return message.status or 0, message.header("Livepeer-Error"), payer


ANYBODY = SignedJobOptions()


@virtual_time
async def test_who_has_signed_is_the_payer() -> None:
    status, _, payer = await answered(ANYBODY, ("Livepeer", job_header()))
    assert (status, payer) == (200, f"0x{SENDER.address.hex()}")


@pytest.mark.parametrize(
    ("header", "status", "reason"),
    [
        ("", 400, "job_missing"),
        ("!", 400, "job_base64"),
        (base64.b64encode(b"no JSON").decode(), 400, "job_json"),
        (job_header(request='{"run":"other"}'), 400, "job_signature"),
        (job_header(sender=ELSE), 400, "job_signature"),
        (job_header(sig="0x"), 400, "job_signature"),
    ],
)
def test_whoever_has_not_signed_is_refused_and_told_why(header: str, status: int, reason: str) -> None:
    @virtual_time
    async def run() -> None:
        headers = [("Livepeer", header)] if header else []
        assert await answered(ANYBODY, *headers) == (status, reason, "")

    run()


@virtual_time
async def test_a_signed_address_alone_is_not_enough_for_a_job() -> None:
    """Whoever has seen it, as each orchestrator that was asked for terms has, can send it again."""
    assert (await answered(ANYBODY, ("Livepeer-Eth-Address", address_header())))[:2] == (400, "job_missing")


@virtual_time
async def test_the_nodes_jobs_were_signed_to_the_node() -> None:
    assert (await answered(ANYBODY, target=f"/byoc/{KEY.slug}/x"))[0] == 200


@pytest.mark.parametrize(
    ("lists", "status"),
    [
        ({"allow": [ADDRESS]}, 200),
        ({"allow": [ADDRESS.lower()]}, 200),
        ({"allow": [ELSE]}, 403),
        ({"deny": [ADDRESS]}, 403),
        ({"deny": [ELSE]}, 200),
        ({"allow": [ADDRESS], "deny": [ADDRESS]}, 403),
    ],
)
def test_lists_say_who_of_those_may_ask(lists: dict[str, Any], status: int) -> None:
    @virtual_time
    async def run() -> None:
        found = await answered(SignedJobOptions(**lists), ("Livepeer", job_header()))
        assert found[:2] == (status, "sender_denied" if status == 403 else None)

    run()


async def test_files_are_read_again_when_they_change_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    allowed, denied = tmp_path / "allow", tmp_path / "deny"
    allowed.write_text(f"# Ours.\n{ADDRESS}  # the first\n\n")
    denied.write_text("")
    hook = SignedJob(SignedJobOptions(allow_file=str(allowed), deny_file=str(denied), recheck_s=0.001))
    await hook.open(NO_HOST)
    lists = hook._lists
    assert (lists.refuses(SENDER.address), lists.refuses(OTHER.address)) == (False, True)
    (watch,) = hook.roots().values()
    watching = spawn(watch, name="watch")
    allowed.write_text(f"{ADDRESS}\n{ELSE}\n")
    await until("the other one may ask", lambda: not lists.refuses(OTHER.address))
    with structlog.testing.capture_logs() as logs:
        denied.write_text(f"{ADDRESS}\n0x12\n")
        await until("it is told", lambda: logs)
        assert [line["event"] for line in logs] == ["sender_lists_unreadable"]
        assert "line 2: '0x12' is not an address" in logs[0]["reason"]
        denied.unlink()
        await until("it is told", lambda: len(logs) > 1)
        assert "No such file" in logs[1]["reason"]
    assert not lists.refuses(SENDER.address)
    denied.write_text(ADDRESS)
    await until("the sender may not ask", lambda: lists.refuses(SENDER.address))
    await cancel(watching)
    await hook.close()


async def test_a_file_that_can_not_be_read_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    hook = SignedJob(SignedJobOptions(deny_file=str(tmp_path / "none")))
    with pytest.raises(HookError, match=r"cannot read the list of senders .*none: No such file"):
        await hook.open(NO_HOST)
    await hook.close()


@pytest.mark.parametrize("options", [{"allow": ["0x12"]}, {"deny": ["x"]}, {"allow_file": "lists/allow"}])
def test_options_that_can_not_be_meant_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"is not an address|absolute path"):
        SignedJobOptions(**options)
