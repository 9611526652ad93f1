"""What is wrong with the section `[public]`, or likely to be. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchd.public.settings import PublicSettings
from orchd.public.status import SOON_S
from orchd.settings.addresses import port_of
from orchd.text import ago

if TYPE_CHECKING:  # Its library takes a while to import, and who has no listener for payers does without.
    from orchd.public.certificate import Certificate


HTTPS_PORT = 443


def host_of(settings: PublicSettings) -> str:
    """Return the host of `public.url`; `localhost` where there is none."""
    return urlsplit(settings.url).hostname or "localhost"


def refused(settings: PublicSettings) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting with which orchd does not start, and why: they contradict each other."""
    if not settings.listen:
        return
    if settings.doors and not settings.url:
        yield "public.doors", "payers would be told no address; set public.url to the one at which they reach orchd"
    if settings.certificate and not settings.key:
        yield "public.certificate", "its key is missing; name the file by public.key"
    if settings.key and not settings.certificate:
        yield "public.key", "its certificate is missing; name the file by public.certificate"


def doubtful(settings: PublicSettings) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting that is likely to be a mistake, and why."""
    if not settings.listen:
        if settings.doors:
            yield "public.doors", "no address listens for payers; set public.listen, such as to 0.0.0.0:8443"
        return
    if not settings.doors:
        yield "public.listen", "no door is open there, so that all is 404; name some in public.doors"
    if settings.tls and settings.url and not settings.trusted_proxies and (port := _strange_port(settings)):
        yield (
            "public.url",
            (
                f"payers come to port {port}, and no address of public.listen ({', '.join(settings.listen)}) has it; "
                "unless something forwards that port to orchd, write the one of public.listen behind the host"
            ),
        )
    if not settings.tls and settings.certificate:
        yield "public.certificate", "it is not used, since public.tls is false"


def _strange_port(settings: PublicSettings) -> int | None:
    """Return the port of `public.url` if orchd listens elsewhere, as far as the settings say where."""
    port = urlsplit(settings.url).port or HTTPS_PORT
    here = [port_of(listen) for listen in settings.listen]
    return None if port in here or None in here or 0 in here else port


def certificate_doubts(settings: PublicSettings, certificate: Certificate, now: float) -> Iterator[tuple[str, str]]:
    """Yield what payers will not like about the certificate.

    Args:
        now: Unix time.
    """
    name, left_s = "public.certificate", certificate.expires_at - now
    if certificate.begins_at > now:
        yield name, f"it is not good before {ago(certificate.begins_at - now)} from now: check the clock"
    if left_s <= 0:
        yield name, f"it has expired {ago(-left_s)} ago: renew it"
    elif left_s < SOON_S:
        yield name, f"it is good for {ago(left_s)} only: renew it"
    host = host_of(settings)
    if settings.url and not certificate.covers(host):
        names = ", ".join(certificate.names) or "no name at all"
        yield "public.url", f"the certificate is for {names}, not for {host}: clients that check it will not connect"
