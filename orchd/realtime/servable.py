"""Whether clients who have nothing but a session of Live Runner's can use a model. Pure."""

from __future__ import annotations

from orchd.domain.model import ContainerLaunch, Model

WEBRTC = "comfystream"
"""The profile of containers whose media go by WebRTC (docs/protocol/container.md, 4.2)."""


def live_runner_gap(model: Model) -> str:
    """Return why such clients can't use it, with what to do about it; empty = they can."""
    if model.profile == WEBRTC and isinstance(model.launch, ContainerLaunch):
        return (
            "its media go by WebRTC to the container itself, which nobody outside can reach; use ComfyStream's BYOC "
            'server ("profile": "comfystream-byoc"), or leave Live Runner out of `register`'
        )
    if (model.stream.post_starts_stream or model.profile == WEBRTC) and not model.persistent:
        return 'a stream of it outlives the request that starts it, and its sessions do not; set "mode": "persistent"'
    return ""
