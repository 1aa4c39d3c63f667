"""What was done, written into the picture and read again: ours exactly (P6), A1111's and Fooocus' as they mean it."""

import io
import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sd_parsers import ParserManager

from lora.errors import InvalidRequest, TooLong
from pipeline.engine import Engine
from pipeline.metadata.infotext import MAX_INFOTEXT, parse, write
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from tests.adapters import library_with

USE = {"id": "ink", "weight": 0.8, "text_weight": 0.8, "blocks": {}, "start": 0.0, "end": 1.0, "sha256": "ab" * 32}
DETAILS = {
    "prompts": ["a red apple"], "negative_prompts": [""], "adapters": [], "width": 128, "height": 64, "steps": 25,
    "guidance_scale": 3.0, "guidance_rescale": 0.0, "guidance_start": 0.0, "guidance_end": 1.0, "eta": 0.0,
    "clip_skip": 0, "scheduler": "Euler", "seeds": [7], "strength": None, "hires": None, "profile": "embedded",
}  # fmt: skip
HIRES = {"scale": 1.5, "width": 192, "height": 96, "steps": 10, "strength": 0.4, "upscaler": "pixels"}


def test_it_reads_as_a1111_writes():
    details = DETAILS | {"negative_prompts": ["blurry"], "adapters": [USE], "scheduler": "DPM++ 2M SGM uniform",
                         "clip_skip": 1, "hires": HIRES, "text_layer": 1}  # fmt: skip
    assert write(details) == (
        "a red apple <lora:ink:0.8>\nNegative prompt: blurry\n"
        "Steps: 25, Sampler: DPM++ 2M, Schedule type: SGM Uniform, CFG scale: 3, Seed: 7, Size: 128x64, "
        "Model: embedded, Clip skip: 2, Denoising strength: 0.4, Hires upscale: 1.5, Hires steps: 10, "
        'Hires upscaler: Lanczos, Lora hashes: "ink: abababababab", Version: LoRA Atelier 3'
    )


def test_only_what_was_applied_is_written():
    told = write(DETAILS)
    assert not [word for word in ("Clip", "Hires", "strength", "Lora", "Guidance", "Eta", "Schedule") if word in told]


def test_a_picture_of_an_older_version_is_told_as_far_as_its_details_go():
    """A history that was written before a field was there."""
    later = ("clip_skip", "guidance_rescale", "guidance_start", "guidance_end", "eta", "hires", "strength")
    older = {name: value for name, value in DETAILS.items() if name not in later}
    assert len(older) < len(DETAILS) and write(older) == write(DETAILS)


def expected(details: dict) -> dict:
    """The request that a Generation's details stand for."""
    hires = details["hires"]
    values = {"prompt": details["prompts"][0], "negative_prompt": details["negative_prompts"][0],
              "seed": details["seeds"][0]}  # fmt: skip
    values |= {name: details[name] for name in ("width", "height", "steps", "guidance_scale", "scheduler")}
    usual = {"guidance_rescale": 0, "guidance_start": 0, "guidance_end": 1, "eta": 0, "clip_skip": 0, "strength": None,
             "rng": "own", "ensd": 0}  # fmt: skip
    values |= {name: details[name] for name in usual if details.get(name, usual[name]) != usual[name]}
    if hires:
        values |= {f"hires_{name}": hires[name] for name in ("scale", "steps", "strength", "upscaler")}
    adapters = []
    for use in details["adapters"]:
        kept = {"text_weight": use["weight"], "blocks": {}, "start": 0, "end": 1}
        adapters.append({k: v for k, v in use.items() if k != "sha256" and kept.get(k, ...) != v})
    return values | {"adapters": adapters}


SIGNS = ["\n", '"', "'", ",", ":", "\\", "<lora:ink:1>", "<lora:", ">", "(a:1.2)", "{", "}", "[", "]", "  ", " ", "é",
         "猫", "Negative prompt: ", "\nNegative prompt:", "\nSteps: 3, Sampler: Euler, CFG scale: 2",
         "Steps: 1", "\t", "\r", "apple", "Exact prompt: ", "null", '{"prompt": "x"}']  # fmt: skip
PRESETS = ["Euler", "Euler a normal", "LMS DDIM uniform",
           "DPM++ 2M Karras", "DPM++ 2M SDE exponential", "DDIM SGM uniform", "Heun beta",
           "DPM++ SDE AYS", "LCM"]  # fmt: skip


