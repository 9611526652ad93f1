"""Addresses to listen on, as settings have them. Pure."""

from __future__ import annotations

import re


def split_listen(listen: str) -> tuple[str, int]:
    """Return host and port of `host:port`; an IPv6 host is given in brackets and returned without.

    Raises:
        ValueError: not of that form, or the port is above 65535. Port 0 is fine: the system picks one.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})", listen)
    if found is None or int(found[3]) > 65535:
        raise ValueError("it should be host:port, such as 127.0.0.1:8737 or [::1]:8737")
    return found[1] or found[2], int(found[3])
