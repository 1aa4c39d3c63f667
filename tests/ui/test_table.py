"""The painter's table: several jobs, a form that comes back, the seed's lock, sizes, presets, help with the prompt."""

import re

LONG = {"Steps": 150, "Pictures": 4}


def titles(page) -> list[str]:
    return page.locator(".strip b").all_inner_texts()


def until_strip(page, *wanted: str) -> None:
    page.wait_for_function(
        "(wanted) => JSON.stringify([...document.querySelectorAll('.strip b')].map((b) => b.textContent)) === wanted",
        arg="[" + ",".join(f'"{each}"' for each in wanted) + "]",
    )


def add(here, prompt: str) -> None:
    here.page.fill("#prompt textarea", prompt)
    here.page.click("#paint")


def test_what_is_finished_of_a_batch_stays_when_it_is_cancelled(visit, server):
    here = visit()
    page = here.page
    # As many as there may be: a page on a busy machine hears late of what is finished.
    here.paint("a red apple", Steps=150, Pictures=4)
    page.wait_for_function("document.querySelectorAll('.cell img:not(.unfinished)').length >= 2")
    page.click("#cancel")
    here.until("cancelled")
    # Another may have been finished before it was heard.
    kept = int(page.inner_text(".label-status").removeprefix("Stopped. ").removesuffix(" finished pictures kept."))
    assert kept in (2, 3)
    page.wait_for_function(f"document.querySelectorAll('.cell img').length === {kept}")
    assert page.inner_text(".label-title") == "a red apple"
    page.click("role=tab[name=History]")
    page.wait_for_function(f"document.querySelectorAll('.kept').length === {kept}")
    assert not here.complaints


def test_paint_stays_paint_and_ones_own_jobs_are_put_in_order_and_taken_out(visit, server):
    here = visit()
    page = here.page
    here.paint("a cat", **LONG)
    page.wait_for_selector(".cell img")
    for prompt in ("a pear", "a plum", "a nut"):
        add(here, prompt)
    until_strip(page, "a pear", "a plum", "a nut")
    page.wait_for_function("document.querySelectorAll('.strip-state').length === 3")
    page.wait_for_function("/next, in about/.test(document.querySelector('.strip-state').textContent)")
    page.locator(".strip li", has_text="a nut").get_by_text("Paint next").click()
    until_strip(page, "a nut", "a pear", "a plum")
    page.get_by_label("Cancel: a pear").click()
    until_strip(page, "a nut", "a plum")
    # A reload loses none of them, and the form is as it was.
    here.reload()
    # What the page before had asked for ends with it.
    here.complaints.clear()
    until_strip(page, "a nut", "a plum")
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a nut'")
    page.click("#cancel")
    page.wait_for_function("document.querySelectorAll('.strip li').length === 1")
    page.get_by_label("Cancel: a plum").click()
    page.wait_for_function("!document.querySelector('.strip li')")
    page.click("#cancel")
    here.until("cancelled")
    server.wait_until(running=0, waiting=0)
    assert not here.complaints


def test_one_that_is_refused_is_told_beside_the_others(visit, server):
    here = visit()
    page = here.page
    here.paint("a cat", **LONG)
    page.wait_for_selector(".cell img")
    add(here, "a <lora:nope:1> pear")
    page.wait_for_selector('.strip li[data-status="failed"]')
    assert (
        "There is no adapter" in page.inner_text(".strip") and page.get_attribute(".stage", "data-status") == "painting"
    )
    page.get_by_label("Forget: a <lora:nope:1> pear").click()
    page.wait_for_function("!document.querySelector('.strip li')")
    page.click("#cancel")
    here.until("cancelled")


def test_one_click_paints_several_times_or_until_it_is_stopped(visit, server):
    here = visit()
    page = here.page
    page.select_option(".runs select", "2")
    here.paint("a red apple", Steps=2)
    here.until("done")
    page.select_option(".runs select", "0")
    here.paint("a pear", Steps=2)
    page.wait_for_function("/^Run [3-9]/.test(document.querySelector('.label-status').textContent)")
    page.click("#cancel")
    here.until("cancelled")
    page.click("role=tab[name=History]")
    page.wait_for_function("document.querySelectorAll('.kept').length >= 4")
    prompts = page.locator(".kept-prompt").all_inner_texts()
    assert prompts.count("a red apple") == 2 and prompts.count("a pear") >= 2 and not here.complaints


