"""A visitor's own adapters: judged, used, exported, and nobody else's (matrix A8-A12, I3, W1)."""

import io
import json
from pathlib import Path

import httpx
import pytest
import torch
from diffusers import DiffusionPipeline
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from safetensors.torch import load_file, save_file

from lora.formats import read_adapter
from tests.fake_hub import COMMIT, Repo, wait_for
from tests.serving import STYLES
from tests.unit.test_hardening import Canary

QUICK = {"prompt": "a red apple", "steps": 4, "seed": 11, "api_name": "/generate"}
KEYS = {
    "id", "name", "source", "licence", "fits", "family", "matched", "unmatched", "ignored", "rank", "parameters",
    "triggers", "sha256", "reason",
}  # fmt: skip


@pytest.fixture
def mine(server, tmp_path) -> Path:
    """A file as a visitor may have it: the opposite of `ink`."""
    style = next(server.scratch.parent.glob("styles/ink.safetensors"))
    save_file({k: -v if "lora_B" in k else v for k, v in load_file(style).items()}, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def inspect(client, path: Path) -> dict:
    return client.predict(file=handle_file(str(path)), api_name="/inspect_adapter")


def pixels(client, *adapters) -> bytes:
    gallery, _ = client.predict(adapters=list(adapters), **QUICK)
    return Image.open(io.BytesIO(Path(gallery[0]["image"]).read_bytes())).convert("RGB").tobytes()


def sentence(error) -> str:
    words = str(error.value)
    assert words.endswith(".") and "\n" not in words and "/tmp" not in words and "Error" not in words
    return words


def private_files(server) -> set[Path]:
    return {path for path in server.scratch.glob("atelier-adapters-*/**/*") if path.is_file()}


def all_files(server) -> set[Path]:
    return {path for path in server.scratch.rglob("*") if path.is_file()}


def test_an_upload_is_judged_and_painted_with_in_its_session_only(server, client, mine):
    verdict = inspect(client, mine)
    assert set(verdict) >= KEYS and verdict["fits"] and verdict["source"] == "upload" and verdict["name"] == "mine"
    base, own = pixels(client), pixels(client, {"id": verdict["id"], "weight": 0.8})
    assert base != own
    # The same in the words of the prompt; with the shared one that it is the opposite of, it comes to nothing.
    tagged, _ = client.predict(**QUICK | {"prompt": f"a red apple <lora:{verdict['id']}:0.8:0.8>"})
    assert Image.open(tagged[0]["image"]).convert("RGB").tobytes() == own
    both = pixels(client, {"id": verdict["id"], "weight": 1}, {"id": "ink", "weight": 1})
    assert max(abs(a - b) for a, b in zip(both, base)) <= 1
    assert verdict["id"] not in {style["id"] for style in client.predict(api_name="/adapters")}
    other = Client(server.url, verbose=False)
    with pytest.raises(AppError) as caught:
        pixels(other, {"id": verdict["id"], "weight": 1})
    words = sentence(caught)
    assert "There is no adapter" in words and "mine" not in words.replace(verdict["id"][:20], "")
    other.close()


def test_i3_the_end_of_a_session_deletes_its_files_and_no_others(server, mine):
    clients = [Client(server.url, verbose=False) for _ in range(2)]
    before = private_files(server)
    verdicts = [inspect(client, mine) for client in clients]
    ours = private_files(server) - before
    assert len(ours) == 2 and verdicts[0]["id"] != verdicts[1]["id"]
    clients[0].close()
    wait_for(lambda: len(private_files(server) & ours) == 1)
    assert pixels(clients[1], {"id": verdicts[1]["id"]}) != pixels(clients[1])
    clients[1].close()
    wait_for(lambda: not private_files(server) & ours)


def test_i3_the_name_of_a_session_is_not_enough(server, client, mine):
    """Gradio lets a client choose it: whoever has it, but not the id, gets nowhere."""
    verdict = inspect(client, mine)
    thief = Client(server.url, verbose=False)
    thief.session_hash = client.session_hash
    assert {style["id"] for style in thief.predict(api_name="/adapters")} == {*STYLES, "nasty"}
    for guess in ("mine", verdict["id"][:-1], verdict["sha256"]):
        with pytest.raises(AppError) as caught:
            pixels(thief, {"id": guess})
        assert verdict["id"] not in str(caught.value)


def test_nothing_of_an_upload_is_left_in_gradios_cache(server, client, mine):
    inspect(client, mine)
    assert not list(server.scratch.glob("atelier-files-*/*/mine.safetensors"))


def test_a8_another_models_adapter_gets_a_verdict_and_no_id(client, tmp_path):
    path = tmp_path / "flux.safetensors"
    save_file({f"lora_unet_double_blocks_0_img_attn_proj.lora_{part}.weight": torch.ones(shape)
               for part, shape in (("down", (2, 3072)), ("up", (3072, 2)))}, path)  # fmt: skip
    verdict = inspect(client, path)
    assert verdict["fits"] is False and verdict["id"] is None and verdict["family"] == "flux" and "Flux" in verdict[
        "reason"]  # fmt: skip


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.7z", "x.safetensors"])
def test_a9_a_pickle_is_refused_unread(server, client, tmp_path, name):
    torch.save(Canary(tmp_path / "canary"), tmp_path / name)
    before = private_files(server)
    with pytest.raises(AppError) as caught:
        inspect(client, tmp_path / name)
    assert name in sentence(caught)
    assert not (tmp_path / "canary").exists() and not private_files(server) - before


def test_a_file_too_large_is_refused_while_it_comes(server):
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("big.safetensors", bytes(2**20 + 2**19))})
    assert answer.status_code == 413 and "maximum allowed size" in answer.text
    assert not list(server.scratch.glob("atelier-files-*/*/big.safetensors"))


