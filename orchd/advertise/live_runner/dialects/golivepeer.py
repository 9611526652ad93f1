"""go-livepeer's Live Runner: its words say which credential is wrong. Pure.

Source: docs/protocol/live-runner.md, 2.1 and 2.2.
"""

from __future__ import annotations

from orchd.advertise.live_runner.dialects.dialect import Dialect, Reason, in_its_words
from orchd.advertise.live_runner.plan import Pace
from orchd.advertise.live_runner.prices import GO_LIVEPEER
from orchd.advertise.live_runner.states import E, ListingEvent
from orchd.errors import Code


class GoLivepeer(Dialect):
    """As go-livepeer 0.9 and 0.10 have it."""

    name = GO_LIVEPEER.program
    secret_setting = "-orchSecret"  # noqa: S105 - the name of a flag
    terms = GO_LIVEPEER
    pace = Pace(5.0, 20.0)
    hides_full = False
    hides_by_status = False  # The charging of its jobs would end for good.

    def heard(self, status: int, said: str, *, beating: bool) -> ListingEvent | None:
        match status, said:
            case 401, "invalid heartbeat authorization":
                return E.OTHER_SECRET
            case 401, _:
                return E.UNKNOWN if beating else E.REFUSED
            case 404, "runner not found":
                return E.EXPIRED
            case ((400 | 404), _):
                return E.REFUSED
        return E.SILENCE

    def probed(self, status: int) -> ListingEvent:
        raise AssertionError("its words say which secret is wrong")

    def why_refused(self, status: int, said: str) -> Reason:
        match status, said:
            case 404, "runner not found":
                return Reason(f"{self.name} has still to sweep its expired record")
            case 404, "dynamic live runner registration is disabled":
                return Reason(in_its_words(self.name, status, said, "it needs -orchSecret"), Code.NOT_SPOKEN)
            case 404, _:
                return Reason(in_its_words(self.name, status, said, "it needs -useLiveRunners"), Code.NOT_SPOKEN)
        return Reason(in_its_words(self.name, status, said))

    def wrong_secret(self, file: str, around: str) -> str:
        # What stands around the secret does not matter: go-livepeer trims.
        return f"{self.name} does not know the secret in orchestrator.secret_file; put its {self.secret_setting} there"
