"""The pictures of a grid on one labelled sheet. Pillow only, no torch."""

import io
import math
import unicodedata
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from pipeline.request.compare import Grid

MAX_PIXELS, GAP, LINES = 32_000_000, 6, 3
PAPER, INK, SOFT = "#faf8f4", "#1d1b19", "#5c554a"


def sheet(grid: Grid, pictures: Sequence[bytes | None]) -> Image.Image:
    """All cells, the values of x above and those of y at the left, each axis with its name; pages below each other.

    Pictures are scaled down where the sheet would have more than MAX_PIXELS. Where there is none (None) its place is
    empty.
    """
    if grid.z is None:
        return _page(grid, pictures, 1)
    count = len(grid.cells) // len(grid.z.values)
    pages = [_page(page, pictures[i * count : (i + 1) * count], len(grid.z.values), pictures)
             for i, page in enumerate(grid.pages)]  # fmt: skip
    font = ImageFont.load_default(max(14, pages[0].width // 40))
    assert isinstance(font, ImageFont.FreeTypeFont)
    head = math.ceil(sum(font.getmetrics())) + 3 * GAP
    made = Image.new("RGB", (pages[0].width, sum(page.height + head for page in pages)), PAPER)
    draw, top = ImageDraw.Draw(made), 0
    for page, label in zip(pages, grid.z.labels):
        words = wrapped(f"{grid.z.title}: {label}", font, made.width - 2 * GAP)[0]
        draw.text((made.width / 2, top + 2 * GAP), words, INK, font, "ma")
        made.paste(page, (0, top + head))
        top += head + page.height
    return made


def _page(grid: Grid, pictures: Sequence[bytes | None], pages: int, every: Sequence[bytes | None] = ()) -> Image.Image:
    """One page of `pages`; where it has no picture, one of `every` says how large they are."""
    columns, rows = len(grid.x.values), len(grid.y.values) if grid.y else 1
    known = next(picture for picture in (*pictures, *every) if picture)
    with Image.open(io.BytesIO(known)) as first:
        share = min(1.0, math.sqrt(MAX_PIXELS / (first.width * first.height * columns * rows * pages)))
        width, height = (max(1, int(side * share)) for side in first.size)
    font = ImageFont.load_default(max(12, min(width, height) // 11))
    # With a size it is never Pillow's bitmap font.
    assert isinstance(font, ImageFont.FreeTypeFont)
    line = math.ceil(sum(font.getmetrics()) * 1.05)
    above = [wrapped(label, font, width) for label in grid.x.labels]
    left = min(2 * width, int(_widest([grid.y.title, *grid.y.labels], font))) + 3 * GAP if grid.y else GAP
    beside = [wrapped(label, font, left - 3 * GAP) for label in grid.y.labels] if grid.y else []
    # A line for the names of the axes, then as many as the longest value of x takes.
    top = line * (1 + max(map(len, above))) + 3 * GAP
    made = Image.new("RGB", (left + columns * (width + GAP), top + rows * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(made)
    middle = left + (columns * (width + GAP) - GAP) / 2
    draw.text((middle, GAP), wrapped(grid.x.title, font, made.width)[0], SOFT, font, "ma")
    for column, lines in enumerate(above):
        _write(draw, lines, left + column * (width + GAP) + width / 2, top - GAP - line * len(lines), line, font, "ma")
    if grid.y:
        draw.text((left - 2 * GAP, GAP + line), wrapped(grid.y.title, font, left)[0], SOFT, font, "ra")
    for row, lines in enumerate(beside):
        start = top + row * (height + GAP) + (height - line * len(lines)) / 2
        _write(draw, lines, left - 2 * GAP, start, line, font, "ra")
    for cell, picture in zip(grid.cells, pictures):
        if picture is None:
            continue
        with Image.open(io.BytesIO(picture)) as image:
            fitted = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        made.paste(fitted, (left + cell.column * (width + GAP), top + cell.row * (height + GAP)))
    return made


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines no wider than that, at most LINES of them: what is too long loses its middle.

    Pillow's own font, the only one that is there everywhere, is Latin without accents: é is drawn as e.
    """
    text = text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    lines = _lines(text.split(), font, width)
    kept = len(text)
    while len(lines) > LINES and kept > 2:
        kept = kept * 9 // 10
        lines = _lines(f"{text[: kept // 2].rstrip()} … {text[len(text) - kept // 2 :].lstrip()}".split(), font, width)
    return lines or [""]


def _lines(words: Sequence[str], font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_cut(word, font, width))
    return lines


def _cut(word: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """A word that fits, its middle left out if need be."""
    kept, short = len(word), word
    while font.getlength(short) > width and kept > 2:
        kept -= 1
        short = f"{word[: (kept + 1) // 2]}…{word[len(word) - kept // 2 :]}"
    return short


def _widest(texts: Sequence[str], font: ImageFont.FreeTypeFont) -> float:
    return math.ceil(max(font.getlength(text[:400]) for text in texts))


def _write(draw: ImageDraw.ImageDraw, lines: list[str], x: float, y: float, line: int, font, anchor: str) -> None:
    for i, text in enumerate(lines):
        draw.text((x, y + i * line), text, INK, font, anchor)
