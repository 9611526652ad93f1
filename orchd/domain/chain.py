"""What the chain says of rounds, blocks and payers, as values. Pure; source: docs/protocol/payments.md, 5, 7 and 13."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

SECONDS_PER_L1_BLOCK = 12
_FULL_FLOAT = 3
"""A deposit of this many times what is being redeemed covers it alone: the whole reserve share stays free."""


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """The chain, as last seen.

    Attributes:
        l1_block: the highest L1 block ever seen: it never goes back, so that nothing expired is taken again.
        round: the last initialized round.
        active: the recipient is an active orchestrator in it.
    """

    l1_block: int
    round: int
    active: bool


def l1_block_after(seen: int, elapsed_s: Fraction) -> int:
    """Return the L1 block that is taken for granted this many seconds after one was seen: rather too high than low."""
    return seen - (-elapsed_s // SECONDS_PER_L1_BLOCK)


@dataclass(frozen=True, slots=True)
class PayerFacts:
    """What backs a payer's tickets, in wei.

    Attributes:
        deposit: of the sender.
        reserve: what is left of its reserve.
        claimed: what all recipients have claimed of it in this round.
        claimed_by_us: what the recipient has claimed of it in this round.
        pool_size: active orchestrators at most; 0 = unknown: nothing of the reserve counts.
        withdraw_round: from which on the sender may take all out; 0 = it has not asked.
        pending: face values of its tickets that are being redeemed now.
        unredeemed: face values of its winning tickets that are not redeemed yet.
    """

    deposit: int
    reserve: int
    claimed: int
    claimed_by_us: int
    pool_size: int
    withdraw_round: int
    pending: int = 0
    unredeemed: int = 0

    @property
    def allocation(self) -> int:
        """What the recipient may still claim of the reserve in this round."""
        if not self.pool_size:
            return 0
        return (self.reserve + self.claimed) // self.pool_size - self.claimed_by_us

    @property
    def max_float(self) -> int:
        """The largest face value that a ticket of this payer may have: what its reserve covers."""
        if self.pending and self.deposit >= _FULL_FLOAT * self.pending:
            return self.allocation
        return self.allocation - self.pending

    @property
    def available(self) -> int:
        """What can be redeemed of this payer in all."""
        return self.deposit + self.allocation - self.pending

    def less(self, wei: Fraction) -> PayerFacts:
        """Return what is left if so much has been spent since: first of the deposit, then of our share of the reserve.

        Nobody knows what else the payer has spent meanwhile; rather too little is taken to be left than too much.
        """
        spent = -(-wei // 1)
        of_deposit = min(spent, self.deposit)
        return replace(self, deposit=self.deposit - of_deposit, claimed_by_us=self.claimed_by_us + spent - of_deposit)

    def unlocks_soon(self, last_round: int) -> bool:
        """Return whether the sender may take its funds out before its tickets can be redeemed."""
        return self.withdraw_round != 0 and self.withdraw_round <= last_round + 1


@dataclass(frozen=True, slots=True)
class TermsOf:
    """When terms are made.

    Attributes:
        l1_block: the highest seen.
        round: the last initialized; with a zero hash the one before.
        round_hash: 32 bytes, as the RoundsManager keeps it, not zero.
    """

    l1_block: int
    round: int
    round_hash: bytes


@dataclass(frozen=True, slots=True)
class RpcStatus:
    """What a reader may know of one RPC server.

    Attributes:
        server: its host.
        up: it has answered the last time it was asked.
        why: it can't be used, in one line; empty = it can, or was never asked.
    """

    server: str
    up: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """What a reader may know of the chain.

    Attributes:
        id: of the chain.
        orchestrator: our registered address.
        servers: in the order in which they are asked.
        l1_block: as it is taken to be now; 0 = nothing is known yet. `round`: the last initialized.
        read_at: Unix time at which an RPC server told it last; None = none ever did.
        active: the orchestrator is active in this round.
        fresh: an RPC server has answered lately. `usable`: what it said is not too old to go by.
        usable_until: Unix time until which it is if no server answers again; None = none ever did.
        why: nothing newer is known, in one line; empty = it is fresh.
        payers: how many are followed.
    """

    id: int
    orchestrator: str
    servers: tuple[RpcStatus, ...] = ()
    l1_block: int = 0
    round: int = 0
    read_at: float | None = None
    active: bool = False
    fresh: bool = False
    usable: bool = False
    usable_until: float | None = None
    why: str = ""
    payers: int = 0
