"""How the node's certificate is checked, by the setting `certificate`.

go-livepeer makes a certificate of its own at each start, and writes it to a file (docs/protocol/byoc.md, 1). So the
usual check against the system's CAs can't work: the file is pinned, or nothing is checked on loopback.
"""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from orchd.errors import Code
from orchd.node.address import bases, on_loopback
from orchd.node.ports import NodeError
from orchd.reasons import why


class NodeTrust:
    """Says how a connection to the service port is to be checked.

    Args:
        certificate: the setting; see `orchd.node.settings.NodeSettings`.
        service_url: where the node's service port is.
    """

    def __init__(self, certificate: str, service_url: str) -> None:
        self._rule = _rule(certificate, service_url)
        self._context: ssl.SSLContext | None = None

    def check(self) -> ssl.SSLContext | bytes | bool:
        """Return what to check: a context, the SHA-256 of the only certificate that is right, the system's CAs or none.

        A pinned file is read each time: a node that was restarted has written another one.

        Raises:
            NodeError: the file of the setting can't be used.
        """
        kind, _, path = self._rule.partition(":")
        if kind in ("off", "system"):
            return kind == "system"
        try:
            if kind == "ca":
                if self._context is None:
                    self._context = ssl.create_default_context(cafile=path)
                return self._context
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(path).read_text("ascii"))).digest()
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            unreadable = isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError)
            said = why(exc) if unreadable else "it is not a certificate in PEM form"
            raise NodeError(
                f"cannot use {path} (orchestrator.certificate): {said}", code=Code.NODE_CERTIFICATE
            ) from exc


def unverified() -> ssl.SSLContext:
    """Return a context that checks nothing, to look at whatever certificate is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _rule(certificate: str, service_url: str) -> str:
    """Return the setting with `auto` resolved: `off` on loopback, else `system`."""
    if certificate != "auto":
        return certificate
    return "off" if on_loopback(bases(service_url)[0]) else "system"
