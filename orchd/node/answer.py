"""What the node answers, and the error that it can't be asked. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from orchd.errors import Code, OrchdError
from orchd.reasons import one_line

TEXT_BYTES = 4096
"""How much of an answer is read where it is shown, or compared with other answers."""

NO_CHANNEL = "Stream not found"
"""What both programs say of a trickle channel that they have not (docs/protocol/trickle.md, 4)."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a pair that stands for one character. Without its other half it can be neither stored nor sent on."""


class NodeError(OrchdError):
    """The node can't be asked, or does not do what it was asked.

    Attributes:
        dropped: it took the call and closed the connection without an answer.
        wrong_scheme: it speaks TLS there and was asked without, or the other way round.
    """

    code = Code.NODE_UNREACHABLE

    def __init__(
        self, message: str, *, code: Code | None = None, dropped: bool = False, wrong_scheme: bool = False
    ) -> None:
        super().__init__(message, code=code)
        self.dropped = dropped
        self.wrong_scheme = wrong_scheme


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """An answer of the node with its whole body."""

    status: int
    body: bytes
    content_type: str

    def text(self) -> str:
        """Return the body in one line, at most 300 characters; for people, and to compare refusals."""
        return one_line(self.body[:TEXT_BYTES].decode(errors="replace"), 300)

    def json(self) -> Any:
        """Return the parsed body.

        Raises:
            NodeError: it is not JSON, or not JSON that everybody can read: nested too deep, or with half characters.
        """
        try:
            document = json.loads(self.body, parse_constant=_no_number)
            if _SURROGATE.search(self.body):
                json.dumps(document, ensure_ascii=False).encode()
            return document
        except (ValueError, RecursionError) as exc:
            # What is JSON in part may hold a credential, and is not shown.
            near = self.body.lstrip()[:1] in (b"{", b"[")
            what = f"can't be read as such: {_fault(exc)}" if near else f"is {self.text()!r}"
            raise NodeError(
                f"cannot read the node's answer: it should be JSON, but {what}", code=Code.NODE_REFUSED
            ) from exc

    def json_error(self) -> str | None:
        """Return the reason of a refusal that is worded as Livepeer Node does, in JSON; None = it is not."""
        try:
            said = json.loads(self.body[:TEXT_BYTES])
        except (ValueError, RecursionError):
            return None
        reason = said.get("error") if isinstance(said, dict) else None
        return one_line(reason, 300) if isinstance(reason, str) else None

    def error_text(self) -> str:
        """Return the reason of a refusal, however it is worded, in one line; for people."""
        reason = self.json_error()
        return self.text() if reason is None else reason

    @property
    def is_page(self) -> bool:
        """It is a page for people: no node's, but that of a proxy or a captive portal in between."""
        return self.content_type == "text/html"

    def has_no_channel(self) -> bool:
        """Return whether it says that there is no such trickle channel.

        Another 404 may be that of a proxy in front of the node that passes no channels on.
        """
        return self.status == 404 and self.text() == NO_CHANNEL

    def has_route(self) -> bool:
        """Return whether the node has the route that was asked, however it answered.

        Raises:
            NodeError: it answered that something is wrong with itself.
        """
        if self.status >= 500:
            raise NodeError(f"cannot ask the node what it speaks: it answered {self.status}", code=Code.NODE_REFUSED)
        return self.status != 404


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _fault(exc: Exception) -> str:
    """Return what is wrong with a document, without a word of it."""
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg} at character {exc.pos}"
    return "it is nested too deep" if isinstance(exc, RecursionError) else "it is not JSON to every reader"
