"""How a person finds a runner. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """How a person finds a runner with other tools. Nothing of it is secret: neither arguments nor environment.

    Attributes:
        name, image: of its container; empty = it is a process. `image` as the entry names it.
        image_id: the engine's own; `digest`: as a registry names it, `name@sha256:...`, empty = it came from none.
        pid: of its first process; 0 = it is a container.
        port: at which it answers, inside the container. `host_port`: of this machine; 0 = it has none.
    """

    name: str = ""
    image: str = ""
    image_id: str = ""
    digest: str = ""
    pid: int = 0
    port: int = 0
    host_port: int = 0
