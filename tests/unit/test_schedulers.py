"""Every preset that a model is offered paints what diffusers' own pipeline paints with that scheduler, and no NaN."""

import inspect
import io
import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LMSDiscreteScheduler,
)
from PIL import Image

from lora.errors import InvalidRequest
from pipeline.engine import Engine
from pipeline.families.sd15 import SD15
from pipeline.families.sdxl import SDXL
from pipeline.profiles import EMBEDDED_PROFILE, SDXL_PROFILE, ZERO_SNR, load_profile
from pipeline.request.limits import MAX_STEPS
from pipeline.request.request import GenerationRequest
from pipeline.sampling import schedulers
from pipeline.sampling.level_scheduler import LevelScheduler
from pipeline.sampling.levels import TrainedLevels
from tests import tiny

# Those that diffusers' loop can drive: it has no unguided prediction for CFG++.
DRIVEN = [name for name in schedulers.SAMPLERS if not name.endswith("CFG++")]
CASES = [
    *(("tiny_sdxl", name) for name in DRIVEN),
    *(("tiny_sdxl", f"Euler {schedule}") for schedule in schedulers.SCHEDULES),
    *(("tiny_sdxl", f"{name} beta") for name in ("DPM++ SDE", "DPM++ 3M SDE", "UniPC", "DEIS", "SA-Solver", "LCM")),
    *(("tiny_sd15", name) for name in [*DRIVEN[:11], "Euler AYS", "DPM++ 2M Karras"]),
    *(("zero_snr", name) for name in schedulers.available(ZERO_SNR) if name in DRIVEN),
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
    pipe.scheduler = schedulers.make(name, config, (SD15 if model == "tiny_sd15" else SDXL).ays)
    theirs = pipe("red apple", height=64, width=64, generator=torch.Generator().manual_seed(3), output_type="np",
                  guidance_scale=5, num_inference_steps=3).images[0]  # fmt: skip
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


def arrives(name, config, steps, rng="own"):
    """How far a model that is always right ends from the picture, which is 0.3."""
    scheduler, timesteps = schedulers.prepare(name, config, steps, SDXL.ays, rng=rng)
    trained, noise = TrainedLevels(config), torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 4, 4, generator=noise) * scheduler.init_noise_sigma
    takes = {"generator": noise} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for t in timesteps:
        signal = 1 / (trained.at(t) ** 2 + 1)
        eps = (scheduler.scale_model_input(x, t) - signal.sqrt() * 0.3) / (1 - signal).sqrt()
        v = signal.sqrt() * eps - (1 - signal).sqrt() * 0.3
        prediction = v if "prediction_type" in config else eps
        x = scheduler.step(prediction, t, x, **takes).prev_sample
    return (x - 0.3).abs().max()


@pytest.mark.parametrize(
    ("config", "name"),
    [(config, name) for config in CONFIGS for name in schedulers.available(config)
     if schedulers.PRESETS[name][1] in ("", "Karras", "DDIM uniform", "KL optimal", "AYS")],
)  # fmt: skip
def test_any_number_of_steps_reaches_the_clean_picture(config, name):
    for steps in (1, 2, 21):
        assert arrives(name, config, steps) < 0.15, steps


@pytest.mark.parametrize("name", schedulers.SAMPLERS)
def test_even_the_most_steps_do_as_another_source_has_them(name):
    for rng in ("own", "cpu"):
        assert arrives(name, CONFIGS[0], schedulers.STEP_CAPS.get(name, MAX_STEPS), rng) < 0.15, rng
        assert arrives(name, CONFIGS[0], 5, rng) < 0.15, rng


@pytest.mark.parametrize("config", CONFIGS)
def test_sigmas_fall_from_noise_to_the_picture(config):
    for name in schedulers.available(config):
        found = schedulers.sigmas(name, config, 20, SDXL.ays)
        assert 20 <= len(found) <= 21 and all(map(math.isfinite, found)), name
        assert all(a > b for a, b in itertools.pairwise(found)), name
        assert found[-1] < 0.1 and found[0] > (4000 if config is CONFIGS[1] else 8), name


