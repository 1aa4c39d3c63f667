"""An app of its own for attacks, so that no other test meets what they leave behind."""

import atexit
import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.profiles import load, load_profile
from tests.adapters import library_with
from tests.serving import STYLES, Server, start
from tests.tiny import tiny_sdxl


@functools.cache
def attacked(**settings: object) -> Server:
    """A running app with a tiny model, two styles, a temporary folder that nobody else uses, and these settings."""
    scratch = tempfile.TemporaryDirectory(prefix="atelier-hostile-")
    atexit.register(scratch.cleanup)
    folder = Path(scratch.name)
    model, styles = tiny_sdxl(folder, levels=2), folder / "styles"
    styles.mkdir()
    (folder / "tmp").mkdir()
    library_with(load(load_profile(base_model=str(model))), styles, *STYLES)
    settings = {"BASE_MODEL": model, "ADAPTERS_DIR": styles, "TMPDIR": folder / "tmp"} | settings
    return replace(start(folder / "log", **settings), scratch=folder / "tmp", model=model)


@pytest.fixture(scope="session")
def server():
    return attacked()
