"""What strangers hand in to train on: read as it was meant, or refused in a sentence, and never on disk."""

import io
import struct
import tracemalloc
import zipfile

import pytest
from PIL import Image

from lora.errors import AtelierError, InvalidRequest
from pipeline.request.picture import Picture
from tests.hostile import bombs
from training import handed_in, read_pictures
from training.pictures import MAX_MEMBERS


def photo(colour="red", size=(24, 16), kind="PNG", **how) -> bytes:
    return bombs.file(Image.new("RGB", size, colour), kind, **how)


def packed(*files: tuple[str, bytes], method=zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


GOOD = [("b.png", photo()), ("a.JPG", photo("navy", kind="JPEG")), ("c.webp", photo("gold", kind="WEBP"))]
PLAIN = [(f"{i}.png", photo()) for i in range(3)]


def test_files_and_zip_files_are_read_by_name():
    inner = packed(
        ("set/", b""), ("set/d.png", photo()), ("set/d.txt", b"a  pear\n"), ("__MACOSX/set/._d.png", b"x"),
        ("set/.DS_Store", b"x"),
    )  # fmt: skip
    found = handed_in([*GOOD, ("a.txt", b"\xef\xbb\xbfan apple"), ("all.ZIP", inner)], "ink")
    assert [each.name for each in found] == ["a.JPG", "b.png", "c.webp", "d.png"]
    assert [each.caption for each in found] == ["an apple", "", "", "a pear"]
    assert found[0].captions == ("an apple", "ink, an apple") and found[1].captions == ("ink",)
    examples = read_pictures([*GOOD, ("a.txt", b"an apple")], "ink", 8)
    assert [e.picture.size for e in examples] == [(8, 8)] * 3
    assert examples[1].picture.getpixel((0, 0)) == (255, 0, 0)
    assert examples[0].captions == ("an apple", "ink, an apple")


@pytest.mark.parametrize("size", [(30, 16), (16, 30), (16, 16), (31, 16)])
@pytest.mark.parametrize("turn", [1, 3, 6])
def test_the_box_is_what_is_learnt(size, turn):
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = turn
    files = [(f"{i}.png", bombs.file(image, exif=exif)) for i in range(3)]
    first = handed_in(files, "ink")[0]
    upright = (
        image.transpose({1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}[turn])
        if (turn > 1)
        else image
    )
    assert (first.width, first.height) == upright.size
    assert first.box[2] - first.box[0] == first.box[3] - first.box[1] == 16
    learnt = read_pictures(files, "ink", 16)[0].picture
    # Where half a pixel would have to be cut, its neighbours are mixed.
    pairs = zip(learnt.tobytes(), upright.crop(first.box).tobytes())
    assert max(abs(a - b) for a, b in pairs) <= (20 if size == (31, 16) else 0)


def lying(member: bytes, says: int) -> bytes:
    """A zip whose only file is not as large as it says."""
    data = bytearray(packed(("a.png", member)))
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(mark) + place
        data[at : at + 4] = struct.pack("<I", says)
    return bytes(data)


def locked() -> bytes:
    data = bytearray(packed(("a.png", photo())))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + place] |= 1
    return bytes(data)


