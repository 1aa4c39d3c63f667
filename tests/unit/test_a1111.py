"""A picture of AUTOMATIC1111's is painted here as it was there: its algorithm written out once more as the oracle.

k-diffusion itself asks for wandb and torchvision, so that its formulas are written here anew, from its papers and its
documented behaviour; torchsde, whose Brownian tree it walks, is there.
"""

import io
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchsde
from PIL import Image

from lora.errors import InvalidRequest
from pipeline.engine import Engine
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from pipeline.sampling import schedulers
from pipeline.sampling.brownian import BrownianPath
from pipeline.sampling.decode import decode
from pipeline.sampling.latents import turned
from pipeline.sampling.noise import cpu
from pipeline.sampling.philox import Philox, philox
from tests import tiny

STEPS, SCALE, SIZE = 20, 6.5, (64, 96)
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
ALPHAS = torch.tensor(np.cumprod(1 - BETAS), dtype=torch.float32)
SIGMAS = ((1 - ALPHAS) / ALPHAS) ** 0.5


@pytest.fixture(scope="module")
def velocity(tmp_path_factory):
    return tiny.tiny_sdxl(tmp_path_factory.mktemp("velocity"), prediction_type="v_prediction")


@pytest.fixture
def painted(monkeypatch):
    """Paints a request; gives the latents of its last picture as they are decoded."""
    kept = []
    monkeypatch.setattr("pipeline.engine.decode", lambda parts, latents: kept.append(latents) or decode(parts, latents))

    def paint(engine, **values):
        usual = dict(prompt="(red:1.3) apple", negative_prompt="cat", steps=STEPS, seed=1234, guidance_scale=SCALE,
                     width=SIZE[0], height=SIZE[1])  # fmt: skip
        [*engine.generate(GenerationRequest.create(usual | values, engine.limits, None), previews=False)]
        return kept[-1]

    return paint


