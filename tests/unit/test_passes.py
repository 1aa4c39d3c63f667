"""Image to image and the second pass: diffusers' own image-to-image pipelines paint the same."""

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderTiny,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from lora.errors import InvalidRequest, PaintingFailed
from pipeline.engine import Engine
from pipeline.families.sd15 import SD15
from pipeline.families.sdxl import SDXL
from pipeline.profiles import ZERO_SNR, load_profile
from pipeline.request.request import GenerationRequest
from pipeline.sampling import schedulers
from pipeline.sampling.latents import Randomness
from tests import tiny
from tests.adapters import library_with

PICTURE = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
FILE = io.BytesIO()
PICTURE.save(FILE, "PNG")
CASES = [
    *(("tiny_sdxl", name) for name in schedulers.SAMPLERS if not name.endswith("CFG++")),
    *(("tiny_sdxl", name) for name in ("Euler beta", "Heun Karras", "DPM++ 2M AYS", "DDIM SGM uniform")),
    *(("tiny_sd15", name) for name in ("Euler a", "DDIM", "DPM++ 2M")),
    *(("zero_snr", name) for name in schedulers.available(ZERO_SNR) if not name.endswith("CFG++")),
    ("tiny_vae", "Euler"),
]  # fmt: skip


@pytest.fixture(scope="module")
def zero_snr(tmp_path_factory):
    return tiny.tiny_sdxl(tmp_path_factory.mktemp("zero"), **ZERO_SNR)


