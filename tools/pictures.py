"""The pictures in README.md, made anew: `python app.py` on the embedded model, driven in a browser without windows.

    python -m tools.pictures [--only app] [--to assets/pictures]

Needs what the browser tests need. Seeds are locked, so that the same weights paint the same; some minutes on two cores.
"""

import argparse
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageDraw
from playwright.sync_api import sync_playwright
from safetensors.torch import save_file

from assets.recipe.common import ADAPTERS, MODEL, ROOT
from assets.recipe.contact import rows, sheet
from assets.recipe.styles import STYLES
from lora.files import read
from tests import serving
from tests.ui.conftest import ARGUMENTS, CHROMIUM, SETTLED, Visit
from tests.ui.test_canvas import stroke
from tests.ui.test_train import hand_in, words

WIDTH, HEIGHT = 1280, 860
# In milliseconds: how long a training may take on a machine that has other things to do.
PATIENCE = 600_000
PROMPTS = ["red apple", "penguin", "rocket", "guitar", "castle"]
# On the sheet of styles, in pixels.
SIDE = 160
GROUND, LINE, INSIDE = "#8fd3c8", "#14304a", "#ffd166"
# What the style in `train` learns from: shapes, the hindmost first, on 256 pixels.
DRAWINGS: dict[str, list[tuple[str, tuple[int, ...]]]] = {
    "balloon": [("polygon", (128, 165, 108, 235, 148, 235)), ("ellipse", (60, 18, 196, 184))],
    "bell": [("ellipse", (104, 180, 152, 232)), ("polygon", (46, 202, 84, 60, 128, 26, 172, 60, 210, 202))],
    "bottle": [("rectangle", (104, 20, 152, 110)), ("rectangle", (76, 96, 180, 236))],
    "crown": [("polygon", (30, 205, 30, 75, 82, 130, 128, 50, 174, 130, 226, 75, 226, 205))],
    "cup": [("ellipse", (150, 85, 228, 170)), ("rectangle", (45, 65, 185, 215))],
    "fish": [("polygon", (160, 128, 232, 70, 232, 186)), ("ellipse", (24, 62, 198, 194)),
             ("ellipse", (62, 96, 92, 126))],
    "house": [("rectangle", (64, 118, 192, 226)), ("rectangle", (106, 160, 150, 226)),
              ("polygon", (34, 124, 128, 32, 222, 124))],
    "key": [("rectangle", (110, 110, 236, 146)), ("rectangle", (186, 140, 218, 184)), ("ellipse", (20, 68, 140, 188)),
            ("ellipse", (54, 102, 106, 154))],
    "mushroom": [("rectangle", (98, 115, 158, 228)), ("ellipse", (34, 34, 222, 154))],
    "rocket": [("polygon", (70, 222, 98, 140, 158, 140, 186, 222)),
               ("polygon", (86, 190, 86, 90, 128, 22, 170, 90, 170, 190)), ("ellipse", (106, 86, 150, 130))],
    "sailboat": [("polygon", (34, 176, 222, 176, 182, 226, 74, 226)), ("polygon", (128, 28, 128, 164, 206, 164))],
    "tree": [("rectangle", (108, 150, 148, 236)), ("ellipse", (48, 22, 208, 174))],
}  # fmt: skip


def drawn(name: str) -> dict:
    """A drawing as a file that a visitor hands in: navy outlines, yellow inside, on mint."""
    picture, data = Image.new("RGB", (256, 256), GROUND), io.BytesIO()
    draw = ImageDraw.Draw(picture)
    for kind, points in DRAWINGS[name]:
        getattr(draw, kind)(points, fill=INSIDE, outline=LINE, width=12)
    picture.save(data, "PNG")
    return {"name": f"{name}.png", "mimeType": "image/png", "buffer": data.getvalue()}


def seen(here: Visit, height: int = HEIGHT) -> bytes:
    """The page from its top once all is there, with the mouse on nothing."""
    page = here.page
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    # What has been scrolled out of a strip is not loaded by itself.
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    page.evaluate(SETTLED)
    return page.screenshot(animations="disabled")


def lock(here: Visit, seed: int) -> None:
    """Lock the seed."""
    here.page.click(".seed-lock")
    here.page.fill(".seed-number", str(seed))
    here.page.keyboard.press("Tab")


def painted(here: Visit, prompt: str, seed: int) -> None:
    """Paint that, and wait for it."""
    lock(here, seed)
    here.paint(prompt)
    here.until("done")


