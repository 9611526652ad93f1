"""What a person needs to find a runner's container with `docker`: read when it is started or first seen, then kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from orchd.domain.whereabouts import Whereabouts
from orchd.errors import EngineUnavailable
from orchd.runtime.docker import spec
from orchd.runtime.docker.client import Refused
from orchd.runtime.docker.engine import Engine

Json = Mapping[str, Any]


class ContainerWhereabouts:
    """Those of our containers, by id. Each image is asked for its digest once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._whereabouts: dict[str, Whereabouts] = {}
        self._digests: dict[str, str] = {}

    def get(self, handle: str) -> Whereabouts | None:
        """Return what is known of a container; None = nothing yet."""
        return self._whereabouts.get(handle)

    def keep_only(self, handles: Collection[str]) -> None:
        """Forget the others, which are gone."""
        if len(self._whereabouts) > len(handles):
            self._whereabouts = {
                handle: whereabouts for handle, whereabouts in self._whereabouts.items() if handle in handles
            }
            images = {whereabouts.image_id for whereabouts in self._whereabouts.values()}
            self._digests = {image: digest for image, digest in self._digests.items() if image in images}

    async def inspected(self, found: Json) -> None:
        """Take in what `docker inspect` says of one that was just started, and ask for its image's digest."""
        labels = found["Config"]["Labels"] or {}
        ports = found["NetworkSettings"]["Ports"] or {}
        bound: Json = next(iter(ports.get(f"{spec.port_of(labels)}/tcp") or ()), {})
        image = found["Config"]["Image"], found["Image"]
        await self._keep(found["Id"], found["Name"].lstrip("/"), image, labels, int(bound.get("HostPort") or 0))

    async def listed(self, entry: Json) -> None:
        """Take in what the list of containers says of one that runs, if that is not known yet."""
        labels = entry["Labels"] or {}
        port = spec.port_of(labels)
        bound = (one.get("PublicPort") for one in entry.get("Ports") or () if one.get("PrivatePort") == port)
        host_port = next((found for found in bound if found), 0)
        known = self._whereabouts.get(entry["Id"])
        if known is None or known.host_port != host_port:  # Somebody has started it again by hand.
            name = spec.own_name(entry["Names"] or ())
            image = entry.get("Image") or "", entry.get("ImageID") or ""
            await self._keep(entry["Id"], name, image, labels, host_port)

    async def _keep(
        self, handle: str, name: str, image: tuple[str, str], labels: Mapping[str, str], host_port: int
    ) -> None:
        said, image_id = image
        digest = await self._digest(image_id, said)
        self._whereabouts[handle] = Whereabouts(
            name=name,
            image=said,
            image_id=image_id,
            digest=digest,
            port=spec.port_of(labels) or 0,
            host_port=host_port,
        )

    async def _digest(self, image_id: str, name: str) -> str:
        """Return the digest under which a registry has the image; of several that of the registry that is named."""
        if not image_id:
            return ""
        if image_id not in self._digests:
            try:
                digests = await self._engine.digests(image_id)
            except (EngineUnavailable, Refused):
                return ""
            repository = name.partition("@")[0].rpartition(":")[0] or name
            self._digests[image_id] = next(
                (one for one in digests if one.startswith(f"{repository}@")), next(iter(digests), "")
            )
        return self._digests[image_id]
