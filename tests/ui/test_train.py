"""The room where a style is trained, in a real browser."""

import io

import pytest
from PIL import Image

from tests.ui.test_access import violations


def file(name: str, colour: str = "red", size=(96, 64)) -> dict:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": data.getvalue()}


def words(name: str, said: str) -> dict:
    return {"name": name, "mimeType": "text/plain", "buffer": said.encode()}


PICTURES = [file("apple.png"), file("cat.png", "navy", (64, 96)), file("sun.png", "gold", (64, 64))]


def train(visit, **options):
    """A visit that has gone there."""
    here = visit(**options)
    here.page.get_by_role("tab", name="Train").click()
    here.page.wait_for_selector(".drop input", state="attached")
    return here


def hand_in(page, *files: dict) -> None:
    page.locator(".drop input").set_input_files(list(files))
    page.wait_for_function(
        "() => !/Sending|Looking/.test(document.querySelector('.sheet-of [data-part=hint]').textContent)"
    )


def names(page) -> list[str]:
    return [image.get_attribute("alt") for image in page.locator(".contact-item img").all()]


def set_steps(here, steps: int, every: int) -> None:
    """A training of few small steps."""
    page = here.page
    here.open("#train-ask .label-wrap", "#train-options")
    for name, value in {"steps": steps, "batch_size": 2, "rank": 4, "sample_every": every}.items():
        page.locator(f"#train-{name} :is(input, textarea)").fill(str(value))
        page.keyboard.press("Tab")
    cost = "(steps) => document.querySelector('#train-cost').textContent.trim().startsWith(`${steps} steps`)"
    page.wait_for_function(cost, arg=steps)


def run_until(page, status: str) -> None:
    page.wait_for_selector(f'.run[data-status="{status}"]', timeout=90_000)


def sampled(page, step: int) -> None:
    page.wait_for_selector(f'.sample[data-step="{step}"]', timeout=90_000)


def test_from_pictures_to_a_kept_style(visit):
    here = train(visit)
    page = here.page
    hand_in(page, *PICTURES, words("apple.txt", "an apple"))
    assert names(page) == ["apple.png", "cat.png", "sun.png"]
    assert page.get_by_label("What is to be seen on apple.png").input_value() == "an apple"
    # What is cut off: at the sides, above and below, nothing.
    boxes = [[round(float(box.evaluate(f"(box) => parseFloat(box.style.{side})"))) for side in ("left", "top", "width")]
             for box in page.locator(".contact-crop").all()]  # fmt: skip
    assert boxes == [[17, 0, 67], [0, 17, 100], [0, 0, 100]]
    set_steps(here, 6, 2)
    page.click("#train")
    sampled(page, 6)
    run_until(page, "done")
    assert [s.get_attribute("data-step") for s in page.locator(".sample").all()] == ["0", "2", "4", "6"]
    loaded = "(images) => Promise.all(images.map((image) => image.decode())).then(() => images.length)"
    assert page.locator(".sample img").evaluate_all(loaded) == 7
    assert page.locator(".curve polyline").get_attribute("points").count(",") == 6
    assert "Learnt from 3 pictures" in page.locator(".run .label-status").inner_text()
    assert page.locator('.run [data-part="chosen"]').inner_text().startswith("Kept under Mine.")
    # An earlier one is kept as well.
    page.click('.sample[data-step="2"]')
    page.click("text=Keep this one")
    page.wait_for_selector('.run [data-part="chosen"] >> text=Kept under Mine.')
    with page.expect_download() as saved:
        page.locator(".run").get_by_text("Download").click()
    assert saved.value.suggested_filename == "My style.safetensors"
    assert violations(page) == []
    # After a reload it is there as it was, and painted with in one click.
    here.reload()
    page.get_by_role("tab", name="Train").click()
    run_until(page, "done")
    page.click("text=Paint with it")
    page.wait_for_selector('#page-paint, [role="tab"][aria-selected="true"] >> text=Paint')
    page.wait_for_selector(".mix-row")
    here.paint("an apple", Steps=4)
    here.until("done")
    assert here.complaints == [] and here.elsewhere == []


