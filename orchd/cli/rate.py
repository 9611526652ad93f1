"""The rate between USD and ETH for commands that read a file."""

from __future__ import annotations

import asyncio
import os

from orchd.advertise.prices import NO_RATE
from orchd.advertise.rate import eth_usd_source
from orchd.advertise.settings import OrchestratorSettings
from orchd.cli.price_page import Rate
from orchd.errors import OrchdError
from orchd.settings.secrets import read_secret

RATE_SETTINGS = ("orchestrator.eth_usd", "orchestrator.eth_usd_feed", "orchestrator.rpc_url_file")


def rate_set(settings: OrchestratorSettings) -> Rate:
    """Return the rate that the settings name; a rate that can't be had is not an error, less is known then."""
    try:
        file = settings.rpc_url_file if settings.eth_usd == "feed" else ""
        url = read_secret("orchestrator.rpc_url_file", file, os.environ)
        source = eth_usd_source(settings.eth_usd, settings.eth_usd_feed, url, settings.call_timeout_s)
        return Rate(asyncio.run(source.read())) if source else Rate(None, NO_RATE)
    except OrchdError as exc:
        return Rate(None, exc.message)
