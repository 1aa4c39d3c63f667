"""Files that visitors send: in bounded room, and nobody pays for another (matrix R2)."""

import asyncio
import base64
import errno
import io
from pathlib import Path

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette

import ui.web.uploads
from ui.api.agent_answers import in_content
from ui.web.uploads import KEPT, Uploads, file_routes


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    """Room for 4 MB in all, so 1 MB and a bit of one address; files of up to 100 bytes."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return Uploads(8 * 2**20, 100, Clock())


def sent(uploads, who, size, name="x.png"):
    return asyncio.run(uploads.add(who, name, io.BytesIO(bytes(size))))


def post(uploads, client="8.8.8.8", **arguments):
    async def send():
        transport = httpx.ASGITransport(Starlette(routes=file_routes(uploads)), client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as visitor:
            return await visitor.post("/gradio_api/upload", **arguments)

    return asyncio.run(send())


def test_a_file_is_kept_under_a_name_that_nobody_can_guess(uploads, tmp_path):
    answer = post(uploads, files={"files": ("../../a b.png", b"abc")})
    (path,) = answer.json()
    assert path in uploads and Path(path).read_bytes() == b"abc" and Path(path).name == "a b.png"
    assert Path(path).parent.parent == tmp_path and len(Path(path).parent.name) == 64
    again = post(uploads, files={"files": ("a b.png", b"abc")}).json()
    assert again != [path] and "/etc/passwd" not in uploads and None not in uploads


def test_files_above_the_bound_and_forms_without_files_are_refused_in_words(uploads):
    assert "maximum allowed size" in post(uploads, files={"files": ("x", bytes(101))}).text
    assert post(uploads, data={"files": "abc"}).status_code == 400
    assert post(uploads, content=b"abc").status_code == 400
    assert post(uploads, files=[("files", ("x", b"x"))] * 5).status_code == 400
    assert post(uploads, content=b"--x", headers={"content-type": "multipart/form-data"}).status_code == 400


def test_whoever_fills_their_share_loses_their_own_oldest(uploads):
    other = sent(uploads, "other", 100)
    mine = [sent(uploads, "me", 2**20 - 100) for _ in range(4)]
    # A quarter of 8 MB.
    assert [path in uploads and Path(path).exists() for path in mine] == [False, False, True, True]
    assert other in uploads and not Path(mine[0]).parent.exists()


def test_where_all_is_full_whoever_has_most_makes_room(uploads):
    small = sent(uploads, "small", 100)
    for who in "abcd":
        for _ in range(2):
            sent(uploads, who, 2**20 - 50)
    last = sent(uploads, "late", 2**19)
    assert small in uploads and last in uploads
    assert sum(file.size for file in uploads._files.values()) <= 8 * 2**20


def test_files_go_after_an_hour(uploads):
    path = sent(uploads, "me", 10)
    uploads._clock.now = KEPT + 1
    sent(uploads, "other", 10)
    assert path not in uploads and not Path(path).exists()


def test_one_that_is_not_needed_any_more_goes_at_once(uploads):
    path = sent(uploads, "me", 10)
    uploads.forget(path)
    uploads.forget("/etc/passwd")
    assert path not in uploads and not Path(path).parent.exists() and Path("/etc/passwd").exists()


def test_a_full_disk_is_told_in_words_and_leaves_nothing(uploads, tmp_path, monkeypatch):
    def full(source, path):
        path.parent.mkdir()
        path.write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(ui.web.uploads, "copied", full)
    answer = post(uploads, files={"files": ("x", b"abc")})
    assert answer.status_code == 507 and answer.text == "There is no room for uploads left; try again later."
    assert not [*tmp_path.iterdir()]


def test_more_at_once_than_a_share_is_refused_for_that_address_only(uploads):
    with uploads._coming.taken("8.8.8.8", 2 * 2**20 - 100):
        assert post(uploads, files={"files": ("x", b"abc")}).status_code == 503
        assert post(uploads, client="9.9.9.9", files={"files": ("x", b"abc")}).status_code == 200
    assert post(uploads, files={"files": ("x", b"abc")}).status_code == 200


def test_a_large_picture_is_shown_to_an_agent_as_a_lighter_one(tmp_path):
    noise = Image.effect_noise((1600, 1200), 90).convert("RGB")
    noise.save(tmp_path / "x.png")
    size = (tmp_path / "x.png").stat().st_size
    file = {"path": str(tmp_path / "x.png"), "orig_name": "x.png", "mime_type": "image/png", "size": size}
    picture, link = in_content(file, "http://here/file/x.png")
    seen = Image.open(io.BytesIO(base64.b64decode(picture.data)))
    assert size > 2**20 and (seen.format, seen.size) == ("WEBP", (1536, 1152)) and picture.mimeType == "image/webp"
    assert (link.size, link.mimeType) == (size, "image/png")
