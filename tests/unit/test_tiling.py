"""Pictures to be laid as tiles: what leaves on one side comes in on the other, and afterwards nothing is left of it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.engine import Engine
from pipeline.metadata import infotext
from pipeline.metadata.restore import restore
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from pipeline.sampling.latents import Randomness
from pipeline.sampling.tiling import seamless


@pytest.fixture(scope="module")
def engine(tiny_sdxl):
    return Engine(load_profile(base_model=str(tiny_sdxl)))


def generate(engine, **values):
    defaults = {"prompt": "red apple", "steps": 4, "seed": 3, "width": 128, "height": 128, "scheduler": "Euler"}
    return engine.generate(GenerationRequest.create(defaults | values, engine.limits, None))


def paint(engine, **values) -> np.ndarray:
    *_, generation = generate(engine, **values)
    return np.asarray(Image.open(io.BytesIO(generation.images[0])), float)


def modes(engine) -> list[str]:
    components = engine.load()[0]
    return [layer.padding_mode for part in (components.denoiser, components.vae) for layer in part.modules()
            if isinstance(layer, torch.nn.Conv2d)]  # fmt: skip


@pytest.fixture
def rolled(monkeypatch):
    """From now on noise begins a half of the picture further on."""
    drawn = Randomness.noise
    monkeypatch.setattr(Randomness, "noise", lambda self, *size: drawn(self, *size).roll((8, 8), (2, 3)))


def test_there_is_no_edge_left_that_could_be_told_from_the_inside(engine, rolled, monkeypatch):
    """Noise that begins elsewhere paints the same picture, beginning there: no place of it is an edge."""
    further = [paint(engine, tiling=tiling) for tiling in (True, False)]
    monkeypatch.undo()
    off = [np.abs(np.roll(paint(engine, tiling=tiling), (64, 64), (0, 1)) - picture)
           for tiling, picture in zip((True, False), further)]  # fmt: skip
    # In steps of 255: rounding, and without tiling the edges.
    assert off[0].max() <= 1 < 20 < off[1].max() and off[0].mean() < 0.05 < 1 < off[1].mean()


def test_the_next_picture_is_as_before_however_it_ended(engine, monkeypatch):
    *_, before = generate(engine)
    *_, tiled = generate(engine, tiling=True)
    *_, after = generate(engine)
    assert before.images == after.images != tiled.images and set(modes(engine)) == {"zeros"}
    steps = generate(engine, tiling=True)
    next(steps)
    assert {"circular"} < set(modes(engine))
    steps.close()
    assert set(modes(engine)) == {"zeros"}
    with monkeypatch.context() as patch:
        patch.setattr(Randomness, "noise", lambda *_: torch.full((1, 4, 16, 16), torch.nan))
        with pytest.raises(Exception, match="overflowed"):
            [*generate(engine, tiling=True)]
    assert set(modes(engine)) == {"zeros"}
    *_, after = generate(engine)
    assert before.images == after.images


def test_layers_that_had_another_padding_have_it_again(engine):
    components = engine.load()[0]
    layer = components.vae.decoder.conv_in
    layer.padding_mode = "reflect"
    try:
        with seamless(components, True):
            assert layer.padding_mode == "circular"
        assert layer.padding_mode == "reflect"
        with seamless(components, False):
            assert layer.padding_mode == "reflect"
    finally:
        layer.padding_mode = "zeros"


def test_a_picture_says_it(engine):
    *_, tiled = generate(engine, tiling=True)
    text = infotext.write(tiled.details)
    assert "Tiling: True" in text and restore(text, engine.limits, (), "custom")[0]["tiling"] is True
    *_, plain = generate(engine)
    text = infotext.write(plain.details)
    assert "Tiling" not in text and restore(text, engine.limits, (), "custom")[0]["tiling"] is False


def test_it_goes_with_a_picture_to_start_from(engine):
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(buffer, "PNG")
    start = {"image": buffer.getvalue(), "strength": 0.5}
    assert not np.array_equal(paint(engine, tiling=True, **start), paint(engine, **start))