def test_a_reload_brings_the_form_back(visit):
    here = visit()
    page = here.page
    page.fill("#prompt textarea", "a red apple")
    page.click('.card[data-style="ink"]')
    page.fill("#weight-ink", "0.5")
    here.open()
    page.fill("#negative textarea", "blurry")
    page.get_by_label("number input for Steps").fill("7")
    page.keyboard.press("Tab")
    page.click(".seed-lock")
    seed = page.input_value(".seed-number")
    page.wait_for_timeout(800)
    here.reload()
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === 'a red apple'")
    page.wait_for_function("document.querySelector('#weight-ink')?.value === '0.5'")
    assert page.input_value(".seed-number") == seed and seed
    assert "Steps 7" in page.inner_text(".form-bar") and "Negative prompt blurry" in page.inner_text(".form-bar")
    here.open()
    assert page.get_by_label("number input for Steps").input_value() == "7"
    assert page.input_value("#negative textarea") == "blurry" and not here.complaints


def test_the_page_opens_where_its_job_is(visit, server):
    here = visit()
    page = here.page
    page.fill("#prompt textarea", "a cat")
    here.open()
    page.get_by_label("number input for Steps").fill("150")
    page.keyboard.press("Tab")
    page.click("role=tab[name=Compare]")
    page.click("#compare")
    page.wait_for_selector(".board-cell img")
    here.reload()
    page.wait_for_selector(".board-cell img")
    assert page.get_attribute("role=tab[name=Compare]", "aria-selected") == "true"
    page.click("#compare-cancel")
    page.wait_for_selector('.board[data-status="cancelled"]')


def test_the_seed_has_a_lock_in_plain_sight(visit):
    here = visit()
    page = here.page
    lock = page.locator(".seed-lock")
    assert lock.get_attribute("aria-pressed") == "false" and not page.is_visible(".seed-number")
    here.paint("a red apple", Steps=2)
    here.until("done")
    seed = page.inner_text(".label-facts button >> nth=0")
    lock.click()
    assert lock.get_attribute("aria-pressed") == "true" and page.input_value(".seed-number") == seed
    here.paint("a pear", Steps=2)
    page.wait_for_function("document.querySelector('.label-title').textContent === 'a pear'")
    assert page.inner_text(".label-facts button >> nth=0") == seed
    page.fill(".seed-number", "12")
    page.keyboard.press("Tab")
    page.fill(".seed-number", "no number")
    page.keyboard.press("Tab")
    assert lock.inner_text() == "A new seed each time" and not here.complaints


def test_shapes_are_a_click_away_and_turn(visit):
    here = visit()
    page = here.page
    here.open()
    says = page.locator(".sizes [role=status]")
    assert says.inner_text() == "64 × 64, 1:1, 4,096 pixels"
    page.click(".sizes .chip:has-text('3:2')")
    wide = says.inner_text()
    width, height = map(int, re.findall(r"\d+", wide)[:2])
    assert width > height and page.get_by_label("number input for Width").input_value() == str(width)
    page.click(".sizes .chip:has-text('Turn')")
    page.wait_for_function("(w) => document.querySelector('.sizes [role=status]').textContent.startsWith(w)",
                           arg=f"{height} × {width}")  # fmt: skip
    assert page.get_attribute(".sizes .chip:has-text('3:2')", "aria-pressed") == "true"
    # The sliders tell it, too.
    page.get_by_label("number input for Width").fill("64")
    page.get_by_label("number input for Height").fill("64")
    page.keyboard.press("Tab")
    page.wait_for_function("document.querySelector('.sizes [role=status]').textContent.startsWith('64 × 64')")
    assert not here.complaints


