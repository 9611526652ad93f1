"""`orchd version`: of orchd, of what it stands on and of what it works with. It works with nothing running."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from orchd import __version__
from orchd.call_within import Begun
from orchd.cli.client import Json, UnixConnection, get_status
from orchd.cli.flags import add_client_flags
from orchd.domain.offer import NodeProgram
from orchd.errors import DaemonUnreachable, OrchdError
from orchd.settings.basic import ADMIN_LISTEN
from orchd.settings.client import ClientSettings
from orchd.settings.files import reason
from orchd.streams import write
from orchd.text import TextStyle, printable, style_of

TIMEOUT_S = 2.0
"""Timeout for the daemon and the engine, which are asked at the same time."""
ENGINE = "unix:///var/run/docker.sock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_client_flags(parser, ADMIN_LISTEN)


def run(args: argparse.Namespace, settings: ClientSettings) -> int:
    engine = Begun(lambda: ask_engine(os.environ))
    status = Begun(lambda: get_status(settings.admin.listen))
    told: Json = {
        "orchd": __version__,
        "python": {"version": platform.python_version(), "path": sys.executable},
        "libraries": libraries(),
        "engine": _or_error(lambda: engine.result(TIMEOUT_S)),
    }
    told["daemon"], told["node"] = _daemon(_or_error(lambda: status.result(TIMEOUT_S)), settings.admin.listen)
    write(json.dumps(told, indent=2) if args.json else "\n".join(_lines(told, style_of(sys.stdout))))
    return 0


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that orchd asks for, by name; those that are not installed are left out."""
    found = {}
    try:
        for line in metadata.requires("orchd") or ():
            name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
    except metadata.PackageNotFoundError:  # It runs from a folder of sources.
        return {}
    return dict(sorted(found.items()))


def ask_engine(env: Mapping[str, str]) -> Json:
    """Return the version of the engine that the environment names, and where it is.

    Raises:
        OrchdError: it can't be asked, or does not answer as one.
    """
    where = env.get("DOCKER_HOST") or ENGINE
    shown = re.sub(r"(?<=://)[^/?#]*@", "***@", where)
    try:
        with closing(_engine_connection(where, env)) as connection:
            connection.request("GET", "/version")
            version = str(json.loads(connection.getresponse().read())["Version"])
    except OSError as exc:
        why = f"no answer within {TIMEOUT_S:g} s" if isinstance(exc, TimeoutError) else reason(exc)
        raise DaemonUnreachable(f"cannot reach {shown}: {why}") from exc
    except (http.client.HTTPException, ValueError, LookupError, TypeError) as exc:
        raise DaemonUnreachable(f"cannot reach {shown}: what answers there is no Docker Engine") from exc
    return {"version": version, "at": shown}


def _engine_connection(where: str, env: Mapping[str, str]) -> http.client.HTTPConnection:
    """Return a connection that is not open yet.

    Raises:
        OrchdError: the engine can't be asked from here.
    """
    url = urlsplit(where if "://" in where else f"tcp://{where}")
    if url.scheme == "unix":
        return UnixConnection(Path(url.path), TIMEOUT_S)
    if url.scheme in ("tcp", "http") and url.hostname and not env.get("DOCKER_TLS_VERIFY"):
        return http.client.HTTPConnection(url.hostname, url.port or 2375, timeout=TIMEOUT_S)
    over = "TLS" if env.get("DOCKER_TLS_VERIFY") else url.scheme
    raise OrchdError(f"cannot ask {url.scheme}://...: this command does not speak {over}; `docker version` does")


def _daemon(status: Json, listen: str) -> tuple[Json, Json | None]:
    """Return what `/status` says of the daemon and of its node; None = there is none, or nobody says."""
    if "error" in status:
        return status, None
    node = status.get("node")
    seen = (
        {
            "program": node.get("program"),  # A daemon of before the update does not say.
            "version": node.get("version") or None,
            "up": bool(node.get("up")),
        }
        if node
        else None
    )
    return {"version": (status.get("daemon") or {}).get("version"), "at": f"http://{listen}"}, seen


def _or_error(work: Callable[[], Json]) -> Json:
    try:
        return work()
    except OrchdError as exc:
        return {"error": exc.message}
    except TimeoutError:
        return {"error": f"no answer within {TIMEOUT_S:g} s"}


def _lines(told: Json, style: TextStyle) -> Iterator[str]:
    engine, daemon, node = told["engine"], told["daemon"], told["node"]
    yield from _line(style, "orchd", told["orchd"])
    yield from _line(style, "Python", f"{told['python']['version']} ({told['python']['path']})")
    for number, (name, version) in enumerate(told["libraries"].items()):
        yield from _line(style, "" if number else "libraries", f"{name} {version}")
    yield from _line(style, "engine", engine.get("error") or f"Docker {engine['version']} at {engine['at']}")
    yield from _line(style, "daemon", daemon.get("error") or _daemon_said(daemon))
    if node:
        name = f"{NodeProgram(node['program']).in_words} " if node["program"] else ""
        which = name + (node["version"] or "(version not known)")
        yield from _line(style, "node", f"{which}, {'up' if node['up'] else 'down'}")
    else:
        yield from _line(style, "node", "not known without the daemon" if "error" in daemon else "none is set")


def _daemon_said(daemon: Json) -> str:
    version, at = daemon["version"], daemon["at"]
    if version == __version__:
        return f"{version} at {at}"
    runs = f"{version} runs" if version else "an older version runs"
    return f"{runs} at {at}, not {__version__}: restart it (systemctl restart orchd)"


def _line(style: TextStyle, title: str, text: str) -> list[str]:
    first, *more = style.wrap(printable(text), " " * 11)
    return [f"{title:<11}{first.lstrip()}", *more]
