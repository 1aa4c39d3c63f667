"""The room where settings are compared, in a real browser."""

import pytest

from tests.serving import NASTY

NATURAL = "(image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"


def compare(visit, **options):
    """A visit that has gone there, with a prompt and few steps."""
    here = visit(**options)
    page = here.page
    page.fill("#prompt textarea", "a red apple")
    here.open()
    page.get_by_label("number input for Steps").fill("4")
    page.keyboard.press("Tab")
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector(".axis-picks .chip")
    return here


def cost(page, words: str) -> None:
    page.wait_for_function("(words) => document.querySelector('.axes-cost').textContent.includes(words)", arg=words)


def choose_none(page) -> None:
    """Another axis and back: nothing is picked."""
    for axis in ("steps", "adapter"):
        page.get_by_label("Across", exact=True).select_option(axis)


def pick(page, *names: str) -> None:
    for name in names:
        page.locator(".axis-picks .chip").get_by_text(name, exact=True).click()


def begun(visit, steps: str):
    """A visit that compares numbers of steps, and has the first picture."""
    here = compare(visit)
    page = here.page
    page.get_by_label("Across", exact=True).select_option("steps")
    page.get_by_label("Across: Steps, values").fill(steps)
    # Another number of pictures than before, or these words would say nothing.
    cost(page, f"{len(steps.split(','))} × 1: 3 pictures")
    page.click("#compare")
    page.wait_for_selector(".board-cell.now + .board-cell", state="attached")
    page.wait_for_selector(".board-cell .look")
    return here


def test_two_axes_their_cost_and_their_pictures(visit):
    here = compare(visit)
    page = here.page
    cost(page, "4 × 1: 4 pictures")
    assert page.locator('.axis-picks .chip[aria-pressed="true"]').count() == 4, "all of them to begin with"
    choose_none(page)
    cost(page, "x_values is empty")
    pick(page, "No style", "Ink")
    cost(page, "2 × 1: 2 pictures of at most 64, about")
    page.get_by_label("Down", exact=True).select_option("adapter_weight")
    page.get_by_label("Down: Strength, values").fill("0-1 [3]")
    cost(page, "2 × 3: 6 pictures")
    page.click("#compare")
    page.wait_for_selector(".board-cell .look")
    page.wait_for_selector('.board[data-status="done"]')
    assert page.locator(".board-cell .look img").count() == 6
    assert page.locator(".board-x").all_inner_texts() == ["none", "Ink"]
    assert page.locator(".board-y").all_inner_texts() == ["0", "0.5", "1"]
    sources = [image.get_attribute("src") for image in page.locator(".board-cell img").all()]
    # Gradio names files by what is in them: without a style, and at strength 0, it is the same picture.
    assert sources[0] == sources[2] == sources[4] == sources[1] and len(set(sources)) == 3
    kind = page.evaluate("fetch(document.querySelector('.board-keep a').href).then(r => r.headers.get('content-type'))")
    assert kind == "image/png" and page.is_visible("#compare") and not here.complaints


def test_what_is_set_under_paint_counts_and_words_are_replaced(visit):
    here = compare(visit)
    page = here.page
    page.get_by_label("Across", exact=True).select_option("prompt")
    page.get_by_label("Across: Words, values").fill("pear, plum")
    cost(page, "words of the prompt, which")
    page.get_by_label("Across: Words, values").fill('apple, "cat, big"')
    cost(page, "2 × 1")
    page.click("#compare")
    page.wait_for_selector('.board[data-status="done"]')
    assert page.locator(".board-x").all_inner_texts() == ["apple", "cat, big"]
    page.get_by_role("tab", name="Paint").click()
    assert page.input_value("#prompt textarea") == "a red apple"
    page.fill("#prompt textarea", "")
    page.get_by_role("tab", name="Compare").click()
    cost(page, "Write above what is to be painted")
    assert not here.complaints


def test_f2_cancel_stops_a_comparison_and_keeps_what_was_painted(visit, server):
    page = begun(visit, "2, 150, 149").page
    page.click("#compare-cancel")
    server.wait_until(running=0, waiting=0)
    page.wait_for_selector('.board[data-status="cancelled"]')
    assert page.is_visible("#compare") and page.locator(".board-cell .look").count() >= 1


def test_a_reload_in_the_middle_finds_the_comparison_and_the_history_has_its_sheet(visit, server):
    here = begun(visit, "2, 100, 3")
    page = here.page
    here.reload()
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector(".board-cell.now")
    # A slow machine may have the second one by now.
    assert page.locator(".board-cell .look").count() < 3 and page.is_visible("#compare-cancel")
    page.wait_for_selector('.board[data-status="done"]')
    assert page.locator(".board-cell .look").count() == 3 and server.queue()["running"] == 0
    here.reload()
    page.get_by_role("tab", name="Compare").click()
    page.wait_for_selector('.board[data-status="done"]')
    assert page.locator(".board-x").all_inner_texts() == ["2", "100", "3"]
    page.get_by_role("tab", name="History").click()
    page.click(".kept-picture")
    assert "Steps: 2, 100, 3" in page.inner_text("dialog[open] dl")
    size = page.eval_on_selector("dialog[open] img", NATURAL)
    assert size[0] > 1.5 * size[1]


def test_p5_names_and_words_are_text_in_a_comparison(visit):
    here = compare(visit)
    page = here.page
    choose_none(page)
    pick(page, NASTY)
    page.get_by_label("Down", exact=True).select_option("prompt")
    page.get_by_label("Down: Words, values").fill(f'apple, "{NASTY}"')
    cost(page, "1 × 2")
    page.click("#compare")
    page.wait_for_selector('.board[data-status="done"]')
    assert page.inner_text(".board-x") == NASTY == page.locator(".board-y").all_inner_texts()[1]
    assert not here.dialogs and page.locator(".board-x img, .board-y img, .chip img").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_only_the_board_scrolls_sideways(visit, theme):
    here = compare(visit, width=390, height=844, theme=theme)
    page = here.page
    page.get_by_label("Across", exact=True).select_option("seed")
    page.get_by_label("Across: Seed, values").fill("1-8")
    cost(page, "8 × 1")
    page.click("#compare")
    page.wait_for_selector('.board[data-status="done"]')
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('.board-scroll').scrollWidth") > 390


def test_what_was_just_typed_is_what_is_compared(visit):
    page = compare(visit).page
    page.get_by_label("Across", exact=True).select_option("steps")
    page.get_by_label("Across: Steps, values").fill("2, 3, 4, 5, 6")
    # Within the moment that the widget waits after the last key.
    page.click("#compare")
    page.wait_for_selector('.board[data-status="done"]')
    assert page.locator(".board-x").all_inner_texts() == ["2", "3", "4", "5", "6"]
