"""The secrets of which terms and auth tokens are made, and when they change. Pure.

They change once a day. The former ones are known for two hours more: terms are good for 40 L1 blocks, eight minutes,
and auth tokens for an hour. Ids are random, so that a ledger that was put back from a backup never gives one of them
to two secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from orchd.tickets.validation.grants import AuthKey
from orchd.tickets.validation.keys import TermsKey, TermsKeys

USE_S = 86_400.0
"""So long a secret makes new terms or tokens."""
KEEP_S = 7_200.0
"""So long it is known afterwards."""
SECRET_BYTES = 32
ID_BYTES = 4

RandomBytes = Callable[[int], bytes]
"""Returns so many fresh random bytes."""


class KeyKind(StrEnum):
    """What is made with a secret."""

    TERMS = "terms"
    AUTH = "auth"


@dataclass(frozen=True, slots=True)
class LedgerSecret:
    """One secret.

    Attributes:
        id: 1 to 2**32 - 1.
        secret: 32 bytes.
        made_at: Unix time, seconds.
        replaced_at: the same; None = it is in use.
    """

    kind: KeyKind
    id: int
    secret: bytes = field(repr=False)
    made_at: float
    replaced_at: float | None = None


@dataclass(frozen=True)
class Keyring:
    """All secrets of a ledger, as a value. Of each kind exactly one is in use."""

    secrets: tuple[LedgerSecret, ...]

    @cached_property
    def terms_keys(self) -> TermsKeys:
        """Those by which terms are known again."""
        return TermsKeys({each.id: TermsKey(each.id, each.secret) for each in self._of(KeyKind.TERMS)})

    @cached_property
    def terms_key(self) -> TermsKey:
        """The one that new terms are made with."""
        return self.terms_keys.by_id[self._in_use(KeyKind.TERMS).id]

    @cached_property
    def auth_keys(self) -> Mapping[int, AuthKey]:
        """Those by which auth tokens are known again, by id."""
        return {each.id: AuthKey(each.id, each.secret) for each in self._of(KeyKind.AUTH)}

    @cached_property
    def auth_key(self) -> AuthKey:
        """The one that new tokens are made with."""
        return self.auth_keys[self._in_use(KeyKind.AUTH).id]

    def due(self, now: float) -> bool:
        """Return whether it is time for new secrets, or to forget some. A clock that was set back makes new ones."""
        used = abs(now - self._in_use(KeyKind.TERMS).made_at) >= USE_S
        return used or any(_forgotten(each, now) for each in self.secrets)

    def turned(self, now: float, random: RandomBytes) -> Keyring:
        """Return it with what is due done: see `due`."""
        kept = [each for each in self.secrets if not _forgotten(each, now)]
        if abs(now - self._in_use(KeyKind.TERMS).made_at) < USE_S:
            return Keyring(tuple(kept))
        former = (each if each.replaced_at is not None else replace(each, replaced_at=now) for each in kept)
        return Keyring((*former, *new_secrets(now, random, {each.id for each in self.secrets})))

    def _of(self, kind: KeyKind) -> Iterable[LedgerSecret]:
        return (each for each in self.secrets if each.kind is kind)

    def _in_use(self, kind: KeyKind) -> LedgerSecret:
        return next(each for each in self._of(kind) if each.replaced_at is None)


def new_secrets(now: float, random: RandomBytes, taken: Iterable[int] = ()) -> tuple[LedgerSecret, ...]:
    """Return fresh secrets, one of each kind.

    Args:
        taken: ids that they must not have.
    """
    avoid = {0, *taken}
    return tuple(LedgerSecret(kind, _new_id(random, avoid), random(SECRET_BYTES), now) for kind in KeyKind)


def _new_id(random: RandomBytes, avoid: set[int]) -> int:
    found = 0
    while found in avoid:
        found = int.from_bytes(random(ID_BYTES), "big")
    return found


def _forgotten(secret: LedgerSecret, now: float) -> bool:
    return secret.replaced_at is not None and abs(now - secret.replaced_at) >= KEEP_S
