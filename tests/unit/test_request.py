"""GenerationRequest is valid or was never made (matrix P1, P4, Q1, Q2)."""

import math
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora.errors import AtelierError, InvalidRequest, UnknownAdapter
from pipeline.request.request import GenerationRequest, Limits
from pipeline.text.variants import MAX_CHARACTERS
from tests.adapters import known

LIMITS = Limits(schedulers=("Euler", "DDIM"), scheduler="Euler", width=128, height=128, size_min=64, size_max=256)
FIELDS = [
    "prompt",
    "negative_prompt",
    "adapters",
    "width",
    "height",
    "steps",
    "guidance_scale",
    "scheduler",
    "seed",
    "num_images",
    "clip_skip",
    "guidance_rescale",
    "guidance_start",
    "guidance_end",
    "eta",
    "strength",
    "hires_scale",
    "hires_steps",
    "hires_strength",
    "hires_upscaler",
    "image",
]


def unknown(adapter_id):
    raise UnknownAdapter(f"There is no adapter {adapter_id!r}.")


def create(**values):
    return GenerationRequest.create({"prompt": "a red apple", **values}, LIMITS, unknown)


def test_only_a_prompt_is_needed():
    request = create()
    assert (request.width, request.height, request.steps, request.scheduler) == (128, 128, 30, "Euler")
    assert 0 <= request.seed < 2**32
    assert create().seed != create().seed


def test_each_image_has_its_own_seed():
    assert create(seed=2**32 - 1, num_images=3).seeds == (2**32 - 1, 0, 1)


def test_it_pickles_and_whole_floats_are_whole_numbers():
    request = create(width=64.0, seed=7)
    assert request.width == 64
    assert pickle.loads(pickle.dumps(request)) == request


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value", [None, True, math.nan, math.inf, -math.inf, {}, {"a": 1}, object(), b"x", 1e30, 2**64, [[]]]
)
def test_q1_wrong_types_are_refused_by_field(field, value):
    if (field, value) == ("image", None):
        return
    with pytest.raises(InvalidRequest) as caught:
        create(**{field: value})
    assert field in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("width", 33, "multiple of 8 from 64 to 256"),
        ("width", 0, "multiple of 8 from 64 to 256"),
        ("height", -8, "multiple of 8 from 64 to 256"),
        ("height", 1e6, "multiple of 8 from 64 to 256"),
        ("steps", -1, "from 1 to 150"),
        ("steps", 0, "from 1 to 150"),
        ("steps", 1001, "from 1 to 150"),
        ("steps", 2.5, "from 1 to 150"),
        ("seed", 2**64, "from -1 to 4294967295"),
        ("seed", -2, "from -1 to 4294967295"),
        ("guidance_scale", math.nan, "from 0 to 30"),
        ("guidance_scale", "5", "from 0 to 30"),
        ("scheduler", "Newton", "one of Euler, DDIM"),
        ("num_images", 5, "from 1 to 4"),
        ("clip_skip", -1, "from 0 to 10"),
        ("clip_skip", 11, "from 0 to 10"),
        ("guidance_start", -0.1, "from 0 to 1"),
        ("guidance_start", 1, "less than guidance_end, which is 1"),
        ("guidance_end", 1.1, "from 0 to 1"),
        ("guidance_end", 0, "guidance_start is 0.0, but must be less than guidance_end, which is 0"),
        ("eta", 2, "from 0 to 1"),
        ("strength", 1.01, "from 0 to 1"),
        ("hires_scale", 0.9, "from 1 to 4"),
        ("hires_scale", 4.5, "from 1 to 4"),
        ("hires_steps", -1, "from 0 to 150"),
        ("hires_steps", 151, "from 0 to 150"),
        ("hires_strength", math.nan, "from 0 to 1"),
        ("hires_upscaler", "magic", "one of pixels, latent"),
        ("prompt", "", "a few words"),
        ("prompt", " \n\x00", "a few words"),
        ("prompt", "x" * (MAX_CHARACTERS + 1), "at most 10000 characters"),
        ("adapters", [{"id": "ink", "weight": 1}] * 11, "at most 10"),
        ("adapters", ["ink"], 'an object like {"id": "ink", "weight": 0.8}'),
        ("adapters", [{"id": 3}], 'an object like {"id": "ink", "weight": 0.8}'),
    ],
)
def test_q2_message_names_field_and_range(field, value, allowed):
    with pytest.raises(InvalidRequest) as caught:
        create(**{field: value})
    assert field in str(caught.value)
    assert allowed in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("weight", [3, -2.5, math.nan, "1", None, True])
