"""The text about its making that a picture file carries. Of its parts only these few are unpacked, and pixels only
where there is no other text.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO

from lora.errors import TooLong, Untold
from pipeline.metadata.infotext import MAX_INFOTEXT
from pipeline.metadata.parts import MAX_BYTES, exif, taken_apart
from pipeline.metadata.stealth import stealth_text

MAX_TEXT = 4 * MAX_INFOTEXT
# By how much they say: A1111's, Fooocus' and SwarmUI's; ComfyUI's; InvokeAI's of three generations; a JPEG's of all of
# them; NovelAI's and others'; ComfyUI's editor, which is better than nothing.
NAMES = (
    "parameters", "prompt", "invokeai_metadata", "sd-metadata", "Dream", "dream", "UserComment", "Comment",
    "Description", "workflow",
)  # fmt: skip
# NovelAI's, which mean something together only.
TOGETHER = ("Description", "Source", "Comment")


def image_metadata(file: BinaryIO, field: str = "file") -> str:
    """What a PNG, JPEG or WebP file of at most MAX_BYTES says of how it was made.

    Raises InvalidRequest naming the `field` for other files and for those that say nothing, TooLong.
    """
    data = file.read(MAX_BYTES)
    texts: dict[str, str] = {}
    for name, kind, part in _texts(data, field):
        # Each name once: a file may have any number of texts, and each unpack to MAX_TEXT.
        if name in (*NAMES, *TOGETHER) and name not in texts:
            texts[name] = _comment(exif(part)[1][:MAX_TEXT]) if kind == b"eXIf" else _text(kind, bytes(part))
    found = _best(texts) or stealth_text(data, MAX_TEXT)
    if not found.strip():
        raise Untold(field)
    if len(found) > MAX_INFOTEXT:
        raise TooLong(field, f"a picture with {len(found)} characters of text", f"one of at most {MAX_INFOTEXT}")
    return found


def _best(texts: Mapping[str, str]) -> str:
    """The text that says most, "" where there is none."""
    name = next((name for name in NAMES if texts.get(name, "").strip()), "")
    if name == "Comment" and texts["Comment"].lstrip().startswith("{") and "Description" in texts:
        return json.dumps({name: texts[name] for name in TOGETHER if name in texts}, ensure_ascii=False)
    return texts.get(name, "")


def _texts(data: bytes, field: str) -> Iterator[tuple[str, bytes, memoryview]]:
    """Name, kind by the letters of PNG, and the data of what may be text."""
    for part in taken_apart(data, field)[1]:
        if part.kind in (b"tEXt", b"zTXt", b"iTXt") and len(part.data) <= MAX_TEXT:
            # A name is 79 letters long at most.
            yield bytes(part.data[:80]).partition(b"\0")[0].decode("latin-1"), part.kind, part.data
        elif part.is_exif:
            yield "UserComment", b"eXIf", part.data


def _text(kind: bytes, data: bytes) -> str:
    """The text of a text chunk, "" where it is damaged or unpacks to too much."""
    rest, packed, encoding = data.partition(b"\0")[2], kind == b"zTXt", "latin-1"
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
    if encoding == "latin-1":
        # As PNG has it; but many tools write UTF-8 there, which few texts in the other would be taken for.
        with suppress(UnicodeDecodeError):
            return rest.decode("utf-8")
    return rest.decode(encoding, "replace")


def _comment(data: bytes) -> str:
    """The user's comment of EXIF: eight letters say how the rest is written."""
    kind, text = data[:8], data[8:]
    if not kind.startswith(b"UNICODE"):
        return text.decode("utf-8", "replace").strip("\0")
    # EXIF does not say in which order; in text of any language most of the high bytes are alike, and often zero.
    big = text[::2].count(0) >= text[1::2].count(0)
    return text.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\0\ufeff")
