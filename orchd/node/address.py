"""Under which URLs the node's service port is tried. Pure.

go-livepeer has TLS there unless it is told otherwise, Livepeer Node never has. So the scheme may be left out. Only on
loopback are both tried: what is sent there stays on this machine, while elsewhere the node's secret would go over a
network in clear, which is for the operator to allow, by writing `http://`.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit

_OTHER = {"http": "https", "https": "http"}

_PLAIN_TO_TLS = (b"HTTP request to an HTTPS server", b"plain HTTP request was sent to HTTPS port")
"""What Go and nginx answer, with status 400, to plain HTTP on a port that speaks TLS."""


def bases(service_url: str) -> tuple[str, ...]:
    """Return the URLs to try, in this order."""
    scheme, mark, rest = service_url.partition("://")
    if not mark:
        scheme, rest = "https", service_url
    first = f"{scheme}://{rest}"
    return (first, f"{_OTHER[scheme]}://{rest}") if on_loopback(first) else (first,)


def is_as_written(base: str, service_url: str) -> bool:
    """Return whether the setting names this scheme, or none."""
    return "://" not in service_url or base == service_url


def on_loopback(url: str) -> bool:
    """Return whether what is sent there does not leave this machine."""
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def is_plain_to_tls(base: str, status: int, body: bytes) -> bool:
    """Return whether an answer means that the port speaks TLS, and was asked without."""
    return status == 400 and base.startswith("http://") and any(mark in body for mark in _PLAIN_TO_TLS)


def scheme_advice(base: str, setting: str, written: str) -> str:
    """Return what is wrong with the scheme of a URL, and what to write.

    Args:
        base: what was asked.
        setting: its name.
        written: its value.
    """
    if base.startswith("http://"):
        return f"it speaks TLS on this port, and was asked without: write https:// in {setting}"
    if on_loopback(base):
        return f"it does not speak TLS on this port: write http:// in {setting}"
    clear = "orchd does not send its secret over a network in clear unless you"
    return f"it does not speak TLS on this port; {clear} write http:// in {setting} ({written})"
