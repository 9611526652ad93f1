"""The kinds of container that exist, and what each needs to be asked, fed and stopped with. Pure data.

Source: the container contract, table 5.3 (knobs and defaults) over 5.1 (routes, stop behaviour); letters are its kinds.
A container that carries one stream at a time (B, C, E, F) starts it by a POST on its inference path: the same flag
says that such a POST is not a batch job and that a replica holds one session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from orchd.domain.model import HealthKind, HealthSpec, StopSpec, StreamSpec


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of container needs to be asked, fed and stopped with.

    Attributes:
        about: one line for a person.
        port: that the container listens on.
        inference_path: `{pipeline}` is filled in.
        start_timeout_s: also the default of `loading_timeout_s`.
        capability_name: the container reads CAPABILITY_NAME.
    """

    about: str
    port: int = 8000
    health: HealthSpec = field(default_factory=HealthSpec)
    stream: StreamSpec = field(default_factory=lambda: StreamSpec(route_prefix=None))
    inference_path: str = "/{pipeline}"
    stop: StopSpec = field(default_factory=StopSpec)
    start_timeout_s: float = 180.0
    capability_name: bool = False

    @property
    def sessions_per_replica(self) -> int | None:
        """1 where the container carries one stream; None = no limit of its own."""
        return 1 if self.stream.post_starts_stream else None


OPTIMISED_TIMEOUT_S = 300.0
"""Start and loading may take at least this long where `optimization_flags` make the model compile."""

_PYTRICKLE_HEALTH = HealthSpec(ready=("idle",), busy=("ok",))
# Python as PID 1 ignores SIGTERM; SIGINT ends the same process cleanly (contract 2.4).
_PYTRICKLE_STOP = StopSpec(signal="SIGINT", close_streams=True)
_PYTRICKLE_STREAM = StreamSpec(post_starts_stream=True, route_prefix="", update_path="/stream/params")
_LIVE_PATH = "/live-video-to-video"

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "byoc": Profile(
            "A: as the BYOC documents prescribe it",
            stream=StreamSpec(route_prefix="auto"),
            stop=StopSpec(close_streams=True),
        ),
        "pytrickle": Profile(
            "B: PyTrickle 0.1.5 and newer",
            health=_PYTRICKLE_HEALTH,
            stream=_PYTRICKLE_STREAM,
            inference_path=_LIVE_PATH,
            stop=_PYTRICKLE_STOP,
            capability_name=True,
        ),
        "pytrickle-api": Profile(
            "C: PyTrickle up to 0.1.4, routes under /api",
            health=_PYTRICKLE_HEALTH,
            stream=StreamSpec(post_starts_stream=True, route_prefix="/api", update_path="/stream/params"),
            inference_path=_LIVE_PATH,
            stop=_PYTRICKLE_STOP,
            capability_name=True,
        ),
        "ai-runner": Profile("D: ai-runner, batch pipelines"),
        "ai-runner-live": Profile(
            "E: ai-runner, live-video-to-video",
            # 500 is normal until the inner process answers; starting a stream can stall health for 10 s.
            health=HealthSpec(ready=("idle",), busy=("ok",), early_loading_codes=(500,), failures=3),
            stream=StreamSpec(post_starts_stream=True, route_prefix=None),
            inference_path=_LIVE_PATH,
        ),
        "comfystream-byoc": Profile(
            "F: ComfyStream's BYOC server (PyTrickle, loads long)",
            health=_PYTRICKLE_HEALTH,
            stream=_PYTRICKLE_STREAM,
            inference_path=_LIVE_PATH,
            stop=_PYTRICKLE_STOP,
            start_timeout_s=600.0,
            capability_name=True,
        ),
        "comfystream": Profile(
            "G: ComfyStream's WebRTC API",
            port=8889,
            health=HealthSpec(kind=HealthKind.HTTP_STATUS, unparsed_as="ready"),
            inference_path="/offer",
        ),
        "app": Profile("H: FastAPI batch apps of livepeer-app-pipelines", port=9876),
        "bare": Profile(
            "I: any HTTP service without a health route",
            health=HealthSpec(kind=HealthKind.TCP, unparsed_as="ready"),
        ),
        "healthz": Profile(
            "J: runners with /healthz",
            port=8080,
            health=HealthSpec(kind=HealthKind.HTTP_STATUS, path="/healthz", loading_codes=(503,)),
        ),
    }
)
