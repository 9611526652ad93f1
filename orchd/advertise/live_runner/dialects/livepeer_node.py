"""Livepeer Node's Live Runner: one text for every wrong credential, so what was sent and a probe decide. Pure.

Source: docs/protocol/livepeer-node.md, 2.1, 4, 5.
"""

from __future__ import annotations

import shlex

from orchd.advertise.live_runner.dialects.dialect import Dialect, Reason, in_its_words
from orchd.advertise.live_runner.plan import Pace
from orchd.advertise.live_runner.prices import LIVEPEER_NODE
from orchd.advertise.live_runner.states import E, ListingEvent
from orchd.errors import Code
from orchd.settings.secrets import ENDS_IN_A_NEWLINE

_HINTS = {
    "runner capacity reached": "it takes 256 runners at most, of all sidecars together: withdraw some there",
    "server busy": "all of its 64 places for such calls are taken",
    "orchestrator shutting down": "it is being stopped",
    "static runner cannot heartbeat": "the file of its RunnerConfig has a runner with this ID: take it out there",
    "invalid runner credential": "another runner has this secret",
}
"""What the node's words mean for an operator. Only words are made of them; what to do next hangs on the status."""


class LivepeerNode(Dialect):
    """As livepeer/node 1.0 has it."""

    name = LIVEPEER_NODE.program
    secret_setting = "BootstrapSecretFile"  # noqa: S105 - the name of a setting
    terms = LIVEPEER_NODE
    pace = Pace(5.0, 30.0)
    hides_full = True
    hides_by_status = True

    def heard(self, status: int, said: str, *, beating: bool) -> ListingEvent | None:
        match status:
            case 401:
                return E.UNKNOWN if beating else None
            case 400 | 403 | 404:
                return E.REFUSED
        return E.SILENCE

    def probed(self, status: int) -> ListingEvent:
        match status:
            case 400:  # The secret was right, and the body is what it refuses.
                return E.OTHER_SECRET
            case 401:
                return E.REFUSED
        return E.SILENCE

    def why_refused(self, status: int, said: str) -> Reason:
        if status == 404:
            hint = "the path of its ServiceURL is missing in orchestrator.service_url"
            return Reason(in_its_words(self.name, status, said, hint), Code.NOT_SPOKEN)
        return Reason(in_its_words(self.name, status, said, _HINTS.get(said, "")))

    def wrong_secret(self, file: str, around: str) -> str:
        why = f"{self.name} does not know the secret"
        if not around:
            return (
                f"{why} in orchestrator.secret_file: name the file of its {self.secret_setting}; every byte of it "
                "counts, also a newline at its end (printf %s SECRET > FILE makes none)"
            )
        path = shlex.quote(file)
        kept = f'"$(cat {path})"' if around == ENDS_IN_A_NEWLINE else "SECRET"
        return f"{why}: its file {around}. Run printf %s {kept} > {path}, and start the node again"
