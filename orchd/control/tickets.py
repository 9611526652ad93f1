"""What the daemon does for `orchd tickets rotate` and `orchd tickets export --mark`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from typing import Protocol

from orchd.control.orders import Asker, Json
from orchd.errors import Code, OrchdError
from orchd.history.ports import History, Kind

HASH_BYTES = 32


class KeepsTickets(Protocol):
    """As `tickets.ledger.books.Books`."""

    async def rotate(self) -> None: ...

    async def exported(self, hashes: Collection[bytes]) -> None: ...


class HasTickets(Protocol):
    """The part that has the ledger open. `ledger`: from its `open` on."""

    @property
    def ledger(self) -> KeepsTickets: ...


class RotateSecrets:
    """Makes new secrets. `ledger`: None = orchd takes no tickets."""

    def __init__(self, ledger: KeepsTickets | None, history: History) -> None:
        self._ledger = ledger
        self._history = history

    async def run(self, _order: Json, by: Asker) -> AsyncGenerator[Json, None]:
        """Yield nothing: it is done when this ends.

        Raises:
            OrchdError: no ledger is in use.
            StoreError: they can't be kept; the former ones stay.
        """
        await _in_use(self._ledger).rotate()
        self._history.note(
            Kind.LEDGER_ROTATED,
            "an operator has asked for new secrets: all terms that payers hold are void",
            by=str(by),
        )
        return
        yield


class MarkExported:
    """Notes that winners were exported. `ledger`: None = orchd takes no tickets."""

    def __init__(self, ledger: KeepsTickets | None) -> None:
        self._ledger = ledger

    async def run(self, order: Json, _by: Asker) -> AsyncGenerator[Json, None]:
        """Yield nothing: it is done when this ends.

        Raises:
            OrchdError: `bad_request`; or no ledger is in use.
            StoreError: it can't be kept.
        """
        await _in_use(self._ledger).exported(hashes_of(order))
        return
        yield


def hashes_of(order: Json) -> list[bytes]:
    """Return the hashes of tickets that an order names.

    Raises:
        OrchdError: `bad_request`.
    """
    named = order.get("hashes")
    try:
        found = [bytes.fromhex(each) for each in named] if isinstance(named, list) else []
    except (TypeError, ValueError):
        found = []
    if not found or any(len(each) != HASH_BYTES for each in found):
        raise OrchdError(
            'cannot read the order: {"hashes": [64 hexadecimal digits, ...]} is expected', code=Code.BAD_REQUEST
        )
    return found


def _in_use(ledger: KeepsTickets | None) -> KeepsTickets:
    if ledger is None:
        raise OrchdError(
            "cannot change the ledger: the daemon that runs takes no tickets (`tickets` is not in its hooks.order), so "
            "it has no ledger open; stop it, and run this again without one",
            code=Code.BAD_REQUEST,
        )
    return ledger
