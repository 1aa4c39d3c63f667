"""The app as it comes, with the embedded model and its styles: real pictures, as the README promises them."""

import functools
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import Client
from PIL import Image

from assets.recipe import judge
from assets.recipe.evaluate import as_judged
from pipeline.profiles import load_profile
from tests import serving

LIMITS = load_profile("embedded").limits
# Three chunks of CLIP's 75 tokens that name no thing.
PRAISE = "a beautiful detailed very nice simple lovely high quality masterpiece, best sharp clean modern classic, " * 11


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    server = serving.start(tmp_path_factory.mktemp("embedded") / "log", PROFILE="embedded")
    return Client(server.url, verbose=False)


def paint(client, prompt="a red apple", **values) -> bytes:
    gallery, details = client.predict(prompt=prompt, api_name="/generate", **{"seed": 7} | values)
    assert details["profile"] == "embedded"
    return Path(gallery[0]["image"]).read_bytes()


@pytest.fixture(scope="module")
def quick_apple(client) -> bytes:
    """What the styles are laid over: fewer steps than usual, for these tests only ask what changes."""
    return paint(client, steps=12)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.float32) / 255


@functools.cache
def judged() -> tuple[judge.Judge, list[str]]:
    return judge.trained()


@torch.no_grad()
def guesses(png: bytes, count: int = 5) -> list[str]:
    """The concepts that the recipe's judge takes a picture for, the likeliest first."""
    model, names = judged()
    concept, _ = model(judge.to_input(as_judged(pixels(png)[None])))
    return [names[i] for i in concept[0].topk(count).indices]


def saturation(picture: np.ndarray) -> float:
    return float((picture.max(-1) - picture.min(-1)).mean())


def test_a_red_apple_is_red_on_white_and_a_green_one_green(client):
    red, green = (pixels(paint(client, f"a {colour} apple")) for colour in ("red", "green"))
    for picture, channel in ((red, 0), (green, 1)):
        middle = picture[96:160, 96:160].mean((0, 1))
        assert picture.shape == (256, 256, 3) and middle.argmax() == channel
        assert np.concatenate([picture[:2], picture[-2:]]).mean() > 0.9


def test_same_seed_same_file_other_prompt_other_picture(client, quick_apple):
    assert paint(client, steps=12) == quick_apple
    assert np.abs(pixels(paint(client, "penguin", steps=12)) - pixels(quick_apple)).mean() > 0.1


def test_every_style_visibly_changes_the_picture_and_at_zero_does_not(client, quick_apple):
    base = pixels(quick_apple)
    # What it is fast with is no style.
    styles = [each for each in client.predict(api_name="/adapters") if not each["few_steps"]]
    assert len(styles) >= 2 and all(style["triggers"] and style["licence"] != "unknown" for style in styles)
    for style in styles:
        styled = pixels(paint(client, adapters=[{"id": style["id"], "weight": 1}], steps=12))
        assert np.abs(styled - base).mean() > 0.04, style["id"]
    none = [{"id": style["id"], "weight": 0} for style in styles]
    assert np.array_equal(pixels(paint(client, adapters=none, steps=12)), base)


def test_ink_takes_the_colour_out(client, quick_apple):
    inked = pixels(paint(client, adapters=[{"id": "ink", "weight": 1}], steps=12))
    assert saturation(inked) < 0.5 * saturation(pixels(quick_apple))


def test_two_styles_together_are_neither_alone(client):
    both = [{"id": "ink", "weight": 0.5}, {"id": "sepia", "weight": 0.5}]
    mixed = pixels(paint(client, adapters=both, steps=12))
    for use in both:
        assert np.abs(mixed - pixels(paint(client, adapters=[use], steps=12))).mean() > 0.01


@pytest.mark.parametrize("scheduler", LIMITS.schedulers)
def test_every_preset_paints_a_red_apple(client, scheduler):
    # Few steps without guidance: what it comes to is plain enough, and they are hundreds.
    assert "red-apple" in guesses(paint(client, scheduler=scheduler, steps=10, guidance_scale=1))


@pytest.mark.parametrize("concept", ["red-apple", "penguin", "guitar"])
def test_the_last_clause_of_a_long_prompt_is_painted(client, concept):
    prompt = f"{PRAISE} a picture of a {concept.replace('-', ' ')}"
    read = client.predict(prompt=prompt, api_name="/tokenize")
    assert read["count"] >= 200 and read["chunks"] == 3 and not read["dropped"]
    assert concept in guesses(paint(client, prompt))
