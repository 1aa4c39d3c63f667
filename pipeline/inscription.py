"""The text about its making that a picture file carries. Read chunk by chunk; not a pixel is decoded."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

from lora.errors import Described, InvalidRequest, TooLong
from pipeline.infotext import MAX_INFOTEXT

MAX_TEXT, MAX_CHUNKS = 4 * MAX_INFOTEXT, 20_000
PNG, EXIF, EXIF_IFD, USER_COMMENT = b"\x89PNG\r\n\x1a\n", b"Exif\0\0", 0x8769, 0x9286
# By how sure they are: A1111 and Fooocus, Fooocus in a JPEG, others.
NAMES = ("parameters", "UserComment", "Comment", "Description")


def inscription(file: BinaryIO, field: str = "file") -> str:
    """What a PNG, JPEG or WebP file says of how it was made.

    Raises InvalidRequest naming the `field` for other files and for those that say nothing, TooLong.
    """
    start = file.read(12)
    if start.startswith(PNG):
        file.seek(len(PNG))
        chunks = _png(file)
    elif start.startswith(b"\xff\xd8"):
        file.seek(2)
        chunks = _jpeg(file)
    elif start[:4] == b"RIFF" and start[8:] == b"WEBP":
        chunks = _webp(file)
    else:
        raise InvalidRequest(field, start[:8], "a PNG, JPEG or WebP file")
    texts: dict[str, str] = {}
    for name, text in chunks:
        texts.setdefault(name, text)
    found = next((texts[name] for name in NAMES if texts.get(name, "").strip()), "")
    if not found:
        raise Described(field, "a picture that does not say how it was made", "one that does, as A1111 writes it")
    if len(found) > MAX_INFOTEXT:
        raise TooLong(field, f"a picture with {len(found)} characters of text", f"one of at most {MAX_INFOTEXT}")
    return found


def _png(file: BinaryIO) -> Iterator[tuple[str, str]]:
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head)
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf") and size <= MAX_TEXT:
            data = file.read(size)
            if len(data) < size:
                return
            yield _exif(data) if kind == b"eXIf" else _text(kind, data)
            size = 0
        # The pixels are stepped over, and a checksum after each chunk.
        file.seek(size + 4, 1)


def _text(kind: bytes, data: bytes) -> tuple[str, str]:
    """Keyword and text of a text chunk, the text "" where it is damaged or unpacks to too much."""
    name, _, rest = data.partition(b"\0")
    packed, encoding = kind == b"zTXt", "latin-1"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed, encoding = rest[:1] == b"\1", "utf-8"
        # After two flags a language and a translated keyword.
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    if packed:
        unpacker = zlib.decompressobj()
        try:
            rest = unpacker.decompress(rest, MAX_TEXT)
        except zlib.error:
            rest = b""
        rest = b"" if unpacker.unconsumed_tail else rest
    return name.decode("latin-1"), rest.decode(encoding, "replace")


def _jpeg(file: BinaryIO) -> Iterator[tuple[str, str]]:
    for _ in range(MAX_CHUNKS):
        head = file.read(4)
        # After "start of scan" there are only pixels.
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            return
        data = file.read(max(0, struct.unpack(">H", head[2:])[0] - 2))
        if head[1] == 0xE1 and data.startswith(EXIF):
            yield _exif(data)


def _webp(file: BinaryIO) -> Iterator[tuple[str, str]]:
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        kind, size = struct.unpack("<4sI", head)
        if kind == b"EXIF" and size <= MAX_TEXT:
            yield _exif(file.read(size))
            size = size % 2
        file.seek(size + size % 2, 1)


def _exif(data: bytes) -> tuple[str, str]:
    """The comment in EXIF data, "" where there is none that can be read."""
    exif = Image.Exif()
    try:
        exif.load(data)
        comment = exif.get_ifd(EXIF_IFD).get(USER_COMMENT, b"")
    # Whatever Pillow stumbles over: it is others' data, and a picture without it is a picture.
    except Exception:
        comment = b""
    if isinstance(comment, str):
        return NAMES[1], comment
    kind, text = bytes(comment[:8]), bytes(comment[8:])
    if not kind.startswith(b"UNICODE"):
        return NAMES[1], text.decode("utf-8", "replace").strip("\0")
    # EXIF does not say in which order; in text of any language most of the high bytes are alike, and often zero.
    big = text[::2].count(0) >= text[1::2].count(0)
    return NAMES[1], text.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0\ufeff")
