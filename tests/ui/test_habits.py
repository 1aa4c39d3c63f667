"""What people who paint all day run into: the picture stays in sight, words come off again, the label is true."""

import re


def test_the_picture_stays_in_view_while_settings_are_scrolled(visit):
    here = visit(height=800)
    here.open()
    here.page.mouse.move(300, 600)
    here.page.mouse.wheel(0, 400)
    here.page.wait_for_function("document.querySelector('#settings').getBoundingClientRect().top < 500")
    box = here.page.locator(".mat").bounding_box()
    assert 0 <= box["y"] < 120, "the picture has left the window"


def test_templates_go_around_each_other_and_each_comes_off_again(visit):
    here = visit()
    page = here.page
    page.fill("#prompt textarea", "a red apple")
    page.click("text=Prompt templates")
    first, second = (page.locator(".prompt-template", has_text=name) for name in ("Studio photo", "Oil painting"))
    first.click()
    alone = page.input_value("#prompt textarea")
    second.click()
    both = page.input_value("#prompt textarea")
    assert len(both) > len(alone) > len("a red apple")
    # The inner one first, though the other stands around it.
    first.click()
    assert first.get_attribute("aria-pressed") == "false" and second.get_attribute("aria-pressed") == "true"
    left = page.input_value("#prompt textarea")
    assert left != both and left.count("a red apple") == 1
    first.click()
    second.click()
    assert page.input_value("#prompt textarea") == alone
    first.click()
    assert page.input_value("#prompt textarea") == "a red apple"
    here.open()
    assert page.input_value("#negative textarea") == "" and not here.complaints


def test_what_another_template_leaves_out_stays_left_out(visit):
    here = visit()
    page = here.page
    page.fill("#prompt textarea", "a red apple")
    page.click("text=Prompt templates")
    names = ("Oil painting", "Watercolour")
    words = []
    for name in names:
        page.locator(".prompt-template", has_text=name).first.click()
    here.open()
    both = page.input_value("#negative textarea")
    page.locator(".prompt-template", has_text=names[0]).first.click()
    page.wait_for_timeout(300)
    words = page.input_value("#negative textarea")
    page.locator(".prompt-template", has_text=names[1]).first.click()
    page.wait_for_timeout(300)
    assert page.input_value("#negative textarea") == ""
    # What both leave out was needed until the second was gone.
    assert (
        words and set(words.split(", ")) <= set(both.split(", ")) and len(set(both.split(", "))) == both.count(",") + 1
    )


def test_the_label_tells_the_size_of_the_file_and_its_second_pass(visit):
    here = visit()
    here.open()
    here.open("text=Enlarge in a second pass", "text=Second-pass strength")
    here.paint("a red apple", Steps=2, **{"Enlarge by (1: not)": 2})
    here.until("done")
    here.page.wait_for_function("document.querySelector('.cell img').naturalWidth === 128")
    facts = here.page.inner_text(".label-facts")
    assert "Size 128 × 128" in facts and "Second pass 0.5 of 2 steps from 64 × 64" in facts


def test_the_words_that_were_drawn_are_shown(visit):
    here = visit()
    here.paint("a {red|green} __colour__ apple", Steps=2)
    here.until("done")
    assert re.fullmatch("a (red|green) (red|green) apple", here.page.inner_text(".label-title"))


def test_typing_asks_the_server_after_it_and_not_at_each_key(visit):
    here = visit()
    page, asked = here.page, []
    page.wait_for_timeout(500)
    page.on("request", lambda request: request.method == "POST" and asked.append(request.url))
    page.click("#prompt textarea")
    page.keyboard.type("a red apple and a green pear on a table in the garden ok", delay=15)
    page.wait_for_function("/tokens? of/.test(document.querySelector('.counter').textContent)")
    page.wait_for_timeout(500)
    assert 1 <= len(asked) <= 6, len(asked)


def test_the_last_picture_stays_until_the_next_and_returns_after_cancel(visit):
    here = visit()
    page = here.page
    here.paint("a red apple", Steps=2)
    here.until("done")
    title, source = page.inner_text(".label-title"), page.get_attribute(".cell img", "src")
    # Somebody else is painted for, so that there is no preview for as long as it takes to look.
    other = visit()
    other.paint("a dog", Steps=150, Pictures=4)
    other.until("painting")
    here.paint("a cat", Steps=150, Pictures=4)
    stale = "(source) => document.querySelector('.frame.stale .cell img')?.getAttribute('src') === source"
    page.wait_for_function(stale, arg=source)
    assert not page.is_visible(".lesson")
    other.page.click("#cancel")
    page.wait_for_selector(".frame:not(.stale) .cell img.unfinished")
    page.click("#cancel")
    here.until("cancelled")
    assert page.get_attribute(".cell img", "src") == source and page.inner_text(".label-title") == title
    assert not page.is_visible(".lesson") and "Stopped" in page.inner_text(".label-status")
    assert page.locator(".cell").count() == 1 and not here.complaints
