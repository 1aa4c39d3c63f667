"""Pictures that callers send: three formats, upright, on white, cut to size; bombs refused unopened (R1)."""

import io
import struct
import time
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lora.errors import InvalidRequest, TooLong
from pipeline.metadata.parts import taken_apart
from pipeline.request.picture import FORMATS, MAX_SCANS, Picture
from tests.hostile import bombs


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


REFUSED = {
    "scans": (bombs.scans(), "a JPEG of 13 scans or more"),
    "canvas": (bombs.wide_webp(), "16383 x 16383 pixels large"),
    "lossless": (bombs.riff((b"VP8L", b"\x2f" + b"\xff" * 9)), "16384 x 16384 pixels large"),
    "lossy": (bombs.riff((b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + b"\xff\x3f" * 2)), "16383 x 16383 pixels large"),
    "frame": (bombs.scans(1, 60_000, 60_000), "60000 x 60000 pixels large"),
    **{f"parts {kind}": (bombs.many(kind), "made of more than 20000 parts") for kind in FORMATS},
    "specks": (bombs.specks(), "made of more than 20000 parts"),
}
BARE = {
    "zTXt": bombs.texts(2000), "iTXt": bombs.texts(500, kind=b"iTXt"), "exif png": bombs.exif_png(),
    "exif png of 2 MB": bombs.exif_png(3000, 1_900_000), "exif jpeg": bombs.exif_jpeg(), "exif webp": bombs.exif_webp(),
    "frames png": bombs.frames("PNG"), "frames webp": bombs.frames("WEBP"), "profile": bombs.profile(),
    "xmp": bombs.deep_xmp(), "some scans": bombs.scans(MAX_SCANS - 9, 8, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_r1_what_would_take_long_is_refused_by_its_parts(name, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    data, says = REFUSED[name]
    with pytest.raises(TooLong, match=f"image is {says}, but must be"):
        Picture.read(data, 64, 64)


@pytest.mark.parametrize("name", BARE)
def test_r1_what_is_no_pixel_is_left_out_unopened(name):
    data = BARE[name]
    tracemalloc.start()
    assert colour(Picture.read(data, 16, 16), 8, 8) == ((77,) * 3 if name == "some scans" else (0, 0, 0))
    assert tracemalloc.get_traced_memory()[1] < 2**20 + 3 * len(data)
    tracemalloc.stop()


def test_colours_of_every_kind_stay_what_they_were():
    image = Image.new("RGB", (64, 64), (200, 100, 50))
    kinds = {
        "CMYK": file(image.convert("CMYK"), "JPEG", quality=95), "progressive": file(image, "JPEG", progressive=True),
        "L": file(image.convert("L"), "JPEG"), "P": file(image.quantize(8)), "1": file(image.convert("1")),
        "RGBA": file(image.convert("RGBA")), "lossless": file(image.convert("RGBA"), "WEBP", lossless=True),
        "key": file(image, transparency=(1, 2, 3)), "large": file(image.resize((640, 640)), "JPEG"),
    }  # fmt: skip
    for kind, data in kinds.items():
        theirs = Image.open(io.BytesIO(data)).convert("RGB").resize((16, 16), Image.Resampling.LANCZOS)
        ours = np.array(Picture.read(data, 16, 16).image(), int)
        assert abs(ours - np.array(theirs, int)).max() <= 2, kind


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("turned", range(1, 9))
def test_every_orientation_of_every_format_is_set_upright(kind, turned):
    image = Image.radial_gradient("L").crop((40, 0, 200, 100)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = turned
    data = file(image, kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {"lossless": True}))
    with Image.open(io.BytesIO(data)) as opened:
        upright = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), (32, 48), Image.Resampling.LANCZOS)
    assert abs(np.array(Picture.read(data, 32, 48).image(), int) - np.array(upright, int)).max() <= 8


def test_a_second_picture_after_the_first_is_left_out():
    images = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = file(images[0], "MPO", save_all=True, append_images=images[1:], quality=95)
    assert colour(Picture.read(data + b"\xff\xda\0\2" * 500, 32, 32), 9, 9)[0] > 240


@pytest.mark.parametrize("sign", [b"\xff", b"\xff\0", b"\0", b"\xff\xd0", b"\xff\xda\0\2", b"\xff\xfe\0\2", b"RIFF"])
@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd8\xff\xda\0\2", b"RIFF\0\0\0\0WEBP"])
def test_taking_apart_takes_linear_time(start, sign):
    data = start + sign * (20 * 2**20 // len(sign))
    begun = time.process_time()
    with suppress(InvalidRequest):
        assert sum(len(part.whole) for part in taken_apart(data, "image")[1]) <= len(data)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_in_a_mask_is_black(mode):
    image = Image.new("RGBA", (8, 8), (255, 255, 255, 0)).convert(mode)
    image.paste(Image.new("RGBA", (4, 8), "white").convert(mode), (0, 0))
    how = {"transparency": image.getpixel((7, 0))} if mode == "P" else {}
    mask = Picture.read(file(image, **how), 8, 8, "mask", "L")
    assert (mask.mode, len(mask.pixels)) == ("L", 64) and colour(mask, 7, 4) == 0
    assert colour(mask, 0, 4) == (0 if mode == "P" else 255)
