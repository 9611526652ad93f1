"""The hook `node-token`: who may ask.

The node settles payment before it passes a job on, and shows that by what only it had from us: a bearer token on BYOC
routes, a path segment on Live Runner's. Nothing else may use those routes; other routes are open to direct callers
only where the operator says so, or where there is no node at all.
"""

from __future__ import annotations

from orchd.errors import Code, JobRefused
from orchd.hooks.hook import HookOptions, JobHook, Waits
from orchd.hooks.job import Job, NodeProof
from orchd.node.route_secrets import RouteSecrets


class NodeToken(JobHook):
    """Refuses what the node did not send.

    Args:
        secrets: what the node was told.
        direct: jobs that do not come through the node are served too.
    """

    def __init__(self, secrets: RouteSecrets, *, direct: bool) -> None:
        super().__init__(HookOptions())
        self._secrets = secrets
        self._direct = direct

    def arrive(self, job: Job) -> Waits:
        """Refuse by the head alone: nothing of the body of a caller who may not ask is read."""
        if not job.of_node:
            if self._direct or job.public:  # What comes by the public listener pays for itself.
                return None
            raise JobRefused(
                Code.FORBIDDEN,
                "cannot serve direct callers: jobs come through the node here "
                "(orchestrator.allow_direct admits others)",
            )
        proof = job.proof
        if proof is None:
            return None  # It names a model that is not served: the node is told that, and nobody gets any further.
        if self._holds(proof):
            return None
        raise JobRefused(
            Code.FORBIDDEN,
            f"cannot admit a job of {job.named}: it does not bear what orchd gave to the node for this model",
        )

    def identify(self, job: Job) -> Waits:
        """As `arrive`, for requests that were not asked that."""
        return None if job.arrived else self.arrive(job)

    def _holds(self, proof: NodeProof) -> bool:
        if proof.segment is not None:
            return self._secrets.knows_segment(proof.slug, proof.segment)
        return proof.token is not None and self._secrets.admits(proof.slug, proof.token)
