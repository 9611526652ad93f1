"""What parts keep, in memory."""

from __future__ import annotations

from orchd.domain.ids import ModelKey
from orchd.domain.stores import StoredStream


class FakeSecretStore:
    """`stores.SecretStore`, in memory."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}

    async def secret(self, name: str) -> str | None:
        return self.secrets.get(name)

    async def save_secret(self, name: str, value: str) -> None:
        self.secrets[name] = value

    async def forget_secret(self, name: str) -> None:
        self.secrets.pop(name, None)


class FakeStreamStore:
    """`stores.StreamStore`, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[ModelKey, str], StoredStream] = {}

    async def streams(self) -> tuple[StoredStream, ...]:
        return tuple(self.kept.values())

    async def save_stream(self, stream: StoredStream) -> None:
        self.kept[stream.runner.key, stream.id] = stream

    async def forget_stream(self, key: ModelKey, id: str) -> None:
        self.kept.pop((key, id), None)
