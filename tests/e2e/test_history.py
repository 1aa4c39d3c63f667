"""The history as programs meet it: kept across restarts and a kill, and nobody else's (F5, I3, R1, R3)."""

import io
import json
import os
import re
import signal
import struct
import time
import zipfile
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests import serving
from tests.tiny import tiny_sdxl

QUICK = {"steps": 2, "seed": 5, "api_name": "/generate"}


def secret() -> str:
    return os.urandom(20).hex()


def listed(client, owner, *values) -> list[dict]:
    return client.predict(owner, *values, api_name="/history")


def listed_by(client, owner, **values) -> list[dict]:
    return client.predict(owner=owner, **values, api_name="/history")


def submit(server, name: str, session: str, keys: dict, *values) -> str:
    """Call one of the page's own listeners as a browser would; the event's id."""
    functions = httpx.get(f"{server.url}/config").json()["dependencies"]
    number = next(f["id"] for f in functions if f["api_name"] == name)
    body = {"data": [keys, *values], "fn_index": number, "session_hash": session}
    return httpx.post(f"{server.url}/gradio_api/queue/join", json=body).json()["event_id"]


def watch(server, session: str, most: float = 60):
    """What the page of a session is sent, until it has all that it asked for."""
    with httpx.stream("GET", f"{server.url}/gradio_api/queue/data?session_hash={session}", timeout=most) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line[6:])


def page_values(server, **values) -> list:
    """The values of all widgets of the page, in the order that painting takes them."""
    config = httpx.get(f"{server.url}/config").json()
    paint = next(f for f in config["dependencies"] if f["api_name"] == "paint_job")
    components = {c["id"]: c["props"] for c in config["components"]}
    usual = [components[i].get("value") for i in paint["inputs"][1:]]
    labels = [components[i].get("label") for i in paint["inputs"][1:]]
    return [
        values.get({"What shall I paint?": "prompt"}.get(label, label), value) for label, value in zip(labels, usual)
    ]


def test_only_what_is_painted_for_an_owner_is_kept(client, server):
    owner = secret()
    client.predict(prompt="a cat", **QUICK)
    assert listed(client, owner) == []
    gallery, details = client.predict(prompt="a red apple", num_images=2, owner=owner, **QUICK)
    (kept,) = listed(client, owner)
    assert kept["id"] == details["kept"] and kept["details"]["seeds"] == [5, 6]
    for picture, shown in zip(kept["pictures"], gallery):
        answer = httpx.get(server.url + picture["url"])
        assert answer.content == Path(shown["image"]).read_bytes() and "private" in answer.headers["cache-control"]
        small = Image.open(io.BytesIO(httpx.get(server.url + picture["thumbnail"]).content))
        assert small.format == "WEBP"
    assert [p["seed"] for p in kept["pictures"]] == [5, 6]


def test_search_pages_and_delete(client, server):
    owner = secret()
    for prompt in ("a red apple", "a cat", "a RED cat"):
        client.predict(prompt=prompt, owner=owner, **QUICK)
    prompts = lambda sets: [each["details"]["prompt"] for each in sets]  # noqa: E731
    assert prompts(listed(client, owner, "red")) == ["a RED cat", "a red apple"]
    first = listed(client, owner, "", 2)
    assert prompts(first) == ["a RED cat", "a cat"]
    assert prompts(listed(client, owner, "", 2, first[-1]["id"])) == ["a red apple"]
    address = server.url + first[0]["pictures"][0]["url"]
    assert client.predict(owner, first[0]["id"], 0, api_name="/forget_picture") == {"pictures": 2}
    assert httpx.get(address).status_code == 404 and prompts(listed(client, owner)) == ["a cat", "a red apple"]
    with pytest.raises(AppError, match="no such picture in your history"):
        client.predict(owner, first[0]["id"], api_name="/forget_picture")


