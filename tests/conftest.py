"""Fixtures of all tests: tiny models on disk, one thread, no network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import pytest
import torch

from tests import tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory):
    """Folder of a tiny random SDXL-format model."""
    return tiny.tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="session")
def tiny_sd15(tmp_path_factory):
    """Folder of a tiny random SD-1.5-format model."""
    return tiny.tiny_sd15(tmp_path_factory.mktemp("sd15"))
