"""Variations: noise turned towards that of another seed, by AUTOMATIC1111's formula and with its numbering."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from pipeline.engine import Engine, Finished
from pipeline.metadata import infotext
from pipeline.metadata.restore import restore
from pipeline.profiles import load_profile
from pipeline.request.compare import grid
from pipeline.request.request import GenerationRequest
from pipeline.sampling.latents import Randomness, turned


@pytest.fixture(scope="module")
def engine(tiny_sdxl):
    return Engine(load_profile(base_model=str(tiny_sdxl)))


def create(engine, **values):
    defaults = {"prompt": "red apple", "steps": 3, "seed": 3, "width": 64, "height": 96}
    return GenerationRequest.create(defaults | values, engine.limits, None)


def paint(engine, **values):
    *_, generation = engine.generate(create(engine, **values))
    return generation


def slerp(share, low, high):
    """The formula, written out once more: (C, H, W) arrays in double precision, angles along the second axis."""
    low, high = low.astype(np.float64), high.astype(np.float64)
    dot = ((low / np.sqrt((low**2).sum(1))[:, None]) * (high / np.sqrt((high**2).sum(1))[:, None])).sum(1)
    if dot.mean() > 0.9995:
        return low * share + high * (1 - share)
    omega = np.arccos(dot)
    first, second = np.sin((1 - share) * omega) / np.sin(omega), np.sin(share * omega) / np.sin(omega)
    return first[:, None] * low + second[:, None] * high


def noise(seed: int) -> torch.Tensor:
    return torch.randn((1, 4, 12, 8), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_the_noise_is_that_of_the_formula(engine, share):
    components = engine.load()[0]
    low, high = noise(3), noise(99)
    ours = Randomness.of(3, 99, share).noise(components, 64, 96)
    assert np.abs(ours[0].numpy() - slerp(share, low[0].numpy(), high[0].numpy())).max() < 2e-6
    near = low + 0.001 * high
    mixed = turned(share, low[0], near[0]).numpy()
    assert np.abs(mixed - slerp(share, low[0].numpy(), near[0].numpy())).max() < 2e-6
    assert torch.equal(Randomness.of(3).noise(components, 64, 96), low)


def test_without_strength_the_file_is_as_without_a_seed(engine):
    plain = paint(engine)
    other = paint(engine, variation_seed=99)
    assert plain.images == other.images and b"Variation" not in plain.images[0]
    assert other.details["variation_seeds"] == [] and other.details["variation_strength"] == 0
    assert create(engine) == create(engine, variation_seed=7)


def test_a_little_is_near_and_all_of_it_is_the_other_seed(engine):
    plain, other = (paint(engine, seed=seed, metadata=False).images for seed in (3, 99))
    little, much, all_ = (paint(engine, variation_seed=99, variation_strength=share, metadata=False).images
                          for share in (0.1, 0.7, 1.0))  # fmt: skip
    assert len({*plain, *little, *much, *other}) == 4 and all_ == other


def test_a_batch_has_one_seed_and_as_many_variations(engine):
    values = {"num_images": 3, "variation_seed": 2**32 - 2, "variation_strength": 0.3}
    request = create(engine, **values)
    assert request.seeds == (3, 3, 3) and request.variation_seeds == (2**32 - 2, 2**32 - 1, 0)
    *news, batch = engine.generate(request)
    assert batch.details["seeds"] == [3, 3, 3] and batch.details["variation_seeds"] == [2**32 - 2, 2**32 - 1, 0]
    finished = [item for item in news if isinstance(item, Finished)]
    assert [item.details["variation_seeds"] for item in finished] == [[2**32 - 2], [2**32 - 2, 2**32 - 1]]
    assert len(set(batch.images)) == 3
    for index in range(3):
        text = infotext.write(json.loads(json.dumps(batch.details)), index)
        restored, notes = restore(text, engine.limits, (), "custom")
        assert notes == [] and (restored["seed"], restored["num_images"]) == (3, 1)
        assert restored["variation_seed"] == request.variation_seeds[index] and restored["variation_strength"] == 0.3
        *_, alone = engine.generate(GenerationRequest.create(restored, engine.limits, None))
        assert alone.images[0] == batch.images[index]


def test_variants_of_the_prompt_are_those_of_its_seed(engine):
    request = create(engine, prompt="{red|green|blue} apple", num_images=4, variation_strength=0.1)
    assert len(set(request.texts)) == 1
    assert len(set(create(engine, prompt="{red|green|blue} apple", num_images=4).texts)) > 1


def test_one_that_is_to_be_drawn_is_drawn_once_for_all_cells(engine):
    asked = {"prompt": "x", "variation_strength": 0.2, "seed": -1}
    made = grid(asked, {"x_axis": "steps", "x_values": [2, 3, 4]}, engine.limits, None)
    assert len({(cell.request.seed, cell.request.variation_seed) for cell in made.cells}) == 1
    assert len({create(engine, variation_strength=0.2).variation_seed for _ in range(8)}) == 8


@pytest.mark.parametrize("values", [{"hires_scale": 1.5}, {"scheduler": "Euler a"}, {"scheduler": "DPM++ 2M SDE"}])
def test_the_same_request_is_the_same_file(engine, values):
    values |= {"variation_seed": 5, "variation_strength": 0.4}
    first = paint(engine, **values)
    assert paint(engine, **values).images == first.images != paint(engine, **values | {"variation_seed": 6}).images
    assert asdict(create(engine, **values))["variation_seed"] == 5
