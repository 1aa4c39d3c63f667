"""The panel of styles in a real browser: mixing in detail, and a visitor's own from a file and from the Hub."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fake_hub import COMMIT, Repo


@pytest.fixture
def mine(server, tmp_path) -> Path:
    """A file as a visitor may have it, with two layers that this model does not have."""
    style = next(server.scratch.parent.glob("styles/ink.safetensors"))
    tensors = load_file(style)
    for part, shape in (("A", (4, 8)), ("B", (8, 4))):
        tensors[f"unet.mid_block.nowhere.lora_{part}.weight"] = torch.ones(shape)
    about = {"modelspec.title": "Mine", "modelspec.trigger_phrase": "wet paper, my style"}
    save_file(tensors, tmp_path / "mine.safetensors", metadata=about)
    return tmp_path / "mine.safetensors"


def slide(page, row: str, label: str, value: str) -> None:
    line = page.locator(f'.mix-row[data-style="{row}"] .slide', has_text=label)
    line.locator("input").fill(value)


def sent(here) -> list[dict]:
    """What the next painting asks for as its adapters."""
    with here.page.expect_request(lambda r: "/queue/join" in r.url and '"a mix"' in (r.post_data or "")) as caught:
        here.paint("a mix", Steps=1)
    here.until("done")
    values = json.loads(caught.value.post_data)["data"]
    return next(v for v in values if isinstance(v, list) and v and "weight" in v[0])


def test_every_part_of_a_mix_reaches_the_request(visit):
    here = visit()
    page = here.page
    for style in ("ink", "neon"):
        page.click(f'.card[data-style="{style}"]')
    page.get_by_label("More about Ink").click()
    page.fill("#weight-ink", "0.5")
    assert page.inner_text('.mix-row[data-style="ink"] .mix-words output') == "0.50", "the words follow"
    slide(page, "ink", "Text strength", "-0.25")
    slide(page, "ink", "Until", "0.6")
    slide(page, "ink", "From", "0.8")
    slide(page, "ink", "Middle", "0")
    page.get_by_label("Neon is on").uncheck()
    assert sent(here) == [
        {"id": "ink", "weight": 0.5, "text_weight": -0.25, "start": 0.8, "end": 0.85, "blocks": {"mid": 0}}
    ]
    page.get_by_label("Neon is on").check()
    assert [use["id"] for use in sent(here)] == ["ink", "neon"]
    assert not here.complaints


def test_a_mix_that_burns_is_warned_of_and_scaled(visit):
    here = visit()
    page = here.page
    page.click('.card[data-style="ink"]')
    assert not page.is_visible(".burn")
    page.click('.card[data-style="neon"]')
    assert "add up to 2.00" in page.inner_text(".burn")
    page.click("text=Scale them to 1")
    assert not page.is_visible(".burn") and page.input_value(".mix-number >> nth=0") == "0.50"
    assert [use["weight"] for use in sent(here)] == [0.5, 0.5]


def test_trigger_words_go_into_the_prompt_once(visit):
    page = visit().page
    page.fill("#prompt textarea", "a red apple")
    page.click('.card[data-style="ink"]')
    page.get_by_label("More about Ink").click()
    for _ in range(2):
        page.get_by_role("region", name="Styles").get_by_label('Put "ink style" into the prompt').click()
        assert page.input_value("#prompt textarea") == "a red apple, ink style"


def test_ones_own_file_is_judged_in_words_and_painted_with(visit, mine):
    here = visit()
    page = here.page
    page.click(".own summary")
    page.set_input_files(".own-file input", mine)
    page.wait_for_selector('.verdict[data-fits="true"]')
    verdict = page.inner_text(".verdict")
    assert "fits in part" in verdict and "nowhere" in verdict and "SHA-256" in verdict and "% of the base" in verdict
    assert "wet paper, my style" in page.inner_text('.card:has-text("Mine")')
    here.paint("a red apple", Steps=2)
    here.until("done")
    assert "Mine 1.00" in page.inner_text(".label-facts") and not here.complaints
    with page.expect_download() as saved:
        page.click("text=Save this mix")
    assert len(load_file(saved.value.path())) > 10
    page.wait_for_function("document.querySelector('.own-say').textContent.startsWith('Saved: rank 4')")


def test_a_file_that_does_not_fit_or_is_none_is_said_so(visit, tmp_path):
    page = visit().page
    page.click(".own summary")
    (tmp_path / "x.bin").write_bytes(b"pickle")
    page.set_input_files(".own-file input", tmp_path / "x.bin")
    assert "only .safetensors files are" in page.inner_text(".own-say")
    (tmp_path / "x.safetensors").write_bytes(b"no such thing")
    page.set_input_files(".own-file input", tmp_path / "x.safetensors")
    page.wait_for_function("document.querySelector('.own-say').textContent.includes('is no adapter')")
    tensors = {f"unet.a.lora_{part}.weight": torch.ones(shape) for part, shape in (("A", (2, 8)), ("B", (8, 2)))}
    save_file(tensors, tmp_path / "other.safetensors")
    page.set_input_files(".own-file input", tmp_path / "other.safetensors")
    page.wait_for_selector('.verdict[data-fits="false"]')
    assert (
        "made for another model" in page.inner_text(".verdict") and not page.locator(".card:has-text('other')").count()
    )


def test_the_hub_is_searched_and_a_style_of_it_put_on(visit, server, mine):
    tags = ["lora", "license:cc0-1.0", "base_model:adapter:stabilityai/stable-diffusion-xl-base-1.0"]
    server.hub.repos["someone/wet-paper"] = Repo({COMMIT: {"mine.safetensors": mine.read_bytes()}}, tags=tags)
    page = visit().page
    page.click(".own summary")
    words = page.get_by_label("Hub repository, link, or words to search for")
    words.fill("wet-paper")
    page.keyboard.press("Enter")
    page.click(".found button:has-text('someone/wet-paper')")
    page.wait_for_selector('.verdict[data-fits="true"]')
    assert f"someone/wet-paper@{COMMIT[:12]}" in page.inner_text(".verdict")
    assert page.get_attribute('.card:has-text("Mine")', "aria-pressed") == "true"
    words.fill("someone/nothing")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.own-say').textContent.includes('no public model')")


def test_the_settings_draw_the_noise_and_take_a_picture_to_start_from(visit, server):
    here = visit()
    page = here.page
    here.open()
    page.wait_for_selector(".levels-dot")
    before = page.locator(".levels-dot").count()
    page.get_by_label("number input for Steps").fill("7")
    page.keyboard.press("Tab")
    page.wait_for_function("document.querySelectorAll('.levels-dot').length === 8")
    assert before != 8 and "Noise over 7 steps" in page.inner_text(".levels figcaption")
    page.set_input_files("#start input[type=file]", next(server.scratch.parent.glob("styles/neon.webp")))
    page.wait_for_selector("#start .canvas-thumb img")
    here.paint("a red apple", Steps=4)
    here.until("done")
    assert not here.complaints


def test_an_embedding_of_ones_own_is_a_word_of_the_prompt(visit, server, tmp_path):
    here = visit()
    page = here.page
    sizes = [json.loads((server.model / name / "config.json").read_text())["hidden_size"]
             for name in ("text_encoder", "text_encoder_2")]  # fmt: skip
    vectors = {name: torch.ones(3, size) for name, size in zip(("clip_l", "clip_g"), sizes)}
    save_file(vectors, tmp_path / "my-cat.safetensors")
    page.fill("#prompt textarea", "a red apple")
    page.click(".own summary")
    page.set_input_files(".own-file input", tmp_path / "my-cat.safetensors")
    page.wait_for_selector('.verdict[data-fits="true"]')
    assert "is an embedding: write its word into the prompt: my-cat" in page.inner_text(".verdict")
    assert page.input_value("#prompt textarea") == "a red apple, my-cat"
    page.wait_for_function("document.querySelector('.counter')?.innerText.includes('7 tokens')")
    card = page.locator('.card:has-text("my-cat")')
    card.click()
    assert page.input_value("#prompt textarea") == "a red apple, my-cat" and "a word: my-cat" in card.inner_text()
    assert not page.locator(".mix-row").count() and card.get_attribute("aria-pressed") == "false"
    here.paint("a red apple, my-cat", Steps=2)
    here.until("done")
    assert not here.complaints
