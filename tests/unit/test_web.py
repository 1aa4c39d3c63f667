"""What is added to gradio's server: a bound on uploads (matrix R2)."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from ui.web import BoundedUploads


@pytest.fixture
def post(tmp_path, monkeypatch):
    """Sends (path, body, headers) through the middleware; 200 is what is behind it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    app = BoundedUploads(PlainTextResponse("taken"), request_bytes=100, total_bytes=1000)

    async def send(path, body, headers):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post(path, content=body, headers=headers)

    return lambda path, body, **headers: asyncio.run(send(path, body, headers)).status_code


async def endless():
    yield b"x"


def test_an_upload_says_its_length_and_keeps_to_it(post):
    assert post("/gradio_api/upload", b"x" * 100) == 200
    assert post("/gradio_api/upload?upload_id=1", b"x" * 101) == post("/gradio_api/upload/", b"x" * 101) == 413
    assert post("/gradio_api/upload", endless()) == 411
    assert post("/gradio_api/call/generate", b"x" * 101) == 200


def test_no_more_is_taken_than_there_is_room_for(post, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "picture.png").write_bytes(bytes(950))
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    assert post("/gradio_api/upload", b"x" * 51) == 507
    assert post("/gradio_api/upload", b"x" * 10) == 200
    (tmp_path / "a" / "picture.png").unlink()
    assert post("/gradio_api/upload", b"x" * 51) == 200
