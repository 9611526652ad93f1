"""The headers by which a gateway shows who it is. Pure. Source: payments.md 10, byoc.md 7."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from orchd.tickets.validation.signatures import ZERO_ADDRESS
from tests.doubles.shared import go_json
from tests.doubles.shared.answers import marshal
from tests.doubles.shared.go_json import GoJsonError
from tests.tickets.validation.sender import Signer, checksummed

SEARCH_S = 1.0
ANSWER_S = 0.5
_NS_PER_S = 10**9


class BadJob(Exception):
    """A caller's `Livepeer` header is no good; the text is the gateway's."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a caller asks for: the unsigned `Livepeer` header."""

    id: str
    request: str
    parameters: str
    capability: str
    timeout_s: int


def read_job(header: str) -> Job:
    """Return the job.

    Raises:
        BadJob.
    """
    try:
        found = go_json.decode(base64.b64decode(header, validate=True).decode())
        texts = {name: _text(found, name) for name in ("id", "request", "parameters", "capability")}
        timeout_s = go_json.integer(go_json.field(found, "timeout_seconds"), "timeout_seconds")
    except (ValueError, TypeError, AttributeError, GoJsonError) as error:
        raise BadJob(f"Unable to parse job request, err={error}") from error
    for name in ("request", "parameters"):
        try:
            value = go_json.decode(texts[name])
        except GoJsonError as error:
            raise BadJob(f"Unable to unmarshal job {name} err={error}") from error
        if not isinstance(value, dict):
            raise BadJob(f"Unable to unmarshal job {name} err=not an object")
    return Job(**texts, timeout_s=timeout_s)


def _text(found: Any, name: str) -> str:
    return str(go_json.string(go_json.field(found, name), name))


class Identity:
    """Who a gateway is: its account, or off-chain nobody, whose signature is the two characters `0x`."""

    def __init__(self, signer: Signer | None) -> None:
        self._signer = signer
        self.address = checksummed(signer.address if signer else ZERO_ADDRESS)

    def _sign(self, text: str) -> str:
        return "0x" + (self._signer.sign_text(text).hex() if self._signer else "")

    def token_headers(self, capability: str) -> dict[str, str]:
        """Return the headers that ask for a token."""
        asker = {"addr": self.address, "sig": self._sign(self.address)}
        return {"Livepeer-Eth-Address": _encoded(asker), "Livepeer-Capability": capability}

    def job_header(self, job: Job) -> str:
        """Return the signed `Livepeer` header."""
        signed = {
            "id": job.id,
            "request": job.request,
            "parameters": job.parameters,
            "capability": job.capability,
            "capability_url": "",
            "sender": self.address,
            "sig": self._sign(job.request + job.parameters),
            "timeout_seconds": job.timeout_s,
            "OrchSearchTimeout": int(SEARCH_S * _NS_PER_S),
            "OrchSearchRespTimeout": int(ANSWER_S * _NS_PER_S),
        }
        return _encoded(signed)


def _encoded(value: dict[str, Any]) -> str:
    return base64.b64encode(marshal(value).encode()).decode()
