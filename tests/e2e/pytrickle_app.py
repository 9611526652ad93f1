"""A container's program: PyTrickle 0.1.6 with a model that inverts colours, on $PORT (8000).

`POST /stream/params` with {"keep": N} keeps the channel N (0 red, 1 green, 2 blue) and makes the others black.
`GET /seen` tells {"pid", "starts": ids of the streams that were started, in order}.
It runs in the environment of `environments.PYTRICKLE`, not in orchd's.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import torch  # type: ignore[import-not-found]
from aiohttp import web
from pytrickle import FrameProcessor, StreamServer, VideoFrame  # type: ignore[import-not-found]


class Inverter(FrameProcessor):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.starts: list[str] = []
        self._keep: int | None = None

    async def load_model(self, **_: Any) -> None:
        torch.set_num_threads(1)

    async def on_stream_start(self, params: dict[str, Any]) -> None:
        self.starts.append(params["name"])
        self._keep = None

    async def process_video_async(self, frame: VideoFrame) -> VideoFrame:
        inverted = 1 - frame.tensor
        if self._keep is not None:
            dark = torch.zeros_like(inverted)
            dark[..., self._keep] = inverted[..., self._keep]
            inverted = dark
        return frame.replace_tensor(inverted)

    async def process_audio_async(self, frame: Any) -> list[Any]:
        return [frame]

    async def update_params(self, params: dict[str, Any]) -> None:
        self._keep = params.get("keep", self._keep)


async def main() -> None:
    inverter = Inverter()

    async def seen(_request: web.Request) -> web.Response:
        return web.json_response({"pid": os.getpid(), "starts": inverter.starts})

    server = StreamServer(
        frame_processor=inverter,
        port=int(os.environ.get("PORT", "8000")),
        custom_routes=[{"method": "GET", "path": "/seen", "handler": seen}],
    )
    await server.run_forever()


if __name__ == "__main__":
    asyncio.run(main())
