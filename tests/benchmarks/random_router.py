"""What affinity is compared with: any replica that idles. Ray sends this module by value, so it has little in it."""

import random

from serving.workers.affinity import AffinityRouter


class RandomRouter(AffinityRouter):
    """Sends a job to any replica that seems idle."""

    async def choose_replicas(self, candidate_replicas, pending_request=None):
        """One of those; where all seem busy all are, and Serve asks them."""
        free = self.select_available_replicas(candidate_replicas)
        return [[random.choice(free)]] if free else [candidate_replicas]
