"""What clients of Live Runner's are told of a model besides its name and price. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, as clients are told of it.

    Attributes:
        id: as the entry has it, else the driver's index; empty = it may be one of several.
        vram_mb: MiB; 0 = not told.
    """

    id: str = ""
    name: str = ""
    vram_mb: int = 0


@dataclass(frozen=True, slots=True)
class HostGpu:
    """A GPU of this machine, as its driver knows it.

    Attributes:
        index: in the driver's order; it also answers to this as a name.
    """

    uuid: str
    index: str
    name: str
    vram_mb: int


@dataclass(frozen=True, slots=True)
class Details:
    """What clients of Live Runner's choose by, besides name and price.

    Attributes:
        gpu: None = none is told.
        metadata: at most 1024 bytes in UTF-8, without U+FFFD.
    """

    gpu: Gpu | None = None
    version: str = ""
    metadata: str = ""


NO_DETAILS = Details()


def dump_details(details: Details) -> dict[str, Any]:
    """Return them as Live Runner's programs and clients take them; what is not told is left out.

    A GPU is an object: its index alone means another thing to each program (docs/protocol/live-runner.md, 2.1;
    docs/protocol/livepeer-node.md, 5.1 and 11).
    """
    gpu = {"gpu": asdict(details.gpu)} if details.gpu else {}
    return gpu | {name: text for name in ("version", "metadata") if (text := getattr(details, name))}