def app(here: Visit) -> bytes:
    """A prompt, a style that is on, and what came of them."""
    here.page.click('.card[data-style="poster"]')
    here.page.fill("#weight-poster", "0.9")
    painted(here, "a parrot, poster", 1)
    return seen(here)


def brush(here: Visit) -> bytes:
    """The leaf of an apple brushed over, and what shall be there."""
    painted(here, "a red apple", 0)
    here.page.evaluate("scrollTo(0, 0)")
    here.page.locator(".stage").get_by_text("Change a part").click()
    here.page.wait_for_function("document.querySelector('.brush-stage img').naturalWidth > 1")
    stroke(here.page, (0.53, 0.24), (0.64, 0.1), (0.8, 0.06), (0.72, 0.17), (0.58, 0.24))
    here.page.fill(".brush-words textarea", "a red apple with a blue leaf")
    return seen(here)


def verdict(here: Visit) -> bytes:
    """What is said of a file that a visitor brings: `ink` by another name."""
    shipped = read(ADAPTERS / "ink.safetensors")
    here.page.click(".own summary")
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(folder) / "wet-paper.safetensors"
        save_file(dict(shipped.tensors), mine, dict(shipped.metadata) | {"modelspec.title": "Wet paper"})
        here.page.set_input_files(".own-file input", mine)
        here.page.wait_for_selector('.verdict[data-fits="true"]')
    here.page.mouse.move(0, 0)
    return here.page.locator(".verdict").screenshot(animations="disabled")


def compare(here: Visit) -> bytes:
    """No style and each style across, two things down."""
    page = here.page
    lock(here, 0)
    page.fill("#prompt textarea", "a red apple")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Down", exact=True).select_option("prompt")
    page.get_by_label("Down: Words, values").fill("red apple, penguin")
    page.keyboard.press("Tab")
    page.wait_for_function("document.querySelector('.axes-cost').textContent.includes('× 2: 12 pictures')")
    page.click("#compare")
    page.wait_for_selector('.board[data-status="done"]', timeout=PATIENCE)
    page.wait_for_selector(".axes-cost:not(.old)")
    return seen(here)


def train(here: Visit) -> bytes:
    """A style that was learnt from the drawings, in as few steps as the page offers."""
    page = here.page
    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector(".drop input", state="attached")
    hand_in(page, *(file for name in DRAWINGS for file in (drawn(name), words(f"{name}.txt", name))))
    page.get_by_label("quick").check()
    page.click("#train")
    page.wait_for_selector('.run[data-status="done"]', timeout=PATIENCE)
    return seen(here, 1190)


def styles() -> bytes:
    """PROMPTS by the base and by each style, small."""
    torch.set_num_threads(1)
    pipe = StableDiffusionXLPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    found = sorted(path for path in ADAPTERS.glob("*.safetensors") if path.stem in STYLES)
    labelled = [
        (label.removesuffix(" 1"), [picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for picture in pictures])
        for label, pictures in rows(pipe, PROMPTS, found, [1.0])
    ]
    data = io.BytesIO()
    sheet(labelled, PROMPTS).save(data, "PNG")
    return data.getvalue()


SHOTS: dict[str, Callable[[Visit], bytes]] = {
    "app": app,
    "brush": brush,
    "verdict": verdict,
    "compare": compare,
    "train": train,
}


@contextmanager
def browser() -> Iterator[Callable[[], Visit]]:
    """Visits to the app, which ends with the block."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = serving.start(Path(folder) / "log", PROFILE="embedded")
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield lambda: Visit(chromium, server.url, WIDTH, HEIGHT)
        finally:
            chromium.close()
            if server.process:
                server.process.kill()
                server.process.wait()


def write(picture: bytes, path: Path) -> None:
    """As WebP."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.save(path, "WEBP", quality=82, method=6)
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size:,} bytes", flush=True)


def main() -> None:
    """Make those that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=(*SHOTS, "styles"), action="append", help="this one; may be given again")
    parser.add_argument("--to", type=Path, default=ROOT / "assets" / "pictures", help="folder that they are written to")
    args = parser.parse_args()
    chosen = args.only or [*SHOTS, "styles"]
    if "styles" in chosen:
        write(styles(), args.to / "styles.webp")
    if asked := [name for name in chosen if name in SHOTS]:
        with browser() as visit:
            for name in asked:
                here = visit()
                here.page.set_default_timeout(120_000)
                write(SHOTS[name](here), args.to / f"{name}.webp")
                here.page.close()


if __name__ == "__main__":
    main()
