"""How fast L1 blocks can come: a server that claims more is believed only with others. Pure.

The highest block ever seen is kept for good, and all terms up to it count as expired. So one lie about it would outlive
the liar; what else a server says is forgotten with its next answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from orchd.domain.chain import SECONDS_PER_L1_BLOCK

SLACK = 50
"""Blocks that may come at once: Arbitrum learns of L1 blocks late, and by several at a time. Ten minutes."""
MERGED_AT, MERGE_BLOCK = 1_663_224_179, 15_537_394
"""Unix time and number of the block with which Ethereum went over to slots of 12 s, of one block at most."""
BEHIND = 25
"""A server whose block is lower than the highest seen by more than this has fallen behind, or is on another chain."""


class L1Pace:
    """The highest line, of one block per 12 s, that all blocks seen so far lie on or below.

    Args:
        bounded: False = blocks may jump, as on a local chain: everything is allowed.
    """

    def __init__(self, *, bounded: bool) -> None:
        self._bounded = bounded
        self._line: Fraction | None = None

    def allows(self, block: int, at: float) -> bool:
        """Return whether this block can be at this time (any clock in seconds that is not set back)."""
        if not self._bounded:
            return True
        return self._line is not None and block <= self._line + _blocks(at) + SLACK

    def saw(self, block: int, at: float) -> None:
        """Note a block that was believed."""
        line = block - _blocks(at)
        self._line = line if self._line is None else min(self._line, line)

    def begin(self, block: int, at: float) -> None:
        """Forget what was seen: this block is where to go on from."""
        self._line = block - _blocks(at)


def most_at(unix: float) -> int | None:
    """Return the highest block that Ethereum can have at this Unix time, by which a lone server is judged, too.

    It lies above the real one by the slots that were missed, some 1 %. None = the clock is wrong.
    """
    if unix < MERGED_AT:
        return None
    return MERGE_BLOCK + SLACK + int((unix - MERGED_AT) // SECONDS_PER_L1_BLOCK)


def believed(blocks: Sequence[int]) -> int:
    """Return the highest block that more than half of the servers have reached.

    Args:
        blocks: one by each server that answers; at least one.
    """
    return sorted(blocks, reverse=True)[len(blocks) // 2]


def _blocks(at: float) -> Fraction:
    return Fraction(at) / SECONDS_PER_L1_BLOCK
