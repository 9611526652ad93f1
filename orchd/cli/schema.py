"""`orchd schema`: the JSON Schema of aiModels.json, for editors and other tools."""

from __future__ import annotations

import argparse
import json

from orchd.catalog.json_schema import json_schema
from orchd.settings.client import ClientSettings
from orchd.streams import write


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(_args: argparse.Namespace, _settings: ClientSettings) -> int:
    write(json.dumps(json_schema(), indent=2))
    return 0
