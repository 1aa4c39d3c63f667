"""Painting into a picture and beyond it: diffusers' inpainting pipelines paint the same, and what is to stay stays."""

import io
import json
import pickle
from functools import cache

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from lora.errors import InvalidRequest, ModelError, Several
from pipeline.engine import DenoiseStep, Engine
from pipeline.families.sd15 import SD15
from pipeline.families.sdxl import SDXL
from pipeline.metadata import infotext
from pipeline.metadata.restore import restore
from pipeline.profiles import load, load_profile
from pipeline.request.picture import MAX_BYTES, UNREAD
from pipeline.request.request import GenerationRequest
from pipeline.sampling import schedulers
from pipeline.sampling.inpaint import Canvas, fading
from tests.adapters import library_with
from tests.unit.test_picture import bomb
from training import Example, TrainingConfig, train

SIZE = 64


def file(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


PICTURE = Image.merge("RGB", [Image.radial_gradient("L").rotate(angle).resize((SIZE, SIZE)) for angle in (0, 90, 45)])
# Round, and at no multiple of a latent.
MASK = Image.fromarray(np.where(np.add.outer((np.arange(SIZE) - 27) ** 2, (np.arange(SIZE) - 38) ** 2) < 420, 255, 0)
                       .astype(np.uint8))  # fmt: skip
WHITE = np.asarray(MASK) > 127
GIVEN = {"image": file(PICTURE), "mask": file(MASK)}
# Those without noise of their own: of four channels diffusers draws once more than it needs before the steps.
STILL = ("Euler", "Heun", "DPM++ 2M", "DPM++ 2M Karras", "DDIM", "UniPC")
CASES = [
    *(("tiny_sdxl", name) for name in STILL), ("tiny_sd15", "Euler"), ("tiny_sd15", "DDIM"),
    *(("nine_sdxl", name) for name in ("Euler", "Euler a", "DPM++ 2M SDE", "LCM")),
    *(("nine_sd15", name) for name in ("Euler", "Euler a", "DDIM")),
]  # fmt: skip


def nine(folder, kind, inpainting, place):
    """A model as diffusers publishes those that were trained to paint into pictures."""
    torch.manual_seed(4)
    parts = dict(kind.from_pretrained(folder).components)
    config = {name: value for name, value in parts["unet"].config.items() if not name.startswith("_")}
    parts["unet"] = UNet2DConditionModel.from_config(config | {"in_channels": 9})
    parts = {name: part for name, part in parts.items() if name in inpainting.__init__.__annotations__}
    extra = {"requires_safety_checker": False} if kind is StableDiffusionPipeline else {}
    inpainting(**parts, **extra).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def nine_sdxl(tiny_sdxl, tmp_path_factory):
    place = tmp_path_factory.mktemp("nine-sdxl")
    return nine(tiny_sdxl, StableDiffusionXLPipeline, StableDiffusionXLInpaintPipeline, place)


@pytest.fixture(scope="module")
def nine_sd15(tiny_sd15, tmp_path_factory):
    place = tmp_path_factory.mktemp("nine-sd15")
    return nine(tiny_sd15, StableDiffusionPipeline, StableDiffusionInpaintPipeline, place)


@cache
def loaded(folder):
    kind = StableDiffusionInpaintPipeline if "sd15" in str(folder) else StableDiffusionXLInpaintPipeline
    pipe = kind.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return Engine(load_profile(base_model=str(folder))), pipe, dict(pipe.scheduler.config)


def create(engine, find=None, **values):
    defaults = dict(prompt="red apple", steps=5, seed=3, width=SIZE, height=SIZE, guidance_scale=5, scheduler="Euler",
                    mask_blur=0)  # fmt: skip
    return GenerationRequest.create(defaults | values, engine.limits, find)


def paint(engine, find=None, **values):
    *steps, generation = engine.generate(create(engine, find, **values))
    return steps, np.asarray(Image.open(io.BytesIO(generation.images[0]))), generation.details


@pytest.mark.parametrize(("model", "name"), CASES)
def test_same_pixels_as_diffusers_where_it_is_painted_and_every_byte_where_not(model, name, request):
    folder = request.getfixturevalue(model)
    engine, pipe, config = loaded(folder)
    ays = (SD15 if "sd15" in model else SDXL).ays
    for strength in (0.5, 1.0):
        pipe.scheduler = schedulers.make(name, config, ays)
        theirs = pipe("red apple", image=PICTURE, mask_image=MASK, height=SIZE, width=SIZE, strength=strength,
                      generator=torch.Generator().manual_seed(3), output_type="np", guidance_scale=5,
                      num_inference_steps=5).images[0]  # fmt: skip
        _, ours, details = paint(engine, scheduler=name, strength=strength, **GIVEN)
        assert np.array_equal(ours[WHITE], (theirs * 255).round().astype("uint8")[WHITE]), strength
        assert np.array_equal(ours[~WHITE], np.asarray(PICTURE)[~WHITE])
        assert not np.array_equal(ours[WHITE], np.asarray(PICTURE)[WHITE])
        assert details["mask"] == round(WHITE.mean(), 4) and details["mask_blur"] == 0


@pytest.mark.parametrize("name", ["Euler", "Euler a"])
def test_a_model_trained_for_it_paints_from_text_and_over_a_picture_as_into_one_that_is_all_masked(nine_sdxl, name):
    engine, pipe, config = loaded(nine_sdxl)
    assert engine.profile.family is SDXL and engine.load()[0].inpaints
    for strength, given in ((1.0, {}), (0.5, {"image": GIVEN["image"]})):
        pipe.scheduler = schedulers.make(name, config)
        theirs = pipe("red apple", image=PICTURE, mask_image=Image.new("L", PICTURE.size, "white"), height=SIZE,
                      width=SIZE, strength=strength, generator=torch.Generator().manual_seed(3), output_type="np",
                      guidance_scale=5, num_inference_steps=5).images[0]  # fmt: skip
        _, ours, _ = paint(engine, scheduler=name, strength=strength, **given)
        # Over a picture latents are laid out as in image to image, and so rounded: a step of 255 in a few pixels.
        off = np.abs(ours - (theirs * 255).round())
        assert off.max() <= (strength < 1) and off.mean() < 0.01
    assert paint(engine, hires_scale=1.5)[1].shape == (96, 96, 3)


def test_a_model_trained_for_it_cannot_be_adapted_and_says_so(nine_sdxl):
    with pytest.raises(ModelError, match="trained to paint into pictures"):
        next(train(loaded(nine_sdxl)[0].load()[0], [Example(PICTURE, ("x",))], TrainingConfig(trigger="x", steps=1)))


def test_the_new_fades_inwards_over_so_many_pixels(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    sharp, soft = (paint(engine, mask_blur=blur, **GIVEN)[1] for blur in (0, 5))
    share = fading(WHITE, 5)
    assert np.array_equal(share > 0, WHITE) and share.max() == 1 and share.min() == 0
    edge = np.flatnonzero(WHITE[27])[0]
    assert share[27, edge : edge + 7] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1], abs=0.05)
    assert np.array_equal(soft[~WHITE], np.asarray(PICTURE)[~WHITE])
    assert np.array_equal(soft[share == 1], sharp[share == 1]) and not np.array_equal(soft, sharp)
    between = share[..., None] * sharp + (1 - share[..., None]) * np.asarray(PICTURE, float)
    assert np.abs(soft - between).max() <= 0.51
    # A line that is thinner than that is new in its middle all the same.
    line = np.zeros((64, 64), bool)
    line[30:33] = True
    assert fading(line, 64)[30:33, 5] == pytest.approx([0.5, 1, 0.5])
    assert fading(np.ones((4, 4), bool), 9).min() == 1


