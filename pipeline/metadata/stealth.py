"""Text in the lowest bits of a picture's pixels, column by column: "stealth PNG info", which lives through sites that
strip a file of all its texts. A mark of 15 letters, the number of bits in 32 bits, and the text, packed or not.
"""

import io
import zlib

from PIL import Image

from lora.errors import InvalidRequest
from pipeline.metadata.parts import PNG
from pipeline.request.picture import DAMAGED, bare

# The mark -> the channels that have the bits, and whether the text is packed.
MARKS = {
    b"stealth_pnginfo": ("A", False), b"stealth_pngcomp": ("A", True),
    b"stealth_rgbinfo": ("RGB", False), b"stealth_rgbcomp": ("RGB", True),
}  # fmt: skip
_MARK, _HEAD = 15, 19


def stealth_text(data: bytes, most: int) -> str:
    """The hidden text of a PNG file, up to `most` bytes of it, "" where there is none. Nothing is raised: a picture
    that is too large or damaged has none.
    """
    # Only those of 8 bits a channel and without a palette are written so.
    if not (data.startswith(PNG) and data[24:25] == b"\x08" and data[25:26] in (b"\x02", b"\x06")):
        return ""
    try:
        image = Image.open(io.BytesIO(bare(data, "file")[1]), formats=("PNG",))
        for channels in ("A", "RGB") if image.mode == "RGBA" else ("RGB",):
            head = _bits(image, channels, _HEAD)
            packed = MARKS.get(head[:_MARK], ("", False))
            if packed[0] == channels:
                size = int.from_bytes(head[_MARK:], "big") // 8
                body = _bits(image, channels, _HEAD + min(size, most))[_HEAD:]
                return (_unpacked(body, most) if packed[1] else body).decode("utf-8", "replace")
    except (InvalidRequest, *DAMAGED):
        pass
    return ""


def _bits(image: Image.Image, channels: str, count: int) -> bytes:
    """The first `count` bytes of the lowest bits, eight pixels' or channels' to a byte."""
    pixels = -(-8 * count // len(channels))
    height = min(image.height, pixels)
    found = bytearray()
    # Eight columns have a whole number of bytes.
    for left in range(0, min(image.width, -(-pixels // height)), 8):
        part = image.crop((left, 0, min(left + 8, image.width), height)).transpose(Image.Transpose.TRANSPOSE)
        levels = (part.getchannel("A") if channels == "A" else part.convert("RGB")).tobytes()
        # Black and white has eight pixels to a byte. In one row there is nothing between rows to fill up.
        row = Image.frombytes("L", (len(levels), 1), levels).point(lambda level: 255 * (level & 1))
        found += row.convert("1", dither=Image.Dither.NONE).tobytes()
    return bytes(found[:count])


def _unpacked(body: bytes, most: int) -> bytes:
    """What gzip packed, nothing where it is damaged or unpacks to more than `most` bytes."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(body, most)
    except zlib.error:
        return b""
    return b"" if unpacker.unconsumed_tail else text
