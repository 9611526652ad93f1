"""Live Runner, the successor of BYOC's registry: runners that send heartbeats, or are listed at the node's CLI port."""

from __future__ import annotations

from orchd.advertise.registries import AboutRegistry

NAME = "live-runner"
ABOUT = AboutRegistry("Live Runner", exports=True)
