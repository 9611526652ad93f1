"""EDGE. Has the node make and remove the channels of one of its sessions, with the session's token.

The node tells a session's control URL in each request of it. Only what names the session is taken of that: the calls
go to the node's service port as the settings have it, so that no caller can have the token sent elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog

from orchd.domain.live_runner import TOKEN, TRICKLE
from orchd.domain.model import Secret
from orchd.domain.redact import scrub
from orchd.errors import OrchdError
from orchd.realtime.channels import CLIENT_WRITES, MIME_TYPES, ChannelSet, read_channels, unwanted, wanted
from orchd.realtime.session_channels import NoChannels

if TYPE_CHECKING:
    from orchd.node.ports import NodeAnswer, NodeCalls

log = structlog.get_logger("orchd.streams")


class NodeChannels:
    """The channels of one session of the node's. After `session_channels.SessionChannels`.

    Args:
        route: as the node names the runner (`Livepeer-Runner-Route`).
        token: of the session; who has it may end the session.
    """

    def __init__(self, calls: NodeCalls, route: str, session: str, token: Secret) -> None:
        self._calls = calls
        self._session = session
        self._token = token
        self._client_paths: list[str] = []
        self._path = f"/runner/{quote(route, safe='')}/session/{quote(session, safe='')}/channels"

    async def make(self) -> ChannelSet:
        """Have the node make them. Those that are there already stay as they are.

        Raises:
            NoChannels: there are not all of them; what was made is removed again.
        """
        try:
            answer = await self._ask("POST", wanted())
            if answer.status < 300:
                made = read_channels(answer.json())
                self._client_paths = [TRICKLE + made.channels[name].url.partition(TRICKLE)[2] for name in CLIENT_WRITES]
                return made
            said, why = f"it answered {answer.status}", f"it answered {answer.status}: {answer.text()}"
        except OrchdError as exc:
            said, why = "it gave no answer that can be read", exc.message
        except ValueError as exc:
            said = why = str(exc)
        # Only the log tells all: the node's words may hold addresses that are no client's business.
        log.warning("channels_not_made", stream=self._session, reason=scrub(why, [self._token.value]))
        await self.remove()
        raise NoChannels(f"the node makes no channels for it: {said}")

    async def remove(self) -> None:
        """Have the node remove them. What it does not know is fine; what it does not answer to ends with the session.

        go-livepeer answers 404 at the first channel that it does not know and leaves the rest, so then each is named
        by itself.
        """
        try:
            if (await self._ask("DELETE", unwanted(*MIME_TYPES))).status == 404:
                for name in MIME_TYPES:
                    await self._ask("DELETE", unwanted(name))
        except OrchdError as exc:
            log.warning("channels_not_removed", stream=self._session, reason=str(exc))

    async def client_heads(self) -> tuple[int, ...] | None:
        """Return how many segments the client has begun in each channel that it writes; -1 = the channel is gone.

        None: the node does not say, or it was an earlier orchd that had them made.
        """
        if not self._client_paths:
            return None
        try:
            answers = [await self._calls.service("GET", f"{path}/next") for path in self._client_paths]
        except OrchdError:
            return None
        heads = [-1 if answer.has_no_channel() else _head(answer) for answer in answers]
        return None if None in heads else tuple(head for head in heads if head is not None)

    async def _ask(self, method: str, body: bytes) -> NodeAnswer:
        headers = {"Content-Type": "application/json", TOKEN: self._token.value}
        return await self._calls.service(method, self._path, headers=headers, body=body)


def _head(answer: NodeAnswer) -> int | None:
    """Return the number that an answer holds; None = it says something else, such as that the node is busy."""
    text = answer.text()
    return int(text) if answer.status == 200 and text.isdecimal() else None
