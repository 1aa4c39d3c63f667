"""A model with the adapters that belong to it, as the app and the command line open them."""

from pathlib import Path

from lora.hub import Hub
from lora.library import Library
from lora.private import PrivateAdapters
from pipeline.engine import Engine
from pipeline.facts import ModelFacts
from pipeline.families import known_marks
from pipeline.profiles import load_profile
from pipeline.upscaling.upscalers import Upscalers

BUILT_IN = Path(__file__).resolve().parents[1] / "assets" / "adapters"


def open_library(
    facts: ModelFacts,
    adapters_dir: Path | None = None,
    private: PrivateAdapters | None = None,
    hub: Hub | None = None,
) -> Library:
    """The adapters that everybody has for a model."""
    profile = facts.profile
    # The built-in styles were trained on the embedded model and fit no other.
    folders = [(BUILT_IN, "built-in")] if profile.name == "embedded" else []
    folders += [(adapters_dir, "folder")] if adapters_dir else []
    library = Library(folders, facts.shapes, profile.family.name, private, hub or Hub(), known_marks())
    for identity, repository, file in profile.hub_adapters:
        library.add_from_hub(identity, repository, file)
    return library


def open_engine(
    profile: str = "", base_model: str = "", adapters_dir: Path | None = None, upscalers_dir: Path | None = None
) -> tuple[Engine, Library]:
    """An engine, its model loaded, and the adapters that there are for it. Raises ModelError."""
    engine = Engine(load_profile(profile, base_model), Upscalers(upscalers_dir))
    return engine, open_library(engine.facts, adapters_dir)
