"""How Ray Serve chooses the replica for a job: by the policy of serving.routing.

Ray sends this module to its processes by value; it lives in the process that has the handle.
"""

from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, ReplicaResult, RequestRouter, RunningReplica

from serving.routing import Routing


class AffinityRouter(RequestRouter):
    """Sends a job, whose `mix` its first argument has, where that mix is on; which replicas idle is known to Serve."""

    def initialize_state(self, **kwargs: Any) -> None:
        """Called before anything is routed."""
        self._routing = Routing()

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Those that are there now."""
        before, now = set(map(str, self.curr_replicas)), {str(replica.replica_id) for replica in replicas}
        for gone in before - now:
            self._routing.go(gone)
        for fresh in now - before:
            self._routing.come(fresh)
        super().update_replicas(replicas)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """One is gone, before the others are told anew."""
        super().on_replica_actor_died(replica_id)
        self._routing.go(str(replica_id))

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """One replica; where all seem busy all are, and Serve asks them."""
        free = {str(replica.replica_id): replica for replica in self.select_available_replicas(candidate_replicas)}
        if not (free and pending_request):
            return [candidate_replicas]
        idle = dict.fromkeys(sorted(free, key=self._routing.used))
        return [[free[self._routing.best(pending_request.args[0].mix, idle)]]]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: ReplicaResult) -> None:
        """A replica has begun, if it is still there."""
        if replica_id in self.curr_replicas:
            self._routing.take(str(replica_id), pending_request.args[0].mix)
