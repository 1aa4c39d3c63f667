"""A picture that somebody sent -> one of the size that is to be painted. Pillow only, no torch."""

import io
import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image, ImageOps

from lora.errors import InvalidRequest, TooLong
from pipeline.metadata.marks import UNMARKED, Marks, read_marks
from pipeline.metadata.parts import ALLOWED, END, JPEG, MAX_BYTES, PNG, SCAN, Part, exif, taken_apart

FORMATS = ("PNG", "JPEG", "WEBP")
# Pillow holds a WebP several times while it decodes it. A progressive JPEG has about ten scans, and each may go over
# all pixels in no bytes at all.
MAX_PIXELS, MAX_WEBP_PIXELS, MAX_SCANS, MAX_SCANNED = 32_000_000, 16_000_000, 64, 400_000_000
# What the pixels need. Of a JPEG the tables and frames, and the two notes on what its colours are.
_KEPT = {
    "PNG": {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"},
    "JPEG": {bytes([kind]) for kind in (*range(0xC0, 0xD0), 0xDB, 0xDD, 0xE0, 0xEE)} | {SCAN, END},
    "WEBP": {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"},
}
# For the orientations from 2 on; 1 is upright.
_TURNS = (
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
)  # fmt: skip
# All that Pillow is known to raise for a file that is damaged or lies about itself.
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
Mode = Literal["RGB", "L"]
# In a mask, what is at least as light as this is white.
WHITE = 128


@dataclass(frozen=True)
class Picture:
    """8 bits a channel, RGB or, in mode "L", grey: `pixels` are width * height * 3 bytes, or * 1, row by row.

    `marks` are what its file said of itself. Plain data, so that it pickles.
    """

    width: int
    height: int
    pixels: bytes = field(repr=False)
    mode: Mode = "RGB"
    marks: Marks = UNMARKED

    @classmethod
    def read(cls, data: object, width: int, height: int, name: str = "image", mode: Mode = "RGB") -> "Picture":
        """Decode a PNG, JPEG or WebP file: upright, cut about its centre and resized, alpha on white, or of a grey one
        on black.

        One that was read at that size is taken as it is, and so is UNREAD. Raises InvalidRequest naming the field
        `name`; what would be too large or take too long is refused by its parts, undecoded.
        """
        if isinstance(data, cls) and (data is UNREAD or (data.width, data.height, data.mode) == (width, height, mode)):
            return data
        if not isinstance(data, bytes):
            raise InvalidRequest(name, data, ALLOWED)
        if len(data) > MAX_BYTES:
            raise TooLong(name, f"{len(data) / 2**20:.0f} MB large", f"at most {MAX_BYTES // 2**20} MB")
        form, kept, turned = bare(data, name)
        try:
            image = Image.open(io.BytesIO(kept), formats=(form,))
            # A JPEG decodes to a fraction of its size in less time and memory.
            image.draft(None, (2 * max(width, height),) * 2)
            fitted = _fitted(image, (width, height) if turned < 5 else (height, width), mode)
        except DAMAGED:
            raise InvalidRequest(name, "damaged", ALLOWED) from None
        upright = fitted.transpose(_TURNS[turned - 2]) if turned > 1 else fitted
        return cls(width, height, upright.tobytes(), mode, read_marks(data, name))

    def image(self) -> Image.Image:
        """As Pillow has it."""
        return Image.frombytes(self.mode, (self.width, self.height), self.pixels)


# Stands for a picture that is decoded elsewhere, or never: a request with it can be judged, not painted.
UNREAD = Picture(0, 0, b"")


def bare(data: bytes, name: str) -> tuple[str, bytes, int]:
    """The format, the file with nothing in it but the first picture, and its orientation. Raises InvalidRequest."""
    form, parts = taken_apart(data, name)
    kept: list[bytes | memoryview] = []
    seen: Counter[bytes | str] = Counter()
    turned, pixels = 1, 0
    most = MAX_WEBP_PIXELS if form == "WEBP" else MAX_PIXELS
    for part in parts:
        kind = "EXIF" if part.is_exif else part.kind
        seen[kind] += 1
        width, height = _size(form, part)
        pixels = max(pixels, width * height)
        if pixels > most:
            size = f"{width} x {height} pixels large"
            raise TooLong(name, size, f"of at most {most // 10**6} million pixels")
        if form == "JPEG" and seen[SCAN] > min(MAX_SCANS, MAX_SCANNED // max(pixels, 1)):
            raise TooLong(name, f"a JPEG of {seen[SCAN]} scans or more", "a smaller one or one of fewer")
        if kind == "EXIF" and seen[kind] == 1:
            turned = exif(part.data)[0]
        elif kind == b"VP8X" and part.data:
            # It says what else is in the file: of that only alpha and animation stay.
            kept.append(b"%s%c%s" % (part.whole[:8], part.data[0] & 0x12, part.whole[9:]))
        elif kind in _KEPT[form] and not (kind == b"ANMF" and seen[kind] > 1):
            kept.append(part.whole)
    body = b"".join(kept)
    head = {"PNG": PNG, "JPEG": JPEG, "WEBP": struct.pack("<4sI4s", b"RIFF", len(body) + 4, b"WEBP")}[form]
    return form, head + body, turned


def upright_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height of a picture as it is to be seen, 0 x 0 where its file does not say. Raises as `bare` does."""
    form, parts = taken_apart(data, name)
    size, turned = (0, 0), 0
    for part in parts:
        size = size if any(size) else _size(form, part)
        turned = turned or (exif(part.data)[0] if part.is_exif else 0)
    return size[::-1] if turned > 4 else size


def _size(form: str, part: Part) -> tuple[int, int]:
    """Width and height where a part says them, 0 x 0 elsewhere."""
    data = bytes(part.data[:10]).ljust(10, b"\0")
    if form == "JPEG":
        frame = 0xC0 <= part.kind[0] <= 0xCF and part.kind not in (b"\xc4", b"\xc8", b"\xcc")
        return struct.unpack(">HH", data[1:5])[::-1] if frame else (0, 0)
    if part.kind == b"IHDR":
        return struct.unpack(">II", data[:8])
    if part.kind == b"VP8X":
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if part.kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if part.kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _fitted(image: Image.Image, size: tuple[int, int], mode: Mode) -> Image.Image:
    """Cut and resized, then brought to a mode: the other way round there would be several copies of a large picture."""
    if image.mode in ("1", "P") or "transparency" in image.info:
        # No mean of two colours is one that stands in the palette, or that means "transparent".
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    small = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if small.mode.startswith("I"):
        # 16 bits a channel, which Pillow would cut off at 255.
        small = small.convert("I").point(lambda value: value / 257).convert("L")
    if not small.has_transparency_data:
        return small.convert(mode)
    under = Image.new("RGBA", size, "white" if mode == "RGB" else "black")
    return Image.alpha_composite(under, small.convert("RGBA")).convert(mode)
