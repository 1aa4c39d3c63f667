"""Pictures as the tools write them, a file each, made by their documented layouts: restored, or told in words."""

import io
import json
import lzma
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from sd_parsers import Eagerness, ParserManager

from lora.adapter import Adapter
from lora.library import describe
from pipeline.metadata import infotext, names
from pipeline.metadata.image_metadata import image_metadata
from pipeline.metadata.restore import restore
from pipeline.profiles import SDXL_PROFILE
from pipeline.request.request import GenerationRequest
from tests.tool_pictures import COMFY, CUSTOM, PICTURES, ksampler, node, png

CASES = json.loads(lzma.decompress((Path(__file__).parents[1] / "fixtures" / "infotexts.json.xz").read_bytes()))
PRESETS = (*names.SAMPLERS, *(f"{name} {way}" for name in names.SAMPLERS for way in names.SCHEDULE_TYPES))
LIMITS = replace(SDXL_PROFILE.limits, schedulers=PRESETS)
# What a case calls a preset that there was not when it was written; "x" is any that is told or has the same name.
SINCE = {"Euler ddim": "Euler DDIM uniform", "Euler kl": "Euler KL optimal", "Euler poly": "Euler polyexponential",
         "Euler turbo": "x"}  # fmt: skip
# Of SwarmUI's picture, where "normal" is ComfyUI's; when there was no such preset the plain sampler was nearest.
NORMAL = {"Euler a": "Euler a normal"}


def adapter(name: str, **known) -> Adapter:
    known = {"sha256": "ab" * 32} | known
    return Adapter(id=name, name=name, path=Path("x"), rank=4, parameters=1, size=1, source="folder", **known)


def restored(text: str, *adapters: Adapter) -> tuple[dict, list[str]]:
    values, notes = restore(text, LIMITS, adapters, "sdxl")
    GenerationRequest.create(values | {"prompt": values["prompt"] or "x"}, LIMITS, lambda name: adapter(name))
    return values, notes


def differing(case: dict, values: dict) -> dict:
    """The values of a case that did not come back."""
    left = {}
    for name, wanted in case["exp"].items():
        got = values[name]
        if name == "adapters":
            got = [[use["id"], use.get("weight", 1)] for use in got]
        if name == "scheduler":
            wanted = SINCE.get(wanted, wanted)
            wanted = NORMAL[wanted] if '"scheduler": "normal"' in case["text"] else wanted
            wanted = got if wanted == "x" and f"Sampler: {got}," in case["text"] else wanted
        # Where a tag stood a space may be left.
        if got != wanted and not (name == "prompt" and got.strip() == wanted.strip()):
            left[name] = got
    return left


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_infotexts_of_all_tools_are_restored_or_told(case):
    values, notes = restored(case["text"], *map(adapter, case["loras"]))
    left = differing(case, values)
    if case["want"] == "read":
        assert left == {}
    said = " ".join(notes)
    signs = {"seed": "32 bits", "width": "Its size", "height": "Its size", "scheduler": "Not restored: scheduler"}
    assert all(signs[name] in said for name in left), (left, notes)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_each_tool_is_restored_or_told(name):
    file, wanted, said = PICTURES[name]
    here = [adapter("ink", tensor_hashes=("cd" * 32,)), adapter("gloss", sha256="ef" * 32)]
    values, notes = restored(image_metadata(io.BytesIO(file)), *here)
    assert {name: values[name] for name in wanted} == wanted
    for words in said:
        assert words in " ".join(notes), notes
    assert len(notes) <= len(said) + 1, notes


