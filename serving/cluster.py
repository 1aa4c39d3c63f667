"""Engines as a deployment of Ray Serve: how it is begun, how many there are, how it grows. Ray is imported here, and
this module only where RAY_ADDRESS is set.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy, RequestRouterConfig
from ray.serve.schema import ApplicationStatus, ReplicaState

from lora.errors import ClusterError
from pipeline.profiles import ModelProfile
from serving.queue import FairQueue
from serving.routing import Mix
from serving.settings import Settings
from serving.workers.replica import Job, Replica

QUIET = {"log_level": "WARNING", "enable_access_log": False}
AFFINITY = "serving.workers.affinity.AffinityRouter"
APP, LOCAL = "atelier", "local"
# A replica answers when it is done with what it paints.
ASK_SECONDS = 60.0
# What a replica is taken to need to begin where this process has seen none begin.
START_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[1]
log = logging.getLogger(__name__)


class Cluster:
    """The replicas of one deployment. `handle` calls them; `replicas` is how many of them can be called now."""

    def __init__(self, handle: Any, replicas: int, start_seconds: float):
        """`start_seconds` is what a replica takes to begin."""
        self.handle, self.replicas, self._start_seconds = handle, replicas, start_seconds
        self._queue: FairQueue | None = None

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._queue.waiting if self._queue else 0

    @asynccontextmanager
    async def following(self, queue: FairQueue) -> AsyncIterator[None]:
        """For as long as a `with` block lasts a queue lets as many jobs run as there are replicas."""
        self._queue = queue
        task = asyncio.create_task(self._follow(queue))
        try:
            yield
        finally:
            task.cancel()

    async def _follow(self, queue: FairQueue) -> None:
        while True:
            try:
                now = await asyncio.to_thread(running)
            except Exception as error:
                log.warning("the cluster does not say how many replicas there are: %s", error)
            else:
                if now != self.replicas:
                    log.warning("%d replicas, %d before", now, self.replicas)
                    self.replicas = now
                    queue.resize(now, self._start_seconds)
            await asyncio.sleep(1.0)


def connect(settings: Settings) -> None:
    """Begin a cluster of this machine alone, or join one. Raises ClusterError."""
    address = settings.ray_address
    # Nothing of it listens to other machines, but where it is one of many.
    own: dict[str, Any] = {"_node_ip_address": "127.0.0.1", "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address, namespace=APP, logging_level=logging.WARNING, configure_logging=False,
                 runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}}, **own)  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise ClusterError(f"RAY_ADDRESS is {address}, but no cluster answers there: {error}.") from error


def deployed(settings: Settings, profile: ModelProfile, router: str = AFFINITY) -> Cluster:
    """Deploy engines, or find those that an app like this one has left, and wait until the least number of them can
    paint. Raises ClusterError.
    """
    # No proxies: nobody reaches a replica but through this process.
    serve.start(proxy_location="Disabled", logging_config=QUIET)
    least, made = settings.replicas_min, fingerprint(settings, profile)
    start_seconds, began = START_SECONDS, time.monotonic()
    handle = found(made)
    if handle is None:
        deployment = serve.deployment(
            name="painter",
            ray_actor_options=needs(settings),
            max_ongoing_requests=1,
            autoscaling_config=AutoscalingConfig(
                min_replicas=least, max_replicas=most(settings), initial_replicas=least, metrics_interval_s=2.0,
                look_back_period_s=10.0, upscale_delay_s=10.0, downscale_delay_s=300.0,
                policy=AutoscalingPolicy(policy_function=by_queue),
            ),
            request_router_config=RequestRouterConfig(request_router_class=router),  # type: ignore[arg-type]
            health_check_period_s=2.0,
            health_check_timeout_s=30.0,
            graceful_shutdown_timeout_s=60.0,
            logging_config=QUIET,
        )(Replica)  # fmt: skip
        bound = deployment.bind(profile, settings.upscalers_dir, settings.threads, made)
        try:
            handle = serve.run(bound, name=APP, route_prefix=None)
        except RuntimeError as error:
            raise ClusterError(f"No replica has begun: {error}") from error
        start_seconds = time.monotonic() - began
    return Cluster(handle, running(), start_seconds)


def found(made: str) -> Any:
    """A handle of replicas that are there already and made of the same, None where there are none."""
    there = serve.status().applications.get(APP)
    if not there or there.status != ApplicationStatus.RUNNING:
        return None
    handle = serve.get_app_handle(APP)
    try:
        return handle if handle.made_of.remote(Job(Mix(""))).result(timeout_s=ASK_SECONDS) == made else None
    except (RayError, TimeoutError):
        return None


def fingerprint(settings: Settings, profile: ModelProfile) -> str:
    """Of all that a replica is made of; of the same a front that begins anew makes use."""
    digest, limits = hashlib.sha256(), profile.limits
    base = profile.name, profile.base, profile.vae, profile.variant, profile.revision
    own = *base, limits, settings.upscalers_dir, settings.threads
    digest.update(repr((*own, needs(settings), settings.replicas_min, most(settings))).encode())
    for room in ("lora", "pipeline", "training", "serving"):
        for path in sorted((ROOT / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def needs(settings: Settings) -> dict[str, Any]:
    """What each replica takes of its machine."""
    gpus = {"num_gpus": settings.replica_gpus} if ray.cluster_resources().get("GPU") else {}
    return {"num_cpus": settings.replica_cpus, **gpus}


def most(settings: Settings) -> int:
    """How many replicas there may be: by itself as many as the GPUs that are there now have room for."""
    gpus = ray.cluster_resources().get("GPU", 0)
    return max(settings.replicas_min, settings.replicas_max or math.floor(gpus / settings.replica_gpus))


def running() -> int:
    """How many replicas can be called now."""
    there = serve.status().applications.get(APP)
    return sum(each.replica_states.get(ReplicaState.RUNNING, 0) for each in there.deployments.values()) if there else 0


def by_queue(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """How many replicas there should be: one for each job that runs, and one more for two that wait."""
    told = (context.aggregated_metrics or {}).get("waiting", {}).values()
    return context.total_num_requests + max(told, default=0.0) / 2, {}
