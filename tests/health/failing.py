"""Servers that fail, each in a way of its own: for whoever asks over the network and has to say what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

RAW = (
    "Errno",
    "Operation not permitted",
    "Cannot connect",
    "Connect call",
    "_ssl.c",
    "SSL:",
    "ssl:",
    "0x",
    "Exception",
)
"""What a library or the system puts around its words; none of it tells an operator anything."""


CERTIFIES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Authority:
    """One that signs certificates; `issue` returns the files of one."""

    name: str
    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str, folder: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        certificate = (
            _builder(name, name, public, days=2)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            # What Python 3.13 and newer ask of an authority.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(CERTIFIES, critical=True)
        )
        return cls(name, folder, key, certificate.sign(key, hashes.SHA256()))

    def trust(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.load_verify_locations(cadata=self.certificate.public_bytes(serialization.Encoding.PEM).decode())
        return context

    def issue(
        self, name: str, host: str, *, days: int = 2, itself: bool = False, key_id: bool = True
    ) -> ssl.SSLContext:
        """Return a server's context.

        Args:
            days: until it expires; below 0 it has.
            itself: it signs itself.
            key_id: it has an Authority Key Identifier.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            subject = x509.DNSName(host)
        signer = key if itself else self.key
        builder = _builder(name, name if itself else self.name, key.public_key(), days=days)
        builder = builder.add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        if key_id:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
            builder = builder.add_extension(identifier, critical=False)
        signed = builder.sign(signer, hashes.SHA256())
        file = self.folder / f"{name}.pem"
        pem, pkcs8, plain = (
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file.write_bytes(signed.public_bytes(pem) + key.private_bytes(pem, pkcs8, plain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _builder(name: str, issuer: str, public: ec.EllipticCurvePublicKey, *, days: int) -> x509.CertificateBuilder:
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - dt.timedelta(days=30))
        .not_valid_after(end)
    )


def says(*pieces: bytes) -> Serve:
    """Answer any request with these bytes, and close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:  # `writelines` of Python 3.12 and 3.13 never ends what begins or ends with an empty piece.
            writer.write(piece)
        await writer.drain()

    return serve


async def wants_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As HTTP servers answer what is not HTTP."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


def answers(code: int, body: bytes = b"", *headers: bytes) -> Serve:
    head = b"HTTP/1.1 %d Whatever\r\n%bContent-Length: %d\r\n\r\n" % (
        code,
        b"".join(line + b"\r\n" for line in headers),
        len(body),
    )
    return says(head, body)


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close at once, whatever is said."""


@contextlib.asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Yield the port on loopback."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Yield a port that takes no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
