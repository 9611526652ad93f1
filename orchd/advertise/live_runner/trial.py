"""A job that orchd sends to itself through the node, by a single-shot runner that lives for that job alone.

Only so is a missing grant of Livepeer Node seen: registration, discovery and reservation succeed without it, and every
job gets 502 (docs/protocol/livepeer-node.md, 2.2). A node on chain wants to be paid for a job: there it can't be tried.
"""

from __future__ import annotations

import json

import structlog

from orchd.advertise.registry import NodeTrial, RegistryContext, TrialResult
from orchd.domain.model import Secret
from orchd.domain.redact import scrub
from orchd.doors.node_paths import trial_path
from orchd.node.ports import NodeAnswer, NodeError
from orchd.reasons import one_line

log = structlog.get_logger("orchd.live_runner")

APP = "orchd/trial"
"""Under which clients may see the runner for a moment."""

MOST_QUOTED = 80
"""Most characters of an answer that are shown: another server may quote the session's token, which the node sends."""

R = TrialResult
_COSTS = NodeTrial(R.UNTESTABLE, "on chain a job costs money")


async def try_way(context: RegistryContext) -> NodeTrial:
    """See `orchd.advertise.registry.TriedRegistry`."""
    if context.node.calls.secret is None:
        return NodeTrial(R.UNTESTABLE, "orchestrator.secret_file is not set")
    with context.node.trials.begin() as trial:
        url = context.settings.callback_url + trial_path(trial.word)
        runner_id = (
            f"orchd-{context.instance}-trial-{trial.word[:12]}"  # New each time: no former one stands in its way.
        )
        try:
            answer = await _register(context, runner_id, url)
        except NodeError:
            return NodeTrial(R.AGAIN)
        if answer.status != 200:
            return _not_registered(answer)
        try:
            job = await context.node.calls.service("GET", f"/apps/{runner_id}/app/")
        except NodeError as exc:
            found = NodeTrial(R.SILENCE, scrub(exc.message, [trial.word]))
        else:
            found = _judged(job, arrived=trial.answered_by(job.body), word=trial.word)
        finally:
            was_there = await _unregister(context, runner_id, answer)
        # A node that was started again in between has no such runner, which says nothing of the way.
        return found if was_there or found.result is R.ARRIVED else NodeTrial(R.AGAIN)


async def _register(context: RegistryContext, runner_id: str, url: str) -> NodeAnswer:
    said = {"runner_id": runner_id, "runner_url": url, "app": APP, "mode": "single-shot", "capacity": 1}
    return await context.node.calls.service(
        "POST",
        "/runners/heartbeat",
        headers={"Content-Type": "application/json"},
        body=json.dumps(said).encode(),
        authorization=context.node.calls.secret,
    )


def _not_registered(answer: NodeAnswer) -> NodeTrial:
    """A runner without a price is refused on chain, by both programs; else the models' own registrations say why."""
    free = answer.status == 400 and "price" in answer.text()
    return _COSTS if free else NodeTrial(R.AGAIN)


def _judged(job: NodeAnswer, *, arrived: bool, word: str) -> NodeTrial:
    """Return what an answer to the job says of its way."""
    if job.status == 200 and arrived:
        return NodeTrial(R.ARRIVED)
    said = scrub(f"{job.status} {one_line(_words(job), MOST_QUOTED)!r}", [word])
    match job.status:
        case 402:
            return _COSTS
        case 409 | 503:  # The node is full or busy, or orchd is about to end.
            return NodeTrial(R.AGAIN)
        case 502:
            return NodeTrial(R.REFUSED, said)
    return NodeTrial(R.ELSEWHERE, said)


def _words(answer: NodeAnswer) -> str:
    """Return what an answer says; Livepeer Node puts that into a JSON object."""
    try:
        said = answer.json()
    except NodeError:
        return answer.text()
    return str(said["error"]) if isinstance(said, dict) and "error" in said else answer.text()


async def _unregister(context: RegistryContext, runner_id: str, welcome: NodeAnswer) -> bool:
    """Take the runner back; return whether the node has said that it had it until then.

    If that fails it expires by itself, half a minute later.
    """
    try:
        secret = Secret(str(welcome.json()["heartbeat_secret"]))
        answer = await context.node.calls.service("POST", f"/runners/{runner_id}/unregister", authorization=secret)
    except (NodeError, LookupError, TypeError) as exc:
        log.debug("trial_not_unregistered", error=str(exc))
        return False
    return 200 <= answer.status < 300
