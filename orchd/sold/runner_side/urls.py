"""Under which URLs a container reaches orchd, and clients reach what it has made. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchd.domain.ids import Address, ModelKey
from orchd.domain.live_runner import TRICKLE
from orchd.domain.model import ContainerLaunch, Model

LOOPBACK = "127.0.0.1"
RUN = "/run/"


class RunnerUrls:
    """The addresses of the runner's side.

    Args:
        service: origin and base path of the listener for payers, without a slash at its end.
        told: the setting `public.runner_url`; empty = it is found.
        host: returns the host under which containers reach the machine (or the container) that orchd runs on; empty =
            the engine has not said yet.
        models: returns what is served now.
    """

    def __init__(
        self, service: str, told: str, host: Callable[[], str], models: Callable[[], Mapping[ModelKey, Model]]
    ) -> None:
        self._service = service
        self._told = told
        self._host = host
        self._models = models
        self._at = ""
        self._port = 0

    def listening(self, port: int, at: str = "") -> None:
        """From now on the listener of the runner's side has this port.

        Args:
            at: the one address at which it listens; empty = at loopback and where containers reach it.
        """
        self._at, self._port = at, port

    def base(self, key: ModelKey) -> str:
        """Return where the runners of a model reach orchd, without a slash at its end."""
        if self._told:
            return self._told
        model = self._models().get(key)
        contained = model is None or isinstance(model.launch, ContainerLaunch)
        host = self._at or (self._host() if contained else "") or LOOPBACK
        return Address(host, self._port).url

    def control(self, key: ModelKey, session: str) -> str:
        """Return what a runner is told in `Livepeer-Session-Control`: what it does for its session is below that."""
        return f"{self.base(key)}/runner/{key.slug}/session/{session}"

    def channel(self, channel_name: str) -> str:
        """Return where clients reach a channel."""
        return f"{self._service}{TRICKLE}{channel_name}"

    def internal_channel(self, channel_name: str, key: ModelKey) -> str:
        """Return where the runners of a model reach a channel."""
        return f"{self.base(key)}{TRICKLE}{channel_name}"

    def proxy(self, id: str) -> str:
        """Return where clients reach a proxy."""
        return f"{self._service}{RUN}{id}"
