"""What keeps people out: axe-core finds no serious violation on any part of the page, in any of its states."""

import pytest
from axe_playwright_python.sync_playwright import Axe


def violations(page) -> list[str]:
    """The serious ones, each with the first element that has it."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']} ({n['html'][:160]})" for v in found if v["impact"] in ("serious", "critical")
            for n in v["nodes"][:3]]  # fmt: skip


@pytest.mark.parametrize(
    ("theme", "width"),
    # The colours of each theme and the layout of each width once; all four together are for whoever has the time.
    [
        ("light", 1280),
        ("dark", 390),
        *(pytest.param(*both, marks=pytest.mark.slow) for both in (("dark", 1280), ("light", 390))),
    ],
)
def test_no_serious_violation(visit, theme, width):
    here = visit(theme=theme, width=width)
    page = here.page
    assert violations(page) == [], "first visit"
    for style in ("ink", "neon"):
        page.click(f'.card[data-style="{style}"]')
        page.click(f'.mix-row[data-style="{style}"] .mix-open')
    for label in page.locator(".label-wrap").all():
        label.click()
    page.wait_for_timeout(500)
    assert violations(page) == [], "everything open"
    here.paint("a red apple", Steps=4)
    here.until("done")
    assert violations(page) == [], "painted"
    page.click(".cell .look")
    page.wait_for_selector(".viewer[open] .viewer-frame:not(.coming)")
    assert violations(page) == [], "viewer"
    page.keyboard.press("Escape")
    page.locator(".stage").get_by_text("Change a part").click()
    page.wait_for_selector(".brush-sheet[open]")
    assert violations(page) == [], "brush"
    page.click("text=Done")
    page.click("#prompt textarea")
    page.keyboard.type(" <in")
    page.wait_for_selector(".completion li")
    assert violations(page) == [], "suggestions, and a picture to start from"
    page.keyboard.press("Escape")
    for room in ("Compare", "History"):
        page.get_by_role("tab", name=room).click()
        page.wait_for_timeout(800)
        assert violations(page) == [], room
    page.click(".history-tools >> text=Select")
    page.click(".kept-picture")
    assert violations(page) == [], "selecting"
    page.keyboard.press("?")
    assert violations(page) == [], "keys"
