"""The page with Live on: the picture follows what is typed, moved and clicked; nothing is kept before it is asked for.

With FILM=<file> the frames of the first test are written there as a strip of pictures.
"""

import io
import os
from itertools import pairwise
from pathlib import Path

import pytest
from gradio_client import Client
from PIL import Image

from tests import serving
from tests.ui.conftest import Visit

PROMPT = "#prompt textarea"
FRAME, COLUMNS = (416, 300), 5
# The pictures that came, what was asked for and when, for the tests to look at.
RECORD = """() => {
    window.shown = [];
    window.asked = [];
    addEventListener("atelier:live", ({ detail }) => shown.push(detail));
    const ask = window.fetch;
    window.fetch = (url, options) => {
        const ours = String(url).includes("/run/predict") && String(options?.body).includes('"number"');
        if (ours) asked.push(performance.now());
        return ask(url, options);
    };
}"""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return serving.start(tmp_path_factory.mktemp("live") / "log", PROFILE="embedded")


@pytest.fixture
def here(embedded, chromium):
    visit = Visit(chromium, embedded.url, width=1280, height=920)
    visit.page.evaluate(RECORD)
    yield visit
    visit.page.close()


def follows(page, what: str) -> dict:
    """The live picture of which that is true, once it is there."""
    found = f"shown.find((detail) => {what})"
    page.wait_for_function(f"() => {found} !== undefined")
    page.wait_for_selector('.stage[data-status="live"] .cell img')
    return page.evaluate(f"() => {found}")


def frame(page) -> Image.Image:
    page.wait_for_function("document.querySelector('.cell img').complete")
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize(FRAME, Image.Resampling.LANCZOS)


def strip(frames: list[Image.Image]) -> Image.Image:
    rows = -(-len(frames) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (FRAME[0] + 8), rows * (FRAME[1] + 8)), "white")
    for i, each in enumerate(frames):
        sheet.paste(each, (i % COLUMNS * (FRAME[0] + 8) + 4, i // COLUMNS * (FRAME[1] + 8) + 4))
    return sheet


def test_the_picture_follows_what_is_typed_and_moved(here, embedded):
    page, frames = here.page, []
    page.click(".live-switch")
    assert page.get_attribute(".live-switch", "aria-pressed") == "true"
    page.focus(PROMPT)
    for end in ("a red", "a red apple", "a red apple and", "a red apple and a", "a red apple and a penguin"):
        page.keyboard.type(end.removeprefix(page.input_value(PROMPT)))
        follows(page, f'detail.prompt === "{end}"')
        frames.append(frame(page))
    first = page.evaluate("() => shown.at(-1)")
    page.click('.card[data-style="ink"]')
    page.fill("#weight-ink", "0")
    for weight in ("0.2", "0.4", "0.6", "0.8"):
        page.fill("#weight-ink", weight)
        follows(page, f'detail.adapters.some((use) => use.id === "ink" && use.weight === {weight})')
        frames.append(frame(page))
    last = page.evaluate("() => shown.at(-1)")
    page.click("text=Keep this picture")
    here.until("done")
    frames.append(frame(page))
    assert len({picture.tobytes() for picture in frames}) == 10
    # One seed all the while, few steps, no guidance; and it goes on top of what is set, which stays.
    assert first["seed"] == last["seed"] and last["steps"] <= 4 and last["guidance_scale"] == 1
    assert page.evaluate("document.querySelectorAll('.mix-row').length") == 1
    if where := os.environ.get("FILM"):
        strip(frames).quantize(128).save(Path(where))
    assert not here.complaints


def test_nothing_is_kept_until_it_is_asked_for(here, embedded):
    page = here.page
    page.click(".live-switch")
    page.fill(PROMPT, "a red apple")
    picture = follows(page, 'detail.prompt === "a red apple"')
    owner = page.evaluate("atelier.owner()")
    client = Client(embedded.url, verbose=False)
    assert client.predict(owner=owner, api_name="/history") == []
    page.click("text=Keep this picture")
    here.until("done")
    (kept,) = client.predict(owner=owner, api_name="/history")
    assert kept["details"]["prompt"] == "a red apple" and kept["details"]["seed"] == picture["seed"]
    # It is what anybody gets who asks for the same.
    page.wait_for_function("document.querySelector('.cell img').src.startsWith('http')")
    same = {name: kept["details"][name] for name in ("prompt", "seed", "steps", "scheduler", "guidance_scale")}
    adapters = [{"id": use["id"], "weight": use["weight"]} for use in kept["details"]["adapters"]]
    (again,), _ = client.predict(**same, adapters=adapters, api_name="/generate")
    url = page.get_attribute(".cell img", "src")
    assert page.request.get(url).body() == Path(again["image"]).read_bytes()
    assert not here.complaints


def test_it_rests_while_others_paint_and_goes_on_by_itself(here, embedded):
    page = here.page
    jobs = [Client(embedded.url, verbose=False).submit(prompt="a cat", steps=150, num_images=4, api_name="/generate")
            for _ in range(2)]  # fmt: skip
    embedded.wait_until(running=1, waiting=1)
    page.click(".live-switch")
    page.fill(PROMPT, "a rocket")
    page.wait_for_selector('.live:has-text("Rests while others paint, after 1 other picture.")')
    assert page.evaluate("shown.length") == 0
    for job in jobs:
        job.cancel()
    follows(page, 'detail.prompt === "a rocket"')
    assert page.inner_text(".live .hint") == "" and not here.complaints


def test_it_takes_no_more_than_three_pictures_a_second(here):
    page = here.page
    page.click(".live-switch")
    page.focus(PROMPT)
    page.keyboard.type("a smiling face with sunglasses and a red apple", delay=90)
    # Whoever types on sees pictures meanwhile.
    assert page.evaluate("shown.length") > 0
    follows(page, 'detail.prompt.endsWith("apple")')
    times = page.evaluate("asked")
    assert len(times) > 2 and min(b - a for a, b in pairwise(times)) > 330
    page.click(".live-switch")
    before = page.evaluate("asked.length")
    page.keyboard.press("End")
    page.fill(PROMPT, "something else")
    page.wait_for_timeout(600)
    assert page.evaluate("asked.length") == before and not here.complaints


def test_without_an_adapter_of_few_steps_it_says_what_is_missing(visit):
    here = visit()
    here.page.click(".live-switch")
    here.page.wait_for_selector('.live:has-text("Write what you want to see.")')
    here.page.fill(PROMPT, "a cat")
    here.page.wait_for_selector('.live:has-text("an adapter is needed")')
    assert not here.complaints
