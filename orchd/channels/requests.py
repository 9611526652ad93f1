"""A request to the channels: method and path -> an answer, or the hold of a reader or a writer. Pure.

Source: docs/protocol/trickle.md 2. Channels are made by orchd alone: a POST of a channel says whether it is there.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from orchd.channels import answers
from orchd.channels.answers import TrickleAnswer
from orchd.channels.channels import Channels
from orchd.channels.reading import SegmentReader
from orchd.channels.segment import Wake
from orchd.channels.upload import Upload

Hold = SegmentReader | Upload
"""Of a segment, by a request that is under way: who gets one calls its `leave` in the end."""

_CHANNEL_METHODS = ("DELETE", "POST")
_SEGMENT_METHODS = ("DELETE", "GET", "HEAD", "POST")
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def ask(channels: Channels, method: str, path: str, wake: Wake, *, reset: bool) -> TrickleAnswer | Hold:
    """Return the answer to a request, or what it waits for.

    Args:
        path: below the address of the channels, without a leading slash, escaped as it came: an escaped slash is part
            of a name.
        wake: for the hold that may be returned. A HEAD gets one like a GET, and is answered without a body.
        reset: the request has the header `Lp-Trickle-Reset`.
    """
    match [unquote(part) for part in path.split("/")]:
        case [name] if name:
            return _ask_channel(channels, method, name)
        case [name, number] if name and number:
            return _ask_segment(channels, method, name, number, wake, reset=reset)
    return answers.NO_ROUTE


def _ask_channel(channels: Channels, method: str, name: str) -> TrickleAnswer:
    match method:
        case "POST":
            return answers.NO_CHANNEL if channels.get(name) is None else answers.OK
        case "DELETE":
            return answers.OK if channels.remove(name) else answers.NO_CHANNEL_TO_REMOVE
    return answers.method_not_allowed(*_CHANNEL_METHODS)


def _ask_segment(
    channels: Channels, method: str, name: str, number: str, wake: Wake, *, reset: bool
) -> TrickleAnswer | Hold:
    if method not in _SEGMENT_METHODS:
        return answers.method_not_allowed(*_SEGMENT_METHODS)
    reads = method in ("GET", "HEAD")
    channel = channels.get(name)
    if channel is None:
        return answers.NO_CHANNEL_TO_WRITE if method == "POST" else answers.NO_CHANNEL
    if reads and number == "next":
        return answers.head_number(channel.head)
    if _NUMBER.fullmatch(number) is None:
        return answers.BAD_NUMBER
    if reads:
        return channels.read(channel, int(number), wake)
    if method == "POST":
        return channels.publish(channel, int(number), wake, reset=reset)
    return channels.end_segment(channel, int(number))
