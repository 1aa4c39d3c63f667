"""What a picture says of how it was made, read without decoding it (R1), and what can be had of it here."""

import io
import json
import struct
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from lora.adapter import Adapter
from lora.errors import AtelierError, InvalidRequest, TooLong
from pipeline.metadata import infotext
from pipeline.metadata.image_metadata import MAX_TEXT, image_metadata
from pipeline.metadata.restore import restore, unsaid
from pipeline.metadata.uses import MAX_USES
from pipeline.profiles import EMBEDDED_PROFILE
from pipeline.request.request import GenerationRequest
from tests.hostile import bombs

LIMITS = EMBEDDED_PROFILE.limits
INK = Adapter(
    id="ink", name="Ink", path=Path("ink.safetensors"), sha256="ab" * 32, rank=4, parameters=1, size=1, source="folder"
)
MADE = {
    "prompt": "a red apple, (big:1.2)", "prompts": ["a red apple, (big:1.2)"], "negative_prompt": "blurry",
    "negative_prompts": ["blurry"], "adapters": [], "width": 256, "height": 128, "steps": 12, "guidance_scale": 4.5,
    "guidance_rescale": 0.3, "guidance_start": 0.1, "guidance_end": 0.9, "eta": 0.2, "clip_skip": 1, "strength": None,
    "hires": {"scale": 1.5, "width": 384, "height": 192, "steps": 8, "strength": 0.4, "upscaler": "latent"},
    "scheduler": "DPM++ 2M", "seed": 7, "seeds": [7], "profile": "embedded",
    "text_layer": 2,
}  # fmt: skip
USE = {
    "id": "ink",
    "weight": 0.8,
    "text_weight": 0.5,
    "blocks": {"up": 0.5},
    "start": 0.1,
    "end": 1,
    "sha256": "ab" * 32,
}
A1111 = """a castle <lora:Ink:0.7> <lora:gone:0.5>
Negative prompt: people
Steps: 20, Sampler: Restart, CFG scale: 7, Seed: 123, Size: 128x128, Model: juggernaut, Face restoration: CodeFormer"""


def png(text=None, kind="parameters", size=(8, 8), **options) -> io.BytesIO:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    if text is not None:
        options.setdefault("zip", False)
        info.add_itxt(kind, text, **options)
    Image.new("RGB", size).save(file, "PNG", pnginfo=info)
    return io.BytesIO(file.getvalue())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif(comment: bytes) -> bytes:
    made = Image.Exif()
    made.get_ifd(0x8769)[0x9286] = comment
    return made.tobytes()


def restored(text, *adapters, model="embedded"):
    return restore(text, LIMITS, adapters, model)


def test_everything_of_our_own_picture_is_restored():
    made = MADE | {"adapters": [USE]}
    values, notes = restored(image_metadata(png(infotext.write(made))), INK)
    assert notes == []
    same = ("prompt negative_prompt width height steps guidance_scale guidance_rescale guidance_start guidance_end eta "
            "clip_skip scheduler seed").split()  # fmt: skip
    assert {name: values[name] for name in same} == {name: made[name] for name in same}
    hires = {"hires_scale": 1.5, "hires_steps": 8, "hires_strength": 0.4, "hires_upscaler": "latent"}
    assert hires.items() <= values.items() and values["num_images"] == 1
    assert values["adapters"] == [{"id": "ink", "weight": 0.8, "text_weight": 0.5, "blocks": {"up": 0.5}, "start": 0.1}]


@pytest.mark.parametrize(("version", "model", "size"), [
    ("LoRA Atelier 3", "embedded", (128, 256)), ("LoRA Atelier 2", "embedded", (256, 512)),
    ("LoRA Atelier", "embedded", (256, 512)), ("LoRA Atelier 2", "custom", (128, 256)),
    ("f2.0", "embedded", (128, 256)),
])  # fmt: skip
def test_a_picture_of_the_embedded_model_from_before_has_the_same_latents_at_twice_the_side(version, model, size):
    values, _ = restored(f"a cat\nSteps: 5, Sampler: Euler, Size: 128x256, Model: {model}, Version: {version}")
    assert (values["width"], values["height"]) == size
    nothing, _ = restored("a cat\nSteps: 5, Sampler: Euler, Model: embedded, Version: LoRA Atelier 2")
    assert (nothing["width"], nothing["height"]) == (256, 256)