# What sd-parsers, which others wrote by the tools' own pictures, says a file is of.
KNOWN = {"ComfyUI PNG": "ComfyUI", "ComfyUI PNG, two passes": "ComfyUI",
         "A1111 PNG": "AUTOMATIC1111", "A1111 JPEG": "AUTOMATIC1111", "stealth PNG in alpha, packed": "AUTOMATIC1111",
         "Fooocus PNG": "Fooocus", "InvokeAI PNG, invokeai_metadata": "InvokeAI", "NovelAI PNG": "NovelAI",
         "InvokeAI PNG, sd-metadata": "InvokeAI", "InvokeAI PNG, command line": "InvokeAI"}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_an_independent_reader_takes_them_for_pictures_of_these_tools(name, tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(PICTURES[name][0])
    info = ParserManager(eagerness=Eagerness.EAGER).parse(path)
    assert info is not None and info.generator.value == KNOWN[name]
    seed = next(sampler.parameters["seed"] for sampler in info.samplers)
    assert int(seed) == PICTURES[name][1]["seed"]


def test_noise_of_the_cpu_depends_on_32_bits_of_a_seed():
    for seed in (2**32 + 7, 6952411511246973023, 2**64 - 1):
        whole, low = (torch.randn(9, generator=torch.Generator().manual_seed(s)) for s in (seed, seed % 2**32))
        assert torch.equal(whole, low)


@pytest.mark.parametrize(
    ("version", "rng", "wanted"),
    [
        ("v1.9.4", "", "nv"), ("f2.0.1v1.10.1-previous-664-gd557aef9", "", "nv"), ("v1.10.1", "CPU", "cpu"),
        ("f2.0.1v1.10.1", "NV", "nv"), ("neo", "CPU", "cpu"), ("ComfyUI", "", "own"), ("Fooocus v2.5", "", "own"),
        ("90afba3", "CPU", "own"), ("", "", "nv"), ("", "CPU", "cpu"), ("LoRA Atelier 2", "", "own"),
        ("LoRA Atelier 2", "NV", "nv"), ("LoRA Atelier", "", "own"),
    ],
)  # fmt: skip
def test_whose_noise_it_was(version, rng, wanted):
    line = "a cat\nSteps: 9, Sampler: Euler a, Seed: 1, ENSD: 31337"
    line += (f", RNG: {rng}" if rng else "") + (f", Version: {version}" if version else "")
    values, _ = restored(line)
    foreign = wanted == "own" and "Atelier" not in version
    assert (values["rng"], values["ensd"]) == (wanted, 0 if foreign else 31337)
    assert restored(line.replace("Euler a", "DPM adaptive"))[0]["rng"] == "own"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Sampler: DPM++ 2M, Version: v1.10.1", "DPM++ 2M Karras"), ("Sampler: DPM++ 2M, Version: v1.8.0", "DPM++ 2M"),
        ("Sampler: DPM++ 3M SDE, Schedule type: Automatic, Version: f2.0.1v1.10.1", "DPM++ 3M SDE exponential"),
        ("Sampler: DPM++ 2M, Schedule type: Uniform, Version: v1.10.1", "DPM++ 2M"),
        ("Sampler: uni_pc_bh2, Schedule type: normal", "UniPC normal"), ("Sampler: LMS Karras", "LMS Karras"),
        ("Sampler: euler_ancestral_cfg_pp, Scheduler: simple", "Euler a CFG++ simple"), ("Sampler: euler_a", "Euler a"),
        ("Sampler: Euler, Schedule type: Normal, Version: LoRA Atelier 2", "Euler"),
        ("Sampler: Euler, Schedule type: normal, Version: LoRA Atelier 2", "Euler normal"),
    ],
)  # fmt: skip
def test_samplers_by_the_names_of_all(line, wanted):
    assert restored(f"a cat\nSteps: 9, Seed: 1, {line}")[0]["scheduler"] == wanted


def test_what_we_write_is_read_the_same_by_every_preset():
    for preset in PRESETS:
        assert names.preset(*names.split(preset)[:1], names.SCHEDULE_TYPES.get(names.split(preset)[1], "")) == preset


@pytest.mark.parametrize(("layer", "ours", "theirs"), [(1, 1, "2"), (2, 1, "3"), (2, 3, "5")])
def test_clip_skip_is_counted_as_the_others_do(layer, ours, theirs):
    details = {"prompts": ["x"], "negative_prompts": [""], "adapters": [], "width": 512, "height": 512, "steps": 9,
               "guidance_scale": 3.0, "clip_skip": ours, "scheduler": "Euler", "seeds": [7], "strength": None,
               "hires": None, "profile": "p", "variation_seeds": [], "version": 3}  # fmt: skip
    text = infotext.write(details | {"text_layer": layer})
    assert f"Clip skip: {theirs}, " in text and text.endswith("Version: LoRA Atelier 3")
    assert infotext.parse(text, text_layer=layer)["clip_skip"] == ours
    # A record from before it said of which layer it counts, and a picture that was written then.
    older = infotext.write(details)
    assert f"Clip skip: {ours + 1}, " in older and older.endswith("Version: LoRA Atelier")
    assert infotext.parse(older, text_layer=layer)["clip_skip"] == ours


