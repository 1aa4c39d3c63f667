"""Every preset that a model is offered paints what diffusers' own pipeline paints with that scheduler, and no NaN."""

import io
import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from lora.errors import InvalidRequest
from pipeline.engine import Engine
from pipeline.families.sd15 import SD15
from pipeline.families.sdxl import SDXL
from pipeline.profiles import EMBEDDED_PROFILE, SDXL_PROFILE, ZERO_SNR, load_profile
from pipeline.request.request import GenerationRequest
from pipeline.sampling import schedulers
from tests import tiny

CASES = [
    *(("tiny_sdxl", name) for name in schedulers.PRESETS),
    *(("tiny_sd15", name) for name in [*schedulers.SAMPLERS, "Euler AYS", "DPM++ 2M Karras"]),
    *(("zero_snr", name) for name in schedulers.available(ZERO_SNR)),
]


@pytest.fixture(scope="session")
def zero_snr(tmp_path_factory):
    """A tiny model as the embedded one is trained: v-prediction to zero terminal SNR."""
    return tiny.tiny_sdxl(tmp_path_factory.mktemp("zero"), **ZERO_SNR)


@cache
def loaded(folder):
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return Engine(load_profile(base_model=str(folder))), pipe, dict(pipe.scheduler.config)


@pytest.mark.parametrize(("model", "name"), CASES)
def test_same_pixels_as_diffusers(model, name, request):
    engine, pipe, config = loaded(request.getfixturevalue(model))
    assert name in engine.limits.schedulers
    values = dict(prompt="red apple", steps=3, seed=3, width=64, height=64, guidance_scale=5, scheduler=name)
    *_, ours = engine.generate(GenerationRequest.create(values, engine.limits, None), previews=False)
    pipe.scheduler = schedulers.make(name, config)
    steps = schedulers.timesteps(name, 3, (SD15 if model == "tiny_sd15" else SDXL).ays)
    theirs = pipe("red apple", height=64, width=64, generator=torch.Generator().manual_seed(3), output_type="np",
                  guidance_scale=5, **steps).images[0]  # fmt: skip
    assert np.isfinite(theirs).all()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(ours.images[0]))), (theirs * 255).round().astype("uint8"))


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("Heun", "such as Euler"),
        ("DPM++ SDE Karras", "such as Euler"),
        ("DPM++ 2M Karras", "must be DPM[+][+] 2M: its other schedules"),
        ("UniPC exponential", "must be UniPC"),
        ("Euler beta", "must be Euler: its other schedules"),
        ("Euler AYS", "must be Euler:"),
        ("Euler SGM uniform", "SGM uniform on this model already"),
    ],
)
def test_what_cannot_start_from_pure_noise_is_refused_with_what_to_use(name, instead):
    with pytest.raises(InvalidRequest, match=instead):
        GenerationRequest.create({"prompt": "x", "scheduler": name}, EMBEDDED_PROFILE.limits, None)
    assert GenerationRequest.create({"prompt": "x", "scheduler": name}, SDXL_PROFILE.limits, None).scheduler == name


def test_few_step_presets_have_their_own_most_steps():
    with pytest.raises(InvalidRequest, match="from 1 to 50 with LCM"):
        GenerationRequest.create({"prompt": "x", "scheduler": "LCM", "steps": 51}, SDXL_PROFILE.limits, None)


CONFIGS = [dict(tiny.NOISE, timestep_spacing="leading", steps_offset=1), dict(tiny.NOISE, **ZERO_SNR)]


@pytest.mark.parametrize(
    ("config", "name"), [(config, name) for config in CONFIGS for name in schedulers.available(config)]
)
def test_any_number_of_steps_reaches_the_clean_picture(config, name):
    """With a model that is always right, every sampler must arrive, from its first noise to the last step."""
    for steps in (1, 2, 5, schedulers.STEP_CAPS.get(name, 150)):
        scheduler, timesteps = schedulers.prepare(name, config, steps, SDXL.ays)
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(1, 4, 4, 4, generator=rng) * scheduler.init_noise_sigma
        for t in timesteps:
            inputs = scheduler.scale_model_input(x, t)
            signal = scheduler.alphas_cumprod[t.long()]
            eps = (inputs - signal.sqrt() * 0.3) / (1 - signal).sqrt()
            v = signal.sqrt() * eps - (1 - signal).sqrt() * 0.3
            prediction = v if "prediction_type" in config else eps
            takes = "generator" in scheduler.step.__code__.co_varnames
            x = scheduler.step(prediction, t, x, **({"generator": rng} if takes else {})).prev_sample
        assert (x - 0.3).abs().max() < 0.15, steps


@pytest.mark.parametrize("config", CONFIGS)
def test_sigmas_fall_from_noise_to_the_picture(config):
    for name in schedulers.available(config):
        levels = schedulers.sigmas(name, config, 20, SDXL.ays)
        assert 20 <= len(levels) <= 21 and all(map(math.isfinite, levels)), name
        assert all(a > b for a, b in itertools.pairwise(levels)), name
        assert levels[-1] < 0.1 and levels[0] > (4000 if config is CONFIGS[1] else 8), name
