"""The engine against diffusers' own pipelines, and its promises: exact seeds, exact restore, no leak."""

import io
import pickle

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from lora.errors import InvalidRequest, ModelError, PaintingFailed
from pipeline import engine as engine_module
from pipeline.engine import DenoiseStep, Engine, Finished, Generation
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from pipeline.sampling import schedulers
from pipeline.sampling.latents import Randomness
from pipeline.text.conditioning import encode_pair, tokenize
from tests.adapters import library_with


@pytest.fixture(scope="module")
def engine(tiny_sdxl):
    return Engine(load_profile(base_model=str(tiny_sdxl)))


@pytest.fixture(scope="module")
def styles(engine, tmp_path_factory):
    return library_with(engine.load()[0], tmp_path_factory.mktemp("adapters"), "ink", "gloss")


def paint(engine, find=None, **values) -> Generation:
    *steps, generation = engine.generate(request(engine, find, **values))
    assert all(isinstance(step, DenoiseStep | Finished) for step in steps)
    return generation


def request(engine, find=None, **values):
    defaults = {"prompt": "red apple", "steps": 4, "seed": 3, "width": 64, "height": 64, "metadata": False}
    return GenerationRequest.create(defaults | values, engine.limits, find)


def reference(folder, name: str, **call) -> bytes:
    """The same picture by diffusers' own pipeline."""
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = schedulers.make(name, pipe.scheduler.config)
    rng = torch.Generator().manual_seed(3)
    return pipe(
        "red apple", num_inference_steps=4, height=64, width=64, generator=rng, output_type="np", **call
    ).images[0]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("values", [{"guidance_scale": 1}, {"negative_prompt": "cat", "guidance_scale": 7}])
def test_same_pixels_without_guidance_and_with_a_negative_prompt(engine, tiny_sdxl, values):
    theirs = reference(tiny_sdxl, "Euler", **values)
    assert np.array_equal(pixels(paint(engine, **values).images[0]), (theirs * 255).round().astype("uint8"))


def test_same_pixels_with_guidance_rescale(tiny_sdxl, engine):
    from dataclasses import replace

    *_, ours = engine.generate(replace(request(engine, guidance_scale=7), guidance_rescale=0.7))
    theirs = reference(tiny_sdxl, "Euler", guidance_scale=7, guidance_rescale=0.7)
    assert np.abs(pixels(ours.images[0]) / 255 - theirs).max() < 1 / 255


def test_text_of_one_chunk_equals_encode_prompt_bit_for_bit(engine, tiny_sdxl):
    pipe = DiffusionPipeline.from_pretrained(tiny_sdxl)
    hidden, none, pooled, pooled_none = pipe.encode_prompt("red apple", negative_prompt="cat")
    positive, negative = encode_pair(engine.load()[0], "red apple", "cat")
    assert torch.equal(positive.hidden, hidden) and torch.equal(positive.pooled, pooled)
    assert torch.equal(negative.hidden, none) and torch.equal(negative.pooled, pooled_none)


def test_long_prompts_are_chunked_and_nothing_is_cut(engine):
    components = engine.load()[0]
    text = tokenize(components.tokenizers, "red " * 100 + "cat")
    assert len(text.tokens) == 101 and len(text.chunks[0]) == 2
    assert sum(i not in (components.tokenizers[0].pad_token_id, components.tokenizers[0].bos_token_id)
               for chunk in text.chunks[0] for i in chunk) == 101  # fmt: skip
    positive, negative = encode_pair(components, "red " * 100, "")
    assert positive.hidden.shape == negative.hidden.shape == (1, 154, 48)
    assert paint(engine, prompt="red " * 100 + "cat").images != paint(engine, prompt="red " * 100).images
    with pytest.raises(InvalidRequest, match="prompt"):
        tokenize(components.tokenizers, "red " * 601)


def test_same_request_same_bytes_other_request_other_picture(engine):
    first = paint(engine).images
    assert paint(engine).images == first
    assert paint(engine, prompt="cat").images != first
    assert paint(engine, seed=4).images != first


def test_each_image_of_a_request_is_the_one_made_alone(engine):
    together = paint(engine, num_images=3, seed=10).images
    assert together == tuple(paint(engine, seed=10 + i).images[0] for i in range(3))


def test_a_picture_of_a_batch_is_told_when_it_is_done(engine):
    values = {"num_images": 3, "prompt": "{red|green|blue} apple", "metadata": True}
    items = [*engine.generate(request(engine, **values))]
    assert [type(item) for item in items] == [*[*[DenoiseStep] * 4, Finished] * 2, *[DenoiseStep] * 4, Generation]
    first, second = items[4], items[9]
    assert (first.image, second.image) == (0, 1) and (first.png, second.png) == items[-1].images[:2]
    for count, finished in ((1, first), (2, second)):
        alone = paint(engine, **values | {"num_images": count}).details
        assert {**finished.details, "timings": alone["timings"]} == alone
    again = pickle.loads(pickle.dumps(second))
    assert again == second and again.details["seeds"] == [3, 4]