def test_ours_is_read_the_same_by_others(tmp_path):
    """A1111 finds its fields by one pattern, SD Prompt Reader between marks, sd-parsers in ways of its own."""
    use = {"id": "ink", "weight": 0.8, "text_weight": 0.5, "blocks": {}, "start": 0.0, "end": 1.0, "sha256": "ab" * 32}
    details = {"prompts": ["a red apple, (ripe:1.2)\nin a bowl"], "negative_prompts": ["cat: \"dog\""], "steps": 25,
               "adapters": [use], "width": 832, "height": 1216, "guidance_scale": 5.5, "clip_skip": 1, "seeds": [7],
               "scheduler": "DPM++ 3M SDE exponential", "strength": None, "hires": None, "profile": "sdxl",
               "variation_seeds": [], "version": 3, "text_layer": 2, "rng": "nv", "ensd": 31337}  # fmt: skip
    text = infotext.write(details)
    wanted = {"Steps": "25", "Sampler": "DPM++ 3M SDE", "Schedule type": "Exponential", "CFG scale": "5.5", "Seed": "7",
              "Size": "832x1216", "Clip skip": "3", "RNG": "NV", "ENSD": "31337", "Model": "sdxl"}  # fmt: skip
    shown = "a red apple, (ripe:1.2)\nin a bowl <lora:ink:0.5:0.8>"
    *_, last = text.split("\n")
    pattern = r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^"\\])+"|[^,]*)(?:,|$)'
    assert wanted.items() <= dict(re.findall(pattern, last)).items()
    head, _, settings = text.partition("\nSteps:")
    prompt, _, negative = head.partition("\nNegative prompt:")
    assert (prompt, negative.strip()) == (shown, 'cat: "dog"')
    assert wanted.items() <= dict(re.findall(r"\s*([^:,]+):\s*([^,]+)", "Steps:" + settings)).items()
    path = tmp_path / "picture.png"
    path.write_bytes(png(parameters=text))
    info = ParserManager().parse(path)
    (sampler,) = info.samplers
    assert (info.full_prompt, info.full_negative_prompt) == (shown, 'cat: "dog"')
    assert (sampler.name, sampler.parameters["scheduler"], sampler.parameters["seed"]) == (
        "DPM++ 3M SDE", "Exponential", "7")  # fmt: skip
    values, notes = restored(text, adapter("ink"))
    assert notes == [] and values["adapters"] == [{"id": "ink", "weight": 0.8, "text_weight": 0.5}]
    assert (values["rng"], values["ensd"], values["clip_skip"]) == ("nv", 31337, 1)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ('Lora hashes: "old name: 0123456789ab"', True), ('Lora hashes: "old name: abababab"', True),
        ('Hashes: {"model": "12", "lora:old name": "abababab01"}', False),
        ('Hashes: {"model": "12", "lora:old name": "ababababab"}', True), ('Lora hashes: "old name: 99"', False),
        ('Lora hashes: "old name: ffffffffffff", Hashes: {"lora:old name": "ABABABABAB"}', True),
    ],
)  # fmt: skip
def test_a_renamed_adapter_is_found_by_either_hash_of_a1111(fields, found):
    here = adapter("new", tensor_hashes=("0123456789ab" + "00" * 26,))
    text = f"a cat <lora:old name:0.7>\nSteps: 9, Sampler: Euler, Seed: 1, {fields}, Version: v1.10.1"
    values, notes = restored(text, here)
    assert values["adapters"] == ([{"id": "new", "weight": 0.7}] if found else [])
    assert ("is missing here" in " ".join(notes)) is not found


def test_the_hash_of_the_tensors_leaves_the_header_out(tmp_path):
    """What kohya's tools call sshs_model_hash and Civitai AutoV3: the same for another header."""
    data = bytes(range(64)) * 4
    for number, metadata in enumerate(({}, {"sshs_model_hash": "EE" * 32}, {"sshs_model_hash": "no hash"})):
        header = json.dumps({"__metadata__": metadata} | {
            f"lora_unet_mid_block_attentions_0_proj_in.lora_{part}.weight": {
                "dtype": "F32", "shape": shape, "data_offsets": [128 * at, 128 * at + 128]}
            for at, (part, shape) in enumerate((("down", [4, 8]), ("up", [8, 4])))}).encode()  # fmt: skip
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + data)
        found = describe(path, "folder")
        assert found.sha256 == sha256(path.read_bytes()).hexdigest()
        said = ("ee" * 32,) if number == 1 else ()
        assert found.tensor_hashes == (sha256(data).hexdigest(), *said)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [("512x400", (656, 512)), ("400x512", (512, 656)), ("1920x1080", (1536, 864)), ("100x3000", (512, 1536)),
     ("833x1217", (832, 1216)), ("512x512", (512, 512)), ("1x1", (512, 512)), ("999999x1", (1536, 512))],
)  # fmt: skip
def test_a_size_that_is_not_allowed_becomes_the_nearest_of_its_shape(size, wanted):
    values, notes = restored(f"a cat\nSteps: 9, Sampler: Euler, Seed: 1, Size: {size}")
    assert (values["width"], values["height"]) == wanted
    assert notes == ([] if size == "512x512" else [notes[0]]) and all("nearest of its shape" in note for note in notes)


