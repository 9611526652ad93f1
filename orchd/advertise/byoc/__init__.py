"""go-livepeer's BYOC registry: a list of capabilities, each with a URL and a token for its jobs."""

from __future__ import annotations

from orchd.advertise.registries import AboutRegistry
from orchd.errors import Code

NAME = "byoc"
ABOUT = AboutRegistry("BYOC", codes=(Code.NODE_CURRENCY,))
