"""Comparing: the prompt is there, pages, ranges in words, a cell looked at closer, what is finished stays."""


def open_compare(here, prompt: str = "") -> None:
    if prompt:
        here.page.fill("#prompt textarea", prompt)
    here.page.click("role=tab[name=Compare]")
    here.page.wait_for_selector(".axes")


def choose(page, side: str, axis: str, values: str) -> None:
    page.get_by_label(side, exact=True).select_option(axis)
    page.fill(f"[aria-label^='{side}: ']", values)
    page.keyboard.press("Tab")


def costs(page, words: str) -> None:
    page.wait_for_function("(words) => document.querySelector('.axes-cost').textContent.includes(words)", arg=words)


def test_it_opens_without_blame_and_the_prompt_is_written_here_too(visit):
    here = visit()
    page = here.page
    open_compare(here)
    costs(page, "Write above what is to be painted")
    assert page.locator(".axes-cost.wrong").count() == 0
    page.fill("#compare-prompt textarea", "a red apple")
    page.keyboard.press("Tab")
    costs(page, "pictures of at most 64")
    page.click("role=tab[name=Paint]")
    assert page.input_value("#prompt textarea") == "a red apple"
    page.fill("#prompt textarea", "a pear")
    page.click("role=tab[name=Compare]")
    page.wait_for_function("document.querySelector('#compare-prompt textarea').value === 'a pear'")
    assert not here.complaints


def test_pages_are_a_third_axis_and_ranges_are_written_in_words(visit):
    here = visit()
    page = here.page
    open_compare(here, "a red apple")
    choose(page, "Across", "steps", "1..2")
    choose(page, "Down", "guidance_scale", "2..4 step 2")
    choose(page, "Pages", "seed", "7-8")
    costs(page, "2 × 2 × 2 pages: 8 pictures")
    page.click("#compare")
    page.wait_for_selector('.board[data-status="done"]')
    assert page.locator(".board-cell img").count() == 8
    assert page.locator(".board-page").all_inner_texts() == ["Seed: 7", "Seed: 8"]
    assert "Steps 2, Guidance 4, Seed 8" in page.locator(".board-cell button").last.get_attribute("aria-label")
    # A cell goes to Paint, with its settings.
    page.locator(".board-cell button").last.click()
    page.locator(".viewer").get_by_text("Restore all").click()
    page.wait_for_function("document.querySelector('.seed-number')?.value === '8'")
    assert "Steps 2" in page.inner_text(".form-bar") and not here.complaints


def test_a_reload_brings_the_axes_back(visit):
    here = visit()
    page = here.page
    open_compare(here, "a red apple")
    choose(page, "Across", "steps", "1..2")
    choose(page, "Pages", "seed", "7-9")
    costs(page, "2 × 1 × 3 pages")
    page.wait_for_timeout(500)
    here.reload()
    # What the page before had asked for ends with it.
    here.complaints.clear()
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === 'a red apple'")
    open_compare(here)
    costs(page, "2 × 1 × 3 pages")
    assert page.get_by_label("Pages: Seed, values").input_value() == "7-9" and not here.complaints


def test_what_is_finished_of_a_comparison_stays_on_the_page_and_in_the_history(visit):
    here = visit()
    page = here.page
    page.fill("#prompt textarea", "a red apple")
    here.open()
    page.get_by_label("number input for Steps").fill("40")
    page.keyboard.press("Tab")
    open_compare(here)
    choose(page, "Across", "seed", "1-12")
    costs(page, "12 pictures")
    page.click("#compare")
    page.wait_for_function("document.querySelectorAll('.board-cell button img').length >= 2")
    page.click("#compare-cancel")
    page.wait_for_selector('.board[data-status="cancelled"]')
    assert "What is finished is kept" in page.inner_text(".board .label-status")
    assert page.locator(".board-cell button img").count() >= 2
    page.click("role=tab[name=History]")
    page.wait_for_selector(".kept img")
    assert page.locator(".kept").count() == 1 and not here.complaints


def test_among_many_schedulers_one_finds_those_that_one_means(visit):
    here = visit()
    page = here.page
    page.click('button[role="tab"]:has-text("Compare")')
    page.get_by_label("Across", exact=True).select_option("scheduler")
    group = page.get_by_role("group", name="Scheduler")
    assert group.locator(".chip:visible").count() > 200
    group.get_by_label("Find among these").fill("2m karras")
    names = group.locator(".chip:visible").all_inner_texts()
    assert "DPM++ 2M Karras" in names and all("2M" in name and "Karras" in name for name in names)
    group.get_by_text("DPM++ 2M Karras", exact=True).click()
    here.reload()
    page.click('button[role="tab"]:has-text("Compare")')
    first = page.get_by_role("group", name="Scheduler").locator(".chip").first
    assert first.inner_text() == "DPM++ 2M Karras" and first.get_attribute("aria-pressed") == "true"