def test_favourites_dates_and_words_of_settings(client, server):
    owner = secret()
    for prompt, steps in (("a red apple", 2), ("a cat", 3)):
        client.predict(prompt=prompt, num_images=2, owner=owner, **QUICK | {"steps": steps})
    prompts = lambda **values: [each["details"]["prompt"] for each in listed_by(client, owner, **values)]  # noqa: E731
    assert prompts(search="euler 3 steps 64x64 seed 6") == ["a cat"] and prompts(search="seed 5 steps 99") == []
    cat, apple = listed(client, owner)
    assert [each["favourite"] for each in cat["pictures"]] == [False, False]
    assert client.predict(owner, cat["id"], 1, api_name="/favourite_picture") == {"favourite": True}
    (found,) = listed_by(client, owner, favourites=True)
    assert found["id"] == cat["id"] and [each["picture"] for each in found["pictures"]] == [1]
    assert client.predict(owner, cat["id"], 1, False, api_name="/favourite_picture") == {"favourite": False}
    assert prompts(favourites=True) == []
    painted = datetime.fromtimestamp(cat["created"], UTC)
    today, later = painted.date().isoformat(), (painted + timedelta(seconds=1)).isoformat()
    assert prompts(since=today, until=today) == ["a cat", "a red apple"] and prompts(since=later) == []
    assert prompts(until=(datetime.fromtimestamp(apple["created"], UTC) + timedelta(milliseconds=1)).isoformat()) == [
        "a red apple"
    ]
    with pytest.raises(AppError, match="since is 'yesterday', but must be a date such as"):
        listed_by(client, owner, since="yesterday")
    with pytest.raises(AppError, match="favourites is 'x', but must be true or false"):
        listed_by(client, owner, favourites="x")
    for who, picture in ((secret(), 0), (owner, 2)):
        with pytest.raises(AppError, match="no such picture in your history"):
            client.predict(who, cat["id"], picture, api_name="/favourite_picture")
    with pytest.raises(AppError, match="owner is no secret"):
        client.predict("x", cat["id"], 0, api_name="/favourite_picture")


def test_i3_another_owner_gets_nothing(client, server):
    owner, other = secret(), secret()
    _, details = client.predict(prompt="a red apple", owner=owner, **QUICK)
    (kept,) = listed(client, owner)
    url = kept["pictures"][0]["url"]
    assert listed(client, other) == [] and listed(client, other, "", 24, kept["id"]) == []
    for picture in (-1, 0):
        with pytest.raises(AppError, match="no such picture in your history"):
            client.predict(other, details["kept"], picture, api_name="/forget_picture")
    name = url.partition("?")[0]
    for address in (
        name,
        f"{name}?key=",
        f"{name}?key={'0' * 40}",
        name.replace("-0.png", "-1.png") + url[len(name) :],
    ):
        assert httpx.get(server.url + address).status_code == 404
    for way in ("/kept/..%2fhistory.sqlite3", "/kept/%2e%2e/history.sqlite3?key=x", "/kept/", "/kept/x?key=%00"):
        assert httpx.get(server.url + way).status_code == 404
    for wrong in ("", "x", None, "a" * 31):
        with pytest.raises(AppError, match="owner is no secret, but must be"):
            listed(client, wrong)
    for wrong in ("x", None):
        with pytest.raises(AppError, match="owner is no secret, but must be"):
            client.predict(prompt="a cat", owner=wrong, **QUICK)
    assert len(listed(client, owner)) == 1
    assert owner not in server.log.read_text()


