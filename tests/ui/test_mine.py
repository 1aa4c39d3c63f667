"""A visitor's own styles, kept for one browser: there again after a reload, painted with, named, pictured, deleted."""

import json
import re
from pathlib import Path

import pytest
import torch
from gradio_client import Client, handle_file
from safetensors.torch import load_file, save_file

from tests import serving
from tests.serving import NASTY
from tests.ui.conftest import Visit
from tests.ui.test_access import violations

KEPT_ID = r"[\w-]{22}"


def adapter(server, path: Path, factor: float = -1.0, name: str = "Mine") -> Path:
    """A file as a visitor may have it, with what it says of its training."""
    ink = load_file(server.scratch.parent / "styles" / "ink.safetensors")
    about = {"modelspec.title": name, "modelspec.trigger_phrase": "wet paper", "ss_steps": "500"}
    save_file({key: factor * part if "lora_B" in key else part for key, part in ink.items()}, path, metadata=about)
    return path


@pytest.fixture
def mine(server, tmp_path) -> Path:
    return adapter(server, tmp_path / "mine.safetensors")


def bring(page, path: Path) -> None:
    page.evaluate("document.querySelector('.own').open = true")
    page.set_input_files(".own-file input", path)
    page.wait_for_selector('.verdict[data-fits="true"]')


def says(page, words: str) -> None:
    page.wait_for_function("(words) => document.querySelector('.own-say').textContent.includes(words)", arg=words)


def keep(page) -> str:
    """Keep the style that the verdict is about; its id."""
    page.get_by_role("button", name="Keep this style").click()
    says(page, "is kept for this browser.")
    return page.get_attribute(".yours .card", "data-style")


def again(here) -> None:
    """Load the page anew, once it has noted what is set."""
    here.page.wait_for_timeout(600)
    here.reload()
    here.page.wait_for_selector("#paint")


def names(page) -> list[str]:
    return page.locator(".yours .card-name").all_inner_texts()


def kept_by(server, page, path: Path) -> dict:
    """What a program that knows a browser's secret has kept for it meanwhile."""
    client = Client(server.url, verbose=False)
    brought = client.predict(file=handle_file(str(path)), api_name="/inspect_adapter")["id"]
    kept = client.predict(page.evaluate("atelier.owner()"), brought, api_name="/keep_style")
    client.close()
    return kept


def test_what_is_kept_takes_the_place_of_what_was_brought_and_is_there_after_a_reload(visit, server, mine):
    here, other = visit(), visit()
    page = here.page
    bring(page, mine)
    page.get_by_label("Mine is a favourite").click()
    page.fill(".mix-number", "0.6")
    identity = keep(page)
    assert re.fullmatch(KEPT_ID, identity) and names(page) == ["Mine"]
    assert page.locator(".mix-row").count() == 1 and page.input_value(f"#weight-{identity}") == "0.6"
    assert page.get_by_label("Mine is a favourite").get_attribute("aria-pressed") == "true"
    assert "steps 500" in page.inner_text(".verdict")
    again(here)
    page.wait_for_selector(f".mix-row[data-style='{identity}']")
    assert page.input_value(".mix-number") == "0.60" and not page.is_visible(".restore-say")
    page.get_by_label("Which styles").select_option("mine")
    assert names(page) == ["Mine"] == page.locator(".card-name").all_inner_texts()
    here.paint("a red apple", Steps=2)
    here.until("done")
    assert "Mine 0.60" in page.inner_text(".label-facts")
    # Another browser sees nothing of it, not even by its id.
    assert other.page.evaluate("(id) => atelier.wear(id)", identity) == "The style is not there any more."
    again(other)
    other.page.wait_for_selector(".card")
    assert not names(other.page) and not here.complaints and not other.complaints
    log = server.log.read_text()
    assert '"request": "keep_style", "from": "page"' in log and page.evaluate("atelier.owner()") not in log


def test_what_was_on_is_on_again_though_the_shelf_comes_late(visit, mine):
    here = visit()
    page = here.page
    bring(page, mine)
    keep(page)
    page.fill("#prompt textarea", "a red apple")
    late: list = []
    listing = '"what":"list"'
    page.route(re.compile("/queue/join"), lambda route: late.append(route) if listing in (
        route.request.post_data or "") else route.continue_())  # fmt: skip
    again(here)
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a red apple'")
    assert not names(page) and not page.locator(".mix-row").count()
    late.pop().continue_()
    page.wait_for_selector(".mix-row")
    assert not page.is_visible(".restore-say")