PATHS = ["/etc/passwd", "app.py", "../../etc/passwd", "http://127.0.0.1:1/x.safetensors", "https://huggingface.co/x",
         "file:///etc/passwd", "a\0b", "", "~"]  # fmt: skip


@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {"meta": 3}, {}])
@pytest.mark.parametrize("path", PATHS)
def test_w1_only_uploaded_files_can_be_named(server, path, meta):
    event, answer = server.call("inspect_adapter", [{"path": path, "orig_name": "x.safetensors"} | meta])[-1]
    assert event == "error" and "uploaded here" in answer["error"] and "/etc" not in answer["error"]


def test_w1_neither_what_the_app_made_nor_a_link_nor_a_file_beside_can_be_named(server, client, mine):
    client.predict(**QUICK)
    made = next(server.scratch.glob("atelier-files-*/*/atelier-11.png"))
    (made.parent / "link.safetensors").symlink_to(mine)
    (made.parent / "beside.safetensors").write_bytes(mine.read_bytes())
    for path in (made, made.parent / "link.safetensors", made.parent / "beside.safetensors", made.parents[1]):
        file = {"path": str(path), "orig_name": "x.safetensors", "meta": {"_type": "gradio.FileData"}}
        event, answer = server.call("inspect_adapter", [file])[-1]
        assert event == "error" and "uploaded here" in answer["error"], path


def test_a10_the_name_that_a_client_gives_is_no_path(server, mine):
    before = all_files(server)
    for name in ("../evil.safetensors", "/evil.safetensors", "..\\evil.safetensors", "a\0b.safetensors"):
        with mine.open("rb") as file:
            posted = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("mine.safetensors", file)})
        value = {"path": posted.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        event, answer = server.call("inspect_adapter", [value])[-1]
        assert event == "error" and "file name" in answer["error"]
    assert not all_files(server) - before and not list(server.scratch.parent.rglob("*evil*"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "file is empty"), ([None, ""], "file is empty"), ([3], "file is"), (["x"], "file is"),
        ([None, 3], "repo_id is 3"), ([None, "../x"], "repo_id is"), ([None, "a/b/../c.safetensors"], "repo_id is"),
        ([{"path": "x"}, "a/b"], "repo_id is"),
        ([None, True], "repo_id is"), ([None, ["a/b"]], "repo_id is"), ([None, "http://127.0.0.1/a/b"], "repo_id is"),
    ],
)  # fmt: skip
def test_q1_exactly_one_of_file_and_repository(server, values, words):
    event, answer = server.call("inspect_adapter", values)[-1]
    assert event == "error" and answer["error"].startswith(words)


