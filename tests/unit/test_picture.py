"""Pictures that callers send: three formats, upright, on white, cut to size; bombs refused unopened (R1)."""

import io
import struct
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lora.errors import InvalidRequest, TooLong
from pipeline.picture import FORMATS, Picture


def file(image: Image.Image, kind: str = "PNG", **how) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def colour(picture: Picture, x: int, y: int) -> tuple[int, ...]:
    return picture.image().getpixel((x, y))


@pytest.mark.parametrize("kind", FORMATS)
def test_three_formats_are_cut_about_the_centre_and_resized(kind):
    image = Image.new("RGB", (96, 32), "red")
    image.paste("blue", (32, 0, 64, 32))
    picture = Picture.read(file(image, kind, quality=95), 64, 64)
    assert (picture.width, picture.height, len(picture.pixels)) == (64, 64, 64 * 64 * 3)
    assert all(abs(a - b) < 12 for a, b in zip(colour(picture, 32, 32), (0, 0, 255)))
    assert "pixels" not in repr(picture)


def test_a_camera_held_on_its_side_is_set_upright():
    image = Image.new("RGB", (64, 64), "red")
    image.paste("blue", (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned a quarter clockwise: the top comes to the right.
    picture = Picture.read(file(image, "JPEG", exif=exif, quality=95), 64, 64)
    assert colour(picture, 60, 32)[2] > 240 > 20 > colour(picture, 4, 32)[2]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    how = {"transparency": image.getpixel((0, 0))} if mode == "P" else {}
    assert colour(Picture.read(file(image, **how), 8, 8), 4, 4) == (255, 255, 255)


def test_sixteen_bits_are_brought_to_eight():
    deep = Image.fromarray(np.full((8, 8), 0x8080, np.uint16))
    assert colour(Picture.read(file(deep), 8, 8), 4, 4) == (128, 128, 128)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side: int) -> bytes:
    """A PNG of that side, all zeros, without ever having it in memory."""
    packer = zlib.compressobj(9)
    row = bytes(side * 3 + 1)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_r1_a_bomb_is_refused_by_its_header():
    # The sides are what counts; of the packed zeros a part is enough.
    data = bomb(13000)[:20_000]
    tracemalloc.start()
    with pytest.raises(TooLong, match="image is 13000 x 13000 pixels large, but must be of at most 32 million"):
        Picture.read(data, 64, 64)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"x", b"GIF89a", b"<svg/>", "text", 3, [], {"path": "/etc/passwd"}])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(InvalidRequest, match=r"image is .*, but must be a PNG, JPEG or WebP file") as caught:
        Picture.read(data, 64, 64)
    assert "\n" not in str(caught.value)


def test_other_formats_of_pillow_are_refused_unread():
    for kind in ("GIF", "BMP", "TIFF", "ICO"):
        with pytest.raises(InvalidRequest, match="PNG, JPEG or WebP"):
            Picture.read(file(Image.new("RGB", (16, 16)), kind), 64, 64)


def test_too_large_a_file_is_refused_unread():
    with pytest.raises(TooLong, match="image is 21 MB large, but must be at most 20 MB"):
        Picture.read(bytes(21 * 2**20), 64, 64)


@given(st.sampled_from(FORMATS), st.integers(0, 10**6), st.integers(0, 10**6), st.binary(max_size=8))
def test_a_damaged_file_is_read_or_refused(kind, cut, place, patch):
    data = bytearray(file(Image.radial_gradient("L").resize((48, 48)), kind))
    place %= len(data)
    data[place : place + len(patch)] = patch
    with suppress(InvalidRequest):
        assert len(Picture.read(bytes(data[: cut % (len(data) + 1)]), 16, 16).pixels) == 16 * 16 * 3