def test_every_step_is_reported_with_a_small_preview(engine):
    *news, generation = engine.generate(request(engine, num_images=2))
    steps = [item for item in news if isinstance(item, DenoiseStep)]
    assert [(s.image, s.step) for s in steps] == [(i, s) for i in range(2) for s in range(1, 5)]
    for step in steps:
        image = Image.open(io.BytesIO(step.preview))
        assert image.format == "JPEG" and max(image.size) <= 128 and len(step.preview) < 12_000
    *plain, without = engine.generate(request(engine, num_images=2), previews=False)
    assert all(s.preview is None for s in plain if isinstance(s, DenoiseStep)) and without.images == generation.images


def test_an_adapter_changes_the_picture_and_the_base_returns(engine, styles):
    base = paint(engine).images
    with_ink = paint(engine, styles.find, adapters=[{"id": "ink", "weight": 1}])
    assert with_ink.images != base
    assert paint(engine).images == base
    (applied,) = with_ink.details["adapters"]
    assert applied["id"] == "ink" and applied["matched"] > 10 and applied["unmatched"] == 0
    assert applied["sha256"] == styles.find("ink").sha256


def test_an_adapter_at_zero_is_the_base(engine, styles):
    assert paint(engine, styles.find, adapters=[{"id": "ink", "weight": 0}]).images == paint(engine).images


def test_i1_requests_with_and_without_adapters_interleaved(engine, styles):
    base, ink = paint(engine).images, [{"id": "ink", "weight": 1}]
    both = [{"id": "gloss", "weight": 0.5}, {"id": "ink", "weight": -1}]
    styled, mixed = (paint(engine, styles.find, adapters=mix).images for mix in (ink, both))
    for _ in range(3):
        assert paint(engine, styles.find, adapters=ink).images == styled
        assert paint(engine, styles.find, adapters=both[::-1]).images == mixed
        assert paint(engine).images == base


def state(engine) -> dict[str, torch.Tensor]:
    components = engine.load()[0]
    modules = {"unet": components.denoiser, **dict(enumerate(components.text_encoders))}
    return {f"{n}.{k}": v.clone() for n, m in modules.items() for k, v in m.state_dict().items()}


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_f2_cancel_at_a_step_stops_there_and_restores_every_bit(engine, styles, stop):
    paint(engine)
    base = state(engine)
    steps = engine.generate(request(engine, styles.find, adapters=[{"id": "ink", "weight": 1}]))
    for _ in range(stop):
        next(steps)
    steps.close()
    assert all(torch.equal(v, base[k]) for k, v in state(engine).items())
    assert not engine._lock.locked()


@pytest.mark.parametrize("where", ["Engine._condition", "run_pass", "decode"])
def test_f1_out_of_memory_anywhere_is_told_and_leaves_the_base(engine, styles, where, monkeypatch):
    picture, base = paint(engine).images, state(engine)

    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory: /secret/path")

    with monkeypatch.context() as patch:
        target, _, name = where.rpartition(".")
        patch.setattr(getattr(engine_module, target) if target else engine_module, name, fail)
        with pytest.raises(PaintingFailed, match="choose a smaller picture") as caught:
            paint(engine, styles.find, adapters=[{"id": "ink", "weight": 1}])
    assert "secret" not in str(caught.value)
    assert all(torch.equal(v, base[k]) for k, v in state(engine).items())
    assert paint(engine).images == picture


def test_numbers_out_of_range_are_told(engine, monkeypatch):
    monkeypatch.setattr(Randomness, "noise", lambda *a: torch.full((1, 4, 32, 32), torch.nan))
    with pytest.raises(PaintingFailed, match="overflowed"):
        paint(engine)


def test_details_say_what_was_done(engine):
    details = paint(engine, num_images=2).details
    assert details["seed"] == 3 and details["seeds"] == [3, 4] and details["profile"] == "custom"
    assert details["tokens"] == {"tokens": 2, "chunks": 1, "dropped": []}
    timings = details["timings"]
    assert set(timings) == {"adapters", "text", "denoise", "decode", "total"}
    assert timings["total"] == pytest.approx(sum(s for k, s in timings.items() if k != "total"), abs=0.001)


def test_expected_seconds_follow_the_size_of_the_request(engine):
    engine.facts.observe(request(engine), paint(engine).details)
    one = engine.facts.expected_seconds(request(engine))
    assert engine.facts.expected_seconds(request(engine, num_images=3)) == pytest.approx(3 * one)
    assert engine.facts.expected_seconds(request(engine, steps=40)) > 5 * one
    assert engine.facts.expected_seconds(request(engine, guidance_scale=1)) < one


@pytest.mark.parametrize(
    ("name", "base", "message"),
    [
        ("custom", "", "BASE_MODEL is empty"),
        ("sdx", "", "one of embedded"),
        ("", "/nowhere/at/all", "a Hub repository such as owner/name"),
    ],
)
def test_a_base_model_that_is_none_is_refused_in_words(name, base, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_profile(name, base)
    assert "/nowhere" not in str(caught.value)
