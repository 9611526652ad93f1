"""The settings of connections, in the section `[jobs]`: listeners, timeouts and limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from orchd.settings.addresses import split_listen
from orchd.settings.basic import IsPath
from orchd.settings.section import AtLeastOne, NotNegative, Positive, Section, split_list


def _check_job_listen(listen: str) -> str:
    if listen == "systemd":
        return listen
    if listen.startswith("unix:"):
        if not listen.startswith("unix:/") or len(listen.encode()) > 5 + 107:
            raise ValueError(
                "a unix socket needs an absolute path of at most 107 bytes, such as unix:/run/orchd/jobs.sock"
            )
        return listen
    try:
        split_listen(listen)
    except ValueError as exc:
        raise ValueError(f"{exc}, or unix:/PATH, or systemd") from exc
    return listen


UNIX = IsPath(prefixes=("unix:",), listed=True)
JobListen = Annotated[str, AfterValidator(_check_job_listen)]


class RelaySettings(Section):
    """Connections of callers, and to runners."""

    listen: Annotated[tuple[JobListen, ...], BeforeValidator(split_list), Field(min_length=1), UNIX] = Field(
        ("127.0.0.1:8737",),
        description="List of addresses at which jobs are taken: host:port, unix:/PATH, or systemd (the sockets that "
        "the socket unit hands over). The default is loopback, where a node on the same machine reaches it.",
    )
    max_connections: AtLeastOne = Field(
        8192,
        description="Most connections of callers at one time; more get 503. The limit of open files lowers it, as each "
        "connection can take 6 descriptors.",
    )
    max_header_kb: AtLeastOne = Field(
        64, description="Longest request head in KiB; a longer one gets 431. Common proxies allow 8 to 64 KiB."
    )
    header_timeout_s: Positive = Field(
        10.0, description="Timeout in seconds for a request's head to arrive whole, from its first byte on."
    )
    connect_timeout_s: Positive = Field(
        5.0, description="Timeout in seconds for a connection to a runner; runners are near, so 5 s is long."
    )
    between_bytes_timeout_s: Positive = Field(
        60.0, description="Idle timeout in seconds between two pieces of a body, in either direction."
    )
    keepalive_s: Positive = Field(
        120.0,
        description="Keep-alive in seconds: how long an idle connection of a caller stays open. The default is above "
        "the 90 s for which Livepeer Node keeps its own (go-livepeer: 60 s), so that no job meets a closed one.",
    )
    runner_idle_s: Positive = Field(
        4.0,
        description="Keep-alive in seconds of an idle connection to a runner. The default is below the 5 s after which "
        "common Python servers close theirs.",
    )
    busy_poll_us: Annotated[int, Field(ge=0, le=1000)] = Field(
        100,
        description="How many microseconds to busy-poll for the answer after sending one small message, before "
        "blocking in epoll; 0 = never. The default costs little CPU and saves a wake-up on short jobs.",
    )
    refused_body_mb: AtLeastOne = Field(
        8,
        description="How many MiB of a refused job's body are read and dropped before the connection is closed, so "
        "that the caller can still read the answer.",
    )
    refused_body_s: Positive = Field(
        5.0, description="How many seconds the body of a refused job is read and dropped, at most."
    )
    min_body_rate: NotNegative = Field(
        240.0,
        description="Lowest rate in bytes per second at which a caller may send its body; a slower one gets 408, since "
        "it holds a slot. Audio, video and event streams, tunnels, and time in which orchd itself does not read are "
        "not counted. 0 = off.",
    )
    min_body_grace_s: NotNegative = Field(
        30.0,
        description="Grace period in seconds of waiting for a body before jobs.min_body_rate counts, as slow networks "
        "need time to start.",
    )
    body_timeout_s: NotNegative = Field(
        0.0,
        description="Timeout in seconds of waiting for one whole body, of the kinds that jobs.min_body_rate counts; "
        "a longer one gets 408. 0 = no limit, as large uploads over slow lines are legitimate.",
    )
