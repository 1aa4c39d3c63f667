"""Picture files that mean harm, as a visitor sends them: little memory, no waiting, the next one works (matrix B1)."""

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.hostile import bombs
from tests.hostile.watch import watched

BOMBS = {
    "texts": lambda: bombs.texts(2000), "iTXt": lambda: bombs.texts(500, kind=b"iTXt"), "exif png": bombs.exif_png,
    "exif png of 2 MB": lambda: bombs.exif_png(3000, 1_900_000), "exif jpeg": bombs.exif_jpeg,
    "exif webp": bombs.exif_webp, "scans": bombs.scans, "huge": bombs.huge,
    "canvas": bombs.wide_webp,
    "frames png": lambda: bombs.frames("PNG"), "frames webp": lambda: bombs.frames("WEBP"), "profile": bombs.profile,
    "cut": lambda: bombs.file(Image.new("RGB", (900, 900)), "JPEG")[:-99], "xmp": bombs.deep_xmp,
    "specks": bombs.specks, "hidden": bombs.hidden, "hidden colours": lambda: bombs.hidden(b"stealth_rgbcomp"),
    "nothing hidden": bombs.plain, "circle": bombs.graph, "samplers": lambda: bombs.graph("samplers", 700),
    "deep": lambda: bombs.graph("deep"), "nodes": lambda: bombs.graph("circle", 100_000),
    **{kind: (lambda kind=kind: bombs.many(kind)) for kind in ("PNG", "JPEG", "WEBP")},
}  # fmt: skip


def sent(server, data: bytes) -> dict:
    """An uploaded file as a call names it."""
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("picture.png", data)}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def painted(server, file: dict) -> tuple[str, object]:
    """How /generate ends that begins with a picture."""
    values = ["a cat", "", [], 64, 64, 2, 1.0, "Euler", 1, 1, False, file]
    return server.call("generate", values)[-1]


def ended(event: str, answer: object) -> None:
    """With success, or one sentence."""
    if event == "error":
        assert answer["error"].endswith(".") and "\n" not in answer["error"], answer
        assert "logged" not in answer["error"] and "/" not in answer["error"]
    else:
        assert event == "complete"


def ordinary() -> bytes:
    info = PngInfo()
    info.add_text("parameters", "a cat\nSteps: 3, Sampler: Euler, Seed: 1")
    return bombs.file(Image.new("RGB", (64, 64), "red"), pnginfo=info)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_harms_nobody(server, name):
    file = sent(server, BOMBS[name]())
    with watched(server):
        ended(*server.call("read_picture", [file])[-1])
        ended(*painted(server, file))


def test_afterwards_an_ordinary_picture_works(server):
    file = sent(server, ordinary())
    event, answer = server.call("read_picture", [file])[-1]
    assert event == "complete" and answer[0]["values"]["steps"] == 3
    event, (pictures, details) = painted(server, file)
    assert event == "complete" and len(pictures) == 1 and details["status"] == "done"
    assert "Traceback" not in server.log.read_text()
