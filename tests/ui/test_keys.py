"""The page by keyboard alone."""


def test_paint_and_cancel_without_a_mouse(visit):
    here = visit()
    page = here.page
    page.keyboard.press("/")
    page.keyboard.type("a red apple / with ? and 2")
    assert page.input_value("#prompt textarea") == "a red apple / with ? and 2"
    page.keyboard.press("Control+Enter")
    here.until("done")
    here.open()
    page.get_by_label("number input for Steps").fill("150")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+Enter")
    here.until("painting")
    page.keyboard.press("Escape")
    here.until("cancelled")
    assert not here.complaints


def test_the_sheet_lists_the_keys_and_gives_the_focus_back(visit):
    page = visit().page
    assert not page.is_visible(".keys-sheet")
    page.keyboard.press("?")
    assert "Ctrl or ⌘ + Enter" in page.inner_text(".keys-sheet")
    page.keyboard.press("/")
    assert page.is_visible(".keys-sheet"), "keys of the page do nothing while the sheet is open"
    page.keyboard.press("Escape")
    assert not page.is_visible(".keys-sheet")
    page.focus(".keys .link")
    page.keyboard.press("Enter")
    assert page.is_visible(".keys-sheet")
    page.keyboard.press("Enter")
    assert not page.is_visible(".keys-sheet")
    assert page.evaluate("document.activeElement.textContent") == "Keyboard shortcuts"


def test_arrows_walk_through_the_styles(visit):
    page = visit().page
    page.focus(".card >> nth=0")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.card')[1]")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.card')[0]")
    page.keyboard.press("Space")
    assert page.get_attribute(".card >> nth=0", "aria-pressed") == "true"
