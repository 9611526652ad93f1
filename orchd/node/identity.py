"""Is the node still the same process? Decided from what it shows. Pure.

Two things change with the node's process (docs/protocol/byoc.md, 4.1): the certificate of the service port, and a
sentinel that we leave on the CLI port, a random price for an address that nobody uses
(docs/protocol/go-livepeer-cli.md, 3.2). Where neither can be seen we are blind: there, being gone for a moment and a
registry's suspicion count as a restart.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What we know a process of the node by.

    Attributes:
        certificate: fingerprint; None = plain HTTP.
        sentinel: the price that we have left there; None = none (yet).
    """

    certificate: str | None
    sentinel: str | None

    @property
    def blind(self) -> bool:
        """Another process would look the same."""
        return self.certificate is None and self.sentinel is None


@dataclass(frozen=True, slots=True)
class NodeSighting:
    """What one poll of the node has shown.

    Attributes:
        certificate: fingerprint; None = plain HTTP.
        prices: of the CLI port's status, by address; None = it did not answer.
    """

    certificate: str | None
    prices: dict[str, str] | None
    version: str


def is_new(known: NodeIdentity | None, seen: NodeSighting, address: str, *, gone: bool, suspected: bool) -> bool:
    """Return whether this is another process than the one that we know.

    Args:
        known: None = none was seen yet.
        address: that of the sentinel.
        gone: the node could not be reached since the last poll.
        suspected: a registry has learned that the node lost something.
    """
    if known is None:
        return True
    if known.sentinel is not None and seen.prices is not None:
        return seen.prices.get(address) != known.sentinel  # a proxy may change its certificate at any time
    return seen.certificate != known.certificate or (known.blind and (gone or suspected))
