"""Which engine launches a runner, and on which host: apart from what an entry says about how it is launched."""

from __future__ import annotations

from typing import NamedTuple

from orchd.domain.model import RunnerKind


class RuntimeId(NamedTuple):
    """One engine that can launch runners of one kind.

    Attributes:
        kind: of the runners that it launches.
        host: name of the host that they run on; empty = the one that orchd runs on.
    """

    kind: RunnerKind
    host: str = ""

    def __str__(self) -> str:
        return f"{self.kind}@{self.host}" if self.host else str(self.kind)
