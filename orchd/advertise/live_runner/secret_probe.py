"""Whether the node knows our secret, asked without registering anything."""

from __future__ import annotations

import asyncio

from orchd.domain.model import Secret
from orchd.node.ports import NodeCalls

FRESH_S = 1.0
"""For so many seconds one answer serves all models that ask."""


class SecretProbe:
    """Sends an empty heartbeat: what is refused in it, the secret or the body, says whether the secret is right.

    Source: docs/protocol/livepeer-node.md, 3.
    """

    def __init__(self, calls: NodeCalls) -> None:
        self._calls = calls
        self._lock = asyncio.Lock()
        self._asked: tuple[Secret, float, int] | None = None

    async def status(self, secret: Secret) -> int:
        """Return the status of the answer.

        Raises:
            NodeError: there was none.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._asked is not None and self._asked[0] == secret and now - self._asked[1] < FRESH_S:
                return self._asked[2]
            headers = {"Content-Type": "application/json"}
            answer = await self._calls.service(
                "POST", "/runners/heartbeat", headers=headers, body=b"{}", authorization=secret
            )
            self._asked = secret, asyncio.get_running_loop().time(), answer.status
            return answer.status