def test_adapter_weights_are_checked(weight):
    with pytest.raises(InvalidRequest, match=r"adapters\[0\].weight"):
        GenerationRequest.create({"prompt": "x", "adapters": [{"id": "a", "weight": weight}]}, LIMITS, known)


def test_an_unknown_adapter_key_is_not_silently_ignored():
    with pytest.raises(InvalidRequest, match="strength"):
        create(adapters=[{"id": "ink", "strength": 1}])


def test_an_unknown_adapter_is_named():
    with pytest.raises(UnknownAdapter, match="ink"):
        create(adapters=[{"id": "ink"}])


def test_adapters_in_the_prompt_have_a_weight_and_one_for_the_text():
    def use(tag):
        values = {"prompt": f"a cat <lora:{tag}>"}
        (use,) = GenerationRequest.create(values, LIMITS, known).adapters
        return use.adapter.id, use.weight, use.text_weight

    assert use("ink") == ("ink", 1.0, None) and use("ink:0.8") == ("ink", 0.8, None)
    # A1111's order: the text encoders', the UNet's.
    assert use("ink:-0.5:0.8") == ("ink", 0.8, -0.5) and use("ink:2:0") == ("ink", 0.0, 2.0)
    assert use("ink:te=-0.5:unet=0.8") == use("ink:-0.5:unet=0.8") == ("ink", 0.8, -0.5)
    assert use("ink:te=0.5") == ("ink", 0.5, 0.5) and use("ink:unet=0.5") == ("ink", 0.5, 1.0)
    with pytest.raises(InvalidRequest, match="prompt tag is '<lora:ink:dyn=4>', but must be without dyn="):
        use("ink:1:dyn=4")
    for tag, field in (("ink:3", "weight"), ("ink:-2.5:1", "text_weight")):
        with pytest.raises(InvalidRequest, match=f"{field} is .* -2 to 2"):
            use(tag)


def test_p1_a_megabyte_is_refused_with_a_short_message():
    with pytest.raises(InvalidRequest) as caught:
        create(prompt="(" * 2**20)
    assert len(str(caught.value)) < 200


@given(st.text(alphabet=st.characters(), max_size=200))
def test_p4_any_text_is_cleaned_or_refused(text):
    try:
        prompt = create(prompt=text).prompt
    except AtelierError:
        return
    assert prompt.isprintable()
    prompt.encode()
    assert not set(prompt) & set("\x00\x1b\u202e\u2066\n")


def test_a_second_pass_is_bounded_by_the_profile_and_must_do_a_step():
    request = create(hires_scale=1.5, hires_strength=0.3, hires_steps=10, steps=20, width=104)
    first, second = request.passes
    assert (first.width, first.height, first.planned, first.steps) == (104, 128, 20, 20)
    assert (second.width, second.height, second.planned, second.steps, second.skipped) == (160, 192, 10, 3, 7)
    assert request.total_steps == 23 and len(create().passes) == 1
    limits = replace(LIMITS, hires_size_max=256)
    with pytest.raises(InvalidRequest, match=r"hires_scale is 2.1, but must be at most 2 here, .* longer than 256"):
        GenerationRequest.create({"prompt": "x", "hires_scale": 2.1}, limits, None)
    with pytest.raises(InvalidRequest, match=r"hires_strength is 0.09, but must be at least 0.1 of 10 steps"):
        create(hires_scale=2, hires_strength=0.09, hires_steps=10)


def test_guidance_counts_within_its_interval():
    request = create(guidance_scale=5, guidance_start=0.2, guidance_end=0.8)
    assert request.guidance_scales(5) == (1, 5, 5, 5, 1)
    assert create(guidance_scale=5).guidance_scales(3) == (5, 5, 5)
