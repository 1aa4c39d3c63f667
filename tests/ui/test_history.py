"""In the browser: a reload finds the job, the history stays, a dropped picture restores all, two are compared."""

import io
import json
import re
import zipfile

import pytest

from tests.serving import NASTY
from tests.ui.test_access import violations
from tests.ui.test_page import CONTRAST, LONG
from tests.unit.test_restore import png

DROP = """([name, bytes, type]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const options = { dataTransfer: data, bubbles: true, cancelable: true }, place = document.querySelector(".masthead");
  for (const kind of ["dragover", "drop"]) place.dispatchEvent(new DragEvent(kind, options));
}"""


def painted(here, prompt: str, **numbers) -> bytes:
    """Paint, and give the picture's file."""
    here.page.evaluate("document.querySelector('.stage').dataset.status = 'before'")
    here.paint(prompt, **numbers)
    here.until("done")
    return picture(here)


def picture(here) -> bytes:
    array = (
        "fetch(document.querySelector('.cell img').src).then(r => r.arrayBuffer()).then(b => [...new Uint8Array(b)])"
    )
    return bytes(here.page.evaluate(array))


def room(here, name: str) -> None:
    here.page.get_by_role("tab", name=name).click()


def prompts(here) -> list[str]:
    return here.page.locator(".kept-prompt").all_inner_texts()


def drop(here, name: str, data: bytes, kind="image/png") -> str:
    here.page.evaluate(DROP, [name, [*data], kind])
    here.page.wait_for_function("/^(?!Reading|$)/.test(document.querySelector('.restore-say').innerText)")
    return here.page.inner_text(".restore-say")


def test_a_reload_in_the_middle_finds_the_job_and_can_stop_it(visit, server):
    here = visit()
    here.paint("a cat", **LONG)
    here.page.wait_for_selector(".cell img.unfinished")
    here.reload()
    here.until("painting")
    # Gradio says in the console that the old page's connection has ended.
    here.complaints.clear()
    here.page.wait_for_selector(".cell img.unfinished")
    assert here.page.is_visible("#cancel") and "step" in here.page.inner_text(".label-status")
    assert server.queue()["running"] == 1
    here.page.click("#cancel")
    here.until("cancelled")
    server.wait_until(running=0)
    here.reload()
    here.page.wait_for_selector(".card")
    here.page.wait_for_timeout(500)
    assert here.page.is_visible("#paint") and here.page.get_attribute(".stage", "data-status") == "cancelled"
    assert not here.complaints


def test_a_reload_while_waiting_keeps_the_place_and_shows_the_result(visit, server):
    first, second = visit(), visit()
    first.paint("a cat", **LONG)
    first.page.wait_for_selector(".cell img")
    second.paint("a red apple", Steps=2)
    second.until("waiting")
    second.reload()
    second.until("waiting")
    assert "In the queue: next" in second.page.inner_text(".label-status")
    first.page.click("#cancel")
    second.until("done")
    shown = picture(second)
    # Once more, now that it is done; another tab of the same browser has a job of its own, or none.
    second.reload()
    second.until("done")
    assert picture(second) == shown and second.page.inner_text(".label-title") == "a red apple"
    with second.page.context.expect_page() as opened:
        second.page.evaluate("window.open('/', '_blank', 'noopener')")
    other = opened.value
    other.wait_for_selector(".card")
    other.wait_for_timeout(500)
    assert other.get_attribute(".stage", "data-status") == "empty"
    other.close()


def test_the_history_of_a_browser_search_and_delete(visit):
    here, stranger = visit(), visit()
    page = here.page
    for prompt in ("a red apple", "a cat", NASTY):
        painted(here, prompt, Steps=1)
    room(here, "History")
    page.wait_for_selector(".kept >> nth=2")
    assert prompts(here) == [NASTY, "a cat", "a red apple"] and "3 pictures" in page.inner_text(".history-tools")
    page.wait_for_function("document.querySelector('.kept img').naturalWidth > 0")
    here.reload()
    room(here, "History")
    page.wait_for_selector(".kept >> nth=2")
    page.fill(".history-search", "CAT")
    page.wait_for_selector(".kept >> nth=1", state="detached")
    assert prompts(here) == ["a cat"] and "1 picture shown of 3" in page.inner_text(".history-tools")
    page.click(".kept-picture")
    page.wait_for_selector(".viewer[open] img")
    page.click(".viewer .delete")
    assert page.inner_text(".viewer .delete") == "Delete for good?"
    page.click(".viewer .delete")
    page.wait_for_selector(".kept", state="detached")
    page.fill(".history-search", "")
    page.wait_for_selector(".kept >> nth=1")
    assert prompts(here) == [NASTY, "a red apple"]
    room(stranger, "History")
    stranger.page.wait_for_selector(".history-empty:not([hidden])")
    assert prompts(stranger) == []
    assert not here.complaints and not here.dialogs and not here.elsewhere


