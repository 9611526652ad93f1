"""The first ticket-validation hook: who may ask.

The node settles payment before it passes a job on, and shows that by what only it had from us: a bearer token on BYOC
routes, a path segment on Live Runner's. Nothing else may use those routes; other routes are open to direct callers
only where the operator says so, or where there is no node at all.
"""

from __future__ import annotations

from orchd.errors import Code, JobRefused
from orchd.jobs.hooks import Job, JobHook, Waits
from orchd.node.route_secrets import RouteSecrets


class NodeAdmission(JobHook):
    """Args:
    direct: jobs that do not come through the node are served too.
    """

    def __init__(self, secrets: RouteSecrets, *, direct: bool) -> None:
        self._secrets = secrets
        self._direct = direct

    def arrive(self, job: Job) -> Waits:
        """Refuse by the head alone: nothing of the body of a caller who may not ask is read."""
        door, way = job.door, job.way
        if not door.of_node:
            if self._direct:
                return None
            raise JobRefused(
                Code.FORBIDDEN,
                "cannot serve direct callers: jobs come through the go-livepeer node here "
                "(orchestrator.allow_direct admits others)",
            )
        if way is None:
            return None  # It names a model that is not served: the node is told that, and nobody gets any further.
        if way.proof:
            known = self._secrets.knows_segment(way.slug, way.proof)
        else:
            known = self._secrets.admits(way.slug, job.proof)
        if known:
            return None
        raise JobRefused(
            Code.FORBIDDEN,
            f"cannot admit a job of {way.key}: it does not bear what orchd gave to the node for this model",
        )

    def identify(self, job: Job) -> Waits:
        """As `arrive`, for whoever has not asked that."""
        return None if job.arrived else self.arrive(job)
