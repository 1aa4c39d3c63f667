"""The page in a real browser: first visit, painting with two styles, cancel, errors, phone, dark."""

import pytest

from tests.serving import NASTY

LONG = {"Steps": 150, "Pictures": 4}
TEXTS = ("h1", ".masthead p", "#prompt textarea", "#paint", ".hint", ".card-name", ".card-trigger", ".lesson li",
         ".example", "#settings .label-wrap")  # fmt: skip
CONTRAST = """(selector) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
  const ink = rgba(getComputedStyle(document.querySelector(selector)).color);
  let node = document.querySelector(selector), ground = rgba(getComputedStyle(node).backgroundColor);
  while (ground[3] < 255) ground = rgba(getComputedStyle((node = node.parentElement)).backgroundColor);
  const [darker, lighter] = [light(ink), light(ground)].sort((a, b) => a - b);
  return (lighter + .05) / (darker + .05);
}"""


def test_first_visit_teaches_and_asks_nobody_else(visit):
    here = visit()
    page = here.page
    assert page.title() == "LoRA Atelier"
    assert "Say what you want to see" in page.inner_text(".lesson")
    assert page.is_visible("#paint") and not page.is_visible("#cancel") and not page.is_visible("#notice")
    assert not page.get_by_label("number input for Steps").is_visible()
    page.click(".example >> nth=0")
    assert page.input_value("#prompt textarea") == page.inner_text(".example >> nth=0")
    assert not here.complaints and not here.elsewhere


def test_two_styles_with_a_preview_before_the_picture(visit):
    here = visit()
    page = here.page
    for style in ("ink", "neon"):
        page.click(f'.card[data-style="{style}"]')
        assert page.get_attribute(f'.card[data-style="{style}"]', "aria-pressed") == "true"
    page.fill("#weight-neon", "-0.5")
    frame = page.locator(".frame").bounding_box()
    here.paint("a red apple", Steps=60)
    page.wait_for_selector(".cell img.unfinished")
    assert page.get_attribute(".cell img", "src").startswith("data:image/jpeg")
    assert page.is_visible("#cancel") and page.is_visible("#paint")
    here.until("done")
    assert not page.is_visible("#cancel")
    page.wait_for_function("document.querySelector('.cell img').naturalWidth === 64")
    after = page.locator(".frame").bounding_box()
    assert (frame["width"], frame["height"]) == (after["width"], after["height"])
    facts = page.inner_text(".label-facts")
    assert "Ink 1.00" in facts and "Neon −0.50" in facts and "Painted in" in facts
    assert page.is_visible("#paint") and not here.complaints


def test_a_style_can_be_taken_off_again(visit):
    page = visit().page
    page.click('.card[data-style="ink"]')
    page.get_by_label("Take off Ink").click()
    assert page.get_attribute('.card[data-style="ink"]', "aria-pressed") == "false"
    assert page.locator(".mix-row").count() == 0


def test_the_seed_can_be_used_again(visit):
    here = visit()
    page = here.page
    here.paint("a red apple", Steps=2)
    here.until("done")
    seed = page.inner_text(".label-facts button >> nth=0")
    first = page.evaluate("fetch(document.querySelector('.cell img').src).then(r => r.text())")
    assert page.inner_text("#how .seed-lock") == "A new seed each time"
    page.click(".label-facts button >> nth=0")
    page.wait_for_function("(seed) => document.querySelector('.seed-number').value === seed", arg=seed)
    assert page.inner_text("#how .seed-lock") == "Seed locked"
    here.paint("a red apple", Steps=2, Pictures=2)
    page.wait_for_selector('.stage[data-status="done"] .cell + .cell img')
    assert page.evaluate("fetch(document.querySelector('.cell img').src).then(r => r.text())") == first


def test_f2_cancel_stops_the_painting(visit, server):
    here = visit()
    here.paint("a cat", **LONG)
    here.page.wait_for_selector(".cell img")
    here.page.click("#cancel")
    here.until("cancelled")
    server.wait_until(running=0)
    here.page.wait_for_timeout(500)
    assert here.page.get_attribute(".stage", "data-status") == "cancelled"
    assert "Stopped" in here.page.inner_text(".label-status") and here.page.is_visible("#paint")


def test_f2_a_closed_page_stops_the_painting(visit, server):
    here = visit()
    here.paint("a cat", **LONG)
    here.page.wait_for_selector(".cell img")
    here.page.close()
    server.wait_until(running=0)


def test_what_it_takes_is_told_before(visit):
    first, second = visit(), visit()
    says = "(words) => new RegExp(`^About \\\\d+ s${words}`).test(document.querySelector('.forecast')?.textContent)"
    first.page.wait_for_function(says, arg="[.]$")
    first.paint("a cat", **LONG)
    first.page.wait_for_selector(".cell img")
    second.reload()
    second.page.wait_for_function(says, arg=", next in the queue: begins in about ")
    first.page.click("#cancel")
    # Without being asked, some seconds later.
    second.page.wait_for_function(says, arg="[.]$")
    assert not second.complaints


