"""Any picture of the page, large, and what can be done with it: on the stage, in the history, in a comparison."""

import json
import re

import pytest

from tests.serving import NASTY
from tests.ui.test_access import violations
from tests.ui.test_history import painted, picture, room
from tests.ui.test_page import CONTRAST

RECT = "(selector) => document.querySelector(selector).getBoundingClientRect().toJSON()"
DRAG = """(fingers) => {
  const frame = document.querySelector(".viewer-frame");
  // Made up pointers cannot be captured.
  frame.setPointerCapture = () => {};
  const box = frame.getBoundingClientRect();
  const tell = (type, pointerId, [x, y]) => frame.dispatchEvent(new PointerEvent(type,
    { pointerId, clientX: box.left + x, clientY: box.top + y, pointerType: "touch", bubbles: true, button: 0 }));
  for (const [id, path] of fingers.entries()) tell("pointerdown", id + 1, path[0]);
  for (let i = 1; i < fingers[0].length; i++)
    for (const [id, path] of fingers.entries()) tell("pointermove", id + 1, path[i]);
  for (const [id, path] of fingers.entries()) tell("pointerup", id + 1, path.at(-1));
}"""


def viewer(page, words: str = "") -> None:
    """Wait until the viewer is open, its picture is there, and it says that."""
    page.wait_for_selector(".viewer[open] .viewer-frame:not(.coming) img")
    page.wait_for_function("(words) => document.querySelector('.viewer').innerText.includes(words)", arg=words)


def button(page, name: str):
    return page.locator(".viewer").get_by_role("button", name=name, exact=True)


def fact(page, name: str) -> str:
    return page.inner_text(f".viewer-facts dt:text-is('{name}') + dd")


def again(here, run) -> bytes:
    """The picture that is painted after `run`."""
    here.page.evaluate("document.querySelector('.stage').dataset.status = 'before'")
    run()
    here.until("done")
    return picture(here)


def prompt_is(page, words: str) -> None:
    page.wait_for_function("(words) => document.querySelector('#prompt textarea').value === words", arg=words)


def test_the_stage_opens_it_the_keys_move_in_it_and_the_focus_comes_back(visit):
    here = visit()
    page = here.page
    painted(here, "{a red apple|a cat}", Steps=2, Pictures=3)
    page.focus(".cell .look >> nth=1")
    page.keyboard.press("Enter")
    viewer(page, "Picture 2 of 3")
    assert page.evaluate("document.querySelector('.viewer').contains(document.activeElement)")
    assert fact(page, "Steps") == "2" and fact(page, "Size") == "64 × 64" and fact(page, "Seed").isdecimal()
    page.keyboard.press("ArrowRight")
    viewer(page, "Picture 3 of 3")
    assert not page.is_visible(".viewer-turn[data-part=after]")
    page.keyboard.press("ArrowRight")
    page.click(".viewer-turn[data-part=before]")
    viewer(page, "Picture 2 of 3")
    # The keys of the page behind do nothing meanwhile.
    page.keyboard.press("3")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Paint"
    page.keyboard.press("Escape")
    page.wait_for_selector(".viewer", state="hidden")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.cell .look')[1]")
    assert not here.complaints


def test_zooming_by_buttons_keys_wheel_and_a_double_click_and_moving(visit):
    here = visit()
    page = here.page
    painted(here, "a red apple", Steps=1)
    page.click(".cell .look")
    viewer(page)
    percent = lambda: int(page.inner_text(".viewer-zoom output").split()[0])  # noqa: E731
    frame, fitting = page.evaluate(RECT, ".viewer-frame"), percent()
    shown = page.evaluate(RECT, ".viewer-frame img")
    assert min(frame["width"], frame["height"]) == pytest.approx(max(shown["width"], shown["height"]), abs=1)
    button(page, "Pixel by pixel (1)").click()
    assert percent() == 100 and page.evaluate(RECT, ".viewer-frame img")["width"] == 64
    button(page, "Smaller (-)").click()
    assert percent() == 100
    button(page, "Fit (0)").click()
    assert percent() == fitting
    button(page, "Larger (+)").click()
    assert percent() == pytest.approx(1.25 * fitting, abs=1)
    page.keyboard.press("+")
    assert percent() == pytest.approx(1.25**2 * fitting, abs=2)
    page.keyboard.press("-")
    assert percent() == pytest.approx(1.25 * fitting, abs=2)
    middle = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    page.wait_for_function("document.querySelector('.viewer-frame').classList.contains('zoomed')")
    at = page.evaluate(RECT, ".viewer-frame img")
    page.mouse.down()
    page.mouse.move(middle[0] + 30, middle[1] + 20)
    page.mouse.up()
    moved = page.evaluate(RECT, ".viewer-frame img")
    assert (moved["x"] - at["x"], moved["y"] - at["y"]) == (pytest.approx(30, abs=1), pytest.approx(20, abs=1))
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate(RECT, ".viewer-frame img")["x"] < moved["x"]
    page.keyboard.press("0")
    assert percent() == fitting and button(page, "Fit (0)").get_attribute("aria-pressed") == "true"
    page.mouse.dblclick(*middle)
    assert percent() == pytest.approx(2 * fitting, abs=1)
    page.mouse.dblclick(*middle)
    assert percent() == fitting