@pytest.fixture(scope="module")
def tiny_vae(tmp_path_factory):
    """A model with the small autoencoder that the embedded model has."""
    folder = tiny.tiny_sdxl(tmp_path_factory.mktemp("vae"))
    torch.manual_seed(2)
    layers = dict(num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4)
    widths = dict(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    AutoencoderTiny(**widths, **layers, scaling_factor=0.7).save_pretrained(folder / "vae")
    index = (folder / "model_index.json").read_text()
    (folder / "model_index.json").write_text(index.replace("AutoencoderKL", "AutoencoderTiny"))
    return folder


@cache
def loaded(folder):
    kind = StableDiffusionImg2ImgPipeline if "sd15" in str(folder) else StableDiffusionXLImg2ImgPipeline
    pipe = kind.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return Engine(load_profile(base_model=str(folder))), pipe, dict(pipe.scheduler.config)


def create(engine, find=None, **values):
    defaults = dict(prompt="red apple", steps=5, seed=3, width=64, height=64, guidance_scale=5, scheduler="Euler")
    return GenerationRequest.create(defaults | values, engine.limits, find)


def paint(engine, find=None, **values):
    *steps, generation = engine.generate(create(engine, find, **values))
    return steps, np.asarray(Image.open(io.BytesIO(generation.images[0]))), generation.details


def reference(folder, name, steps, strength, image=PICTURE, seed=3):
    _, pipe, config = loaded(folder)
    pipe.scheduler = schedulers.make(name, config, (SD15 if "sd15" in str(folder) else SDXL).ays)
    rng = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    image = pipe("red apple", image=image, strength=strength, generator=rng, output_type="np", guidance_scale=5,
                 num_inference_steps=steps).images[0]  # fmt: skip
    return (image * 255).round().astype("uint8")


@pytest.mark.parametrize(("model", "name"), CASES)
def test_same_pixels_as_diffusers_from_a_picture(model, name, request):
    folder = request.getfixturevalue(model)
    for strength in (0.5, 1.0):
        theirs = reference(folder, name, 5, strength)
        _, ours, _ = paint(loaded(folder)[0], scheduler=name, image=FILE.getvalue(), strength=strength)
        assert np.array_equal(ours, theirs), strength


def test_a_weak_strength_stays_near_the_picture_and_every_step_is_told(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    steps, _, details = paint(engine, image=FILE.getvalue(), strength=0.61, steps=10)
    assert [(s.step, s.steps) for s in steps] == [(i, 6) for i in range(1, 7)] and details["strength"] == 0.61
    assert all(step.preview for step in steps)
    with pytest.raises(InvalidRequest, match=r"strength is 0.1, but must be at least 0.2 of 5 steps"):
        create(engine, image=FILE.getvalue(), strength=0.1)
    assert create(engine, strength=0.1).passes[0].steps == 5


def test_the_second_pass_is_image_to_image_on_the_enlarged_first(tiny_sdxl):
    """By pixels: diffusers' own two pipelines one after the other, with one generator, paint the same."""
    steps, ours, details = paint(loaded(tiny_sdxl)[0], hires_scale=1.5, hires_steps=4, hires_strength=0.5)
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler, rng = schedulers.make("Euler", loaded(tiny_sdxl)[2]), torch.Generator().manual_seed(3)
    first = pipe("red apple", num_inference_steps=5, height=64, width=64, generator=rng, guidance_scale=5).images[0]
    larger = first.resize((96, 96), Image.Resampling.LANCZOS)
    assert np.array_equal(ours, reference(tiny_sdxl, "Euler", 4, 0.5, larger, rng)) and ours.shape == (96, 96, 3)
    assert [(s.step, s.steps) for s in steps] == [(i, 7) for i in range(1, 8)]
    assert details["hires"] == {"scale": 1.5, "width": 96, "height": 96, "steps": 4, "strength": 0.5,
                                "upscaler": "pixels"}  # fmt: skip


def test_the_latent_way_paints_something_else_and_always_the_same(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    once, again, pixels = (paint(engine, hires_scale=2, hires_upscaler=by)[1] for by in ("latent", "latent", "pixels"))
    assert once.shape == (128, 128, 3) and np.array_equal(once, again) and not np.array_equal(once, pixels)


def test_each_picture_of_two_passes_is_the_one_made_alone(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    *_, both = engine.generate(create(engine, hires_scale=1.5, num_images=2))
    *_, alone = engine.generate(create(engine, hires_scale=1.5, seed=4))
    assert both.images[1] == alone.images[0]


def test_a_styles_start_and_end_count_in_each_pass(tiny_sdxl, tmp_path, monkeypatch):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    find = library_with(engine.load()[0], tmp_path, "ink").find
    composer, applied = engine.load()[1], []
    apply = composer.apply
    monkeypatch.setattr(composer, "apply", lambda mix, progress=0.0: applied.append(progress) or apply(mix, progress))
    base = paint(engine, hires_scale=1.5)[1]
    applied.clear()
    late = [{"id": "ink", "weight": 1, "start": 0.5, "text_weight": 0}]
    _, styled, _ = paint(engine, find, hires_scale=1.5, hires_steps=4, steps=4, adapters=late)
    assert applied == [0, 0, 0.25, 0.5, 0.75, 0, 0.5]
    assert not np.array_equal(styled, base) and np.array_equal(paint(engine, hires_scale=1.5)[1], base)


def test_a_style_begins_with_a_whole_step_of_heun(tiny_sdxl, monkeypatch):
    engine = loaded(tiny_sdxl)[0]
    composer, applied = engine.load()[1], []
    apply = composer.apply
    monkeypatch.setattr(composer, "apply", lambda mix, progress=0.0: applied.append(progress) or apply(mix, progress))
    paint(engine, steps=4, scheduler="Heun")
    assert applied == [0, 0, 0, 0.25, 0.25, 0.5, 0.5, 0.75]


def test_expected_seconds_count_what_runs(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    seconds = {name: engine.facts.expected_seconds(create(engine, steps=20, **values)) for name, values in (
        ("plain", {}), ("half", {"image": FILE.getvalue(), "strength": 0.5}), ("double", {"hires_scale": 2.0}),
        ("unguided", {"guidance_start": 0.5}),
    )}  # fmt: skip
    assert seconds["half"] < 0.6 * seconds["plain"] and seconds["double"] > 2.9 * seconds["plain"]
    assert 0.7 * seconds["plain"] < seconds["unguided"] < 0.85 * seconds["plain"]


def test_outside_of_its_interval_guidance_costs_nothing(tiny_sdxl, monkeypatch):
    engine = loaded(tiny_sdxl)[0]
    rows, unet = [], engine.load()[0].denoiser
    forward = unet.forward
    monkeypatch.setattr(unet, "forward", lambda x, *a, **k: rows.append(len(x)) or forward(x, *a, **k))
    inside = paint(engine, guidance_start=0.2, guidance_end=0.6)[1]
    assert rows == [1, 2, 2, 1, 1]
    assert not np.array_equal(inside, paint(engine)[1])
    assert np.array_equal(paint(engine, guidance_start=0, guidance_end=1)[1], paint(engine)[1])
    never = paint(engine, guidance_start=0.81, guidance_end=0.99)[1]
    assert np.array_equal(never, paint(engine, guidance_scale=1)[1])


def test_the_request_with_its_picture_crosses_into_a_worker(tiny_sdxl):
    import pickle

    engine = loaded(tiny_sdxl)[0]
    request = create(engine, image=FILE.getvalue(), hires_scale=1.5, clip_skip=1)
    again = pickle.loads(pickle.dumps(request))
    assert again == request and hash(again) == hash(request) and len(pickle.dumps(request)) < 64 * 64 * 3 + 4000
    assert replace(request, strength=0.2) != request


def test_numbers_that_overflow_between_the_passes_are_told(tiny_sdxl, monkeypatch):
    monkeypatch.setattr(Randomness, "noise", lambda *a: torch.full((1, 4, 32, 32), torch.nan))
    with pytest.raises(PaintingFailed, match="overflowed"):
        paint(loaded(tiny_sdxl)[0], hires_scale=1.5)
