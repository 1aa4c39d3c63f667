"""A model with the adapters that belong to it, as the app and the command line open them."""

from pathlib import Path

from lora.hub import Hub
from lora.library import Library
from lora.private import PrivateAdapters
from pipeline.engine import Engine
from pipeline.families import known_marks
from pipeline.profiles import load_profile
from pipeline.upscaling.upscalers import Upscalers

BUILT_IN = Path(__file__).resolve().parents[1] / "assets" / "adapters"


def open_engine(
    profile: str = "",
    base_model: str = "",
    adapters_dir: Path | None = None,
    private: PrivateAdapters | None = None,
    hub: Hub | None = None,
    upscalers_dir: Path | None = None,
) -> tuple[Engine, Library]:
    """The engine, its model loaded, and the adapters that everybody has. Raises ModelError."""
    engine, hub = Engine(load_profile(profile, base_model), Upscalers(upscalers_dir)), hub or Hub()
    # The built-in styles were trained on the embedded model and fit no other.
    folders = [(BUILT_IN, "built-in")] if engine.profile.name == "embedded" else []
    folders += [(adapters_dir, "folder")] if adapters_dir else []
    library = Library(folders, engine.facts.shapes, engine.profile.family.name, private, hub, known_marks())
    for identity, repository, file in engine.profile.hub_adapters:
        library.add_from_hub(identity, repository, file)
    return engine, library