class Source:
    """Of one picture, as its ImageRNG: the first noise, turned to a variation's, and those after it."""

    def __init__(self, kind, seed, ensd=0, variation=None, strength=0.0):
        self.make = {"cpu": cpu, "nv": Philox}[kind]
        self.shape, self.seed, self.ensd = (4, SIZE[1] // 8, SIZE[0] // 8), seed, ensd
        self.stream, self.other, self.strength = self.make(seed), variation, strength

    def first(self):
        noise = self.stream(self.shape)
        if self.other is not None:
            noise = turned(self.strength, noise, self.make(self.other)(self.shape))
        if self.ensd:
            self.stream = self.make(self.seed + self.ensd)
        return noise[None]

    def next(self):
        return self.stream(self.shape)[None]


class Model:
    """Its denoiser: latents with noise of a level -> the clean ones, guided; and `eps` at whole time steps."""

    def __init__(self, engine):
        self.parts = engine.load()[0]
        self.text = engine._condition(self.parts)("(red:1.3) apple", "cat", STEPS, engine.load()[1].text_state, 0)[0]
        self.velocity = self.parts.scheduler_config.get("prediction_type") == "v_prediction"

    def output(self, x, t):
        out = []
        for text in reversed(self.text):
            t_ = torch.as_tensor(t, dtype=torch.float32)
            out.append(self.parts.family.predict(self.parts, x, t_, text.hidden, text.pooled))
        return out[0] + SCALE * (out[1] - out[0])

    @torch.no_grad()
    def __call__(self, x, sigma):
        t = np.interp(math.log(sigma), SIGMAS.double().log().numpy(), np.arange(1000))
        out = self.output(x / (sigma**2 + 1) ** 0.5, t)
        if self.velocity:
            return x / (sigma**2 + 1) - out * sigma / (sigma**2 + 1) ** 0.5
        return x - sigma * out

    @torch.no_grad()
    def eps(self, x, t):
        out = self.output(x, float(t))
        return out * ALPHAS[t] ** 0.5 + x * (1 - ALPHAS[t]) ** 0.5 if self.velocity else out


def uniform(n):
    return torch.cat([torch.exp(torch.tensor(np.interp(np.linspace(999, 0, n), np.arange(1000),
                      SIGMAS.double().log().numpy()), dtype=torch.float32)), torch.zeros(1)])  # fmt: skip


def karras(n):
    ramp, low, high = torch.linspace(0, 1, n), SIGMAS[0].item() ** (1 / 7), SIGMAS[-1].item() ** (1 / 7)
    return torch.cat([(high + ramp * (low - high)) ** 7, torch.zeros(1)])


def step_down(a, b):
    up = min(b, (b**2 * (a**2 - b**2) / a**2) ** 0.5)
    return (b**2 - up**2) ** 0.5, up


def euler(model, source):
    sigmas = uniform(STEPS)
    x = source.first() * sigmas[0]
    for a, b in pairwise(sigmas):
        x = x + (x - model(x, a)) / a * (b - a)
    return x


def euler_a(model, source):
    sigmas = uniform(STEPS)
    x = source.first() * sigmas[0]
    for a, b in pairwise(sigmas):
        down, up = step_down(a, b)
        x = x + (x - model(x, a)) / a * (down - a)
        x = x + source.next() * up if b > 0 else x
    return x


def dpmpp_2m(model, source):
    sigmas, old = karras(STEPS), None
    x = source.first() * sigmas[0]
    for i, (a, b) in enumerate(pairwise(sigmas)):
        denoised, t, t_next = model(x, a), -a.log(), -b.log()
        h, mixed = t_next - t, denoised
        if old is not None and b > 0:
            r = (t + sigmas[i - 1].log()) / h
            mixed = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * old
        x, old = b / a * x - (-h).expm1() * mixed, denoised
    return x


def dpmpp_sde(model, source):
    sigmas = karras(STEPS)
    x = source.first() * sigmas[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = torchsde.BrownianTree(sigmas[-2], torch.zeros_like(x[0]), sigmas[0], entropy=source.seed)

        def noise(a, b):
            return -tree(b, a)[None] / (a - b).sqrt()

        for a, b in pairwise(sigmas):
            denoised = model(x, a)
            if b == 0:
                x = denoised
                continue
            t, t_next = -a.log(), -b.log()
            middle, a_, b_ = ((-each).exp() for each in (t + (t_next - t) * 0.5, t, t_next))
            down, up = step_down(a_, middle)
            half = down.log().exp() / a_ * x - (t + down.log()).expm1() * denoised + noise(a_, middle) * up
            down, up = step_down(a_, b_)
            x = down.log().exp() / a_ * x - (t + down.log()).expm1() * model(half, middle) + noise(a_, b_) * up
    return x


def ddim(model, source, eta=0.0):
    x, times = source.first(), [min(t + 1, 999) for t in range(0, 1000, 1000 // STEPS)]
    for t, before in reversed([*zip(times[1:], times)]):
        eps, a, a_prev = model.eps(x, t), ALPHAS[t].double(), ALPHAS[before].double()
        sigma = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)) ** 0.5
        clean = (x - (1 - a) ** 0.5 * eps) / a**0.5
        x = (a_prev**0.5 * clean + (1 - a_prev - sigma**2) ** 0.5 * eps + sigma * source.next()).float()
    return x


ORACLES = {"Euler": euler, "Euler a": euler_a, "DPM++ 2M Karras": dpmpp_2m, "DPM++ SDE Karras": dpmpp_sde, "DDIM": ddim}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("folder", ["tiny_sdxl", "tiny_sd15", "velocity"])
def test_latents_are_its_own(folder, name, painted, request, monkeypatch):
    engine = Engine(load_profile(base_model=str(request.getfixturevalue(folder))))
    more = {"variation_seed": 99, "variation_strength": 0.3}
    cases = [{"rng": "cpu"}, {"rng": "nv", "ensd": 5, **more}, {"rng": "cpu", "ensd": 31337}]
    model = Model(engine)
    for values in {"tiny_sdxl": cases, "tiny_sd15": cases[:1], "velocity": cases[1:2]}[folder]:
        source = Source(values["rng"], 1234, values.get("ensd", 0), values.get("variation_seed"),
                        values.get("variation_strength", 0.0))  # fmt: skip

        def randn(size, dtype, device, seed, make=source.make):
            return make(int(seed))(tuple(size))

        # As A1111 does: the tree's numbers too come from where all do.
        monkeypatch.setattr("torchsde._brownian.brownian_interval._randn", randn)
        theirs, ours = ORACLES[name](model, source), painted(engine, scheduler=name, **values)
        assert (ours - theirs).abs().max() < 1e-3, values
    if name == "DDIM" and folder == "tiny_sdxl":
        theirs = ddim(model, Source("cpu", 1234), eta=0.7)
        assert (painted(engine, scheduler=name, rng="cpu", eta=0.7) - theirs).abs().max() < 1e-3


def test_numbers_of_a_gpu_are_the_published_ones():
    """Of Philox, from the paper's own table; of torch on a GPU with seed 0, from A1111's documentation of them."""
    words = philox(np.zeros((4, 1), np.uint32), np.zeros(2, np.uint32))[:, 0]
    assert [f"{word:08x}" for word in words] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    full = np.full((4, 1), 0xFFFFFFFF, np.uint32)
    words = philox(full, np.full(2, 0xFFFFFFFF, np.uint32))[:, 0]
    assert [f"{word:08x}" for word in words] == ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]
    known = [-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564, -0.62285122, -0.32838709,
             -1.07454231, -0.36314407, -1.67105067, 2.26550497]  # fmt: skip
    stream = Philox(0)
    first, second = stream((3, 4)), stream((3, 4))
    assert first.dtype == torch.float32 and first.flatten().tolist() == pytest.approx(known, abs=2e-6)
    many = Philox(2**32 + 5)((1, 4, 128, 128))
    assert not torch.equal(first, second) and abs(many.mean()) < 0.01 and abs(many.std() - 1) < 0.01
    assert not torch.equal(many[0, 0, :3, 0], Philox(5)((1, 4, 128, 128))[0, 0, :3, 0])


def test_the_path_is_torchsdes_wherever_it_is_looked_at():
    low, high = SIGMAS[0].item(), SIGMAS[-1].item()
    path = BrownianPath(cpu, 7, (4, 8, 8), low, high)
    tree = torchsde.BrownianTree(low, torch.zeros(4, 8, 8), high, entropy=7)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for early, late in np.sort(rng.uniform(low, high, (12, 2))).tolist():
            assert (path(early, late) - tree(early, late) / (late - early) ** 0.5).abs().max() < 1e-4
    assert torch.equal(path(0.5, 1.5), BrownianPath(cpu, 7, (4, 8, 8), low, high)(0.5, 1.5))


def test_its_levels_for_a_name(tiny_sdxl):
    """Where it lays out a name in a way of its own: its last step but one, AYS, DDIM's stride, its uniform."""
    config = tiny.NOISE
    levels = {name: schedulers.make(name, config, tuple(range(11, 0, -1)), rng="nv") for name in
              ("Euler", "DPM2 Karras", "DPM++ 3M SDE Karras", "Euler AYS", "Euler DDIM uniform")}  # fmt: skip
    for scheduler in levels.values():
        scheduler.set_timesteps(30)
    assert torch.allclose(levels["Euler"].sigmas, uniform(30), rtol=1e-5)
    expected = torch.cat([karras(31)[:-2], torch.zeros(1)])
    for name in ("DPM2 Karras", "DPM++ 3M SDE Karras"):
        assert torch.allclose(levels[name].sigmas, expected, rtol=1e-5) and len(expected) == 31
    assert levels["Euler AYS"].sigmas[-2] == 1 and len(levels["Euler AYS"].sigmas) == 31
    assert len(levels["Euler DDIM uniform"].sigmas) == 32


@pytest.mark.parametrize("rng", ["cpu", "nv"])
def test_a_second_pass_and_a_picture_begin_with_the_first_noise_again(tiny_sdxl, painted, rng):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    file = io.BytesIO()
    Image.radial_gradient("L").resize(SIZE).convert("RGB").save(file, "PNG")
    few = {"steps": 4, "rng": rng, "scheduler": "Euler a"}
    for values in ({"hires_scale": 1.5}, {"image": file.getvalue()}, {"num_images": 2}):
        assert torch.equal(painted(engine, **few, **values), painted(engine, **few, **values))
    assert torch.equal(painted(engine, **few, num_images=2), painted(engine, **few, seed=1235))
    assert not torch.equal(painted(engine, **few), painted(engine, **few, ensd=1))
    assert not torch.equal(painted(engine, **few), painted(engine, **few | {"rng": "own"}))
    still = few | {"scheduler": "Euler"}
    assert torch.equal(painted(engine, **still), painted(engine, **still, ensd=1))


def test_only_sources_that_there_are(tiny_sdxl):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    with pytest.raises(InvalidRequest, match="one of own, cpu, nv"):
        GenerationRequest.create({"prompt": "x", "rng": "gpu"}, engine.limits, None)
    with pytest.raises(InvalidRequest, match="ensd"):
        GenerationRequest.create({"prompt": "x", "ensd": -1}, engine.limits, None)
