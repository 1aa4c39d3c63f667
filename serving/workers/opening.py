"""Which worker the settings ask for."""

from dataclasses import replace

from lora.errors import InvalidSettings
from pipeline.engine import Engine
from pipeline.facts import ModelFacts
from pipeline.profiles import load_profile
from pipeline.upscaling.upscalers import Upscalers
from serving.settings import Settings
from serving.workers.base import Worker
from serving.workers.local import LocalWorker
from serving.workers.zerogpu import ZeroGpuWorker


def open_worker(settings: Settings) -> Worker:
    """One that can paint. Raises ModelError, ClusterError, InvalidSettings.

    Here the model is loaded: whoever sees the page can paint, and ZeroGPU wants it on "cuda" before it forks. Before a
    cluster no weight is read.
    """
    profile, upscalers = load_profile(settings.profile, settings.base_model), Upscalers(settings.upscalers_dir)
    if not settings.ray_address:
        engine = Engine(profile, upscalers)
        engine.load()
        return ZeroGpuWorker(engine) if settings.spaces_zero_gpu else LocalWorker(engine)
    # Nothing of Ray is imported where it is not asked for.
    try:
        from serving.cluster import connect, deployed
        from serving.workers.ray import RayWorker
    except ImportError:
        how = "pip install -r serving/requirements-ray.txt"
        raise InvalidSettings(f"RAY_ADDRESS is set, but ray is not installed; {how}.") from None
    connect(settings)
    limits = replace(profile.limits, upscalers=upscalers.names)
    return RayWorker(deployed(settings, profile), ModelFacts.of(replace(profile, limits=limits)))
