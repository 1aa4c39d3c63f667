"""Every picture that leaves says that a model made it, and what others said of the one that it began with stays."""

import asyncio
import io
import re
import struct
import time
import zlib

import pytest
from PIL import Image, PngImagePlugin

from pipeline.engine import Engine, Finished
from pipeline.metadata.marks import COMPOSITE, MAX_XMP, TRAINED, UNMARKED, XMP_PNG, Marks, packet, read_marks
from pipeline.profiles import load_profile
from pipeline.request.compare import grid
from pipeline.request.picture import Picture
from pipeline.request.request import GenerationRequest
from pipeline.sampling.decode import encode_png
from serving.generation import sheet_file
from serving.picture_decoder import PictureDecoder
from serving.picture_store import thumbnail
from tests.serving import ROOT
from ui.api.agent_answers import lighter

MINE = Marks(source="digitalCapture", creator="A. Müller & Sons", rights='© 2026 <no "AI">', credit="Agency")
# As other tools write them: words as elements, in lists.
THEIRS = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:p="http://ns.adobe.com/photoshop/1.0/"
 xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" p:Credit="Agency">
<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li><rdf:li>Ben</rdf:li></rdf:Seq></dc:creator>
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">all mine</rdf:li></rdf:Alt></dc:rights>
<i:DigitalSourceType rdf:resource="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"/>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def file(form="PNG", xmp=b"", size=(64, 64)) -> bytes:
    made, info = io.BytesIO(), PngImagePlugin.PngInfo()
    if form == "PNG" and xmp:
        info.add_itxt(XMP_PNG.decode(), xmp.decode("utf-8", "replace"))
    options = {"pnginfo": info} if form == "PNG" else {"xmp": xmp}
    Image.new("RGB", size, "teal").save(made, form, **options)
    return made.getvalue()


@pytest.fixture(scope="module")
def engine(tiny_sdxl):
    return Engine(load_profile(base_model=str(tiny_sdxl)))


def request(engine, **values) -> GenerationRequest:
    given = {"prompt": "x", "steps": 2, "seed": 3, "width": 64, "height": 64} | values
    return GenerationRequest.create(given, engine.limits, lambda _: pytest.fail("no adapter"))


def painted(engine, **values) -> list[bytes]:
    *news, made = engine.generate(request(engine, **values))
    for each in news:
        if preview := getattr(each, "preview", None):
            assert read_marks(preview).source == TRAINED
        if isinstance(each, Finished):
            assert each.png == made.images[each.image]
    return list(made.images)


@pytest.mark.parametrize("metadata", [True, False])
def test_every_picture_of_a_batch_is_marked_with_the_same_bytes(engine, metadata):
    for png in painted(engine, num_images=2, metadata=metadata):
        assert read_marks(png) == Marks(source=TRAINED) and packet() in png
        assert (b"parameters" in png) is metadata
    assert len(packet()) < 400


def test_what_began_with_a_picture_is_a_composite_and_names_whose_that_was(engine):
    (png,) = painted(engine, image=file("JPEG", packet(MINE)), strength=0.5)
    made = read_marks(png)
    assert made.source == COMPOSITE and made.by_ai
    assert (made.creator, made.rights, made.credit) == (MINE.creator, MINE.rights, MINE.credit)
    (png,) = painted(engine, image=file(), mask=encode_png(Image.new("L", (64, 64), 255)), strength=0.5)
    assert read_marks(png) == Marks(source=COMPOSITE)


def testthumbnails_sheets_and_what_agents_look_at_are_marked(engine):
    mine = encode_png(Image.new("RGB", (64, 64)), "", packet(MINE))
    for small in (thumbnail(mine), lighter(mine)):
        assert small[:4] == b"RIFF" and read_marks(small).rights == MINE.rights
    values = {"prompt": "x", "steps": 2, "width": 64, "height": 64, "seed": 1, "metadata": False}
    for image, source in ((None, TRAINED), (file(xmp=packet(MINE)), COMPOSITE)):
        axes = {"x_axis": "steps", "x_values": [2, 3]}
        wanted = grid(values | {"image": image}, axes, engine.limits, lambda _: pytest.fail("no adapter"))
        assert read_marks(sheet_file(wanted, [mine], [])).source == source


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_what_other_tools_wrote_is_read(form):
    found = read_marks(file(form, THEIRS.encode()))
    assert found == Marks("digitalCapture", "Ann, Ben", "all mine", "Agency")
    assert not found.by_ai and len(found.sentences()) == 2 and "Ann, Ben" in found.sentences()[1]
    assert Picture.read(file(form, THEIRS.encode()), 64, 64).marks == found
    assert read_marks(file(form)) == UNMARKED and UNMARKED.sentences() == []


@pytest.mark.parametrize(
    "xmp",
    [
        b"", b"<", b"no xml", b"<a>" * 20_000, b'<?xml version="1.0" encoding="no-such"?><a/>',
        b'<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>',
        THEIRS.encode() + b" " * MAX_XMP,
    ],
)  # fmt: skip
def test_what_is_no_packet_says_nothing(xmp):
    assert read_marks(file("JPEG" if len(xmp) < 60_000 else "PNG", xmp)) == UNMARKED


def test_xmp_that_is_deep_takes_no_time():
    start = time.process_time()
    assert read_marks(file("JPEG", b"<a>" * 9000 + b"</a>" * 9000)) == UNMARKED
    assert time.process_time() - start < 2


def test_words_are_cut_and_cannot_change_the_packet():
    long = Marks(source="x" * 999, creator="a\0b\u202e" + "c" * 9999, rights="</rdf:li></rdf:Alt>")
    again = read_marks(file(xmp=packet(Marks(creator=re.sub("[\0]", "", long.creator), rights=long.rights))))
    assert again.source == COMPOSITE and again.rights == long.rights and len(again.creator) == 500
    assert "\u202e" not in again.creator


def test_the_other_process_brings_them(tmp_path):
    decoder = PictureDecoder()
    picture = asyncio.run(decoder.picture(file("JPEG", packet(MINE)), 64, 64))
    assert picture.marks.credit == "Agency"
    assert asyncio.run(decoder.marks(file(xmp=packet()))) == [f"Its XMP says: made with AI ({TRAINED})."]


def test_a_text_of_that_name_that_is_packed_or_damaged_is_passed_over():
    packed = zlib.compress(packet())
    for body in (XMP_PNG + b"\0\1\0\0\0" + packed, XMP_PNG + b"\0\0", XMP_PNG):
        chunk = struct.pack(">I4s", len(body), b"iTXt") + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
        assert read_marks(file()[:33] + chunk + file()[33:]) == UNMARKED


def test_shipped_previews_are_marked():
    previews = sorted((ROOT / "assets" / "adapters").glob("*.png"))
    assert len(previews) >= 4 and all(read_marks(each.read_bytes()).source == TRAINED for each in previews)