def test_a_mask_between_two_latents_is_painted(tiny_sdxl):
    thin = np.zeros((SIZE, SIZE), np.uint8)
    thin[21:23, 11:60] = 255
    ours = paint(loaded(tiny_sdxl)[0], image=GIVEN["image"], mask=file(Image.fromarray(thin)))[1]
    changed = (ours != np.asarray(PICTURE)).any(2)
    assert changed.any() and not changed[thin == 0].any() and changed[thin == 255].mean() > 0.9


@pytest.mark.parametrize(
    "ends", [{"right": 32}, {"left": 32, "right": 16}, {"top": 24}, {"bottom": 8, "left": 8, "top": 16, "right": 24}]
)
def test_a_picture_is_extended_to_any_side_and_stays_as_it_is(tiny_sdxl, ends):
    engine, sides = loaded(tiny_sdxl)[0], dict.fromkeys(("left", "right", "top", "bottom"), 0) | ends
    width, height = SIZE + sides["left"] + sides["right"], SIZE + sides["top"] + sides["bottom"]
    values = {"width": width, "height": height, "image": GIVEN["image"], "mask_blur": 4}
    values |= {f"outpaint_{end}": pixels for end, pixels in ends.items()}
    steps, ours, details = paint(engine, **values)
    inner = np.s_[sides["top"] : sides["top"] + SIZE, sides["left"] : sides["left"] + SIZE]
    assert ours.shape == (height, width, 3) and np.array_equal(ours[inner], np.asarray(PICTURE))
    assert details["mask"] == pytest.approx(1 - SIZE**2 / width / height, abs=1e-4)
    assert {end: details[f"outpaint_{end}"] for end in sides} == sides
    border = np.ones(ours.shape[:2], bool)
    border[inner] = False
    edge = np.asarray(Canvas.of(create(engine, **values)).picture)
    assert (ours != edge)[border].any(1).mean() > 0.9 and edge[0, 0].tolist() == list(PICTURE.getpixel((0, 0)))
    assert all(Image.open(io.BytesIO(step.preview)).size for step in steps)


