"""Picture files that mean harm: small to send, and large, long or deep for whoever opens them."""

import gzip
import io
import json
import struct
import zlib
from functools import cache

from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
ENTRY_SHORT, ENTRY_LONG, ENTRY_BYTES = 3, 4, 7


def file(image: Image.Image, kind: str = "PNG", **how) -> bytes:
    """A file as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, side: int = 8) -> bytes:
    """A small PNG with these chunks before its pixels."""
    pixels = chunk(b"IDAT", zlib.compress(bytes(side * (3 * side + 1)), 9))
    return PNG + header(side, side) + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def header(width: int, height: int) -> bytes:
    """The first chunk of a PNG of 8 bits a channel, RGB."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


@cache
def packed(size: int, byte: bytes = b"a") -> bytes:
    """That many of one byte, as zlib packs them."""
    return zlib.compress(byte * size, 9)


def texts(count: int, size: int = 390_000, kind: bytes = b"zTXt", name: bytes = b"Comment") -> bytes:
    """A PNG with so many compressed texts, each of them `size` bytes once unpacked."""
    start = {b"zTXt": b"\0\0", b"iTXt": b"\0\1\0\0\0"}[kind]
    return png(*(chunk(kind, name + b"%d" % i + start + packed(size)) for i in range(count)))