def random_details(draw) -> dict:
    """Details of any request; `draw(options)` takes one, `draw(float)` a number from 0 to 1."""
    text = lambda: "".join(draw(SIGNS) for _ in range(draw(range(9))))  # noqa: E731
    share = lambda: draw([0.0, 1.0, 0.1 + 0.2, 0.35, draw(float), 1e-05])  # noqa: E731
    uses = []
    for name in ("ink", "gloss:y", "näme, >")[: draw(range(4))]:
        weight = draw([1.0, 0.8, -2.0, 0.1 + 0.2, draw(float)])
        use = USE | {"id": name, "weight": weight, "text_weight": draw([weight, 0.5])}
        uses.append(use | draw([{}, {"blocks": {"down": 0.5}}, {"start": 0.25}, {"end": draw([0.5, 1.0])}]))
    hires = draw([None, HIRES | {"strength": draw([0.4, 0.1 + 0.2]), "upscaler": draw(["pixels", "latent"])}])
    return DETAILS | {
        "prompts": [text()], "negative_prompts": [text()], "adapters": uses, "scheduler": draw(PRESETS),
        "seeds": [draw([0, 7, 2**32 - 1])], "guidance_scale": draw([3.0, 0.0, 7.5, 30 * draw(float)]), "hires": hires,
        "guidance_start": share(), "guidance_end": share() or 1.0, "eta": share(), "guidance_rescale": share(),
        "strength": draw([None, 0.3, share()]), "clip_skip": draw([0, 1, 5]), "rng": draw(["own", "cpu", "nv"]),
        "ensd": draw([0, 31337]), **draw([{}, {"text_layer": 1}, {"text_layer": 2}]),
    }  # fmt: skip


def comes_back(details: dict) -> None:
    read = parse(write(details), text_layer=details.get("text_layer", 2))
    other = read.pop("other")
    assert read == expected(details)
    assert set(other) <= {"Model", "Version", "Lora hashes"} and other["Model"] == "embedded"


def test_p6_ten_thousand_come_back_as_they_were():
    rng = random.Random(0)
    for _ in range(10_000):
        comes_back(random_details(lambda options: rng.random() if options is float else rng.choice(options)))


@settings(max_examples=500, deadline=None)
@given(st.text(), st.text())
def test_p6_any_text_comes_back(prompt, negative):
    comes_back(DETAILS | {"prompts": [prompt], "negative_prompts": [negative]})


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([*SIGNS, "Steps: 3,", "Sampler: x,", "Adapters: [[]],", 'Seed: "', "Size: 1x", "{}"])))
def test_any_parameters_are_read(parts):
    read = parse("".join(parts))
    assert isinstance(read["prompt"], str) and isinstance(read["adapters"], list)


def test_a1111_is_read():
    read = parse(
        "portrait of a fox, (masterpiece:1.2)\nsecond line <lora:ink:0.5> <lora:gloss:0.25:1>\n"
        "Negative prompt: bad, worse\nstill negative\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Align Your Steps, CFG scale: 7.5, Seed: 965400086, "
        "Size: 512x768, Model hash: 6ce0161689, Model: v1-5-pruned, Denoising strength: 0.7, Clip skip: 2, "
        'Hires upscale: 2, Hires upscaler: Latent (nearest-exact), Lora hashes: "ink: 1234", Version: v1.9.4'
    )
    assert read == {
        "prompt": "portrait of a fox, (masterpiece:1.2)\nsecond line",
        "negative_prompt": "bad, worse\nstill negative",
        "adapters": [{"id": "ink", "weight": 0.5}, {"id": "gloss", "weight": 1, "text_weight": 0.25}],
        "steps": 20, "scheduler": "DPM++ 2M AYS", "guidance_scale": 7.5, "seed": 965400086, "width": 512,
        "height": 768, "hires_strength": 0.7, "clip_skip": 1, "hires_scale": 2.0, "hires_upscaler": "latent",
        "rng": "nv",
        "other": {"Model hash": "6ce0161689", "Model": "v1-5-pruned", "Lora hashes": "ink: 1234",
                  "Version": "v1.9.4"},
    }  # fmt: skip
    assert parse("x\nSteps: 20, Sampler: DPM++ 2M SDE Karras, CFG scale: 7")["scheduler"] == "DPM++ 2M SDE Karras"
    assert parse("only a prompt, with: commas") == {
        "prompt": "only a prompt, with: commas", "negative_prompt": "", "adapters": [], "other": {},
    }  # fmt: skip