# A1111's on SDXL, of ten steps, and of ends and middle of twenty and thirty.
KNOWN = {
    "Karras": (14.61464, 9.10293, 5.47839, 3.1686, 1.74942, 0.91407, 0.44692, 0.2014, 0.08191, 0.02917, 0.0),
    "exponential": (14.61464, 7.32487, 3.67123, 1.84002, 0.92222, 0.46222, 0.23166, 0.11611, 0.05819, 0.02917, 0.0),
    "SGM uniform": (14.61464, 8.30717, 5.09241, 3.32507, 2.27973, 1.61558, 1.16286, 0.83188, 0.57119, 0.3437, 0.0),
    "beta": (14.61464, 13.92778, 12.49098, 10.59761, 8.44244, 6.20137, 4.0462, 2.15283, 0.71602, 0.02917, 0.0),
    "AYS": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.38, 0.234, 0.113, 0.0),
}
AT = (0, 1, 2, 10, 18, 19)
KNOWN_20 = {
    "Karras": (14.61464, 11.72536, 9.3402, 1.09079, 0.04848, 0.02917),
    "exponential": (14.61464, 10.53631, 7.59607, 0.55436, 0.04046, 0.02917),
    "SGM uniform": (14.61464, 10.90732, 8.30717, 1.61558, 0.3437, 0.22545),
    "beta": (14.61464, 14.41524, 13.98632, 6.78982, 0.22857, 0.02917),
    "AYS": (14.615, 9.60696, 6.315, 0.862, 0.113, 0.05725),
}
KNOWN_30 = {
    "Karras": (14.61464, 12.6606, 10.93492, 2.98658, 0.6063, 0.48293),
    "exponential": (14.61464, 11.79474, 9.51894, 1.71313, 0.30831, 0.24882),
    "SGM uniform": (14.61464, 11.9969, 9.93908, 2.91831, 1.16286, 1.04208),
    "beta": (14.61464, 14.51592, 14.30238, 10.38372, 4.9165, 4.26009),
    "AYS": (14.615, 11.04902, 8.35312, 1.85505, 0.555, 0.48917),
}


@pytest.mark.parametrize("schedule", KNOWN)
@pytest.mark.parametrize("config", [CONFIGS[0], dict(tiny.NOISE, prediction_type="v_prediction")])
def test_levels_are_those_that_users_know_under_these_names(schedule, config):
    for name in (preset for preset, parts in schedulers.PRESETS.items() if parts[1] == schedule):
        ten, twenty, thirty = (schedulers.sigmas(name, config, steps, SDXL.ays) for steps in (10, 20, 30))
        assert (len(ten), len(twenty), len(thirty)) == (11, 21, 31), name
        # Those of diffusers take whole time steps.
        most = 2e-3 if schedule != "SGM uniform" else 0.03
        assert ten == pytest.approx(KNOWN[schedule], rel=most, abs=2e-5), name
        assert [twenty[i] for i in AT] == pytest.approx(KNOWN_20[schedule], rel=most), name
        assert [thirty[i] for i in AT] == pytest.approx(KNOWN_30[schedule], rel=most), name