def huge(side: int = 13_000) -> bytes:
    """A PNG of that side, all zeros, of which a tenth is there: more than whoever refuses it by its header sees."""
    return PNG + header(side, side) + chunk(b"IDAT", packed(side * (3 * side + 1) // 10, b"\0")) + chunk(b"IEND", b"")


def exif(entries: int, each: int = 390_000, tag: int = 0x9286) -> bytes:
    """EXIF whose entries all mean the same `each` bytes, which stand in it once; the first IFD leads to itself."""
    start = 8 + 2 + 12 * entries + 4
    made = [struct.pack("<HHII", 0x8769, ENTRY_LONG, 1, 8)]
    made += [struct.pack("<HHII", (tag + i) & 0xFFFF, ENTRY_BYTES, each, start) for i in range(1, entries)]
    return b"II*\0" + struct.pack("<IH", 8, entries) + b"".join(made) + struct.pack("<I", 0) + bytes(each)


def exif_png(entries: int = 3_000, each: int = 350_000) -> bytes:
    """A PNG with such EXIF."""
    return png(chunk(b"eXIf", exif(entries, each)))


def exif_jpeg(entries: int = 3_000) -> bytes:
    """A JPEG with such EXIF, as large as a segment can be."""
    data = b"Exif\0\0" + exif(entries, 65_000 - 12 * entries)
    whole = file(Image.new("RGB", (8, 8)), "JPEG")
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + whole[2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return struct.pack("<4sI4s", b"RIFF", len(body) + 4, b"WEBP") + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    """The first chunk of an extended WebP file."""
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def pixels(side: int = 8) -> tuple[bytes, bytes]:
    """A lossless picture as a chunk of a WebP file."""
    made = file(Image.new("RGB", (side, side)), "WEBP", lossless=True)
    (size,) = struct.unpack("<I", made[16:20])
    return b"VP8L", made[20 : 20 + size]


def exif_webp(entries: int = 3_000, each: int = 350_000) -> bytes:
    """A WebP with such EXIF."""
    return riff(canvas(8, 8, 0x08), pixels(), (b"EXIF", exif(entries, each)))


def wide_webp(side: int = 16_383) -> bytes:
    """A WebP of a large canvas with a small picture in it."""
    frame = bytes(6) + (7).to_bytes(3, "little") * 2 + bytes(4)
    kind, data = pixels()
    inside = frame + struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2)
    return riff(canvas(side, side, 0x02), (b"ANIM", bytes(6)), (b"ANMF", inside))


def frames(kind: str, count: int = 400, side: int = 64) -> bytes:
    """An animation."""
    images = [Image.new("RGB", (side, side), (i % 256, i // 256, 0)) for i in range(count)]
    return file(images[0], kind, save_all=True, append_images=images[1:])


def scans(count: int = 10_000, width: int = 7_000, height: int = 4_500) -> bytes:
    """A JPEG that goes over all of its pixels so many times: the last scan of a small one, again and again.

    What a scan lacks is zeros to the decoder, so the scan of 8 pixels is one of any size.
    """
    whole = bytearray(file(Image.new("L", (8, 8), 77), "JPEG", progressive=True))
    frame, last = whole.index(b"\xff\xc2"), whole.rindex(b"\xff\xda")
    whole[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(whole[:last]) + bytes(whole[last:-2]) * count + b"\xff\xd9"


def profile(count: int = 255, size: int = 65_000) -> bytes:
    """A JPEG with a colour profile of so many segments."""
    part = b"ICC_PROFILE\0" + bytes([1, count]) + bytes(size)
    parts = [b"\xff\xe2" + struct.pack(">H", len(part) + 2) + part] * count
    whole = file(Image.new("RGB", (8, 8)), "JPEG")
    return whole[:2] + b"".join(parts) + whole[2:]


def many(kind: str, count: int = 100_000) -> bytes:
    """A file of so many parts without a use, each as small as can be."""
    if kind == "PNG":
        return png(chunk(b"prVt", b"") * count)
    if kind == "WEBP":
        return riff(pixels(), *[(b"junk", b"")] * count)
    whole = file(Image.new("RGB", (8, 8)), "JPEG")
    return whole[:2] + b"\xff\xfe\0\2" * count + whole[2:]


def specks(count: int = 100_000) -> bytes:
    """A PNG whose pixels lie in so many chunks of a byte."""
    body = zlib.compress(bytes(400 * (3 * 400 + 1)), 0)[:count]
    return PNG + header(400, 400) + b"".join(chunk(b"IDAT", bytes([b])) for b in body) + chunk(b"IEND", b"")


def hidden(mark: bytes = b"stealth_pngcomp", claimed: int = 2**32 - 1, side: int = 2000, body: bytes = b"") -> bytes:
    """A PNG with text in its lowest bits of alpha that claims to have so many; by default 200 MB once unpacked."""
    body = body or gzip.compress(bytes(200 * 2**20), 9, mtime=0)
    image = Image.new("RGBA", (side, side), (255, 255, 255, 254))
    bits = "".join(f"{byte:08b}" for byte in mark + claimed.to_bytes(4, "big") + body[:400_000])
    column, bits = Image.new("L", (side, -(-len(bits) // side))), bits.ljust(-(-len(bits) // side) * side, "0")
    column.putdata([254 + int(bit) for bit in bits])
    alpha = Image.new("L", (side, side), 254)
    alpha.paste(column.transpose(Image.Transpose.TRANSPOSE), (0, 0))
    image.putalpha(alpha)
    return file(image)


def plain(side: int = 5600) -> bytes:
    """A PNG of 31 million pixels that says nothing, all of which have to be looked at to know it."""
    return file(Image.new("RGBA", (side, side), (9, 9, 9, 255)), compress_level=1)


def graph(kind: str = "circle", count: int = 1100) -> bytes:
    """A PNG with a ComfyUI graph that leads in a circle, in which every node is a sampler, or that is deep."""
    sampler = {"seed": 1, "steps": 9, "cfg": 1, "sampler_name": "euler"}
    nodes = {
        str(i): {"class_type": "X", "inputs": {"model": [str((i + 1) % count), 0], "samples": [str((i + 1) % count), 0]}
                 | (sampler if kind == "samplers" or i == 0 else {})}
        for i in range(count)
    }  # fmt: skip
    text = '{"class_type":' + '{"a":' * 15_000 if kind == "deep" else json.dumps(nodes, separators=(",", ":"))
    return png(chunk(b"tEXt", b"prompt\0" + text.encode()))


def deep_xmp(depth: int = 200_000) -> bytes:
    """A PNG whose XMP is XML that deep."""
    return png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<a>" * depth + b"</a>" * depth))