REFUSED = {
    "none": ([], "pictures is 0 files, but must be 3 to 50 pictures."),
    "two": (PLAIN[:2], "pictures is 2 files, but must be 3 to 50 pictures."),
    "51": ([(f"{i}.png", photo()) for i in range(51)], "pictures is 51 files, but must be 3 to 50 pictures."),
    "bomb": (
        [*PLAIN, ("big.png", bombs.huge())],
        "pictures: 'big.png' is 13000 x 13000 pixels large, but must be of at most 32 million pixels.",
    ),
    "bomb in a zip": (
        [*PLAIN, ("z.zip", packed(("x/big.png", bombs.huge())))],
        "pictures: 'big.png' is 13000 x 13000 pixels large, but must be of at most 32 million pixels.",
    ),
    "zip bomb": (
        [*PLAIN, ("z.zip", lying(bytes(2**20), 300 * 2**20))],
        "pictures is 300 MB large together, but must be at most 200 MB.",
    ),
    "large member": (
        [*PLAIN, ("z.zip", lying(bytes(2**20), 30 * 2**20))],
        "pictures: 'a.png' is 30 MB large, but must be at most 20 MB.",
    ),
    "lying zip": (
        [*PLAIN, ("z.zip", lying(bytes(50 * 2**20), 1000))],
        "pictures: 'a.png' is damaged in its zip file, but must be a PNG, JPEG or WebP file.",
    ),
    "many members": (
        [("z.zip", packed(*((f"{i}", b"") for i in range(MAX_MEMBERS + 1))))],
        "pictures: 'z.zip' is a zip of more than 200 files, but must be one of fewer.",
    ),
    "many files": (
        [(f"{i}.txt", b"") for i in range(MAX_MEMBERS + 1)],
        "pictures is more than 200 files, but must be at most 50 and their captions.",
    ),
    "locked zip": (
        [*PLAIN, ("z.zip", locked())],
        "pictures: 'a.png' is encrypted or packed in a rare way, but must be in an ordinary zip file.",
    ),
    "rare zip": (
        [*PLAIN, ("z.zip", packed(("a.png", photo()), method=zipfile.ZIP_LZMA))],
        "pictures: 'a.png' is encrypted or packed in a rare way, but must be in an ordinary zip file.",
    ),
    "no zip": ([*PLAIN, ("z.zip", b"PK\3\4")], "pictures: 'z.zip' is damaged, but must be a zip file."),
    "zip in a zip": (
        [*PLAIN, ("z.zip", packed(("y.zip", packed(*PLAIN))))],
        "pictures is 'y.zip', but must be PNG, JPEG or WebP files, captions (.txt) or zip files of these.",
    ),
    "not a picture": (
        [*PLAIN, ("a.png", b"<svg/>")],
        "pictures: 'a.png' is b'<svg/>', but must be a PNG, JPEG or WebP file.",
    ),
    "another file": (
        [*PLAIN, ("../../etc/passwd", b"root")],
        "pictures is 'passwd', but must be PNG, JPEG or WebP files, captions (.txt) or zip files of these.",
    ),
    "1 MB of caption": (
        [*PLAIN, ("0.txt", b"a" * 2**20)],
        "captions is '0.txt of 1048576 bytes', but must be at most 2000 bytes each.",
    ),
    "no text": ([*PLAIN, ("0.txt", b"\xff")], "captions is '0.txt', but must be text in UTF-8."),
    "two equal names": (
        [*PLAIN, ("z.zip", packed(("x/0.png", photo())))],
        "pictures is '0.png' and '0.png', but must be of different names, whatever their endings and capitals.",
    ),
    "two nearly equal names": (
        [*PLAIN, ("a.PNG", photo()), ("A.jpg", photo(kind="JPEG"))],
        "pictures is 'A.jpg' and 'a.PNG', but must be of different names, whatever their endings and capitals.",
    ),
    "two captions": (
        [*PLAIN, ("0.txt", b"a"), ("0.TXT", b"b")],
        "captions is '0.txt' and '0.TXT', but must be of different names, whatever their endings and capitals.",
    ),
    "a caption of nothing": (
        [*PLAIN, ("x.txt", b"a")],
        "captions is 'x.txt', but must be of a picture of the same name.",
    ),
    "a broken one in the middle": (
        [("0.png", photo()), ("1.png", photo()[:40]), ("2.png", photo())],
        "pictures: '1.png' is 'damaged', but must be a PNG, JPEG or WebP file.",
    ),
    "two broken ones": (
        [("0.png", photo()), ("1.png", photo()[:40]), ("2.png", photo()[:40])],
        "pictures: '1.png' is 'damaged', but must be a PNG, JPEG or WebP file. "
        "pictures: '2.png' is 'damaged', but must be a PNG, JPEG or WebP file.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_input_is_a_sentence_and_nothing_is_kept(name, tmp_path, monkeypatch):
    files, says = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tracemalloc.start()
    with pytest.raises(InvalidRequest) as caught:
        read_pictures(files, "ink", 8)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value) == says
    assert list(tmp_path.iterdir()) == []
    assert most < 30 * 2**20


def test_without_trigger_each_needs_a_caption():
    with pytest.raises(InvalidRequest, match=r"captions is 'missing 1\.txt'.* captions is 'missing 2\.txt'"):
        handed_in([*PLAIN, ("0.txt", b"an apple")], "")


def test_any_damage_to_a_zip_is_a_sentence():
    data = packed(*PLAIN, ("0.txt", b"an apple"))
    for at in range(0, len(data), 3):
        harmed = bytearray(data)
        harmed[at : at + 2] = b"\xff\xff"
        try:
            read_pictures([("z.zip", bytes(harmed))], "ink", 8)
        except AtelierError as error:
            assert "\n" not in str(error) and len(str(error)) < 900


def test_another_decoder_may_read():
    """As the app does: strangers' pictures are opened in a process of their own."""
    asked = []

    def read(data, width, height, name):
        asked.append((width, height, name))
        return Picture.read(data, width, height, name)

    assert len(read_pictures(PLAIN, "ink", 8, read)) == 3
    assert asked == [(8, 8, f"pictures: '{i}.png'") for i in range(3)]
