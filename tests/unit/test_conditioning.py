"""What the text encoders make of weights, chunks, switches and AND; compel as an oracle where it means the same."""

import io
import math
import time

import numpy as np
import pytest
import torch
from compel import CompelForSD
from diffusers import DiffusionPipeline
from PIL import Image

from lora.errors import TooLong
from lora.library import Library
from pipeline.engine import Engine
from pipeline.profiles import load, load_profile
from pipeline.request.request import GenerationRequest
from pipeline.text.conditioning import Conditioner, encode, encode_pair
from pipeline.text.prompt import parse
from tests.adapters import save_adapter


@pytest.fixture(scope="module")
def components(tiny_sdxl):
    return load(load_profile(base_model=str(tiny_sdxl)))


def first(components, text):
    return encode(components, parse(text).at(1, 1)[0][0])


def paint(engine, prompt, find=None, **values):
    defaults = {"prompt": prompt, "steps": 4, "seed": 3, "width": 64, "height": 64, "metadata": False}
    *_, generation = engine.generate(GenerationRequest.create(defaults | values, engine.limits, find))
    return generation.images[0]


def test_a_weight_multiplies_its_tokens_and_restores_the_mean(components):
    """A1111: each token's states times its weight, then all of them scaled so that their mean is what it was."""
    plain, weighted = (first(components, text).hidden[0, :, :16] for text in ("red apple", "(red:1.3) apple"))
    factors = torch.ones(77, 1)
    factors[1] = 1.3
    expected = plain * factors
    expected = expected * (plain.mean() / expected.mean())
    assert torch.allclose(weighted, expected, atol=1e-4)
    assert torch.equal(first(components, "(red apple:1)").hidden, first(components, "red apple").hidden)


def test_compel_agrees_on_a_plain_prompt(tiny_sd15):
    """Weighted prompts they define in two ways: compel blends towards the empty prompt, A1111 scales and restores."""
    pipe = DiffusionPipeline.from_pretrained(tiny_sd15)
    theirs = CompelForSD(pipe)("red apple cat").embeds
    ours = encode(load(load_profile(base_model=str(tiny_sd15))), "red apple cat").hidden
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_break_starts_a_chunk_and_both_sides_are_of_equal_length(components):
    positive, negative = encode_pair(components, "red BREAK apple", "cat")
    assert positive.hidden.shape == negative.hidden.shape == (1, 154, 48)
    assert torch.equal(positive.hidden[:, 77:], encode(components, " apple").hidden)
    assert torch.equal(positive.pooled, encode(components, "red ").pooled)


def test_switches_change_the_text_at_their_step(components):
    pairs = Conditioner(components)("[red:cat:0.5] apple", "", 4)
    before, after = (encode(components, text).hidden for text in ("red apple", "cat apple"))
    assert all(torch.equal(positive.hidden, before) for positive, _ in pairs[:2])
    assert all(torch.equal(positive.hidden, after) for positive, _ in pairs[2:])
    assert pairs[0] is pairs[1]


def encodings(components, monkeypatch) -> list:
    """Of each run of a text encoder from now on, which one it was."""
    runs = []
    for i, encoder in enumerate(components.text_encoders):
        forward = encoder.forward
        monkeypatch.setattr(encoder, "forward", lambda *a, i=i, f=forward, **k: runs.append(i) or f(*a, **k))
    return runs


def test_what_was_encoded_is_kept_by_phrase_and_within_its_bytes(components, monkeypatch):
    conditioner, runs = Conditioner(components), encodings(components, monkeypatch)
    before = conditioner("red apple", "cat", 4)
    assert runs == [0, 1] * 2
    assert conditioner("red apple", "cat", 9)[8][0].hidden is before[0][0].hidden
    conditioner("cat", "red apple", 4)
    assert runs == [0, 1] * 2
    conditioner("red apple", "cat", 4, adapters="ink")
    conditioner("red apple", "cat", 4, clip_skip=1)
    # Of the negative prompt no layer is skipped.
    assert runs == [0, 1] * 5
    small = Conditioner(components, cache_bytes=1)
    assert torch.equal(small("red apple", "cat", 4)[0][0].hidden, before[0][0].hidden) and not small._cache


