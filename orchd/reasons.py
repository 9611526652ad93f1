"""Words for what the system and libraries raise: what is wrong, for a person, without a library's own words.

A raw `str(exc)` says "[Errno 111] Connect call failed ('10.0.0.7', 8000)" or, of a certificate, "Operation not
permitted"; nothing that an operator reads is made of it.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})
"""We ran out of something: descriptors, buffers, memory, threads. It says nothing about the other side."""

NO_WAY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})
"""This machine has no way to such an address, such as to any of IPv6."""

_SYSTEM = {
    errno.ECONNREFUSED: "connection refused: nothing listens on this port there",
    errno.ECONNRESET: "it reset the connection",
    errno.EPIPE: "it closed the connection",
    errno.EHOSTUNREACH: "no route to the host: it is down, or a firewall is in between",
    errno.ENETUNREACH: "no route to its network from here",
    errno.ETIMEDOUT: "the host does not answer",
    errno.EADDRNOTAVAIL: "this machine has no free port, or no address, to connect from",
    errno.EMFILE: "orchd has no free file descriptor: raise LimitNOFILE of its unit (ulimit -n)",
    errno.ENFILE: "this machine has no free file descriptor (sysctl fs.file-max)",
    errno.ENOBUFS: "this machine has no buffer space left",
    errno.ENOMEM: "this machine has no memory left",
}

_CERTIFICATE = {
    9: "it is not valid yet: one of the two clocks is wrong",
    10: "it has expired",
    18: "it is signed by itself",
    19: "it is signed by an authority that is not trusted here",
    20: "it is signed by an authority that is not trusted here, or a certificate in between is not sent along",
    21: "it is signed by an authority that is not trusted here, or a certificate in between is not sent along",
    62: "it is for another host",
    64: "it is for another address",
    85: "it lacks an Authority Key Identifier, which Python 3.13 and newer ask for: make it again with one",
}
"""What is wrong with a certificate, by OpenSSL's X509_V_ERR codes."""

_UNTRUSTED = (18, 19, 20, 21)
_OTHER_HOST = (62, 64)

NO_TLS = "it does not speak TLS on this port: use http:// in its URL"

_TLS = {
    "WRONG_VERSION_NUMBER": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
    "PACKET_LENGTH_TOO_LONG": NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection inside the TLS handshake",
    "NO_PROTOCOLS_AVAILABLE": "it speaks no version of TLS that we do",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that we do",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no version of TLS that we do",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses the TLS handshake: the two have no cipher in common, "
    "or it wants a client certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate, which orchd has none of",
}

LONGEST = 200


def is_ours(exc: BaseException) -> bool:
    """Return whether it is our own want (descriptors, memory), and says nothing about the other side."""
    if isinstance(exc, socket.gaierror):
        return exc.errno == socket.EAI_MEMORY
    return isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno in OURS and not _is_tls(exc))


def why(exc: BaseException) -> str:
    """Return what is wrong in one line, and where it can be told, what would cure it."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _certificate(exc)
    if isinstance(exc, ssl.SSLError):
        reason = str(getattr(exc, "reason", None) or "").upper()
        return _TLS.get(reason) or f"the TLS handshake failed ({_words(reason) or type(exc).__name__})"
    if isinstance(exc, UnicodeError):
        return "it is not a name that can be looked up"
    if isinstance(exc, TimeoutError) and not exc.errno:
        return one_line(str(exc)) or "no answer in time"
    if isinstance(exc, OSError) and exc.errno is not None:
        if exc.errno > 0 and not isinstance(exc, socket.gaierror):
            return _SYSTEM.get(exc.errno) or os.strerror(exc.errno)
        return one_line(exc.strerror or "") or type(exc).__name__
    return one_line(str(exc)) or type(exc).__name__


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return the beginning of `text` in one line, without control characters or lone surrogates."""
    line = " ".join(text[: 8 * longest].split())
    if not line.isprintable():
        line = "".join(char for char in line if char.isprintable())
    return line[:longest]


def certificate_fault(exc: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is not trusted."""
    code, said = _verify_code(exc), one_line(getattr(exc, "verify_message", "")) or "it is not valid"
    known = _CERTIFICATE.get(code, said)
    return f"{known} ({said})" if code in _OTHER_HOST else known


def _certificate(exc: ssl.SSLCertVerificationError) -> str:
    text = f"its certificate can't be trusted: {certificate_fault(exc)}"
    if _verify_code(exc) in _UNTRUSTED:
        return f"{text}; add its authority to this machine's, or name a file with it in SSL_CERT_FILE for orchd"
    return text


def _verify_code(exc: ssl.SSLCertVerificationError) -> int:
    return int(getattr(exc, "verify_code", 0))


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()


def _is_tls(exc: BaseException) -> bool:
    return isinstance(exc, ssl.SSLError)
