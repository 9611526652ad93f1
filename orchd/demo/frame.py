"""A black frame as a job: sent in two halves, so that something may happen in between, and what must come back."""

from __future__ import annotations

import http.client
from typing import Self

from orchd.demo.child import PATIENCE_S
from orchd.errors import OrchdError

BLACK = bytes(640 * 480 * 3)
HALF = len(BLACK) // 2
GREEN_SUM = 640 * 480 * 80
PATH = "/live/video-to-video"


class FrameJob:
    """`POST /live/video-to-video` with a black frame of raw RGB. The first half is sent when the block begins."""

    def __init__(self, port: int, model_id: str) -> None:
        self._model_id = model_id
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        self._connection.putrequest("POST", PATH)
        self._connection.putheader("X-Model-Id", self._model_id)
        self._connection.putheader("Content-Type", "application/octet-stream")
        self._connection.putheader("Content-Length", str(len(BLACK)))
        self._connection.endheaders(BLACK[:HALF])
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def finish(self) -> tuple[int, bytes]:
        """Send the second half, and return status and body of the answer."""
        self._connection.send(BLACK[HALF:])
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def tinted(status: int, body: bytes) -> str:
    """Check that `body` is the black frame, tinted green, and return its figures.

    Raises:
        OrchdError: it is not.
    """
    if status != http.client.OK:
        raise OrchdError(f"cannot get the frame back: HTTP {status}: {body[:500].decode(errors='replace')}")
    figures = f"{len(body):,} bytes, green sum {sum(body[1::3]):,}"
    if (len(body), sum(body[1::3])) != (len(BLACK), GREEN_SUM):
        raise OrchdError(f"cannot accept the frame: {figures}, where {len(BLACK):,} and {GREEN_SUM:,} are right")
    return figures
