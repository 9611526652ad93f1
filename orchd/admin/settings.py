"""The section `[admin]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchd.settings.basic import ADMIN_LISTEN
from orchd.settings.section import Listen, Section


class AdminSettings(Section):
    """The read-only admin listener: /healthz, /readyz, /status, /metrics."""

    listen: Listen = Field(ADMIN_LISTEN.default, description=ADMIN_LISTEN.description)
    ready_when: Literal["any", "all", "listening"] = Field(
        "any",
        description="What makes /readyz answer 200: any = at least one model of the file can serve, or it names none; "
        "all = each of them can; listening = jobs are taken, even if no model can serve.",
    )