def test_all_pictures_in_one_file_for_their_owner_only(client, server):
    owner = secret()
    client.predict(prompt="a red apple", num_images=3, owner=owner, **QUICK)
    answer = httpx.post(f"{server.url}/history.zip", data={"owner": owner})
    assert answer.headers["content-type"] == "application/zip" and "attachment" in answer.headers["content-disposition"]
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None and len(archive.namelist()) == 3
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d a red apple, [567]\.png", name) for name in archive.namelist())
    assert all(abs(datetime(*each.date_time, tzinfo=UTC).timestamp() - time.time()) < 60 for each in archive.infolist())
    (kept,) = listed(client, owner)
    client.predict(owner, kept["id"], 1, api_name="/favourite_picture")
    for form, found in (({"favourites": "on"}, ["6"]), ({"pictures": f"{kept['id']}/0 {kept['id']}/2"}, ["5", "7"])):
        chosen = httpx.post(f"{server.url}/history.zip", data={"owner": owner} | form).content
        assert sorted(name[-5] for name in zipfile.ZipFile(io.BytesIO(chosen)).namelist()) == found
    answer = httpx.post(f"{server.url}/history.zip", data={"owner": owner, "pictures": "x"})
    assert answer.status_code == 400 and "pictures is 'x'" in answer.text
    assert Image.open(archive.open(archive.namelist()[0])).size == (64, 64)
    assert (
        zipfile.ZipFile(
            io.BytesIO(httpx.post(f"{server.url}/history.zip", data={"owner": secret()}).content)
        ).namelist()
        == []
    )
    for wrong in ({}, {"owner": "x"}):
        assert httpx.post(f"{server.url}/history.zip", data=wrong).status_code == 403
    assert httpx.get(f"{server.url}/history.zip?owner={owner}").status_code == 405


def test_a_page_that_reloads_finds_its_job_and_nobody_else_does(server, client):
    owner, job, desk = secret(), secret(), secret()
    keys = {"owner": owner, "desk": desk, "job": job}
    submit(server, "paint_job", "before", keys, *page_values(server, prompt="a cat", Steps=150, Pictures=4))
    for message in watch(server, "before"):
        if message["msg"] == "process_generating":
            break
    # The page is gone; another one of the same browser comes, and one of somebody else.
    stranger = {"owner": secret(), "desk": desk, "job": job}
    submit(server, "resume_paint", "stranger", stranger)
    assert "painting" not in json.dumps([*finished(server, "stranger")])
    submit(server, "cancel_paint", "stranger2", stranger)
    assert server.queue()["running"] == 1
    submit(server, "resume_paint", "after", keys)
    news = watch(server, "after")
    seen = ""
    while "painting" not in seen:
        seen += json.dumps(next(news))
    assert "preview" in seen
    submit(server, "cancel_paint", "third", keys)
    server.wait_until(running=0)
    assert listed(client, owner) == []


def finished(server, session):
    for message in watch(server, session):
        yield message
        if message["msg"] == "process_completed":
            return


