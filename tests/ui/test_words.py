"""Words on the page: the counter under the prompt, prompt styles, speed tiers."""


def counted(page, words: str) -> None:
    page.wait_for_function("(words) => document.querySelector('.counter').textContent.includes(words)", arg=words)


def test_the_counter_says_how_the_prompt_is_read(visit):
    here = visit()
    page = here.page
    page.fill("#prompt textarea", "a (red apple:1.3) BREAK a cat")
    counted(page, "of 150, 2 parts of 75")
    counted(page, "red apple × 1.3")
    page.fill("#prompt textarea", "a (cat:99) AND a red apple")
    counted(page, "2 prompts joined by AND")
    page.click('.card[data-style="ink"]')
    counted(page, "+ ink style")
    page.fill("#prompt textarea", "ink style cat")
    page.wait_for_function("!document.querySelector('.counter').textContent.includes('+ ink')")
    page.fill("#prompt textarea", "x" * 20_000)
    counted(page, "at most 10000 characters")
    assert not here.complaints


def test_a_prompt_style_is_written_around_the_prompt_and_taken_off_again(visit):
    here = visit()
    page = here.page
    page.fill("#prompt textarea", "a red apple")
    page.click("text=Prompt templates")
    page.fill("#templates .search-field", "impasto")
    assert page.locator(".prompt-template:visible").count() == 1
    look = page.locator(".prompt-template:visible")
    look.click()
    text = page.input_value("#prompt textarea")
    assert "a red apple" in text and "impasto" in text and look.get_attribute("aria-pressed") == "true"
    here.open()
    assert "photo" in page.input_value("#negative textarea")
    look.click()
    assert page.input_value("#prompt textarea") == "a red apple" and page.input_value("#negative textarea") == ""
    look.click()
    page.fill("#prompt textarea", "something else")
    assert look.get_attribute("aria-pressed") == "false", "whoever edits the words has made them their own"
    picture = page.evaluate("fetch('templates.webp').then((r) => r.headers.get('content-type'))")
    assert picture == "image/webp" and not here.complaints


def test_a_tier_sets_what_belongs_together(visit):
    here = visit()
    page = here.page
    here.open()
    seen = []
    for name in ("Fast", "Quality", "Balanced"):
        page.click(f".form-bar [aria-label=Speed] button:has-text('{name}')")
        page.wait_for_timeout(300)
        seen.append(
            (
                page.get_by_label("number input for Steps").input_value(),
                page.get_by_role("combobox", name="Sampler").input_value(),
                page.get_by_role("combobox", name="Schedule").input_value(),
            )
        )
    assert len(set(seen)) == 3 and int(seen[0][0]) < int(seen[2][0]) <= int(seen[1][0])


def test_a_sampler_and_a_schedule_make_up_a_preset(visit):
    here = visit()
    page = here.page
    here.open()
    sampler, schedule = (page.get_by_role("combobox", name=name) for name in ("Sampler", "Schedule"))
    chips = page.locator(".form-bar .chip.changed")
    before = sampler.input_value()
    sampler.select_option("DPM++ 2S a")
    page.wait_for_function("document.querySelector('.form-bar').innerText.includes('Scheduler DPM++ 2S a')")
    assert schedule.input_value() == "" and "as the model's" in schedule.inner_text()
    chips.filter(has_text="Scheduler").click()
    page.wait_for_function(f"document.querySelector('.preset select').value === {before!r}")
    assert chips.filter(has_text="Scheduler").count() == 0 and not here.complaints