def test_the_other_schedules_are_their_formulas():
    trained, config, n = TrainedLevels(CONFIGS[0]).sigmas.double().numpy(), CONFIGS[0], 10
    low, high = trained[0], trained[-1]
    way = [1 - i * 0.005 for i in range(5)]
    # The rest is a parabola: it goes on as fast as it has come, and ends in nothing.
    way += [1 - (0.025 + 0.005 * i + (0.975 - 0.025) / 25 * i**2) for i in range(5)]
    known = {
        "simple": trained[[999 - 100 * i for i in range(n)]],
        "normal": np.exp(np.interp(np.linspace(999, 0, n), np.arange(1000), np.log(trained))),
        "DDIM uniform": trained[901::-100],
        "KL optimal": np.tan(np.linspace(np.arctan(high), np.arctan(low), n + 1)),
        "polyexponential": np.geomspace(high, low, n),
        "linear quadratic": np.array(way) * high,
    }
    assert {*known, *KNOWN} == {*schedulers.SCHEDULES}
    for schedule, expected in known.items():
        found = schedulers.sigmas(f"DPM++ 2M {schedule}", config, n, SDXL.ays)
        assert found[: len(expected)] == pytest.approx(expected, rel=1e-4), schedule
        assert len(found) == n + 1 and (found[-1] == 0) is (schedule != "KL optimal"), schedule
    sd15 = schedulers.sigmas("Euler AYS", config, 10, SD15.ays)
    assert sd15 == [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("LMS", LMSDiscreteScheduler), ("DPM2", KDPM2DiscreteScheduler), ("DPM2 a", KDPM2AncestralDiscreteScheduler),
     ("Heun normal", HeunDiscreteScheduler), ("DPM++ 2M normal", DPMSolverMultistepScheduler)],
)  # fmt: skip
def test_a_solver_of_ours_goes_the_way_of_diffusers_class(name, kind):
    """Where they have the same levels; they round time steps, and lay out the middle of DPM2 otherwise."""
    config = dict(tiny.NOISE, timestep_spacing="linspace")
    found = []
    for scheduler in (schedulers.make(name, config), kind.from_config(config)):
        scheduler.set_timesteps(12)
        x, rng = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
        start = float(scheduler.sigmas[0])
        x = x * start if kind is not DPMSolverMultistepScheduler or isinstance(scheduler, LevelScheduler) else x
        takes = {"generator": rng} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for t in scheduler.timesteps:
            seen = scheduler.scale_model_input(x, t)
            x = scheduler.step(seen.tanh() + 0.1 * seen.roll(1, 3), t, x, **takes).prev_sample
        found.append(x)
    assert (found[0] - found[1]).abs().max() < 0.05 * found[1].abs().max()


@pytest.fixture(scope="session")
def velocity(tmp_path_factory):
    """A tiny model that predicts v, with a highest noise level."""
    return tiny.tiny_sdxl(tmp_path_factory.mktemp("velocity"), prediction_type="v_prediction")


@pytest.mark.parametrize(("turn", "model"), enumerate(["tiny_sdxl", "tiny_sd15", "velocity"]))
def test_every_preset_paints_and_no_two_samplers_the_same(turn, model, request):
    """In its own way and as A1111 draws, from text, over a picture, into it and in two passes."""
    engine = loaded(request.getfixturevalue(model))[0]
    file, mask = io.BytesIO(), io.BytesIO()
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(file, "PNG")
    Image.radial_gradient("L").resize((64, 64)).point(lambda value: 255 * (value > 99)).save(mask, "PNG")
    more = itertools.cycle([
        {}, {"rng": "cpu", "ensd": 7}, {"image": file.getvalue()}, {"rng": "nv"},
        {"image": file.getvalue(), "mask": mask.getvalue()}, {"hires_scale": 1.5, "rng": "cpu"},
    ])  # fmt: skip
    for name in [*schedulers.PRESETS][turn::3]:
        values = dict(prompt="red apple", steps=2, seed=3, width=64, height=64, scheduler=name) | next(more)
        *steps, made = engine.generate(GenerationRequest.create(values, engine.limits, None), previews=False)
        pixels = np.asarray(Image.open(io.BytesIO(made.images[0])))
        assert pixels.std() > 1 and steps[-1].step == steps[-1].steps, (name, values)
    plain = {}
    for name in schedulers.SAMPLERS:
        values = dict(prompt="red apple", steps=4, seed=3, width=64, height=64, scheduler=name, metadata=False)
        *_, made = engine.generate(GenerationRequest.create(values, engine.limits, None), previews=False)
        plain[name] = made.images[0]
    # These two are Euler and Euler a by another way of counting noise.
    others = [image for name, image in plain.items() if name not in ("DDIM", "DDPM")]
    assert len({*others}) == len(others)


def test_what_a_step_costs_is_how_often_the_model_is_asked():
    for name in schedulers.PRESETS:
        for rng in ("own", "nv"):
            asked = len(schedulers.prepare(name, CONFIGS[0], 30, SDXL.ays, rng=rng)[1])
            assert asked == pytest.approx(30 * schedulers.calls(name, rng), abs=2), (name, rng)