def test_what_a_picture_does_not_say_is_the_usual():
    values, _ = restored("a red apple\nSteps: 5, Sampler: Euler, Seed: 3, Size: 256x256")
    # Only A1111 writes so, and its noise is a GPU's where it says nothing of it.
    said = {"prompt": "a red apple", "steps": 5, "scheduler": "Euler", "seed": 3, "rng": "nv"}
    assert values == unsaid(LIMITS) | said


def test_what_cannot_be_restored_is_said_in_words():
    values, notes = restored(A1111, INK)
    assert values["prompt"] == "a castle" and values["negative_prompt"] == "people" and values["seed"] == 123
    assert values["adapters"] == [{"id": "ink", "weight": 0.7}] and values["scheduler"] == LIMITS.scheduler
    said = " ".join(notes)
    assert "The adapter 'gone', weight 0.5 is missing here" in said
    assert "Not restored: scheduler is 'Restart', but must be one that can start from pure noise" in said
    assert "painted by the model 'juggernaut'; this one is embedded" in said
    assert "Not used here: Face restoration." in said and len(notes) == 4


def test_fooocus():
    text = (
        '{"prompt": "a cat", "negative_prompt": "dog", "steps": 30, "sampler": "dpmpp_2m_sde_gpu",'
        ' "scheduler": "normal", "seed": "11", "guidance_scale": 4.0, "resolution": "(128, 128)",'
        ' "loras": [["ink.safetensors", 0.5]],'
        ' "base_model": "xl", "sharpness": 2}'
    )
    values, notes = restored(image_metadata(png(text)), INK)
    assert values["prompt"] == "a cat" and values["seed"] == 11 and values["scheduler"] == "DPM++ 2M SDE"
    assert values["adapters"] == [{"id": "ink", "weight": 0.5}] and "sharpness" in " ".join(notes)


def test_an_adapter_that_was_uploaded_is_missing_and_found_by_its_content_when_it_is_back():
    text = infotext.write(MADE | {"adapters": [USE | {"id": "ink-8mYHnTqU5v"}]})
    values, notes = restored(text)
    assert values["adapters"] == [] and "'ink-8mYHnTqU5v', weight 0.8 is missing here" in notes[0]
    values, notes = restored(text, replace(INK, id="ink-another"))
    assert values["adapters"][0]["id"] == "ink-another" and notes == []
    values, notes = restored(infotext.write(MADE | {"adapters": [USE]}), replace(INK, sha256="cd" * 32))
    assert values["adapters"][0]["id"] == "ink" and "is another file here" in notes[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Steps: 900, Sampler: Euler, Seed: 1", "steps is 900, but must be a whole number from 1 to 150"),
        ("Steps: 9, Sampler: Euler, Size: 4096x128", "size 4096 x 128 is not one of this model's; 512 x 128 is the"),
        (
            "Steps: 9, Sampler: Euler, Seed: 99999999999",
            "99999999999 is larger than 32 bits; 1215752191 draws the same",
        ),
        ("Steps: 9, Sampler: Euler, Hires upscale: 4, Size: 512x512", "hires_scale is 4"),
        ("Steps: 9, Sampler: Euler, CFG scale: 99", "guidance_scale is 99"),
        ("Steps: 9, Sampler: Euler, Denoising strength: 0.4", "painted over another picture"),
        ('Steps: 9, Sampler: Euler, Adapters: "[{\\"id\\": \\"ink\\", \\"weight\\": 9}]"', "adapters[0].weight is 9"),
        ('Steps: 9, Sampler: Euler, Adapters: "[7, null, {}, {\\"id\\": [1]}]"', "The adapter 7 is missing"),
        ('Steps: 9, Sampler: Euler, Exact prompt: "[\\"<lora:x:1> y\\", \\"\\"]"', "prompt is '<lora:x>', but must be"),
    ],
)
def test_values_that_are_not_allowed_here_are_named_and_the_rest_is_restored(line, says):
    values, notes = restored(f"a cat\n{line}", INK)
    assert says in " ".join(notes)
    assert values["steps"] in (9, LIMITS.steps)


