"""What gateways could not find, or Livepeer Node not hold, of a models file: for `orchd check`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchd.advertise.prices import NO_720P, USD_ONLY
from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Model
from orchd.domain.money import PriceUnit
from orchd.domain.nearest import listed
from orchd.domain.node_limits import NodeLoad
from orchd.domain.offer import NodeProgram
from orchd.doors.live_runner.door import FIRST_BYTE_S
from orchd.realtime.routes import has_streams
from orchd.realtime.servable import live_runner_gap

_FEW = 5
DEFAULT_S = InferenceSpec("").timeout_s


def doubts(
    models: Mapping[ModelKey, Model],
    pattern: str,
    program: NodeProgram | None = None,
    hold_s: float = 0.0,
    *,
    rate: bool = True,
) -> Iterator[str]:
    """Yield in plain words what stands against offering all these models.

    Args:
        pattern: the setting `orchestrator.capability`.
        program: the node program that orchd has seen last; None = not known.
        hold_s: how long a job may wait for a cold model, seconds; 0 = it does not.
        rate: the setting `orchestrator.eth_usd` has a rate, or where to read it.
    """
    offered = [model for model in models.values() if model.price is not None]
    yield from _same_names(offered, pattern)
    yield from _limits(offered)
    if program is NodeProgram.LIVEPEER_NODE:
        yield from _late_answers(offered, hold_s)
        yield from _not_there(offered, rate=rate)


def _same_names(offered: Sequence[Model], pattern: str) -> Iterator[str]:
    by_name: dict[str, list[ModelKey]] = {}
    for model in offered:
        by_name.setdefault(model.name_for_gateways(pattern), []).append(model.key)
    for name, keys in by_name.items():
        if len(keys) > 1:
            yield (
                f"{listed(keys, _FEW)} have the same capability name {name!r}: only the first in the file that can "
                "serve is offered; give the others a capability of their own"
            )


def _limits(offered: Sequence[Model]) -> Iterator[str]:
    streams = sum(model.max_sessions for model in offered if model.persistent and has_streams(model.stream))
    load = NodeLoad(len(offered), sum(model.max_sessions for model in offered), streams)
    for what, count, most in load.reaching(1.0):
        if count > most:
            yield f"Livepeer Node takes at most {most} {what}, and all models together ask for {count}"


def _late_answers(offered: Sequence[Model], hold_s: float) -> Iterator[str]:
    """Livepeer Node, which orchd has seen last, does not wait as long as it may take until an answer begins."""
    most = f"at most {FIRST_BYTE_S:g} s beside Livepeer Node, the program that orchd saw last"
    late = [model.key for model in offered if _waits_longer(model.inference)]
    if late:
        yield (
            f"inference.timeout_s of {listed(late, _FEW)} counts for {most}: give each an inference.early_head_s, such "
            "as 50, if its answers may begin later"
        )
    cold = [model.key for model in offered if model.managed and not model.warm]
    if cold and hold_s > FIRST_BYTE_S:
        yield (
            f"jobs.hold_timeout_s = {hold_s:g} counts for {most}: a job that waits longer for a cold model "
            f"({listed(cold, _FEW)}) gets 503; keep those warm that load longer"
        )


def _not_there(offered: Sequence[Model], *, rate: bool) -> Iterator[str]:
    """Livepeer Node, which orchd has seen last, has nothing but Live Runner."""
    gaps: dict[str, list[ModelKey]] = {}
    for model in offered:
        if gap := live_runner_gap(model):
            gaps.setdefault(f"cannot serve Live Runner's clients: {gap}", []).append(model.key)
        assert model.price is not None
        if model.price.unit is PriceUnit.VIDEO_720P:
            gaps.setdefault(f"cannot publish the price: {NO_720P}", []).append(model.key)
        elif not rate and model.price.per_unit and model.price.usd(None) is None:
            gaps.setdefault(f"cannot publish the price on chain: {USD_ONLY}", []).append(model.key)
    yield from (f"{listed(keys, _FEW)}: {gap}" for gap, keys in gaps.items())


def _waits_longer(inference: InferenceSpec) -> bool:
    """The default is not counted: nobody has chosen it, and it is hardly longer."""
    return inference.timeout_s > FIRST_BYTE_S and not inference.early_head_s and inference.timeout_s != DEFAULT_S
