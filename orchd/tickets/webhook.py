"""The hook `webhook`: asks the operator's own server about each job, and remembers its answers for a while.

The server is told a few facts about the job, never its body or its credentials. The answer may depend on those facts
alone, so an answer serves all jobs with the same ones. Without an answer nothing is served.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from orchd.domain.model import Secret
from orchd.errors import Code, JobRefused
from orchd.hooks.hook import HookHost, HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.http_client import Unanswered
from orchd.names import Names
from orchd.pieces import Shared
from orchd.settings.section import Url
from orchd.tickets.webhook_answer import BadAnswer, WebhookAnswer, read_answer
from orchd.tickets.webhook_client import WebhookClient

Fact = Literal["payer", "address", "pipeline", "model_id", "capability", "door", "method", "price", "unit"]
Facts = tuple[str, ...]
FACTS: dict[str, Callable[[Job], str]] = {
    "payer": lambda job: job.payer,
    "address": lambda job: job.peer,
    "pipeline": lambda job: job.key.pipeline if job.key else "",
    "model_id": lambda job: job.key.model_id if job.key else "",
    "capability": lambda job: job.terms.capability if job.terms else "",
    "door": lambda job: job.door,
    "method": lambda job: job.method.decode("latin-1"),
    "price": lambda job: "" if job.terms is None or job.terms.price is None else str(job.terms.price),
    "unit": lambda job: job.terms.unit.value if job.terms else "",
}
"""What the server may be told. All are text; empty = not known."""
ASKED_AT_ONCE = 100
"""Most questions under way; more would only wait for the same server."""


def _check_named(url: str) -> str:
    if not url:
        raise ValueError("it should name your server, such as https://policy.example.org/job")
    return url


def _check_secret_file(path: str) -> str:
    if "/" in path and not Path(path).is_absolute():
        raise ValueError("it should be an absolute path, or the name of a credential of the service")
    return path


class WebhookOptions(HookOptions):
    """Whom to ask about what."""

    url: Annotated[Url, AfterValidator(_check_named)] = Field(description="URL that gets a POST for each question.")
    secret_file: Annotated[str, AfterValidator(_check_secret_file)] = Field(
        "", description="File with a secret that your server gets as bearer token; empty = none."
    )
    facts: tuple[Fact, ...] = Field(
        ("payer", "address", "pipeline", "model_id", "door"),
        min_length=1,
        description="What your server is told of a job. An answer is used again for jobs with the same facts.",
    )
    timeout_s: float = Field(2.0, gt=0, le=60, description="Timeout in seconds for an answer.")
    cache_s: float = Field(60.0, ge=0, description="Seconds for which an answer is used again; 0 = never.")
    cache_size: int = Field(10_000, ge=1, description="Most answers that are remembered.")


class WebhookHook(JobHook):
    """Asks before the slot, so that who may not have one takes none.

    Args:
        secret: the content of `secret_file`.
    """

    Options = WebhookOptions

    def __init__(self, options: WebhookOptions, secret: Secret | None, names: Names) -> None:
        super().__init__(options)
        self._options = options
        self._client = WebhookClient(options.url, secret, names, options.timeout_s)
        self._answers: OrderedDict[Facts, tuple[WebhookAnswer, float]] = OrderedDict()
        """What was answered, and until when it is used; the oldest comes first."""
        self._asked: dict[Facts, Shared[WebhookAnswer]] = {}

    async def open(self, host: HookHost) -> None:
        await self._client.open()

    async def close(self) -> None:
        await self._client.close()

    def identify(self, job: Job) -> Waits:
        """Do what the server says, or said lately of the same facts."""
        facts = tuple(FACTS[name](job) for name in self._options.facts)
        answer, until = self._answers.get(facts, (None, 0.0))
        if answer is None or until <= asyncio.get_running_loop().time():
            return self._ask_and_apply(job, facts)
        answer.apply(job)
        return None

    async def _ask_and_apply(self, job: Job, facts: Facts) -> None:
        try:
            answer = await self._shared(facts)
        except (Unanswered, BadAnswer) as exc:
            raise JobRefused(
                Code.HOOK_FAILED, f"cannot tell whether the job may be served: the webhook gave no use: {exc}"
            ) from exc
        answer.apply(job)

    async def _shared(self, facts: Facts) -> WebhookAnswer:
        """Ask once for all that want to know the same at the same time."""
        if facts not in self._asked:
            if len(self._asked) >= ASKED_AT_ONCE:
                raise Unanswered(f"{ASKED_AT_ONCE} questions wait for an answer already")
            self._asked[facts] = Shared("ask the webhook")
        return await self._asked[facts].result(self._asking(facts))

    def _asking(self, facts: Facts) -> Callable[[], Coroutine[Any, Any, WebhookAnswer]]:
        async def ask() -> WebhookAnswer:
            try:
                answer = read_answer(await self._client.ask(dict(zip(self._options.facts, facts, strict=True))))
                self._remember(facts, answer)
                return answer
            finally:
                del self._asked[facts]

        return ask

    def _remember(self, facts: Facts, answer: WebhookAnswer) -> None:
        if self._options.cache_s:
            self._answers[facts] = answer, asyncio.get_running_loop().time() + self._options.cache_s
            self._answers.move_to_end(facts)
            if len(self._answers) > self._options.cache_size:
                self._answers.popitem(last=False)
