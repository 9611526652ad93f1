"""How commands talk to the running daemon: admin pages over HTTP, orders over the unix socket.

Nothing but the standard library: what only asks the daemon has to be quick.
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from orchd import __version__
from orchd.control.socket_path import SOCKET_NAME, short_path
from orchd.errors import Code, DaemonUnreachable, OrchdError
from orchd.settings.addresses import split_listen

Json = dict[str, Any]

ANSWER_TIMEOUT_S = 10.0
ANSWER_BYTES = 64 * 1024 * 1024
"""More than `/status` says of ten thousand models: what goes on is another program."""
_PIECE = 65536
_OK, _NOT_FOUND = 200, 404
_UNREADABLE = "cannot read the order"
"""How a daemon begins when it does not understand an order (`orchd/control/`)."""
_ENDED = "cannot tell what became of it: orchd ended before it said so"


def get_status(listen: str, model: str | None = None) -> Json:
    """Return `/status` of the daemon whose admin pages are at `listen`; of one model if named.

    Raises:
        DaemonUnreachable: nothing answers there, or something that isn't orchd.
        OrchdError: `unknown_target`: no such model.
    """
    host, port = split_listen(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - that is what we turn into loopback
    where = f"http://[{host}]:{port}/status" if ":" in host else f"http://{host}:{port}/status"
    query = f"?{urlencode({'model': model}, errors='backslashreplace')}" if model else ""
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_S)) as connection:
            connection.request("GET", f"/status{query}")
            with closing(connection.getresponse()) as answer:
                return _status(_body(_read(answer), answer.status))
    except (http.client.HTTPException, OSError, ValueError) as exc:
        raise _unreachable(f"orchd at {where}", "name its admin address with --admin-listen", exc) from exc


def order(state_dir: Path, name: str, body: Mapping[str, Any]) -> Iterator[Json]:
    """Give the daemon of this state directory an order, and yield what it tells, line by line, until it is done.

    Args:
        name: as `orchd/control/part.py` lists it.

    Raises:
        DaemonUnreachable: no daemon runs on that directory, or it ended before it was done.
        OrchdError: as the daemon says it.
    """
    path = state_dir / SOCKET_NAME
    advice = "run this as the user that runs orchd, and name its state directory with --state-dir"
    connection, connected = UnixConnection(path), False
    try:
        connection.connect()
        connected = True
        connection.request("POST", f"/{name}", json.dumps({"by": _who(), **body}), {"Content-Type": "application/json"})
        with closing(connection.getresponse()) as answer:
            if answer.status == _NOT_FOUND:  # This version says why not, with another status.
                raise DaemonUnreachable(_other_version(f"it does not know `orchd {name}`"))
            if answer.status != _OK:
                _body(_read(answer), answer.status)
            yield from _lines(answer)
    except OrchdError as exc:
        if exc.message.startswith(_UNREADABLE):
            raise DaemonUnreachable(_other_version(f"it expects `orchd {name}` to ask in another way")) from exc
        raise
    except (http.client.HTTPException, OSError, ValueError) as exc:
        if connected and isinstance(exc, ConnectionError):  # It was there, and may have begun.
            raise DaemonUnreachable(_ENDED) from exc
        raise _unreachable(f"orchd at {path}", advice, exc) from exc
    finally:
        connection.close()


def is_running(state_dir: Path) -> bool | None:
    """Return whether a daemon runs on that directory, by its socket; None = this user can't tell."""
    connection = UnixConnection(state_dir / SOCKET_NAME)
    try:
        connection.connect()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        return None
    finally:
        connection.close()
    return True


def _lines(answer: http.client.HTTPResponse) -> Iterator[Json]:
    try:
        while line := answer.readline():
            news = json.loads(line)
            if "error" in news:
                raise _refused(news)
            if "done" in news:
                return
            yield news
    except (http.client.HTTPException, ConnectionError) as exc:
        raise DaemonUnreachable(_ENDED) from exc
    raise DaemonUnreachable(_ENDED)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket.

    Args:
        timeout_s: for each step; None = waits for each line as long as it takes.
    """

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with short_path(self._path) as name:
            self.sock.connect(name)


def _who() -> str:
    """Return the name of the user who asks, also behind sudo."""
    if behind := os.environ.get("SUDO_USER"):
        return behind
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _unreachable(what: str, advice: str, exc: Exception) -> DaemonUnreachable:
    if isinstance(exc, OSError):
        number = exc.errno
        reason = os.strerror(number) if number and number > 0 else str(exc) or "it does not answer"
    else:
        reason = "what answers there is not orchd"
    return DaemonUnreachable(f"cannot reach {what}: {reason}; is it running? If so, {advice}")


def _other_version(why: str) -> str:
    return (
        f"cannot do that: {why}, so the daemon that runs is of another version than this command ({__version__}); "
        "restart it (systemctl restart orchd)"
    )


def _read(answer: http.client.HTTPResponse) -> bytes:
    """Return the body of an answer.

    Raises:
        TimeoutError: it comes too slowly.
        ValueError: it is not an answer of orchd, but too long.
    """
    text, until = bytearray(), time.monotonic() + ANSWER_TIMEOUT_S
    while piece := answer.read1(_PIECE):
        text += piece
        if len(text) > ANSWER_BYTES:
            raise ValueError("it is too long")
        if time.monotonic() > until:
            raise TimeoutError("timed out")
    return bytes(text)


def _status(body: Json) -> Json:
    """Return what `/status` says: daemons of all versions list their models.

    Raises:
        ValueError: it is not an answer of orchd.
    """
    models = body.get("models")
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        raise ValueError("it is not orchd")
    return body


def _body(text: bytes, status: int) -> Json:
    try:
        body = json.loads(text)
    except RecursionError as exc:
        raise ValueError("it is not orchd") from exc
    if not isinstance(body, dict):
        raise ValueError("what answers there is not orchd")
    if status == _OK:
        return body
    raise _refused(body)


def _refused(body: Json) -> OrchdError:
    """Return what the daemon refuses with; one of another version may have a code that is not known here.

    Raises:
        ValueError: it is not an answer of orchd.
    """
    try:
        code, message = str(body["error"]), str(body["message"])
    except KeyError:
        raise ValueError("what answers there is not orchd") from None
    return OrchdError(message, code=Code(code) if code in set(Code) else Code.INTERNAL)
