"""A picture that somebody sent -> one of the size that is to be painted. Pillow only, no torch."""

import io
import struct
import zlib
from dataclasses import dataclass, field

from PIL import Image, ImageOps

from lora.errors import InvalidRequest, TooLong

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES, MAX_PIXELS = 20 * 2**20, 32_000_000
# All that Pillow is known to raise for a file that is damaged or lies about itself.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Picture:
    """RGB of 8 bits a channel: `pixels` are width * height * 3 bytes, row by row. Plain data, so that it pickles."""

    width: int
    height: int
    pixels: bytes = field(repr=False)

    @classmethod
    def read(cls, data: object, width: int, height: int, name: str = "image") -> "Picture":
        """Decode a PNG, JPEG or WebP file: upright, alpha on white, cut about its centre and resized.

        One that was read at that size is taken as it is. Raises InvalidRequest naming the field `name`; too large a
        picture is refused by its header, undecoded.
        """
        if isinstance(data, cls) and (data.width, data.height) == (width, height):
            return data
        allowed = "a PNG, JPEG or WebP file"
        if not isinstance(data, bytes):
            raise InvalidRequest(name, data, allowed)
        if len(data) > MAX_BYTES:
            raise TooLong(name, f"{len(data) / 2**20:.0f} MB large", f"at most {MAX_BYTES // 2**20} MB")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except _DAMAGED:
            raise InvalidRequest(name, data[:8], allowed) from None
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width} x {image.height} pixels large"
            raise TooLong(name, size, f"of at most {MAX_PIXELS // 10**6} million pixels")
        try:
            upright = ImageOps.exif_transpose(image)
            fitted = ImageOps.fit(_on_white(upright), (width, height), Image.Resampling.LANCZOS)
        except _DAMAGED:
            raise InvalidRequest(name, "damaged", allowed) from None
        return cls(width, height, fitted.tobytes())

    def image(self) -> Image.Image:
        """As Pillow has it."""
        return Image.frombytes("RGB", (self.width, self.height), self.pixels)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a channel, which Pillow would cut off at 255.
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    over = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
