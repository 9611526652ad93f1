"""A certificate with its key: what it says, for whom it is good, and how one is made that signs itself. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE_DAYS = 3650
"""Of one that signs itself. Whoever pins it would have to be told of each new one."""
MOST_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key.

    Attributes:
        chain, key: as PEM.
        names: the host names and IP addresses that it is good for.
        begins_at, expires_at: Unix time.
        self_signed: it has signed itself, so that only those trust it who know it already.
    """

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    begins_at: float
    expires_at: float
    self_signed: bool

    def covers(self, host: str) -> bool:
        """Return whether it is good for this host, in lower case; `*.` stands for one label (RFC 6125)."""
        _, dot, parent = host.partition(".")
        return host in self.names or (bool(dot) and f"*.{parent}" in self.names)


def read_certificate(chain: bytes, key: bytes) -> Certificate:
    """Return what PEM texts hold.

    Raises:
        ValueError: what is wrong with them, in words.
    """
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as exc:
        raise ValueError("the certificate is not PEM (-----BEGIN CERTIFICATE-----)") from exc
    try:
        private = serialization.load_pem_private_key(key, None)
    except TypeError as exc:
        raise ValueError("the key has a passphrase, for which orchd can't ask: write it without one") from exc
    except ValueError as exc:
        raise ValueError("the key is not PEM (-----BEGIN PRIVATE KEY-----)") from exc
    if _public(private.public_key()) != _public(first.public_key()):
        raise ValueError("the key is not that of the certificate")
    return Certificate(
        chain,
        key,
        _names(first),
        first.not_valid_before_utc.timestamp(),
        first.not_valid_after_utc.timestamp(),
        first.issuer == first.subject,
    )


def make_certificate(host: str, now: float) -> tuple[bytes, bytes]:
    """Return the PEM of a new certificate that signs itself, and of its key.

    Args:
        host: name or IP address that it is for.
        now: Unix time.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:MOST_COMMON_NAME])])
    begins = datetime.fromtimestamp(now, UTC) - timedelta(days=1)  # Clocks of callers may be slow.
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=LIFE_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    return (
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()),
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names: Sequence[str] = found.get_values_for_type(x509.DNSName)
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*(name.lower() for name in names), *map(str, addresses))


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    made: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return made
