"""Composition root: settings -> engine -> blocks -> queue -> launch. Nothing else."""

import os

# Both warn at import of what nobody here uses; errors still come. Read once, when they are imported.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

import spaces  # noqa: F401  Before torch: on ZeroGPU it stands in for CUDA.

# isort: split
import logging
import sys
from pathlib import Path

import torch

from lora.errors import AtelierError
from lora.hub import Hub
from lora.library import Library
from lora.private import Bounds, PrivateAdapters
from pipeline.engine import Engine
from pipeline.models import load_profile
from ui.blocks import build, launch_arguments
from ui.settings import Settings, read_settings

BUILT_IN = Path(__file__).parent / "assets" / "adapters"
MB = 2**20


def compose(settings: Settings):
    """The Blocks and the arguments to launch it with.

    The model is loaded here: whoever sees the page can paint, and ZeroGPU wants it on "cuda" before it forks.
    """
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel("WARNING")  # Gradio asks itself at start whether it is there.
    if settings.threads:
        torch.set_num_threads(settings.threads)
    engine = Engine(load_profile(settings.profile, settings.base_model))
    # The built-in styles were trained on the embedded model and fit no other.
    folders = [(BUILT_IN, "built-in")] if engine.profile.name == "embedded" else []
    folders += [(settings.adapters_dir, "folder")] if settings.adapters_dir else []
    components, composer, _ = engine.load()
    bounds = Bounds(settings.upload_mb * MB, settings.uploads_per_session, settings.uploads_total_mb * MB)
    hub = Hub(settings.hub_timeout, settings.hub_seconds)
    library = Library(folders, composer.shapes, components.family, PrivateAdapters(bounds), hub)
    for identity, repository, file in engine.profile.hub_adapters:
        library.add_from_hub(identity, repository, file)
    return build(engine, library, settings), launch_arguments(library, settings)


try:
    settings = read_settings()
    demo, launch = compose(settings)
except AtelierError as error:
    print(error, file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    try:
        demo.launch(**launch, prevent_thread_lock=True)
    except OSError:
        print(f"PORT {settings.port} of {settings.address} cannot be used; is it taken already?", file=sys.stderr)
        sys.exit(2)
    print(f"LoRA Atelier is open at {demo.local_url}", flush=True)
    demo.block_thread()