def test_a_large_picture_is_seen_pixel_by_pixel(visit):
    page = visit().page
    page.evaluate("""() => {
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: 3000, height: 2000 });
      atelier.view([{ url: canvas.toDataURL(), prompt: "large", seed: 7 }]);
    }""")
    viewer(page, "large")
    assert page.evaluate(RECT, ".viewer-frame img")["width"] < 1280
    page.keyboard.press("1")
    assert page.evaluate(RECT, ".viewer-frame img")["width"] == 3000
    assert page.inner_text(".viewer-zoom output") == "100 %"
    # What the history has not can be neither a favourite nor deleted.
    assert button(page, "Favourite").count() == 0 == button(page, "Delete").count()


def test_full_screen_and_back(visit):
    here = visit()
    page = here.page
    painted(here, "a red apple", Steps=1)
    page.click(".cell .look")
    viewer(page)
    button(page, "Full screen (F)").click()
    page.wait_for_function("document.fullscreenElement?.className === 'viewer-view'")
    page.keyboard.press("f")
    page.wait_for_function("document.fullscreenElement === null")
    assert page.is_visible(".viewer") and not here.complaints


def test_restore_all_and_its_seed_from_the_stage(visit):
    here = visit()
    page = here.page
    page.click('.card[data-style="ink"]')
    first = painted(here, "a red apple", Steps=3, Width=72)
    page.click('.card[data-style="ink"]')
    painted(here, "a cat", Steps=2, Width=64)
    room(here, "History")
    page.click(".kept:has-text('a red apple') .kept-picture")
    viewer(page, "a red apple")
    assert fact(page, "Styles") == "Ink 1.00"
    button(page, "Restore all").click()
    page.wait_for_selector(".viewer", state="hidden")
    prompt_is(page, "a red apple")
    assert page.inner_text(".restore-say p") == "Restored. The seed is locked."
    assert again(here, lambda: page.click("#paint")) == first
    page.click(".cell .look")
    viewer(page, "a red apple")
    seed = fact(page, "Seed")
    page.keyboard.press("Escape")
    room(here, "History")
    page.click(".kept:has-text('a cat') .kept-picture")
    viewer(page, "a cat")
    assert fact(page, "Seed") != seed
    button(page, "Use the seed").click()
    page.wait_for_function("document.querySelector('.restore-say').innerText.includes('The seed is set')")
    prompt_is(page, "a red apple")
    assert not here.complaints


def test_start_from_a_picture_of_the_history(visit):
    here = visit()
    page = here.page
    painted(here, "a red apple", Steps=2, Width=72, Height=64)
    page.get_by_label("number input for Width").fill("64")
    page.keyboard.press("Tab")
    room(here, "History")
    page.click(".kept-picture")
    viewer(page)
    button(page, "Start from this").click()
    page.wait_for_selector("#start img >> visible=true")
    assert page.inner_text(".restore-say p") == "The next picture starts from this one."
    assert page.get_by_label("number input for Width").input_value() == "72"
    page.fill("#prompt textarea", "a cat")
    again(here, lambda: page.click("#paint"))
    page.click(".cell .look")
    viewer(page, "a cat")
    assert fact(page, "Strength") == "0.6" and fact(page, "Size") == "72 × 64"
    assert not here.complaints


