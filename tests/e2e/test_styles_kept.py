"""Kept styles as programs meet them: the same picture in another session and after a start, nobody else's (F5, I3)."""

import os
from pathlib import Path

import httpx
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from safetensors.torch import load_file, save_file

from tests import serving

QUICK = {"prompt": "a red apple", "steps": 4, "seed": 11, "api_name": "/generate"}


def secret() -> str:
    return os.urandom(20).hex()


def pixels(client, **values) -> bytes:
    gallery, _ = client.predict(**QUICK | values)
    return Image.open(gallery[0]["image"]).convert("RGB").tobytes()


def brought(client, path: Path) -> str:
    """The id of a file in the session of a client."""
    return client.predict(file=handle_file(str(path)), api_name="/inspect_adapter")["id"]


@pytest.fixture
def other(server):
    """Another session."""
    client = Client(server.url, verbose=False)
    yield client
    client.close()


@pytest.fixture
def mine(server, tmp_path) -> Path:
    """A file as a visitor may have it: the opposite of `ink`, and what it says of its training."""
    tensors = load_file(server.scratch.parent / "styles" / "ink.safetensors")
    said = {"modelspec.trigger_phrase": "anti ink", "ss_steps": "500"}
    path = tmp_path / "mine.safetensors"
    save_file({k: -v if "lora_B" in k else v for k, v in tensors.items()}, path, metadata=said)
    return path


def test_what_is_kept_paints_the_same_in_another_session_and_after_a_start(server, client, other, mine, tmp_path):
    owner, mix = secret(), lambda identity: [{"id": identity, "weight": 0.8}]
    first = brought(client, mine)
    picture = pixels(client, adapters=mix(first), owner=owner)
    kept = client.predict(owner, first, api_name="/keep_style")
    assert kept["name"] == "mine" and kept["triggers"] == ["anti ink"] and kept["origin"] == "upload"
    assert kept["training"] == {"ss_steps": "500"} and kept["size"] == mine.stat().st_size and kept["created"]
    assert client.predict(owner, kept["id"], api_name="/keep_style") == kept
    assert pixels(other, adapters=mix(kept["id"]), owner=owner) == picture != pixels(other)
    # Once named, the owner's styles are that session's: in tags, comparisons, exports.
    assert pixels(other, prompt=f"a red apple <lora:{kept['id']}:0.8:0.8>") == picture
    read = other.predict("a cat", [kept["id"]], api_name="/tokenize")
    assert read["triggers"]["missing"] == ["anti ink"]
    again = serving.start(tmp_path / "log", BASE_MODEL=server.model, DATA_DIR=server.log.with_name("data"))
    fresh = Client(again.url, verbose=False)
    assert fresh.predict(owner, api_name="/my_styles") == [kept]
    assert pixels(fresh, adapters=mix(kept["id"])) == picture
    answer = httpx.get(again.url + kept["file"])
    assert answer.content == mine.read_bytes() and 'attachment; filename="mine.safetensors"' in answer.headers[
        "content-disposition"] and "private" in answer.headers["cache-control"]  # fmt: skip
    fresh.close()


def test_renamed_pictured_and_deleted(server, client, other, mine):
    owner = secret()
    kept = client.predict(owner, brought(client, mine), api_name="/keep_style")
    identity = kept["id"]
    assert other.predict(owner, identity, " Anti-Tusche ", api_name="/rename_style")["name"] == "Anti-Tusche"
    _, details = client.predict(**QUICK, owner=owner, num_images=2)
    told = client.predict(owner, identity, details["kept"], 1, api_name="/style_preview")
    preview = httpx.get(server.url + told["preview"])
    assert preview.headers["content-type"] == "image/webp" and told["name"] == "Anti-Tusche"
    assert client.predict(owner, api_name="/my_styles") == [told]
    assert 'filename="Anti-Tusche.safetensors"' in httpx.get(server.url + told["file"]).headers["content-disposition"]
    assert client.predict(owner, identity, api_name="/forget_style") == {"styles": 0}
    assert [httpx.get(server.url + told[each]).status_code for each in ("file", "preview")] == [404, 404]
    for session in (client, other):
        with pytest.raises(AppError, match="There is no adapter"):
            pixels(session, adapters=[{"id": identity}], owner=owner)


def test_i3_without_the_secret_nobody_lists_uses_changes_or_downloads(server, client, other, mine):
    owner, thief = secret(), secret()
    kept = client.predict(owner, brought(client, mine), api_name="/keep_style")
    identity = kept["id"]
    assert other.predict(thief, api_name="/my_styles") == []
    for values in ({"owner": thief}, {}):
        with pytest.raises(AppError, match="There is no adapter"):
            pixels(other, adapters=[{"id": identity}], **values)
    for endpoint, values in (("forget_style", []), ("rename_style", ["x"]), ("keep_style", [])):
        with pytest.raises(AppError, match=r"There is no (such style among those that you keep|adapter '.*)\."):
            other.predict(thief, identity, *values, api_name=f"/{endpoint}")
    name, _, key = kept["file"].removeprefix("/mine/").partition("?key=")
    for way in (name, f"{name}?key=x", f"..%2fstyles.sqlite3?key={key}", f"%2e%2e/styles.sqlite3?key={key}"):
        assert httpx.get(f"{server.url}/mine/{way}").status_code == 404
    assert client.predict(owner, api_name="/my_styles") == [kept]
    assert identity not in server.log.read_text() and owner not in server.log.read_text()


def test_a_kept_embedding_is_a_word_where_its_owner_is_named(server, client, other, tmp_path):
    owner, word = secret(), {"prompt": "my-cat", "steps": 4}
    plain = pixels(other, **word)
    # As wide as the text encoders of the tiny model.
    save_file({"clip_l": torch.ones(1, 16), "clip_g": torch.ones(1, 32)}, tmp_path / "my-cat.safetensors")
    kept = client.predict(owner, brought(client, tmp_path / "my-cat.safetensors"), api_name="/keep_style")
    assert kept["kind"] == "embedding" and kept["words"] == ["my-cat"]
    assert pixels(other, **word) == plain != pixels(other, **word, owner=owner)


@pytest.mark.parametrize(
    ("endpoint", "values", "says"),
    [
        ("my_styles", [], "owner is no secret, but must be 32 to 128 random letters"),
        ("keep_style", ["ink"], "id is 'ink', but must be that of a style that you brought; this one everybody has"),
        ("keep_style", ["nosuch"], "There is no adapter 'nosuch'"),
        ("keep_style", [7], "id is 7, but must be text"),
        ("rename_style", ["nosuch", ""], "name is empty, but must be 1 to 120 printable characters"),
        ("rename_style", ["nosuch", "x" * 121], "name is .*, but must be 1 to 120 printable characters"),
        ("rename_style", ["nosuch", "a\nb"], "name is .*, but must be 1 to 120 printable characters"),
        ("rename_style", ["nosuch", None], "name is empty, but must be 1 to 120 printable characters"),
        ("rename_style", ["nosuch", "x"], "There is no such style among those that you keep"),
        ("style_preview", ["nosuch", "nosuch", 4], "picture is 4, but must be a whole number from 0 to 3"),
        ("style_preview", ["nosuch", "nosuch", 0], "There is no such picture in your history"),
        ("forget_style", ["nosuch"], "There is no such style among those that you keep"),
    ],
)
def test_a_bad_value_is_a_sentence(server, endpoint, values, says):
    owner = "x" if endpoint == "my_styles" else "o" * 40
    event, answer = server.call(endpoint, [owner, *values])[-1]
    assert event == "error"
    with pytest.raises(AppError, match=says):
        raise AppError(answer["error"])