def test_brought_again_or_looked_for_it_is_there_once_and_restored_as_what_is_kept(visit, mine):
    here = visit()
    page = here.page
    bring(page, mine)
    page.fill("#prompt textarea", "a red apple")
    page.click("#paint")
    page.wait_for_selector('.stage[data-status="done"]')
    identity = keep(page)
    page.get_by_label("Take off Mine").click()
    page.get_by_label("Look for new styles").click()
    says(page, "No new styles.")
    assert names(page) == ["Mine"]
    # It was painted with what has another id now.
    page.click(".cell .look")
    page.click(".viewer >> text=Restore all")
    page.wait_for_selector(f".mix-row[data-style='{identity}']")
    again(here)
    page.wait_for_selector(".yours")
    page.get_by_label("Take off Mine").click()
    bring(page, mine)
    page.wait_for_selector(f".mix-row[data-style='{identity}']")
    assert names(page) == ["Mine"] and page.locator(".mine-keep").count() == 0
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Across", exact=True).select_option("adapter")
    assert page.locator(".axis-picks .chip", has_text="Mine").count() == 1


def test_renamed_pictured_and_downloaded(visit, mine):
    here = visit()
    page = here.page
    bring(page, mine)
    here.paint("a red apple", Steps=1)
    here.until("done")
    identity = keep(page)
    page.get_by_label("Name of Mine").fill(NASTY)
    page.keyboard.press("Enter")
    says(page, "It is called")
    assert names(page) == [NASTY] and page.inner_text(".mix-name") == NASTY and not here.dialogs
    page.get_by_label(f"Name of {NASTY}").fill("Aquarelle")
    page.get_by_role("button", name="Rename").click()
    page.wait_for_selector(".card-name:text-is('Aquarelle')")
    page.get_by_role("button", name="Choose its picture").click()
    page.get_by_label("Picture 1 of 1").click()
    loaded = "document.querySelector('.yours .card img')?.naturalWidth > 0"
    page.wait_for_function(loaded)
    first = page.get_attribute(".yours .card img", "src")
    assert first.startswith(f"mine/{identity}-1.webp?key=")
    # One that it was painted with, from where pictures are looked at; of a shared one this browser keeps a copy.
    page.click('.card[data-style="ink"]')
    here.paint("a cat", Steps=2)
    page.wait_for_selector(".label-title:has-text('a cat')")
    page.click(".cell .look")
    page.click(".viewer >> text=Use as the picture of its style")
    page.wait_for_selector(".viewer-say:has-text('have this picture now')")
    page.keyboard.press("Escape")
    assert list(json.loads(page.evaluate("localStorage['atelier-style-pictures']"))) == ["ink"]
    again(here)
    page.wait_for_function(loaded)
    assert page.get_attribute(".yours .card img", "src").startswith(f"mine/{identity}-2.webp?key=")
    page.get_by_label("Manage Aquarelle").click()
    with page.expect_download() as saved:
        page.locator(".mine >> text=Download").click()
    assert saved.value.suggested_filename == "Aquarelle.safetensors"
    assert saved.value.path().read_bytes() == mine.read_bytes() and not here.complaints


def test_deleted_for_good_once_it_is_asked_twice(visit, mine):
    here = visit()
    page = here.page
    bring(page, mine)
    keep(page)
    page.get_by_role("button", name="Delete").click()
    assert names(page) == ["Mine"]
    page.get_by_role("button", name="Delete for good?").click()
    says(page, "Mine is deleted.")
    assert not names(page) and not page.locator(".mix-row").count() and not page.is_visible(".verdict")
    again(here)
    page.wait_for_selector(".card")
    page.wait_for_timeout(500)
    assert not names(page) and not here.complaints


def test_by_keyboard_on_a_phone_without_a_violation(visit, mine):
    here = visit(width=390, theme="dark")
    page = here.page
    bring(page, mine)
    assert violations(page) == [], "brought"
    identity = keep(page)
    page.get_by_label("Close the verdict").click()
    page.get_by_label("Manage Mine").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "verdict"
    top, strip = page.locator(".verdict").bounding_box()["y"], page.locator(".mix-strip").bounding_box()
    assert top > strip["y"] + strip["height"], "it is in sight"
    page.get_by_role("button", name="Choose its picture").click()
    page.wait_for_selector(".mine-pictures:has-text('Paint something first')")
    assert violations(page) == [], "kept"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("Close the verdict").click()
    assert page.evaluate("document.activeElement.dataset.style") == identity and not here.complaints