def test_enlarge_and_vary_paint_at_once_by_the_same_seed(visit):
    here = visit()
    page = here.page
    first = painted(here, "a red apple", Steps=2)
    page.click(".cell .look")
    viewer(page)
    seed = fact(page, "Seed")
    page.keyboard.press("Escape")
    page.fill("#prompt textarea", "a cat")
    acts = page.locator(".stage .acts")
    varied = again(here, acts.get_by_role("button", name="Vary").click)
    prompt_is(page, "a red apple")
    assert page.inner_text(".restore-say p") == "Varying it. The seed is locked."
    assert page.inner_text(".label-title") == "a red apple"
    page.click(".cell .look")
    viewer(page)
    assert fact(page, "Seed") == seed and fact(page, "Variation strength") == "0.15" and varied != first
    page.keyboard.press("Escape")
    again(here, acts.get_by_role("button", name="Enlarge").click)
    page.click(".cell .look")
    viewer(page)
    assert fact(page, "Seed") == seed and fact(page, "Size") == "128 × 128"
    # It is as large as it can be now.
    button(page, "Enlarge").click()
    page.wait_for_selector(".viewer .viewer-say[role=alert]:not([hidden])")
    assert "has not been enlarged before" in page.inner_text(".viewer .viewer-say[role=alert]")
    assert not here.complaints


def test_a_favourite_of_the_stage_is_one_in_the_history(visit):
    here = visit()
    page = here.page
    painted(here, "a red apple", Steps=1, Pictures=2)
    acts = page.locator(".stage .acts")
    acts.get_by_role("button", name="Picture 2 of 2").click()
    heart = acts.get_by_role("button", name="Favourite")
    heart.click()
    page.wait_for_selector(".stage .acts .heart[aria-pressed=true]")
    acts.get_by_role("button", name="Picture 1 of 2").click()
    assert heart.get_attribute("aria-pressed") == "false"
    painted(here, "a cat", Steps=1)
    room(here, "History")
    page.wait_for_selector(".kept >> nth=2")
    assert page.locator(".kept .heart[aria-pressed=true]").count() == 1
    page.get_by_role("button", name="Favourites", exact=True).click()
    page.wait_for_selector(".kept >> nth=1", state="detached")
    assert "1 picture shown of 4" in page.inner_text(".history-tools")
    page.click(".kept-picture")
    viewer(page, "a red apple")
    button(page, "Favourite").click()
    # In each place at once.
    page.wait_for_selector(".kept .heart[aria-pressed=false]")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Favourites", exact=True).click()
    page.wait_for_selector(".kept >> nth=2")
    assert page.locator(".kept .heart[aria-pressed=true]").count() == 0 and not here.complaints


def test_delete_goes_on_to_the_next_and_the_stage_offers_it_no_more(visit):
    here = visit()
    page = here.page
    painted(here, "a red apple", Steps=1, Pictures=2)
    page.click(".cell .look")
    viewer(page, "Picture 1 of 2")
    button(page, "Delete").click()
    button(page, "Delete for good?").click()
    page.wait_for_function("!document.querySelector('.viewer-top').innerText.includes('Picture')")
    button(page, "Delete").click()
    button(page, "Delete for good?").click()
    page.wait_for_selector(".viewer", state="hidden")
    room(here, "History")
    page.wait_for_selector(".history-empty:not([hidden])")
    room(here, "Paint")
    assert page.locator(".stage .heart").count() == 0 and not here.complaints


def test_a_picture_of_its_style_is_kept_by_the_browser(visit):
    here = visit()
    page = here.page
    old = {f"style {i}": "data:image/webp;base64,AA" for i in range(40)}
    page.evaluate("(old) => { localStorage['atelier-style-pictures'] = JSON.stringify(old); }", old)
    painted(here, "a cat", Steps=1)
    page.click(".cell .look")
    viewer(page)
    assert button(page, "Use as the picture of its style").count() == 0
    page.keyboard.press("Escape")
    page.click('.card[data-style="ink"]')
    painted(here, "a red apple", Steps=1)
    page.click(".cell .look")
    viewer(page)
    button(page, "Use as the picture of its style").click()
    page.wait_for_selector(".viewer-say:text-is('Ink has this picture now, in this browser.')")
    kept = json.loads(page.evaluate("localStorage['atelier-style-pictures']"))
    assert len(kept) == 40 and "style 0" not in kept and kept["ink"].startswith("data:image/webp;base64,")
    size = "(url) => { const i = new Image(); i.src = url; return i.decode().then(() => [i.width, i.height]); }"
    assert page.evaluate(size, kept["ink"]) == [96, 96] and not here.complaints


