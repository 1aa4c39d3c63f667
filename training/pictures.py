"""What a stranger hands in to learn a style from: pictures, captions and zip files of both, all of it bounded.

Nothing is written to disk, names are only compared and shown, and a picture is judged by its parts, undecoded, first.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType

from lora.errors import Described, InvalidRequest, TooLong, shown, together
from pipeline.metadata.parts import ALLOWED, MAX_BYTES
from pipeline.request.picture import Picture, bare, upright_size
from training.dataset import Example, caption_of, captions_of

MIN_PICTURES, MAX_PICTURES = 3, 50
# Of a zip file: pictures, captions, folders and what a Mac adds. Of all files together, unpacked.
MAX_MEMBERS, MAX_TOTAL = 4 * MAX_PICTURES, 200 * 2**20
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
# The other methods may take memory without bound.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED, MEMBER = 1, b"PK\1\2"
BROKEN = (OSError, ValueError, EOFError, LookupError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class HandedIn:
    """A picture's file as it came, not decoded yet. `width`, `height` as it stands upright; `captions` as in Example.

    `caption` is what its text file says, "" for none. Of the picture the square `box` is learnt: left, top, right,
    bottom in its pixels.
    """

    name: str
    caption: str
    captions: tuple[str, ...]
    width: int
    height: int
    data: bytes = field(repr=False)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The middle square, as `Picture.read` cuts it."""
        side = min(self.width, self.height)
        left, top = (self.width - side) // 2, (self.height - side) // 2
        return left, top, left + side, top + side

    @property
    def label(self) -> str:
        """What errors call it: the `name` of `Picture.read`."""
        return _label(self.name)

    def example(self, picture: Picture) -> Example:
        """What training learns from, with the picture decoded, a square."""
        return Example(picture.image(), self.captions)


@dataclass(frozen=True)
class _File:
    """Of a stranger's, by the last part of its name; read where it is used. Raises InvalidRequest with its name."""

    name: str
    size: int
    read: Callable[[], bytes] = field(repr=False)

    @property
    def stem(self) -> str:
        """By this a caption finds its picture, on any machine."""
        return PurePosixPath(self.name).stem.casefold()

    def is_a(self, *suffixes: str) -> bool:
        """Whether the name ends in one of them."""
        return self.name.lower().endswith(suffixes)


def handed_in(
    files: Sequence[tuple[str, bytes]], trigger: str, said: Mapping[str, str] = MappingProxyType({}),
    left_out: Collection[str] = (),
    least: int = MIN_PICTURES,
) -> list[HandedIn]:  # fmt: skip
    """Named files -> MIN_PICTURES to MAX_PICTURES pictures by name: PNG, JPEG or WebP, NAME.txt as caption of NAME.png,
    and zip files of these, in any folders; files that begin with a dot, and __MACOSX, are not looked at. What is `said`
    of a picture, by its name, stands in place of its text file; those that are `left_out` are passed over with theirs.

    Raises InvalidRequest with a sentence for each thing that is wrong, naming its file: all that cannot be used, what
    is too large or too many, equal names, a caption without picture or, where there is no trigger, the other way round.
    """
    found = _found(files)
    kept = [file for file in found if not (file.is_a(".txt") or file.name in left_out)]
    gone = {file.stem for file in found if file.name in left_out} - {file.stem for file in kept}
    pictures = sorted(kept, key=lambda file: file.name)
    texts = [file for file in found if file.is_a(".txt") and file.stem not in gone]
    if not least <= len(pictures) <= MAX_PICTURES:
        raise Described("pictures", f"{len(pictures)} files", f"{MIN_PICTURES} to {MAX_PICTURES} pictures")
    problems, captions = _unpaired(pictures, texts), {file.stem: file for file in texts}
    result = []
    for file in pictures:
        try:
            result.append(_judged(file, captions.get(file.stem), trigger, said.get(file.name)))
        except InvalidRequest as error:
            problems.append(error)
    if problems:
        raise together(problems)
    return result


