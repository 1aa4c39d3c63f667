"""Composition root: settings -> engine -> blocks -> queue -> launch. Nothing else."""

import os
import sys

from lora.errors import in_a_sentence
from lora.scratch import scratch_folder
from pipeline.request.checks import base_model
from serving.listening import check_address
from serving.settings import Settings, read_settings

# Before the libraries: these take many seconds, and a wrong setting is told at once.
with in_a_sentence():
    settings = read_settings()
    base_model(settings.profile, settings.base_model)
    if __name__ == "__main__":
        check_address(settings.address, settings.port)

# Both warn at import of what nobody here uses; errors still come. Read once, when they are imported.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

# Gradio's own is shared with all other apps of this machine, and lies there for ever where one is killed.
if "GRADIO_TEMP_DIR" not in os.environ:
    os.environ["GRADIO_TEMP_DIR"] = str(scratch_folder("files"))
# Ray would tell its makers of its use.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Whom uvicorn believes that it asks for somebody else; without this any program of this machine.
os.environ["FORWARDED_ALLOW_IPS"] = settings.proxies

import spaces  # noqa: F401  Before torch: on ZeroGPU it stands in for CUDA.

# isort: split
import logging

import torch

from lora.hub import Hub
from lora.private import Bounds, PrivateAdapters
from pipeline.loading import open_library
from serving.history import History, HistoryLimits
from serving.request_log import write_to
from serving.shutdown import GracefulShutdown
from serving.styles import StyleLimits, Styles
from serving.workers.opening import open_worker
from ui.blocks import build, launch_arguments, open_service, open_trainings

MB = 2**20


def compose(settings: Settings):
    """The Blocks, the arguments to launch it with, and how it ends.

    Whoever sees the page can paint: what paints is ready when this returns.
    """
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    write_to(sys.stderr)
    logging.getLogger("httpx").setLevel("WARNING")  # Gradio asks itself at start whether it is there.
    if settings.threads:
        torch.set_num_threads(settings.threads)
    bounds = Bounds(settings.upload_mb * MB, settings.uploads_per_session, settings.uploads_total_mb * MB)
    hub = Hub(settings.hub_timeout, settings.hub_seconds)
    private = PrivateAdapters(bounds)
    worker = open_worker(settings)
    library = open_library(worker.facts, settings.adapters_dir, private, hub)
    kept = StyleLimits(settings.styles_mb * MB, settings.styles_per_owner)
    service = open_service(worker, library, settings, Styles(settings.data_dir, kept))
    trainings = open_trainings(service, settings)
    shutdown = GracefulShutdown(service.queue, settings.drain_seconds)
    limits = HistoryLimits(settings.history_mb * MB, settings.history_per_owner, settings.history_days)
    history = History(settings.data_dir, limits)
    blocks = build(service, settings, history, trainings)
    return blocks, launch_arguments(blocks, service, settings, shutdown, history, trainings), shutdown


with in_a_sentence():
    demo, launch, shutdown = compose(settings)

if __name__ == "__main__":
    shutdown.listen()
    try:
        demo.launch(**launch, prevent_thread_lock=True)
    except OSError:
        print(f"PORT {settings.port} of {settings.address} cannot be used; is it taken already?", file=sys.stderr)
        sys.exit(2)
    print(f"LoRA Atelier is open at {demo.local_url}", flush=True)
    shutdown.serve(demo)
