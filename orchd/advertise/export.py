"""What a registry makes a file for the node of, in place of registrations. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from orchd.domain.model import Model, Secret
from orchd.domain.offer import NodeProgram


@dataclass(frozen=True, slots=True)
class ExportInput:
    """What is to be in the file.

    Attributes:
        program: that is to read it.
        instance, capability, callback_url: the settings.
        eth_usd: USD per ETH; None = not known.
        segment: returns the secret path segment of a model, by its slug.
    """

    program: NodeProgram
    models: Sequence[Model]
    instance: str
    capability: str
    callback_url: str
    eth_usd: Fraction | None
    segment: Callable[[str], Secret]
