"""What a PNG, JPEG or WebP file is made of, part by part, in linear time. Nothing is unpacked, and no library is asked.

Strangers' files are judged by this before Pillow sees them: it unpacks every text and reads every list that is there.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from lora.errors import InvalidRequest, TooLong

MAX_BYTES, MAX_PARTS, MAX_ENTRIES = 20 * 2**20, 20_000, 500
PNG, JPEG, EXIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"Exif\0\0"
ALLOWED = "a PNG, JPEG or WebP file"
ORIENTATION, EXIF_IFD, USER_COMMENT, CAMERA = 0x0112, 0x8769, 0x9286, (0x010E, 0x010F, 0x0110)
GRAPH, ASCII = b"prompt:", b"ASCII\0\0\0"
SCAN, END = b"\xda", b"\xd9"
# In the data of a scan 0xFF is followed by 0, or by a mark of where to begin again; several may come before a marker.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


@dataclass(frozen=True)
class Part:
    """A chunk by its four letters, or a segment of a JPEG by its marker's byte. `whole` is as it stands in the file:
    with its head, and for a scan with the pixels that follow.
    """

    kind: bytes
    data: memoryview
    whole: memoryview

    @property
    def is_exif(self) -> bool:
        """Whether `data` is EXIF; in a JPEG others use that segment too."""
        return self.kind in (b"eXIf", b"EXIF") or (self.kind == b"\xe1" and self.data[: len(EXIF)] == EXIF)


def taken_apart(data: bytes, field: str) -> tuple[str, Iterator[Part]]:
    """ "PNG", "JPEG" or "WEBP", and its parts in order, up to where it ends or is cut off.

    Raises InvalidRequest naming the `field` for another file; TooLong comes above MAX_PARTS parts.
    """
    for name, start, walk in (("PNG", PNG, _png), ("JPEG", JPEG, _jpeg), ("WEBP", b"RIFF", _webp)):
        if data.startswith(start) and (name != "WEBP" or data[8:12] == b"WEBP"):
            return name, _counted(walk(data), field)
    raise InvalidRequest(field, data[:8], ALLOWED)


def _counted(parts: Iterator[Part], field: str) -> Iterator[Part]:
    for number, part in enumerate(parts):
        if number == MAX_PARTS:
            raise TooLong(field, f"made of more than {MAX_PARTS} parts", "made of fewer")
        yield part


def _png(data: bytes) -> Iterator[Part]:
    view, at = memoryview(data), len(PNG)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        # After each chunk there is a checksum.
        start, end = at, at + 12 + size
        if end > len(data):
            return
        yield Part(kind, view[start + 8 : end - 4], view[start:end])
        at = end


def _jpeg(data: bytes) -> Iterator[Part]:
    view, found = memoryview(data), _MARKER.search(data, len(JPEG))
    while found:
        start, kind, end = found.start(), found[1], found.end()
        if kind == END:
            yield Part(kind, view[end:end], view[start:end])
        # What has no length is of no use here; nor is what decoders disagree about.
        if not b"\xc0" <= kind <= b"\xfe" or kind in (JPEG[1:], END) or end + 2 > len(data):
            return
        inside, end = end + 2, end + max(2, *struct.unpack_from(">H", data, end))
        if end > len(data):
            return
        found = _MARKER.search(data, end)
        pixels = (found.start() if found else len(data)) if kind == SCAN else end
        yield Part(kind, view[inside:end], view[start:pixels])


def _webp(data: bytes) -> Iterator[Part]:
    view, at = memoryview(data), 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        start, end = at, at + 8 + size
        if end > len(data):
            return
        at = end + size % 2
        yield Part(kind, view[start + 8 : end], view[start:at])


def exif(data: memoryview) -> tuple[int, bytes]:
    """Orientation, 1 to 8, and the user's comment of EXIF data: 1 and b"" where there is none that can be read.

    A comment is also what ComfyUI writes where the camera would stand.
    """
    block = bytes(data).removeprefix(EXIF)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1, b""
    turned, comment = 1, b""
    # The list begins where the head says, or a second one where the first says.
    lists = [*struct.unpack(order + "I", block[4:8].ljust(4, b"\0"))]
    try:
        for at in lists:
            (count,) = struct.unpack_from(order + "H", block, at)
            for entry in range(min(count, MAX_ENTRIES)):
                tag, kind, size, value = struct.unpack_from(order + "HHI4s", block, at + 2 + 12 * entry)
                place = struct.unpack(order + "I", value)[0]
                if tag == ORIENTATION and kind == 3 and len(lists) == 1:
                    turned = struct.unpack_from(order + "H", value)[0]
                elif tag == EXIF_IFD and len(lists) == 1:
                    lists.append(place)
                elif tag == USER_COMMENT and not comment:
                    comment = block[place : place + size] if size > 4 else value[:size]
                elif tag in CAMERA and block[place : place + len(GRAPH)] == GRAPH and not comment:
                    comment = ASCII + block[place + len(GRAPH) : place + size]
    except struct.error:
        pass
    return turned if 1 <= turned <= 8 else 1, comment
