"""Who asks, and for which job: the `Livepeer-Eth-Address` and `Livepeer` headers.

Source: byoc.md 3, 5.1; onchain-token.json for the signature variants.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from tests.doubles.golivepeer.chain import Chain
from tests.doubles.shared import go_json
from tests.doubles.shared.go_json import GoJsonError


class BadCreds(Exception):
    """Undecodable, or not signed by whom it names."""


@dataclass(frozen=True)
class Job:
    id: str
    request: str
    parameters: str
    capability: str
    sender: str
    timeout_s: int


@dataclass(frozen=True)
class Asker:
    """Of a token request; both as they were sent."""

    address: str
    signature: str


def job(header: str) -> tuple[Job, str]:
    """Return the job and its signature, not yet checked. Raises BadCreds."""
    found = _object(header)
    try:
        text = {name: go_json.string(go_json.field(found, name), name) for name in _TEXTS}
        timeout_s = go_json.integer(go_json.field(found, "timeout_seconds"), "timeout_seconds")
    except GoJsonError as error:
        raise BadCreds from error
    signature = text.pop("sig")
    return Job(**text, timeout_s=timeout_s), signature


_TEXTS = ("id", "request", "parameters", "capability", "sender", "sig")


def asker(header: str, chain: Chain | None) -> Asker:
    """Return who asks for a token, signature checked. Raises BadCreds."""
    found = _object(header)
    try:
        address = go_json.string(go_json.field(found, "addr"), "addr")
        signature = go_json.string(go_json.field(found, "sig"), "sig")
    except GoJsonError as error:
        raise BadCreds from error
    check(address, signature, address, chain)
    return Asker(address, signature)


def check(message: str, signature: str, address: str, chain: Chain | None) -> None:
    """Raise BadCreds unless `address` signed `message`. Off-chain the hex is parsed and no more."""
    if len(signature) > 130:
        signature = signature[2:]
    try:
        raw = bytes.fromhex(signature)
    except ValueError as error:
        raise BadCreds from error
    if chain is not None and not signed(message, raw, address):
        raise BadCreds


def signed(message: str, signature: bytes, address: str) -> bool:
    """Whether `signature` is r, s, v (27 or 28, low s) over the personal message of keccak256(`message`)."""
    # Not at the top: slow to import, and off-chain nobody needs it.
    from eth_keys.datatypes import Signature
    from eth_keys.exceptions import BadSignature
    from eth_utils.crypto import keccak
    from eth_utils.exceptions import ValidationError

    if len(signature) != 65 or signature[64] not in (27, 28):
        return False
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return False
    digest = keccak(b"\x19Ethereum Signed Message:\n32" + keccak(text=message))
    try:
        found = Signature(signature[:64] + bytes([signature[64] - 27])).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError):
        return False
    return str(found.to_address()) == address.lower()


_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def _object(header: str) -> dict[str, Any]:
    try:
        found = go_json.decode(base64.b64decode(header, validate=True).decode())
    except (ValueError, GoJsonError) as error:
        raise BadCreds from error
    if not isinstance(found, dict):
        raise BadCreds
    return found


def decoded(header: str) -> bytes | None:
    """Return the bytes of a padded base64 header; None if it is none."""
    try:
        return base64.b64decode(header, validate=True)
    except ValueError:
        return None
