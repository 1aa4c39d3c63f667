"""Fixtures of all tests: tiny models on disk, one thread, no network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import pytest
import torch
from diffusers import DiffusionPipeline

from pipeline.profiles import load, load_profile
from tests import serving, tiny
from tests.adapters import library_with

torch.set_num_threads(1)


def pytest_addoption(parser):
    """See tests/serving.py."""
    parser.addoption("--ray", action="store_true", help="let each app that is started paint by a Ray cluster")


def pytest_configure(config):
    """In each of xdist's processes."""
    serving.on_ray = config.getoption("ray")


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory):
    """Folder of a tiny random SDXL-format model."""
    return tiny.tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="session")
def tiny_sd15(tmp_path_factory):
    """Folder of a tiny random SD-1.5-format model."""
    return tiny.tiny_sd15(tmp_path_factory.mktemp("sd15"))


@pytest.fixture(scope="module")
def sdxl(tiny_sdxl):
    """The pipeline of the tiny SDXL."""
    return DiffusionPipeline.from_pretrained(tiny_sdxl)


@pytest.fixture(scope="module")
def sd15(tiny_sd15):
    """The pipeline of the tiny SD 1.5."""
    return DiffusionPipeline.from_pretrained(tiny_sd15)


@pytest.fixture(scope="module", params=["tiny_sdxl", "tiny_sd15"])
def model(request, tmp_path_factory):
    """(folder, components, library of two adapters) for both families."""
    folder = request.getfixturevalue(request.param)
    components = load(load_profile(base_model=str(folder)))
    return folder, components, library_with(components, tmp_path_factory.mktemp("adapters"), "ink", "gloss")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Reports go from one process to another as UTF-8, and some tests log what is none."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report
