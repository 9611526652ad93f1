"""A folder is all that a registry needs: settings, metrics, prices and the advertiser find it there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import orchd

FILES = {
    "__init__.py": """
from orchd.advertise.registries import AboutRegistry
from orchd.errors import Code

ABOUT = AboutRegistry("Echo", codes=(Code.UNKNOWN_TARGET,))
""",
    "registry.py": """
class EchoRegistry:
    def __init__(self, context):
        self.context = context

    async def run(self):
        pass

    async def withdraw_all(self):
        pass


async def spoken(client, settings, node):
    return True


make = EchoRegistry
""",
    "prices.py": """
from orchd.advertise.prices import ToldPrice

HEADING = "ECHO"


def describe(price, eth_usd):
    return ToldPrice("told", "", {"echo": True})


def remarks(price, eth_usd, node):
    return {"odd": "it echoes"}
""",
}

USED = """
from fractions import Fraction
from types import SimpleNamespace

import orchd
from pathlib import Path
from orchd.advertise import registries
from orchd.advertise.advertiser import Advertiser
from orchd.told_gpus import ToldGpus
from orchd.advertise.listings import Listings
from orchd.advertise.metrics import RegistryErrors
from orchd.advertise.price_doubts import warnings
from orchd.advertise.settings import OrchestratorSettings
from orchd.cli.price_page import Rate, Row, as_json, as_text
from orchd.text import TextStyle
from orchd.domain.money import Price
from orchd.exposition import MetricsRegistry

assert Path(orchd.__file__).is_relative_to(Path.cwd())
assert "echo" in registries.names()
settings = OrchestratorSettings.model_validate({"service_url": "https://127.0.0.1:9", "register": "echo"})
metrics = MetricsRegistry()
RegistryErrors(metrics)
[line] = [each for each in metrics.render().decode().splitlines() if "echo" in each and "unknown_target" in each]
assert line.startswith("orchd_registry_errors_total")
assert ("odd", "it echoes") in warnings(Price(Fraction(5)), None, None, None)
[model] = as_json([Row(SimpleNamespace(pipeline="p", model_id="m"))], Rate(None))["models"]
assert model["echo"] is None

import asyncio

class Watch:
    def __init__(self):
        self.asked = []
    def ask(self, name, spoken):
        self.asked.append(name)

async def build():
    watch = Watch()
    node = SimpleNamespace(calls=None, tokens=None, store=None, watch=watch, healthy=set())
    nothing = lambda *_: 0
    listings = Listings(active=nothing, begun=nothing, streams=nothing)
    advertiser = Advertiser(settings, listings, node, None, None, "test", ToldGpus(None, ()))
    assert watch.asked == ["echo"]
    assert "echo" in listings.published
    roots = advertiser.roots()
    assert "echo" in roots
    for root in roots.values():
        root.close()

asyncio.run(build())
"""


def test_a_registry_is_found_by_its_folder(tmp_path: Path) -> None:
    package = Path(orchd.__file__).parent
    shutil.copytree(package, tmp_path / "orchd")
    folder = tmp_path / "orchd" / "advertise" / "echo"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    run = subprocess.run([sys.executable, "-c", USED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
