"""A part of a picture painted anew: by brush, by eraser, by keys, on a phone; and beyond its edges."""

import io

import httpx
import numpy as np
import pytest
from PIL import Image


def picture(here) -> np.ndarray:
    """What the stage shows, in numbers."""
    source = here.page.evaluate("document.querySelector('.cell img').src")
    return np.asarray(Image.open(io.BytesIO(httpx.get(source).content)).convert("RGB")).astype(int)


def stroke(page, *points: tuple[float, float]) -> None:
    """Draw with the mouse, in shares of the canvas."""
    box = page.locator(".brush-stage canvas").bounding_box()
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=6)
    page.mouse.up()


def covered(page) -> float:
    """The share of the picture that is brushed over."""
    return page.evaluate("""() => {
      const canvas = document.querySelector('.brush-stage canvas');
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      return data.filter((value, i) => i % 4 === 3 && value > 127).length / (data.length / 4);
    }""")


def brush(here) -> None:
    """Open the brush on the picture of the stage."""
    here.page.locator(".stage").get_by_text("Change a part").click()
    here.page.wait_for_selector(".brush-sheet[open]")
    here.page.wait_for_function("document.querySelector('.brush-stage img').naturalWidth === 64")


def began(here, seed: str = "5") -> np.ndarray:
    """A first picture, at a locked seed."""
    page = here.page
    page.click(".seed-lock")
    page.fill(".seed-number", seed)
    page.keyboard.press("Tab")
    here.paint("a red apple", Steps=4)
    here.until("done")
    page.wait_for_function("document.querySelector('.cell img').naturalWidth === 64")
    return picture(here)


@pytest.mark.parametrize("width", [1280, 390])
def test_from_the_first_visit_to_like_this_but_smaller_in_five_clicks_and_a_stroke(visit, width):
    here = visit(width=width, height=844)
    page = here.page
    clicks = []
    page.expose_function("clicked", lambda: clicks.append(1))
    page.evaluate("document.addEventListener('click', (event) => event.isTrusted && window.clicked(), true)")
    page.click(".example >> nth=0")
    page.click("#paint")
    here.until("done")
    page.wait_for_function("document.querySelector('.cell img').naturalWidth === 64")
    before = picture(here)
    brush(here)
    stroke(page, (0.2, 0.2), (0.8, 0.2))
    assert 0.05 < covered(page) < 0.4
    page.fill(".brush-words textarea", "a small blue hat")
    page.click(".brush-paint")
    page.wait_for_function("document.querySelector('.label-title')?.textContent === 'a small blue hat'")
    after = picture(here)
    # The stroke is one of them; another would put the cursor into the words.
    assert len(clicks) <= 5 and not here.complaints
    assert (after[40:] == before[40:]).all() and (after[4:20] != before[4:20]).any()


def test_eraser_invert_undo_and_clear(visit):
    here = visit()
    page = here.page
    began(here)
    brush(here)
    stroke(page, (0.5, 0.5))
    dot = covered(page)
    assert 0 < dot < 0.1
    page.click(".brush-tools .chip:has-text('Invert')")
    assert covered(page) == pytest.approx(1 - dot, abs=0.02)
    page.click(".brush-tools .chip:has-text('Eraser')")
    stroke(page, (0.1, 0.1), (0.9, 0.1))
    assert covered(page) < 0.95 - dot
    for _ in range(2):
        page.click(".brush-tools .chip:has-text('Undo')")
    assert covered(page) == pytest.approx(dot, abs=0.01)
    page.click(".brush-tools .chip:has-text('Clear')")
    assert covered(page) == 0
    # With nothing brushed over, all of it is meant.
    page.click("text=Done")
    assert not page.is_visible("text=All of it again") and not here.complaints


def test_the_brush_goes_by_keys_alone(visit):
    here = visit()
    page = here.page
    began(here)
    page.locator(".stage").get_by_text("Change a part").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".brush-sheet[open]")
    page.wait_for_function("document.activeElement?.tagName === 'CANVAS'")
    page.keyboard.press("Space")
    dot = covered(page)
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    assert covered(page) > dot > 0
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('.stage').dataset.status !== 'done'")
    here.until("done")
    assert page.is_visible("text=All of it again") and not here.complaints


def test_a_picture_grows_beyond_its_edge_and_what_was_there_stays(visit):
    here = visit()
    page = here.page
    before = began(here)
    page.locator(".stage").get_by_text("Start from this").click()
    page.wait_for_selector("#start-more")
    page.get_by_label("number input for Width").fill("96")
    page.get_by_label("number input for Extend right").fill("32")
    page.keyboard.press("Tab")
    here.paint("a red apple", Steps=4)
    page.wait_for_function("document.querySelector('.cell img')?.naturalWidth === 96")
    here.until("done")
    after = picture(here)
    assert after.shape == (64, 96, 3)
    assert (after[:, :48] == before[:, :48]).all() and not here.complaints