def test_a_mask_and_an_extension_go_together_and_another_shape_is_cut(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    wide = Image.new("RGB", (128, 64))
    wide.paste(PICTURE, (32, 0))
    values = {"image": file(wide), "mask": file(MASK), "width": 96, "outpaint_left": 32}
    _, ours, details = paint(engine, **values)
    assert np.array_equal(ours[:, 32:][~WHITE], np.asarray(PICTURE)[~WHITE])
    assert not np.array_equal(ours[:, 32:][WHITE], np.asarray(PICTURE)[WHITE])
    assert details["mask"] == pytest.approx((32 * 64 + WHITE.sum()) / 96 / 64, abs=1e-4)


def test_previews_show_the_picture_around_what_is_painted(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    half = np.zeros((SIZE, SIZE), np.uint8)
    half[:, 32:] = 255
    steps = paint(engine, image=GIVEN["image"], mask=file(Image.fromarray(half)), strength=1.0)[0]
    first, last = (np.asarray(Image.open(io.BytesIO(step.preview)), int) for step in (steps[0], steps[-1]))
    side = first.shape[1] // 2 - 16
    # But for what JPEG makes of it, the half that stays is there from the first step on.
    assert np.abs(first - last)[:, :side].mean() < 3 < np.abs(first - last)[:, -side:].mean()


def test_the_same_request_is_the_same_file_and_each_of_a_batch_the_one_made_alone(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    *_, both = engine.generate(create(engine, num_images=2, **GIVEN))
    *_, again = engine.generate(create(engine, num_images=2, **GIVEN))
    *_, alone = engine.generate(create(engine, seed=4, **GIVEN))
    assert both.images == again.images and both.images[1] == alone.images[0]
    request = create(engine, **GIVEN)
    assert pickle.loads(pickle.dumps(request)) == request and request.mask.mode == "L"


def test_cancelled_in_the_middle_the_next_picture_is_as_before(tiny_sdxl, tmp_path):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    find = library_with(engine.load()[0], tmp_path, "ink").find
    plain, into = paint(engine)[1], paint(engine, **GIVEN)[1]
    steps = engine.generate(create(engine, find, adapters=[{"id": "ink", "weight": 1}], **GIVEN))
    assert isinstance(next(steps), DenoiseStep)
    steps.close()
    assert np.array_equal(paint(engine)[1], plain) and np.array_equal(paint(engine, **GIVEN)[1], into)


def test_what_is_transparent_in_a_mask_stays_and_grey_is_what_it_is_nearer_to(tiny_sdxl):
    engine, ink = loaded(tiny_sdxl)[0], Image.new("RGBA", (SIZE, SIZE), (255, 255, 255, 0))
    ink.paste((255, 255, 255, 255), (0, 0, 32, 64))
    greys = Image.fromarray(np.repeat([[127, 128]], SIZE, 0).repeat(32, 1).astype(np.uint8))
    for mask, painted in ((ink, np.s_[:, :32]), (greys, np.s_[:, 32:])):
        expected = np.zeros((SIZE, SIZE), bool)
        expected[painted] = True
        assert np.array_equal(Canvas.of(create(engine, image=GIVEN["image"], mask=file(mask))).mask, expected)


BLACK = file(Image.new("L", (8, 8)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"mask": GIVEN["mask"]}, "mask is given, but must be left out where there is no image to paint over."),
        ({"outpaint_left": 8}, "outpaint_left is 8, but must be 0 where there is no image to paint beyond."),
        (GIVEN | {"mask": BLACK}, "mask is all black, but must be white where the picture is to be painted anew."),
        (GIVEN | {"hires_scale": 2},
         "hires_scale is 2.0, but must be 1 with a mask or outpainting; give the finished picture as image to enlarge "
         "it."),
        ({"image": GIVEN["image"], "width": 96, "outpaint_right": 40},
         "outpaint_left + outpaint_right is 40, but must be at most 32 in all with a width of 96: image needs 64 of "
         "it."),
        (GIVEN | {"mask": b"GIF89a" * 9}, "mask is b'GIF89aGI', but must be a PNG, JPEG or WebP file."),
        (GIVEN | {"mask": GIVEN["mask"][:70]}, "mask is 'damaged', but must be a PNG, JPEG or WebP file."),
        (GIVEN | {"mask": "mask.png"}, "mask is 'mask.png', but must be a PNG, JPEG or WebP file."),
        (GIVEN | {"mask": bomb(13000)[:20_000]},
         "mask is 13000 x 13000 pixels large, but must be of at most 32 million pixels."),
        (GIVEN | {"mask": bytes(MAX_BYTES + 1)}, "mask is 20 MB large, but must be at most 20 MB."),
        (GIVEN | {"mask_blur": 65}, "mask_blur is 65, but must be a whole number from 0 to 64."),
        ({"outpaint_top": 5}, "outpaint_top is 5, but must be a multiple of 8 from 0 to 128."),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused_in_a_sentence(tiny_sdxl, values, sentence):
    with pytest.raises(InvalidRequest) as caught:
        create(loaded(tiny_sdxl)[0], **values)
    assert str(caught.value) == sentence and not isinstance(caught.value, Several)


def test_a_mask_that_was_not_opened_can_be_judged(tiny_sdxl):
    assert create(loaded(tiny_sdxl)[0], image=UNREAD, mask=UNREAD).masked
    with pytest.raises(InvalidRequest, match="mask is given"):
        create(loaded(tiny_sdxl)[0], mask=UNREAD)


def test_a_picture_says_it_and_what_is_restored_can_be_painted(tiny_sdxl):
    engine = loaded(tiny_sdxl)[0]
    cases = (
        (GIVEN | {"mask_blur": 9}, "Mask blur: 9",
         "It was painted into another picture, inside of a mask; both are not in the file."),
        ({"image": GIVEN["image"], "width": 96, "outpaint_left": 32, "mask_blur": 4},
         "Mask blur: 4, Version: LoRA Atelier",
         "It was painted beyond another picture, which is not in the file: 32 pixels at the left."),
        ({"image": GIVEN["image"]}, "Denoising strength: 0.6",
         "It was painted over another picture, which is not in the file."),
    )  # fmt: skip
    for values, said, note in cases:
        details = paint(engine, **values)[2]
        text = infotext.write(json.loads(json.dumps(details)))
        assert ("Outpaint left: 32" in text) is ("outpaint_left" in values) and ("mask" not in text)
        assert said in text.replace("Outpaint left: 32, ", "") and ("Mask blur" in text) is (len(values) > 1)
        restored, notes = restore(text, engine.limits, (), "custom")
        assert notes == [note] and restored["outpaint_left"] == 0 and "mask" not in restored
        assert GenerationRequest.create(restored, engine.limits, None).steps == 5
    assert "Mask" not in infotext.write(paint(engine)[2]) and paint(engine)[2]["mask"] is None


@pytest.mark.parametrize(
    "name", ["Euler", "Euler a", "DPM++ 2M", "DDIM", "LCM", "UniPC", "DPM++ SDE Karras", "SA-Solver beta"]
)
@pytest.mark.parametrize("model", ["tiny_sdxl", "nine_sdxl"])
def test_in_half_precision_too(model, name, request, monkeypatch):
    """As on a GPU, whose schedulers foresee in more digits than the model has."""
    monkeypatch.setattr("pipeline.engine.load", lambda profile: load(profile, torch.bfloat16))
    engine = Engine(load_profile(base_model=str(request.getfixturevalue(model))))
    values = GIVEN | {"scheduler": name, "variation_strength": 0.3, "variation_seed": 2, "tiling": True}
    for strength in (0.5, 1.0):
        steps, ours, _ = paint(engine, strength=strength, **values)
        assert np.array_equal(ours[~WHITE], np.asarray(PICTURE)[~WHITE]) and all(step.preview for step in steps)
    assert paint(engine, scheduler=name, hires_scale=1.5)[1].shape == (96, 96, 3)