def test_a11_an_adapter_of_the_hub_is_pinned_and_used(server, client, mine):
    tags = ["lora", "license:cc0-1.0", "base_model:adapter:stabilityai/stable-diffusion-xl-base-1.0"]
    files = {"pytorch_lora_weights.safetensors": mine.read_bytes()}
    server.hub.repos["someone/mine"] = Repo({COMMIT: files}, tags=tags)
    verdict = client.predict(repo_id="someone/mine", api_name="/inspect_adapter")
    assert verdict["source"] == f"someone/mine@{COMMIT[:12]}" and verdict["licence"] == "cc0-1.0" and verdict["fits"]
    assert (
        pixels(client, {"id": verdict["id"]}) == pixels(client, {"id": inspect(client, mine)["id"]}) != pixels(client)
    )
    (found,) = client.predict("mine", api_name="/search_adapters")
    assert found["id"] == "someone/mine" and found["downloads"] == 7


def test_a12_a_hub_that_hangs_holds_up_neither_painting_nor_the_page(server, client):
    server.hub.faults = ["hang"] * 3
    job = client.submit(repo_id="someone/ink", api_name="/inspect_adapter")
    wait_for(lambda: len(server.hub.faults) < 3)
    assert httpx.get(f"{server.url}/config", timeout=2).status_code == 200
    pixels(client)
    with pytest.raises(AppError) as caught:
        job.result(timeout=30)
    assert "did not answer within 1 s" in sentence(caught)
    server.hub.faults = []
    with pytest.raises(AppError) as caught:
        client.predict(repo_id="someone/nothing", api_name="/inspect_adapter")
    assert sentence(caught) == "There is no public model someone/nothing on the Hub."


def test_an_exported_mix_is_the_mix(server, client, mine, tmp_path):
    adapters = [{"id": "ink", "weight": 0.5}, {"id": inspect(client, mine)["id"], "weight": -0.25, "text_weight": 0.5}]
    file, details = client.predict(adapters=adapters, api_name="/export_adapters")
    assert details["status"] == "done" and details["error"] == 0 and details["rank"] == 8 and details["warnings"] == []
    assert read_adapter(Path(file), {}).rank == 8
    exported = inspect(client, Path(file))
    mixed, again = pixels(client, *adapters), pixels(client, {"id": exported["id"], "weight": 1})
    assert exported["sha256"] == details["sha256"] and mixed != pixels(client)
    assert max(abs(a - b) for a, b in zip(mixed, again)) <= 1
    pipe = DiffusionPipeline.from_pretrained(next(server.scratch.parent.glob("model")))
    pipe.load_lora_weights(file)
    file, details = client.predict(adapters=adapters, rank=2, api_name="/export_adapters")
    assert details["rank"] == 2 and 0 < details["error"] < 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[]], "adapters is empty"), ([[{"id": "ink", "weight": 0}]], "adapters is empty"),
        ([[{"id": "x"}]], "There is no"),
        (["ink"], "adapters is"), ([[{"id": "ink"}], -1], "rank is -1"), ([[{"id": "ink"}], 1025], "rank is 1025"),
        ([[{"id": "ink"}], True], "rank is True"), ([[{"id": "ink"}], "2"], "rank is '2'"), ([None], "adapters is"),
    ],
)  # fmt: skip
def test_q1_exports_are_checked(server, values, words):
    event, answer = server.call("export_adapters", values)[-1]
    assert event == "error" and answer["error"].startswith(words), answer
    assert server.queue()["running"] == server.queue()["waiting"] == 0


def test_mixes_that_burn_are_said_and_can_be_normalised(client):
    heavy = [{"id": name, "weight": 1.0} for name in STYLES]
    _, details = client.predict(adapters=heavy, **QUICK)
    assert details["adapters_scale"] == 1 and "add up to 2; above 1.5" in details["warnings"][0]
    _, details = client.predict(adapters=heavy, normalize_adapters=True, **QUICK)
    assert details["adapters_scale"] == 0.5 and details["warnings"] == []
    assert json.dumps(details)
