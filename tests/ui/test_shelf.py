"""The shelf of styles: found again among many, strengths in view, mixes with a name, files dropped anywhere."""

import base64
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

DROP = """([name, data, type]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  document.querySelector('.masthead').dispatchEvent(
    new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def drop(page, path: Path, kind: str) -> None:
    """As if the file were let fall on the head of the page."""
    page.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode(), kind])


@pytest.fixture
def styles(server) -> Path:
    return next(server.scratch.parent.glob("styles/ink.safetensors"))


def shown(page) -> list[str]:
    return page.locator(".card-name").all_inner_texts()


def test_styles_are_searched_sorted_filtered_and_liked(visit):
    here = visit()
    page = here.page
    everything = shown(page)
    page.fill(".shelf-tools input", "ink")
    assert shown(page) == ["Ink"]
    page.fill(".shelf-tools input", "no such")
    assert shown(page) == [] and "No style here is like that" in page.inner_text("#styles")
    page.fill(".shelf-tools input", "")
    assert shown(page) == everything
    page.get_by_label("Neon is a favourite").click()
    page.get_by_label("Which styles").select_option("favourites")
    assert shown(page) == ["Neon"]
    page.get_by_label("Which styles").select_option("mine")
    assert shown(page) == []
    page.get_by_label("Which styles").select_option("folder")
    assert "Ink" in shown(page)
    page.get_by_label("In which order").select_option("used")
    page.click('.card[data-style="neon"]')
    here.reload()
    page.wait_for_selector(".card")
    assert shown(page)[0] == "Neon", "the order and what was used stay known"
    assert page.get_by_label("Neon is a favourite").get_attribute("aria-pressed") == "true" and not here.complaints


def test_a_style_that_came_into_the_folder_is_found_and_one_that_went_is_not(visit, server, styles):
    page = visit().page
    other = styles.with_name("fresh.safetensors")
    tensors = load_file(styles)
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, other, metadata={"modelspec.title": "Fresh"})
    try:
        page.wait_for_timeout(1200)
        page.get_by_label("Look for new styles").click()
        page.wait_for_selector(".card:has-text('Fresh')")
        assert "1 new style" in page.inner_text("#styles")
    finally:
        other.unlink()
    page.wait_for_timeout(1200)
    page.get_by_label("Look for new styles").click()
    page.wait_for_function("![...document.querySelectorAll('.card-name')].some((name) => name.textContent === 'Fresh')")


def test_a_strength_has_a_number_a_way_back_and_is_not_forgotten(visit):
    here = visit()
    page = here.page
    page.click('.card[data-style="ink"]')
    number, slide = page.get_by_label("Strength of Ink as a number"), page.locator("#weight-ink")
    number.fill("0.35")
    assert slide.input_value() == "0.35"
    page.click('.card[data-style="ink"]')
    assert page.locator(".mix-row").count() == 0
    page.click('.card[data-style="ink"]')
    assert slide.input_value() == "0.35", "off and on again, it is as it was"
    page.get_by_label("Ink back to 1").click()
    assert number.input_value() == "1.00" and slide.input_value() == "1"
    number.fill("9")
    assert slide.input_value() == "2" and not here.complaints


def test_strengths_stay_in_view_above_many_cards(visit):
    page = visit(height=800).page
    for i in range(60):
        page.evaluate(
            """(i) => {
              const box = document.querySelector('.card-box').cloneNode(true);
              box.querySelector('.card').dataset.style = `copy-${i}`;
              document.querySelector('.cards').append(box);
            }""",
            i,
        )
    assert page.evaluate("document.querySelector('.gradio-container').scrollHeight") < 2000
    page.click('.card[data-style="ink"]')
    page.locator(".cards").evaluate("(cards) => (cards.scrollTop = cards.scrollHeight)")
    box, cards = page.locator("#weight-ink").bounding_box(), page.locator(".cards").bounding_box()
    assert 0 < cards["y"] - box["y"] < 300, "next to the cards, wherever one is among them"


def test_mixes_are_kept_under_a_name(visit):
    here = visit()
    page = here.page
    page.click('.card[data-style="ink"]')
    page.fill("#weight-ink", "0.4")
    page.click('.card[data-style="neon"]')
    page.click("text=Keep this mix")
    page.keyboard.type("Dusk")
    page.keyboard.press("Enter")
    page.wait_for_selector(".mixes .chip:has-text('Dusk')")
    page.get_by_label("Take off Ink").click()
    page.get_by_label("Take off Neon").click()
    here.reload()
    page.wait_for_selector(".mixes .chip:has-text('Dusk')")
    page.click(".mixes .chip:has-text('Dusk')")
    assert page.input_value("#weight-ink") == "0.4" and page.input_value("#weight-neon") == "1"
    page.get_by_label("Forget Dusk").click()
    page.wait_for_function("!document.querySelector('.mixes .chip-pair')")
    assert not here.complaints


def test_a_style_may_be_dropped_anywhere_and_two_of_one_title_are_told_apart(visit, styles, tmp_path):
    here = visit()
    page = here.page
    for name, factor in (("first", 2.0), ("second", 3.0)):
        tensors = {key: factor * tensor for key, tensor in load_file(styles).items()}
        save_file(tensors, tmp_path / f"{name}.safetensors", metadata={"modelspec.title": "Wet paper"})
        drop(page, tmp_path / f"{name}.safetensors", "")
        wanted = "Wet paper" if name == "first" else "second"
        page.wait_for_selector(f".card[aria-pressed=true]:has-text('{wanted}')")
    assert [name for name in shown(page) if name in ("Wet paper", "second")] == ["second", "Wet paper"]
    page.get_by_label("Which styles").select_option("mine")
    assert sorted(shown(page)) == ["Wet paper", "second"] and not here.complaints


def test_a_picture_without_words_is_offered_to_start_from(visit, server, tmp_path):
    here = visit()
    page = here.page
    photo = tmp_path / "photo.webp"
    shutil.copy(next(server.scratch.parent.glob("styles/neon.webp")), photo)
    drop(page, photo, "image/webp")
    page.wait_for_selector(".restore-say:has-text('does not say how it was made')")
    page.click("text=Start from it")
    page.wait_for_selector("#start .canvas-thumb img")
    here.paint("a red apple", Steps=4)
    here.until("done")
    assert not here.complaints
