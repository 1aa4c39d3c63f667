"""Who says what about a picture: the mark that a model made it, read and written as XMP, and what stands beside it.

The European AI Act (article 50) asks for a mark that machines can read. IPTC's name for it is `DigitalSourceType`
(https://cv.iptc.org/newscodes/digitalsourcetype/), in the XMP packet of a PNG, JPEG or WebP file.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from pipeline.metadata.parts import Part, taken_apart

# Of the model alone, and of the model and a picture that it began with.
TRAINED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
MADE_BY_AI = frozenset({TRAINED, COMPOSITE, "algorithmicMedia", "compositeSynthetic", "algorithmicallyEnhanced"})
XMP_PNG, XMP_JPEG, XMP_WEBP = b"XML:com.adobe.xmp", b"http://ns.adobe.com/xap/1.0/\0", b"XMP "
MAX_XMP, MAX_WORDS = 2**16, 500
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC, TYPES = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SPACES = {"dc": "http://purl.org/dc/elements/1.1/", "photoshop": "http://ns.adobe.com/photoshop/1.0/"}
# Whose it is: a field of Marks, its space and name in XMP, and the list that stands around it there.
_OWNERS = (
    ("creator", "dc", "creator", "Seq"), ("rights", "dc", "rights", "Alt"), ("credit", "photoshop", "Credit", ""),
)  # fmt: skip


@dataclass(frozen=True)
class Marks:
    """What a file says of itself: where its pixels come from, in IPTC's words, whose it is, and whether Content
    Credentials (C2PA) are in it. Plain data, so that it pickles.
    """

    source: str = ""
    creator: str = ""
    rights: str = ""
    credit: str = ""
    credentials: bool = False

    @property
    def by_ai(self) -> bool:
        """Whether it says that a model made it or a part of it."""
        return self.source in MADE_BY_AI

    def sentences(self) -> list[str]:
        """In words for who looks at the picture."""
        said = [f"Its XMP says: {'made with AI' if self.by_ai else 'where it comes from'} ({self.source})."]
        owners = [f"{name} {words}" for name, *_ in _OWNERS if (words := getattr(self, name))]
        return [*(said if self.source else []), *([f"Its XMP names: {'; '.join(owners)}."] if owners else [])]


UNMARKED = Marks()


def packet(begun_with: Marks | None = None) -> bytes:
    """The XMP of a picture that was painted here, always the same; of one that `begun_with` another's pixels whose that
    one was, too.
    """
    source = TRAINED if begun_with is None else COMPOSITE
    about = f'xmlns:Iptc4xmpExt="{_IPTC}" Iptc4xmpExt:DigitalSourceType="{TYPES}{source}"'
    kept = "".join(
        _owner(space, name, around, words)
        for field, space, name, around in _OWNERS
        if (words := getattr(begun_with, field, ""))
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{_RDF}"><rdf:Description {about}'
        + (f">{kept}</rdf:Description>" if kept else "/>")
        + '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def _owner(space: str, name: str, around: str, words: str) -> str:
    language = ' xml:lang="x-default"' if around == "Alt" else ""
    inner = f"<rdf:{around}><rdf:li{language}>{escape(words)}</rdf:li></rdf:{around}>" if around else escape(words)
    return f'<{space}:{name} xmlns:{space}="{_SPACES[space]}">{inner}</{space}:{name}>'


def read_marks(data: bytes, field: str = "file") -> Marks:
    """What a PNG, JPEG or WebP file says. Nothing of what is damaged, too long, or XML with entities of its own.

    Raises InvalidRequest naming the `field` for other files, TooLong.
    """
    marks = Marks()
    for part in taken_apart(data, field)[1]:
        if _is_credentials(part):
            marks = replace(marks, credentials=True)
        elif (xmp := _xmp(part)) and len(xmp) <= MAX_XMP and not (marks.source or marks.creator or marks.rights):
            marks = replace(_understood(xmp), credentials=marks.credentials)
    return marks


def _is_credentials(part: Part) -> bool:
    # In a JPEG they are boxes in segments that others use, too.
    boxes = part.kind == b"\xeb" and bytes(part.data[:2]) == b"JP" and b"c2pa" in bytes(part.data[:200])
    return boxes or part.kind in (b"caBX", b"C2PA")


def _xmp(part: Part) -> bytes:
    if part.kind == XMP_WEBP:
        return bytes(part.data[: MAX_XMP + 1])
    if part.kind == b"\xe1" and bytes(part.data[: len(XMP_JPEG)]) == XMP_JPEG:
        return bytes(part.data[len(XMP_JPEG) :])
    if part.kind == b"iTXt" and bytes(part.data[: len(XMP_PNG) + 2]) == XMP_PNG + b"\0\0":
        # Unpacked, as XMP asks for; before the text a flag, a language and a translated name.
        return bytes(part.data[len(XMP_PNG) + 3 :][: MAX_XMP + 99]).partition(b"\0")[2].partition(b"\0")[2]
    return b""


def _understood(xmp: bytes) -> Marks:
    # Who has entities of his own wants them to grow.
    if b"<!" in xmp:
        return Marks()
    try:
        root = ElementTree.fromstring(xmp.strip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return Marks()
    names = {f"{{{_SPACES[space]}}}{name}": field for field, space, name, _ in _OWNERS}
    names[f"{{{_IPTC}}}DigitalSourceType"] = "source"
    found: dict[str, Any] = {}
    for name, words in _properties(root, names):
        found.setdefault(names[name], words)
    if "source" in found:
        found["source"] = found["source"].rpartition("/")[2]
    return Marks(**found)


def _properties(root: ElementTree.Element, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    """Name and words of the properties of these names, each written as an attribute, as text or as a list."""
    for element in root.iter():
        for name in element.attrib.keys() & wanted:
            yield name, _short(element.attrib[name])
        if element.tag in wanted:
            own = [element.text or "", *(item.text or "" for item in element.iter(f"{{{_RDF}}}li"))]
            words = ", ".join(filter(None, map(str.strip, own[:10])))
            yield element.tag, _short(words or element.get(f"{{{_RDF}}}resource", ""))


def _short(words: str) -> str:
    printable = "".join(c for c in words[: 4 * MAX_WORDS] if c.isprintable())
    return printable.strip()[:MAX_WORDS]