def test_words_of_settings_dates_and_favourites_narrow_it_down(visit):
    here = visit()
    page = here.page
    page.click('.card[data-style="ink"]')
    painted(here, "a red apple", Steps=3)
    page.click('.card[data-style="ink"]')
    painted(here, "a cat", Steps=2)
    room(here, "History")
    page.wait_for_selector(".kept >> nth=1")
    page.fill(".history-search", "ink 3 steps 64x64")
    page.wait_for_selector(".kept >> nth=1", state="detached")
    assert prompts(here) == ["a red apple"]
    page.fill(".history-search", "")
    page.wait_for_selector(".kept >> nth=1")
    day = "new Date(Date.now() + 86400000 * %d).toLocaleDateString('sv')"
    page.locator(".history").get_by_label("From").fill(page.evaluate(day % 1))
    page.wait_for_selector(".history-empty:not([hidden])")
    assert page.inner_text(".history-empty") == "No picture was painted with all of this."
    for label, days in (("From", 0), ("until", 0)):
        page.locator(".history").get_by_label(label).fill(page.evaluate(day % days))
        page.wait_for_selector(".kept >> nth=1")
    page.locator(".history").get_by_label("until").fill(page.evaluate(day % -1))
    page.wait_for_selector(".history-empty:not([hidden])")
    page.locator(".history").get_by_label("until").fill("")
    page.wait_for_selector(".kept >> nth=1")
    page.locator(".kept", has_text="a cat").get_by_role("button", name="Favourite").click()
    page.wait_for_selector(".kept .heart[aria-pressed=true]")
    page.get_by_role("button", name="Favourites", exact=True).click()
    page.wait_for_selector(".kept >> nth=1", state="detached")
    assert prompts(here) == ["a cat"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Download favourites").click()
    (name,) = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())).namelist()
    assert " a cat, " in name and not here.complaints


def test_several_are_selected_by_keyboard_saved_and_deleted(visit):
    here = visit()
    page = here.page
    for prompt in ("a red apple", "a cat", NASTY):
        painted(here, prompt, Steps=1)
    room(here, "History")
    page.wait_for_selector(".kept >> nth=2")
    assert not page.is_visible(".kept-select")
    page.get_by_role("button", name="Select", exact=True).focus()
    page.keyboard.press("Enter")
    save, delete = (page.locator(".history-chosen button", has_text=words) for words in ("Download", "Delete"))
    assert save.is_disabled() and delete.is_disabled()
    page.get_by_label("Select: a cat").focus()
    page.keyboard.press("Space")
    assert "1 selected" in page.inner_text(".history-chosen")
    # A click on the picture does the same, and opens nothing.
    page.click(".kept:has-text('a red apple') .kept-picture")
    assert "2 selected" in page.inner_text(".history-chosen") and not page.is_visible(".viewer")
    with page.expect_download() as download:
        save.click()
    found = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())).namelist()
    assert len(found) == 2 and not any("onerror" in name for name in found)
    delete.focus()
    page.keyboard.press("Enter")
    assert page.inner_text(".history-chosen .delete") == "Delete for good?" and page.locator(".kept").count() == 3
    page.keyboard.press("Enter")
    page.wait_for_selector(".kept >> nth=1", state="detached")
    assert prompts(here) == [NASTY] and "1 picture" in page.inner_text(".history-tools")
    page.get_by_role("button", name="Select all shown").click()
    assert "1 selected" in page.inner_text(".history-chosen") and page.is_checked(".kept-select")
    page.get_by_role("button", name="Select", exact=True).click()
    assert not page.is_visible(".kept-select") and not page.is_visible(".history-chosen")
    page.click(".kept-picture")
    page.wait_for_selector(".viewer[open]")
    assert not here.complaints and not here.dialogs


