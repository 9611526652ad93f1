"""EDGE. The TLS of the listener for payers: which certificate it shows, read again when its files change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import structlog

from orchd.errors import Code, OrchdError
from orchd.history.ports import History, Kind
from orchd.lag import LoopLag
from orchd.public.certificate import Certificate, make_certificate, read_certificate
from orchd.public.settings import PublicSettings
from orchd.public.status import SOON_S
from orchd.reasons import why
from orchd.relay.listener import HandshakeFault
from orchd.settings.files import reason
from orchd.text import ago

log = structlog.get_logger("orchd.public")

LOOK_S = 30.0
"""How often the files are looked at."""
FOLDER, CHAIN, KEY = "public", "certificate.pem", "key.pem"


class PublicTls:
    """As `relay.listener.Tls`.

    Args:
        count: counts a handshake that failed.

    Attributes:
        certificate: that new connections are shown.
        context: made of it.
        lag, failed: as `relay.listener.Tls`.
    """

    def __init__(self, certificate: Certificate, count: Callable[[HandshakeFault], None], lag: LoopLag) -> None:
        self.lag = lag
        self.failed = count
        self.use(certificate)

    def use(self, certificate: Certificate) -> None:
        """Show this one from now on; connections that there are keep theirs.

        Raises:
            ValueError: OpenSSL does not take it.
        """
        self.context = context_of(certificate)
        self.certificate = certificate


def context_of(certificate: Certificate) -> ssl.SSLContext:
    """Return the TLS of a server: 1.2 at least, and HTTP/1.1 alone, which clients that would rather have HTTP/2 fall
    back to.

    Raises:
        ValueError: OpenSSL does not take the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL reads files alone. What we have looked at must be what it gets, and must not lie on a disk.
    with _in_memory(certificate.chain) as chain, _in_memory(certificate.key) as key:
        try:
            context.load_cert_chain(f"/proc/self/fd/{chain}", f"/proc/self/fd/{key}", password="")
        except ssl.SSLError as exc:
            raise ValueError(f"OpenSSL does not take it ({exc.reason or exc})") from exc
    return context


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    number = os.memfd_create("orchd")
    try:
        os.write(number, data)
        yield number
    finally:
        os.close(number)


def files_of(settings: PublicSettings, env: Mapping[str, str]) -> tuple[Path, Path]:
    """Return where certificate and key are; a key may be one of systemd's credentials."""
    credentials = env.get("CREDENTIALS_DIRECTORY")
    key = Path(credentials) / settings.key if credentials else Path(settings.key)
    return Path(settings.certificate), key if key.exists() else Path(settings.key)


def read_files(chain: Path, key: Path) -> Certificate:
    """Return the certificate of these files.

    Raises:
        ValueError: it can't be read or used; why, in words, with the file.
    """
    texts = []
    for setting, path in (("public.certificate", chain), ("public.key", key)):
        try:
            texts.append(path.read_bytes())
        except OSError as exc:
            raise ValueError(f"{setting} = {path}: {reason(exc)}") from exc
    try:
        return read_certificate(*texts)
    except ValueError as exc:
        raise ValueError(f"{chain} with {key}: {exc}") from exc


def own_certificate(state_dir: Path, host: str) -> Certificate:
    """Return the certificate that signs itself, of the state directory; a new one is made where there is none yet, or
    where that one is for another host or has expired.

    Raises:
        OrchdError: it can't be kept.
    """
    folder, now = state_dir / FOLDER, time.time()
    with contextlib.suppress(ValueError):
        kept = read_files(folder / CHAIN, folder / KEY)
        if kept.covers(host) and kept.begins_at <= now < kept.expires_at:
            return kept
    chain, key = make_certificate(host, now)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in ((KEY, key), (CHAIN, chain)):
            _write(folder / name, text)
    except OSError as exc:
        raise OrchdError(
            f"cannot keep the certificate of public.listen in {folder}: {why(exc)}; name one by public.certificate "
            "and public.key, or let orchd write there",
            code=Code.SETTING_INVALID,
        ) from exc
    log.info("certificate_made", host=host, folder=str(folder))
    return read_certificate(chain, key)


def _write(path: Path, text: bytes) -> None:
    draft = path.with_name(f"{path.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:  # noqa: PTH123
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class CertificateWatch:
    """Takes over what changes in the files of a certificate, and tells of one that is about to expire.

    Args:
        read: reads the files; raises ValueError or TimeoutError. None = the certificate is orchd's own, whose files are
            nobody's to change.
        clock: Unix time.
    """

    def __init__(
        self,
        tls: PublicTls,
        history: History,
        read: Callable[[], Awaitable[Certificate]] | None,
        look_s: float = LOOK_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tls = tls
        self._history = history
        self._read = read
        self._look_s = look_s
        self._clock = clock
        self._told = ""
        self._warned: Certificate | None = None

    async def run(self) -> None:
        """Look at the files from time to time, for ever."""
        while True:
            self._warn()
            await asyncio.sleep(self._look_s)
            await self.look()

    @property
    def trouble(self) -> str:
        """Why the files can't be used as they are now; empty = they can."""
        return self._told

    async def look(self) -> None:
        """Look at the files now."""
        if self._read is None:
            return
        try:
            now = await self._read()
            if now != self._tls.certificate:
                self._tls.use(now)
                good = _good_for(now, self._clock())
                log.info("certificate_changed", names=list(now.names), good=good)
                self._history.note(
                    Kind.CERTIFICATE_CHANGED, f"public.certificate is for {', '.join(now.names)}, and {good}"
                )
            self._told = ""
        except (ValueError, TimeoutError) as exc:
            reason = str(exc) or "its file system does not answer"
            if reason != self._told:
                self._told = reason
                log.error("certificate_refused", reason=reason, next="the one before stays in use")
                self._history.note(Kind.CERTIFICATE_REFUSED, f"{reason}; the one before stays in use")

    def _warn(self) -> None:
        certificate = self._tls.certificate
        if certificate is not self._warned and certificate.expires_at - self._clock() < SOON_S:
            self._warned = certificate
            good = _good_for(certificate, self._clock())
            log.warning("certificate_expires", good=good)
            self._history.note(Kind.CERTIFICATE_EXPIRES, f"the certificate of public.listen {good}: renew it")


def _good_for(certificate: Certificate, now: float) -> str:
    left_s = certificate.expires_at - now
    return f"is good for {ago(left_s)}" if left_s > 0 else f"has expired {ago(-left_s)} ago"