def test_fooocus_is_read():
    scheme = {"prompt": "a fox", "negative_prompt": "bad", "steps": 30, "resolution": "(1152, 896)", "seed": "123",
              "guidance_scale": 4, "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "clip_skip": 2,
              "loras": [["sd_xl_offset.safetensors", 0.1, "4852686128"]], "base_model": "juggernaut",
              "metadata_scheme": "fooocus"}  # fmt: skip
    read = parse(json.dumps(scheme))
    assert read.pop("other") == {"base_model": "juggernaut", "metadata_scheme": "fooocus"}
    assert read == {"prompt": "a fox", "negative_prompt": "bad", "steps": 30, "width": 1152, "height": 896,
                    "seed": 123, "guidance_scale": 4, "scheduler": "DPM++ 2M SDE Karras", "clip_skip": 1,
                    "adapters": [{"id": "sd_xl_offset", "weight": 0.1}]}  # fmt: skip
    log = {"Prompt": "a fox", "Resolution": "(64, 96)", "Guidance Scale": 4.5, "LoRA 1": "ink.safetensors : 0.7"}
    read = parse(json.dumps(log))
    assert (read["width"], read["height"], read["guidance_scale"]) == (64, 96, 4.5)
    assert read["adapters"] == [{"id": "ink", "weight": 0.7}]


@pytest.mark.parametrize("sign", ["a", " ", "a:", 'a:"', 'a:"\\', "a: b, ", "\n", "<lora:", "[" * 9])
def test_reading_takes_linear_time(sign):
    start = time.process_time()
    parse((sign * MAX_INFOTEXT)[:MAX_INFOTEXT])
    assert time.process_time() - start < 1


def test_what_is_no_parameters_is_refused():
    with pytest.raises(InvalidRequest, match="parameters is 3, but must be text"):
        parse(3)
    with pytest.raises(TooLong, match="at most 100000 characters"):
        parse("x" * (MAX_INFOTEXT + 1))


@pytest.fixture(scope="module")
def painted(tiny_sdxl, tmp_path_factory):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    find = library_with(engine.load()[0], tmp_path_factory.mktemp("adapters"), "ink").find

    def paint(**values):
        defaults = {"prompt": "red apple", "steps": 2, "seed": 3, "width": 64, "height": 64}
        *_, generation = engine.generate(GenerationRequest.create(defaults | values, engine.limits, find))
        return generation

    return paint


def parameters(png: bytes) -> str:
    return Image.open(io.BytesIO(png)).text["parameters"]


def test_a_picture_says_how_to_paint_it_again(painted):
    values = {"prompt": "{red|green} apple, “quoted”: 猫", "adapters": [{"id": "ink", "weight": 0.5, "end": 0.6}],
              "num_images": 2, "scheduler": "DPM++ 2M Karras", "clip_skip": 1, "guidance_start": 0.2,
              "hires_scale": 1.5}  # fmt: skip
    generation = painted(**values)
    for png in generation.images:
        read = parse(parameters(png), text_layer=2)
        read.pop("other")
        assert painted(**read).images == (png,)


def test_metadata_can_be_left_out_and_changes_no_pixel(painted):
    with_it, without = painted().images[0], painted(metadata=False).images[0]
    assert Image.open(io.BytesIO(without)).text.keys() == {"XML:com.adobe.xmp"} and with_it != without
    assert Image.open(io.BytesIO(with_it)).tobytes() == Image.open(io.BytesIO(without)).tobytes()


def test_an_independent_reader_finds_everything(painted, tmp_path):
    """sd-parsers, written by others for A1111's pictures."""
    path = tmp_path / "picture.png"
    values = {"prompt": "red apple, (ripe:1.2)", "negative_prompt": "cat, \"dog\"", "scheduler": "DPM++ 2M Karras",
              "guidance_scale": 5.5, "adapters": [{"id": "ink", "weight": 0.5}]}  # fmt: skip
    path.write_bytes(painted(**values).images[0])
    info = ParserManager().parse(path)
    assert info.generator.value == "AUTOMATIC1111"
    assert info.full_prompt == "red apple, (ripe:1.2) <lora:ink:0.5>"
    assert info.full_negative_prompt == values["negative_prompt"]
    (sampler,) = info.samplers
    assert sampler.name == "DPM++ 2M" and {model.name for model in info.models} == {"custom"}
    assert sampler.parameters == {"scheduler": "Karras", "cfg_scale": "5.5", "seed": "3", "steps": "2"}
    assert info.metadata == {"Size": "64x64", "Version": "LoRA Atelier 3"}
