"""What Live Runner's clients are told, and which headers of theirs reach a runner. Pure.

What today's client does with an answer decides it (docs/protocol/paid-live-runner.md, 11): a 402 without a whole
challenge is a dead end; 480 and 482 are words of its signer's; of an error it shows `error.message`, or else the body.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchd.doors.own import Answered
from orchd.doors.refusal import told
from orchd.errors import Code, JobRefused
from orchd.hooks.refusal import Refusal
from orchd.http1.rules import RequestHead
from orchd.relay.headers import FORWARDED, may_reach_runner, plain
from orchd.tickets.validation.faults import Blame, Fault

SIGNERS_WORDS = frozenset({480, 482})
PAYER_UNNAMED = frozenset(str(fault) for fault in Fault if fault.blame is Blame.PAYER_UNNAMED)
"""Where nobody is named who could pay, there are no terms that a challenge could hold."""


def reaches_runner(name: bytes) -> bool:
    """Return whether a header of a client's reaches the runner, by its name.

    Payment and payer are ours, what names a session is ours to say, and a client's credentials are for the runner:
    nobody else has any use for them here.
    """
    known = plain(name)
    return known == b"authorization" or (may_reach_runner(name) and known not in FORWARDED)


def forwarded(request: RequestHead, peer: str, scheme: str) -> bytes:
    """Return the lines that tell a runner whose request it is (docs/protocol/livepeer-node.md, 9.1).

    Args:
        peer: the client's address; empty = not known.
        scheme: of the URL that it has asked for.
    """
    client = b"X-Forwarded-For: %b\r\n" % peer.encode("ascii") if peer else b""
    host = request.value(b"host") or b""
    return b"%bX-Forwarded-Host: %b\r\nX-Forwarded-Proto: %b\r\n" % (client, host, scheme.encode("ascii"))


def as_json(status: int, said: Mapping[str, Any]) -> Answered:
    """Return an answer in JSON."""
    return Answered(status, json.dumps(said, separators=(",", ":")).encode() + b"\n")


def reserved(runner_url: str, session: str) -> Answered:
    """Return what a client is told whose session is there.

    Args:
        runner_url: of the model's routes here.
    """
    control = f"{runner_url}/session/{session}"
    return as_json(200, {"session_id": session, "app_url": f"{control}/app", "control_url": control})


def no_session() -> JobRefused:
    """Return what is told where a path names a session that there is not."""
    return JobRefused(Code.STREAM_UNKNOWN, "cannot serve the request: session not found")


def in_clients_words(why: JobRefused, request_id: str) -> Mapping[str, Any]:
    """Return what the body says of a refusal."""
    return {"error": {"code": why.word, "message": told(why)}, "request_id": request_id}


def status_of(why: JobRefused) -> int:
    """Return the status with which a refusal goes out."""
    status = why.status
    if status == 402:
        return 402 if why.word in PAYER_UNNAMED or _holds_challenge(why) else 403
    if status in SIGNERS_WORDS:
        return 403
    if isinstance(why, Refusal):
        return status
    # No slot is free: 409. A fault of ours: 503, after which a client goes on with what it has.
    return 409 if why.code is Code.CAPACITY_EXHAUSTED else 503 if status == 500 else status


def _holds_challenge(why: JobRefused) -> bool:
    return isinstance(why, Refusal) and why.body is not None and "payment_params" in json.loads(why.body)
