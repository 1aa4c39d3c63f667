"""A style learnt through the API: streamed, painted with, loaded by diffusers, kept, closed, killed, gone on with."""

import io
import os
import time
from pathlib import Path

import httpx
import pytest
from diffusers import DiffusionPipeline
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from safetensors.torch import load_file

from tests import serving

OPTIONS = {"steps": 6, "batch_size": 2, "learning_rate": 1e-2, "rank": 4, "warmup": 1, "sample_every": 3}
VALUES = {"name": "Mine", "trigger": "mine", "sample_prompt": "red apple", "options": OPTIONS}
QUICK = {"prompt": "a red apple", "steps": 4, "seed": 11, "api_name": "/generate"}
# kill -9 so many times; more by hand.
KILLS = int(os.environ.get("TRAINING_KILLS", "1"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("pictures")
    for colour in ("red", "navy", "gold"):
        Image.new("RGB", (96, 64), colour).save(folder / f"{colour}.png")
        (folder / f"{colour}.txt").write_text(f"{colour} apple")
    return [*folder.iterdir()]


def secret() -> str:
    return os.urandom(20).hex()


def handed(pictures) -> list:
    return [handle_file(str(path)) for path in pictures]


def pixels(client, **values) -> bytes:
    gallery, _ = client.predict(**QUICK | values)
    return Image.open(gallery[0]["image"]).convert("RGB").tobytes()


def test_a_program_trains_and_paints_with_what_came_of_it(server, client, pictures, tmp_path):
    before, owner = pixels(client), secret()
    job = client.submit(files=handed(pictures), owner=owner, **VALUES, api_name="/train_style")
    file, details = job.result()
    told = [details for _, details in job.outputs()]
    assert {"training", "sampling", "done"} <= {each["status"] for each in told} | {details["status"]}
    assert [each["step"] for each in told] == sorted(each["step"] for each in told) and details["step"] == 6
    assert [sample["step"] for sample in details["samples"]] == [0, 3, 6]
    seen = {httpx.get(server.url + url).content for s in details["samples"] for url in s["pictures"].values()}
    assert len(seen) == 5 and all(Image.open(io.BytesIO(each)).size == (64, 64) for each in seen)
    # The verdict's id is of this session, what is kept is the owner's.
    verdict, kept = details["verdict"], details["samples"][-1]["kept"]
    assert verdict["fits"] and verdict["unmatched"] == 0 and verdict["triggers"] == ["mine"]
    styled = pixels(client, adapters=[{"id": verdict["id"]}])
    assert styled != before and pixels(client) == before
    other = Client(server.url, verbose=False)
    assert pixels(other, adapters=[{"id": kept}], owner=owner) == styled
    (mine,) = other.predict(owner, api_name="/my_styles")
    assert mine["id"] == kept and mine["name"] == "Mine" and mine["training"]["ss_num_train_images"] == "3"
    assert httpx.get(server.url + mine["preview"]).headers["content-type"] == "image/webp"
    # The file is what diffusers takes, all of it.
    pipe = DiffusionPipeline.from_pretrained(server.model)
    keys = {*load_file(file)}
    pipe.load_lora_weights(file)
    there = {name for name, _ in pipe.unet.named_parameters() if "lora_" in name}
    assert len(there) == len(keys) > 10


def test_what_it_will_take_is_told_and_what_cannot_be_is_refused_in_a_sentence(client, pictures):
    _, plan = client.predict(files=handed(pictures), **VALUES, dry_run=True, api_name="/train_style")
    assert plan["status"] == "planned" and plan["pictures"] == 3 and plan["steps"] == 6 and plan["expected_seconds"]
    for values, words in (
        ({"files": handed(pictures[:2])}, r"^pictures is 1 files, but must be 3 to 50 pictures\."),
        ({"options": {"steps": 0}}, r"^steps is 0, but must be from 1 to 5,000 here\.$"),
        ({"options": {"steps": 10**5}}, r"^steps is 100000, but must be from 1 to 5,000 here\.$"),
        ({"preset": "endless"}, r"^preset is 'endless', but must be one of quick, balanced, thorough\.$"),
        ({"captions": ["one"]}, r"^captions is 1 for 6 files, but must be as many as files, or empty\.$"),
        ({"owner": "me"}, r"^owner is no secret, but must be 32 to 128 random letters, digits, - and _\.$"),
        ({"files": "all"}, r"^files is no list of files, or too long, but must be a list of up to 200 files\.$"),
    ):
        with pytest.raises(AppError, match=words):
            client.predict(**{"files": handed(pictures)} | VALUES | values, api_name="/train_style")


def test_closed_it_stops_and_without_an_owner_nothing_is_left(server, client, pictures):
    folder = server.log.with_name("data") / "trainings"
    before = {*folder.iterdir()}
    long = VALUES | {"options": OPTIONS | {"steps": 500}}
    job = client.submit(files=handed(pictures), **long, api_name="/train_style")
    until(lambda: any(details["step"] > 3 for _, details in job.outputs()))
    assert {*folder.iterdir()} - before
    job.cancel()
    client.close()
    until(lambda: {*folder.iterdir()} == before and server.queue()["running"] == 0)


def test_an_owner_who_leaves_has_what_it_had_learnt(server, client, pictures):
    owner, long = secret(), VALUES | {"options": OPTIONS | {"steps": 500}}
    job = client.submit(files=handed(pictures), owner=owner, **long, api_name="/train_style")
    until(lambda: any(details["step"] > 3 for _, details in job.outputs()))
    job.cancel()
    client.close()
    other = Client(server.url, verbose=False)
    until(lambda: other.predict(owner, api_name="/my_styles"))
    (mine,) = other.predict(owner, api_name="/my_styles")
    assert mine["name"].startswith("Mine, ") and 3 <= int(mine["training"]["ss_steps"]) < 500


@pytest.mark.parametrize("step", range(KILLS))
def test_killed_in_the_middle_it_goes_on_and_ends_in_the_same_bytes(server, pictures, tmp_path, step):
    settings = {"BASE_MODEL": server.model, "DATA_DIR": tmp_path / "data", "TRAIN_SLICE_SECONDS": 0.2}
    values = VALUES | {"files": None, "owner": secret(), "api_name": "/train_style"}
    options = OPTIONS | {"steps": 16, "sample_every": 16, "seed": step}
    first = serving.start(tmp_path / "first.log", **settings)
    client = Client(first.url, verbose=False)
    job = client.submit(**values | {"files": handed(pictures), "options": options})
    until(lambda: any(details["step"] > 3 + step for _, details in job.outputs()))
    first.process.kill()
    first.process.wait()
    second = serving.start(tmp_path / "second.log", **settings)
    client = Client(second.url, verbose=False)
    until(lambda: client.predict(values["owner"], api_name="/my_styles"), 120)
    (mine,) = client.predict(values["owner"], api_name="/my_styles")
    assert mine["name"] == "Mine"
    whole, _ = client.predict(**values | {"files": handed(pictures), "options": options, "owner": ""})
    assert httpx.get(second.url + mine["file"]).content == Path(whole).read_bytes()
    second.process.kill()


def until(true, seconds: float = 60.0) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
