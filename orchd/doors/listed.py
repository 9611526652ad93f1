"""The doors of the private listeners, in the order in which they are tried."""

from __future__ import annotations

from orchd.doors.base import Door
from orchd.doors.byoc.door import ByocDoor
from orchd.doors.live_runner.door import LiveRunnerDoor
from orchd.doors.plain.door import PlainDoor

DOORS: tuple[Door, ...] = (ByocDoor(), LiveRunnerDoor(), PlainDoor())
"""What the private listeners carry. The plain one takes nearly everything, so it is the last."""
