"""Is the node still the same process? Decided from what it shows. Pure.

go-livepeer shows its process by two things (docs/protocol/byoc.md, 4.1): the certificate of the service port, and a
sentinel that we leave on the CLI port, a random price for an address that nobody uses
(docs/protocol/go-livepeer-cli.md, 3.2). Livepeer Node has neither; a certificate in front of it is a proxy's.

Both give a credential for each runner of ours, and forget it when they end. So a credential that is refused proves a
restart where nothing better can be seen, unless the node has dropped the runner after a silence of its own.
A go-livepeer that shows nothing at all counts as restarted whenever it was away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

from orchd.domain.offer import NodeProgram
from orchd.node.ports import Probed

SWEPT_S = 20.0
"""The shortest silence, in seconds, after which one of the programs drops a runner."""
BACK_S = 10.0
"""So long after the node's return, in seconds, all runners have been told again."""
FORMER = 16
"""So many certificates are remembered: what answers may be several, and show theirs in turns."""


@dataclass(frozen=True, slots=True)
class LostRunner:
    """The node has forgotten a runner of ours. Times are of the loop clock.

    Attributes:
        taken_at: when it was asked the last time that it knew it.
        heard_at: when it said that it does not: the process that has forgotten it runs since then at the latest.
    """

    taken_at: float
    heard_at: float

    def swept(self, back_at: float) -> bool:
        """Return whether the node may have dropped it for our silence alone.

        Args:
            back_at: when the node answered again after it had been away; -inf = it never was.
        """
        return self.heard_at - self.taken_at >= SWEPT_S and self.heard_at - back_at >= BACK_S


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What we know a process of the node by.

    Attributes:
        certificate: fingerprint; None = plain HTTP.
        sentinel: the price that we have left there; None = none (yet).
        former: certificates that were seen before, of this process or another.
    """

    probed: Probed
    certificate: str | None
    sentinel: str | None = None
    former: tuple[str, ...] = ()

    def shown(self, certificate: str | None) -> NodeIdentity:
        """Return it with the certificate that is shown now."""
        if certificate == self.certificate:
            return self
        return replace(self, certificate=certificate, former=self._certificates())

    def succeeded(self, probed: Probed, certificate: str | None) -> NodeIdentity:
        """Return the identity of the process that has taken its place; it has no sentinel yet."""
        return NodeIdentity(probed, certificate, None, self._certificates())

    def _certificates(self) -> tuple[str, ...]:
        others = [each for each in self.former if each != self.certificate]
        return tuple(others + ([self.certificate] if self.certificate else []))[-FORMER:]


@dataclass(frozen=True, slots=True)
class NodeSighting:
    """What one look at the node has shown.

    Attributes:
        certificate: fingerprint; None = plain HTTP.
        prices: of the CLI port's status, by address; None = it did not answer.
        gone: it was away at the last look.
        lost: what it has forgotten since it was seen to start; None = nothing that we know of.
        back_at: loop clock, when it answered again after it had been away; -inf = it never was.
    """

    probed: Probed
    certificate: str | None = None
    prices: Mapping[str, str] | None = None
    version: str = ""
    gone: bool = False
    lost: LostRunner | None = None
    back_at: float = -inf


def is_new(known: NodeIdentity | None, seen: NodeSighting, address: str) -> bool:
    """Return whether this is another process than the one that we know.

    Args:
        known: None = none was seen yet.
        address: that of the sentinel.
    """
    if known is None or seen.probed != known.probed:
        return True
    if known.sentinel is not None and seen.prices is not None:
        return seen.prices.get(address) != known.sentinel  # A proxy may change its certificate at any time.
    if seen.lost is not None and not seen.lost.swept(seen.back_at):
        return True
    if seen.probed.program is NodeProgram.LIVEPEER_NODE:
        return False
    if seen.certificate != known.certificate:
        return seen.certificate is None or seen.certificate not in known.former
    blind = known.sentinel is None and known.certificate is None
    return blind and seen.gone
