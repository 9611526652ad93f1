"""EDGE. Tells the kernel not to pace what it sends to a peer that is near."""

from __future__ import annotations

import contextlib
import socket
import struct

_RTT = struct.Struct("=68xI")  # Of Linux's struct tcp_info: tcpi_rtt, microseconds.
NEAR_US = 1000
"""Whose answer to the connection's opening came sooner is on this host, or on the next."""


def send_unpaced(sock: socket.socket) -> None:
    """Where the system paces what it sends (BBR), don't if the peer is near: there it only cuts big bodies into pieces,
    each with a timer of its own, and wakes the peer for every one.
    """
    with contextlib.suppress(OSError, AttributeError):  # Not TCP, or no such thing on this system.
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).startswith(b"bbr"):
            (rtt_us,) = _RTT.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.size))
            if rtt_us < NEAR_US:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
