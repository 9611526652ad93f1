"""What an order to the daemon is: its name, what it says of itself, and who asks. Pure.

Each order of `orchd/control/` is a file with one class; `part.py` lists them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from orchd.errors import Code, OrchdError

Json = dict[str, Any]
"""An order's body, or one line of its answer, of which `done`, `error` and `message` are the server's own."""

NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class Asker:
    """Who gives an order. As text, words for a person.

    Attributes:
        uid: of the process that asks, by the kernel's word; -1 = not known.
        name: as that process calls its user; only users who could do anything here anyway can use the socket.
    """

    uid: int
    name: str = ""

    def __str__(self) -> str:
        return self.name or (f"user {self.uid}" if self.uid >= 0 else "somebody")


@dataclass(frozen=True, slots=True)
class Order:
    """One thing that the daemon can be told to do.

    Attributes:
        carry_out: yields a line of JSON whenever there is news; ends when it is done. An OrchdError is passed on.
        goes_on: it is carried out to its end even if who asked has left; else it is cancelled then.
    """

    carry_out: Callable[[Json, Asker], AsyncGenerator[Json, None]]
    goes_on: bool = False


def text_of(order: Json, member: str) -> str:
    """Return a member of an order's body that has to be a text.

    Raises:
        OrchdError: `bad_request`.
    """
    value = order.get(member)
    if isinstance(value, str):
        return value
    raise OrchdError(f'cannot read the order: {{"{member}": TEXT}} is expected', code=Code.BAD_REQUEST)


def asked_by(order: Json, uid: int) -> Asker:
    """Return who gives this order."""
    name = order.get("by")
    known = isinstance(name, str) and name.isprintable()
    return Asker(uid, str(name)[:NAME_CHARS] if known else "")
