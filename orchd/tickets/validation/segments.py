"""The header `Livepeer-Segment`: which session is paid for, and who says so (paid-live-runner.md, 5). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.messages import AuthToken, SegmentMessage
from orchd.tickets.validation.payment import from_base64, from_protobuf
from orchd.tickets.validation.signatures import ZERO_HASH, keccak256, signature_fault, u256


@dataclass(frozen=True, slots=True)
class Segment:
    """Credentials of a payment, as somebody has sent them.

    Attributes:
        manifest: the session.
        signed: hash of what is signed: session, number, content.
        sig: of it.
        auth: the token of the challenge, which names the same session.
    """

    manifest: str
    signed: bytes
    sig: bytes
    auth: AuthToken


def read_segment(header: bytes) -> Segment:
    """Return what the header's value says.

    Raises:
        PaymentRefused: it can't be read, bears no auth token, or one of another session.
    """
    if not header:
        raise PaymentRefused(Fault.SEGMENT_MISSING, "cannot take the payment: Livepeer-Segment is missing")
    what = "the segment credentials"
    data = from_base64(header, Fault.SEGMENT_BASE64, what)
    sent = from_protobuf(SegmentMessage, data, Fault.SEGMENT_PROTOBUF, what)
    if not sent.manifest_id or not sent.manifest_id.isascii():
        raise PaymentRefused(Fault.SEGMENT_MANIFEST, f"cannot read {what}: their manifestId is empty or not ASCII")
    if sent.sequence < 0:
        raise PaymentRefused(Fault.SEGMENT_SEQUENCE, f"cannot read {what}: their seq is {sent.sequence}")
    if len(sent.hash) not in (0, 32):
        raise PaymentRefused(Fault.SEGMENT_HASH, f"cannot read {what}: their hash has {len(sent.hash)} bytes, not 32")
    if sent.auth_token is None or not sent.auth_token.token:
        raise PaymentRefused(Fault.AUTH_MISSING, f"cannot take {what}: they bear no auth_token")
    manifest = sent.manifest_id.decode("ascii")
    if sent.auth_token.session_id != manifest:
        raise PaymentRefused(
            Fault.MANIFEST_DIFFERS, f"cannot take {what}: their manifestId is not the session of their auth_token"
        )
    signed = keccak256(sent.manifest_id + u256(sent.sequence) + (sent.hash or ZERO_HASH))
    return Segment(manifest, signed, sent.sig, sent.auth_token)


def check_segment(segment: Segment, payer: bytes) -> None:
    """Check that this payer has signed the credentials.

    Raises:
        PaymentRefused.
    """
    if fault := signature_fault(segment.signed, segment.sig, payer):
        raise PaymentRefused(
            Fault.SEGMENT_SIGNATURE,
            f"cannot take the segment credentials: they are not signed by the payment's sender ({fault})",
        )
