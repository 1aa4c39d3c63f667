"""What the text encoders make of weights, chunks, switches and AND; compel as an oracle where it means the same."""

import pytest
import torch
from compel import CompelForSD
from diffusers import DiffusionPipeline

from pipeline.conditioning import Conditioner, encode, encode_pair
from pipeline.engine import Engine
from pipeline.models import load, load_profile
from pipeline.prompt import parse
from pipeline.request import GenerationRequest


@pytest.fixture(scope="module")
def components(tiny_sdxl):
    return load(load_profile(base_model=str(tiny_sdxl)))


def first(components, text):
    return encode(components, parse(text).at(1, 1)[0][0])


def paint(engine, prompt, **values):
    defaults = {"prompt": prompt, "steps": 4, "seed": 3, "width": 64, "height": 64}
    *_, generation = engine.generate(GenerationRequest.create(defaults | values, engine.limits, None))
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


def test_what_was_encoded_is_kept_for_its_mix_and_within_its_bytes(components, monkeypatch):
    conditioner, calls = Conditioner(components), []
    monkeypatch.setattr("pipeline.conditioning.encode", lambda *a: calls.append(a) or encode(*a))
    first_time = conditioner("red apple", "cat", 4)
    made = len(calls)
    assert conditioner("red apple", "cat", 4)[0][0] is first_time[0][0] and len(calls) == made
    conditioner("red apple", "cat", 4, adapters="ink")
    assert len(calls) > made
    small = Conditioner(components, cache_bytes=1)
    small("red apple", "cat", 4)
    assert not small._cache


def test_and_and_weights_reach_the_picture(tiny_sdxl):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    plain = paint(engine, "red apple")
    assert paint(engine, "red apple AND red apple :0") == plain
    others = [paint(engine, text) for text in ("red apple AND cat", "(red:1.5) apple", "[red|cat] apple", "red apple")]
    assert len({*others[:3], plain}) == 4 and others[3] == plain


def test_tokenize_tells_how_a_prompt_is_read(tiny_sdxl):
    told = Engine(load_profile(base_model=str(tiny_sdxl))).tokenize(
        "(red:1.3) apple [cat:red:0.5] <lora:ink:0.8> (x:9)"
    )
    assert told["weights"][0] == 1.3 and told["weights"][1] == 1.0 and told["chunks"] == 1 and told["dropped"] == []
    assert told["adapters"] == [["ink", 0.8]] and len(told["schedule"]) == 2 and len(told["clamped"]) == 1
