"""Which channels a stream gets where its client brings none, and which URL goes where. Pure.

A gateway of BYOC's has its channels from the node. A client of Live Runner's has none: it is up to who serves the
session to have them made, by the node (docs/protocol/livepeer-node.md, 8.3; docs/protocol/live-runner.md, 5) or, for a
session that orchd sells, by orchd. Names are from the
container's view, as in `docs/protocol/trickle.md`, 10: it subscribes to what the client publishes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import urlsplit

from orchd.domain.model import ContainerLaunch, Model

IN, OUT, CONTROL, EVENTS, DATA = "in", "out", "control", "events", "data"
MIME_TYPES: Mapping[str, str] = MappingProxyType(
    {
        IN: "video/MP2T",
        OUT: "video/MP2T",
        CONTROL: "application/json",
        EVENTS: "application/json",
        DATA: "application/jsonl",
    }
)
"""The channels by name, each with its MIME type."""

CLIENT_WRITES = (IN, CONTROL)
"""Those that the client writes."""

_OTHERS = {CONTROL: "control_url", EVENTS: "events_url", DATA: "data_url"}
_FOR_CONTAINER = {IN: "subscribe_url", OUT: "publish_url", **_OTHERS}
_FOR_CLIENT = {IN: "publish_url", OUT: "subscribe_url", **_OTHERS}
MEDIA_FIELDS = frozenset(_FOR_CONTAINER.values())
"""The fields of a start with which a client brings its own media."""

DOCKER_HOST = "host.docker.internal"
"""The host's name in each container that orchd starts."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_BOM = b"\xef\xbb\xbf"


class ChannelUrls(NamedTuple):
    """Where one channel is.

    Attributes:
        url: for the client.
        internal_url: for the container.
    """

    url: str
    internal_url: str


@dataclass(frozen=True, slots=True)
class ChannelSet:
    """All channels of a stream, by name. Who knows their URLs can read and write them, so they are not shown."""

    channels: Mapping[str, ChannelUrls] = field(repr=False)

    def start(self, body: bytes, stream_id: str, model: Model) -> bytes:
        """Return the body of a start for the container: the client's, with our fields behind it, which count then.

        Args:
            body: a JSON object, or empty.
        """
        said = dict.fromkeys(("gateway_request_id", "stream_id", "manifest_id"), stream_id)
        for name, where in _FOR_CONTAINER.items():
            said[where] = _from_runner(self.channels[name].internal_url, model)
        ours = json.dumps(said).encode()
        theirs = body.removeprefix(_BOM).strip()[1:-1].strip()
        return b"{" + theirs + b", " + ours[1:] if theirs else ours

    def answer(self, stream_id: str) -> bytes:
        """Return what the client is told, as the live-video calls of Livepeer's Python SDK take it."""
        said = {"manifest_id": stream_id, **{where: self.channels[name].url for name, where in _FOR_CLIENT.items()}}
        return json.dumps(said).encode()


def wanted() -> bytes:
    """Return the body that asks the node for all channels."""
    channels = [{"name": name, "mime_type": mime_type} for name, mime_type in MIME_TYPES.items()]
    return json.dumps({"channels": channels}).encode()


def unwanted(*names: str) -> bytes:
    """Return the body that has the node remove channels."""
    return json.dumps({"channels": names}).encode()


def read_channels(document: object) -> ChannelSet:
    """Return what the node has made.

    Raises:
        ValueError: a channel is missing, or has no URL. The text holds none.
    """
    listed = document.get("channels") if isinstance(document, dict) else None
    found: dict[str, ChannelUrls] = {}
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and _is_url(url := each.get("url")):
            internal_url = each.get("internal_url")
            found[str(each.get("name"))] = ChannelUrls(url, internal_url if _is_url(internal_url) else url)
    if missing := [name for name in MIME_TYPES if name not in found]:
        raise ValueError(f"it gave no URL of {', '.join(missing)}")
    return ChannelSet(found)


def brings_media(said: Mapping[str, Any], body: bytes) -> bool:
    """Return whether a start names media of the client's own; then it is passed on as it is.

    Args:
        said: what the body says; empty if it was too long to be read. A long one that only mentions such a field is
            taken to use it.
    """
    if said:
        return any(said.get(name) for name in MEDIA_FIELDS)
    return any(b'"%s"' % name.encode() in body for name in MEDIA_FIELDS)


def _is_url(url: object) -> TypeGuard[str]:
    try:
        return isinstance(url, str) and urlsplit(url).scheme in ("http", "https") and urlsplit(url).port != 0
    except ValueError:  # Of its port.
        return False


def _from_runner(url: str, model: Model) -> str:
    """Return the URL as the runner reaches it: inside a container, loopback is the container itself."""
    parts = urlsplit(url)
    if not isinstance(model.launch, ContainerLaunch) or parts.hostname not in _LOOPBACK:
        return url
    return parts._replace(netloc=DOCKER_HOST + (f":{parts.port}" if parts.port else "")).geturl()