@pytest.mark.parametrize(("strength", "said"), [(0, False), (1, False), (0.5, True)])
def test_a_strength_of_nothing_or_all_is_no_picture(strength, said):
    values, notes = restored(f"a cat\nSteps: 9, Sampler: Euler, Seed: 1, Denoising strength: {strength}")
    assert ("painted over another picture" in " ".join(notes)) is said
    assert values["strength"] == (strength if said else 0.6)


def test_a_tag_that_is_not_understood_is_told():
    values, notes = restored("a cat <lora:x:1:lbw=MIDD>\nSteps: 9, Sampler: Euler, Seed: 1")
    assert values["prompt"].endswith("lbw=MIDD>") and "is left in the prompt" in notes[0]
    values, notes = restored("a cat <lora:ink:te=0.5:unet=1:dyn=4>\nSteps: 9, Sampler: Euler, Seed: 1", adapter("ink"))
    assert values["adapters"] == [{"id": "ink", "weight": 1, "text_weight": 0.5}] and "cut to rank 4" in notes[0]


def changed(graph: dict, **nodes: dict) -> str:
    return json.dumps(graph | {name.strip("_"): node for name, node in nodes.items()})


def test_comfyui_nodes_that_others_made():
    stack = node("Power Lora Loader (rgthree)", model=["4", 0], clip=["4", 1], lora_1={
        "on": True, "lora": "a/ink.safetensors", "strength": 0.8, "strengthTwo": None}, lora_2={
        "on": False, "lora": "gloss.safetensors", "strength": 1}, header={"type": "x"})  # fmt: skip
    values, _ = restored(changed(COMFY, _11=stack), adapter("ink"), adapter("gloss"))
    assert values["adapters"] == [{"id": "ink", "weight": 0.8}]
    loader = node("Efficient Loader", ckpt_name="xl.safetensors", positive="a fox", negative="bad", clip_skip=-2,
                  lora_name="ink.safetensors", lora_model_strength=0.7, lora_clip_strength=0.7,
                  empty_latent_width=640, empty_latent_height=960)  # fmt: skip
    sampler = ksampler(model=["4", 0], positive=["4", 1], negative=["4", 2], latent_image=["4", 3])
    values, notes = restored(json.dumps({"3": sampler, "4": loader}), adapter("ink"))
    assert (values["prompt"], values["negative_prompt"], values["clip_skip"]) == ("a fox", "bad", 0)
    assert values["adapters"] == [{"id": "ink", "weight": 0.7}] and (values["width"], values["height"]) == (640, 960)
    assert notes == ["It was painted by the model 'xl.safetensors'; this one is sdxl."]


def test_what_a_comfyui_graph_does_not_tell_is_told():
    joined = node("StringConcatenate", string_a=["31", 0], string_b=["31", 0])
    text = changed(COMFY, _6=node("CLIPTextEncode", text=["50", 0], clip=["4", 1]), _50=joined)
    values, notes = restored(text)
    assert values["prompt"] == "" and "Its prompt is put together in a way" in " ".join(notes)
    _, notes = restored(changed(COMFY, _3=ksampler(denoise=0.7)))
    assert "It began with no picture, but left out the noisiest levels (denoise 0.7)." in notes
    values, notes = restored(changed(COMFY, _60=ksampler(seed=9)))
    assert values["seed"] == 7 and any("which of them made this picture is not said" in note for note in notes)
    split = node("SplitSigmas", step=5, sigmas=["43", 0])
    custom = node("SamplerCustom", add_noise=True, noise_seed=3, cfg=4, model=["4", 0], positive=["6", 0],
                  negative=["7", 0], sampler=["42", 0], sigmas=["61", 0], latent_image=["5", 0])  # fmt: skip
    exponential = node("ExponentialScheduler", steps=12, sigma_max=14.6, sigma_min=0.03)
    values, notes = restored(changed(CUSTOM, _3=custom, _61=split, _43=exponential))
    assert values["scheduler"] == "Euler a exponential" and values["steps"] == 12
    assert any("SplitSigmas" in note for note in notes)
    assert restored(json.dumps({"1": node("SaveImage", images=["2", 0])}))[1][0].startswith("No node of its ComfyUI")


def test_a_graph_as_savers_of_jpeg_write_it():
    whole = json.dumps({"prompt": COMFY, "workflow": {"nodes": [], "links": []}})
    assert restored(whole)[0]["seed"] == 7 and restored(json.dumps({"prompt": json.dumps(COMFY)}))[0]["seed"] == 7
