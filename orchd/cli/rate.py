"""The rate between USD and ETH for commands that read a file."""

from __future__ import annotations

import asyncio
import os
from fractions import Fraction

from orchd.advertise.prices import NO_RATE
from orchd.cli.price_page import Rate
from orchd.errors import OrchdError
from orchd.names import Names
from orchd.rate.source import EthUsd, eth_usd_source
from orchd.rpc.client import HttpRpcClient, RpcClient
from orchd.rpc.servers import RpcServers
from orchd.rpc.urls import SETTING, rpc_urls
from orchd.settings.secrets import read_secret
from orchd.settings.tree import Settings

RATE_SETTINGS = ("orchestrator.eth_usd", "orchestrator.eth_usd_feed", SETTING)


def rate_set(settings: Settings) -> Rate:
    """Return the rate that the settings name; a rate that can't be had is not an error, less is known then."""
    client = HttpRpcClient(Names())
    try:
        source = _source(settings, client)
        return Rate(asyncio.run(_read(source, client))) if source else Rate(None, NO_RATE)
    except OrchdError as exc:
        return Rate(None, exc.message)


def _source(settings: Settings, client: RpcClient) -> EthUsd | None:
    rules, chain = settings.orchestrator, settings.chain
    rpc = None
    if rules.eth_usd == "feed" and chain.rpc_url_file:
        urls = rpc_urls(read_secret(SETTING, chain.rpc_url_file, os.environ, lines=True))
        rpc = RpcServers(urls, client, chain.id, chain.call_timeout_s)
    return eth_usd_source(rules.eth_usd, rules.eth_usd_feed, rpc)


async def _read(source: EthUsd, client: RpcClient) -> Fraction:
    try:
        return await source.read()
    finally:
        await client.close()