def test_a_picture_without_words_is_refused_in_words():
    for file in (png(), png("  ")):
        with pytest.raises(InvalidRequest, match="does not say how it was made"):
            image_metadata(file)
    for data in (b"", b"GIF89a", b"PK\3\4" * 9, b"\0" * 99):
        with pytest.raises(InvalidRequest, match="must be a PNG, JPEG or WebP file"):
            image_metadata(io.BytesIO(data))


def test_every_kind_of_chunk_and_of_file():
    words = "ein Café für Ärzte, 猫"
    assert image_metadata(png(words)) == image_metadata(png(words, zip=True)) == words
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "plain", zip=True)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    assert image_metadata(io.BytesIO(file.getvalue())) == "plain"
    for encoding in ("latin-1", "utf-8"):
        data = bombs.png(chunk(b"tEXt", b"parameters\0" + "ein Café".encode(encoding)))
        assert image_metadata(io.BytesIO(data)) == "ein Café"
    comments = {"utf-16-be": b"UNICODE\0", "utf-16-le": b"UNICODE\0", "utf-8": b"ASCII\0\0\0"}
    for encoding, kind in comments.items():
        for form in ("JPEG", "WEBP", "PNG"):
            file = io.BytesIO()
            Image.new("RGB", (8, 8)).save(file, form, exif=exif(kind + "a café".encode(encoding)))
            assert image_metadata(io.BytesIO(file.getvalue())) == "a café", (encoding, form)