def test_reuse_all_the_prompt_or_the_seed(visit):
    here = visit()
    page = here.page
    page.click('.card[data-style="ink"]')
    page.fill("#weight-ink", "0.5")
    first = painted(here, "a red apple", Steps=3, Width=72)
    page.click('.card[data-style="ink"]')
    other = painted(here, "a cat", Steps=2, Width=64)
    assert other != first
    room(here, "History")
    page.wait_for_selector(".kept >> nth=1")
    page.locator(".kept", has_text="a red apple").get_by_role("button", name="Restore").click()
    page.wait_for_selector("#paint", state="visible")
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a red apple'")
    assert page.inner_text(".mix-weight") == "0.50" and "Restored" in page.inner_text(".restore-say")
    page.evaluate("document.querySelector('.stage').dataset.status = 'before'")
    page.click("#paint")
    here.until("done")
    assert picture(here) == first
    room(here, "History")
    page.click(".kept:has-text('a cat') .kept-picture")
    page.locator(".viewer").get_by_role("button", name="Use the prompt").click()
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a cat'")
    assert page.get_attribute('.card[data-style="ink"]', "aria-pressed") == "true"


def test_a_picture_dropped_on_the_page_restores_everything(visit):
    here, there = visit(), visit()
    here.page.click('.card[data-style="neon"]')
    made = painted(here, "a red apple", Steps=3, Height=72, Pictures=1)
    said = drop(there, "apple.png", made)
    assert said.startswith("Restored.") and "made with AI (trainedAlgorithmicMedia)" in said
    assert there.page.input_value("#prompt textarea") == "a red apple"
    assert there.page.get_attribute('.card[data-style="neon"]', "aria-pressed") == "true"
    there.page.click("#paint")
    there.until("done")
    assert picture(there) == made
    assert not there.complaints


def test_what_a_dropped_picture_has_that_is_not_here_is_said(visit):
    here = visit()
    words = "a castle <lora:gone:0.5>\nSteps: 3, Sampler: DPM adaptive, Seed: 9, Model: <b>x</b>"
    said = drop(here, "castle.png", png(words).getvalue())
    assert "Restored, but not all of it" in said and "'gone', weight 0.5 is missing" in said
    assert "scheduler is 'DPM adaptive'" in said and "'<b>x</b>'" in said
    assert here.page.input_value("#prompt textarea") == "a castle"
    assert here.page.input_value(".seed-number") == "9"
    assert "does not say how it was made" in drop(here, "plain.png", png().getvalue())
    assert "Only PNG, JPEG and WebP" in drop(here, "a.txt", b"x", "text/plain")
    assert here.page.locator(".restore-say b").count() == 0


def test_two_pictures_are_compared_with_the_keyboard(visit):
    here = visit()
    page = here.page
    painted(here, "a red apple", Steps=1)
    painted(here, "a cat", Steps=1)
    room(here, "History")
    page.wait_for_selector(".kept >> nth=1")
    page.click(".kept-compare >> nth=0")
    assert "Choose another" in page.inner_text(".versus")
    page.click(".kept-compare >> nth=1")
    page.wait_for_selector(".versus-over")
    clip = "getComputedStyle(document.querySelector('.versus-over')).clipPath"
    page.focus(".versus-frame input")
    before = page.evaluate(clip)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(clip) != before
    page.keyboard.press("Home")
    assert "100%" in page.evaluate(clip)
    page.click(".kept-compare >> nth=1")
    page.click(".kept-compare >> nth=0")
    assert not page.is_visible(".versus")


def test_all_of_it_is_one_download(visit):
    here = visit()
    painted(here, "a red apple", Steps=1, Pictures=2)
    room(here, "History")
    here.page.wait_for_selector(".kept >> nth=1")
    with here.page.expect_download() as download:
        here.page.locator(".history").get_by_text("Download all").click()
    archive = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    today = here.page.evaluate("new Date().toLocaleDateString('sv')")
    assert all(re.fullmatch(rf"{today} a red apple, \d+\.png", name) for name in archive.namelist())
    assert len(archive.namelist()) == 2 and here.page.evaluate("atelier.owner()") not in json.dumps(here.page.url)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_history_on_a_phone_and_its_contrast(visit, theme):
    here = visit(width=390, height=844, theme=theme)
    page = here.page
    painted(here, "a red apple", Steps=1)
    room(here, "History")
    page.wait_for_selector(".kept")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and not page.is_visible("#act")
    texts = (".kept-prompt", ".kept-acts .link", ".kept-compare", ".history-tools .hint", ".history-bar .chip",
             ".history-date", ".history-date input")  # fmt: skip
    for selector in texts:
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector
    page.click(".history-tools >> text=Select")
    page.wait_for_selector(".kept-select")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and violations(page) == []


def test_the_secret_is_long_random_and_stays(visit):
    here, other = visit(), visit()
    owner = here.page.evaluate("atelier.owner()")
    assert len(owner) >= 32 and owner != other.page.evaluate("atelier.owner()")
    here.reload()
    here.page.wait_for_selector(".card")
    assert here.page.evaluate("localStorage['atelier-owner']") == owner