def test_captions_removal_and_the_same_words_for_all(visit):
    here = train(visit)
    page = here.page
    hand_in(page, *PICTURES[:2])
    hint = page.locator('.sheet-of [data-part="hint"]')
    assert hint.inner_text() == "1 picture more at least."
    hand_in(page, PICTURES[2], file("odd.png", "green"))
    assert names(page) == ["apple.png", "cat.png", "odd.png", "sun.png"] and hint.inner_text().startswith("4 pictures.")
    page.get_by_label("Remove odd.png").click()
    assert names(page) == ["apple.png", "cat.png", "sun.png"]
    page.get_by_label("What is to be seen on every picture").fill("a thing")
    page.click("text=Same words for all")
    assert {field.input_value() for field in page.locator(".contact-caption").all()} == {"a thing"}
    page.click("text=Remove all")
    assert names(page) == [] and hint.inner_text() == ""
    assert here.complaints == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([file("no.png") | {"buffer": b"no picture"}], "pictures: 'no.png' is"),
        ([words("no.txt", "of nothing")], "captions is 'no.txt'"),
        ([PICTURES[0], file("APPLE.webp")], "APPLE.webp"),
        ([file(f"{i}.png", size=(8, 8)) for i in range(51)], "53 files, but must be 3 to 50 pictures."),
        ([{"name": "all.zip", "mimeType": "application/zip", "buffer": b"PK\3\4 broken"}], "damaged"),
    ],
    ids=["no picture", "a caption of nothing", "equal names", "too many", "a broken zip"],
)
def test_what_cannot_be_used_is_said_in_a_sentence_and_the_others_stay(visit, files, says):
    here = train(visit)
    page = here.page
    hand_in(page, *PICTURES[1:])
    hand_in(page, *files)
    page.wait_for_selector(".train-say:visible")
    said = page.locator(".train-say").inner_text()
    assert says in said and said.endswith(".") and "\n" not in said
    assert names(page) == ["cat.png", "sun.png"]


def test_what_is_missing_is_said_where_it_would_begin(visit):
    here = train(visit)
    page = here.page
    page.click("#train")
    page.wait_for_selector(".run .board-notice:visible")
    assert "0 files, but must be 3 to 50 pictures" in page.locator(".run .board-notice").inner_text()
    hand_in(page, *PICTURES)
    page.locator("#train-ask").get_by_label("Name of the style").fill("")
    page.locator("#train-ask").get_by_label("Trigger word").fill("")
    page.click("#train")
    page.wait_for_selector(".run .board-notice >> text=name is empty")
    assert "missing apple.txt" in page.locator(".run .board-notice").inner_text()
    assert here.complaints == []


def test_it_is_seen_by_another_tab_stopped_gone_on_with_and_thrown_away(visit):
    here = train(visit)
    page = here.page
    hand_in(page, *PICTURES)
    set_steps(here, 400, 2)
    page.click("#train")
    sampled(page, 2)
    assert not page.is_visible("#train")
    # The same browser: it has the same secret.
    owner, other = page.evaluate("atelier.owner()"), visit().page
    other.evaluate("(owner) => localStorage.setItem('atelier-owner', owner)", owner)
    other.reload()
    other.get_by_role("tab", name="Train").click()
    sampled(other, 2)
    # A reload in the middle changes nothing.
    here.reload()
    page.get_by_role("tab", name="Train").click()
    sampled(page, 2)
    assert violations(page) == []
    other.click("text=Stop and keep")
    run_until(page, "stopped")
    assert "Stopped after" in page.locator(".run .label-status").inner_text()
    page.wait_for_selector(".run >> text=Kept under Mine.")
    page.click(".run >> text=Go on")
    page.wait_for_selector('html[data-train="running"]')
    page.click(".run >> text=Cancel")
    page.click("text=Press again: nothing is kept of it")
    run_until(page, "empty")
    assert page.locator(".sample").count() == 0 and page.is_visible("#train")


def test_on_a_phone_and_by_the_keyboard_alone(visit):
    here = train(visit, width=390, theme="dark")
    page = here.page
    hand_in(page, *PICTURES)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(page) == []
    page.locator(".drop input").focus()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.ariaLabel"))
        if "train" in reached:
            break
    assert {"train", "Remove apple.png", "What is to be seen on sun.png"} <= reached
    page.keyboard.press("Enter")
    page.wait_for_selector('html[data-train="running"]')
    page.wait_for_selector(".run >> text=Cancel")
    while page.evaluate("document.activeElement.textContent") != "Cancel":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    run_until(page, "empty")