def test_downloads_are_named_by_prompt_and_seed(visit):
    here = visit()
    page = here.page
    painted(here, NASTY, Steps=1)
    with page.expect_download() as download:
        page.locator(".stage .acts").get_by_role("button", name="Download").click()
    assert re.fullmatch(r"img src=x onerror=alert\(1\).*, \d+\.png", download.value.suggested_filename)
    page.click(".cell .look")
    viewer(page, NASTY)
    assert page.locator(".viewer-prompt img").count() == 0 and not here.dialogs and not here.complaints


def test_the_cells_of_a_comparison_and_back_to_the_page_where_one_paints(visit):
    here = visit()
    page = here.page
    page.fill("#prompt textarea", "a red apple")
    room(here, "Compare")
    page.get_by_label("Across", exact=True).select_option("steps")
    page.get_by_label("Across: Steps, values").fill("2, 3, 4")
    page.click("#compare")
    page.wait_for_selector('.board[data-status="done"]')
    page.click(".board-cell .look >> nth=1")
    viewer(page, "Picture 2 of 3 · Steps 3")
    assert fact(page, "Steps") == "3" and button(page, "Delete").count() == 0
    page.keyboard.press("ArrowRight")
    viewer(page, "Picture 3 of 3 · Steps 4")
    room_was = page.locator("[role=tab][aria-selected=true]").inner_text()
    button(page, "Restore all").click()
    page.wait_for_selector("#paint", state="visible")
    assert room_was == "Compare" and page.inner_text(".restore-say p") == "Restored. The seed is locked."
    here.open()
    assert page.get_by_label("number input for Steps").input_value() == "4"
    # And what is painted there is compared.
    again(here, lambda: page.click("#paint"))
    page.click(".cell .look")
    viewer(page)
    page.fill("#prompt textarea", "a cat")
    button(page, "Compare settings").click()
    page.wait_for_selector("#compare", state="visible")
    prompt_is(page, "a red apple")
    assert not here.complaints


def test_what_is_gone_is_said(visit, server):
    here = visit()
    page = here.page
    painted(here, "a red apple", Steps=1)
    (kept,) = server.call("history", [page.evaluate("atelier.owner()")])[-1][1][0]
    server.call("forget_picture", [page.evaluate("atelier.owner()"), kept["id"], 0])
    page.locator(".stage .acts").get_by_role("button", name="Vary").click()
    page.wait_for_selector(".stage .viewer-say:text-is('There is no such picture in your history.')")
    page.locator(".stage .acts").get_by_role("button", name="Download").click()
    page.wait_for_selector(".stage .viewer-say", state="hidden")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_it_is_swiped_pinched_and_read(visit, theme):
    here = visit(width=390, height=844, theme=theme)
    page = here.page
    painted(here, "{a red apple|a cat}", Steps=1, Pictures=2)
    page.wait_for_selector(".stage .acts button >> nth=6")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click(".cell .look")
    viewer(page, "Picture 1 of 2")
    view, panel = page.evaluate(RECT, ".viewer-view"), page.evaluate(RECT, ".viewer-panel")
    assert view["bottom"] <= panel["top"] and view["width"] == 390 == panel["width"]
    page.evaluate(DRAG, [[[300, 200], [200, 205], [120, 210]]])
    viewer(page, "Picture 2 of 2")
    page.evaluate(DRAG, [[[180, 200], [140, 200], [100, 200]], [[210, 200], [250, 200], [290, 200]]])
    page.wait_for_selector(".viewer-frame.zoomed")
    # Then a finger moves it, and turns to no other.
    page.evaluate(DRAG, [[[100, 200], [200, 200], [300, 200]]])
    viewer(page, "Picture 2 of 2")
    assert violations(page) == []
    for selector in (".viewer-panel .chip", ".viewer .delete", ".viewer dt", ".viewer-zoom button", ".viewer-prompt"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and not here.complaints