def test_r1_a_small_file_that_claims_to_be_huge_is_read_without_its_pixels():
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 13000, 13000, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(2**24))[:18_000])
    data = b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"tEXt", b"parameters\0a cat") + chunk(b"IEND", b"")
    assert len(data) < 20_000
    tracemalloc.start()
    assert image_metadata(io.BytesIO(data)) == "a cat"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_r1_text_that_unpacks_to_too_much_is_left_out():
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"zTXt", b"parameters\0\0" + bomb) + chunk(b"IEND", b"")
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="does not say"):
        image_metadata(io.BytesIO(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MAX_TEXT
    with pytest.raises(TooLong, match="characters of text"):
        image_metadata(png("x" * 100_001))


@pytest.mark.parametrize("cut", [9, 20, 33, 40, 60])
def test_a_file_that_is_cut_off_is_no_crash(cut):
    data = png("a cat").getvalue()
    with pytest.raises(InvalidRequest):
        image_metadata(io.BytesIO(data[:cut]))
    lying = data[:33] + struct.pack(">I", 0xFFFFFFFF) + data[37:]
    with pytest.raises(InvalidRequest):
        image_metadata(io.BytesIO(lying))
    for damaged in (
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe1\0\0",
        b"RIFF\0\0\0\0WEBPEXIF",
        b"\xff\xd8\xff\xe1\0\x20Exif\0\0MM",
    ):
        with pytest.raises(InvalidRequest):
            image_metadata(io.BytesIO(damaged))


@pytest.mark.parametrize("weight", ["x", None, [1], {"a": 1}, True, 10**400, 1e999, float("nan")])
def test_a_weight_that_is_no_number_is_said_in_words(weight):
    for name in ("gone", "ink"):
        uses = json.dumps(json.dumps([{"id": name, "weight": weight}]))
        values, notes = restored(f"a cat\nSteps: 9, Sampler: Euler, Adapters: {uses}", INK)
        assert values["adapters"] == [] and values["steps"] == 9
        assert f"The adapter '{name}'" in notes[0]


def test_names_alone_are_adapters_too_and_their_number_is_bounded():
    values, notes = restored("a cat\nSteps: 9, Sampler: Euler, Adapters: " + json.dumps(json.dumps(["ink"])), INK)
    assert values["adapters"] == [{"id": "ink"}] and notes == []
    values, notes = restored("a cat\nSteps: 9, Sampler: Euler, Adapters: " + json.dumps(json.dumps([7] * 9000)), INK)
    assert "It names 9000 adapters, of which the first 50 were looked at." in notes and len(notes) == MAX_USES + 1


def test_a_negative_prompt_that_cannot_be_drawn_is_named_once():
    values, notes = restored(
        "a cat\nNegative prompt: " + "{a|" * 500 + "}" * 500 + "\nSteps: 9, Sampler: Euler, Seed: 1"
    )
    assert values["prompt"] == "a cat" and values["negative_prompt"] == "" and values["steps"] == 9
    assert [note[:41] for note in notes] == ["Not restored: negative_prompt is made of "]


NESTED = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.integers()
    | st.sampled_from(["ink", "x", "0.5", "{a|b}", 10**400, 1e999, "\ud800", "<lora:ink:9>", '"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "weight", "text_weight", "blocks", "down", "start", "end", "rank", "x"]), inner, max_size=4),
    max_leaves=9,
)  # fmt: skip
FOOOCUS = ("prompt", "negative_prompt", "steps", "seed", "guidance_scale", "sampler", "scheduler", "clip_skip", "loras",
           "lora_1", "lora_combined_2", "resolution", "base_model", "Lora hashes", "Version", "version")  # fmt: skip
FIELDS = ("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Clip skip", "Denoising strength",
          "Hires upscale", "Hires steps", "Hires upscaler", "Guidance start", "Eta", "Lora hashes", "Adapters",
          "Exact prompt", "Model", "Version")  # fmt: skip


def restored_or_refused(text: str) -> None:
    """Values that can be painted and notes in words, or one sentence; nothing else."""
    try:
        values, notes = restored(text, INK)
    except AtelierError as error:
        assert "\n" not in str(error)
        return
    assert all(isinstance(note, str) and "\n" not in note for note in notes)
    GenerationRequest.create(values | {"prompt": values["prompt"] or "x"}, LIMITS, lambda name: INK)
    json.dumps([values, notes])


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(FOOOCUS), NESTED))
def test_any_json_of_fooocus_is_restored_or_refused(fields):
    restored_or_refused(json.dumps(fields))


LINK = st.sampled_from([[str(number), 0] for number in range(6)] + [["x", 1], [1, 2], ["3"], []])
INPUT = (
    LINK | NESTED | st.sampled_from([2**70, -3, 0.5, "euler", "karras", "ink.safetensors", {"lora": "ink", "on": 1}])
)
INPUTS = st.dictionaries(st.sampled_from(
    ["seed", "noise_seed", "steps", "cfg", "sampler_name", "scheduler", "denoise", "model", "positive", "negative",
     "latent_image", "samples", "guider", "sigmas", "noise", "sampler", "text", "text_g", "text_l", "clip", "width",
     "height", "scale_by", "lora_name", "strength_model", "strength_clip", "ckpt_name", "stop_at_clip_layer",
     "start_at_step", "lora_1"]), INPUT, max_size=12)  # fmt: skip
KINDS = st.sampled_from(["KSampler", "LatentUpscaleBy", "X", "VAEEncode", "\n" * 99])
NODE = st.fixed_dictionaries({"class_type": KINDS | NESTED, "inputs": INPUTS | NESTED})


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from("012345"), NODE | NESTED, min_size=1))
def test_any_graph_of_comfyui_is_restored_or_refused(graph):
    restored_or_refused(json.dumps(graph))


OTHERS = {
    "sui_image_params": ("prompt", "seed", "steps", "loras", "loraweights", "clipstopatlayer", "model", "sampler"),
    "Comment": ("prompt", "uc", "seed", "sampler", "noise_schedule", "v4_prompt", "sm", "strength"),
    "image": ("prompt", "seed", "steps", "sampler", "width"),
    "generation_mode": ("x",),
    "extraMetadata": ("prompt", "seed", "sampler", "clipSkip", "steps"),
}


@settings(max_examples=500, deadline=None)
@given(st.data(), st.sampled_from([*OTHERS]), st.booleans())
def test_any_json_of_other_tools_is_restored_or_refused(data, section, as_text):
    inside = data.draw(st.dictionaries(st.sampled_from(OTHERS[section]), NESTED) | NESTED)
    beside = data.draw(
        st.dictionaries(
            st.sampled_from(
                ["model", "loras", "positive_prompt", "app_id", "Description", "Source", "positive_style_prompt", "1"]
            ),
            NESTED,
        )
    )
    restored_or_refused(json.dumps(beside | {section: json.dumps(inside) if as_text else inside}))


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), NESTED), st.booleans())
def test_any_values_of_fields_are_restored_or_refused(fields, quoted):
    written = (json.dumps(value) for value in fields.values())
    pairs = zip(fields, (json.dumps(value) for value in written) if quoted else written)
    restored_or_refused("a cat\nSteps: 3, Sampler: Euler, Seed: 1, " + ", ".join(": ".join(pair) for pair in pairs))


