"""Pictures and what they are called. Whatever cannot be used is refused by name; nothing is left out in silence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from lora.errors import InvalidRequest

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
MAX_PIXELS, MAX_CAPTION = 2**26, 2_000


@dataclass(frozen=True)
class Example:
    """One picture of the style (RGB) and its captions, of which each showing draws one.

    `before` is the same thing in the same place without the style, as the base paints it, where that is known.
    """

    picture: Image.Image
    captions: tuple[str, ...]
    before: Image.Image | None = None


def captions_of(text: str, trigger: str) -> tuple[str, ...]:
    """A description with and without the trigger: the style must be there when nobody says the word."""
    if text and trigger:
        return text, f"{trigger}, {text}"
    return (text or trigger,)


def read_examples(files: Sequence[Path], captions: Iterable[str], trigger: str) -> list[Example]:
    """Picture files with one caption each ("" for none). Raises InvalidRequest for what is no picture."""
    pairs = zip(files, captions, strict=True)
    return [Example(open_picture(file), captions_of(text.strip(), trigger)) for file, text in pairs]


def read_folder(folder: Path, trigger: str, captions: bool = True, before: Path | None = None) -> list[Example]:
    """All pictures of a folder by name, with `NAME.txt` as caption if `captions`; other files are not looked at.

    `before` is a folder with a picture of the same name for each, whatever its format: `Example.before`.
    """
    files = _pictures("images", folder)
    texts = [_caption(f.with_suffix(".txt"), trigger) if captions else "" for f in files]
    examples = read_examples(files, texts, trigger)
    if before is None:
        return examples
    plain = {file.stem: file for file in _pictures("before", before)}
    if missing := [file.stem for file in files if file.stem not in plain]:
        raise InvalidRequest("before", f"missing {missing[0]}", "a picture of the same name for each in images")
    return [replace(e, before=open_picture(plain[file.stem], "before")) for e, file in zip(examples, files)]


def _pictures(field: str, folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InvalidRequest(field, folder.name, "a folder with pictures")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    if not files:
        raise InvalidRequest(field, folder.name, "a folder with pictures (" + ", ".join(sorted(SUFFIXES)) + ")")
    return files


def _caption(file: Path, trigger: str) -> str:
    return caption_of(file.read_bytes() if file.exists() else None, file.name, trigger)


def caption_of(text: bytes | None, name: str, trigger: str) -> str:
    """What a caption's file says, on one line; "" where there is none, but a trigger. Raises InvalidRequest with its
    `name`.
    """
    if text is None:
        if trigger:
            return ""
        raise InvalidRequest("captions", f"missing {name}", "one text file for each picture, or give a trigger")
    if len(text) > MAX_CAPTION:
        raise InvalidRequest("captions", f"{name} of {len(text)} bytes", f"at most {MAX_CAPTION} bytes each")
    try:
        return " ".join(text.decode("utf-8-sig").split())
    except UnicodeDecodeError:
        raise InvalidRequest("captions", name, "text in UTF-8") from None


def open_picture(file: Path, field: str = "images") -> Image.Image:
    """A picture as RGB, upright, transparent parts white."""
    try:
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{file.name} of {image.width}x{image.height}"
                raise InvalidRequest(field, size, f"at most {MAX_PIXELS} pixels each")
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise InvalidRequest(field, file.name, "a readable picture") from None
    white = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(white, upright).convert("RGB")


def square(picture: Image.Image, side: int) -> np.ndarray:
    """The middle square of a picture, side x side x 3, uint8."""
    return np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS))


def pixels(pictures: Sequence[Image.Image], side: int) -> torch.Tensor:
    """All pictures as N x 3 x side x side, uint8."""
    return torch.from_numpy(np.stack([square(picture, side) for picture in pictures])).permute(0, 3, 1, 2).contiguous()


def data_sha256(pictures: torch.Tensor, examples: Sequence[Example]) -> str:
    """Hash of the pictures as they are shown and of their captions, in order."""
    digest = sha256(pictures.numpy().tobytes())
    for example in examples:
        digest.update("\0".join(("", *example.captions)).encode())
    return digest.hexdigest()
