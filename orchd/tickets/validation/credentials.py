"""The headers by which BYOC's payers show who they are (payments.md, 10), and Live Runner's say it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.payment import from_base64
from orchd.tickets.validation.signatures import ZERO_ADDRESS, keccak256, read_address, signature_fault

MAX_TIMEOUT_S = 1 << 31


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Who claims to have signed a text, and by what.

    Attributes:
        sender: 20 bytes.
        text: exactly as it was sent: the case of its letters counts.
        sig: hex, as it was sent.
    """

    sender: bytes
    text: str
    sig: str


@dataclass(frozen=True, slots=True)
class JobHeader:
    """What the header `Livepeer` says of a job.

    Attributes:
        capability: under which the payer asks for a model.
        request: JSON object as text.
        parameters: JSON as text.
        timeout_s: how long the payer waits for the head of the answer; at least 1.
        signed: request and parameters, and by whom. Capability and timeout are not signed.
    """

    capability: str
    request: str
    parameters: str
    timeout_s: int
    signed: SignedBy
    id: str = field(default="")


def read_job(header: bytes) -> JobHeader:
    """Return what the header `Livepeer` says.

    Raises:
        PaymentRefused: it can't be read.
    """
    members = _members(header, "Livepeer")
    sender = read_address(_text(members, "sender", "Livepeer"))
    if sender is None:
        raise PaymentRefused(Fault.JOB_SENDER, "cannot read Livepeer: sender is not an address such as 0x1234…")
    timeout = members.get("timeout_seconds", 0)
    if type(timeout) is not int or not 0 < timeout < MAX_TIMEOUT_S:
        raise PaymentRefused(
            Fault.JOB_TIMEOUT, "cannot read Livepeer: timeout_seconds must be there, a whole number of at least 1"
        )
    request = _text(members, "request", "Livepeer")
    parameters = _text(members, "parameters", "Livepeer", "")
    if not isinstance(_json(request, Fault.JOB_REQUEST, "request in Livepeer"), dict):
        raise PaymentRefused(Fault.JOB_REQUEST, "cannot read Livepeer: request is not a JSON object")
    signed = SignedBy(sender, request + parameters, _text(members, "sig", "Livepeer", ""))
    job_id = _text(members, "id", "Livepeer", "")
    return JobHeader(_text(members, "capability", "Livepeer"), request, parameters, timeout, signed, job_id)


def read_payer_credentials(header: bytes) -> SignedBy:
    """Return what the header `Livepeer-Eth-Address` says: an address, signed by itself.

    Raises:
        PaymentRefused: it can't be read.
    """
    members = _members(header, "Livepeer-Eth-Address")
    text = _text(members, "addr", "Livepeer-Eth-Address")
    sender = read_address(text)
    if sender is None:
        raise PaymentRefused(Fault.JOB_SENDER, "cannot read Livepeer-Eth-Address: addr is not an address such as 0x1…")
    return SignedBy(sender, text, _text(members, "sig", "Livepeer-Eth-Address", ""))


def check_signed(signed: SignedBy) -> None:
    """Check that the sender has signed the text.

    Raises:
        PaymentRefused.
    """
    digits = signed.sig.removeprefix("0x")
    try:
        signature = bytes.fromhex(digits) if digits.isalnum() else b""
    except ValueError:
        signature = b""
    if fault := signature_fault(keccak256(signed.text.encode("utf-8", "surrogatepass")), signature, signed.sender):
        raise PaymentRefused(Fault.JOB_SIGNATURE, f"cannot take the job: its sender has not signed it ({fault})")


def read_payer(header: bytes) -> bytes:
    """Return the address that the header `Livepeer-Payer-Address` names, of 20 bytes.

    Raises:
        PaymentRefused: there is none, it can't be read, or it is the zero address.
    """
    if not header:
        raise PaymentRefused(Fault.PAYER_MISSING, "cannot make terms of payment: Livepeer-Payer-Address is missing")
    payer = read_address(header.decode("latin-1"))
    if payer is None:
        raise PaymentRefused(
            Fault.PAYER_ADDRESS, "cannot make terms of payment: Livepeer-Payer-Address is not 0x and 40 hex digits"
        )
    if payer == ZERO_ADDRESS:
        raise PaymentRefused(
            Fault.PAYER_ZERO, "cannot make terms of payment: Livepeer-Payer-Address is the zero address"
        )
    return payer


def _members(header: bytes, name: str) -> dict[str, Any]:
    if not header:
        raise PaymentRefused(Fault.JOB_MISSING, f"cannot serve the job: {name} is missing")
    data = from_base64(header, Fault.JOB_BASE64, name)
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise PaymentRefused(Fault.JOB_JSON, f"cannot read {name}: it is not UTF-8") from exc
    members = _json(text, Fault.JOB_JSON, name)
    if not isinstance(members, dict):
        raise PaymentRefused(Fault.JOB_JSON, f"cannot read {name}: it is not a JSON object")
    return members


def _json(text: str, fault: Fault, what: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise PaymentRefused(fault, f"cannot read {what}: it is not JSON") from exc


def _text(members: dict[str, Any], key: str, name: str, default: str | None = None) -> str:
    value = members.get(key, default)
    if not isinstance(value, str):
        raise PaymentRefused(Fault.JOB_MEMBER, f"cannot read {name}: {key} must be text")
    return value
