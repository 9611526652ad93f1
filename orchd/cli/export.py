"""`orchd export runners`: a file for a node that models are not to be registered with, in place of registrations.

It holds, for each model, the path segment that only the node may know, so it needs a state directory that a daemon has
used: the segments come from the key that is kept there.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from orchd.advertise import registries
from orchd.advertise.callback_verdict import grant_of
from orchd.advertise.export import ExportInput
from orchd.catalog.reload import read_file
from orchd.cli.flags import add_settings_flags
from orchd.cli.models_file import ERRORS, WHICH_FILE, find_models_file
from orchd.cli.rate import RATE_SETTINGS, rate_set
from orchd.database.beside import DATABASE, read_beside
from orchd.domain.offer import NodeProgram
from orchd.domain.state import Severity
from orchd.errors import OrchdError, SettingsError, StoreError
from orchd.node.route_secrets import KEY_NAME, RouteSecrets, is_key
from orchd.node.tables import find_secret
from orchd.settings.files import resolve_state_dir
from orchd.settings.tree import Settings
from orchd.streams import write
from orchd.text import printable

ABOUT = f"""\
With the setting orchestrator.live_runner = exported, orchd registers nothing with Live Runner: the node reads this file
at its start (RunnerConfig of Livepeer Node, -liveRunnerConfig of go-livepeer). An edit of the models needs another file
and another start of the node.

{WHICH_FILE}"""
PROGRAMS = {"node": NodeProgram.LIVEPEER_NODE, "go-livepeer": NodeProgram.GO_LIVEPEER}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="runners", choices=["runners"], help="the static runners of Live Runner")
    parser.add_argument(
        "--for",
        dest="program",
        choices=[*PROGRAMS],
        required=True,
        help="node = Livepeer Node (TOML), go-livepeer = go-livepeer (JSON)",
    )
    needed = ("instance", "orchestrator.callback_url", "orchestrator.capability")
    add_settings_flags(parser, only=("models_file", "state_dir", *needed, *RATE_SETTINGS))
    parser.epilog = ERRORS


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Return 1 if the models file has errors, else 0."""
    secrets = _segments(settings)
    path = find_models_file(args, settings, os.environ)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    reading = read_file(path, Path(credentials) if credentials else None, strict=settings.strict_file)
    for problem in reading.problems:
        if problem.severity is Severity.ERROR:
            _say(f"error    {problem}")
    rules, program = settings.orchestrator, PROGRAMS[args.program]
    given = ExportInput(
        program,
        tuple(reading.models.values()),
        settings.instance,
        rules.capability,
        rules.callback_url,
        rate_set(settings).eth_usd,
        secrets.segment,
    )
    names = [name for name in registries.names() if registries.about(name).exports]
    if not names:
        raise SettingsError("cannot export runners: no registry of this orchd can be given to a node as a file")
    text, left_out = registries.module(names[0], "export").export(given)
    for key, why in left_out.items():
        _say(f"warning  {key} is left out: {why}")
    _advise(settings, program)
    write(text.rstrip("\n"))
    return 1 if reading.count(Severity.ERROR) else 0


def _segments(settings: Settings) -> RouteSecrets:
    """Return what makes the secret path segments.

    Raises:
        OrchdError: there is no key yet, or it can't be read.
    """
    database = resolve_state_dir(settings.state_dir, os.environ) / DATABASE
    try:
        key = read_beside(database, lambda sql: find_secret(sql, KEY_NAME)) or ""
    except StoreError as exc:
        raise OrchdError(
            f"cannot export runners without the key that a daemon keeps in its database ({exc.message}): start orchd "
            "once with orchestrator.service_url set, and name its folder with --state-dir"
        ) from exc
    if not is_key(key):
        raise OrchdError(
            f"cannot export runners: {database} has no key for the node's URLs yet; start orchd once with "
            "orchestrator.service_url set"
        )
    return RouteSecrets(key, settings.orchestrator.token_rotation_h * 3600)


def _advise(settings: Settings, program: NodeProgram) -> None:
    _say(
        "this holds the secret path of each model: make the file readable for the node alone, by umask 077 or chmod 600"
    )
    rules = settings.orchestrator
    if program is NodeProgram.LIVEPEER_NODE:
        grant = grant_of(rules.callback_url) or "IP:PORT of orchestrator.callback_url, which has to name an IP address"
        names = ("RunnerGrants", "SessionProxyGrants", "HealthGrants")
        _say("Livepeer Node also needs: " + ", ".join(f'{name} = ["{grant}"]' for name in names))
    if rules.live_runner != "exported":
        _say(f"orchestrator.live_runner is {rules.live_runner}: set it to exported, or each model is there twice")


def _say(text: str) -> None:
    print(f"orchd: {printable(text)}", file=sys.stderr)
