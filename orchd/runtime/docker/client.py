"""Clients of the `docker` package: how they are made, cut short from another thread, and how their errors read."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from http.client import RemoteDisconnected
from typing import Any

import docker
import urllib3
from docker.errors import APIError, DockerException, StreamParseError
from docker.utils import config as docker_config
from docker.utils import kwargs_from_env

from orchd.errors import Code, EngineUnavailable


def _no_config_file(config_path: object = None) -> None:
    """In place of the search for Docker's configuration file, which the package reads whenever a client is made.

    One odd line in it would keep us from the engine altogether. Credentials are read by `credentials`; nothing else in
    that file matters here.
    """


docker_config.find_config_file = _no_config_file


def new_client(version: str, timeout_s: float, environment: Mapping[str, str]) -> docker.APIClient:
    """Connect to the engine that the environment names. Blocks, and raises what the package raises."""
    return docker.APIClient(version=version, timeout=timeout_s, **kwargs_from_env(dict(environment)))  # type: ignore[arg-type]


LOG_CHUNK = 65536


def open_log(
    client: docker.APIClient, which: str, params: Mapping[str, str | int], timeout_s: float
) -> Iterator[bytes]:
    """Yield a container's log as the engine sends it, multiplexed or not, in chunks of bounded size.

    The package's own way reads the log of a terminal byte by byte.
    """
    api: Any = client  # What is used of it here has no public name.
    follow = bool(params.get("follow"))
    # Silence is no fault of a container that is followed; it ends when the connection is cut.
    timeout = (timeout_s, None if follow else timeout_s)
    url = api._url("/containers/{0}/logs", which)  # noqa: SLF001
    with client.get(url, params=dict(params), stream=True, timeout=timeout) as answer:
        api._raise_for_status(answer)  # noqa: SLF001
        yield from answer.raw.stream(LOG_CHUNK)


class Refused(EngineUnavailable):
    """The engine answered, with an error.

    Attributes:
        status: HTTP status: 404 = no such thing, 409 = not in the state for it.
        reason: the engine's own words.
    """

    code = Code.ENGINE_REFUSED

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn whatever the package and what it stands on raise into ours."""
    try:
        yield
    except APIError as exc:
        reason = str(exc.explanation or exc).strip()
        message = f"cannot do this on Docker Engine at {where}: {reason}"
        raise Refused(message, status=exc.status_code or 500, reason=reason) from exc
    except (OSError, urllib3.exceptions.HTTPError) as exc:  # all of requests' are OSErrors
        raise EngineUnavailable(_unreachable(where, exc)) from exc
    except (DockerException, StreamParseError, ValueError) as exc:
        if isinstance(exc.__cause__, OSError):  # a fresh client's question for the version
            raise EngineUnavailable(_unreachable(where, exc)) from exc
        message = f"cannot use Docker Engine at {where}: {exc}"
        raise Refused(message, status=400, reason=str(exc)) from exc


def _unreachable(where: str, exc: Exception) -> str:
    words = str(exc)
    cause: BaseException | None = exc
    # The first cause says it plainly, and whatever library stands before it says it its own way.
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return silent(where)
        if isinstance(cause, RemoteDisconnected):
            words = "it closed the connection without an answer"
            break
        words = (isinstance(cause, OSError) and cause.strerror) or words
        cause = cause.__cause__ or cause.__context__
    if "ermission denied" in words:
        return f"cannot open Docker Engine at {where}: permission denied; may this user use it (group docker)?"
    return f"cannot reach Docker Engine at {where}: {words}; does it run? DOCKER_HOST names another"


def silent(where: str) -> str:
    """Return what to say of an engine that does not answer in time."""
    return (
        f"cannot get an answer from Docker Engine at {where} in time (docker.call_timeout_s): it hangs or is overloaded"
    )


class ClientCut:
    """Ends a client's requests from another thread, however far they are."""

    def __init__(self) -> None:
        self.done = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def watch(self, client: docker.APIClient) -> None:
        """Note the connections that `client` opens from now on.

        No library on the way names the socket of a request whose answer has not begun (a pull from a registry that
        is silent), so it is noted where it is made.
        """
        adapter: Any = client.get_adapter(client.base_url)
        get_pool = adapter.get_connection_with_tls_context

        def get_noting_pool(*args: Any, **kwargs: Any) -> Any:
            pool = get_pool(*args, **kwargs)
            pool._new_conn = lambda: self._noting(type(pool)._new_conn(pool))  # noqa: SLF001
            return pool

        adapter.get_connection_with_tls_context = get_noting_pool

    def _noting(self, connection: Any) -> Any:
        connect = connection.connect

        def connect_and_note() -> None:
            connect()
            with self._lock:
                self._sockets.append(connection.sock)
            if self.done:
                self.cut()

        connection.connect = connect_and_note
        return connection

    def cut(self) -> None:
        """Shut the connections down: who reads from them gets an error at once, and the engine sees it too."""
        self.done = True
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):  # closed already
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connections for good; an answer not read to its end would keep its own open."""
        with self._lock:
            for each in self._sockets:
                if (descriptor := each.detach()) >= 0:
                    os.close(descriptor)