def test_what_is_not_as_usual_is_a_chip_that_takes_it_back(visit):
    here = visit()
    page = here.page
    assert page.locator(".chip.changed").count() == 0
    assert page.get_attribute(".form-bar .chip:has-text('Balanced')", "aria-pressed") == "true"
    page.click(".form-bar .chip:has-text('Fast')")
    page.wait_for_selector(".chip.changed:has-text('Steps 10')")
    assert page.get_attribute(".form-bar .chip:has-text('Fast')", "aria-pressed") == "true"
    assert page.get_attribute(".form-bar .chip:has-text('Balanced')", "aria-pressed") == "false"
    # Kept under a name, all taken back, and taken again.
    page.click("text=Keep these settings")
    page.keyboard.type("Draft")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chip-pair:has-text('Draft')")
    while page.locator(".chip.changed").count():
        page.locator(".chip.changed").first.click()
        page.wait_for_timeout(100)
    page.click(".chip-pair .chip:has-text('Draft')")
    page.wait_for_selector(".chip.changed:has-text('Steps 10')")
    here.reload()
    page.wait_for_selector(".chip-pair:has-text('Draft')")
    page.get_by_label("Forget Draft").click()
    page.wait_for_function("!document.querySelector('.form-bar .chip-pair')")
    assert not here.complaints


def test_the_prompt_helps_with_names_weights_and_what_is_not_there(visit):
    here = visit()
    page = here.page
    page.click("#prompt textarea")
    page.keyboard.type("a red apple <in")
    page.wait_for_selector(".completion li:has-text('Ink')")
    page.keyboard.press("Enter")
    text = page.input_value("#prompt textarea")
    assert text == "a red apple <lora:ink:1>" and not page.is_visible(".completion")
    page.keyboard.type(" __col")
    page.keyboard.press("Tab")
    assert page.input_value("#prompt textarea") == f"{text} __colour__"
    page.keyboard.type(" /oil")
    page.wait_for_selector(".completion li >> nth=0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert not page.is_visible(".completion") and page.input_value("#prompt textarea").endswith("/oil")
    page.fill("#prompt textarea", "a cat")
    page.keyboard.press("End")
    page.keyboard.type(" /oil painting")
    page.keyboard.press("Enter")
    assert "oil painting of a cat" in page.input_value("#prompt textarea").lower()
    # Weights: of the word under the caret.
    page.fill("#prompt textarea", "a red apple")
    page.keyboard.press("End")
    for key, weighed in (("Up", "(apple:1.1)"), ("Up", "(apple:1.2)"), ("Down", "(apple:1.1)"), ("Down", "apple"),
                         ("Down", "(apple:0.9)")):  # fmt: skip
        page.keyboard.press(f"Control+Arrow{key}")
        assert page.input_value("#prompt textarea") == f"a red {weighed}"
    page.fill("#prompt textarea", "a red apple <lora:nope:1>")
    page.wait_for_function("/there is no style “nope”/.test(document.querySelector('.counter').textContent)")
    page.fill("#prompt textarea", "a red apple")
    page.click('.card[data-style="ink"]')
    page.locator(".counter .chip", has_text="ink style").click()
    assert page.input_value("#prompt textarea") == "a red apple, ink style" and not here.complaints


def test_a_wide_screen_is_used_and_a_phone_has_room_for_a_thumb(visit):
    wide = visit(width=2560, height=1300).page
    assert wide.locator("#workbench").bounding_box()["width"] > 2000
    assert wide.locator(".mat").bounding_box()["width"] > 800
    boxes = [wide.locator(part).bounding_box() for part in ("#ask", "#picture", "#settings")]
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"] and max(box["y"] for box in boxes) < 300
    phone = visit(width=390, height=844).page
    phone.click('.card[data-style="ink"]')
    assert phone.locator("#weight-ink").bounding_box()["width"] >= 200
    dots = "[...document.querySelectorAll('footer .divider')].filter((dot) => dot.getClientRects().length).length"
    assert phone.evaluate(dots) == 0


def test_arrows_move_among_the_cards(visit):
    here = visit()
    page = here.page
    page.focus(".card >> nth=0")
    focused = "document.activeElement.dataset.style"
    first = page.evaluate(focused)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) != first
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == first
    here.open("#templates .label-wrap", ".prompt-template")
    page.focus(".prompt-template >> nth=1")
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") < below


def test_no_request_is_sent_while_a_strength_is_pulled(visit):
    """Nor for the form that is remembered: the browser keeps it."""
    page, asked = visit().page, []
    page.click('.card[data-style="ink"]')
    page.wait_for_timeout(600)
    page.on("request", lambda request: request.method == "POST" and asked.append(request.url))
    for value in range(10):
        page.fill("#weight-ink", str(value / 10))
    page.wait_for_timeout(700)
    assert len(asked) <= 3, asked