def test_painting_over_a_picture_takes_fewer_steps_and_is_said_to(visit, server):
    here = visit()
    page = here.page
    here.open()
    for label, number in {"Steps": 150, "Pictures": 4}.items():
        page.get_by_label(f"number input for {label}").fill(str(number))
        page.keyboard.press("Tab")
    # Each change is answered by itself: the last answer is the one that stays.
    page.wait_for_function("""() => {
      const now = document.querySelector(".forecast")?.textContent, then = (window.seen ??= { at: performance.now() });
      if (now !== then.words) window.seen = { words: now, at: performance.now() };
      return /^About \\d+ s[.]$/.test(now) && performance.now() - window.seen.at > 3000;
    }""")
    before = page.inner_text(".forecast")
    assert int(before.split()[1]) > 1
    page.set_input_files("#start input[type=file]", next(server.scratch.parent.glob("styles/neon.webp")))
    page.get_by_label("number input for Strength: how much").fill("0.05")
    page.keyboard.press("Tab")
    seconds = "+document.querySelector('.forecast').textContent.match(/^About (\\d+) s[.]$/)?.[1]"
    page.wait_for_function(f"(least) => {seconds} < least", arg=int(before.split()[1]) / 2)
    page.click("text=Remove the picture")
    page.wait_for_function("(words) => document.querySelector('.forecast').textContent === words", arg=before)
    assert not here.complaints


def test_one_who_waits_is_told(visit, server):
    first, second = visit(), visit()
    first.paint("a cat", **LONG)
    first.page.wait_for_selector(".cell img")
    second.paint("a red apple", Steps=2)
    second.until("waiting")
    assert "In the queue: next" in second.page.inner_text(".label-status")
    first.page.click("#cancel")
    second.until("done")


def test_an_error_stands_by_the_prompt_in_words_and_goes_away(visit):
    here = visit()
    page = here.page
    here.paint("x" * 20_000)
    here.until("failed")
    assert "at most 10000 characters" in page.inner_text("#notice")
    assert page.locator("#notice").bounding_box()["y"] < page.locator("#styles").bounding_box()["y"]
    here.paint("a red apple", Steps=2)
    here.until("done")
    assert not page.is_visible("#notice")


def test_p5_a_prompt_and_a_name_are_text_and_never_html(visit):
    here = visit()
    page = here.page
    page.click('.card[data-style="nasty"]')
    here.paint(NASTY, Steps=2)
    here.until("done")
    assert page.inner_text(".label-title") == NASTY
    assert NASTY in page.inner_text(".label-facts")
    assert NASTY == page.inner_text('.card[data-style="nasty"] .card-name') == page.inner_text(".mix-name")
    assert page.locator(".label img, .mix img").count() == 0 and not here.dialogs


def test_control_enter_paints(visit):
    here = visit()
    here.page.fill("#prompt textarea", "a cat")
    here.page.keyboard.press("Control+Enter")
    here.until("done")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_nothing_scrolls_sideways(visit, theme):
    here = visit(width=390, height=844, theme=theme)
    page = here.page
    here.paint("a red apple", Steps=2)
    here.until("done")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.documentElement.scrollHeight") < 4000
    box = page.locator("#paint").bounding_box()
    assert box["y"] + box["height"] <= 844, "the button is under the thumb"
    assert page.locator(".frame").bounding_box()["width"] >= 290


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable_in_either_light(visit, theme):
    """Contrast of at least 4.5 to 1, WCAG's level AA, for the text that matters."""
    page = visit(theme=theme).page
    for selector in TEXTS:
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


def test_a_keyboard_is_enough_to_choose_a_style(visit):
    page = visit().page
    page.focus('.card[data-style="ink"]')
    page.keyboard.press("Space")
    assert page.get_attribute('.card[data-style="ink"]', "aria-pressed") == "true"
    page.focus("#weight-ink")
    page.keyboard.press("ArrowLeft")
    assert page.input_value(".mix-number") == "0.95"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_jumps_while_previews_arrive_and_the_picture(visit, width):
    here = visit(width=width, height=844)
    page = here.page
    here.paint("a red apple", Steps=12)
    page.wait_for_selector(".cell img")
    page.evaluate(
        """() => {
            window.shifts = [];
            new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value)))
                .observe({ type: "layout-shift" });
        }"""
    )
    here.until("done")
    page.wait_for_timeout(300)
    assert page.evaluate("shifts.reduce((sum, value) => sum + value, 0)") < 0.02


def test_who_wants_no_motion_gets_none(visit):
    page = visit().page
    moving = """() => [...document.querySelectorAll('.gradio-container *')].filter((node) => {
        const style = getComputedStyle(node);
        return style.transitionDuration !== '0s' || style.animationName !== 'none';
    }).length"""
    assert page.evaluate(moving) > 0
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == 0