@pytest.mark.parametrize(
    "value", ["1" * 10_000, "-" + "9" * 4000, "1e999", "NaN", "-Infinity", '{"a":' * 900 + "1" + "}" * 900,
              *("[" * n + "]" * n for n in range(100, 1000, 9))],
    ids=lambda value: f"{value[:3]}{len(value)}",
)  # fmt: skip
def test_numbers_and_lists_beyond_all_bounds(value):
    for name in FOOOCUS:
        restored_or_refused(f'{{"{name}": {value}}}')
    for inside in (f"[{value}]", f'[{{"id": {value}}}]', f'[{{"id": "ink", "weight": {value}}}]'):
        restored_or_refused(f"a cat\nSteps: 3, Sampler: Euler, Seed: 1, Adapters: {json.dumps(inside)}")


# Made when they are needed: some take a second.
BOMBS = {
    "texts": lambda: bombs.texts(2000), "iTXt": lambda: bombs.texts(500, kind=b"iTXt"),
    "comments": lambda: bombs.texts(2000, name=b"Comment\0\0"), "exif PNG": bombs.exif_png,
    "exif JPEG": bombs.exif_jpeg, "exif WebP": bombs.exif_webp, "scans": bombs.scans, "hidden": bombs.hidden,
    "hidden all": lambda: bombs.hidden(b"stealth_pnginfo", 0), "plain": bombs.plain, "profile": bombs.profile,
    "nodes": lambda: bombs.graph("circle", 100_000), "deep": bombs.deep_xmp, "wide": bombs.wide_webp,
    **{f"many {kind}": (lambda kind=kind: bombs.many(kind)) for kind in ("PNG", "JPEG", "WEBP")},
    **{f"frames {kind}": (lambda kind=kind: bombs.frames(kind)) for kind in ("PNG", "WEBP")},
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_r1_a_bomb_costs_no_more_than_its_size(name):
    data = BOMBS[name]()
    tracemalloc.start()
    with pytest.raises(InvalidRequest):
        image_metadata(io.BytesIO(data))
    assert tracemalloc.get_traced_memory()[1] < 8 * MAX_TEXT + 3 * len(data)
    tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [*(image_metadata(io.BytesIO(bombs.graph(*how))) for how in (("circle",), ("samplers", 700), ("deep",))),
     json.dumps({str(i): {"class_type": "x", "inputs": {}} for i in range(2900)}),
     '{"0":{"class_type":"KSampler","inputs":{"steps":1,"sampler_name":"x","seed":1,"model":' + "[" * 99_000],
    ids=["circle", "samplers", "deep", "alike", "brackets"],
)  # fmt: skip
def test_a_graph_of_any_form_takes_no_time(text):
    start = time.process_time()
    restored_or_refused(text)
    assert time.process_time() - start < 2


def test_hidden_text_is_read_no_further_than_it_may_be():
    body = b"a cat" + bytes(100)
    assert image_metadata(io.BytesIO(bombs.hidden(b"stealth_pnginfo", 40, 64, body))) == "a cat"
    for claimed, mark in ((2**32 - 1, b"stealth_pngcomp"), (0, b"stealth_pnginfo"), (8, b"stealth_pngcomp")):
        with pytest.raises(InvalidRequest, match="does not say"):
            image_metadata(io.BytesIO(bombs.hidden(mark, claimed, 64, body)))
    # More bits than there are pixels: what there is.
    assert image_metadata(io.BytesIO(bombs.hidden(b"stealth_pnginfo", 2**31, 64, body))).startswith("a cat")


def test_r1_a_comment_in_exif_that_leads_in_circles_is_found():
    made = exif(b"ASCII\0\0\0a cat")
    assert image_metadata(io.BytesIO(bombs.png(bombs.chunk(b"eXIf", made)))) == "a cat"
    with pytest.raises(InvalidRequest, match="does not say"):
        image_metadata(io.BytesIO(bombs.png(bombs.chunk(b"eXIf", bombs.exif(9, 4)))))
