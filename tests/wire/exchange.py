"""One caller's connection to orchd: sends a case's bytes, and reads until orchd closes."""

from __future__ import annotations

import socket

from tests.blackbox.wire import Closed, Wire
from tests.wire.judge import Received
from tests.wire.meaning import Meaning, read_answers
from tests.wire.rfc9112 import Incomplete


def send(wire: Wire, data: bytes) -> bool:
    """Return False if orchd has reset the connection. Whoever is told so by sending is not told again by reading."""
    try:
        wire.send(data)
    except ConnectionError:
        return False
    return True


def receive(wire: Wire, meant: Meaning, *, sent: bool) -> Received:
    """Read all that comes.

    A caller whose request is not whole leaves when what was whole is answered: orchd would wait for the rest.

    Args:
        sent: of `send`.
    """
    methods = [message.method for message in meant.messages]
    leaves = isinstance(meant.fault, Incomplete)
    data = b""
    try:
        while True:
            if leaves and len(read_answers(data, methods, closed=False).messages) == len(methods):
                leaves = False
                wire.socket.shutdown(socket.SHUT_WR)
            data += wire.some()
    except Closed as how:
        return Received(data, str(how) if sent else "reset")
    except TimeoutError:
        return Received(data, "")
    except OSError:
        return Received(data, "reset")


def exchange(port: int, stream: bytes, meant: Meaning) -> Received:
    with Wire(port) as wire:
        return receive(wire, meant, sent=send(wire, stream))