def read_pictures(
    files: Sequence[tuple[str, bytes]], trigger: str, side: int, read: Callable[..., Picture] = Picture.read
) -> list[Example]:
    """As `handed_in`, decoded by `read` (as `Picture.read`): squares of `side` pixels, the box of each, on white.

    At the `side` at which training shows them they are not resized again, and small to send.
    """
    examples, problems = [], []
    for each in handed_in(files, trigger):
        try:
            examples.append(each.example(read(each.data, side, side, each.label)))
        except InvalidRequest as error:
            problems.append(error)
    if problems:
        raise together(problems)
    return examples


def _label(name: str) -> str:
    return f"pictures: {shown(name)}"


def _found(files: Sequence[tuple[str, bytes]]) -> list[_File]:
    """All files and those in zip files. No more of these are read than a directory of MAX_MEMBERS says."""
    found: list[_File] = []
    for path, data in files[: MAX_MEMBERS + 1]:
        name = _last(path)
        own = _File(name, len(data), lambda data=data: data)  # type: ignore[misc]
        found += _members(name, data) if own.is_a(".zip") else [own]
    found = [file for file in found if not file.name.startswith(".")]
    if len(files) > MAX_MEMBERS or len(found) > MAX_MEMBERS:
        raise TooLong("pictures", f"more than {MAX_MEMBERS} files", f"at most {MAX_PICTURES} and their captions")
    if (total := sum(file.size for file in found)) > MAX_TOTAL:
        raise TooLong("pictures", f"{total / 2**20:.0f} MB large together", f"at most {MAX_TOTAL // 2**20} MB")
    return found


def _last(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _members(name: str, data: bytes) -> Iterator[_File]:
    # Each has a head of these letters in the directory, of which Python would make an object.
    if data.count(MEMBER) > MAX_MEMBERS:
        raise TooLong(_label(name), f"a zip of more than {MAX_MEMBERS} files", "one of fewer")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except BROKEN:
        raise Described(_label(name), "damaged", "a zip file") from None
    for info in archive.infolist():
        if not info.is_dir() and not info.filename.startswith("__MACOSX/"):
            yield _File(_last(info.filename), info.file_size, lambda info=info: _unpacked(archive, info))  # type: ignore[misc]


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A file in a zip: no more of it is unpacked than it says, and that is at most MAX_BYTES."""
    name = _label(_last(info.filename))
    if info.flag_bits & ENCRYPTED or info.compress_type not in METHODS:
        raise Described(name, "encrypted or packed in a rare way", "in an ordinary zip file")
    if info.file_size > MAX_BYTES:
        raise TooLong(name, f"{info.file_size / 2**20:.0f} MB large", f"at most {MAX_BYTES // 2**20} MB")
    try:
        with archive.open(info) as file:
            return file.read(info.file_size)
    except BROKEN:
        raise Described(name, "damaged in its zip file", ALLOWED) from None


def _unpaired(pictures: Sequence[_File], texts: Sequence[_File]) -> list[InvalidRequest]:
    """A sentence for each of two equal names and each caption of nothing."""
    problems: list[InvalidRequest] = []
    for kind, files in (("pictures", pictures), ("captions", texts)):
        seen: dict[str, _File] = {}
        for file in files:
            if other := seen.get(file.stem):
                both = f"{shown(other.name)} and {shown(file.name)}"
                problems.append(Described(kind, both, "of different names, whatever their endings and capitals"))
            seen[file.stem] = file
    known = {file.stem for file in pictures}
    alone = [file.name for file in texts if file.stem not in known]
    return [*problems, *(InvalidRequest("captions", name, "of a picture of the same name") for name in alone)]


def _judged(file: _File, text: _File | None, trigger: str, said: str | None) -> HandedIn:
    if not file.is_a(*SUFFIXES):
        raise InvalidRequest("pictures", file.name, "PNG, JPEG or WebP files, captions (.txt) or zip files of these")
    written = said.encode() if said else text.read() if text and said is None else None
    caption = caption_of(written, PurePosixPath(file.name).with_suffix(".txt").name, trigger)
    name, data = _label(file.name), file.read()
    if len(data) > MAX_BYTES:
        raise TooLong(name, f"{len(data) / 2**20:.0f} MB large", f"at most {MAX_BYTES // 2**20} MB")
    bare(data, name)
    width, height = upright_size(data, name)
    return HandedIn(file.name, caption, captions_of(caption, trigger), width, height, data)
