"""A third family is one file: it paints, wears adapters, shows previews, is described and trained through it alone."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

from lora.errors import ModelError
from lora.library import Library
from pipeline.engine import Engine
from pipeline.families import Components, family_of, known_marks
from pipeline.profiles import describe, load_profile
from pipeline.request.request import GenerationRequest
from pipeline.sampling.decode import Previewer, decode
from tests.adapters import random_lora
from tests.made_up import MADE_UP, made_up
from training import Example, TrainedAdapter, TrainingConfig, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("made-up"))


@pytest.fixture(scope="module")
def engine(folder):
    return Engine(load_profile(base_model=str(folder)))


def paint(engine, find=None, **values):
    """(steps, the picture, details)"""
    asked = {"prompt": "a red apple", "seed": 1, "width": 64, "height": 64, "steps": 4, **values}
    *steps, generation = engine.generate(GenerationRequest.create(asked, engine.limits, find))
    return steps, generation.images[0], generation.details


def library(folder: Path, components: Components) -> Library:
    shapes = {(c, p): tuple(m.weight.shape) for c, model in components.adaptable().items()
              for p, m in model.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))}  # fmt: skip
    return Library([(folder, "folder")], shapes, components.family.name, families=known_marks())


def test_it_paints_as_it_says(engine):
    assert engine.profile.family is MADE_UP and engine.limits.steps == 8
    steps, picture, details = paint(engine)
    assert len(steps) == 4 and (details["width"], details["height"]) == (64, 64)
    assert paint(engine)[1] == picture != paint(engine, prompt="a cat")[1]
    assert paint(engine, guidance_scale=1.0)[1] != picture != paint(engine, clip_skip=1)[1]
    # There is no table of Align Your Steps for it.
    assert not [name for name in engine.limits.schedulers if name.endswith("AYS")]


def test_its_previews_heed_the_shift_of_its_latents(engine, monkeypatch):
    components, latents = engine.load()[0], 2 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    meant = np.asarray(decode(components, latents)).mean((0, 1))
    heeding = Previewer(components)
    monkeypatch.setattr(components.vae.config, "shift_factor", None)
    off = [np.abs(np.asarray(Image.open(io.BytesIO(previewer(latents)))).mean((0, 1)) - meant).max()
           for previewer in (heeding, Previewer(components))]  # fmt: skip
    assert off[0] < 6 < off[1]


def test_it_wears_adapters_and_takes_them_off(engine, tmp_path):
    components, _, _ = engine.load()
    plain = paint(engine)[1]
    layers = random_lora(components.denoiser, ["to_q", "to_v", "ff.net.2"], 5)
    save_file({f"transformer.{key}": value for key, value in layers.items()}, tmp_path / "ink.safetensors")
    parts = ((*key.removesuffix(".weight").rsplit(".lora_", 1), value) for key, value in layers.items())
    kohya = {f"lora_unet_{path.replace('.', '_')}.lora_{dict(A='down', B='up')[part]}.weight": value
             for path, part, value in parts}  # fmt: skip
    save_file(kohya, tmp_path / "kohya.safetensors")
    find = library(tmp_path, components).find
    styled, details = paint(engine, find, adapters=[{"id": "ink", "weight": 1.5}])[1:]
    assert styled != plain and details["adapters"][0]["matched"] == len(layers) // 2
    other, details = paint(engine, find, adapters=[{"id": "kohya", "weight": 1.5}])[1:]
    assert np.array_equal(*(np.asarray(Image.open(io.BytesIO(file))) for file in (styled, other)))
    assert details["adapters"][0]["unmatched"] == 0
    assert paint(engine)[1] == plain


def test_it_is_trained_and_wears_what_it_learnt(engine, folder, tmp_path):
    pipe = DiffusionPipeline.from_pretrained(folder)
    config = TrainingConfig(trigger="red", steps=4, batch_size=2, rank=2, learning_rate=1e-2, warmup=1)
    examples = [Example(Image.new("RGB", (64, 64), colour), (colour,)) for colour in ("red", "navy")]
    *_, adapter = train(Components.of(pipe), examples, config)
    assert isinstance(adapter, TrainedAdapter) and all(name.startswith("transformer.") for name in adapter.tensors)
    adapter.save(tmp_path / "own.safetensors")
    find = library(tmp_path, engine.load()[0]).find
    _, styled, details = paint(engine, find, adapters=[{"id": "own", "weight": 2.0}])
    assert styled != paint(engine)[1] and details["adapters"][0]["unmatched"] == 0


def test_what_it_is_made_of_is_known_without_its_weights(engine):
    seen, loaded = describe(engine.profile), engine.load()[0]
    for name, module in seen.adaptable().items():
        assert all(parameter.is_meta for parameter in module.parameters())
        shapes, real = ({k: v.shape for k, v in m.state_dict().items()} for m in (module, loaded.adaptable()[name]))
        assert shapes == real
    assert seen.scheduler_config == loaded.scheduler_config and seen.latent_channels == loaded.latent_channels
    assert seen.tokenizers[0]("a red apple").input_ids == loaded.tokenizers[0]("a red apple").input_ids


def test_a_model_of_no_family_is_refused_with_those_there_are():
    with pytest.raises(
        ModelError, match="BASE_MODEL is a FluxPipeline; StableDiffusionXLPipeline, StableDiffusionPipeline and"
    ):
        family_of("FluxPipeline")


def test_families_are_named_in_their_files_and_in_profiles_only():
    named = []
    for room in ("lora", "pipeline", "training", "serving", "ui"):
        for path in (ROOT / room).rglob("*.py"):
            # Offers name files of the Hub.
            if "families" not in path.parts and path.name != "offers.py":
                lines = path.read_text("utf-8").splitlines()
                named += [f"{path.relative_to(ROOT)}: {line}" for line in lines if re.search("sdxl|sd15", line)]
    assert len(named) <= 15, "\n".join(named)