def test_an_embedding_that_is_kept_is_a_word_after_a_reload(visit, server, tmp_path):
    here = visit()
    page = here.page
    sizes = [json.loads((server.model / name / "config.json").read_text())["hidden_size"]
             for name in ("text_encoder", "text_encoder_2")]  # fmt: skip
    vectors = {name: torch.ones(3, size) for name, size in zip(("clip_l", "clip_g"), sizes)}
    save_file(vectors, tmp_path / "my-cat.safetensors")
    bring(page, tmp_path / "my-cat.safetensors")
    keep(page)
    page.fill("#prompt textarea", "")
    again(here)
    page.wait_for_selector(".yours")
    page.click(".yours .card")
    assert page.input_value("#prompt textarea") == "my-cat"
    page.wait_for_function("document.querySelector('.counter')?.innerText.includes('3 tokens')")
    page.get_by_label("Manage my-cat").click()
    assert page.get_by_label("Name of my-cat").is_visible() and not here.complaints


def test_what_is_kept_elsewhere_comes_when_it_is_told_and_is_put_on_by_its_id(visit, server, mine, tmp_path):
    here = visit()
    page = here.page
    first = kept_by(server, page, mine)
    assert not names(page)
    page.evaluate("window.dispatchEvent(new CustomEvent('atelier:styles-kept'))")
    page.wait_for_selector(".yours")
    assert not page.locator(".mix-row").count()
    page.get_by_role("tab", name="Compare").click()
    second = kept_by(server, page, adapter(server, tmp_path / "second.safetensors", 2.0, "Second"))
    assert page.evaluate("(id) => atelier.wear(id)", second["id"]) == ""
    page.get_by_role("tab", name="Paint").click()
    assert names(page) == ["Mine", "Second"] and page.locator(".mix-name").all_inner_texts() == ["Second"]
    page.fill(".mix-number", "0.2")
    for identity in (first["id"], second["id"]):
        assert page.evaluate("(id) => atelier.wear(id)", identity) == ""
    assert [box.input_value() for box in page.locator(".mix-number").all()] == ["1.00", "1.00"] and not here.complaints


@pytest.mark.parametrize("room", ["Paint", "Compare"])
def test_a_session_that_has_lost_what_its_browser_keeps_paints_with_it(visit, server, mine, room):
    here = visit()
    page = here.page
    kept = kept_by(server, page, mine)
    # As after a restart: the page knows it, and the session was never lent it.
    page.evaluate("(style) => { atelier.styles.set(style.id, style); atelier.wear(style.id); }", kept)
    page.fill("#prompt textarea", "a red apple")
    if room == "Paint":
        page.click("#paint")
        here.until("done")
        assert "Mine 1.00" in page.inner_text(".label-facts")
        return
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Across", exact=True).select_option("steps")
    page.get_by_label("Across: Steps, values").fill("1, 2")
    page.click("#compare")
    page.wait_for_selector('.board[data-status="done"]')


def test_a_quota_and_damage_are_said_in_a_sentence(server, chromium, mine, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "styles.sqlite3").write_bytes(b"no database" * 500)
    strict = serving.start(
        tmp_path / "log", BASE_MODEL=server.model, ADAPTERS_DIR=server.scratch.parent / "styles", DATA_DIR=data,
        STYLES_PER_OWNER=1,
    )  # fmt: skip
    page = Visit(chromium, strict.url).page
    says(page, "A part of the kept styles here was damaged and has been set aside")
    bring(page, mine)
    keep(page)
    page.evaluate("window.dispatchEvent(new CustomEvent('atelier:styles-kept'))")
    bring(page, adapter(server, tmp_path / "second.safetensors", 2.0, "Second"))
    assert "damaged" not in page.inner_text(".own-say"), "told once"
    page.get_by_role("button", name="Keep this style").click()
    says(page, "The style was not kept: you have kept 1 styles, as many as are kept of one visitor")
    assert page.get_by_role("button", name="Keep this style").is_visible() and names(page) == ["Mine", "Second"]
    page.close()
    strict.process.kill()