def test_a_result_that_came_while_nobody_watched_is_shown(server, client):
    owner, job = secret(), secret()
    keys = {"owner": owner, "desk": secret(), "job": job}
    submit(server, "paint_job", "leaver", keys, *page_values(server, prompt="a red apple", Steps=3))
    for message in watch(server, "leaver"):
        if message["msg"] == "process_generating":
            break
    server.wait_until(running=0)
    deadline = time.monotonic() + 10
    while not (kept := listed(client, owner)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    submit(server, "resume_paint", "comer", keys)
    said = json.dumps([*finished(server, "comer")])
    assert '"done"' in said and kept[0]["id"] in said


def test_a_page_that_does_not_come_back_gives_its_place_up(server):
    keys = {"owner": secret(), "desk": secret(), "job": secret()}
    submit(server, "paint_job", "gone for good", keys, *page_values(server, prompt="a cat", Steps=150, Pictures=4))
    for message in watch(server, "gone for good"):
        if message["msg"] == "process_generating":
            break
    server.wait_until(running=0)


def test_reading_a_picture(client, server, tmp_path):
    gallery, _ = client.predict(
        prompt="a red apple", negative_prompt="blurry", adapters=[{"id": "ink", "weight": 0.8}], **QUICK
    )
    read = client.predict(handle_file(gallery[0]["image"]), api_name="/read_picture")
    assert read["notes"] == [] and read["values"]["adapters"] == [{"id": "ink", "weight": 0.8}]
    again, _ = client.predict(**read["values"], api_name="/generate")
    assert Path(again[0]["image"]).read_bytes() == Path(gallery[0]["image"]).read_bytes()
    (tmp_path / "plain.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(AppError, match=r"file is a picture that does not say how it was made, but must be"):
        client.predict(handle_file(tmp_path / "plain.png"), api_name="/read_picture")


def memory(server) -> int:
    """The most that the server has had in memory, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) >> 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_r1_a_picture_that_claims_to_be_huge_costs_no_memory(client, server, tmp_path):
    client.predict(prompt="a red apple", **QUICK)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeezer = zlib.compressobj(9)
    pixels = b"".join(squeezer.compress(bytes(39_001)) for _ in range(13_000)) + squeezer.flush()
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0))
    bare = data + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    told = data + chunk(b"tEXt", b"parameters\0a cat\nSteps: 3, Sampler: Euler, Seed: 1") + bare[len(data) :]
    (tmp_path / "bare.png").write_bytes(bare)
    (tmp_path / "told.png").write_bytes(told)
    before = memory(server)
    assert client.predict(handle_file(tmp_path / "told.png"), api_name="/read_picture")["values"]["steps"] == 3
    with pytest.raises(AppError, match="does not say how it was made"):
        client.predict(handle_file(tmp_path / "bare.png"), api_name="/read_picture")
    with pytest.raises(AppError, match="image is 13000 x 13000 pixels large"):
        client.predict(prompt="x", image=handle_file(tmp_path / "bare.png"), api_name="/generate")
    assert memory(server) - before < 50


def test_r3_previews_leave_no_files(client, server):
    """A thousand of them are in tests/unit/test_jobs.py."""
    count = lambda: sum(path.is_file() for path in server.scratch.rglob("*"))  # noqa: E731
    before = count()
    job = client.submit(prompt="a cat", steps=100, api_name="/generate")
    job.result(timeout=300)
    assert sum(bool(details.get("preview")) for _, details in job.outputs()) > 20
    assert count() - before <= 1


def test_f5_the_app_is_killed_while_it_paints_and_keeps(tmp_path):
    model, owner, told = tiny_sdxl(tmp_path), secret(), []
    pictures = tmp_path / "data" / "pictures"
    pictures.mkdir(parents=True)
    # And what was there before is damaged.
    (tmp_path / "data" / "history.sqlite3").write_bytes(b"nonsense" * 999)
    settings = {"BASE_MODEL": model, "DATA_DIR": tmp_path / "data"}
    server = serving.start(tmp_path / "log", **settings)
    client = Client(server.url, verbose=False)
    assert "the history is damaged" in server.log.read_text() and len([*(tmp_path / "data").glob("damaged-*")]) == 1
    quick = {"steps": 1, "owner": owner, "api_name": "/generate"}
    for seed in range(3):
        told.append(client.predict(prompt="a red apple", seed=seed, **quick)[1]["kept"])
    # Without waiting for it, and without a client that would complain.
    submit(
        server,
        "paint_job",
        "killed",
        {"owner": owner, "desk": secret(), "job": secret()},
        *page_values(server, prompt="a cat", Steps=2),
    )
    time.sleep(0.3)
    os.kill(server.process.pid, signal.SIGKILL)
    (pictures / f"{'o' * 22}-0.png").write_bytes(b"")
    again = serving.start(tmp_path / "log2", **settings)
    sets = listed(Client(again.url, verbose=False), owner)
    assert {each["id"] for each in sets} >= set(told)
    files = [picture[kind] for each in sets for picture in each["pictures"] for kind in ("url", "thumbnail")]
    assert all(httpx.get(again.url + address).status_code == 200 for address in files)
    assert len([*pictures.iterdir()]) == len(files)