def test_only_what_a_mix_does_to_the_text_encoders_encodes_again(tiny_sdxl, tmp_path, monkeypatch):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    components = engine.load()[0]
    for i, name in enumerate(("both", "unet")):
        save_adapter(components, tmp_path / f"{name}.safetensors", i, text=name == "both")
    find = Library([(tmp_path, "folder")]).find
    runs = encodings(components, monkeypatch)

    def encoded(*ids: str, **more) -> int:
        before = len(runs)
        paint(engine, "red apple", find=find, adapters=[{"id": i, "weight": 0.5} for i in ids], **more)
        return len(runs) - before

    assert encoded() == 4
    assert encoded("unet") == encoded(steps=2) == encoded(width=72) == encoded(num_images=2) == 0
    assert encoded("both") == 4 and encoded("both", "unet") == encoded("both") == encoded() == 0


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("model", ["tiny_sdxl", "tiny_sd15"])
def test_clip_skip_is_that_of_encode_prompt_bit_for_bit(model, skip, request):
    folder = request.getfixturevalue(model)
    pipe = DiffusionPipeline.from_pretrained(folder)
    # diffusers 0.42 looks for the final norm where transformers 4 had it.
    object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    guided = {"num_images_per_prompt": 1, "do_classifier_free_guidance": True, "device": torch.device("cpu")}
    theirs = pipe.encode_prompt("red apple", negative_prompt="cat", clip_skip=skip, **guided)
    positive, negative = Conditioner(load(load_profile(base_model=str(folder))))("red apple", "cat", 1, (), skip)[0]
    assert torch.equal(positive.hidden, theirs[0]) and torch.equal(negative.hidden, theirs[1])
    if model == "tiny_sdxl":
        assert torch.equal(positive.pooled, theirs[2]) and torch.equal(negative.pooled, theirs[3])


def levels_apart(*pngs: bytes) -> int:
    first, second = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16) for png in pngs)
    return int(np.abs(first - second).max())


def test_and_and_weights_reach_the_picture(tiny_sdxl):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    plain = paint(engine, "red apple")
    # Three rows in a batch may be rounded otherwise than two: at most by one level of 255.
    assert levels_apart(paint(engine, "red apple AND cat :0"), plain) <= 1
    others = [paint(engine, text) for text in ("red apple AND cat", "(red:1.5) apple", "[red|cat] apple", "red apple")]
    assert len({*others[:3], plain}) == 4 and others[3] == plain


@pytest.mark.parametrize("weight", ["1e9", "nan", "-inf", "1000000000", "-5", "0", "0.0001"])
def test_p3_no_weight_makes_an_encoding_infinite(components, weight):
    for text in (f"(red:{weight}) apple", f"(red apple:{weight})", f"red AND cat :{weight}"):
        for pair in Conditioner(components)(text, text, 1):
            assert all(torch.isfinite(one.hidden).all() and all(map(math.isfinite, one.strengths)) for one in pair)


def test_reading_a_usual_prompt_keeps_up_with_typing(tiny_sdxl):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    lists = {"colour": ("red", "green")}

    def seconds() -> float:
        start = time.process_time()
        told = engine.facts.tokenize("a (red:1.2) apple on a __colour__ table, [soft:hard:0.5] light, " * 5, lists)
        assert told["chunks"] == 2 and told["count"] > 75
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.02


def test_p1_a_prompt_over_the_cap_is_refused_before_it_is_cut_into_tokens(tiny_sdxl, monkeypatch):
    with pytest.raises(TooLong, match="characters long"):
        GenerationRequest.create({"prompt": "(" * 2**20}, load_profile(base_model=str(tiny_sdxl)).limits, None)


def test_tokenize_tells_how_a_prompt_is_read(tiny_sdxl):
    told = Engine(load_profile(base_model=str(tiny_sdxl))).facts.tokenize(
        "(red:1.3) apple [cat:red:0.5] <lora:ink:0.8> (x:9)"
    )
    assert told["weights"][0] == 1.3 and told["weights"][1] == 1.0 and told["chunks"] == 1 and told["dropped"] == []
    assert told["adapters"] == [["ink", 0.8]] and len(told["schedule"]) == 2 and len(told["clamped"]) == 1
