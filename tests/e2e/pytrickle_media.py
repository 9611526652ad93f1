"""Video of one colour as MPEG-TS segments, and the colours of what came back; run by `environments.PYTRICKLE`.

make FOLDER SEGMENTS R,G,B   writes 0.ts, 1.ts ...: a second each, whose times go on from one to the next
colours FILE                 prints the mean [r, g, b] of each frame, as JSON
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import av  # type: ignore[import-not-found]
import numpy as np  # type: ignore[import-not-found]

WIDTH, HEIGHT, RATE = 128, 96, 10


def make(folder: Path, segments: int, colour: tuple[int, ...]) -> None:
    picture = np.full((HEIGHT, WIDTH, 3), colour, dtype=np.uint8)
    with av.open(str(folder / "%d.ts"), "w", format="segment", options={"segment_time": "1"}) as out:
        stream = out.add_stream("libx264", rate=RATE, options={"g": str(RATE), "bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(segments * RATE):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def colours(file: str) -> list[list[int]]:
    with av.open(file) as found:
        frames = [frame.to_ndarray(format="rgb24") for frame in found.decode(video=0)]
    return [[round(value) for value in frame.mean(axis=(0, 1))] for frame in frames]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder, segments, colour]:
            make(Path(folder), int(segments), tuple(int(part) for part in colour.split(",")))
        case ["colours", file]:
            print(json.dumps(colours(file)))
